"""Shared web hosts whose headers say which script each message is of: hosts with few scripts, and one with more than may have
names. All take whatever they can get, hopping over all nodes, against limits of script, host and tenant; operators change a
script's limit, make room for other names, and freeze a script or its host for a while."""
import urllib.parse

from .client import Client
from .operator import Operator
from .workload import Workload

FEW, MANY = ("few0@red.test", "few1@blue.test"), "many@red.test"
MOST = 5  # names of a host
SCRIPTS = {host: [f"33:Form{i}.php" for i in range(4)] for host in FEW} | {MANY: [f"1001:page{i}.php" for i in range(24)]}
LOWERED = f"web:{FEW[0]}/{SCRIPTS[FEW[0]][0].lower()}"


class Web(Workload):
    name = "web"
    senders = [*FEW, MANY]
    limits = [
        {"name": "script-quick", "for": "account", "classes": ["bulk"], "count": 6, "window_ms": 5000},
        {"name": "script-slower", "for": "account", "classes": ["bulk"], "count": 14, "window_ms": 15000},
        {"name": "host-quick", "for": "account", "classes": ["device"], "count": 36, "window_ms": 5000},
        {"name": "all", "for": "tenant", "classes": ["device"], "count": 80, "window_ms": 7000},
    ]
    load = {"accepted": 60, "per_second": 3.0}

    def meta(self):
        return {"web": {"class": "bulk", "most_of_host": MOST}}

    def policy_text(self):
        hosts = ", ".join(f"'{host}'" for host in self.senders)
        return super().policy_text() + (f"web_senders:\n  max_per_host: {MOST}\n  hosts:\n    - {{name: shared, accounts: [{hosts}], "
                                        "headers: [X-PHP-Originating-Script], class: bulk}\n")

    def start(self):
        for host in self.senders:
            for place in range(3):
                self.spawn(f"{host}/{place}", self._hop, host)
            self.spawn(f"{host}/slow", self._slow, host)
            self.spawn(f"{host}/itself", self._itself, host)
        self.spawn("room", self._make_room)
        self.spawn("lower", self._lower)
        self.spawn("names", self._look)
        self.spawn("stop", self._stop, FEW[1])

    def _script(self, rng, host):
        script = rng.choice(SCRIPTS[host])
        return script.upper() if rng.random() < 0.1 else script

    def _hop(self, name, rng, host):
        client = Client(name, self.writer, host, self.sources[host], rng)
        while not self.pause(rng, 0.25):
            client.submit(self.node(rng), rcpts=rng.choice((1, 1, 1, 2, 3)), script=self._script(rng, host))
        client.close()

    def _slow(self, name, rng, host):
        """Tokens of the host end before the header has come, or while the body comes."""
        client = Client(name, self.writer, host, self.sources[host], rng)
        while not self.pause(rng, 1.5):
            client.submit(self.node(rng), rcpts=rng.choice((1, 2)), slow_s=rng.uniform(0.5, 8.0), cut=rng.random() < 0.1,
                          size=rng.choice((70, 2000)), script=self._script(rng, host))
        client.close()

    def _itself(self, name, rng, host):
        client = Client(name, self.writer, host, self.sources[host], rng)
        while not self.pause(rng, 0.4):
            client.submit(self.node(rng), rcpts=rng.choice((1, 1, 2)))
        client.close()

    def _names(self, operator):
        names = []

        def keep(answer):
            names.extend(row["account"] for row in answer["senders"])
            return {"names": list(names)}
        operator.do("names", None, {}, "/v1/senders/web?limit=1000", None, keep, method="GET")
        return names

    def _make_room(self, name, rng):
        """Or for the same name again, of a host that has room for all."""
        operator = Operator(name, self.run, rng)
        while not self.pause(rng, 3.5):
            names = self._names(operator)
            if names:
                gone = rng.choice(names)
                operator.do("forget", gone, {}, "/v1/senders/forget", {"account": gone})

    def _lower(self, name, rng):
        """One script may send less for a while."""
        operator = Operator(name, self.run, rng)
        while not self.pause(rng, 5.0):
            count = rng.choice((2, 4, None))
            about = {"account": LOWERED, "limit": "script-quick"}
            path, body = ("clear", about) if count is None else ("set", {**about, "count": count})
            operator.do("limit", f"limit/{urllib.parse.quote(LOWERED, safe='')}/script-quick",
                        {"limit": "script-quick", "holder": LOWERED, "count": count}, f"/v1/limits/{path}", body)

    def _stop(self, name, rng, host):
        """In the moment in which the call has returned, the same script tries on all nodes. What is held would be charged to
        nobody: not so here."""
        operator = Operator(name, self.run, rng)
        pouncing = Client(f"{name}/pounce", self.writer, host, self.sources[host], rng, keep=1.0)
        while not self.pause(rng, 4.0):
            script = rng.choice(SCRIPTS[host][:2])
            key = rng.choice((host, *3 * [f"web:{host}/{script.lower()}"]))
            frozen = operator.freeze(key, {"account": key}, rng.choice(("reject", "defer")))
            for node in self.cluster.members() if frozen is not None else ():
                pouncing.submit(node, script=script)
            self.pause(rng, 0.6)
            for _ in range(40):
                if operator.thaw(key, {"account": key}) is not None or (frozen is None and self.stopping.is_set()):
                    break
                self.run.nap(0.3)
        pouncing.close()

    def _look(self, name, rng):
        operator = Operator(name, self.run, rng)
        while not self.pause(rng, 0.5):
            self._names(operator)


WORKLOADS = [Web]
