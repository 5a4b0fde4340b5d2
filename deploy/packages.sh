# The Debian packages that Turnpike needs: to build it, to run it, and to test it. Sourced by deploy/up.sh and
# test/run.sh, and the one place where they are listed.
#
#   . deploy/packages.sh
#   packages_install build run [test]

packages_build='
    gcc libc6-dev cmake ninja-build pkg-config
    libuv1-dev liblz4-dev libssl-dev libunbound-dev libevent-dev nettle-dev libyaml-dev libjansson-dev
    libmicrohttpd-dev libcurl4-openssl-dev libpcre2-dev libidn2-dev libcrypt-dev libsqlite3-dev libsystemd-dev
    libisal-dev libcmocka-dev'

# dns-root-data: the key that DNSSEC validation starts from.
packages_run='ca-certificates dns-root-data openssl procps'

packages_test='
    python3 python3-pytest python3-pytest-xdist python3-aiosmtpd python3-dnslib python3-dkim python3-jsonschema python3-yaml
    swaks libio-socket-ssl-perl libnet-ssleay-perl strace postfix nsd sslscan prometheus'

packages_missing() { # package...
    for package in "$@"; do
        case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
        installed) ;;
        *) echo "$package" ;;
        esac
    done
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
            DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 \
                --no-install-recommends --no-remove install $missing
    } >"${TMPDIR:-/tmp}/turnpike-apt.$$" 2>&1 || status=$?
    [ "$status" -eq 0 ] || tail -n 30 "${TMPDIR:-/tmp}/turnpike-apt.$$" >&2
    rm -f "${TMPDIR:-/tmp}/turnpike-apt.$$"
    [ -z "$held" ] || rm -f "$policy"
    return "$status"
}
