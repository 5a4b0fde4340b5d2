"""I9: a floating address is used by one node at a time, never by one whose it is not, and is used again soon: by whoever
was given it, and by another one when its node is lost.

A use is a connection. It was surely in use from when the next hop had accepted it (`begin_ns`) to when the next hop answered
the last but one command (`proven_ns`): the last one was sent in answer to that, since nothing is sent ahead (no PIPELINING).
An address was surely a node's between two reads of the cluster that show it with one version: whoever has it in between
would have got it by a command that changes that.
"""
from .facts import Facts
from .verdict import NS, Judge

BOUND_NS = 6 * NS     # from when it is a node's until that has used it, while nothing is amiss
SENT = 8               # messages that this node has accepted meanwhile
TAKEN_NS = 7 * NS     # beyond the time that a session lives, its margin and the pool's --after
QUIET_NS = 3 * NS     # after a fault


def uses_of(facts):
    found = {}
    for event in facts.history.observed("use"):
        found.setdefault(event.v["source_ip"], []).append(event)
    for events in found.values():
        events.sort(key=lambda event: event.v["begin_ns"])
    return found


def reads_of(facts):
    """Address to (from, to, owner, next, version) of each read, in order."""
    found = {}
    for op in facts.history.operations("owners"):
        if op.outcome == "ok":
            for address, (owner, following, version) in op.got["owners"].items():
                found.setdefault(address, []).append((op.t0, op.t1, owner, following, version))
    return found


def owned(reads):
    """(from, to, owner, next) of the times for which it is known whose it was."""
    found, first, last = [], None, None
    for read in sorted(reads, key=lambda each: each[:2]):
        if first is None or read[2:] != first[2:] or read[0] < last[1]:
            if first is not None and last is not first:
                found.append((first[1], last[0], *first[2:4]))
            first = read
        last = read
    if first is not None and last is not first:
        found.append((first[1], last[0], *first[2:4]))
    return found


def check_overlaps(judge, address, uses):
    latest = {}
    for use in uses:
        begin, proven = use.v["begin_ns"], use.v["proven_ns"]
        if proven <= begin:
            continue
        for node, other in latest.items():
            if node != use.node and other.v["proven_ns"] > begin:
                judge.violation(f"{node} and {use.node} used {address} at the same time", [other, use])
        if use.node not in latest or latest[use.node].v["proven_ns"] < proven:
            latest[use.node] = use


def check_owner(judge, address, uses, times):
    for use in uses:
        begin, proven = use.v["begin_ns"], use.v["proven_ns"]
        for since, until, owner, _next in times:
            if owner is not None and owner != use.node and begin < until and proven > since and proven > begin:
                judge.violation(f"{use.node} used {address} while it was {owner}'s", [use])
                break


def quiet(facts, begin, end):
    return not facts.faults_near(begin, end, 0, QUIET_NS) and not any(a < end and b > begin for a, b in facts.stills)


def check_used(judge, facts, address, uses, times, accepted):
    """Who has it uses it."""
    judged = 0
    for since, until, owner, following in times:
        end = since + BOUND_NS
        if owner is None or following or end > min(until, facts.drain) or not quiet(facts, since, end):
            continue
        sent = [op.end for op in accepted.get(owner, ()) if since <= op.t1 <= end]
        if len(sent) < SENT:
            continue
        judged += 1
        if not any(use.node == owner and use.v["begin_ns"] < end and use.t > since for use in uses):
            judge.violation(f"{address} was {owner}'s for {BOUND_NS // NS} s, which sent mail and did not use it", sent)
    return judged


def check_taken(judge, facts, address, reads, bound_ns):
    """Of a node that is lost for long it goes to another."""
    judged = 0
    for fault in facts.faults:
        end = min(fault.lifting, facts.drain)
        before = [read for read in reads if read[1] < fault.begun]
        if end - fault.placed < bound_ns or not before or before[-1][3] or not fault.on(before[-1][2], "down", "minority"):
            continue
        alone = all(other is fault for other in facts.faults_near(fault.begun, end, 0, QUIET_NS))
        if not alone or any(a < end and b > fault.begun for a, b in facts.stills):
            continue
        if len({*fault.nodes["down"], *fault.nodes["minority"]}) * 2 > len(facts.nodes):
            continue
        judged += 1
        lost = before[-1][2]
        if not any(read[0] > fault.placed and read[1] < end and read[2] not in (None, lost) for read in reads):
            judge.violation(f"{address} was {lost}'s, which was lost for {(end - fault.placed) / NS:.0f} s, and went to nobody",
                            fault.events)
    return judged


def check(facts: Facts, _files=()):
    judge = Judge("I9")
    addresses = facts.meta.get("addresses", [])
    if not addresses:
        return judge.verdict("no floating addresses")
    facts.drain = facts.history.phase_at("drain") or facts.end
    bound_ns = (facts.meta.get("ttl_ms", 3000) + facts.meta.get("margin_ms", 1000) + facts.meta.get("after_ms", 1000)) * 10**6
    uses, reads, accepted = uses_of(facts), reads_of(facts), {}
    for op in facts.history.operations("submit"):
        if op.outcome == "ok" and facts.accounts.get(op.k, {}).get("tenant") == "addr.test":
            accepted.setdefault(op.n, []).append(op)
    figures = {"connections": 0, "owners": 0, "seen used": 0, "seen taken": 0}
    for address in addresses:
        times = owned(reads.get(address, []))
        check_overlaps(judge, address, uses.get(address, []))
        check_owner(judge, address, uses.get(address, []), times)
        figures["connections"] += len(uses.get(address, []))
        figures["seen used"] += check_used(judge, facts, address, uses.get(address, []), times, accepted)
        figures["seen taken"] += check_taken(judge, facts, address, reads.get(address, []), bound_ns + TAKEN_NS)
        owners = [owner for *_, owner, _next in times if owner is not None]
        figures["owners"] += sum(a != b for a, b in zip(owners, owners[1:]))
        if len({use.node for use in uses.get(address, [])}) == 0:
            judge.doubt(f"{address} was never used")
    if figures["owners"] == 0:
        judge.doubt("no address had another owner")
    if facts.meta["faults"] == ["kill-owner"] and figures["seen taken"] == 0:
        judge.doubt("no owner was lost for long enough")
    judge.figures = figures
    return judge.verdict(f"{figures['connections']} connections from {len(addresses)} addresses, {figures['owners']} changes of "
                         f"their owners; {figures['seen used']} times its use was due, {figures['seen taken']} times a lost "
                         "node's went to another")
