"""The history of a run: what clients, operators and faults did and saw, one JSON object per line.

docs/fault-testing.md describes every field. Times are nanoseconds of the host's CLOCK_MONOTONIC, which containers and
processes share, so the order of what happened in real time is exact. Nothing here judges; fault.check does.
"""
import dataclasses
import json
import os
import threading
import time

VERSION = 1
TYPES = ("invoke", "ok", "fail", "info")
ENDS = ("ok", "fail", "info")

# What is done by somebody, and so has a begin and an end: the fields of `v` that each of the two must have.
OPERATIONS = {
    "submit": {"invoke": ("id", "rcpts"), "ok": ("rcpts",), "fail": (), "info": ("rcpts",)},
    "freeze": {"invoke": ("mode",), "ok": ("freeze",), "fail": (), "info": ()},
    "unfreeze": {"invoke": (), "ok": (), "fail": (), "info": ()},
    "policy": {"invoke": ("value",), "ok": (), "fail": (), "info": ()},
    "limit": {"invoke": ("limit", "count"), "ok": (), "fail": (), "info": ()},
    "assign": {"invoke": ("value",), "ok": (), "fail": (), "info": ()},
    "ip": {"invoke": ("value",), "ok": (), "fail": (), "info": ()},
    "account": {"invoke": ("value",), "ok": (), "fail": (), "info": ()},
    "read": {"invoke": (), "ok": ("value",), "fail": (), "info": ()},
    "join": {"invoke": (), "ok": (), "fail": (), "info": ()},
    "leave": {"invoke": (), "ok": (), "fail": (), "info": ()},
    "names": {"invoke": (), "ok": ("names",), "fail": (), "info": ()},
    "forget": {"invoke": (), "ok": (), "fail": (), "info": ()},
    "owners": {"invoke": (), "ok": ("owners",), "fail": (), "info": ()},
    "nemesis": {"invoke": ("fault", "action", "targets"), "ok": (), "fail": (), "info": ()},
}
# What was seen at one moment; the type is always "ok".
OBSERVATIONS = {
    "meta": ("version", "workload", "faults", "nodes"),
    "phase": ("phase",),
    "deliver": ("id", "rcpt"),
    "use": ("source_ip", "begin_ns", "proven_ns"),
    "dsn": ("about", "rcpts", "action"),
    "receipt": ("account", "n"),
    "queued": ("id", "rcpt"),
    "ended": ("id", "rcpt", "how"),
    "moved": ("id", "rcpt", "to"),
    "leader": ("leader",),
    "crash": ("caused",),
    "log": ("kind", "line"),
    "digest": ("applied", "digest"),
    "collected": ("what", "good"),
    "note": (),
}
# Of these the node must be known.
OF_A_NODE = ("use", "moved", "crash", "log", "digest", "collected")
# These act on one register or sender, which `k` names.
KEYED = ("submit", "freeze", "unfreeze", "policy", "limit", "assign", "ip", "account", "read", "forget")
PHASES = ("load", "heal", "drain", "collect", "end")


class HistoryError(ValueError):
    """A line that is not what docs/fault-testing.md says."""


@dataclasses.dataclass(slots=True)
class Event:
    i: int
    t: int
    p: str
    ty: str
    f: str
    n: str | None = None
    k: str | None = None
    v: dict = dataclasses.field(default_factory=dict)
    reply: str | None = None

    @property
    def node(self):
        return self.n if self.n is not None else self.v.get("node")

    def line(self):
        fields = {"i": self.i, "t": self.t, "p": self.p, "ty": self.ty, "f": self.f}
        for name in ("n", "k", "v", "reply"):
            value = getattr(self, name)
            if value is not None:
                fields[name] = value
        return json.dumps(fields, separators=(",", ":"), ensure_ascii=True)


@dataclasses.dataclass(slots=True)
class Op:
    """An invocation with its end. Without one (the run was cut short) its outcome is unknown, like that of an info."""
    invoke: Event
    end: Event | None

    @property
    def f(self):
        return self.invoke.f

    @property
    def k(self):
        return self.invoke.k

    @property
    def n(self):
        """The node that was asked: the end knows better, where a client has tried several."""
        return self.end.n if self.end is not None and self.end.n is not None else self.invoke.n

    @property
    def outcome(self):
        return "info" if self.end is None else self.end.ty

    @property
    def t0(self):
        return self.invoke.t

    @property
    def t1(self):
        """When the answer was read; None if nobody knows whether, or when, it took effect."""
        return None if self.outcome == "info" else self.end.t

    @property
    def got(self):
        return {} if self.end is None else self.end.v

    @property
    def events(self):
        return [self.invoke] if self.end is None else [self.invoke, self.end]


