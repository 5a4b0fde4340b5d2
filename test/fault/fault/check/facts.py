"""What several checkers need to know of a history: which faults were in place when and for whom, who was frozen, which
messages there were and what became of them. Everything is an interval of real time that is safe to judge by."""
import bisect
import dataclasses
import functools

from ..history import Event, History, Op

INFINITY = float("inf")
CLOCK_ERROR = 1.0051  # of a clock that runs within 0.5 %
# Nodes give up a command after 5 s and block its late arrival; what the network kept comes within seconds of its healing.
LATE_NS = 10_000_000_000


@dataclasses.dataclass(slots=True)
class Fault:
    """It was about to begin at `begun`, in place from `placed` to `lifting`, and gone at `lifted`."""
    name: str
    targets: list
    begun: int
    placed: float
    lifting: float
    lifted: float
    nodes: dict  # minority, down, unclear, wiped: sets of nodes
    measured: bool | None
    how: str
    events: list

    def on(self, node, *kinds):
        return any(node in self.nodes[kind] for kind in kinds)

    @property
    def touched(self):
        return set(self.targets).union(*self.nodes.values())


@dataclasses.dataclass(slots=True)
class Freeze:
    """From `since`, when the call returned, to `until`, when something that could end it began."""
    op: Op
    name: str
    mode: str
    node: str | None  # one that is frozen locally
    since: int
    until: float


@dataclasses.dataclass(slots=True)
class Message:
    op: Op
    id: str
    account: str
    receipt: Event | None = None
    deliveries: list = dataclasses.field(default_factory=list)

    @property
    def taken(self):
        """Recipients that were accepted for sure, because the client was told so."""
        return self.op.got["rcpts"] if self.op.outcome == "ok" else []

    @property
    def accepted(self):
        """Told, or seen by what became of it."""
        return self.op.outcome == "ok" or (self.op.outcome == "info" and
                                           (self.receipt is not None or bool(self.deliveries)))


def hashable(value):
    """A register's value in a form that can be compared and put into sets; never None."""
    if isinstance(value, dict):
        return ("object", tuple(sorted((name, hashable(item)) for name, item in value.items())))
    if isinstance(value, list):
        return ("list", tuple(hashable(item) for item in value))
    return ("value", type(value).__name__, value)


def mail_read(op):
    """By when the node has read MAIL, at the latest."""
    return op.got.get("mail_ns") or op.got.get("end_sent_ns") or (op.end.t if op.end is not None else INFINITY)


