#!/bin/sh
# Builds the simulation once with each of the faults below, and sees that it finds every one.
#
# usage: test/sim/mutants.sh [BUILD_DIR [MUTANT...]]; SEEDS=200, JOBS=2
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=${1:-$root/build/mutants}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- renewed_expires removed_forgotten cancel_forgotten repeated thaws_any lease_resumed \
    applied_obeyed usable_at_once ttl_from_retry cached_time tokens_kept no_life reused_bucket kept_over_restart
missed=0
for mutant in "$@"; do
    cmake -B "$dir/$mutant" -S "${SOURCE:-$root}" -DCMAKE_BUILD_TYPE=Release -DTURNPIKE_MUTANT="$mutant" \
        >"$dir.log" 2>&1 && cmake --build "$dir/$mutant" --target cluster_sim -j "${JOBS:-2}" >>"$dir.log" 2>&1
    sim=$(find "$dir/$mutant" -type f -name cluster_sim 2>/dev/null)
    if [ -z "$sim" ]; then
        echo "$mutant: cannot be built, see $dir.log"
        missed=$((missed + 1))
    elif found=$("$sim" 1 "${SEEDS:-200}" 2>&1); then
        echo "$mutant: NOT FOUND: $found"
        missed=$((missed + 1))
    else
        echo "$mutant: $(echo "$found" | grep '^seed [0-9]*,' | head -1)"
    fi
done
[ "$missed" -eq 0 ]