def clock_ns():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def validate(event):
    """Raises HistoryError for an event that no checker could make sense of."""
    def expect(good, what):
        if not good:
            raise HistoryError(what)
    expect(isinstance(event.i, int) and not isinstance(event.i, bool) and event.i >= 0, "i is not a number")
    expect(isinstance(event.t, int) and not isinstance(event.t, bool) and event.t >= 0, "t is not a number of ns")
    expect(isinstance(event.p, str) and event.p != "", "p names no process")
    expect(event.ty in TYPES, f"ty is {event.ty!r}")
    expect(isinstance(event.v, dict), "v is not an object")
    for name in ("n", "k", "reply"):
        expect(getattr(event, name) is None or isinstance(getattr(event, name), str), f"{name} is not a text")
    if event.f in OBSERVATIONS:
        expect(event.ty == "ok", f"{event.f} is seen, so its ty is ok")
        needed = OBSERVATIONS[event.f]
    else:
        expect(event.f in OPERATIONS, f"f is {event.f!r}")
        needed = OPERATIONS[event.f][event.ty]
    for name in needed:
        expect(name in event.v, f"{event.f} {event.ty} has no v.{name}")
    expect(event.f not in OF_A_NODE or event.node, f"{event.f} names no node")
    expect(event.f not in KEYED or event.k, f"{event.f} has no k")
    if event.f == "meta":
        expect(event.v["version"] == VERSION, f"version {event.v['version']!r}; this program reads {VERSION}")
    elif event.f == "phase":
        expect(event.v["phase"] in PHASES, f"phase {event.v['phase']!r}")
    elif event.f == "nemesis" and event.ty == "invoke":
        expect(event.v["action"] in ("start", "stop"), f"action {event.v['action']!r}")
    elif event.f == "submit" and "rcpts" in event.v:
        expect(isinstance(event.v["rcpts"], list), "v.rcpts is not a list")
    elif event.f == "receipt":
        expect(isinstance(event.v["n"], int), "v.n is not a number")


def parse(line):
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        raise HistoryError(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise HistoryError("not an object")
    unknown = fields.keys() - {"i", "t", "p", "ty", "f", "n", "k", "v", "reply"}
    if unknown:
        raise HistoryError(f"unknown field {sorted(unknown)[0]}")
    missing = {"i", "t", "p", "ty", "f"} - fields.keys()
    if missing:
        raise HistoryError(f"no {sorted(missing)[0]}")
    event = Event(**fields)
    validate(event)
    return event


class Writer:
    """Appends events to a file, a line at a time, from any thread. What was written survives the harness being killed."""

    def __init__(self, path):
        self.path = os.fspath(path)
        self._file = open(self.path, "w", buffering=1, encoding="ascii")
        self._lock = threading.Lock()
        self._next = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with self._lock:
            self._file.close()

    def write(self, p, ty, f, n=None, k=None, v=None, reply=None, t=None):
        """The moment is now, or `t` where it was taken elsewhere (by the sink, say). Returns the event."""
        with self._lock:
            event = Event(self._next, clock_ns() if t is None else t, p, ty, f, n, k, {} if v is None else v, reply)
            validate(event)
            self._file.write(event.line() + "\n")
            self._next += 1
        return event

    def invoke(self, p, f, n=None, k=None, v=None, t=None):
        return self.write(p, "invoke", f, n, k, v, None, t)

    def ok(self, begun, v=None, reply=None, n=None, t=None):
        """The end of what `invoke` returned; likewise fail (it has surely not happened) and info (nobody knows)."""
        return self.write(begun.p, "ok", begun.f, n or begun.n, begun.k, v, reply, t)

    def fail(self, begun, v=None, reply=None, n=None, t=None):
        return self.write(begun.p, "fail", begun.f, n or begun.n, begun.k, v, reply, t)

    def info(self, begun, v=None, reply=None, n=None, t=None):
        return self.write(begun.p, "info", begun.f, n or begun.n, begun.k, v, reply, t)

    def observe(self, p, f, v, n=None, k=None, t=None):
        return self.write(p, "ok", f, n, k, v, None, t)


class History:
    """A whole history in the order of time, with invocations and their ends put together."""

    def __init__(self, events, truncated=False):
        self.events = sorted(events, key=lambda event: (event.t, event.i))
        self.truncated = truncated  # the last line was cut: the harness was killed
        self.ops = []
        self.seen = {}
        self._pair()
        metas = self.observed("meta")
        if len(metas) != 1:
            raise HistoryError(f"{len(metas)} events of meta; there must be one")
        self.meta = metas[0].v

    def _pair(self):
        open_ops = {}
        for event in self.events:
            if event.f in OBSERVATIONS:
                self.seen.setdefault(event.f, []).append(event)
            elif event.ty == "invoke":
                if event.p in open_ops:
                    raise HistoryError(f"event {event.i}: {event.p} begins {event.f} before its {open_ops[event.p].f} ended")
                op = Op(event, None)
                open_ops[event.p] = op
                self.ops.append(op)
            else:
                op = open_ops.pop(event.p, None)
                if op is None or op.f != event.f or op.k != event.k:
                    raise HistoryError(f"event {event.i}: {event.p} ends {event.f} {event.k or ''}, which it has not begun")
                if op.invoke.t > event.t:
                    raise HistoryError(f"event {event.i} ends before it began")
                op.end = event

    def observed(self, f):
        return self.seen.get(f, [])

    def operations(self, *kinds):
        return [op for op in self.ops if op.f in kinds]

    def phase_at(self, name):
        """When a phase began, or None."""
        return next((event.t for event in self.observed("phase") if event.v["phase"] == name), None)

    @property
    def complete(self):
        return not self.truncated and self.phase_at("end") is not None

    @property
    def span(self):
        """From the first event to the last, without meta."""
        times = [event.t for event in self.events if event.f != "meta"]
        return (times[0], times[-1]) if times else (0, 0)


def read(path):
    """The history in a file. A last line without its end is left out; any other fault is a HistoryError."""
    events, truncated = [], False
    with open(path, encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                truncated = True
                break
            try:
                events.append(parse(line))
            except HistoryError as error:
                raise HistoryError(f"{path}:{number}: {error}") from None
    numbers = {event.i for event in events}
    if len(numbers) != len(events):
        raise HistoryError(f"{path}: the same i twice")
    return History(events, truncated)
