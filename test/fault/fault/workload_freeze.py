"""Senders under load who are frozen and thawed all the time: in all modes, with timers, again while frozen, by account and
by tenant, on whatever node. Of one sender there is one operator, so that it is known what is in force when."""
from .client import Client
from .operator import Operator
from .workload import Workload


class Freeze(Workload):
    name = "freeze"
    senders = [f"f{i}@cold.test" for i in range(4)] + [f"g{i}@ice.test" for i in range(2)]
    load = {"accepted": 60, "per_second": 4.0}

    def start(self):
        for sender in self.senders:
            for place in range(2):
                self.spawn(f"{sender}/{place}", self._send, sender)
        for sender in self.senders[:4]:
            self.spawn(f"operator/{sender}", self._operate, sender, {"account": sender})
        self.spawn("operator/@ice.test", self._operate, "@ice.test", {"tenant": "ice.test"})
        self.spawn("reader", self._read)

    def _send(self, name, rng, sender):
        client = Client(name, self.writer, sender, self.sources[sender], rng, keep=0.8)
        while not self.pause(rng, 0.12):
            client.submit(self.node(rng), rcpts=1, slow_s=rng.choice((0, 0, 0, 0.4)))
        client.close()

    def _operate(self, name, rng, key, whom):
        operator = Operator(name, self.run, rng)
        sender = key if "account" in whom else next(s for s in self.senders if s.endswith(key))
        pouncing = Client(f"{name}/pounce", self.writer, sender, self.sources[sender], rng, keep=1.0)
        while not self.pause(rng, 0.7):
            if rng.random() < 0.6:
                self._on_all(pouncing, rng)
            number = self._freeze(operator, rng, key, whom)
            if number is not None:
                self._on_all(pouncing, rng)
            if rng.random() < 0.25:
                self.pause(rng, 0.3)
                number = self._freeze(operator, rng, key, whom) or number
            if self.pause(rng, 0.9):
                break
            by_id = number is not None and rng.random() < 0.4
            for _ in range(20):
                done = operator.thaw(key, whom, number if by_id else None)
                if done is not None or by_id or self.pause(rng, 0.3):
                    break
        for _ in range(40):  # nobody stays frozen: what he has queued is to be seen
            if operator.thaw(key, whom) is not None or self._is_free(operator, key):
                break
            self.run.nap(0.5)
        pouncing.close()

    def _on_all(self, client, rng):
        """On connections that are open already: in the moment in which the call has returned."""
        nodes = list(self.cluster.members())
        for node in rng.sample(nodes, len(nodes)):
            client.submit(node)

    @staticmethod
    def _freeze(operator, rng, key, whom):
        return operator.freeze(key, whom, rng.choice(("reject", "reject", "defer", "hold")),
                               rng.choice((None, None, None, 1, 2)))

    @staticmethod
    def _row(key):
        scope, name = ("tenant", key[1:]) if key.startswith("@") else ("account", key)

        def find(answer):
            rows = (answer or {}).get("frozen", [])
            return next(({"freeze": r["id"], "mode": r["mode"]} for r in rows if (r["scope"], r["name"]) == (scope, name)),
                        None)
        return find

    def _is_free(self, operator, key):
        return operator.read(f"frozen/{key}", "/v1/frozen?limit=1000", self._row(key), stale=True) is None

    def _read(self, name, rng):
        operator = Operator(name, self.run, rng)
        keys = [*self.senders[:4], "@ice.test"]
        while not self.pause(rng, 0.3):
            key = rng.choice(keys)
            operator.read(f"frozen/{key}", "/v1/frozen?limit=1000", self._row(key), stale=True)

    def drain(self):
        """What came in mode hold is released."""
        for node in self.cluster.living():
            node.asked("POST", "/v1/queue/release", {"all": True}, timeout=10)


WORKLOADS = [Freeze]
