"""What all faults share: the view of who leads and who is reachable, and the schedule, drawn from the seed."""
import threading
import time


DISK_ENDS = (69, 74)  # it cannot start on a disk without a byte left; its disk fails


class Watch:
    """Looks at all nodes a few times a second: who leads, who has tokens in hand. Tells the history of every change, and
    starts nodes again that ended by themselves, as a service manager would."""

    def __init__(self, cluster, writer, period_s=0.25):
        self.cluster, self.writer, self.period_s = cluster, writer, period_s
        self.leader, self.term, self.seen = None, 0, {}
        self.changes, self.ended = 0, 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name="watch", daemon=True)

    @property
    def started(self):
        return self.thread.ident is not None

    def start(self):
        self.thread.start()
        return self

    def _run(self):
        while not self.stop.wait(self.period_s):
            for node in list(self.cluster.nodes):
                self._keep(node)
            self.look()

    def look(self):
        best, leader = self.term, self.leader
        for node in self.cluster.living():
            said = node.status()
            if said is None:
                continue
            self.seen[node.name] = said
            if said["leader"] and said["term"] >= best:
                row = next((r for r in said["nodes"] if r["id"] == said["leader"]), None)
                if row is not None:
                    best, leader = said["term"], row["name"]
        if leader != self.leader or best != self.term:
            self.leader, self.term = leader, best
            self.changes += 1
            self.writer.observe("watch", "leader", {"leader": leader, "term": best})
        return leader

    def holder(self, but=None):
        """The node with most tokens in hand, as the nodes say."""
        held = {}
        for said in self.seen.values():
            for row in said["nodes"]:
                held[row["name"]] = max(held.get(row["name"], 0), row["held"])
        living = [n.name for n in self.cluster.living() if n.name != but]
        return max(living, key=lambda name: held.get(name, 0), default=None)

    def _keep(self, node):
        if node.down or node.process is None or node.process.poll() is None or not node.lock.acquire(blocking=False):
            return
        try:
            if not node.down and node.process.poll() is not None:
                code = node.process.returncode
                self.ended += 1
                self.writer.observe("watch", "crash", {"node": node.name, "caused": code in DISK_ENDS and node.may_end,
                                                       "how": f"ended by itself with {code}"},
                                    n=node.name)
                node.start(wait=False)
        finally:
            node.lock.release()

    def close(self):
        self.stop.set()
        self.thread.join(20)


class Nemesis:
    """A fault with a name. It is started and stopped in turns while the run lasts; each turn chooses its targets anew.

    begin() puts it in place and returns {targets, minority, down, unclear}; end() takes it away and returns what is
    known of its effect: (whether, how that was measured)."""

    name = ""
    hold_s = (5.0, 8.0)  # longer than session.ttl and margin together
    rest_s = (3.0, 5.0)

    def __init__(self, run, rng):
        self.run, self.rng = run, rng
        self.writer, self.cluster, self.watch = run.writer, run.cluster, run.watch
        self.turns = self.measured = 0
        self.thread = threading.Thread(target=self._work, name=f"nemesis-{self.name}", daemon=True)
        self.failure = None

    def prepare(self):
        """Before the nodes are started."""

    def begin(self):
        raise NotImplementedError

    def end(self):
        raise NotImplementedError

    def once(self, seconds):
        """One turn. The targets are known only when it has begun: they are in the end of the start."""
        name = f"nemesis-{self.name}"
        number = f"{self.name}-{self.turns}"
        op = self.writer.invoke(name, "nemesis", v={"fault": self.name, "action": "start", "id": number, "targets": []})
        try:
            where = self.begin()
        except Exception as error:
            self.writer.info(op, {"error": repr(error)})
            try:
                self.end()
            except Exception as second:  # what went wrong first is told
                error.add_note(f"and then {second!r}")
            raise
        self.writer.ok(op, {"minority": [], "down": [], "unclear": [], **where})
        self.run.stopping.wait(seconds)
        op = self.writer.invoke(name, "nemesis", v={"fault": self.name, "action": "stop", "id": number,
                                                    "targets": where["targets"]})
        effect, how = self.end()
        self.turns += 1
        self.measured += bool(effect)
        self.writer.ok(op, {"effect": {"measured": bool(effect), "how": how}})

    def _work(self):
        try:
            wait = self.rng.uniform(2.0, 3.5)
            while not self.run.stopping.wait(wait) and self.run.left_s() > 4:
                self.once(min(self.rng.uniform(*self.hold_s), self.run.left_s()))
                wait = self.rng.uniform(*self.rest_s)
        except Exception as error:  # told by the run, which then proves nothing
            self.failure = error

    def start(self):
        self.thread.start()

    def join(self):
        self.thread.join(120)
        if self.thread.is_alive():
            raise RuntimeError(f"{self.name} does not end")

    # ---- for the faults

    def node(self, name):
        return self.cluster.by_name(name)

    def leader(self, timeout=8.0):
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            name = self.watch.leader
            if name is not None and self.node(name).alive() and not self.node(name).paused:
                return self.node(name)
            time.sleep(0.1)
        return None

    def others(self, *nodes):
        return [n for n in self.cluster.members() if n not in nodes]
