"""Histories of a cluster that keeps all its promises, made from a seed: the model decides at known moments, and tells only
what a run would see, intervals around them. Tests break these histories in one place each."""
import random

from fault.history import VERSION, Event, History

MS, S = 1_000_000, 1_000_000_000
NODES = ("n1", "n2", "n3")
ACCOUNTS = {f"s{i}@{tenant}": {"tenant": tenant, "class": "device"} for tenant in ("red.test", "blue.test") for i in range(3)}
FREE = {f"free{i}@free.test": {"tenant": "free.test", "class": "bulk"} for i in range(3)}
LIMITS = [
    {"name": "quick", "for": "account", "classes": ["device"], "count": 12, "window_ms": 5000},
    {"name": "slower", "for": "account", "classes": ["device"], "count": 30, "window_ms": 15000},
    {"name": "all", "for": "tenant", "classes": ["device"], "count": 28, "window_ms": 7000},
]
START = 1000 * S
ADDRESSES = ("198.51.100.1", "198.51.100.2")
TTL_NS, MARGIN_NS = 3 * S, 1 * S
LIMIT_REPLY = "450 4.7.1 Limit quick of this account reached (12 recipients per 5s), try again in 2s"
FROZEN_REPLY = {"reject": "550 5.7.1 This account is disabled for sending, contact your postmaster",
                "defer": "450 4.7.1 Sending is suspended for this account, contact your postmaster"}


class Story:
    """Events in whatever order they are told."""

    def __init__(self):
        self.events = []

    def add(self, t, p, ty, f, n=None, k=None, v=None, reply=None):
        event = Event(len(self.events), int(t), p, ty, f, n, k, v or {}, reply)
        self.events.append(event)
        return event

    def op(self, t0, t1, p, f, ty="ok", n=None, k=None, v=None, got=None, reply=None):
        begun = self.add(t0, p, "invoke", f, n, k, v)
        return begun, self.add(t1, p, ty, f, n, k, got, reply)

    def history(self):
        return History(self.events)

    def find(self, f, ty=None, **v):
        return [event for event in self.events if event.f == f and ty in (None, event.ty) and
                all(event.v.get(name) == value for name, value in v.items())]


