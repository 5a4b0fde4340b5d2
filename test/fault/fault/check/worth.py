"""Is the run worth anything? With too little load, or faults that had no measured effect, nothing was tried."""
from .facts import Facts
from .verdict import NS, Judge

ACCEPTED = 20
PER_SECOND = 1.0


def check(facts: Facts, _files=()):
    judge = Judge("run")
    history, load = facts.history, facts.meta.get("load") or {}
    if not history.complete:
        judge.doubt("the history ends before the run did")
    begin = history.phase_at("load")
    end = min((moment for moment in map(history.phase_at, ("heal", "drain", "collect", "end")) if moment is not None),
              default=facts.end)
    accepted = [op for op in history.operations("submit") if op.outcome == "ok"]
    during = [op for op in history.operations("submit") if begin is not None and begin <= op.t0 <= end]
    seconds = 0.0 if begin is None else max(0.0, (end - begin) / NS)
    rate = len(during) / seconds if seconds else 0.0
    if len(accepted) < load.get("accepted", ACCEPTED):
        judge.doubt(f"the load was too low: {len(accepted)} messages accepted, {load.get('accepted', ACCEPTED)} are needed")
    if rate < load.get("per_second", PER_SECOND):
        judge.doubt(f"the load was too low: {rate:.2f} attempts per second")
    placed = [fault for fault in facts.faults if fault.placed < float("inf")]
    for name in facts.meta["faults"]:
        mine = [fault for fault in placed if fault.name == name]
        if not mine:
            judge.doubt(f"{name} was never in place")
        elif not any(fault.measured for fault in mine):
            judge.doubt(f"{name} had no measured effect")
    judge.figures = {"accepted": len(accepted), "attempts per second": round(rate, 1), "faults": len(placed),
                     "with effect": sum(bool(fault.measured) for fault in placed)}
    return judge.verdict(f"{len(accepted)} accepted, {rate:.1f} attempts per second, {len(placed)} faults in place, "
                         f"{judge.figures['with effect']} with a measured effect")
