"""What clients and operators do during a run, and what the cluster is told to be first."""
import random
import threading
import time

from .client import Client
from .operator import Operator

PROBE = "probe@probe.test"  # no limit holds it, nobody freezes it: what is refused to it tells of availability


class Workload:
    """`senders` are its accounts: each has an address of its own, by which nodes know it."""

    name = ""
    limits = []
    senders = []
    load = {"accepted": 40, "per_second": 1.0}
    faulty = 0.0
    engines = ("netns", "docker")  # where it can be run
    floating = ()
    extensions = None  # of next hops; None: the usual ones

    @classmethod
    def more(cls, engine):
        """Of the nodes' configuration."""
        return {}

    def meta(self):
        return {}

    def __init__(self, run, rng):
        self.run, self.rng = run, rng
        self.writer, self.cluster = run.writer, run.cluster
        self.threads, self.failures = [], []
        self.stopping = threading.Event()
        self.sources = {account: address for address, account in run.clients}

    def policy_text(self):
        lines = [f"  - {{name: {l['name']}, for: {l['for']}, {self._classes(l)}count: {l['count']}, "
                 f"window: {l['window_ms'] // 1000}s}}" for l in self.limits]
        return ("limits:\n" + "\n".join(lines) + "\n" if lines else "limits: []\n") + f"voters: {self.run.voters}\n"

    @staticmethod
    def _classes(limit):
        return f"classes: [{', '.join(limit['classes'])}], " if "classes" in limit else ""

    def prepare(self):
        """When the cluster is there and idle."""

    def registers(self):
        """What the registers are that it uses, when it begins."""
        return {}

    def start(self):
        raise NotImplementedError

    def begin(self):
        self.start()
        self.spawn("probe", self._probe)

    def free_the_probe(self):
        operator = Operator("setup", self.run, self.rng)
        for limit in self.limits:
            scope = "account" if limit["for"] == "account" else "tenant"
            name = PROBE if scope == "account" else PROBE.partition("@")[2]
            holder = name if scope == "account" else f"@{name}"
            v = {"limit": limit["name"], "holder": holder, "count": 1000000}
            body = {scope: name, "limit": limit["name"], "count": 1000000}
            if operator.do("limit", f"limit/{holder}/{limit['name']}", v, "/v1/limits/set", body) is None:
                raise RuntimeError(f"the probe's limit {limit['name']} cannot be set")

    def _probe(self, name, rng):
        client, turn = Client(name, self.writer, PROBE, self.sources[PROBE], rng, expect=True), 0
        while not self.pause(rng, 0.2):
            members = self.cluster.members()
            client.submit(members[turn % len(members)])
            turn += 1
        client.close()

    def spawn(self, name, work, *arguments):
        """A thread with a random source of its own, so that a schedule does not depend on how threads are mixed."""
        rng = random.Random(f"{self.run.seed}/{self.name}/{name}")

        def body():
            try:
                work(name, rng, *arguments)
            except Exception as error:
                self.failures.append(error)
                raise
        self.threads.append(threading.Thread(target=body, name=name, daemon=True))
        self.threads[-1].start()

    def pause(self, rng, seconds):
        """True when it is time to end."""
        return self.stopping.wait(rng.uniform(0.5, 1.5) * seconds)

    def node(self, rng):
        return rng.choice(self.cluster.members())

    @property
    def started(self):
        return bool(self.threads)

    def stop(self):
        self.stopping.set()
        until = time.monotonic() + 60
        for thread in self.threads:
            thread.join(max(0.1, until - time.monotonic()))
        left = [thread.name for thread in self.threads if thread.is_alive()]
        if left:
            raise RuntimeError(f"clients do not end: {left}")

    def drain(self):
        """After the load: whatever keeps mail from going out is taken away."""
