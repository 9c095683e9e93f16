#!/usr/bin/env bash
# Installs the servers that Campanile is compared with, from package registries, and starts one.
#
# usage: scripts/peers.sh install [PEER...]
#        scripts/peers.sh start PEER PORT
#        scripts/peers.sh version PEER
#   PEER  bun, ws, nchan, nats or sockudo (install: default all)
#
# bun, ws and sockudo are installed below target/peers; nginx, nchan and nats-server are Debian
# packages. sockudo is compiled, which takes some minutes. `start` replaces this script by the
# server, on loopback. The server is ready when it accepts connections on PORT.
#
# Exit status: 0; 1 if an installation failed; 2 for wrong arguments.
set -euo pipefail

readonly all=(bun ws nchan nats sockudo)
readonly bun_version=1.4.5 ws_version=8.23.0 sockudo_version=5.2.0
readonly bun=bun/node_modules/bun/bin/bun.exe
here=$(cd "$(dirname "$0")" && pwd)
folder=${CARGO_TARGET_DIR:-$here/../target}/peers
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

usage() {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
}

# One folder per package: npm removes packages that are not named in the same command.
npm_install() {
    mkdir -p "$folder/$1"
    (cd "$folder/$1" && npm install --no-audit --no-fund --no-save --silent "$1@$2")
}
debian() { dpkg -s "$@" > /dev/null 2>&1 || { apt-get -q update && apt-get -qy install "$@"; }; }

install_one() {
    case $1 in
        bun) [ -x "$folder/$bun" ] || npm_install bun "$bun_version" ;;
        ws) [ -d "$folder/ws/node_modules/ws" ] || npm_install ws "$ws_version" ;;
        nchan) debian nginx libnginx-mod-nchan ;;
        nats) debian nats-server ;;
        sockudo)
            [ -x "$folder/bin/sockudo" ] && return
            debian protobuf-compiler libprotobuf-dev
            cargo install --quiet --root "$folder" --version "$sockudo_version" --locked \
                --no-default-features --features local,v2 sockudo
            ;;
        *) usage ;;
    esac
}

# write_config PORT FILE.in: fills in a config template and prints the path of the result.
write_config() {
    local name=${2%.in}
    mkdir -p "$folder/run-${name%%.*}"
    sed -e "s|@PORT@|$1|g" -e "s|@METRICS@|$(($1 + 1))|g" \
        -e "s|@FOLDER@|$folder/run-${name%%.*}|g" "$here/peers/$2" > "$folder/$name"
    echo "$folder/$name"
}

start_one() {
    case $1 in
        bun) exec "$folder/$bun" "$here/peers/bun.mjs" "$2" ;;
        ws) cd "$folder/ws" && exec node "$here/peers/ws.mjs" "$2" ;;
        nchan) exec nginx -c "$(write_config "$2" nchan.conf.in)" ;;
        nats) exec nats-server -c "$(write_config "$2" nats.conf.in)" ;;
        sockudo) exec "$folder/bin/sockudo" --config "$(write_config "$2" sockudo.toml.in)" ;;
        *) usage ;;
    esac
}

version_of() {
    case $1 in
        bun) echo "bun $bun_version" ;;
        ws) echo "ws $ws_version on Node.js $(node --version)" ;;
        nchan)
            dpkg-query -W -f '${Package} ${Version}, ' nginx libnginx-mod-nchan | sed 's/, $//'
            ;;
        nats) dpkg-query -W -f '${Package} ${Version}' nats-server ;;
        sockudo) echo "sockudo $sockudo_version" ;;
        *) usage ;;
    esac
}

case ${1:-} in
    install)
        shift
        [ "$#" -gt 0 ] || set -- "${all[@]}"
        for peer; do install_one "$peer"; done
        ;;
    start)
        [ "$#" -eq 3 ] && [[ "$3" =~ ^[0-9]+$ ]] || usage
        start_one "$2" "$3"
        ;;
    version)
        [ "$#" -eq 2 ] || usage
        version_of "$2"
        ;;
    *) usage ;;
esac
