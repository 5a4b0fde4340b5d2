"""One run: a cluster, a workload, faults, and then the truth about what became of everything."""
import itertools
import json
import os
import pathlib
import random
import shutil
import signal
import threading
import time

from .canary import Canary
from .cleanup import sweep_stale
from .collect import Collector, wall_offset_ns
from .engine import engine
from .history import VERSION, Writer
from .names import HubDns
from .nodes import STRETCH, FaultCluster
from .sink import RecordingSink
from .trouble import Watch
from .workload import PROBE

TTL_MS, MARGIN_MS = 3000, 1000
AFTER_S = 14  # the load goes on after the last fault, to see that service is whole again within ten seconds


class Failed(RuntimeError):
    """The run could not be carried out; it says nothing about the product."""


def catalogue():
    from . import nemesis_disk, nemesis_kill, nemesis_members, nemesis_net, nemesis_time
    modules = (nemesis_net, nemesis_kill, nemesis_time, nemesis_disk, nemesis_members)
    return {fault.name: fault for module in modules for fault in module.FAULTS}


def workloads():
    from . import workload_addresses, workload_freeze, workload_quota, workload_registers, workload_spool, workload_web
    modules = (workload_quota, workload_freeze, workload_registers, workload_spool, workload_addresses, workload_web)
    return {one.name: one for module in modules for one in module.WORKLOADS}


def clash(faults):
    """Why these cannot be together; None if they can."""
    for name in faults:
        if faults.count(name) > 1:
            return f"{name} twice"
    return None


