"""I3: when a freeze has returned, no node accepts a transaction of that sender whose MAIL is sent later, until a thaw
begins; and nodes in touch with the majority begin no new attempt to deliver what he has queued.

Mode hold accepts and keeps: there the messages that came in that time must not be delivered in it.
"""
import bisect

from . import web
from .facts import INFINITY, Facts, mail_read
from .verdict import NS, Judge

# From when an attempt was decided upon to when the next hop has read MAIL; a copy without that moment is taken to have
# begun this much before it ended.
ATTEMPT_NS = 2 * NS
WHOLE_ATTEMPT_NS = 15 * NS
# A fault that ended shortly before: the node may not have been in touch yet.
TOUCH_NS = 10 * NS


def in_force(freeze, message):
    """MAIL of this message was sent while the freeze was in force; and read, where the client knows when it was answered. That
    it is a web sender's is known from its header: so that must have been read by then, and it surely was when all was."""
    op = message.op
    answered = op.got.get("mail_ns") or op.t0
    if freeze.name.startswith(web.PREFIX):
        answered = op.t1 or INFINITY
    return freeze.since < op.t0 and max(op.t0, answered) < freeze.until and (freeze.node is None or freeze.node == op.n)


def check_accepted(judge, freeze, message):
    op = message.op
    # MAIL that was sent before a thaw may have been read after it.
    if message.accepted and mail_read(op) < freeze.until:
        judge.violation(f"{message.account} was frozen ({freeze.mode}, {freeze.op.got['freeze']}) "
                        f"{(op.t0 - freeze.since) / 1e6:.0f} ms before MAIL of {message.id}, which {op.n} accepted",
                        [*freeze.op.events, *op.events, *message.deliveries])


def check_kept(judge, freeze, message):
    for event in message.deliveries:
        begun = event.v.get("begin_ns") or event.t
        if begun < freeze.until and event.t < freeze.until:
            judge.violation(f"{message.id} of {message.account} came while he was frozen with mode hold, and was delivered "
                            "before the thaw", [*freeze.op.events, *message.op.events, event])


def check_attempts(judge, facts, freeze, theirs, deliveries):
    """How many copies of mail that was queued before were judged; `theirs`: the ids of the frozen senders' messages."""
    judged = 0
    times = [event.t for event, _ in deliveries]
    for event, message in deliveries[bisect.bisect_right(times, freeze.since):]:
        if event.t >= freeze.until:
            break
        begun = event.v.get("begin_ns") or event.t - WHOLE_ATTEMPT_NS
        if message.id not in theirs or begun <= freeze.since + ATTEMPT_NS or message.op.t0 > freeze.since:
            continue
        node = event.node
        if node is None or (freeze.node is not None and freeze.node != node):
            continue
        if any(node in fault.touched for fault in facts.faults_near(begun, event.t, 0, TOUCH_NS)):
            continue
        judged += 1
        judge.violation(f"{node} began to deliver {message.id} of {message.account} {(begun - freeze.since) / NS:.1f} s after "
                        "he was frozen", [*freeze.op.events, *message.op.events, event])
    return judged


def check(facts: Facts, _files=()):
    judge = Judge("I3")
    by_account, names = {}, web.Names(facts)
    for message in facts.messages.values():
        for sender in {message.account, names.whose(message)} - {None}:
            by_account.setdefault(sender, []).append(message)
    times = {account: [message.op.t0 for message in messages] for account, messages in by_account.items()}
    deliveries = sorted(((event, message) for message in facts.messages.values() for event in message.deliveries),
                        key=lambda pair: pair[0].t)
    tried = refused = 0
    for freeze in facts.freezes:
        accounts = facts.holders(freeze.name) & by_account.keys()
        for account in accounts:
            for message in by_account[account][bisect.bisect_right(times[account], freeze.since):]:
                if message.op.t0 >= freeze.until:
                    break
                if not in_force(freeze, message):
                    continue
                tried += 1
                refused += message.op.outcome == "fail"
                if freeze.mode == "hold":
                    check_kept(judge, freeze, message)
                else:
                    check_accepted(judge, freeze, message)
        check_attempts(judge, facts, freeze, {message.id for account in accounts for message in by_account[account]}, deliveries)
    calls = facts.history.operations("freeze")
    if facts.meta["workload"] == "freeze" and tried == 0:
        judge.doubt(f"no mail was sent between a freeze's return and its thaw ({len(calls)} freezes)")
    judge.figures = {"freezes": len(calls), "promised": len(facts.freezes), "sent while frozen": tried, "refused": refused}
    return judge.verdict(f"{len(facts.freezes)} promised freezes of {len(calls)}, {tried} messages sent while they were in "
                         "force" + (f", {refused} refused" if tried else ""))
