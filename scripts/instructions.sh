#!/bin/bash
# Counts the user-space instructions of one delivery in the shard, in a fan-out to 1,000 sessions.
#
# usage: scripts/instructions.sh [TURNS]
#
# Runs benches/instructions.rs twice under callgrind, with so many turns (20) and twice as many, and
# divides the difference by the deliveries that it stands for, so that starting up does not count:
# first with one publication in each turn, so that every delivery is a send of its own, then with
# 16, of which one send takes all. The numbers are the same each time. Needs valgrind. Takes a few
# seconds after the build.
#
# Exit status: 0 if a delivery takes at most 150 instructions in turns of one publication and 65 in
# turns of 16, 1 if it takes more or something failed, 2 for wrong arguments.
set -euo pipefail

if [ $# -gt 1 ] || ! [[ "${1:-20}" =~ ^[1-9][0-9]*$ ]]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
readonly turns=${1:-20} sessions=1000
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

built=$(cargo bench --quiet --no-run --bench instructions --message-format=json)
built=$(grep '"name":"instructions"' <<< "$built")
program=$(sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' <<< "$built")

# count PUBLICATIONS PER_TURN: the instructions of the whole program.
count() {
    timeout 300 valgrind --tool=callgrind --callgrind-out-file="$work/out" \
        "$program" "$1" "$2" 2> "$work/log" || { cat "$work/log" >&2; return 1; }
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$work/log"
}

# hold PER_TURN MAX: whether a delivery takes at most MAX instructions.
hold() {
    local publications=$((turns * $1)) once twice tenths
    once=$(count "$publications" "$1") || return 1
    twice=$(count "$((2 * publications))" "$1") || return 1
    tenths=$((10 * (twice - once) / (publications * sessions)))
    echo "$((tenths / 10)).$((tenths % 10)) instructions per delivery in turns of $1, at most $2"
    [ "$tenths" -le $((10 * $2)) ]
}

status=0
hold 1 150 || status=1
hold 16 65 || status=1
exit $status
