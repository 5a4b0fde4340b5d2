#!/bin/sh
# Installs what the tests need, builds Turnpike, and runs every test. The last line is "N passed, N failed".
#
#   sh test/run.sh             everything: unit tests and fuzzers' corpora (dev, asan, tsan), then end to end; fault runs
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

make_preset() { # preset, what sets the priority...
    preset=$1
    shift
    "$@" cmake --preset "$preset" >"$results/$preset-build.log" 2>&1 &&
        "$@" cmake --build --preset "$preset" >>"$results/$preset-build.log" 2>&1
}

# End-to-end tests wait most of the time: meanwhile the next preset is built, with what they leave of the processors.
ahead=
build_ahead() { # preset
    idle='nice -n 19'
    ! chrt --idle 0 true 2>/dev/null || idle='chrt --idle 0'
    make_preset "$1" $idle &
    ahead=$!
}

# Configures and builds a preset, unless that was begun ahead; a build that fails is a failed test.
build() { # preset
    say "$1: build"
    if [ -n "$ahead" ]; then
        wait "$ahead" && ahead= && return 0
        ahead=
    else
        make_preset "$1" && return 0
    fi
    tail -n 40 "$results/$1-build.log"
    say "$1: the build FAILED"
    broken=$((broken + 1))
    return 1
}

unit() { # preset, how many at a time, ctest options...
    preset=$1 jobs=$2
    shift 2
    say "$preset: unit tests"
    reports="$reports build/results/$preset-ctest.xml"
    ctest --preset "$preset" -j "$jobs" --output-junit "$results/$preset-ctest.xml" "$@" \
        >"$results/$preset-ctest.log" 2>&1 || grep -E '\*\*\*|tests failed|Timeout' "$results/$preset-ctest.log"
    tail -n 1000 "$results/$preset-ctest.log" | grep -E 'tests passed' || true
    again ctest "$results/$preset-ctest.xml" $tsan_now ctest --preset "$preset"
}

end_to_end() { # preset, how many at a time, pytest options...
    preset=$1 jobs=$2
    shift 2
    say "$preset: end to end"
    reports="$reports build/results/$preset-e2e.xml"
    export TURNPIKE_BUILD="$root/build/$preset"
    /usr/bin/python3 -m pytest -p no:cacheprovider -q --tb=short -n "$jobs" \
        --junitxml "$results/$preset-e2e.xml" "$@" test/e2e || [ $? -eq 1 ] || broken=$((broken + 1))
    again pytest "$results/$preset-e2e.xml" /usr/bin/python3 -m pytest -p no:cacheprovider -q --tb=short
}

# What failed in the crowd is run once more, alone: test/lib/again.py.
again() { # pytest or ctest, report, command
    /usr/bin/python3 test/lib/again.py "$@" | tee -a "$results/again.log"
}

# Real clusters that are broken, 18 runs of 20 s; and that nothing is left of runs that are killed. What can't be run here
# counts as skipped. They wait most of the time.
faults() { # preset
    say "$1: fault runs"
    export TURNPIKE_BUILD="$root/build/$1"
    reports="$reports build/results/fault-clean.xml build/results/fault.xml"
    /usr/bin/python3 -m pytest -p no:cacheprovider -q --tb=short --junitxml "$results/fault-clean.xml" \
        test/fault/tests/test_runs.py >"$results/fault-clean.log" 2>&1 &
    clean=$!
    (cd test/fault && nice -n -10 /usr/bin/python3 -m fault matrix --short --engine auto --jobs $((2 * processors)) \
        --out "$root/build/fault-runs" --junit "$results/fault.xml") >"$results/fault.log" 2>"$results/fault-progress.log"
    grep -v '^ *$' "$results/fault.log"
    wait "$clean" || tail -n 30 "$results/fault-clean.log"
}

if [ -n "$install" ]; then
    say "packages"
    . "$root/deploy/packages.sh"
    packages_install build run test || { say "the packages cannot be installed"; echo "0 passed, 1 failed"; exit 1; }
fi

# ThreadSanitizer cannot place its shadow where addresses are randomised by more than 28 bits.
tsan_run= tsan_now=
if [ "$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 28)" -gt 28 ] && setarch -R true 2>/dev/null; then
    tsan_run='setarch -R'
fi

# More at a time than there are processors: unit tests wait now and then, end-to-end tests most of the time, unless a
# sanitizer makes them compute.
processors=$(nproc)
few=$((processors + 1)) more=$((2 * processors)) some=$((3 * processors)) many=$((4 * processors))
if build dev; then
    unit dev "$more"
    if [ -n "$quick" ]; then
        end_to_end dev "$some" -m 'not slow'
    else
        build_ahead asan
        faults dev
        end_to_end dev "$many"
    fi
fi
# What must fail would fail for its leaks there.
mutants='^test_ledger_sim_|^test_cluster_sim_'
if [ -z "$quick" ]; then
    if build asan; then
        unit asan "$few" -E "$mutants"
        build_ahead tsan
        end_to_end asan "$some" -m 'sanitizer and not waits'
    fi
    # Corpora are replayed, crashes and clusters simulated, by one thread: nothing for this build to find.
    alone='^machine_(store|ring|session|quota|freeze|lease|overshoot)|^config_(errors|dkim|net)|^test_command|^queue_'
    # The command line's fake cluster is set up between requests; that a socket orders them is not seen.
    if build tsan; then
        export TSAN_OPTIONS="suppressions=$root/test/lib/tsan.supp print_suppressions=0"
        ctest=$(command -v ctest)
        ctest() { $tsan_run "$ctest" "$@"; }
        tsan_now=$tsan_run
        unit tsan "$few" -E "$mutants|_replay\$|^style|^docs|^test_spool_crash|^test_cluster_sim|^test_ledger_sim|^machine_mutant|^cli_cluster_test|$alone"
        build_ahead release
        end_to_end tsan "$some" -m 'sanitizer and not grammar and not waits'
    fi
    build release # what is installed: optimised code gets other warnings
fi

# A report that is missing counts as a failure.
counts=$(/usr/bin/python3 test/lib/junit_count.py $reports)
set -- $counts
passed=${1:-0}
failed=$((${2:-1} + broken))
[ "${3:-0}" -eq 0 ] || echo "${3} skipped"
[ ! -s "$results/again.log" ] || grep '^PASSED ONLY' "$results/again.log" || true
say "logs are in build/results"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
