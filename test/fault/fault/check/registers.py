"""I4: limits, frozen senders, pools, addresses, accounts and the policy are registers: there is one order of all writes and
reads, each between its call and its answer, that explains every answer. And an address is used by one node at a time.

One register at a time (fault.linear). What one node knows by itself (`stale` reads) need not be the newest, but must have
been written by somebody.
"""
from .. import linear
from .facts import CLOCK_ERROR, Facts, hashable
from .verdict import NS, Judge

WRITES = ("policy", "limit", "assign", "ip", "account")
LIMIT_S = 5.0  # for one register
TOUCH_NS = 10 * NS  # after a fault a node may not be in touch yet
ENOUGH = 5  # operations with an answer, by two processes, on one register


def written(op):
    v = op.invoke.v
    return hashable(v["value"] if "value" in v else v.get("count"))


def register_calls(ops):
    calls = []
    for op in ops:
        if op.f == "read":
            if op.outcome == "ok" and not op.invoke.v.get("stale"):
                calls.append(linear.Call(op.t0, op.t1, ("read", hashable(op.got["value"])), op))
        elif op.outcome != "fail":
            expected = op.invoke.v.get("expect")
            what = ("write", written(op)) if expected is None else ("swap", hashable(expected), written(op))
            calls.append(linear.Call(op.t0, op.t1, what, op))
    return calls


def freeze_id(value):
    """Of what a read of frozen/NAME says."""
    if isinstance(value, dict):
        value = value.get("freeze")
    return "thawed" if value is None else str(value)


def frozen_calls(ops):
    """Freezes, thaws and reads of one sender; timers are thaws that may happen at any time from their moment on."""
    named = {str(op.got["freeze"]) for op in ops if op.f == "freeze" and op.outcome == "ok"}
    calls = []

    def meant(what):
        """An id that no answer named may be that of a freeze whose answer was lost."""
        return () if what in named or what == "thawed" else ("unnamed",)
    for number, op in enumerate(ops):
        if op.outcome == "fail" or op.invoke.v.get("local"):
            continue
        if op.f == "read":
            if op.outcome == "ok" and not op.invoke.v.get("stale"):
                what = freeze_id(op.got["value"])
                calls.append(linear.Call(op.t0, op.t1, ("read", what, *meant(what)), op))
            continue
        if op.f == "freeze":
            what = str(op.got["freeze"]) if op.outcome == "ok" else ("unknown", number)
            calls.append(linear.Call(op.t0, op.t1, ("freeze", what), op))
            if op.invoke.v.get("for_s"):
                due = op.t0 + int(op.invoke.v["for_s"] * NS / CLOCK_ERROR)
                calls.append(linear.Call(due, None, ("timer", what), op))
            continue
        what = op.invoke.v.get("freeze")
        if what is None:
            calls.append(linear.Call(op.t0, op.t1, ("thaw", None), op))
        else:
            calls.append(linear.Call(op.t0, op.t1, ("thaw", str(what), *meant(str(what))), op))
    return calls


def check_stale(judge, key, ops, initial):
    """A value that nobody had begun to write, or that was surely refused, is made up."""
    for op in ops:
        if op.f != "read" or op.outcome != "ok" or not op.invoke.v.get("stale"):
            continue
        before = [other for other in ops if other.f != "read" and other.outcome != "fail" and other.t0 < op.t1]
        if key.startswith("frozen/"):
            got = freeze_id(op.got["value"])
            known = {str(other.got["freeze"]) for other in before if other.f == "freeze" and other.outcome == "ok"}
            # A freeze whose id its caller has not heard yet, or never will.
            if got == "thawed" or got in known or any(other.f == "freeze" and (other.t1 is None or other.t1 > op.t0)
                                                      for other in before):
                continue
        else:
            got = hashable(op.got["value"])
            if got in {written(other) for other in before} or initial is linear.ANY or got == initial:
                continue
        judge.violation(f"{key}: {op.n} shows {op.got['value']!r}, which was not written", op.events)


