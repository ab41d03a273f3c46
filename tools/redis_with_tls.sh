#!/bin/sh
# Prints the path of a Redis or Valkey server that was built with TLS, for `make test-cluster`.
#
# The packaged wheel has none. One on PATH is taken when it speaks TLS; else, on Debian and Ubuntu, the distribution's own
# build is unpacked below .cordum/, beside the system and without touching it. Elsewhere: brew install redis.
set -eu
cd "$(dirname "$0")/.."

speaks_tls() {
    # Without a certificate a TLS build refuses for want of one, another build for want of TLS.
    "$1" --port 0 --tls-port 1 --save '' 2>&1 </dev/null | grep -q 'No tls-cert-file'
}

for name in "${CORDUM_REDIS_SERVER:-}" valkey-server redis-server; do
    found=$(command -v "$name" 2>/dev/null) || continue
    if speaks_tls "$found"; then
        echo "$found"
        exit 0
    fi
done

home=$PWD/.cordum/redis-tls
server=$home/redis-server
if [ ! -x "$server" ]; then
    if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
        echo "no redis-server or valkey-server with TLS on PATH: install one (brew install redis)" >&2
        exit 1
    fi
    rm -rf "$home" && mkdir -p "$home/debs" "$home/root"
    cd "$home/debs"
    if ! apt-get download -qq redis-tools >&2 2>/dev/null; then
        apt-get update -qq >&2
        apt-get download -qq redis-tools >&2
    fi
    # What the server needs beyond the C library, where the machine lacks it.
    for library in libjemalloc2 liblzf1 libatomic1 libssl3 libsystemd0 libstdc++6; do
        dpkg -s "$library" >/dev/null 2>&1 || apt-get download -qq "$library" >&2 2>/dev/null || true
    done
    for package in *.deb; do
        dpkg -x "$package" "$home/root"
    done
    # One program with several names: this one makes it the server.
    ln -s redis-check-rdb "$home/root/usr/bin/redis-server"
    cat >"$server" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH=$(find "$home/root" -name '*.so.*' -exec dirname {} \; | sort -u | paste -sd: -)
export LD_LIBRARY_PATH
exec "$home/root/usr/bin/redis-server" "\$@"
WRAPPER
    chmod +x "$server"
fi
if ! speaks_tls "$server"; then
    echo "$server does not speak TLS" >&2
    exit 1
fi
echo "$server"
