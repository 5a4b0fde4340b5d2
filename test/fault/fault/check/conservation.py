"""I7: nodes that have applied the same have the same state. Conservation itself is asserted by the nodes in every apply: a
broken one is a crash (I8). Here: digests at equal index are equal, no node was fenced for another one, and no term had two
leaders.
"""
from .facts import Facts
from .verdict import Judge


def gone(facts):
    """Nodes that left, or were still down, when the state was looked at."""
    left = {op.k or op.n for op in facts.history.operations("leave") if op.outcome != "fail"}
    left -= {op.k or op.n for op in facts.history.operations("join") if op.outcome == "ok"}
    return left


def check(facts: Facts, _files=()):
    judge = Judge("I7")
    by_index, leaders = {}, {}
    for event in facts.history.observed("digest"):
        by_index.setdefault((event.v.get("epoch"), event.v["applied"]), {}).setdefault(event.v["digest"], []).append(event)
    compared = 0
    for (_epoch, applied), digests in sorted(by_index.items(), key=lambda item: item[0][1]):
        if len(digests) > 1:
            said = "; ".join(f"{', '.join(sorted({event.node for event in events}))} {digest}"
                             for digest, events in sorted(digests.items(), key=lambda item: str(item[0])))
            judge.violation(f"at index {applied} the states differ: {said}", [events[0] for events in digests.values()])
        compared += len({event.node for events in digests.values() for event in events}) > 1
    for event in facts.history.observed("log"):
        if event.v["kind"] == "fenced" and not event.v.get("caused"):
            judge.violation(f"{event.node} was fenced: {event.v['line'][:120]}", [event])
    for event in facts.history.observed("leader"):
        if event.v["leader"] is not None and event.v.get("term") is not None:
            other = leaders.setdefault((event.v.get("epoch"), event.v["term"]), event)
            if other.v["leader"] != event.v["leader"]:
                judge.violation(f"term {event.v['term']} had two leaders, {other.v['leader']} and {event.v['leader']}",
                                [other, event])
    members = set(facts.nodes) - gone(facts)
    final = [{event.node for events in digests.values() for event in events} for digests in by_index.values()]
    if members and not any(members <= nodes for nodes in final):
        judge.doubt("the digests of all nodes at one index are not known")
    judge.figures = {"indexes compared": compared, "terms": len(leaders)}
    return judge.verdict(f"states compared at {compared} indexes, {len(leaders)} terms with one leader each")