class Facts:
    def __init__(self, history: History):
        self.history = history
        self.meta = history.meta
        self.end = history.span[1]
        self.accounts = history.meta.get("accounts", {})
        self.nodes = list(history.meta["nodes"])

    # ---- faults

    @functools.cached_property
    def faults(self):
        open_faults, found = {}, []
        for op in self.history.operations("nemesis"):
            v = op.invoke.v
            key = (v["fault"], v.get("id"))
            if v["action"] == "start":
                if op.outcome == "fail":
                    continue
                fault = Fault(v["fault"], list(v["targets"]), op.t0, op.t1 or INFINITY, INFINITY, INFINITY,
                              {kind: set() for kind in ("minority", "down", "unclear", "wiped")}, None, "", list(op.events))
                if op.outcome == "info":  # nobody knows who was hit
                    fault.nodes["unclear"] |= set(self.nodes)
                found.append(fault)
                open_faults[key] = fault
            elif key in open_faults:
                fault = open_faults[key]
                fault.lifting = min(fault.lifting, op.t0)
                if op.outcome == "ok":
                    fault.lifted = op.t1
                    del open_faults[key]
                fault.events.extend(op.events)
            else:
                continue
            for source in (v, op.got):
                fault.targets.extend(node for node in source.get("targets", ()) if node not in fault.targets)
                for kind, nodes in fault.nodes.items():
                    nodes |= set(source.get(kind, ()))
                effect = source.get("effect")
                if effect is not None:
                    fault.measured = bool(effect.get("measured")) or bool(fault.measured)
                    fault.how = effect.get("how", fault.how)
        return found

    @functools.cached_property
    def stills(self):
        """When the machine itself had no time for us, by a process that is none of the nodes: (from, to)."""
        return [tuple(event.v["stood_still"]) for event in self.history.observed("note") if "stood_still" in event.v]

    def faults_near(self, begin, end, before_ns=0, after_ns=0):
        """Those that were, or may have been, in effect in [begin - after_ns, end + before_ns]."""
        return [fault for fault in self.faults if fault.begun <= end + before_ns and fault.lifted + after_ns >= begin]

    # ---- messages

    @functools.cached_property
    def messages(self):
        found = {}
        for op in self.history.operations("submit"):
            found.setdefault(op.invoke.v["id"], Message(op, op.invoke.v["id"], op.k))
        for event in self.history.observed("receipt"):
            message = found.get(event.v.get("id"))
            if message is not None and message.receipt is None:
                message.receipt = event
        for event in self.history.observed("deliver"):
            message = found.get(event.v["id"])
            if message is not None:
                message.deliveries.append(event)
        return found

    @functools.cached_property
    def repeated_ids(self):
        seen, twice = set(), set()
        for op in self.history.operations("submit"):
            (twice if op.invoke.v["id"] in seen else seen).add(op.invoke.v["id"])
        return twice

    def by_recipient(self, f, many=False):
        """(id, recipient) to the events of one kind; `many`: those that name several recipients of what they are about."""
        found = {}
        for event in self.history.observed(f):
            for recipient in event.v["rcpts"] if many else (event.v["rcpt"],):
                found.setdefault((event.v["about"] if many else event.v["id"], recipient), []).append(event)
        return found

    @functools.cached_property
    def unread(self):
        """Connections that ended after the answer to a message: whoever gave up the address may not have read that."""
        return {event.v["session"] for event in self.history.observed("use") if event.v.get("unread")}

    # ---- crashes

    @functools.cached_property
    def crashes(self):
        """Node to the moments at which its process ended, in order."""
        found = {}
        for event in self.history.observed("crash"):
            found.setdefault(event.node, []).append(event.t)
        return found

    def crashed_between(self, node, begin, end):
        """node None: any."""
        for moments in [self.crashes.get(node, [])] if node is not None else self.crashes.values():
            at = bisect.bisect_left(moments, begin)
            if at < len(moments) and moments[at] <= end:
                return True
        return False

    # ---- frozen senders

    def holders(self, name):
        """The accounts that a freeze of an account or @tenant is about."""
        if name.startswith("@"):
            return {account for account, fields in self.accounts.items() if fields.get("tenant") == name[1:]}
        return {name}

    @functools.cached_property
    def freezes(self):
        """Those that were promised, each with the time for which it must have been in force, and nothing beyond."""
        by_name = {}
        for op in self.history.operations("freeze", "unfreeze"):
            by_name.setdefault(op.k, []).append(op)
        found = []
        for name, ops in by_name.items():
            for op in ops:
                if op.f == "freeze" and op.outcome == "ok" and op.got.get("complete") is not False:
                    local = bool(op.invoke.v.get("local"))
                    found.append(Freeze(op, name, op.invoke.v["mode"], op.n if local else None, op.t1,
                                        self._frozen_until(op, ops)))
        return sorted((freeze for freeze in found if freeze.until > freeze.since), key=lambda freeze: freeze.since)

    def over(self, op):
        """When an operation can take effect no more: at its end, or, where that is unknown, when what may have kept it on its
        way was over for a while."""
        if op.t1 is not None:
            return op.t1
        if op.end is None:
            return INFINITY
        return max([op.end.t, *(fault.lifted for fault in self.faults_near(op.t0, op.end.t))]) + LATE_NS

    def _frozen_until(self, op, ops):
        """When the earliest thing began that may have ended it. What had returned before it was called cannot."""
        def timer(freeze):
            seconds = freeze.invoke.v.get("for_s")
            return freeze.t0 + int(seconds * 1e9 / CLOCK_ERROR) if seconds else INFINITY
        until, local = timer(op), bool(op.invoke.v.get("local"))
        others = [other for other in ops if other is not op and other.outcome != "fail" and self.over(other) >= op.t0]
        for other in others:
            if other.f == "unfreeze":
                named = other.invoke.v.get("freeze")
                if named is None or local or str(named) == str(op.got["freeze"]):
                    until = min(until, other.t0)
            elif local or not other.invoke.v.get("local"):
                # It takes the place of this one. When it has returned it is judged as a freeze of its own.
                same = other.invoke.v["mode"] == op.invoke.v["mode"] and other.outcome == "ok"
                until = min(until, other.t1 if same else other.t0, timer(other))
                if same:
                    until = min([until, *(thaw.t0 for thaw in others if thaw.f == "unfreeze" and thaw.t0 >= other.t0)])
        return until
