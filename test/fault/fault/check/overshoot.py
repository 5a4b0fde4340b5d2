"""I1: in any window [t, t + W) no more recipients are admitted than the limit says.

Each accepted message was admitted at one moment. What is known of that moment is an interval: at most from MAIL (or the
end of the content) until the 250 was read, at best the node's own receipt. A window is judged by the messages whose
whole interval lies inside it: so what is found is certain.

A limit that changes: admissions in a window come from grants that were made from one life before it began. So the largest
number that may have been in force from then to the window's end is what holds.
"""
import bisect
import dataclasses

from . import web
from .facts import CLOCK_ERROR, INFINITY, Facts
from .verdict import NS, Judge

MS = 1_000_000
ROUNDING_NS = 10 * MS  # cluster time is kept in ms
FILLED = 0.5  # a limit of which less was used in its fullest window was not tried


@dataclasses.dataclass(slots=True)
class Admission:
    lo: int
    hi: int
    n: int
    exact: bool
    event: object


@dataclasses.dataclass(slots=True)
class Setting:
    """A number that may have been in force from `begin` to `end`."""
    value: float
    begin: float
    end: float


def settings_of(initial, writes):
    """`writes` are (t0, t1 or None, value); what each of them can have been in force, and the initial value too."""
    found = []
    for t0, t1, value in [(-INFINITY, -INFINITY, initial), *writes]:
        # Over as soon as a write that was called after this one's return has returned.
        over = INFINITY if t1 is None else min((other for begun, other, _ in writes
                                                 if other is not None and begun > t1), default=INFINITY)
        found.append(Setting(value, t0, over))
    return found


def greatest(settings, begin, end):
    return max(setting.value for setting in settings if setting.begin < end and setting.end > begin)


def life_ns(window_ms):
    return int(min(max(window_ms / 50, 2000), 60_000) * MS * CLOCK_ERROR) + ROUNDING_NS


class Limit:
    """One limit of one holder, with all that it ever was."""

    def __init__(self, facts, definition, holder):
        self.name, self.holder = definition["name"], holder
        self.scope = "web sender" if holder.startswith(web.PREFIX) else definition["for"]
        self.window_ms = definition["window_ms"]
        self.key = (definition["name"], definition["for"], tuple(sorted(definition.get("classes") or ())), self.window_ms)
        self.policy = settings_of(self._in(facts.meta.get("limits", [])),
                                  [(op.t0, op.t1, self._in(op.invoke.v["limits"])) for op in facts.history.operations("policy")
                                   if op.outcome != "fail" and "limits" in op.invoke.v])
        overrides = [(op.t0, op.t1, op.invoke.v["count"]) for op in facts.history.operations("limit")
                     if op.outcome != "fail" and op.invoke.v["limit"] == self.name and self._holder(op) == holder]
        # "No override" is a value of its own, for which the policy's is put in.
        self.overrides = settings_of(-1, [(t0, t1, -1 if count is None else count) for t0, t1, count in overrides])
        self.steady = len(self.policy) == 1 and len(self.overrides) == 1

    def _holder(self, op):
        return op.invoke.v.get("holder") or op.k.split("/")[1]

    def _in(self, limits):
        """Its number in a policy's list; without it there is no bound."""
        for each in limits:
            if (each["name"], each["for"], tuple(sorted(each.get("classes") or ())), each["window_ms"]) == self.key:
                return each["count"]
        return INFINITY

    def bound(self, begin, end):
        """The greatest number that may have been in force there."""
        if self.steady:
            return self.policy[0].value
        override = [s.value for s in self.overrides if s.begin < end and s.end > begin]
        best = max(override)
        return max(best, greatest(self.policy, begin, end)) if -1 in override else best


def limits_of(facts: Facts, names):
    """Each limit of each holder, with the accounts that are charged to it. A tenant is charged for web senders by way of their
    hosts."""
    definitions = {}
    for each in [*facts.meta.get("limits", []),
                 *(limit for op in facts.history.operations("policy") for limit in op.invoke.v.get("limits") or ())]:
        definitions.setdefault((each["name"], each["for"], tuple(sorted(each.get("classes") or ())), each["window_ms"]), each)
    for definition in definitions.values():
        classes = definition.get("classes")
        holders = {}
        for account, fields in facts.accounts.items():
            if classes and fields.get("class") not in classes:
                continue
            holder = account if definition["for"] == "account" else f"@{fields.get('tenant')}"
            if definition["for"] == "account" or fields.get("tenant"):
                holders.setdefault(holder, set()).add(account)
        if definition["for"] == "account" and (not classes or names.web and names.web["class"] in classes):
            holders |= {name: {name} for name in names.all()}
        for holder, accounts in holders.items():
            yield Limit(facts, definition, holder), accounts


def moved_accounts(facts):
    """Accounts whose tenant or class changed in the run: nobody outside knows which of their counters was charged."""
    moved = set()
    for op in facts.history.operations("account"):
        value, name = op.invoke.v["value"], op.k.removeprefix("account/")
        known = facts.accounts.get(name, {})
        if isinstance(value, dict) and any(field in value and value[field] != known.get(field)
                                           for field in ("tenant", "class")):
            moved.add(name)
    return moved


