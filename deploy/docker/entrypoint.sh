#!/bin/sh
# Runs a node in a container. A node.yaml is mounted at /etc/turnpike; or else a template node.yaml.in, in which @NAME@
# stands for the environment's TURNPIKE_NAME.
set -eu

template=/etc/turnpike/node.yaml.in
config=/run/turnpike/node.yaml
if [ "${1:-}" = turnpiked ] && [ ! -e /etc/turnpike/node.yaml ] && [ -e "$template" ]; then
    : "${TURNPIKE_NAME:?is not set: the name of this node}"
    case $TURNPIKE_NAME in
    *[!A-Za-z0-9_.-]*)
        echo "turnpike: TURNPIKE_NAME may have letters, digits, '-', '_' and '.'" >&2
        exit 64
        ;;
    esac
    sed "s/@NAME@/$TURNPIKE_NAME/g" "$template" >"$config"
    set -- turnpiked --config "$config"
fi
exec "$@"
