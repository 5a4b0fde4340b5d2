#!/bin/sh
# A demonstration on this machine: installs what is needed, builds Turnpike, and starts a cluster of three nodes on
# 127.0.0.1, .2 and .3, with an example account, and a sink that takes all mail they relay; then submits a message to
# each node, and shows what became of them and what the account has used of its limits.
# It can be run again. Everything it makes is in build/ and run/demo/; sh deploy/down.sh undoes it.
#
#   TURNPIKE_BUILD=DIR         use the programs of this build directory instead of building
#   TURNPIKE_NET=127.77.5      addresses .1, .2 and .3 of another loopback network
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
demo=$root/run/demo
bin=${TURNPIKE_BUILD:-$root/build/release}
net=${TURNPIKE_NET:-127.0.0}
node=$bin/node/core/turnpiked
cli=$bin/cli/turnpike
bench=$bin/test/bench/turnpike-bench
account=demo@example.com
nodes='1 2 3'

# A socket's path has room for 107 bytes.
sockets=$demo
[ "${#sockets}" -lt 90 ] || sockets=${TMPDIR:-/tmp}/turnpike-demo-$(printf %s "$demo" | cksum | cut -d ' ' -f 1)

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

socket() { # node's number
    echo "$sockets/node$1.sock"
}

tp() { # node's number, turnpike's arguments
    number=$1
    shift
    "$cli" --socket "$(socket "$number")" "$@"
}

configure() { # node's number
    mkdir -p "$demo/node$1"
    cat >"$demo/node$1.yaml" <<EOF
# A node of the demonstration. All keys: docs/configuration.md; an example of a real one: deploy/turnpike.example.yaml.
name: node$1
hostname: node$1.example.com
data_dir: "$demo/node$1"
listeners:
  - { kind: submission, address: "$net.$1:2587", tls: &tls { certificate: "$demo/tls/cert.pem", key: "$demo/tls/key.pem" } }
  - { kind: submissions, address: "$net.$1:2465", tls: *tls }
  - { kind: relay, address: "$net.$1:2525" }
relay_clients:
  - { networks: 127.0.0.0/8, account: $account }
# Consensus, and the talk between nodes. Both are mutual TLS with the cluster's own certificates.
cluster: { listen: "$net.$1:7301", gossip: "$net.$1:7302" }
# All mail goes to the sink, wherever it is addressed: the demonstration sends nothing to the world.
routes:
  - { domain: "*", via: "[$net.1]:2526", tls: none }
admin: { socket: "$(socket "$1")" }
log: { events: "$demo/node$1.events.json" }
EOF
}

# Nothing is wrong, and each of the three votes, so that any one of them may be lost.
healthy() {
    tp 1 cluster status >"$demo/status" 2>/dev/null &&
        [ "$(head -n 1 "$demo/status")" = healthy ] && [ "$(grep -c '^node.* voter.* active ' "$demo/status")" -eq 3 ]
}

. deploy/packages.sh
say "packages"
if [ -z "${TURNPIKE_BUILD:-}" ]; then
    packages_install build run
    say "build (build/release; the first time takes some minutes)"
    mkdir -p build
    cmake --preset release >build/up.log 2>&1 || fail "cannot configure" build/up.log
    cmake --build --preset release --target turnpiked turnpike turnpike_bench >>build/up.log 2>&1 ||
        fail "cannot build" build/up.log
else
    packages_install run
fi

