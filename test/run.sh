#!/bin/sh
# Installs what the tests need, builds Turnpike, and runs every test. The last line is "N passed, N failed".
#
#   sh test/run.sh             everything: unit tests and fuzzers' corpora (dev, asan, tsan), then end to end
#   sh test/run.sh --quick     the dev build only, and the quick end-to-end tests
#   sh test/run.sh --no-install    trust that the packages are there
set -u

root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root" || exit 1
export LC_ALL=C.UTF-8
quick=
install=yes
for argument; do
    case $argument in
    --quick) quick=yes ;;
    --no-install) install= ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
done

results=$root/build/results
started=$(date +%s)
broken=0
reports=
mkdir -p "$results"
rm -f "$results"/*

say() {
    echo "[$(($(date +%s) - started)) s] $*"
}

# Configures and builds a preset; a build that fails is a failed test.
build() { # preset
    say "$1: build"
    if cmake --preset "$1" >"$results/$1-build.log" 2>&1 && cmake --build --preset "$1" >>"$results/$1-build.log" 2>&1; then
        return 0
    fi
    tail -n 40 "$results/$1-build.log"
    say "$1: the build FAILED"
    broken=$((broken + 1))
    return 1
}

unit() { # preset, ctest options...
    preset=$1
    shift
    say "$preset: unit tests"
    reports="$reports build/results/$preset-ctest.xml"
    ctest --preset "$preset" -j "$(nproc)" --output-junit "$results/$preset-ctest.xml" "$@" \
        >"$results/$preset-ctest.log" 2>&1 || grep -E '\*\*\*|tests failed|Timeout' "$results/$preset-ctest.log"
    tail -n 1000 "$results/$preset-ctest.log" | grep -E 'tests passed' || true
}

end_to_end() { # preset, pytest options...
    preset=$1
    shift
    say "$preset: end to end"
    reports="$reports build/results/$preset-e2e.xml"
    TURNPIKE_BUILD="$root/build/$preset" /usr/bin/python3 -m pytest -p no:cacheprovider -q --tb=short -n 4 \
        --junitxml "$results/$preset-e2e.xml" "$@" test/e2e || true
}

if [ -n "$install" ]; then
    say "packages"
    . "$root/deploy/packages.sh"
    packages_install build run test || { say "the packages cannot be installed"; echo "0 passed, 1 failed"; exit 1; }
fi

# ThreadSanitizer cannot place its shadow where addresses are randomised by more than 28 bits.
tsan_run=
if [ "$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 28)" -gt 28 ] && setarch -R true 2>/dev/null; then
    tsan_run='setarch -R'
fi

if build dev; then
    unit dev
    if [ -n "$quick" ]; then
        end_to_end dev -m 'not slow'
    else
        end_to_end dev
    fi
fi
# What must fail would fail for its leaks there.
mutants='^test_ledger_sim_|^test_cluster_sim_'
if [ -z "$quick" ]; then
    if build asan; then
        unit asan -E "$mutants"
        end_to_end asan -m sanitizer
    fi
    # Corpora are replayed, crashes and clusters simulated, by one thread: nothing for this build to find.
    # The command line's fake cluster is set up between requests; that a socket orders them is not seen.
    if build tsan; then
        export TSAN_OPTIONS="suppressions=$root/test/lib/tsan.supp print_suppressions=0"
        ctest=$(command -v ctest)
        ctest() { $tsan_run "$ctest" "$@"; }
        unit tsan -E "$mutants|_replay\$|^style|^docs|^test_spool_crash|^test_cluster_sim|^test_ledger_sim|^machine_mutant|^cli_cluster_test"
        end_to_end tsan -m "sanitizer and not grammar"
    fi
fi

# A report that is missing counts as a failure.
counts=$(/usr/bin/python3 test/lib/junit_count.py $reports)
set -- $counts
passed=${1:-0}
failed=$((${2:-1} + broken))
[ "${3:-0}" -eq 0 ] || echo "${3} skipped"
say "logs are in build/results"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
