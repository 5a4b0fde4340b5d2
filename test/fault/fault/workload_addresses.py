"""Mail from a pool with floating addresses: they follow their nodes' loss by themselves, and an operator moves them to and
fro. The hook that is shipped puts them on the nodes' machines, so each is on one at a time, as in life."""
import json
import pathlib
import subprocess
import time

from .client import Client
from .operator import Operator
from .workload import Workload

SHIPPED = pathlib.Path(__file__).resolve().parents[3] / "deploy/hooks/address-ip"
POOL, AFTER_S = "floats", 1


class Addresses(Workload):
    name = "addresses"
    senders = ["a0@addr.test", "a1@addr.test", "a2@addr.test"]
    limits = []
    load = {"accepted": 40, "per_second": 2.0}
    engines = ("netns",)  # the hook needs programs that the image has not
    floating = tuple(f"10.99.3.{number}" for number in range(1, 5))
    extensions = ("8BITMIME", "SIZE 104857600", "ENHANCEDSTATUSCODES")  # no PIPELINING: see check/addresses.py

    @classmethod
    def more(cls, engine):
        """Of the nodes' configuration. The hook's programs are beside the one that announces, in the run's folder."""
        folder = engine.folder / "hook"
        folder.mkdir()
        # -I: beside arping.py there are files with names of Python's own modules.
        (folder / "arping").write_text(f"#!/bin/sh\nexec /usr/bin/python3 -I {pathlib.Path(__file__).parent}/arping.py \"$@\"\n")
        (folder / "hook").write_text(f'#!/bin/sh\nPATH={folder}:$PATH\nexec {SHIPPED} "$@"\n')
        for name in ("arping", "hook"):
            (folder / name).chmod(0o755)
        subprocess.run([folder / "arping", "--help"], stdout=subprocess.DEVNULL, check=True)  # the hook is silent about it
        return {"cluster": {"address_hook": str(folder / "hook"), "address_interface": "eth0"},
                "delivery": {"messages_per_connection": 2, "allowed_networks": ["10.0.0.0/8"]}}

    def prepare(self):
        self.run.sink.sink.delays |= {"rcpt": 0.05, "dot": 0.15}  # so that there mostly is something to be cut off
        first = self.cluster.nodes[0]
        first.api("POST", "/v1/pools/add", {"name": POOL})
        first.api("POST", "/v1/pools/float", {"name": POOL, "mode": "automatic", "after": f"{AFTER_S}s",
                                              "return": self.rng.random() < 0.5})
        first.api("POST", "/v1/pools/assign", {"pool": POOL, "tenant": "addr.test"})
        for number, address in enumerate(self.floating):
            node = self.cluster.nodes[number % len(self.cluster.nodes)].name
            first.api("POST", "/v1/ips/add", {"address": address, "pool": POOL, "node": node})
        until = time.monotonic() + 30
        while not all(row["state"] == "assigned" and self._is_on(row) for row in first.api("GET", "/v1/ips")["addresses"]):
            if time.monotonic() > until:
                raise RuntimeError(f"the hook does not add the addresses: {json.dumps(first.api('GET', '/v1/ips'))}")
            time.sleep(0.1)

    def _is_on(self, row):
        return f" {row['address']}/" in self.cluster.by_name(row["node"]).inside("ip", "-o", "address")

    def meta(self):
        return {"floating": True, "addresses": list(self.floating), "after_ms": 1000 * AFTER_S}

    def start(self):
        for sender in self.senders:
            for place in range(2):
                self.spawn(f"{sender}/{place}", self._send, sender)
        self.spawn("owners", self._watch)
        self.spawn("mover", self._move)

    def _send(self, name, rng, sender):
        client = Client(name, self.writer, sender, self.sources[sender], rng)
        while not self.pause(rng, 0.5):
            client.submit(self.node(rng))
        client.close()

    def _watch(self, name, rng):
        """Whose they are, by whoever can tell."""
        while not self.pause(rng, 0.2):
            node = self.node(rng)
            op = self.writer.invoke(name, "owners", node.name)
            said = node.asked("GET", "/v1/ips", timeout=1.0)
            if said is None or said[0] != 200:
                self.writer.fail(op)
                continue
            self.writer.ok(op, {"owners": {row["address"]: [row.get("node"), row.get("next"), row["version"]]
                                           for row in said[1]["addresses"]}})

    def _move(self, name, rng):
        operator = Operator(name, self.run, rng)
        while not self.pause(rng, 4.0):
            address, to = rng.choice(self.floating), self.node(rng).name
            operator.do("ip", f"ip/{address}", {"value": to}, "/v1/ips/move", {"address": address, "node": to})


WORKLOADS = [Addresses]