class Run:
    def __init__(self, workload, faults, seed, seconds, out, engine_name="netns", before=None):
        self.kind, self.faults, self.seed, self.seconds = workload, faults, seed, seconds
        self.out, self.engine_name = pathlib.Path(out), engine_name
        self.before = before  # the build that nodes begin with: the fault membership upgrades them
        self.out.mkdir(parents=True, exist_ok=True)
        self.history_path = self.out / "history.jsonl"
        self.stopping = threading.Event()
        self.engine = self.writer = self.cluster = self.watch = self.sink = self.workload = None
        self.numbers = itertools.count(1)
        self.canary = None
        self.nemeses, self.until, self.voters = [], None, 3

    def left_s(self):
        return max(0.0, self.until - time.monotonic())

    def count(self):
        """Numbers that are never given twice in a run."""
        return next(self.numbers)

    @staticmethod
    def nap(seconds):
        time.sleep(seconds)

    def rng(self, what):
        return random.Random(f"{self.seed}/{what}")

    # ---- before

    def _set_up(self):
        sweep_stale()
        self.engine = engine(self.engine_name)
        if self.before is not None:
            self.engine.program = pathlib.Path(self.before).resolve() / "node/core/turnpiked"
        kind = workloads()[self.kind]
        senders = [*kind.senders, PROBE]
        self.clients = list(zip(self.engine.open(len(senders)), senders))
        self.writer = Writer(self.history_path)
        self.offset_ns = wall_offset_ns()
        self.cluster = FaultCluster(self.engine, self.clients, kind.more(self.engine))
        for _ in range(3):
            self.cluster.add()
        self.watch = Watch(self.cluster, self.writer)
        self.workload = kind(self, self.rng("workload"))
        self.nemeses = [catalogue()[name](self, self.rng(name)) for name in self.faults]
        self.dns = HubDns(self.engine.hub)
        self.sink = RecordingSink(self.engine.hub, self.writer, lambda address: next(
            (n.name for n in self.cluster.nodes if n.address == address), None), self.rng("sink"), self.engine.folder,
            kind.faulty, kind.floating, kind.extensions)
        self._meta(kind)
        for nemesis in self.nemeses:
            nemesis.prepare()
        self.cluster.form()
        self._apply_policy()
        self.workload.free_the_probe()
        self.workload.prepare()

    def _meta(self, kind):
        accounts = {name: {"tenant": name.partition("@")[2], "class": "device"} for _, name in self.clients}
        self.writer.observe("run", "meta", {
            "version": VERSION, "workload": self.kind, "faults": self.faults, "nodes": [n.name for n in self.cluster.nodes],
            "seed": self.seed, "seconds": self.seconds, "engine": self.engine_name, "ttl_ms": TTL_MS,
            "margin_ms": MARGIN_MS, "when_cut_off": "deliver", "limits": kind.limits, "accounts": accounts,
            "load": kind.load, **self.workload.meta(), "registers": self.workload.registers(), "build": os.environ.get("TURNPIKE_BUILD", "build/dev")})

    def _apply_policy(self):
        self.cluster.nodes[0].api("POST", "/v1/policy/apply", {"name": "policy.yaml", "text": self.workload.policy_text()})
        target = self.cluster.nodes[0].cluster()["applied"]
        until = time.monotonic() + 10
        while not all(n.cluster()["applied"] >= target for n in self.cluster.nodes):
            if time.monotonic() > until:
                raise Failed("the policy does not reach all nodes")
            time.sleep(0.05)

    # ---- the run itself

    def _phase(self, name):
        self.writer.observe("run", "phase", {"phase": name})

    def _load(self):
        self._phase("load")
        self.canary = Canary(self.engine.folder)
        self.until = time.monotonic() + self.seconds
        self.watch.start()
        self.workload.begin()
        for nemesis in self.nemeses:
            nemesis.start()
        self.stopping.wait(self.seconds)
        self.stopping.set()
        for nemesis in self.nemeses:
            nemesis.join()
            if nemesis.failure is not None:
                raise Failed(f"{nemesis.name}: {nemesis.failure!r}")

    def _heal(self):
        """Everything runs and reaches everything; the load goes on."""
        for node in self.cluster.members():
            with node.lock:
                node.go_on()
                if node.down or node.process.poll() is not None:
                    node.start(wait=False)
        self._phase("heal")
        began, waiting = time.monotonic(), list(self.cluster.members())
        while time.monotonic() < began + AFTER_S or (waiting and time.monotonic() < began + 60 * STRETCH):
            for node in list(waiting):
                if node.ready():
                    waiting.remove(node)
                    self.writer.observe("run", "note", {"ready": node.name, "after_s": round(time.monotonic() - began, 2)})
            time.sleep(0.1)
        if waiting:
            self.writer.observe("run", "note", {"never_ready": [n.name for n in waiting]})

    def _drain(self):
        self.workload.stop()
        self._phase("drain")
        self.sink.mend()
        self.workload.drain()
        until = time.monotonic() + 60 * STRETCH
        while time.monotonic() < until:
            left = 0
            for node in self.cluster.living():
                said = node.asked("GET", "/v1/status?scope=local", timeout=5)
                count = said[1]["queue"]["recipients"] if said and said[0] == 200 else 1
                left += count
                if count:
                    node.asked("POST", "/v1/queue/retry", {"all": True}, timeout=5)
            if left == 0:
                break
            time.sleep(0.4)

    def _collect(self):
        for still in self.canary.close():
            self.writer.observe("canary", "note", {"stood_still": still})
        time.sleep(0.6)  # event logs are written a few times a second
        self.sink.tell_uses()
        self._phase("collect")
        Collector(self).all(lambda node: all(getattr(n, "clock_ok", lambda _: True)(node) for n in self.nemeses))

    def _keep_logs(self):
        for node in self.cluster.nodes if self.cluster else []:
            for path in (node.log_path, node.events_path):
                if path.exists():
                    shutil.copy(path, self.out / f"{node.name}.{path.name}")

    def _quiet(self):
        """Nobody writes into the history any more."""
        for part, end in ((self.workload, "stop"), (self.watch, "close")):
            try:
                if part is not None and part.started:
                    getattr(part, end)()
            except RuntimeError:
                pass

    def carry_out(self):
        """Returns nothing: the history says it all. Raises Failed when it could not be carried out."""
        def ended(number, _frame):
            raise KeyboardInterrupt(number)
        before = {number: signal.signal(number, ended) for number in (signal.SIGTERM, signal.SIGHUP)}
        try:
            self._set_up()
            self._load()
            self._heal()
            self._drain()
            self.watch.close()
            self._collect()
            self.cluster.close()
            for node in self.cluster.nodes:
                code = node.process.returncode if node.process else 0
                if code != 0:
                    self.writer.observe("run", "crash", {"node": node.name, "caused": False, "how": f"ended with {code}"},
                                        n=node.name)
            for failure in self.workload.failures:
                raise Failed(f"a client of the test failed: {failure!r}")
            self._phase("end")
        except (AssertionError, RuntimeError, OSError) as error:
            raise error if isinstance(error, Failed) else Failed(f"{type(error).__name__}: {error}") from error
        finally:
            self.stopping.set()
            self._quiet()
            self._keep_logs()
            if self.sink is not None:
                self.sink.close()
            if self.writer is not None:
                self.writer.close()
            if self.engine is not None:
                self.engine.close()
            for number, handler in before.items():
                signal.signal(number, handler)
        (self.out / "run.json").write_text(json.dumps({
            "workload": self.kind, "faults": self.faults, "seed": self.seed, "seconds": self.seconds,
            "engine": self.engine_name, "copies": self.sink.copies, "encrypted": self.sink.encrypted,
            "turns": {n.name: [n.turns, n.measured] for n in self.nemeses}}) + "\n")
