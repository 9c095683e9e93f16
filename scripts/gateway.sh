#!/bin/bash
# Starts a gateway for a script and stops it when the script exits.
#
# usage: . scripts/gateway.sh
#
# Sets $work, a temporary folder that is removed at exit. Messages begin with the script's name.
set -euo pipefail

name=$(basename "$0" .sh)
work=$(mktemp -d)
gateway_pid=
clean_up() {
    if [ -n "$gateway_pid" ]; then
        kill "$gateway_pid" 2> /dev/null || true
        # Kill a gateway that does not stop within 10 s, so that the script ends.
        timeout 10 tail --pid="$gateway_pid" -f /dev/null ||
            kill -KILL "$gateway_pid" 2> /dev/null || true
    fi
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

# start_gateway EXECUTABLE [ARGUMENT...]: starts a gateway on a free loopback port and sets $address
# to its IP address and port. Exits with 1 if the gateway does not listen within 10 s.
start_gateway() {
    : > "$work/gateway.log"
    "$@" --listen 127.0.0.1:0 > "$work/gateway.log" 2>&1 &
    gateway_pid=$!
    address=
    for _ in $(seq 100); do
        address=$(sed -n 's|.*ws://\(127\.0\.0\.1:[0-9]*\)/ws.*|\1|p' "$work/gateway.log" |
            head -n 1)
        if [ -n "$address" ] || ! kill -0 "$gateway_pid" 2> /dev/null; then
            break
        fi
        sleep 0.1
    done
    if [ -z "$address" ]; then
        tail -n 8 "$work/gateway.log" >&2
        echo "$name: $1 did not print its address within 10 s" >&2
        exit 1
    fi
}

# Exits with 1 if the gateway is not running any more.
check_gateway_runs() {
    if ! kill -0 "$gateway_pid" 2> /dev/null; then
        tail -n 8 "$work/gateway.log" >&2
        echo "$name: the gateway exited during the test" >&2
        exit 1
    fi
}
