#!/usr/bin/env bash
# Measures Campanile and other servers in turn, each against the floor of the same round, and writes
# docs/benchmarks.md.
#
# usage: scripts/compare.sh [LOADTEST_OPTION...]
#
# Builds this tree, installs the other servers from package registries (scripts/peers.sh; one that
# cannot be installed is skipped with a warning) and passes the options to `loadtest compare`, for
# example `--measures fanout --subscribers 1000`. Without options it takes about an hour on an idle
# machine. All traffic is on loopback. The tables go to docs/benchmarks.md without options, else to
# target/compare.md; the curves to target/compare.html.
#
# Exit status: 0; 1 if a server lost or misdelivered a message or a measurement failed.
set -euo pipefail

if [ "${1:-}" = --help ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
cargo build --release --quiet --workspace
list=$target/compare.toml
page=$target/compare.md
[ "$#" -gt 0 ] || page=docs/benchmarks.md

# server NAME VERSION PROTOCOL [LINE...]: a [[server]] table of the list.
server() {
    printf '\n[[server]]\nname = "%s"\nversion = "%s"\nprotocol = "%s"\n' "$1" "$2" "$3"
    shift 3
    printf '%s\n' "$@"
}
# peer NAME PROTOCOL [LINE...]: installs a server of scripts/peers.sh and prints its table.
peer() {
    local name=$1 protocol=$2
    shift 2
    if scripts/peers.sh install "$name" > "$target/peers-$name.log" 2>&1; then
        server "$name" "$(scripts/peers.sh version "$name")" "$protocol" "$@" \
            "command = [\"scripts/peers.sh\", \"start\", \"$name\", \"{port}\"]"
    else
        echo "compare: cannot install $name, skipped; see $target/peers-$name.log" >&2
    fi
}
# campanile NAME CONFIG SHARDS [LINE...]: the table of Campanile with a config.
campanile() {
    local name=$1 config=$2 shards=$3
    shift 3
    server "$name" "$("$target/release/campanile" --version)" wserver 'rpc_protocol = "easyws"' \
        "command = [\"$target/release/campanile\", \"--listen\", \"127.0.0.1:{port}\", \
\"--shards\", \"$shards\", \"--config\", \"$config\"]" "$@"
}

readonly default=$target/compare-campanile.toml busy=$target/compare-busy.toml
cat > "$default" <<'END'
# Do not ping idle sessions while they are measured; all else is default.
[heartbeat]
ping_interval_ms = 86_400_000
idle_timeout_ms = 86_400_000
END
{ cat "$default" && printf '\n[limits]\nbusy_poll_us = 1_000\n'; } > "$busy"
{
    note="by scripts/compare.sh $*"
    echo "note = \"${note% }\""
    campanile campanile "$default" 1
    peer bun topics 'rpc_protocol = "topics"'
    peer ws topics 'rpc_protocol = "topics"'
    peer nchan topics
    peer nats nats 'via = "client"'
    peer sockudo pusher 'app = "app-id:app-key:app-secret"'
    campanile campanile-busy "$busy" 1 'measures = ["rpc"]'
    campanile campanile-2-shards "$default" 2 'measures = ["shards"]'
} > "$list"

exec "$target/release/loadtest" compare "$list" --markdown "$page" \
    --report "$target/compare.html" "$@"
