"""Shared web hosts whose headers say which script each message is of: hosts with few scripts, and one with more than may have
names. All take whatever they can get, hopping over all nodes, against limits of script, host and tenant; operators change a
script's limit, and make room for other names."""
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

    def _look(self, name, rng):
        operator = Operator(name, self.run, rng)
        while not self.pause(rng, 0.5):
            self._names(operator)


WORKLOADS = [Web]
