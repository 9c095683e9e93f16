#!/bin/bash
# Counts the user-space instructions of each stage of a message and compares them with a baseline.
#
# usage: scripts/instructions.sh
#        scripts/instructions.sh --update
#        scripts/instructions.sh COMMIT [COMMIT]
#
# Runs the workloads of benches/instructions*.rs under callgrind, each with N and with 2 N units,
# and divides the difference by N, which excludes the start. The numbers are reproducible for one
# compiler and one kind of processor. Needs valgrind. Takes about 30 s after the build.
#
# Without arguments this tree is compared with benches/baseline.txt; --update writes that file. With
# commits, the first is compared with the second, or with this tree: each is built in a git worktree
# below the target folder. A workload that one side does not have is shown as `-`.
#
# Limits: a workload takes at most 3 % more instructions than its baseline (only a warning if that
# is of another compiler); a delivery takes at most 150 in turns of one publication and 65 in turns
# of 16. They are not checked when commits are compared.
#
# Exit status: 0; 1 if a limit is exceeded or something failed; 2 for wrong arguments.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never
mkdir -p "${CARGO_TARGET_DIR:-target}"
CARGO_TARGET_DIR=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
export CARGO_TARGET_DIR
readonly baseline=benches/baseline.txt percent_max=3

usage() {
    [ "$#" -eq 0 ] || echo "$0: $*" >&2
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}

work=$(mktemp -d)
tree=
clean_up() {
    rm -rf "$work"
    [ -z "$tree" ] || git worktree remove --force "$tree"
}
trap clean_up EXIT

# build FOLDER: builds the programs of the workloads and prints their paths, one per line.
build() {
    local built
    built=$(cd "$1" && cargo bench --quiet --no-run --bench 'instructions*' \
        --message-format=json) || return 1
    sed -n '/"name":"instructions/s/.*"executable":"\([^"]*\)".*/\1/p' <<< "$built" |
        LC_ALL=C sort
}

# count PROGRAM WORKLOAD N: runs a workload of N units and prints the program's instructions.
count() {
    timeout 300 valgrind --tool=callgrind --callgrind-out-file="$work/out" \
        "$@" 2> "$work/log" || { cat "$work/log" >&2; return 1; }
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$work/log"
}

# measure FOLDER: prints `WORKLOAD INSTRUCTIONS` for each workload, per unit, with one decimal.
measure() {
    local programs program name units unit once twice tenths
    programs=$(build "$1") || return 1
    for program in $programs; do
        # Programs of old commits have no `list` and print nothing.
        "$program" list > "$work/list" || return 1
        while read -r name units unit; do
            echo "counting: $name, per $unit" >&2
            once=$(count "$program" "$name" "$units") || return 1
            twice=$(count "$program" "$name" "$((2 * units))") || return 1
            tenths=$(((10 * (twice - once) + units / 2) / units))
            echo "$name $((tenths / 10)).$((tenths % 10))"
        done < "$work/list"
    done
}

# measure_commit COMMIT: runs `measure` on a commit.
measure_commit() {
    tree=$CARGO_TARGET_DIR/instructions/$1
    [ ! -e "$tree" ] || git worktree remove --force "$tree"
    git worktree add --quiet --detach "$tree" "$1" || return 1
    measure "$tree" || return 1
    git worktree remove --force "$tree"
    tree=
}

# compare BEFORE NOW BEFORE_NAME NOW_NAME: prints a table of two files of measurements, in the order
# of the second. Workloads that only the first has come last.
compare() {
    awk -v before_name="$3" -v now_name="$4" '
        FILENAME == ARGV[1] { before[$1] = $2; order[++rows] = $1; next }
        { row($1, $1 in before ? before[$1] : "-", $2); seen[$1] = 1 }
        END {
            for (i = 1; i <= rows; i++)
                if (!(order[i] in seen)) row(order[i], before[order[i]], "-")
        }
        function row(name, b, n) {
            if (!headed++)
                printf "%-22s %12s %12s %9s\n", "workload", before_name, now_name, "change"
            change = b == "-" || n == "-" || b == 0 ? "-" : sprintf("%+.1f %%", 100 * (n - b) / b)
            printf "%-22s %12s %12s %9s\n", name, b, n, change
        }' "$1" "$2"
}

# check_delivery WORKLOAD MAX: fails if a delivery of this workload takes over MAX instructions.
check_delivery() {
    awk -v name="$1" -v max="$2" '
        $1 == name { found = 1; bad = $2 > max }
        bad && $1 == name { print name " takes " $2 " instructions, at most " max }
        END { if (!found) print name " was not measured"; exit bad || !found }' "$work/now" >&2
}

# check_limits: fails if the measurements exceed a limit of the header.
check_limits() {
    local status=0 compiler slower
    check_delivery fanout-1 150 || status=1
    check_delivery fanout-16 65 || status=1
    slower=$(awk -v max="$percent_max" '
        FILENAME == ARGV[1] { before[$1] = $2; next }
        $1 in before && $2 > before[$1] * (1 + max / 100) { print $1 }' "$work/before" "$work/now")
    [ -n "$slower" ] || return "$status"
    echo "over $percent_max % above the baseline: ${slower//$'\n'/, }" >&2
    compiler=$(sed -n 's/^# \(rustc .*\)/\1/p' "$baseline")
    if [ "$compiler" = "$(rustc -V)" ]; then
        return 1
    fi
    echo "only a warning: the baseline is of $compiler, this is $(rustc -V)" >&2
    return "$status"
}

update() {
    {
        echo "# Instructions per unit, written by scripts/instructions.sh --update with"
        echo "# $(rustc -V)"
        cat "$work/now"
    } > "$baseline"
    cat "$baseline"
}

main() {
    local first='' second='' here=here
    case "$#:${1:-}" in
        0: | 1:--update) ;;
        *:-* | *:) usage ;;
        1:* | 2:*)
            first=$(git rev-parse --verify --quiet "$1^{commit}") || usage "$1: no such commit"
            [ "$#" -eq 1 ] || second=$(git rev-parse --verify --quiet "$2^{commit}") ||
                usage "$2: no such commit"
            ;;
        *) usage ;;
    esac
    if ! command -v valgrind > /dev/null; then
        echo "$0: valgrind is not installed (Debian: package valgrind)" >&2
        exit 1
    fi

    if [ -z "$first" ]; then
        measure . > "$work/now"
        [ "${1:-}" != --update ] || { update; return; }
        grep -v '^#' "$baseline" > "$work/before"
        compare "$work/before" "$work/now" baseline now
        check_limits
        return
    fi
    measure_commit "$first" > "$work/before"
    if [ -n "$second" ]; then
        measure_commit "$second" > "$work/now"
        here=${second:0:10}
    else
        measure . > "$work/now"
    fi
    compare "$work/before" "$work/now" "${first:0:10}" "$here"
}

main "$@"
