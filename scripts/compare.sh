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

# What a server is called, what it speaks, and what else is to be said of it.
server() {
    printf '\n[[server]]\nname = "%s"\nprotocol = "%s"\n' "$1" "$2"
    shift 2
    printf '%s\n' "$@"
}
peer() {
    local name=$1
    shift
    if scripts/peers.sh install "$name" > "$target/peers-$name.log" 2>&1; then
        server "$name" "$@" "command = [\"scripts/peers.sh\", \"start\", \"$name\", \"{port}\"]" \
            >> "$list"
    else
        echo "compare: $name cannot be installed here and is left out: $target/peers-$name.log" >&2
    fi
}

cat > "$target/compare-campanile.toml" <<'END'
# Idle sessions are not to be pinged while they are counted; else all defaults.
[heartbeat]
ping_interval_ms = 86_400_000
idle_timeout_ms = 86_400_000
END
: > "$list"
server campanile wserver 'rpc_protocol = "easyws"' \
    "command = [\"$target/release/campanile\", \"--listen\", \"127.0.0.1:{port}\", \
\"--shards\", \"1\", \"--config\", \"$target/compare-campanile.toml\"]" >> "$list"
peer bun topics 'rpc_protocol = "topics"'
peer ws topics 'rpc_protocol = "topics"'
peer nchan topics
peer nats nats 'via = "client"'
peer sockudo pusher 'app = "app-id:app-key:app-secret"'

exec "$target/release/loadtest" compare "$list" --markdown "$page" \
    --report "$target/compare.html" "$@"
