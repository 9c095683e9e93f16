#!/bin/bash
# Stands in for `cargo` and `campanile` when the commands of a document are run: starts programs
# that are already built, on the test's port instead of the default one.
#
# usage: campanile [ARGUMENT...]
#        cargo run [--release] [--example NAME] [-- ARGUMENT...]
#
# Environment: PROGRAM is the gateway's executable, EXAMPLES the folder of the built examples,
# LISTEN the address for commands without --listen or `listen` in their config.
set -euo pipefail

program=$PROGRAM
if [ "$(basename "$0")" = cargo ]; then
    [ "$1" = run ] || { echo "$0: only cargo run is supported" >&2; exit 2; }
    shift
    while [ $# -gt 0 ]; do
        case $1 in
            --release) shift ;;
            --example) program=$EXAMPLES/$2; shift 2 ;;
            --) shift; break ;;
            *) echo "$0: unknown argument $1" >&2; exit 2 ;;
        esac
    done
fi

config=
for argument; do
    case $argument in
        config | check | --listen) exec "$program" "$@" ;;
    esac
    [ "${previous:-}" = --config ] && config=$argument
    previous=$argument
done
if [ -n "$config" ] && grep -q '^listen' "$config"; then
    exec "$program" "$@"
fi
exec "$program" --listen "$LISTEN" "$@"
