#!/bin/bash
# Installs the Autobahn suite (autobahntestsuite 25.10.1) for this user, outside the system.
#
# usage: scripts/autobahn-install.sh DIR
#
# Creates DIR/wstest, the suite's program; does nothing if that already works. DIR is complete or
# absent: it is built in a temporary folder beside it and renamed, under a lock.
# The suite needs Python 2.7, last in Debian 11 "bullseye". apt downloads its packages from the
# Debian archive and checks their signatures; they are unpacked, not installed. The suite is from
# PyPI. Needs apt-get, dpkg, python3 with pip, gcc and the keys of the Debian archive. Takes one to
# three minutes and 150 MB.
set -euo pipefail

if [ $# -ne 1 ]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
fi
case $1 in
    /*) place=$1 ;;
    *) place=$PWD/$1 ;;
esac
mkdir -p "$(dirname "$place")"
exec 9> "$place.lock"
flock 9

if [ -x "$place/wstest" ] && "$place/wstest" -a > /dev/null 2>&1; then
    exit 0
fi

readonly keys=/usr/share/keyrings/debian-archive-keyring.gpg
for tool in apt-get dpkg python3 gcc; do
    command -v "$tool" > /dev/null || { echo "$0: $tool is missing" >&2; exit 1; }
done
[ -r "$keys" ] || { echo "$0: $keys is missing (package debian-archive-keyring)" >&2; exit 1; }

build=$(mktemp -d "$place.XXXXXX")
trap 'rm -rf "$build"' EXIT
mkdir -p "$build"/apt/{lists,archives}/partial "$build/debs"

# Runs apt-get on one release of one archive, with all its files below $build.
private_apt() {
    apt-get -q -y \
        -oDir::Etc::sourcelist="$build/apt/sources.list" -oDir::Etc::sourceparts=/dev/null \
        -oDir::State::Lists="$build/apt/lists" \
        -oDir::Cache="$build/apt" -oDir::Cache::archives="$build/apt/archives" \
        -oAPT::Sandbox::User="$(id -un)" -oAcquire::Retries=2 -oAcquire::Languages=none \
        -oAcquire::Check-Valid-Until=false "$@"
}

packages=(python2.7 python2.7-minimal python2.7-dev libpython2.7 libpython2.7-minimal
    libpython2.7-stdlib libpython2.7-dev libssl1.1 libffi7)

fetch_python() {
    local archive=$1
    echo "deb [signed-by=$keys] $archive bullseye main" > "$build/apt/sources.list"
    private_apt update && (cd "$build/debs" && private_apt download "${packages[@]}")
}

# The archive that this machine is configured for.
own=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
    awk '$2 !~ /-/ && !found { found = 1; print $1 }')
[ -n "$own" ] && fetch_python "$own" || { echo "$0: no archive has Python 2.7" >&2; exit 1; }
for package in "$build"/debs/*.deb; do
    dpkg -x "$package" "$build/system"
done

# Both programs derive their folder from their own path, so the final rename does not break them.
cat > "$build/python2.7" <<'P'
#!/bin/bash
here=$(cd "$(dirname "$0")" && pwd)
export LD_LIBRARY_PATH=$here/system/usr/lib/$(uname -m)-linux-gnu
export PYTHONHOME=$here/system/usr PYTHONUSERBASE=$here/user PYTHONDONTWRITEBYTECODE=1
export C_INCLUDE_PATH=$here/system/usr/include/python2.7:$here/system/usr/include
exec "$here/system/usr/bin/python2.7" "$@"
P
cat > "$build/wstest" <<'P'
#!/bin/bash
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/python2.7" "$here/user/bin/wstest" "$@"
P
chmod +x "$build/python2.7" "$build/wstest"

# pip 20.3.4 is the last for Python 2.7. It cannot build packages while it runs from its wheel, so
# it first installs itself.
pip=pip-20.3.4-py2.py3-none-any.whl
python3 -m pip -q download --no-deps -d "$build/debs" pip==20.3.4
install=(install -q --user --no-warn-script-location)
"$build/python2.7" "$build/debs/$pip/pip" "${install[@]}" "$build/debs/$pip"
"$build/python2.7" -m pip "${install[@]}" setuptools==44.0.0 'wheel<0.38'
"$build/python2.7" -m pip "${install[@]}" autobahntestsuite==25.10.1
"$build/wstest" -a

rm -rf "$build/apt" "$build/debs" "$place"
mv -T "$build" "$place"
