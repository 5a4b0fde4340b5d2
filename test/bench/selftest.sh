#!/bin/sh
# The load generator against the sink: every message counted on both sides, bad answers reported as given.
# Usage: selftest.sh PATH/turnpike-bench
set -eu
bench=$1
dir=$(mktemp -d)
sink=
finish() {
    [ -z "$sink" ] || kill "$sink" 2>/dev/null || true
    rm -rf "$dir"
}
trap finish EXIT

start_sink() { # options...
    : >"$dir/out"
    "$bench" sink 127.0.0.1:0 "$@" >"$dir/out" &
    sink=$!
    i=0
    until port=$(sed -n 's/^listening 127.0.0.1 //p' "$dir/out") && [ -n "$port" ]; do
        i=$((i + 1))
        [ "$i" -lt 100 ] || { echo "the sink does not start" >&2; exit 1; }
        sleep 0.1
    done
}

expect() { # what, text, pattern
    case $2 in
    *"$3"*) echo "ok: $1" ;;
    *) echo "FAILED: $1: no $3 in: $2" >&2; exit 1 ;;
    esac
}

start_sink --exit-after 2000 --log "$dir/log"
got=$("$bench" send "127.0.0.1:$port" --messages 2000 --sessions 8 --per-connection 50 --to 'r@d{n%7}.test' \
    --incompressible --ack-log "$dir/acks" --json)
wait "$sink"
sink=
expect "all accepted" "$got" '"accepted":2000,"refused":0,"lost":0'
expect "all taken" "$(cat "$dir/out")" '"messages":2000,"recipients":2000'
sed 's/.*"message_id":"\(.*\)"}/\1/' "$dir/log" | sort >"$dir/taken"
sort "$dir/acks" | cmp - "$dir/taken"
echo "ok: each acknowledged message was taken once"

start_sink --reply 'rcpt:*@d3.test=550 5.1.1 no such user' --reply 'dot#10=451 4.3.0 later' --delay rcpt=2 \
    --pipelining off
got=$("$bench" send "127.0.0.1:$port" --messages 700 --sessions 4 --to 'r@d{n%7}.test' --json) && exit 1
expect "refusals by rule" "$got" '"rcpt: 550 5.1.1 no such user":100'
expect "only the first ten" "$got" '"dot: 451 4.3.0 later":10'
expect "the rest accepted" "$got" '"accepted":590,"refused":110,"lost":0'
kill "$sink"
wait "$sink"
sink=

openssl req -x509 -newkey rsa:2048 -nodes -keyout "$dir/key" -out "$dir/cert" -days 2 -subj /CN=localhost \
    -addext subjectAltName=IP:127.0.0.1,DNS:localhost 2>/dev/null
echo secret >"$dir/password"
start_sink --tls "$dir/cert,$dir/key" --record "$dir" --reply 'data%100#3=close'
got=$("$bench" send "localhost:$port" --messages 100 --sessions 4 --tls starttls --ca "$dir/cert" --auth 'u{s}' \
    --password-file "$dir/password" --recipients 3 --json) && exit 1
expect "three connections cut" "$got" '"accepted":97,"refused":0,"lost":3,"recipients":291'
[ "$(ls "$dir" | grep -c '\.eml$')" -eq 97 ]
[ "$(wc -c <"$dir/00000001.eml")" -eq 4096 ]
expect "TLS is noted" "$(head -n 1 "$dir/log.jsonl")" '"tls":true'

got=$("$bench" send "127.0.0.1:$port" --seconds 1 --rate 200 --sessions 4 --json)
expect "open loop" "$got" '"refused":0,"lost":0'
rate=$(echo "$got" | sed 's/.*"accepted":\([0-9]*\).*/\1/')
[ "$rate" -ge 50 ] && [ "$rate" -le 201 ]
got=$("$bench" idle "127.0.0.1:$port" --connections 200 --seconds 1)
expect "idle connections" "$got" '"open":200,"greeted":200'
