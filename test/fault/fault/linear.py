"""Is there an order of these operations, each taking effect at one moment between its call and its answer, in which
every answer is right? The search is that of Wing and Gong (1993) with the memory of Lowe (2017): a set of operations
that were put in order, together with the state that they led to, is looked into once.

One object at a time: a history is linearizable if that of each object is. Some 200 operations of a few processes take
milliseconds; the search is exponential in how many run at once, so it has a time limit and says when it was reached.
"""
import dataclasses
import time

ANY = ("any",)  # the state of a register that nobody has looked at yet
INFINITY = float("inf")


@dataclasses.dataclass(slots=True, frozen=True)
class Call:
    """t1 None: nobody knows whether, or when, it took effect; it may be left out. `what` is for the model."""
    t0: int
    t1: int | None
    what: tuple
    tag: object = None


@dataclasses.dataclass(slots=True)
class Answer:
    outcome: str  # pass, fail or inconclusive
    why: str = ""
    stuck: list = dataclasses.field(default_factory=list)  # the tags of what could not come next
    states: int = 0


def register(state, what):
    """A register: ("write", value), ("read", value), ("swap", old, new). None: the operation cannot have this answer."""
    kind = what[0]
    if kind == "write":
        return what[1]
    if kind == "read":
        return what[1] if state == what[1] or state is ANY else None
    if kind == "swap":
        return what[2] if state == what[1] or state is ANY else None
    raise ValueError(kind)


def frozen(state, what):
    """Who may not send: ("freeze", id), ("thaw", id or None), ("read", id or "thawed"), ("timer", id).

    The state is the freeze in force or "thawed". A freeze whose answer was lost has the id ("unknown", n); whoever reads
    or thaws an id that no answer named may mean it.
    """
    kind, name = what[0], what[1]
    if kind == "freeze":
        return name
    same = state == name or (isinstance(state, tuple) and state[0] == "unknown" and what[2:] == ("unnamed",))
    if kind == "read":
        return name if state is ANY else state if same else None
    if kind == "thaw" and name is None:
        return None if state == "thawed" else "thawed"
    return "thawed" if (same or state is ANY) and state != "thawed" else None


def _useful(calls):
    """Without those of unknown outcome whose value nobody saw: leaving them out is always possible, and no worse."""
    seen = set()
    for call in calls:
        if call.what[0] in ("read", "swap"):
            seen.add(call.what[1])
    return [call for call in calls
            if not (call.t1 is None and call.what[0] in ("write", "swap") and call.what[-1] not in seen)]


class _Search:
    def __init__(self, calls, step):
        self.calls = sorted(calls, key=lambda call: call.t0)
        self.step = step
        self.must = 0
        for number, call in enumerate(self.calls):
            if call.t1 is not None:
                self.must |= 1 << number
        self.by_end = sorted((call.t1, number) for number, call in enumerate(self.calls) if call.t1 is not None)

    def next_calls(self, done):
        """Those that nothing which is still open precedes: begun before the first of the open ones ended."""
        bound = next((end for end, number in self.by_end if not done >> number & 1), INFINITY)
        for number, call in enumerate(self.calls):
            if call.t0 > bound:
                return
            if not done >> number & 1:
                yield number

    def run(self, state, limit_s):
        until = time.monotonic() + limit_s
        seen, stack = {(0, state)}, [(0, state)]
        furthest, most = 0, -1
        while stack:
            done, state = stack.pop()
            if done & self.must == self.must:
                return Answer("pass", states=len(seen))
            if (done & self.must).bit_count() > most:
                furthest, most = done, (done & self.must).bit_count()
            if len(seen) % 64 == 0 and time.monotonic() > until:
                return Answer("inconclusive", f"no end after {limit_s} s and {len(seen)} states", states=len(seen))
            # Pushed in reverse, so that what began first is tried first.
            for number in reversed(list(self.next_calls(done))):
                after = self.step(state, self.calls[number].what)
                if after is None:
                    continue
                key = (done | 1 << number, after)
                if key not in seen:
                    seen.add(key)
                    stack.append(key)
        stuck = [self.calls[number].tag for number in self.next_calls(furthest) if self.must >> number & 1]
        return Answer("fail", f"no order explains all answers; at most {max(most, 0)} of {self.must.bit_count()}", stuck,
                      len(seen))


def check(calls, step, initial=ANY, limit_s=5.0):
    """`step(state, what)` gives the state after an operation, or None if it cannot have had that answer there.
    States and values are hashable, and not None. Returns an Answer."""
    return _Search(_useful(calls), step).run(initial, limit_s)
