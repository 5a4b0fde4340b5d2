#!/bin/sh
# cmake --install leaves everything that docs/operations.md names, and a unit that systemd accepts.
set -eu
build=$1
prefix=$2
dest=$(mktemp -d)
trap 'rm -rf "$dest"' EXIT
DESTDIR=$dest cmake --install "$build" >"$dest/log" 2>&1 || { cat "$dest/log"; exit 1; }
status=0
for file in sbin/turnpiked bin/turnpike lib/systemd/system/turnpike.service lib/sysusers.d/turnpike.conf \
    lib/tmpfiles.d/turnpike.conf share/man/man1/turnpike.1 share/man/man5/turnpike.yaml.5 share/man/man8/turnpiked.8 \
    share/bash-completion/completions/turnpike share/doc/turnpike/README.md share/doc/turnpike/operations.md \
    share/doc/turnpike/configuration.md share/doc/turnpike/openapi.json share/doc/turnpike/turnpike.example.yaml \
    lib/turnpike/hooks/address-ip share/doc/turnpike/turnpike-address-hook.conf share/doc/turnpike/logrotate.turnpike share/doc/turnpike/prometheus/turnpike.rules.yaml share/doc/turnpike/grafana/turnpike.json; do
    [ -s "$dest$prefix/$file" ] || { echo "not installed: $file"; status=1; }
done
[ ! -e "$dest/etc" ] || { echo "something was put below /etc"; status=1; }
unit=$dest$prefix/lib/systemd/system/turnpike.service
grep -q "^ExecStart=$prefix/sbin/turnpiked " "$unit" || { echo "the unit starts another program"; status=1; }
# The command line finds the daemon where it is installed.
"$dest$prefix/bin/turnpike" config check /nonexistent 2>&1 | grep -q '^/nonexistent: ' ||
    { echo "turnpike does not find turnpiked"; status=1; }
if command -v systemd-analyze >/dev/null; then
    sed -i "s#^ExecStart=#ExecStart=$dest#" "$unit"
    systemd-analyze verify --man=no "$unit" || status=1
else
    echo "systemd-analyze is not installed: the unit is not checked"
fi
exit $status
