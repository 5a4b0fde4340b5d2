#!/bin/sh
# A demonstration on this machine: installs what is needed, builds Turnpike, starts a node on loopback with an example
# account, and a sink that takes all mail it relays; then submits a message and shows what became of it.
# It can be run again. Everything it makes is in build/ and run/demo/; sh deploy/down.sh undoes it.
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
demo=$root/run/demo
bin=$root/build/release
node=$bin/node/core/turnpiked
cli=$bin/cli/turnpike
bench=$bin/test/bench/turnpike-bench
account=demo@example.com

socket=$demo/admin.sock
# A socket's path has room for 107 bytes.
[ "${#socket}" -lt 100 ] || socket=${TMPDIR:-/tmp}/turnpike-demo-$(id -u).sock

say() {
    echo "==> $*"
}

fail() { # what, log file
    echo "turnpike: $1" >&2
    [ ! -s "${2:-/dev/null}" ] || tail -n 20 "$2" >&2
    exit 1
}

# Waits until a command succeeds.
await() { # tenths of a second, command...
    tries=$1
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.1
    done
}

start() { # name, command...
    name=$1
    shift
    : >"$demo/$name.log"
    setsid nohup "$@" >"$demo/$name.log" 2>&1 </dev/null &
    echo $! >"$demo/$name.pid"
}

. deploy/packages.sh
say "packages"
packages_install build run

say "build (build/release; the first time takes some minutes)"
mkdir -p build
cmake --preset release >build/up.log 2>&1 || fail "cannot configure" build/up.log
cmake --build --preset release --target turnpiked turnpike turnpike_bench >>build/up.log 2>&1 ||
    fail "cannot build" build/up.log

sh deploy/down.sh --stop-only
mkdir -p "$demo/tls" "$demo/data" "$demo/delivered"
chmod 700 "$demo"
rm -f "$demo"/delivered/*

if [ ! -s "$demo/tls/key.pem" ]; then
    say "self-signed certificate"
    openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
        -keyout "$demo/tls/key.pem" -out "$demo/tls/cert.pem" 2>"$demo/openssl.log" ||
        fail "cannot make a certificate" "$demo/openssl.log"
fi
if [ ! -s "$demo/password" ]; then
    (umask 077 && openssl rand -base64 18 >"$demo/password")
fi

cat >"$demo/node.yaml" <<EOF
# The demonstration's node. All keys: docs/configuration.md; an example of a real one: deploy/turnpike.example.yaml.
name: demo
hostname: localhost.example.com
data_dir: $demo/data
listeners:
  - { kind: submission, address: 127.0.0.1:2587, tls: { certificate: $demo/tls/cert.pem, key: $demo/tls/key.pem } }
  - { kind: submissions, address: 127.0.0.1:2465, tls: { certificate: $demo/tls/cert.pem, key: $demo/tls/key.pem } }
  - { kind: relay, address: 127.0.0.1:2525 }
relay_clients:
  - { networks: 127.0.0.0/8, account: $account }
# All mail goes to the sink, wherever it is addressed: the demonstration sends nothing to the world.
routes:
  - { domain: "*", via: "[127.0.0.1]:2526", tls: none }
admin: { socket: $socket }
log: { events: $demo/events.json }
EOF

say "sink on 127.0.0.1:2526"
start sink "$bench" sink 127.0.0.1:2526 --record "$demo/delivered"
await 50 grep -q '^listening' "$demo/sink.log" || fail "the sink does not start" "$demo/sink.log"

say "node on 127.0.0.1: 2587 (STARTTLS), 2465 (TLS), 2525 (relay)"
start node "$node" --config "$demo/node.yaml"
await 200 "$cli" --socket "$socket" status || fail "the node does not start" "$demo/node.log"

if ! "$cli" --socket "$socket" account list 2>/dev/null | grep -q "$account"; then
    say "account $account"
    "$cli" --socket "$socket" account add "$account" --password-file "$demo/password" >"$demo/account.log" 2>&1 ||
        fail "cannot make the account" "$demo/account.log"
fi

say "a message from $account to friend@example.net, by TLS with AUTH on port 2465"
"$bench" send localhost:2465 --tls wrapped --ca "$demo/tls/cert.pem" --auth "$account" \
    --password-file "$demo/password" --from "$account" --to friend@example.net --sessions 1 --messages 1 \
    --give-up 20 >"$demo/send.log" 2>&1 || fail "the message was not accepted" "$demo/send.log"
echo "    accepted: yes"
mail=$demo/delivered/00000001.eml
if ! await 200 test -s "$mail"; then
    "$cli" --socket "$socket" queue list || true
    fail "the message was accepted, but not delivered within 20 s" "$demo/node.log"
fi
id=$(tr -d '\r' <"$mail" | sed -n '/^Received:/,/^[^ \t]/s/.*[ \t]id \([^ ;]*\).*/\1/p' | head -n 1)
echo "    delivered: yes, queue id $id"
echo
"$cli" --socket "$socket" track "$id" || true

cat <<EOF

It works. How to go on:
    alias turnpike='$cli --socket $socket'
    turnpike status                  what the node does        turnpike --help    all commands
    turnpike queue list              what waits                turnpike top       live
    turnpike track --recipient friend@example.net
    tail -f $demo/events.json
    less $mail
Send your own mail to localhost, port 2465 (TLS) or 2587 (STARTTLS), user $account,
password in $demo/password; what is delivered appears in $demo/delivered.
    sh deploy/down.sh                stops it and removes run/demo
EOF
