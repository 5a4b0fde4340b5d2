#!/bin/sh
# What is done once for compose.yaml's cluster.
#   setup.sh secrets    before the nodes start: a certificate for clients, the admin token, the account's password
#   setup.sh cluster    when they run: the cluster, its members, an account and its limit
# Each part does only what was not done before.
set -eu

secrets=/secrets
account=demo@example.com
nodes='node1 node2 node3'
umask 077

tp() { # node, turnpike's arguments
    name=$1
    shift
    turnpike --url "http://$name.example.com:8025" --token-file "$secrets/admin.token" "$@"
}

fail() {
    echo "setup: $1" >&2
    exit 1
}

# Waits until a command succeeds.
await() { # seconds, command...
    tries=$1
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 1
    done
}

make_secrets() {
    [ -s "$secrets/outbound.key" ] ||
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=outbound.example.com \
            -addext subjectAltName=DNS:outbound.example.com,DNS:node1.example.com,DNS:node2.example.com,DNS:node3.example.com \
            -keyout "$secrets/outbound.key" -out "$secrets/outbound.pem"
    [ -s "$secrets/admin.token" ] || openssl rand -hex 24 >"$secrets/admin.token"
    [ -s "$secrets/password" ] || openssl rand -base64 18 >"$secrets/password"
}

token() {
    tp node1 node token >/tmp/token
}

healthy() {
    [ "$(tp node1 cluster status | head -n 1)" = healthy ] && [ "$(tp node1 node list | grep -c ' voter.* active ')" -eq 3 ]
}

make_cluster() {
    for n in $nodes; do
        await 60 tp "$n" status || fail "$n does not answer"
    done
    tp node1 cluster status >/dev/null 2>&1 || [ -e "$secrets/made" ] || tp node1 cluster init
    : >"$secrets/made"
    for n in node2 node3; do
        await 5 tp "$n" node list && continue
        await 60 token || fail "node1 gives no token"
        tp "$n" node join /tmp/token || fail "$n cannot join"
        rm -f /tmp/token
    done
    await 60 healthy || fail "the cluster is not healthy: $(tp node1 cluster status)"
    if ! tp node1 account show "$account" >/dev/null 2>&1; then
        tp node1 account add "$account" --password-file "$secrets/password"
        tp node1 limit set "$account" account-hour 30
    fi
    tp node1 cluster status
}

case ${1:-} in
secrets) make_secrets ;;
cluster) make_cluster ;;
*)
    sed -n '2,5s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
