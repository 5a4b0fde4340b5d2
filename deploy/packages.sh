# The Debian packages that Turnpike needs: to build it, to run it, and to test it. Sourced by deploy/up.sh and
# test/run.sh, and the one place where they are listed.
#
#   . deploy/packages.sh
#   packages_install build run [test]

packages_build='
    gcc libc6-dev cmake ninja-build pkg-config
    libuv1-dev liblz4-dev libssl-dev libunbound-dev libevent-dev nettle-dev libyaml-dev libjansson-dev
    libmicrohttpd-dev libgnutls28-dev libcurl4-openssl-dev libpcre2-dev libidn2-dev libcrypt-dev libsqlite3-dev libsystemd-dev
    libisal-dev libpsl-dev libcmocka-dev libnng-dev libraft-dev'

# dns-root-data: the key that DNSSEC validation starts from.
packages_run='ca-certificates dns-root-data openssl procps publicsuffix'

# What turnpiked and turnpike are linked with, by Debian 12's names, and the two that they read: for images.
packages_image='
    ca-certificates dns-root-data publicsuffix
    libcrypt1 libcurl4 libevent-2.1-7 libgnutls30 libhogweed6 libidn2-0 libisal2 libjansson4 liblz4-1 libmicrohttpd12 libnettle8
    libnng1 libpcre2-8-0 libpsl5 libsqlite3-0 libssl3 libsystemd0 libunbound8 libuv1 libyaml-0-2'

packages_test='
    python3 python3-pytest python3-pytest-xdist python3-aiosmtpd python3-dnslib python3-dkim python3-jsonschema python3-yaml
    swaks libio-socket-ssl-perl libnet-ssleay-perl strace postfix postgrey rspamd python3-milter nsd unbound ldnsutils sslscan prometheus nftables
    libfaketime libfiu0 fiu-utils iptables iproute2 chromium chromium-driver python3-selenium'

# Debian 12's own libraft is 0.15, which can lose what it acknowledged; 12-backports and 13 have one that can be used.
packages_raft_min=0.22.1

packages_missing() { # package...
    for package in "$@"; do
        case $(dpkg-query -W -f '${db:Status-Status} ${Version}' "$package" 2>/dev/null) in
        installed\ *)
            version=$(dpkg-query -W -f '${Version}' "$package")
            case $package in
            libraft*) ! dpkg --compare-versions "$version" lt "$packages_raft_min" || echo "$package" ;;
            esac
            ;;
        *) echo "$package" ;;
        esac
    done
}

# Adds a source of backports: a copy of the machine's own stanza or line for its release, with the suite's name changed.
packages_add_backports() {
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [ -n "$release" ] || return 1
    added=/etc/apt/sources.list.d/turnpike-backports
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -s "$file" ] || continue
        awk -v release="$release" 'BEGIN { RS = ""; ORS = "\n\n" }
            !done && ("\n" $0 " ") ~ ("\n(Suites|suites):[^\n]* " release "[ \n]") && $0 !~ /-security/ {
                n = split($0, line, "\n"); $0 = ""
                for (i = 1; i <= n; i++) {
                    if (line[i] ~ /^#/) continue
                    if (tolower(line[i]) ~ /^suites:/) line[i] = "Suites: " release "-backports"
                    $0 = $0 (i > 1 && $0 != "" ? "\n" : "") line[i]
                }
                print; done = 1
            }' "$file" >"$added.sources"
        [ ! -s "$added.sources" ] || return 0
    done
    rm -f "$added.sources"
    [ -s /etc/apt/sources.list ] || return 1
    sed -n "s/^\(deb  *\(\[[^]]*\]  *\)\{0,1\}[^ ]*\)  *$release  *\(.*\)/\1 $release-backports \3/p" /etc/apt/sources.list |
        head -n 1 >"$added.list"
    [ -s "$added.list" ]
}

# The release to take libraft-dev from: empty when the machine's own sources have one that will do.
packages_raft_release() {
    candidate=$(apt-cache policy libraft-dev 2>/dev/null | sed -n 's/^ *Candidate: //p')
    if dpkg --compare-versions "${candidate:-0}" ge "$packages_raft_min"; then
        return 0
    fi
    if ! apt-cache madison libraft-dev | grep -q -- -backports; then
        packages_add_backports || return 1
        DEBIAN_FRONTEND=noninteractive apt-get -qq update || return 1
    fi
    (. /etc/os-release && echo "$VERSION_CODENAME-backports")
}

packages_get() { # package...
    from=
    raft=
    for package in "$@"; do
        case $package in
        libraft*)
            from=$(packages_raft_release) || return 1
            raft=$package
            ;;
        esac
    done
    apt_get='apt-get -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends --no-remove'
    if [ -n "$from" ]; then
        DEBIAN_FRONTEND=noninteractive $apt_get install -t "$from" "$raft" || return 1
    fi
    DEBIAN_FRONTEND=noninteractive $apt_get install "$@"
}

# Installs what is missing of the named lists. Needs root only if something is.
packages_install() { # list...
    wanted=
    for list in "$@"; do
        eval "wanted=\"\$wanted \$packages_$list\""
    done
    missing=$(packages_missing $wanted)
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "These packages are missing; install them as root, then run this again:" >&2
        echo "    apt-get install --no-install-recommends" $missing >&2
        return 1
    fi
    echo "installing:" $missing
    # Postfix is there to be measured and to be talked to, with configurations of the tests' own.
    case $missing in
    *postfix*) echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections ;;
    esac
    # What we install is for our use only: no daemon of it is to start by itself.
    policy=/usr/sbin/policy-rc.d
    held=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        held=yes
    fi
    status=0
    {
        DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
            packages_get $missing
    } >"${TMPDIR:-/tmp}/turnpike-apt.$$" 2>&1 || status=$?
    [ "$status" -eq 0 ] || tail -n 30 "${TMPDIR:-/tmp}/turnpike-apt.$$" >&2
    rm -f "${TMPDIR:-/tmp}/turnpike-apt.$$"
    [ -z "$held" ] || rm -f "$policy"
    return "$status"
}
