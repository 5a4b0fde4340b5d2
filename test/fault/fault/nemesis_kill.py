"""Faults of processes: killed without warning, and standing still."""
import time

from .trouble import Nemesis


class Kill(Nemesis):
    """What is killed stays down for a while; then it is started again, with its disk."""

    def choose(self):
        raise NotImplementedError

    def begin(self):
        self.victims, self.term = self.choose(), self.watch.term
        self.killed = [node for node in self.victims if self.strike(node)]
        return {"targets": [n.name for n in self.victims], "down": [n.name for n in self.victims]}

    def strike(self, node):
        process = node.process
        was = node.kill()
        if was:
            self.writer.observe(f"nemesis-{self.name}", "crash", {"node": node.name, "caused": True, "how": "SIGKILL"},
                                n=node.name)
        return was and process.poll() is not None

    def revive(self, node):
        with node.lock:
            if node.down and node.member:
                node.start(wait=False)

    def end(self):
        for node in getattr(self, "victims", []):
            self.revive(node)
        gone = getattr(self, "killed", [])
        changed = f", term {self.term} became {self.watch.term}" if gone and self.watch.term != self.term else ""
        return bool(gone), f"{len(gone)} processes were gone{changed}"


class KillLeader(Kill):
    name = "kill-leader"
    hold_s = (2.0, 6.0)

    def choose(self):
        leader = self.leader()
        return [leader] if leader else []


class KillOwner(Kill):
    """Who has most floating addresses, or anybody; for long enough that others get them."""

    name = "kill-owner"
    hold_s = (13.5, 14.5)

    def choose(self):
        for node in self.cluster.living():
            said = node.asked("GET", "/v1/ips", timeout=2.0)
            if said is not None and said[0] == 200:
                owners = [row["node"] for row in said[1]["addresses"] if row.get("floats") and row.get("node")]
                if owners:
                    return [self.node(max(sorted(set(owners)), key=owners.count))]
        return [self.rng.choice(self.cluster.members())]


class KillRandomLoop(Kill):
    """One after another, quickly: a node is often killed again before it has come back whole."""

    name = "kill-random-loop"
    hold_s, rest_s = (0.3, 2.0), (0.3, 2.0)

    def choose(self):
        living = self.cluster.members()
        return [self.rng.choice(living)]


class KillAll(Kill):
    name = "kill-all"
    hold_s = (1.0, 4.0)

    def choose(self):
        return list(self.cluster.members())


class Pause(Nemesis):
    def choose(self):
        raise NotImplementedError

    def begin(self):
        self.victim = self.choose()
        self.done = self.victim is not None and self.victim.pause()
        self.silent = self.done and self.victim.asked("GET", "/healthz", timeout=0.5) is None
        names = [self.victim.name] if self.done else []
        return {"targets": names, "down": names}

    def end(self):
        if getattr(self, "victim", None) is None:
            return False, "nobody was there to be paused"
        still = self.victim.asked("GET", "/healthz", timeout=0.3) is None
        self.victim.go_on()
        self.victim_back = time.monotonic()
        return self.silent and still, f"{self.victim.name} answered nothing"


class PauseLeader(Pause):
    name = "pause-leader"

    def choose(self):
        return self.leader()


class PauseHolder(Pause):
    """Who has most tokens in hand: it wakes up with tokens that others have counted as spent."""

    name = "pause-holder"

    def choose(self):
        name = self.watch.holder(but=self.watch.leader)
        return self.node(name) if name else None


FAULTS = [KillLeader, KillOwner, KillRandomLoop, KillAll, PauseLeader, PauseHolder]
