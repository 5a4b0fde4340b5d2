"""Senders that take whatever they can get, each from several places at once and hopping over all nodes, against limits
that roll: two windows for each account, one for each tenant. Some write slowly, so that their tokens end meanwhile."""
from .client import Client
from .workload import Workload

TENANTS = ("red.test", "blue.test")


class Quota(Workload):
    name = "quota"
    senders = [f"s{i}@{tenant}" for tenant in TENANTS for i in range(3)]
    limits = [
        {"name": "quick", "for": "account", "count": 12, "window_ms": 5000},
        {"name": "slower", "for": "account", "count": 30, "window_ms": 15000},
        {"name": "all", "for": "tenant", "count": 36, "window_ms": 7000},
    ]
    load = {"accepted": 60, "per_second": 2.0}

    def start(self):
        for sender in self.senders:
            for place in range(3):
                self.spawn(f"{sender}/{place}", self._hop, sender)
            self.spawn(f"{sender}/slow", self._slow, sender)

    def _hop(self, name, rng, sender):
        client = Client(name, self.writer, sender, self.sources[sender], rng)
        while not self.pause(rng, 0.25):
            client.submit(self.node(rng), rcpts=rng.choice((1, 1, 1, 2, 3)))
        client.close()

    def _slow(self, name, rng, sender):
        client = Client(name, self.writer, sender, self.sources[sender], rng)
        while not self.pause(rng, 2.0):
            client.submit(self.node(rng), rcpts=rng.choice((1, 2)), slow_s=rng.uniform(0.5, 8.0), cut=rng.random() < 0.1)
        client.close()


WORKLOADS = [Quota]
