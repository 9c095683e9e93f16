#!/usr/bin/env bash
# Runs all checks that a change must pass. Needs a Rust toolchain, Node.js and Python; installs its
# other tools.
#
# usage: scripts/test.sh [STAGE...]
#   STAGE  one of: tools packages format lint test docs benches openapi conformance (default: all,
#          in this order)
#
# The last line is `N passed, N failed`, which counts stages. Exit status: 1 if a stage failed.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never

# Installs missing programs with apt-get as root; otherwise names them. rustfmt and clippy come with
# the toolchain.
tools() {
    local missing=() pair package
    for pair in cc:gcc prlimit:util-linux setpriv:util-linux nginx:nginx caddy:caddy haproxy:haproxy
    do
        command -v "${pair%%:*}" > /dev/null || missing+=("${pair##*:}")
    done
    [ "${#missing[@]}" -eq 0 ] && return
    if command -v apt-get > /dev/null && [ "$(id -u)" -eq 0 ]; then
        apt-get -q update || echo "$0: cannot update the package lists" >&2
        for package in "${missing[@]}"; do
            install_package "$package" || echo "$0: cannot install $package" >&2
        done
    else
        echo "$0: not installed: ${missing[*]}; tests that need them report it" >&2
    fi
}

# Installs a package without starting its services: policy-rc.d with status 101 forbids that.
install_package() {
    local policy=/usr/sbin/policy-rc.d is_ours=no code=0
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod +x "$policy"
        is_ours=yes
    fi
    DEBIAN_FRONTEND=noninteractive apt-get -qy install "$1" || code=$?
    [ "$is_ours" = no ] || rm -f "$policy"
    return "$code"
}

# Installs the third-party clients in the versions of the lock file, without their install scripts.
packages() { (cd tests/js && npm ci --ignore-scripts --no-audit --no-fund); }

format() { cargo fmt --all --check; }
lint() { cargo clippy --workspace --all-targets --quiet -- -D warnings; }
docs() {
    RUSTDOCFLAGS="-D warnings" \
        cargo doc --workspace --no-deps --document-private-items --quiet
}
# Runs each benchmark once; they compare their output with checksums.
benches() { cargo bench --workspace --bench '*' --quiet -- --test; }

# Runs unit tests, transcripts (with the Autobahn cases), wire tests of the executable, the
# simulator, the examples, clients in Node.js and doc tests.
test_all() { cargo test --workspace --quiet --no-fail-fast; }

# Checks the server API against its OpenAPI document. If the tools cannot be installed, the stage
# passes: the tests in Node.js check paths and methods.
openapi() {
    cargo build --quiet -p campanile || return 1
    local code=0
    scripts/openapi.sh "${CARGO_TARGET_DIR:-target}/debug/campanile" || code=$?
    [ "$code" -eq 3 ] || return "$code"
    echo "cannot install schemathesis: the API was checked only by the tests in Node.js" >&2
}

# Runs the Autobahn suite. If it cannot be installed, replays its cases from transcripts.
conformance() {
    cargo build --release --quiet -p campanile || return 1
    local code=0
    scripts/autobahn.sh "${CARGO_TARGET_DIR:-target}/release/campanile" || code=$?
    [ "$code" -eq 0 ] && { autobahn="the Autobahn suite passed"; return 0; }
    [ "$code" -eq 3 ] || { autobahn="the Autobahn suite FAILED"; return 1; }
    autobahn="cannot install the Autobahn suite: its cases were replayed from transcripts"
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
        # Stages run in this shell, because `conformance` sets $autobahn.
        if "$function"; then passed=$((passed + 1)); else failed+=("$stage"); fi
    done
    echo "== $autobahn"
    [ "${#failed[@]}" -eq 0 ] || echo "== failed: ${failed[*]}"
    echo "$passed passed, ${#failed[@]} failed"
    [ "${#failed[@]}" -eq 0 ]
}

main "$@"
