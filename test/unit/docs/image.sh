#!/bin/sh
# The image's build has all that a configuration reads: what .dockerignore lets through and the COPY lines of the
# Dockerfile's first stages bring is put into a folder, and configured there. To build it would take minutes.
#
#     image.sh SOURCES
set -eu
sources=$(cd "$1" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/context" "$folder/src"
sed -n 's/^!//p' "$sources/.dockerignore" | while read -r path; do
    mkdir -p "$folder/context/$(dirname "$path")"
    cp -r "$sources/$path" "$folder/context/$path"
done
sed -n '/ AS build$/,/ AS node$/s/^COPY \([^-].*\)/\1/p' "$sources/deploy/docker/Dockerfile" >"$folder/copies"
[ -s "$folder/copies" ] || { echo "no COPY lines found" >&2; exit 1; }
while read -r line; do
    # shellcheck disable=SC2086
    set -- $line
    for last in "$@"; do :; done
    while [ $# -gt 1 ]; do
        case $last in
            */) mkdir -p "$folder/src/$last" && cp -r "$folder/context/$1" "$folder/src/$last" ;;
            *) mkdir -p "$(dirname "$folder/src/$last")" && cp -r "$folder/context/$1" "$folder/src/$last" ;;
        esac
        shift
    done
done <"$folder/copies"
cd "$folder/src" && cmake --preset release -B "$folder/build" >"$folder/said" 2>&1 || { cat "$folder/said" >&2; exit 1; }
