#!/usr/bin/env bash
# Holds the server API against its OpenAPI document: the document is checked by a validator, then
# schemathesis makes up requests from it and judges the answers of a running gateway.
#
# usage: scripts/openapi.sh [GATEWAY_EXECUTABLE]
#
# GATEWAY_EXECUTABLE defaults to target/debug/campanile. The tools are installed on first use, from
# PyPI, into ${XDG_CACHE_HOME:-$HOME/.cache}/campanile-openapi. Takes about a minute.
#
# Exit status: 0 if all is as it should be; 1 if the document is wrong, an answer is not what it
# says, or is a 5xx; 2 for wrong arguments; 3 if the tools cannot be installed.
set -euo pipefail

if [ $# -gt 1 ] || [ "${1:-}" = --help ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
gateway=${1:-${CARGO_TARGET_DIR:-$here/../target}/debug/campanile}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/campanile-openapi
readonly schemathesis=4.32.5 validator=0.9.0 examples_max=60 seconds_max=240

work=$(mktemp -d)
gateway_pid=
clean_up() {
    if [ -n "$gateway_pid" ]; then
        kill "$gateway_pid" 2> /dev/null || true
        timeout 10 tail --pid="$gateway_pid" -f /dev/null ||
            kill -KILL "$gateway_pid" 2> /dev/null || true
    fi
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

if [ ! -x "$cache/bin/schemathesis" ]; then
    if ! { python3 -m venv "$cache" && timeout 600 "$cache/bin/pip" install --quiet \
        "schemathesis==$schemathesis" "openapi-spec-validator==$validator"; } \
        > "$work/install.log" 2>&1; then
        tail -n 8 "$work/install.log" >&2
        rm -rf "$cache"
        echo "openapi: the tools cannot be installed here; the last lines above say why" >&2
        exit 3
    fi
fi

"$cache/bin/openapi-spec-validator" "$here/../src/api/openapi.json"

"$gateway" --listen 127.0.0.1:0 --shards 2 > "$work/gateway.log" 2>&1 &
gateway_pid=$!
address=
for _ in $(seq 100); do
    address=$(sed -n 's|.*ready on \(127\.0\.0\.1:[0-9]*\) .*|\1|p' "$work/gateway.log")
    if [ -n "$address" ] || ! kill -0 "$gateway_pid" 2> /dev/null; then
        break
    fi
    sleep 0.1
done
if [ -z "$address" ]; then
    tail -n 8 "$work/gateway.log" >&2
    echo "openapi: $gateway did not say where it listens" >&2
    exit 1
fi

# A method that a path does not have, a key that nobody asks for and headers that are none are
# looked at by tests/gateway.rs, where they can be meant.
checks=not_a_server_error,status_code_conformance,content_type_conformance
checks+=,response_schema_conformance,negative_data_rejection
timeout "$seconds_max" "$cache/bin/schemathesis" run "http://$address/api/v1/openapi.json" \
    --phases examples,coverage,fuzzing --max-examples "$examples_max" --seed 1 --no-color \
    --checks "$checks" \
    --request-timeout 10 --suppress-health-check all
kill -0 "$gateway_pid"
echo "openapi: the document is valid, and true"
