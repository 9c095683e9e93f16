#!/bin/bash
# Runs the Autobahn suite against the gateway's /echo: cases 1 to 7, 9 and 10.
#
# usage: scripts/autobahn.sh [GATEWAY_EXECUTABLE]
#
# GATEWAY_EXECUTABLE defaults to target/release/campanile. The first run installs the suite into
# ${XDG_CACHE_HOME:-$HOME/.cache}/campanile-autobahn, which takes one to three minutes. report/ in
# that folder has the last report. A run takes about 20 s.
#
# Exit status: 0 if every case passed; 1 if a case failed, a connection was not closed cleanly or
# the gateway did not start; 2 for wrong arguments; 3 if the suite cannot be installed.
# `cargo test --test autobahn` replays the same cases from transcripts, without the suite.
set -euo pipefail

if [ $# -gt 1 ] || [ "${1:-}" = --help ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
gateway=${1:-${CARGO_TARGET_DIR:-$here/../target}/release/campanile}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/campanile-autobahn
readonly install_seconds_max=600 run_seconds_max=300

mkdir -p "$cache"
. "$here/gateway.sh"

if ! timeout "$install_seconds_max" "$here/autobahn-install.sh" "$cache/suite" \
    > "$work/install.log" 2>&1; then
    tail -n 8 "$work/install.log" >&2
    echo "autobahn: cannot install the suite; see the lines above" >&2
    exit 3
fi

start_gateway "$gateway" --shards 1

report=$cache/report
rm -rf "$report"
mkdir "$report"
cat > "$work/spec.json" <<J
{
    "outdir": "$report",
    "servers": [{ "agent": "campanile", "url": "ws://$address/echo" }],
    "cases": ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"],
    "exclude-cases": [],
    "exclude-agent-cases": {}
}
J
if ! timeout "$run_seconds_max" "$cache/suite/wstest" -m fuzzingclient -s "$work/spec.json" \
    > "$work/run.log" 2>&1; then
    tail -n 8 "$work/run.log" >&2
    echo "autobahn: the suite failed or took over $run_seconds_max s" >&2
    exit 1
fi
check_gateway_runs

"$here/autobahn-report.py" "$report/index.json"
