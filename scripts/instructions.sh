#!/bin/bash
# Counts the user-space instructions of one delivery in the shard, in a fan-out to 1,000 sessions.
#
# usage: scripts/instructions.sh [PUBLICATIONS]
#
# Runs benches/instructions.rs twice under callgrind, with PUBLICATIONS (20) and twice as many, and
# divides the difference by the deliveries that it stands for, so that starting up does not count.
# The number is the same each time. Needs valgrind. Takes about 10 s after the build.
#
# Exit status: 0 if a delivery takes at most 300 instructions, 1 if it takes more or something
# failed, 2 for wrong arguments.
set -euo pipefail

if [ $# -gt 1 ] || ! [[ "${1:-20}" =~ ^[1-9][0-9]*$ ]]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
readonly publications=${1:-20} sessions=1000 instructions_max=300
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

built=$(cargo bench --quiet --no-run --bench instructions --message-format=json)
built=$(grep '"name":"instructions"' <<< "$built")
program=$(sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' <<< "$built")

count() {
    timeout 300 valgrind --tool=callgrind --callgrind-out-file="$work/out" \
        "$program" "$1" 2> "$work/log" || { cat "$work/log" >&2; return 1; }
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$work/log"
}
once=$(count "$publications")
twice=$(count "$((2 * publications))")

tenths=$((10 * (twice - once) / (publications * sessions)))
echo "$((tenths / 10)).$((tenths % 10)) instructions per delivery, at most $instructions_max"
[ "$tenths" -le $((10 * instructions_max)) ]
