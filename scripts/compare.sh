#!/usr/bin/env bash
# Measures Campanile against other servers, in turn, each against the floor of the same round, and
# writes docs/benchmarks.md.
#
# usage: scripts/compare.sh [LOADTEST_OPTION...]
#
# Builds what is here, installs the others from the package registries (scripts/peers.sh; what
# cannot be installed is left out, and said so), and hands the options on to `loadtest compare`,
# such as `--measures fanout --subscribers 1000` for a part of it. All of it takes about an hour on
# an idle machine; everything stays on loopback. The tables go to docs/benchmarks.md if no option
# is given, else to target/compare.md; the curves to target/compare.html.
#
# Exit status: 0; 1 if a server lost or misdelivered a message, or something could not be measured.
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

# What a server is called, what it is and speaks, and what else is to be said of it.
server() {
    printf '\n[[server]]\nname = "%s"\nversion = "%s"\nprotocol = "%s"\n' "$1" "$2" "$3"
    shift 3
    printf '%s\n' "$@"
}
peer() {
    local name=$1 protocol=$2
    shift 2
    if scripts/peers.sh install "$name" > "$target/peers-$name.log" 2>&1; then
        server "$name" "$(scripts/peers.sh version "$name")" "$protocol" "$@" \
            "command = [\"scripts/peers.sh\", \"start\", \"$name\", \"{port}\"]"
    else
        echo "compare: $name cannot be installed here and is left out: $target/peers-$name.log" >&2
    fi
}
# campanile NAME CONFIG SHARDS [LINE...]: Campanile itself, in one way or another.
campanile() {
    local name=$1 config=$2 shards=$3
    shift 3
    server "$name" "$("$target/release/campanile" --version)" wserver 'rpc_protocol = "easyws"' \
        "command = [\"$target/release/campanile\", \"--listen\", \"127.0.0.1:{port}\", \
\"--shards\", \"$shards\", \"--config\", \"$config\"]" "$@"
}

readonly usual=$target/compare-campanile.toml busy=$target/compare-busy.toml
cat > "$usual" <<'END'
# Idle sessions are not to be pinged while they are counted; else all defaults.
[heartbeat]
ping_interval_ms = 86_400_000
idle_timeout_ms = 86_400_000
END
{ cat "$usual" && printf '\n[limits]\nbusy_poll_us = 1_000\n'; } > "$busy"
{
    words="by scripts/compare.sh $*"
    echo "note = \"${words% }\""
    campanile campanile "$usual" 1
    peer bun topics 'rpc_protocol = "topics"'
    peer ws topics 'rpc_protocol = "topics"'
    peer nchan topics
    peer nats nats 'via = "client"'
    peer sockudo pusher 'app = "app-id:app-key:app-secret"'
    campanile campanile-busy "$busy" 1 'measures = ["rpc"]'
    campanile campanile-2-shards "$usual" 2 'measures = ["shards"]'
} > "$list"

exec "$target/release/loadtest" compare "$list" --markdown "$page" \
    --report "$target/compare.html" "$@"
