#!/bin/bash
# Holds the API's OpenAPI document against the gateway: a validator reads it, and schemathesis
# makes requests of it and judges the answers.
#
# usage: scripts/openapi.sh [GATEWAY_EXECUTABLE [EXAMPLES]]
#
# GATEWAY_EXECUTABLE defaults to target/release/campanile, EXAMPLES, the most requests that are made
# up for one operation, to 50. The tools come from PyPI, on first use, into a virtual environment
# under the target folder. Takes about half a minute, and on first use half a minute more.
#
# Exit status: 0 if the document is well formed and every answer is as it says; 1 if not, or if the
# gateway did not start or did not live to the end; 2 for wrong arguments; 3 if the tools cannot be
# installed.
set -euo pipefail

if [ $# -gt 2 ] || [ "${1:-}" = --help ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../target}
gateway=${1:-$target/release/campanile}
examples=${2:-50}
readonly tools=(schemathesis==4.32.5 openapi-spec-validator==0.9.0)
readonly install_seconds_max=600 run_seconds_max=600 key=openapi-test-key

mkdir -p "$target"
. "$here/gateway.sh"

# A virtual environment knows its own place, so it is built there; what is unfinished has no mark.
venv=$target/openapi-venv
exec 9> "$venv.lock"
flock 9
if [ "$(cat "$venv/installed" 2> /dev/null)" != "${tools[*]}" ]; then
    rm -rf "$venv"
    if ! { python3 -m venv "$venv" && timeout "$install_seconds_max" "$venv/bin/pip" install \
        --quiet --disable-pip-version-check "${tools[@]}"; } > "$work/install.log" 2>&1; then
        tail -n 8 "$work/install.log" >&2
        echo "openapi: the tools cannot be installed here; the last lines above say why" >&2
        exit 3
    fi
    echo "${tools[*]}" > "$venv/installed"
fi
exec 9>&-

# The longest names have room in a path, and what is made up hardly has as many bytes. There is no
# easyws route: its events have rules of their own, which the document cannot know.
cat > "$work/gateway.toml" <<T
limits.name_bytes_max = 1_000
api.keys = ["$key"]
[[routes]]
path = "/ws"
dialect = "wserver"
[[routes]]
path = "/wsrv"
dialect = "wsrv"
channels = [{ name = "news", create = "advance" }]
[[routes]]
path = "/projectforge"
dialect = "projectforge"
T
start_gateway "$gateway" --config "$work/gateway.toml" --shards 2

"$venv/bin/python" - "http://$address/api/v1/openapi.json" "$work/openapi.json" <<'P'
import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=10) as answer, open(sys.argv[2], "wb") as file:
    file.write(answer.read())
P
"$venv/bin/openapi-spec-validator" "$work/openapi.json"

# Requests that the document allows are refused with 400 in one place only: what a page is said to
# begin behind must have been a session. And a key that was used before is refused with 422.
cat > "$work/schemathesis.toml" <<T
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "404", "409", "422"]
[[operations]]
include-operation-id = ["listSessions", "listMembers"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404"]
T
cd "$work"
if ! timeout "$run_seconds_max" "$venv/bin/schemathesis" run "http://$address/api/v1/openapi.json" \
    --header "Authorization: Bearer $key" --max-examples "$examples" --seed 1 --workers 1 \
    --request-timeout 10 --checks all \
    > "$work/run.log" 2>&1; then
    cat "$work/run.log" >&2
    echo "openapi: the gateway and its document do not agree" >&2
    exit 1
fi
check_gateway_lives
grep -E "Test cases|passed|generated" "$work/run.log" || true
echo "openapi: the gateway and its document agree"
