"""I5: a recipient has a second copy of an accepted transaction only if, between the two, the node that sent the first
crashed or the next hop's 250 was lost; and never two reports of one failure, nor a copy and a report, without such a reason.
"""
from .facts import Facts
from .verdict import NS, Judge

# A node can have died after it sent the last octet and before the next hop had read it, but not before MAIL was read: the
# content is sent after an answer to that.
FLIGHT_NS = 5 * NS
SLACK_NS = NS // 10


def explained(facts, earlier, later):
    """Was there a crash or a lost 250 between these two?"""
    if earlier.v.get("ack", True) is not True or earlier.v.get("session") in facts.unread:
        return True
    begun = earlier.v["begin_ns"] - SLACK_NS if earlier.v.get("begin_ns") else earlier.t - FLIGHT_NS
    return facts.crashed_between(earlier.node, begun, later.t)


def check(facts: Facts, _files=()):
    judge = Judge("I5")
    delivered = facts.by_recipient("deliver")
    reports = {}
    for event in facts.history.observed("dsn"):
        if event.v["action"] in ("failed", "expired"):
            for rcpt in event.v["rcpts"]:
                reports.setdefault((event.v["about"], rcpt), []).append(event)
    extra = 0
    for (message, rcpt), copies in delivered.items():
        copies.sort(key=lambda event: event.t)
        for earlier, later in zip(copies, copies[1:]):
            extra += 1
            if not explained(facts, earlier, later):
                judge.violation(f"{message} came to {rcpt} again after {(later.t - earlier.t) / NS:.1f} s, from {later.node}, "
                                f"and {earlier.node} had its 250 and did not crash", [earlier, later])
        report = reports.get((message, rcpt))
        if report and not any(explained(facts, copy, report[0]) for copy in copies if copy.t < report[0].t):
            judge.violation(f"{message} was delivered to {rcpt} and reported as {report[0].v['action']}",
                            [copies[0], report[0]])
    for (about, rcpt), events in reports.items():
        events.sort(key=lambda event: event.t)
        for earlier, later in zip(events, events[1:]):
            same = earlier.v.get("id") is not None and earlier.v.get("id") == later.v.get("id")
            # Copies of one report are like those of any message; two reports are never made.
            if same and (explained(facts, earlier, later)):
                extra += 1
            elif not same and earlier.v.get("id") is None and explained(facts, earlier, later):
                extra += 1
            else:
                judge.violation(f"{about}: its end for {rcpt} was reported twice", [earlier, later])
    judge.figures = {"copies": sum(map(len, delivered.values())), "explained duplicates": extra}
    if not delivered and facts.meta["workload"] == "spool":
        judge.doubt("nothing was delivered")
    return judge.verdict(f"{judge.figures['copies']} copies, {extra} of them second ones for which there is a crash or a "
                         "lost 250")