class World(Story):
    def __init__(self, seed, workload="quota", seconds=40, faults=True, rate=1.0):
        super().__init__()
        self.rng = random.Random(f"{seed}/{workload}")
        self.seconds, self.rate = seconds, rate
        self.begin, self.stop = START + S, START + S + seconds * S
        self.accounts = {**ACCOUNTS, **FREE}
        self.plan = self._plan() if faults else []
        self.add(START, "run", "ok", "meta", v={
            "version": VERSION, "workload": workload, "faults": sorted({fault["name"] for fault in self.plan}),
            "nodes": list(NODES), "seed": seed, "seconds": seconds, "ttl_ms": 3000, "margin_ms": 1000,
            "when_cut_off": "deliver", "limits": [dict(limit) for limit in LIMITS], "accounts": self.accounts,
            "registers": {"pool/class/bulk": None},
            **({"addresses": list(ADDRESSES), "after_ms": 1000, "floating": True} if workload == "addresses" else {})})
        self.counts = {}  # (limit's name, holder) to (moment, number in force)
        self.charged, self.lines, self.number = {}, {}, 0
        self.named = {}  # a freeze's number to what it is about
        self.frozen = {account: [] for account in self.accounts}  # (on, off, mode, id)
        self.add(self.begin, "run", "ok", "phase", v={"phase": "load"})
        self._faults()
        self._leaders()
        self._freezes()
        self._frozen_reads()
        self._limits()
        self._registers()
        self._mail()
        if workload == "addresses":
            self._addresses()
        self._collect()

    def between(self, low, high):
        return int(self.rng.uniform(low, high))

    # ---- faults

    def _plan(self):
        first, second = self.begin + 8 * S, self.begin + 22 * S
        return [{"name": "kill-random-loop", "node": "n2", "kind": "down", "from": first, "to": first + 3 * S},
                {"name": "partition-one", "node": "n3", "kind": "minority", "from": second, "to": second + 6 * S}]

    def _faults(self):
        for number, fault in enumerate(self.plan):
            v = {"fault": fault["name"], "id": str(number), "targets": [fault["node"]]}
            self.op(fault["from"], fault["from"] + 20 * MS, "nemesis", "nemesis", v={**v, "action": "start"},
                    got={"minority": [], "down": [], "unclear": [], fault["kind"]: [fault["node"]]})
            self.op(fault["to"], fault["to"] + 20 * MS, "nemesis", "nemesis", v={**v, "action": "stop"},
                    got={"effect": {"measured": True, "how": "2 packets"}})
            if fault["kind"] == "down":
                self.add(fault["from"] + 10 * MS, "nemesis", "ok", "crash", fault["node"], v={"caused": True, "how": "SIGKILL"})

    def trouble(self, node, moment):
        """down, minority (its session is over), or None."""
        for fault in self.plan:
            if fault["node"] == node and fault["from"] <= moment <= fault["to"] + S:
                if fault["kind"] == "down" or moment >= fault["from"] + TTL_NS - 500 * MS:
                    return fault["kind"]
        return None

    def _leaders(self):
        t, term = self.begin, 3
        while t < self.stop:
            self.add(t, "watch", "ok", "leader", v={"leader": self.rng.choice(NODES), "term": term})
            t, term = t + self.between(5 * S, 15 * S), term + 1

    # ---- operators

    def _freezes(self):
        number = 100
        for account in [name for name in self.accounts if name.startswith("s0@")] + ["@blue.test"]:
            t = self.begin + self.between(S, 4 * S)
            while t < self.stop - 12 * S:
                number += self.rng.randint(2, 50)
                mode = self.rng.choice(("reject", "defer", "hold"))
                on = t + self.between(5 * MS, 80 * MS)
                off = on + self.between(1 * S, 5 * S)
                timer = self.rng.random() < 0.3
                self.op(t, on + self.between(1 * MS, 30 * MS), f"op-{account}", "freeze", n="n1", k=account,
                        v={"mode": mode, **({"for_s": (off - on) / S} if timer else {})},
                        got={"freeze": number, "complete": True})
                again = not timer and off - on > 2 * S and self.rng.random() < 0.5
                if not timer:
                    named = {"freeze": number + again} if self.rng.random() < 0.5 else {}
                    self.op(off - self.between(5 * MS, 40 * MS), off + self.between(1 * MS, 30 * MS), f"op-{account}", "unfreeze",
                            n="n2", k=account, v=named)
                parts = [(on, off, mode, number)]
                self.named[number] = self.named[number + 1] = account
                if again:
                    parts = self._refreeze(account, parts[0])
                for name, fields in self.accounts.items():
                    if account in (name, f"@{fields['tenant']}"):
                        self.frozen[name].extend(parts)
                t = off + self.between(200 * MS, 4 * S)

    def _refreeze(self, account, part):
        """Once more while it is frozen, perhaps with a timer that comes after the thaw; the thaw lifts this one."""
        on, off, mode, number = part
        middle = on + self.between(500 * MS, 1500 * MS)
        other = self.rng.choice((mode, "reject", "defer", "hold"))
        more = {"for_s": 60} if self.rng.random() < 0.5 else {}
        self.op(middle - self.between(5 * MS, 50 * MS), middle + self.between(5 * MS, 50 * MS), f"op-{account}", "freeze", n="n3",
                k=account, v={"mode": other, **more}, got={"freeze": number + 1, "complete": True})
        return [(on, middle, mode, number), (middle, off, other, number + 1)]

    def frozen_at(self, account, moment):
        """Of an account's and its tenant's freeze the one that refuses."""
        modes = [mode for on, off, mode, _ in self.frozen[account] if on <= moment < off]
        return next((mode for mode in modes if mode != "hold"), modes[0] if modes else None)

    def _limits(self):
        """One account's limit is lowered and raised again."""
        account, t = "s1@red.test", self.begin + 5 * S
        for count in (6, None, 9):
            moment = t + self.between(2 * MS, 50 * MS)
            self.op(t, moment + self.between(2 * MS, 40 * MS), "op-limit", "limit", n="n1", k=f"limit/{account}/quick",
                    v={"limit": "quick", "holder": account, "count": count})
            self.counts.setdefault(("quick", account), []).append((moment, 12 if count is None else count))
            t += self.between(6 * S, 9 * S)

    def _frozen_reads(self):
        """What each node knows of who is frozen: all at once, but for a node that is in trouble."""
        parts = {}
        for event in self.find("freeze", "invoke"):
            parts.setdefault(event.k, [])
        for name in parts:
            account = next(each for each, fields in self.accounts.items() if name in (each, f"@{fields['tenant']}"))
            parts[name] = [part for part in self.frozen[account] if self.named[part[3]] == name]
        t = self.begin if parts else self.stop
        while t < self.stop:
            name, node = self.rng.choice(sorted(parts)), self.rng.choice(NODES)
            moment = t + self.between(1 * MS, 10 * MS)
            if self.trouble(node, moment) is None:
                found = next(({"freeze": number, "mode": mode} for on, off, mode, number in parts[name] if on <= moment < off), None)
                self.op(t, moment + self.between(1 * MS, 10 * MS), "reader", "read", n=node, k=f"frozen/{name}", v={"stale": True},
                        got={"value": found})
            t += self.between(50 * MS, 200 * MS)

    def in_force(self, limit, holder, moment):
        number = limit["count"]
        for since, count in self.counts.get((limit["name"], holder), []):
            if since <= moment:
                number = count
        return number

    def _registers(self):
        for key, values in (("pool/class/bulk", ["a", "b", "c", None]), ("policy", None), ("account/anna@red.test", None)):
            self._register(key, values)

    def _register(self, key, values):
        """Three processes; each operation takes effect at a moment of its own, and those in that order."""
        planned = []
        for place in range(3):
            t = self.begin + self.between(0, S)
            while t < self.stop:
                effect = t + self.between(1 * MS, 60 * MS)
                end = effect + self.between(1 * MS, 60 * MS)
                planned.append((effect, t, end, f"reg-{key}-{place}", self.rng.random()))
                t = end + self.between(50 * MS, 2 * S)
        f = {"pool": "assign", "account": "account"}.get(key.split("/")[0], key)
        state, fresh = None, 0
        for effect, t, end, p, dice in sorted(planned):
            if dice < 0.5:
                got = {"value": state} if state is not None or key in ("pool/class/bulk",) else None
                if got is not None:
                    self.op(t, end, p, "read", n=self.rng.choice(NODES), k=key, got=got)
                continue
            fresh += 1
            value = self.rng.choice(values) if values else fresh
            swap = {"expect": state} if f == "policy" and state is not None and dice < 0.8 else {}
            fate = self.rng.random()
            if swap and fate < 0.1:  # somebody who had seen an older one
                self.op(t, end, p, f, "fail", k=key, v={"value": value, "expect": -1}, reply="another one is in force")
            elif fate < 0.2:
                self.op(t, end, p, f, "info", k=key, v={"value": value, **swap}, reply="timed out")
                state = value if fate < 0.15 else state
            else:
                self.op(t, end, p, f, k=key, v={"value": value, **swap})
                state = value

    # ---- mail

    def admit(self, account, n, moment):
        """Does every limit of the chain have room? Then it is charged."""
        fields, chain = self.accounts[account], []
        for limit in LIMITS:
            if fields["class"] in limit["classes"]:
                holder = account if limit["for"] == "account" else f"@{fields['tenant']}"
                entries = self.charged.setdefault((limit["name"], holder), [])
                since = moment - limit["window_ms"] * MS - 100 * MS
                while entries and entries[0][0] < since:
                    entries.pop(0)
                if sum(k for _, k in entries) + n > self.in_force(limit, holder, moment):
                    return False
                chain.append(entries)
        for entries in chain:
            entries.append((moment, n))
        return True

    def _mail(self):
        attempts = []
        for account in self.accounts:
            for place in range(2):
                t = self.begin + self.between(0, S)
                while t < self.stop:
                    took = self.between(8 * MS, 60 * MS)
                    attempts.append((t, took, account, f"{account}-{place}"))
                    t += took + self.between(100 * MS / self.rate, 900 * MS / self.rate)
        for t, took, account, p in sorted(attempts):
            self._attempt(t, took, account, p)

    def _attempt(self, t, took, account, p):
        node, self.number = self.rng.choice(NODES), self.number + 1
        name, n = f"m{self.number}", self.rng.choice((1, 1, 2, 3))
        rcpts = [f"{name}.{i}@sink.test" for i in range(n)]
        v = {"id": name, "rcpts": rcpts, "hash": f"h{self.number}", "size": 300}
        read, end, trouble = t + took // 8, t + took, self.trouble(node, t)
        mode = self.frozen_at(account, read)

        def refused(reply, stage, after=took // 4):
            self.op(t, t + after, p, "submit", "fail", node, account, v, {"stage": stage}, reply)
        if trouble == "down":
            return refused(None, "connect")
        if trouble == "minority":
            return refused("421 4.3.2 This node may not accept mail just now, try another one", "greeting")
        if mode in FROZEN_REPLY:
            return refused(FROZEN_REPLY[mode], "mail")
        taken = rcpts[:-1] if n == 3 and self.rng.random() < 0.2 else rcpts
        if not self.admit(account, len(taken), read):
            return refused(LIMIT_REPLY, "rcpt")
        moment = t + took * 3 // 4
        cut = next((fault for fault in self.plan if fault["node"] == node and fault["kind"] == "down" and
                    t < fault["from"] <= end + 60 * MS), None)
        shaken = any(fault["from"] <= t <= fault["from"] + 4 * S for fault in self.plan)
        if cut is not None or (shaken and self.rng.random() < 0.1):
            self.op(t, end, p, "submit", "info", node, account, v, {"rcpts": taken, "stage": "dot"})
            if self.rng.random() < 0.5:
                return None
        else:
            self.op(t, end, p, "submit", "ok", node, account, v, {"rcpts": taken, "end_sent_ns": t + took // 2},
                    f"250 2.0.0 Ok: queued as {self.number:013d}")
        if self.rng.random() < 0.97:
            self.lines.setdefault(node, []).append((account, taken, name, moment))
        for rcpt in taken:
            self._deliver(account, name, rcpt, v["hash"], node, moment)
        return None

    def _deliver(self, account, name, rcpt, content, node, moment):
        fate = self.rng.random()
        t = moment + self.between(5 * MS, 800 * MS)
        if fate < 0.03:
            self.add(t, "sink", "ok", "dsn", node, v={"id": f"d-{rcpt}", "about": name, "rcpts": [rcpt], "action": "failed"})
            return
        if fate < 0.05:
            self.add(self.stop + 30 * S, "collect", "ok", "queued", node, v={"id": name, "rcpt": rcpt, "state": "queued"})
            return
        if fate < 0.07:
            self.add(self.stop + 30 * S, "collect", "ok", "ended", node, v={"id": name, "rcpt": rcpt, "how": "deleted"})
            return
        again = fate < 0.12
        while True:
            # Nobody begins an attempt while the sender is frozen, or the node down.
            held = [off for on, off, _, _ in self.frozen[account] if on - 30 * MS <= t < off + 30 * MS]
            down = [fault["to"] + S for fault in self.plan if fault["node"] == node and fault["kind"] == "down" and
                    fault["from"] - 60 * MS <= t < fault["to"] + S]
            if not held and not down:
                break
            t = max(held + down) + self.between(40 * MS, 900 * MS)
        done = t + self.between(2 * MS, 20 * MS)
        v = {"id": name, "rcpt": rcpt, "hash": content, "source_ip": f"192.0.2.{node[1:]}", "begin_ns": t}
        self.add(done, "sink", "ok", "deliver", node, v={**v, **({"ack": False} if again else {})})
        if again:
            t = done + self.between(S, 2 * S)
            while any(on - 30 * MS <= t < off + 30 * MS for on, off, _, _ in self.frozen[account]):
                t += 500 * MS
            self.add(t + 10 * MS, "sink", "ok", "deliver", node, v={**v, "begin_ns": t})
        else:
            self.add(self.stop + 30 * S, "collect", "ok", "ended", node, v={"id": name, "rcpt": rcpt, "how": "delivered"})

    # ---- floating addresses

    def _addresses(self):
        """Each goes from node to node, and is used by whoever has it; reads tell whose it was at some moment within."""
        owners = {address: self._lodgings(address) for address in ADDRESSES}
        t = self.begin
        while t < self.stop:
            moment = t + self.between(1 * MS, 20 * MS)
            end = moment + self.between(1 * MS, 20 * MS)
            said = {address: next((list(rest) for since, until, *rest in times if since <= moment < until), [None, None, 1])
                    for address, times in owners.items()}
            if self.rng.random() < 0.1:
                self.op(t, end, "owners", "owners", "fail", n="n1", got={})
            else:
                self.op(t, end, "owners", "owners", n="n1", got={"owners": said})
            t = end + self.between(50 * MS, 300 * MS)

    def _lodgings(self, address):
        """(from, to, owner, next, version)"""
        found, t, version, owner = [], self.begin, 10, None
        while t < self.stop:
            until = t + self.between(3 * S, 9 * S)
            able = [node for node in NODES if node != owner and not any(
                fault["node"] == node and fault["from"] - S < until and t < fault["to"] + S for fault in self.plan)]
            owner, version = self.rng.choice(able), version + 2
            asked = until - self.between(20 * MS, 500 * MS)
            found += [(t, asked, owner, None, version), (asked, until, owner, "n1", version + 1)]
            begin = t + self.between(0, 300 * MS)
            while begin < asked:
                proven = min(begin + self.between(0, 900 * MS), until)
                self.add(proven + self.between(0, MS), "sink", "ok", "use", owner, v={
                    "source_ip": address, "session": len(self.events), "begin_ns": begin + self.between(0, 5 * MS),
                    "proven_ns": max(proven, begin + 5 * MS), "unread": False})
                begin = begin + self.between(100 * MS, 600 * MS)
            t = until + self.between(5 * MS, 50 * MS)
        return found

    # ---- the end

    def _collect(self):
        t = self.stop
        for phase, after in (("heal", 0), ("drain", 10 * MS), ("collect", 29 * S)):
            self.add(t + after, "run", "ok", "phase", v={"phase": phase})
        t += 30 * S
        for node in NODES:
            for account, taken, name, moment in self.lines.get(node, ()):
                self.add(t, "collect", "ok", "receipt", node, v={
                    "account": account, "n": len(taken), "id": name, "moment_ns": moment // MS * MS, "res_ns": MS})
            self.add(t, "collect", "ok", "digest", node, v={"applied": 4711, "digest": "5eed"})
            for what in ("queue", "history", "events", "digest", "log"):
                self.add(t, "collect", "ok", "collected", node, v={"what": what, "good": True})
        self.add(t + S, "run", "ok", "phase", v={"phase": "end"})
