#!/bin/sh
# Ends the demonstration that deploy/up.sh started, and removes run/demo. What was built, and the packages, stay.
#   --stop-only    keep run/demo, with its account and its queue
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
demo=$root/run/demo

# Only a process that is still the one we started: a number may have been given to another.
ours() { # pid
    [ -n "$1" ] && [ -r "/proc/$1/cmdline" ] && tr '\0' ' ' <"/proc/$1/cmdline" | grep -qF "$demo"
}

for name in node1 node2 node3 sink; do
    file=$demo/$name.pid
    [ -s "$file" ] || continue
    pid=$(cat "$file")
    if ours "$pid"; then
        kill "$pid"
        tries=300
        while ours "$pid" && [ "$tries" -gt 0 ]; do
            tries=$((tries - 1))
            sleep 0.1
        done
        if ours "$pid"; then
            echo "turnpike: the $name (process $pid) does not stop; ending it" >&2
            kill -KILL "$pid"
        fi
        [ "${1:-}" = --stop-only ] || echo "stopped: $name"
    fi
    rm -f "$file"
done

[ "${1:-}" != --stop-only ] || exit 0
if [ -d "$demo" ]; then
    rm -rf "$demo" "${TMPDIR:-/tmp}/turnpike-demo-$(printf %s "$demo" | cksum | cut -d ' ' -f 1)"
    echo "removed: $demo"
else
    echo "nothing to undo"
fi
