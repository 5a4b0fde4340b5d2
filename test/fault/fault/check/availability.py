"""I6: outside of 5 s after a fault begins or ends, nodes on the majority's side accept 99 % within 2 s; nodes that are cut off
answer 4xx when their session has ended, and never 5xx; everything serves again 10 s after healing.

Refusals for a limit or a freeze say nothing about availability, unless the client knew that there was neither (`expect`).
"""
import re

from . import web
from .facts import CLOCK_ERROR, INFINITY, Facts, mail_read
from .verdict import NS, Judge

SETTLE_NS = 5 * NS
HEAL_NS = 10 * NS
IN_TIME_NS = 2 * NS
SHARE = 0.99
ENOUGH = 20  # attempts that can be judged
ENOUGH_OF_A_NODE = 100
# A node that was told to take no mail: the others have nothing to do with it, and it serves again when it is told to.
DRAIN, DRAIN_NS = "drain", 2 * NS
SESSION_SLACK_NS = NS // 10  # from MAIL's sending to its being read, and what the fault's own placing took
DEFAULT_TTL_MS = 3000
LIMIT = re.compile(r"45[01] 4\.7\.1 Limit |452 4\.5\.3 ")  # 451 after the content of a slow message
SLOW_REFUSED, SLOW_S = re.compile(r"451 4\.3\.2 Sending limits"), 1.5
FROZEN = re.compile(r"535 5\.7\.13 |550 5\.7\.1 |450 4\.7\.1 ")


def majority_lost(facts, fault):
    """Together with other faults of that time, perhaps: nobody can be blamed then."""
    out = set()
    for other in facts.faults_near(fault.begun, fault.lifted, 0, HEAL_NS):
        if other.name == DRAIN:
            continue
        out |= {node for kind in ("minority", "down", "unclear") for node in other.nodes[kind]}
    return len(facts.nodes) > 1 and len(set(facts.nodes) - out) <= len(facts.nodes) // 2


def troubled(facts):
    """Node to the times at which nothing is said about it."""
    found = {node: [] for node in facts.nodes}
    for op in facts.history.operations("join", "leave"):
        found.setdefault(op.k or op.n, [])
    for fault in facts.faults:
        for node, times in found.items():
            if fault.name == DRAIN:
                if node in fault.touched:
                    times.append((fault.begun, fault.lifted + DRAIN_NS))
            elif majority_lost(facts, fault) or fault.on(node, "minority", "down", "unclear", "wiped"):
                times.append((fault.begun, fault.lifted + HEAL_NS))
            else:
                times.append((fault.begun, fault.placed + SETTLE_NS))
                times.append((fault.lifting, fault.lifted + SETTLE_NS))
    for still_from, still_to in facts.stills:
        for times in found.values():
            times.append((still_from, still_to + SETTLE_NS))
    # Who joins or leaves takes no mail for a while; the others are not concerned.
    joins = [op for op in facts.history.operations("join") if op.outcome == "ok"]
    for op in facts.history.operations("leave"):
        back = min((join.t1 for join in joins if (join.k or join.n) == (op.k or op.n) and join.t1 > op.t0), default=INFINITY)
        found[op.k or op.n].append((op.t0, back + HEAL_NS))
    for op in facts.history.operations("join"):
        found[op.k or op.n].append((op.t0, (op.t1 or INFINITY) + HEAL_NS))
        if (op.k or op.n) not in facts.nodes:
            found[op.k or op.n].append((0, op.t0))
    return found


def begun(op):
    return op.got.get("begin_ns") or op.t0


def excused(op, frozen):
    """A refusal that the rules explain."""
    if op.outcome != "fail" or op.invoke.v.get("expect") == "accept":
        return False
    reply = op.end.reply or ""
    if op.invoke.v.get("slow_s", 0) >= SLOW_S and SLOW_REFUSED.match(reply):
        return True  # its tokens ended meanwhile, and there were no others
    return bool(LIMIT.match(reply)) or says_frozen(op, frozen, reply)


def says_frozen(op, frozen, reply):
    return not frozen.isdisjoint((op.k, web.name_of(op))) and bool(FROZEN.match(reply))


