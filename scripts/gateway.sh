#!/bin/bash
# Runs a gateway for a script and stops it when that ends.
#
# usage: . scripts/gateway.sh
#
# Makes $work, a folder for the script's files that goes when it ends. The messages begin with the
# script's own name.
set -euo pipefail

name=$(basename "$0" .sh)
work=$(mktemp -d)
gateway_pid=
clean_up() {
    if [ -n "$gateway_pid" ]; then
        kill "$gateway_pid" 2> /dev/null || true
        # A gateway that does not stop when told to must not keep us.
        timeout 10 tail --pid="$gateway_pid" -f /dev/null ||
            kill -KILL "$gateway_pid" 2> /dev/null || true
    fi
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP

# start_gateway EXECUTABLE [ARGUMENT...]: on a free port of loopback; $address is where it listens.
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
        echo "$name: $1 did not say where it listens" >&2
        exit 1
    fi
}

# Ends the script if the gateway has ended.
check_gateway_lives() {
    if ! kill -0 "$gateway_pid" 2> /dev/null; then
        tail -n 8 "$work/gateway.log" >&2
        echo "$name: the gateway did not live to the end" >&2
        exit 1
    fi
}
