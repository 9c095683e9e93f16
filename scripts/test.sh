#!/usr/bin/env bash
# Everything that has to hold before a change lands, on a machine that has a Rust toolchain, Node.js
# and Python; what else it needs, it installs.
#
# usage: scripts/test.sh [STAGE...]
#   STAGE  some of: tools packages format lint test docs benches openapi conformance (default: all,
#          in this order)
#
# Ends with a line `N passed, N failed`, N counting stages, and exits with 1 if any stage failed.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never

# Rustfmt and clippy come with the toolchain; the rest from Debian, where this is Debian. Most
# machines have all of it.
tools() {
    local wanted=() pair
    for pair in cc:gcc prlimit:util-linux setpriv:util-linux nginx:nginx caddy:caddy haproxy:haproxy
    do
        command -v "${pair%%:*}" > /dev/null || wanted+=("${pair##*:}")
    done
    [ "${#wanted[@]}" -eq 0 ] && return
    if command -v apt-get > /dev/null && [ "$(id -u)" -eq 0 ]; then
        apt-get -q update || echo "$0: the list of packages cannot be updated" >&2
        for pair in "${wanted[@]}"; do
            install_quietly "$pair" || echo "$0: cannot be installed: $pair" >&2
        done
    else
        echo "$0: not installed: ${wanted[*]}; tests that need them say so" >&2
    fi
}

# Installs a package, none of whose services is started.
install_quietly() {
    local policy=/usr/sbin/policy-rc.d is_ours=no code=0
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod +x "$policy"
        is_ours=yes
    fi
    DEBIAN_FRONTEND=noninteractive apt-get -qy install "$1" || code=$?
    [ "$is_ours" = no ] || rm -f "$policy"
    return "$code"
}

# The clients that are not ours, in the versions of the lock file. Nothing of theirs is run now.
packages() { (cd tests/js && npm ci --ignore-scripts --no-audit --no-fund); }

format() { cargo fmt --all --check; }
lint() { cargo clippy --workspace --all-targets --quiet -- -D warnings; }
docs() {
    RUSTDOCFLAGS="-D warnings" \
        cargo doc --workspace --no-deps --document-private-items --quiet
}
# Each once: what comes out is held against checksums.
benches() { cargo bench --workspace --bench '*' --quiet -- --test; }

# Unit tests, transcripts, wire tests against the real executable, the simulator, the examples,
# clients in Node.js, doc tests. The replay of the Autobahn transcripts is part of it.
test_all() { cargo test --workspace --quiet --no-fail-fast; }

# The server API against its OpenAPI document; where the tools cannot be installed, the tests in
# Node.js have held its paths and methods against it.
openapi() {
    cargo build --quiet -p campanile || return 1
    local code=0
    scripts/openapi.sh "${CARGO_TARGET_DIR:-target}/debug/campanile" || code=$?
    [ "$code" -eq 3 ] || return "$code"
    echo "schemathesis cannot be installed here: the API was not driven by it" >&2
}

# The Autobahn suite itself; where it cannot be installed, the same cases from its transcripts.
conformance() {
    cargo build --release --quiet -p campanile || return 1
    local code=0
    scripts/autobahn.sh "${CARGO_TARGET_DIR:-target}/release/campanile" || code=$?
    [ "$code" -eq 0 ] && { autobahn="the Autobahn suite passed"; return 0; }
    [ "$code" -eq 3 ] || { autobahn="the Autobahn suite FAILED"; return 1; }
    autobahn="the Autobahn suite cannot be installed here: its cases were run from transcripts"
    cargo test --quiet --test autobahn
}

main() {
    local stages=("$@") passed=0 failed=() stage function
    [ "$#" -gt 0 ] || stages=(tools packages format lint test docs benches openapi conformance)
    autobahn="the Autobahn stage was not run"
    for stage in "${stages[@]}"; do
        function=$stage
        [ "$stage" = test ] && function=test_all
        echo "== $stage"
        # A stage runs in this shell, so that what it found out is known at the end.
        if "$function"; then passed=$((passed + 1)); else failed+=("$stage"); fi
    done
    echo "== $autobahn"
    [ "${#failed[@]}" -eq 0 ] || echo "== failed: ${failed[*]}"
    echo "$passed passed, ${#failed[@]} failed"
    [ "${#failed[@]}" -eq 0 ]
}

main "$@"