def admissions(facts: Facts, names):
    """Account, or web sender, to its admissions, and how many receipts contradict the client."""
    found, contradictions = {}, 0
    for message in facts.messages.values():
        op, receipt = message.op, message.receipt
        # A node that has a receipt has admitted it, whatever it said afterwards.
        if not (message.accepted or receipt is not None) or message.id in facts.repeated_ids:
            continue
        lo = op.got.get("end_sent_ns") or op.t0
        hi = op.t1 if op.outcome == "ok" else None
        n = len(message.taken)
        if hi is None:
            n = len({event.v["rcpt"] for event in message.deliveries})
            hi = min((event.v.get("begin_ns") or event.t for event in message.deliveries), default=INFINITY)
        exact = False
        if receipt is not None:
            n = max(n, receipt.v["n"])
            moment = receipt.v.get("moment_ns")
            if moment is not None:
                first, last = moment, moment + max(1, receipt.v.get("res_ns", 1)) - 1
                if last < lo or first > hi:
                    contradictions += 1
                else:
                    lo, hi, exact = max(lo, first), min(hi, last), True
        if n > 0 and hi < INFINITY:
            for whose in {message.account, names.whose(message)} - {None}:
                found.setdefault(whose, []).append(Admission(lo, hi, n, exact, op.end or op.invoke))
    return found, contradictions


class _Sums:
    """Prefix sums that can be added to (Fenwick)."""

    def __init__(self, n):
        self.sums = [0] * (n + 1)

    def add(self, at, value):
        at += 1
        while at < len(self.sums):
            self.sums[at] += value
            at += at & -at

    def below(self, at):
        total = 0
        while at > 0:
            total += self.sums[at]
            at -= at & -at
        return total


def windows(entries, window_ns):
    """(t, recipients certainly admitted in [t, t + W)) for each t at which an interval begins."""
    entries = sorted(entries, key=lambda entry: entry.lo, reverse=True)
    ends = sorted(entry.hi for entry in entries)
    sums = _Sums(len(ends))
    at = 0
    while at < len(entries):
        begin = entries[at].lo
        while at < len(entries) and entries[at].lo == begin:
            sums.add(bisect.bisect_left(ends, entries[at].hi), entries[at].n)
            at += 1
        yield begin, sums.below(bisect.bisect_left(ends, begin + window_ns))


def judge_limit(judge, limit, entries):
    """The share of the limit that its fullest window held."""
    window_ns, life = limit.window_ms * MS, life_ns(limit.window_ms)
    fullest, most = 0.0, 0
    for begin, total in windows(entries, window_ns):
        bound = limit.bound(begin - life, begin + window_ns)
        if bound == INFINITY:
            continue
        most = max(most, total)
        fullest = max(fullest, total / bound if bound else 0.0)
        if total > bound:
            inside = sorted((entry for entry in entries if entry.lo >= begin and entry.hi < begin + window_ns),
                            key=lambda entry: entry.lo)
            judge.violation(f"{limit.name} of {limit.holder}: {total} recipients in {limit.window_ms / 1000:g} s from "
                            f"t={begin}, {bound:g} are allowed", [entry.event for entry in inside])
            break  # windows beside it would tell the same again
    judge.figures[f"{limit.name} {limit.holder} {limit.window_ms} ms"] = {"most": most, "share": round(fullest, 3)}
    return fullest


def check(facts: Facts, _files=()):
    judge = Judge("I1")
    names = web.Names(facts)
    found, contradictions = admissions(facts, names)
    moved = moved_accounts(facts)
    if contradictions:
        judge.doubt(f"{contradictions} receipts lie outside of what their clients saw: a node's clock can't be believed")
    exact = sum(entry.exact for entries in found.values() for entry in entries)
    share, judged = {}, 0
    for limit, accounts in limits_of(facts, names):
        # A tenant's sum without those that moved is still a lower bound.
        entries = [entry for account in accounts - moved for entry in found.get(account, ())]
        filled = judge_limit(judge, limit, entries)
        share[limit.scope] = max(share.get(limit.scope, 0.0), filled)
        judged += 1
    refused = any(op.outcome == "fail" and op.end.reply and op.end.reply.startswith("450 4.7.1 Limit")
                  for op in facts.history.operations("submit"))
    if facts.meta["workload"] in ("quota", "web"):
        if not share:
            judge.doubt(f"the {facts.meta['workload']} workload had no limits")
        for scope, filled in share.items():
            if filled < FILLED and not (refused and filled >= FILLED / 2):
                judge.doubt(f"the limits for {scope}s were not tried: the fullest window held {filled:.0%}")
    if names.web:
        web.check(judge, facts, names)
    span = (facts.end - facts.history.span[0]) / NS
    return judge.verdict(f"{judged} limits, {sum(map(len, found.values()))} admissions ({exact} with an exact moment) in "
                         f"{span:.0f} s; fullest windows: "
                         + (", ".join(f"{scope} {filled:.0%}" for scope, filled in sorted(share.items())) or "none"))