def frozen_accounts(facts):
    return {account for op in facts.history.operations("freeze") for account in facts.holders(op.k)}


def check_service(judge, facts, begin, end):
    """Attempts on nodes for which there is no excuse; (judged, in time) of each."""
    times, frozen = troubled(facts), frozen_accounts(facts)
    counts, late = {}, {}
    for op in facts.history.operations("submit"):
        start = begun(op)
        patience = IN_TIME_NS + int(op.invoke.v.get("slow_s", 0) * NS)
        done = min(op.end.t if op.end is not None else start + patience, start + patience)
        if op.n not in times or start < begin or start + patience > end:
            continue
        if op.invoke.v.get("cut") or any(first <= done and start <= last for first, last in times[op.n]):
            continue
        if excused(op, frozen):
            continue
        judged, good = counts.get(op.n, (0, 0))
        well = op.outcome == "ok" and op.t1 - start <= patience
        counts[op.n] = (judged + 1, good + well)
        if not well:
            late.setdefault(op.n, []).append(op)
    judged, good = (sum(pair[i] for pair in counts.values()) for i in (0, 1))
    events = [event for ops in late.values() for op in ops[:4] for event in op.events]
    if judged >= ENOUGH and good < SHARE * judged:
        judge.violation(f"{judged - good} of {judged} attempts were not accepted within 2 s, on nodes with a majority "
                        "and no fault about", events)
    for node, (tried, well) in sorted(counts.items()):
        if tried >= ENOUGH_OF_A_NODE and well < SHARE * tried:
            judge.violation(f"{node}: {tried - well} of {tried} were not accepted within 2 s", events)
    return judged, good


def check_cut_off(judge, facts):
    """Nodes that surely reach no majority: how many replies were looked at."""
    ttl_ns = int(facts.meta.get("ttl_ms", DEFAULT_TTL_MS) * 1e6 * CLOCK_ERROR) + SESSION_SLACK_NS
    frozen, judged = frozen_accounts(facts), 0
    cut = [fault for fault in facts.faults if fault.nodes["minority"] and fault.placed < fault.lifting]
    if not cut:
        return 0
    for op in facts.history.operations("submit"):
        for fault in cut:
            if op.n not in fault.nodes["minority"] or not fault.placed <= op.t0 <= fault.lifting:
                continue
            # Who stood still meanwhile may have read MAIL long after it was sent.
            if op.end is None or any(other.on(op.n, "down") for other in facts.faults_near(op.t0, op.end.t)):
                continue
            judged += 1
            reply = op.end.reply or ""
            if reply.startswith("5") and not says_frozen(op, frozen, reply) and op.t1 <= fault.lifting:
                judge.violation(f"{op.n} was cut off ({fault.name}) and answered {reply[:60]}", [*fault.events, *op.events])
            if op.outcome == "ok" and op.t0 > fault.placed + ttl_ns and mail_read(op) <= fault.lifting:
                judge.violation(f"{op.n} was cut off ({fault.name}) for {(op.t0 - fault.placed) / NS:.1f} s when MAIL was "
                                "sent, and accepted it: its session was over", [*fault.events, *op.events])
    return judged


def check(facts: Facts, _files=()):
    judge = Judge("I6")
    begin = facts.history.phase_at("load")
    if begin is None:
        judge.doubt("the history does not say when the load began")
        begin = 0
    end = facts.history.phase_at("drain") or facts.end
    judged, good = check_service(judge, facts, begin, end)
    cut_off = check_cut_off(judge, facts)
    if judged < ENOUGH:
        still = f"; the machine stood still {len(facts.stills)} times" if facts.stills else ""
        judge.doubt(f"only {judged} attempts could be judged; {ENOUGH} are needed{still}")
    judge.figures = {"judged": judged, "in time": good, "on cut-off nodes": cut_off,
                     "machine stood still": len(facts.stills)}
    return judge.verdict(f"{good} of {judged} accepted within 2 s where they had to be; {cut_off} replies of nodes that were "
                         "cut off")