sh deploy/down.sh --stop-only
mkdir -p "$demo/tls" "$demo/delivered" "$sockets"
chmod 700 "$demo" "$sockets"
rm -f "$demo"/delivered/*

if [ ! -s "$demo/tls/key.pem" ]; then
    say "self-signed certificate for clients"
    openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=localhost \
        -addext "subjectAltName=DNS:localhost,IP:$net.1,IP:$net.2,IP:$net.3" \
        -keyout "$demo/tls/key.pem" -out "$demo/tls/cert.pem" 2>"$demo/openssl.log" ||
        fail "cannot make a certificate" "$demo/openssl.log"
fi
if [ ! -s "$demo/password" ]; then
    (umask 077 && openssl rand -base64 18 >"$demo/password")
fi

say "sink on $net.1:2526"
start sink "$bench" sink "$net.1:2526" --record "$demo/delivered"
await 50 grep -q '^listening' "$demo/sink.log" || fail "the sink does not start" "$demo/sink.log"

for n in $nodes; do
    say "node$n on $net.$n: 2587 (STARTTLS), 2465 (TLS), 2525 (relay)"
    configure "$n"
    start "node$n" "$node" --config "$demo/node$n.yaml"
done
for n in $nodes; do
    await 200 tp "$n" status || fail "node$n does not start" "$demo/node$n.log"
done

# A node that has just started may not know the cluster's state yet.
token() {
    (umask 077 && tp 1 node token >"$demo/token" 2>"$demo/cluster.log")
}

member() { # node's number
    [ -e "$demo/node$1/cluster/member.json" ]
}
if ! member 1; then
    say "a cluster, made by node1"
    tp 1 cluster init >"$demo/cluster.log" 2>&1 || fail "cannot make the cluster" "$demo/cluster.log"
fi
for n in 2 3; do
    member "$n" && continue
    say "node$n joins it, with a token"
    await 100 token || fail "node1 gives no token" "$demo/cluster.log"
    tp "$n" node join "$demo/token" >"$demo/cluster.log" 2>&1 || fail "node$n cannot join" "$demo/cluster.log"
    rm -f "$demo/token"
done
await 300 healthy || { tp 1 cluster status || true; fail "the cluster is not healthy after 30 s" "$demo/node1.log"; }

if ! tp 1 account list 2>/dev/null | grep -q "$account"; then
    say "account $account, made on node2"
    tp 2 account add "$account" --password-file "$demo/password" >"$demo/account.log" 2>&1 ||
        fail "cannot make the account" "$demo/account.log"
fi

for n in $nodes; do
    say "a message from $account to friend$n@example.net, by TLS with AUTH, to node$n"
    "$bench" send "$net.$n:2465" --tls wrapped --ca "$demo/tls/cert.pem" --auth "$account" \
        --password-file "$demo/password" --from "$account" --to "friend$n@example.net" --sessions 1 --messages 1 \
        --give-up 20 >"$demo/send.log" 2>&1 || fail "the message was not accepted" "$demo/send.log"
    echo "    accepted: yes"
done
arrived() {
    [ "$(find "$demo/delivered" -name '*.eml' | wc -l)" -ge 3 ]
}
if ! await 200 arrived; then
    tp 1 queue summary || true
    fail "accepted, but not all delivered within 20 s" "$demo/node1.log"
fi
mail=$demo/delivered/00000001.eml
id=$(tr -d '\r' <"$mail" | sed -n '/^Received:/,/^[^ \t]/s/.*[ \t]id \([^ ;]*\).*/\1/p' | head -n 1)
echo "    delivered: yes"
echo
tp 3 track "$id" || true
echo
tp 1 limit show "$account" || true
echo
tp 1 cluster status || true

cat <<EOF

It works. How to go on:
    turnpike() { '$cli' --socket '$(socket 1)' "\$@"; }
    turnpike cluster status           is everything well          turnpike help      all commands
    turnpike freeze $account   nobody sends as it, on any node, once this returns;   turnpike thaw $account
    turnpike limit set $account account-hour 10      then send eleven messages, to whichever nodes
    turnpike track --recipient friend1@example.net         turnpike top       turnpike queue summary
    tail -f '$demo/node1.events.json'
    kill -9 \$(cat '$demo/node1.pid')    the others go on; sh deploy/up.sh starts it again
Send your own mail to $net.1, .2 or .3, port 2465 (TLS) or 2587 (STARTTLS), user $account,
password in $demo/password; what is delivered appears in $demo/delivered.
    sh deploy/down.sh                 stops it and removes run/demo
EOF
