"""Membership under load: three voters become five and three again; a node is lost with its disk, and comes back empty; nodes
are stopped in order and started again, with another build if there is one: a rolling upgrade."""
import shutil
import time

from .collect import Collector
from .nodes import NODE
from .trouble import Nemesis


class Membership(Nemesis):
    name = "membership"
    hold_s, rest_s = (3.0, 7.0), (2.0, 4.0)

    def __init__(self, run, rng):
        super().__init__(run, rng)
        self.next = ["grow", "wipe"]
        rng.shuffle(self.next)
        upgraded = run.before is not None
        self.next = ["restart"] * 3 + self.next if upgraded else [*self.next, "restart"]
        self.grown, self.wiped, self.stopped, self.kind = [], None, None, None

    # ---- asking the cluster

    def operate(self, path, body=None, but=(), timeout=25):
        """Any node that can answers; the answer."""
        until, said = time.monotonic() + timeout, None
        while time.monotonic() < until:
            for node in self.cluster.living():
                if node in but or not node.member:
                    continue
                said = node.asked("POST", path, body or {}, timeout=10)
                if said is not None and said[0] == 200:
                    return said[1]
            time.sleep(0.3)
        raise RuntimeError(f"{path} {body}: {said}")

    def voters(self, count):
        self.run.voters = count
        self.operate("/v1/policy/apply", {"name": "policy.yaml", "text": self.run.workload.policy_text()})

    def wait(self, what, check, timeout=25):
        until = time.monotonic() + timeout
        while not check():
            if time.monotonic() > until:
                raise RuntimeError(f"waited in vain: {what}")
            time.sleep(0.1)

    def roles(self, but=()):
        for node in self.cluster.living():
            said = node.status() if node not in but and node.member else None
            if said is not None:
                return {r["name"]: r["role"] for r in said["nodes"] if r["state"] == "active"}
        return {}

    # ---- what is done

    def begin(self):
        self.kind = self.next[self.turns % len(self.next)]
        return {"grow": self._grow, "wipe": self._wipe, "restart": self._stop}[self.kind]()

    def end(self):
        return {"grow": self._shrink, "wipe": self._refill, "restart": self._start}[self.kind]()

    def _join(self, node, again=False):
        op = self.writer.invoke(f"nemesis-{self.name}-join", "join", node.name, node.name)
        for _ in range(8):
            token = self.operate("/v1/nodes/token", but=(node,))["token"]
            said = node.asked("POST", "/v1/node/join", {"token": token}, timeout=20)
            # 409: an earlier call had no answer in time, and did it.
            if said is not None and said[0] in (200, 409):
                break
            time.sleep(0.5)
        else:
            self.writer.info(op, reply=str(said))
            raise RuntimeError(f"{node.name} cannot join: {said}")
        self.wait(f"{node.name} is a member", lambda: node.name in self.roles(but=(node,)) and node.ready(), 40)
        self.writer.ok(op, {"again": again})

    def _grow(self):
        self.grown = []
        for _ in range(2):
            node = self.cluster.add()
            node.member = False
            node.start()
            self.grown.append(node)
        for node in self.grown:
            self._join(node)
            node.member = True
        self.voters(5)
        return {"targets": [n.name for n in self.grown], "what": "grow"}

    def _shrink(self):
        roles = self.roles()
        voting = [name for name, role in roles.items() if role == "voter"]
        if not self.grown:
            return False, "no node was added"
        self.voters(3)
        for node in reversed(self.grown):
            if not node.member:
                node.stop()
                continue
            op = self.writer.invoke(f"nemesis-{self.name}-leave", "leave", node.name, node.name)
            until, left = time.monotonic() + 60, False
            while not left and time.monotonic() < until:
                said = node.asked("POST", "/v1/node/leave", {}, timeout=50)
                # 501: it is no member, since an earlier call had no answer in time.
                left = said is not None and (said[0] == 501 or said[0] == 200 and said[1]["left"])
                time.sleep(0.3)
            if not left:
                self.writer.info(op, reply=str(said))
                raise RuntimeError(f"{node.name} cannot leave: {said}")
            self.writer.ok(op)
            node.member = False
            Collector(self.run).leaves(node)
            node.stop()
        self.wait("they are gone", lambda: not set(self.roles()) & {n.name for n in self.grown})
        return len(voting) > 3, f"{len(voting)} nodes voted, {len(self.roles())} are left"

    def _stop(self):
        """Those with the old build first."""
        living = [n for n in self.cluster.members() if n.alive()]
        self.stopped = self.rng.choice([n for n in living if n.program != NODE] or living)
        self.old = self.stopped.running()
        self.stopped.stop()
        return {"targets": [self.stopped.name], "down": [self.stopped.name], "what": f"stop {self.old}"}

    def _start(self):
        node = self.stopped
        if node is None:
            return False, "no node was stopped"
        node.program = NODE
        node.start()
        self.wait(f"{node.name} is ready", node.ready)
        new = node.running()
        return new != self.old, f"{node.name} was {self.old} and is {new}"

    def _wipe(self):
        self.wiped = self.rng.choice([n for n in self.cluster.members() if n.alive()])
        node = self.wiped
        node.member = False
        node.asked("POST", "/v1/node/drain", {}, timeout=5)
        until = time.monotonic() + 6
        while time.monotonic() < until:
            said = node.asked("GET", "/v1/status?scope=local")
            if said is not None and said[0] == 200 and said[1]["queue"]["recipients"] == 0:
                break
            time.sleep(0.2)
        if node.kill():
            self.writer.observe(f"nemesis-{self.name}", "crash", {"caused": True, "how": "SIGKILL"}, n=node.name)
        data = node.folder / "data"
        for path in list(data.iterdir()):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return {"targets": [node.name], "down": [node.name], "wiped": [node.name], "what": "wipe"}

    def _refill(self):
        node = self.wiped
        if node is None:
            return False, "no node was wiped"
        before = next((r["id"] for said in list(self.watch.seen.values()) for r in said["nodes"] if r["name"] == node.name), 0)
        self.operate("/v1/nodes/remove", {"node": node.name}, but=(node,))
        node.start()
        self._join(node, again=True)
        node.member = True
        said = node.status()
        return said is not None and said["self"] > before, f"{node.name} was {before} and is {said and said['self']}"


FAULTS = [Membership]
