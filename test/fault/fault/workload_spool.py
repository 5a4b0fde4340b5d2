"""Mail of all sizes to next hops that fail in every way, while nodes are drained and queues are moved between them: what is
accepted must end, once."""
from .client import DOMAINS, Client
from .operator import Operator
from .workload import Workload

NAMES_FAIL = ("SERVFAIL", "timeout", "garbage", "slow", "wrong")


class Spool(Workload):
    name = "spool"
    senders = [f"p{i}@mail.test" for i in range(4)]
    load = {"accepted": 60, "per_second": 3.0}
    faulty = 0.35

    def prepare(self):
        for domain in DOMAINS[2:]:
            self.run.dns.mail_domain(domain, self.run.engine.hub)

    def start(self):
        for sender in self.senders:
            for place in range(2):
                self.spawn(f"{sender}/{place}", self._send, sender)
        self.spawn("mover", self._move)
        self.spawn("dns", self._names)

    def _send(self, name, rng, sender):
        clients = [Client(name, self.writer, sender, self.sources[sender], rng, domain) for domain in DOMAINS
                   if domain != "mx.test"]
        while not self.pause(rng, 0.35):
            size = rng.choice((100, 100, 2000, 20000, 200000))
            rcpts = rng.choice((1, 1, 1, 2, 5, 12))
            rng.choice(clients).submit(self.node(rng), rcpts=rcpts, size=size, cut=rng.random() < 0.05,
                                       refused=1 if rng.random() < 0.1 else 0)
        for client in clients:
            client.close()

    def _move(self, name, rng):
        """Queues go from node to node; nodes are drained for a while. Nothing of it promises to succeed under faults."""
        operator = Operator(name, self.run, rng)
        while not self.pause(rng, 2.0):
            giver, taker = operator.node(), operator.node()
            if giver is not taker and rng.random() < 0.7:
                said = giver.asked("POST", "/v1/queue/move", {"all": True, "to": taker.name}, timeout=5)
                self.writer.observe(name, "note", {"move": taker.name, "said": str(said)[:150]}, n=giver.name)
            elif "membership" not in self.run.faults:
                self._drain_a_while(giver, name, rng)
        for node in self.cluster.living():
            node.asked("POST", "/v1/node/drain", {"undo": True}, timeout=5)

    def _drain_a_while(self, node, name, rng):
        """A node that takes no mail because it was told so: that is no lack of availability."""
        v = {"fault": "drain", "id": f"drain-{self.run.count()}", "targets": [node.name], "unclear": [node.name]}
        op = self.writer.invoke(name, "nemesis", v={**v, "action": "start"})
        said = node.asked("POST", "/v1/node/drain", {}, timeout=8)
        self.writer.ok(op, {"unclear": [node.name], "said": str(said)[:100]})
        self.pause(rng, 2.0)
        op = self.writer.invoke(name, "nemesis", v={**v, "action": "stop"})
        for _ in range(40):
            said = node.asked("POST", "/v1/node/drain", {"undo": True}, timeout=8)
            if said is not None and said[0] == 200:
                break
            self.run.nap(0.5)
        self.writer.ok(op, {"said": str(said)[:100]})

    def _names(self, _name, rng):
        while not self.pause(rng, 1.5):
            domain = rng.choice(DOMAINS[2:])
            self.run.dns.spoil(domain, rng.choice(NAMES_FAIL), self.sources[self.senders[0]])
            self.pause(rng, 1.5)
            self.run.dns.heal(domain)

    def drain(self):
        for domain in DOMAINS:
            self.run.dns.heal(domain)
        for node in self.cluster.living():
            node.asked("POST", "/v1/node/drain", {"undo": True}, timeout=5)


WORKLOADS = [Spool]
