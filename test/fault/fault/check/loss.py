"""I2: every recipient of an accepted message is delivered, bounced, deleted by an operator, or still queued; it arrives as
it was sent; and nothing arrives that was refused or never sent whole.

Needs a history that was drained, and the queue of every node: without them what is missing may be anywhere.
"""
from .facts import Facts
from .verdict import Judge

DSN_ENDS = ("failed", "expired")


def ends_of(facts):
    """(id, recipient) for which there is an end, or which are still there, by what they are known from."""
    known = {"delivered": set(facts.by_recipient("deliver")), "reported": set(), "queued": set(), "ended": set()}
    for event in facts.history.observed("dsn"):
        if event.v["action"] in DSN_ENDS:
            known["reported"] |= {(event.v["about"], rcpt) for rcpt in event.v["rcpts"]}
    for event in facts.history.observed("queued"):
        known["queued"].add((event.v["id"], event.v["rcpt"]))
        if "about" in event.v:
            known["reported"].add((event.v["about"], event.v["rcpt"]))
    for event in facts.history.observed("ended"):
        how = event.v["how"]
        if how == "deleted" or (how in ("bounced", "expired") and event.v.get("dsn") is False):
            known["ended"].add((event.v["id"], event.v["rcpt"]))
    return known


def wiped_before(facts, node, moment):
    """Its disk was taken away after that: what it had is gone, and that is no broken promise."""
    return any(node in fault.nodes["wiped"] and fault.lifted >= moment for fault in facts.faults)


def moved_and_wiped(facts, moment):
    """Queues were moved to, or may have been taken by, a node whose disk was taken away later than that."""
    wipes = [fault for fault in facts.faults if fault.nodes["wiped"] and fault.lifted >= moment]
    for fault in wipes:
        end = fault.placed
        if any(event.v.get("move") in fault.nodes["wiped"] and event.t <= end for event in facts.history.observed("note")):
            return True
        if any(other.name == "drain" and other.begun <= end for other in facts.faults) or \
                any(op.t0 <= end for op in facts.history.operations("leave")):
            return True
    return False


class Whereabouts:
    """Which node had a message last, by what the nodes say of those that they gave away."""
    SLACK_NS = 2_000_000_000  # a giver says so after the taker has it

    def __init__(self, facts):
        self.moves = {}
        for event in facts.history.observed("moved"):
            self.moves.setdefault((event.v["id"], event.v["rcpt"]), []).append(event)
        self.asked = {event.node for event in facts.history.observed("collected")
                      if event.v["what"] == "history" and event.v["good"]}

    def last(self, message, rcpt):
        """The node, and since when."""
        node, since = message.op.n, message.op.t1
        moves = self.moves.get((message.id, rcpt), [])
        for event in sorted(moves, key=lambda event: event.v["moment_ns"] or 0):
            if event.node == node:
                node, since = event.v["to"], max(since, (event.v["moment_ns"] or 0) - self.SLACK_NS)
        return node, since


def unasked(facts):
    """Nodes whose queue nobody could look into at the end."""
    asked = {event.node for event in facts.history.observed("collected")
             if event.v["what"] == "queue" and event.v["good"]}
    return sorted(set(facts.nodes) - asked)


def never_accepted(op):
    """It must not appear: broken off before its end, or refused for good. After 451 or 421 to the end of the content it may:
    the records of a failed sync can be whole on disk."""
    if op.outcome != "fail":
        return False
    if op.got.get("stage") != "dot":
        return True
    return not (op.end.reply or "").startswith(("451", "421"))


def check_arrivals(judge, facts):
    for kind in ("receipt", "queued"):
        for event in facts.history.observed(kind):
            message = facts.messages.get(event.v.get("id"))
            if message is not None and never_accepted(message.op):
                judge.violation(f"{event.node} has {message.id}, which was not accepted "
                                f"({message.op.end.reply or 'broken off'})", [*message.op.events, event])
    for event in facts.history.observed("deliver"):
        message = facts.messages.get(event.v["id"])
        if message is None:
            judge.violation(f"{event.v['id']} arrived, and nobody sent it", [event])
            continue
        op, rcpt = message.op, event.v["rcpt"]
        wanted, got = op.invoke.v.get("hash"), event.v.get("hash")
        if rcpt not in op.invoke.v["rcpts"]:
            judge.violation(f"{message.id} arrived for {rcpt}, which it was not for", [*op.events, event])
        elif never_accepted(op):
            judge.violation(f"{message.id} was delivered to {rcpt} and was not accepted ({op.end.reply or 'broken off'})",
                            [*op.events, event])
        elif op.outcome in ("ok", "info") and op.end is not None and rcpt not in op.got["rcpts"]:
            judge.violation(f"{message.id} was delivered to {rcpt}, which was refused", [*op.events, event])
        elif wanted is not None and got is not None and wanted != got:
            judge.violation(f"{message.id} arrived at {rcpt} with other content", [*op.events, event])
        if event.t < op.t0:
            judge.violation(f"{message.id} arrived before it was sent", [*op.events, event])


def check(facts: Facts, _files=()):
    judge = Judge("I2")
    check_arrivals(judge, facts)
    known = ends_of(facts)
    somewhere = set().union(*known.values())
    told = {}
    for event in facts.history.observed("ended"):
        told.setdefault((event.v["id"], event.v["rcpt"]), event)
    if facts.repeated_ids:
        judge.doubt(f"{len(facts.repeated_ids)} messages have the Message-ID of another")
    accepted = excused = 0
    missing, moved, where = [], 0, Whereabouts(facts)
    for message in facts.messages.values():
        for rcpt in message.taken:
            accepted += 1
            if (message.id, rcpt) in somewhere:
                continue
            holder, since = where.last(message, rcpt)
            if wiped_before(facts, holder, since):
                excused += 1
                continue
            if holder not in where.asked and moved_and_wiped(facts, message.op.t1):
                moved += 1
                continue
            missing.append((message, rcpt))
    away = unasked(facts)
    drained = facts.history.phase_at("collect") is not None and facts.history.complete
    for message, rcpt in missing:
        event = told.get((message.id, rcpt))
        if event is not None and event.v["how"] in ("delivered", "relayed"):
            judge.violation(f"{message.id} for {rcpt}: {event.node} says {event.v['how']}, and no next hop has it",
                            [*message.op.events, event])
        elif drained and not away:
            seen = "" if event is None else f", {event.node} says {event.v['how']} without a report"
            judge.violation(f"{message.id} for {rcpt} was accepted by {message.op.n} and is nowhere{seen}",
                            [*message.op.events, *([event] if event else [])])
    if moved:
        judge.doubt(f"{moved} recipients without an end may have been on the disk that was taken away: queues were moved")
    if missing and not drained:
        judge.doubt(f"{len(missing)} recipients without an end")
    elif missing and away:
        judge.doubt(f"{len(missing)} recipients without an end; the queue of {', '.join(away)} could not be looked into")
    if not drained:
        judge.doubt("the queues were not drained and looked into")
    if accepted == 0:
        judge.doubt("nothing was accepted")
    figures = {name: len(pairs) for name, pairs in known.items()}
    judge.figures = {"accepted": accepted, "missing": len(missing) + moved, "lost with a wiped disk": excused, **figures}
    return judge.verdict(f"{accepted} accepted recipients: {figures['delivered']} delivered, {figures['reported']} reported, "
                         f"{figures['queued']} queued, {figures['ended']} otherwise ended"
                         + (f", {excused} lost with a wiped disk" if excused else ""))