def check_lists(judge, facts):
    """While a freeze is in force, and nothing may have ended it, every node in touch shows it: it was told before the call
    returned."""
    judged = 0
    freezes = facts.history.operations("freeze")
    reads = [op for op in facts.history.operations("read") if op.k.startswith("frozen/") and op.outcome == "ok"]
    for freeze in facts.freezes:
        if freeze.node is not None:
            continue
        for op in reads:
            if op.k != f"frozen/{freeze.name}" or op.t0 <= freeze.since or op.t1 >= freeze.until:
                continue
            if any(op.n in fault.touched or op.n in fault.targets for fault in facts.faults_near(op.t0, op.t1, 0, TOUCH_NS)):
                continue
            judged += 1
            got = freeze_id(op.got["value"])
            # One that may have taken its place, if it is not over already.
            others = [other for other in freezes if other.k == freeze.name and other.outcome == "ok" and
                      other.t0 < op.t1 and other.t1 >= freeze.op.t0]
            if got not in {str(other.got["freeze"]) for other in others}:
                judge.violation(f"{op.n} shows {op.got['value']!r} for {freeze.name}, after freeze "
                                f"{freeze.op.got['freeze']} had returned", [*freeze.op.events, *op.events])
    return judged


def check_addresses(judge, facts):
    """Transactions of two nodes from one address of the cluster's, at the same time."""
    addresses = {op.k.removeprefix("ip/") for op in facts.history.operations("ip")}
    addresses |= {key.removeprefix("ip/") for key in facts.meta.get("registers", {}) if key.startswith("ip/")}
    by_address = {}
    for event in facts.history.observed("deliver"):
        if event.v.get("source_ip") in addresses and "begin_ns" in event.v and event.node is not None:
            by_address.setdefault(event.v["source_ip"], []).append((event.v["begin_ns"], event.t, event))
    for address, uses in by_address.items():
        uses.sort(key=lambda use: use[:2])
        latest = {}
        for begun, _ended, event in uses:
            for node, other in latest.items():
                if node == event.node or other.t <= begun:
                    continue
                # Who is cut off goes on with what is bound to his machine, and can't know that it was given away.
                alone = any(fault.on(name, "minority", "down", "unclear") for fault in facts.faults_near(begun, other.t)
                            for name in (node, event.node))
                if facts.meta.get("floating") or not alone:
                    judge.violation(f"{node} and {event.node} sent from {address} at the same time", [other, event])
            if event.node not in latest or latest[event.node].t < event.t:
                latest[event.node] = event


def by_key(facts):
    found = {}
    for op in facts.history.operations("read", *WRITES):
        found.setdefault(op.k, []).append(op)
    for op in facts.history.operations("freeze", "unfreeze"):
        found.setdefault(f"frozen/{op.k}", []).append(op)
    for ops in found.values():
        ops.sort(key=lambda op: op.t0)
    return found


def check(facts: Facts, _files=(), limit_s=LIMIT_S):
    judge = Judge("I4")
    registers = facts.meta.get("registers", {})
    tried, total, states = 0, 0, 0
    for key, ops in sorted(by_key(facts).items()):
        initial = hashable(registers[key]) if key in registers else linear.ANY
        if key.startswith("frozen/"):
            start = freeze_id(registers.get(key))
            answer = linear.check(frozen_calls(ops), linear.frozen, start, limit_s)
        else:
            answer = linear.check(register_calls(ops), linear.register, initial, limit_s)
        states += answer.states
        if answer.outcome == "fail":
            judge.violation(f"{key}: {answer.why}", [event for op in answer.stuck for event in op.events])
        elif answer.outcome == "inconclusive":
            judge.doubt(f"{key}: {answer.why}")
        check_stale(judge, key, ops, initial)
        answered = [op for op in ops if op.outcome == "ok" and not op.invoke.v.get("stale")]
        total += len(answered)
        tried += len(answered) >= ENOUGH and len({op.invoke.p for op in answered}) >= 2
    listed = check_lists(judge, facts)
    check_addresses(judge, facts)
    if facts.meta["workload"] == "registers" and tried == 0:
        judge.doubt(f"no register had {ENOUGH} operations by two processes")
    judge.figures = {"operations": total, "registers used by several": tried, "frozen lists": listed, "states": states}
    return judge.verdict(f"{total} operations, {tried} registers used by several processes, {listed} frozen lists")
