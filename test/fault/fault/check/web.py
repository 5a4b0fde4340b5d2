"""Web senders: whose each message is by what its client wrote, and by the receipt; and that there are not more of a host than
there may be.

A message of a host whose scripts all have room for a name is surely one of the script's. Where there are more scripts than
names, only the receipt tells whether it was the script's or the host's alone: without one, it counts for the host only.
"""
from .facts import CLOCK_ERROR

PREFIX = "web:"


def name_of(op):
    """The web sender that the client's header makes, in the words of docs/web-senders.md; None: there is no such header."""
    script = op.invoke.v.get("script")
    return None if script is None else f"{PREFIX}{op.k}/{script.lower()}"


def host_of(name):
    return name.removeprefix(PREFIX).partition("/")[0]


class Names:
    """All web senders that messages were of; `certain` of hosts that have room for each."""

    def __init__(self, facts):
        self.facts = facts
        self.web = facts.meta.get("web")
        self.of_host = {}
        for op in facts.history.operations("submit") if self.web else ():
            if name_of(op) is not None:
                self.of_host.setdefault(op.k, set()).add(name_of(op))

    def all(self):
        return {name for names in self.of_host.values() for name in names}

    def has_room(self, host):
        return len(self.of_host.get(host, ())) <= self.web["most_of_host"]

    def whose(self, message):
        """The web sender that was charged for an accepted message beside its host, for sure; or None."""
        name = name_of(message.op) if self.web else None
        if name is None:
            return None
        if message.receipt is not None:
            return name if message.receipt.v["account"] == name else None
        return name if self.has_room(message.account) else None


def check_whose(judge, facts, names):
    """Each receipt names who was to be charged."""
    for message in facts.messages.values():
        if message.receipt is None or message.id in facts.repeated_ids:
            continue
        name, charged = name_of(message.op), message.receipt.v["account"]
        if charged == (name or message.account):
            continue
        if name is None or charged != message.account:
            judge.violation(f"{message.id} of {name or message.account} was charged to {charged}", [*message.op.events, message.receipt])
        elif names.has_room(message.account):
            judge.violation(f"{message.id} of {name} was charged to its host alone, and there was room for its name",
                            [*message.op.events, message.receipt])


def quiet(facts, host):
    """Times at which nobody made room for another name of that host: what was forgotten before is over on all nodes that may
    accept mail."""
    lag = int((facts.meta["ttl_ms"] + facts.meta.get("margin_ms", 0)) * 1e6 * CLOCK_ERROR)
    begin = 0
    for op in sorted((op for op in facts.history.operations("forget") if op.outcome != "fail" and host_of(op.k) == host),
                     key=lambda op: op.t0):
        if op.t0 > begin:
            yield begin, op.t0
        begin = max(begin, facts.over(op) + lag)
    if begin < facts.end:
        yield begin, facts.end


def check_most(judge, facts, names):
    """The greatest number of names that a host had for sure."""
    most_of_host, greatest = facts.meta["web"]["most_of_host"], 0
    for op in facts.history.operations("names"):
        for host in {host_of(name) for name in op.got.get("names", ())}:
            listed = [name for name in op.got["names"] if host_of(name) == host]
            greatest = max(greatest, len(listed))
            if len(listed) > most_of_host:
                judge.violation(f"{op.n} lists {len(listed)} web senders of {host}, {most_of_host} are allowed", op.events)
    charged = {}
    for message in facts.messages.values():
        if message.receipt is not None and names.whose(message) is not None and message.op.t1 is not None:
            charged.setdefault(message.account, []).append(message)
    for host, messages in charged.items():
        for begin, end in quiet(facts, host):
            first = {}
            for message in messages:
                if begin <= message.op.t0 and message.op.t1 <= end:
                    first.setdefault(names.whose(message), message)
            greatest = max(greatest, len(first))
            if len(first) > most_of_host:
                judge.violation(f"{len(first)} web senders of {host} were charged while there was room for {most_of_host}",
                                [message.receipt for message in first.values()])
                break
    return greatest


def check(judge, facts, names):
    check_whose(judge, facts, names)
    greatest = check_most(judge, facts, names)
    judge.figures["web senders of a host"] = greatest
    if greatest < facts.meta["web"]["most_of_host"]:
        judge.doubt(f"no host had as many web senders as it may have: {greatest} at most")
    if all(names.has_room(host) for host in names.of_host):
        judge.doubt("no host had more scripts than it may have names")
