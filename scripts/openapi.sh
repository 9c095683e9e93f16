#!/bin/bash
# Checks the API's OpenAPI document: a validator reads it, and schemathesis sends generated requests
# to the gateway and checks the responses against it.
#
# usage: scripts/openapi.sh [GATEWAY_EXECUTABLE [EXAMPLES]]
#
# GATEWAY_EXECUTABLE defaults to target/release/campanile. EXAMPLES is the maximum number of
# generated requests per operation, by default 50. The first run installs the tools from PyPI into a
# virtual environment below the target folder. Takes about 30 s, the first run about 60 s.
#
# Exit status: 0 if the document is valid and every response matches it; 1 if not, or if the gateway
# did not start or exited early; 2 for wrong arguments; 3 if the tools cannot be installed.
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

# A virtual environment cannot be moved, so it is built in place. The file `installed` is written
# last; an environment without it is incomplete and built again.
venv=$target/openapi-venv
exec 9> "$venv.lock"
flock 9
if [ "$(cat "$venv/installed" 2> /dev/null)" != "${tools[*]}" ]; then
    rm -rf "$venv"
    if ! { python3 -m venv "$venv" && timeout "$install_seconds_max" "$venv/bin/pip" install \
        --quiet --disable-pip-version-check "${tools[@]}"; } > "$work/install.log" 2>&1; then
        tail -n 8 "$work/install.log" >&2
        echo "openapi: cannot install the tools; see the lines above" >&2
        exit 3
    fi
    echo "${tools[*]}" > "$venv/installed"
fi
exec 9>&-

# Names of 1,000 bytes fit into a request's path, and generated names are rarely longer. There is no
# easyws route: its rules for event names are not in the document.
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

with urllib.request.urlopen(sys.argv[1], timeout=10) as response, open(sys.argv[2], "wb") as file:
    file.write(response.read())
P
"$venv/bin/openapi-spec-validator" "$work/openapi.json"

# A request that matches the document gets 400 in one case: `after` of a page of sessions is not an
# id of a session. An idempotency key that was used with another request gets 422.
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
    echo "openapi: the gateway does not match its document" >&2
    exit 1
fi
check_gateway_runs
grep -E "Test cases|passed|generated" "$work/run.log" || true
echo "openapi: the gateway matches its document"
