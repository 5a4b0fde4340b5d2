"""Operators who change and read the same few things at once, on all nodes: limits, the policy, pools, accounts, source
addresses. A little mail beside it."""
import itertools

from .client import Client
from .operator import Operator
from .workload import Workload

PER_KEY = 180  # operations on one register: more than that no checker can order


class Registers(Workload):
    name = "registers"
    senders = ["r0@reg.test", "r1@reg.test"]
    limits = [{"name": "hour", "for": "account", "count": 100000, "window_ms": 3600000}]
    load = {"accepted": 20, "per_second": 1.0}
    addresses = ("10.99.3.1", "10.99.3.2")

    def __init__(self, run, rng):
        super().__init__(run, rng)
        self.values = itertools.count(1001)
        self.used = {}

    def prepare(self):
        first = self.cluster.nodes[0]
        for pool in ("p1", "p2", "p3"):
            first.api("POST", "/v1/pools/add", {"name": pool})
        for address in self.addresses:
            first.api("POST", "/v1/ips/add", {"address": address, "pool": "p1", "node": "n1"})

    def start(self):
        for number in range(4):
            self.spawn(f"operator-{number}", self._operate)
        for sender in self.senders:
            self.spawn(sender, self._send, sender)

    def _send(self, name, rng, sender):
        client = Client(name, self.writer, sender, self.sources[sender], rng, expect=True)
        while not self.pause(rng, 0.5):
            client.submit(self.node(rng))
        client.close()

    # ---- the registers: each of these makes one operation

    def _limit(self, operator, rng):
        holder = rng.choice(("x1@reg.test", "x2@reg.test"))
        key = f"limit/{holder}/hour"
        if self._worn(key):
            return
        if rng.random() < 0.5:
            operator.read(key, f"/v1/limits?account={holder}", lambda answer: next(
                (row["count"] if row["overridden"] else None for row in (answer or {}).get("limits", [])
                 if row["limit"] == "hour"), None))
            return
        count = next(self.values) if rng.random() < 0.85 else None
        v = {"limit": "hour", "holder": holder, "count": count}
        if count is not None and rng.random() < 0.2:
            operator.by_command("limit", key, v, "limit", "set", holder, "hour", count)
        elif count is not None:
            operator.do("limit", key, v, "/v1/limits/set", {"account": holder, "limit": "hour", "count": count})
        else:
            operator.do("limit", key, v, "/v1/limits/clear", {"account": holder, "limit": "hour"})

    def _policy(self, operator, rng):
        if "membership" in self.run.faults or self._worn("policy"):
            return

        def number(answer):
            first = (answer or {}).get("text", "").partition("\n")[0]
            return int(first[2:]) if first.startswith("# ") else 0
        if rng.random() < 0.6:
            operator.read("policy", "/v1/policy", number)
            return
        value = next(self.values)
        text = f"# {value}\n" + self.policy_text()
        operator.do("policy", "policy", {"value": value}, "/v1/policy/apply", {"name": "policy.yaml", "text": text})

    def _assign(self, operator, rng):
        account = rng.choice(("y1@reg.test", "y2@reg.test"))
        key = f"pool/account/{account}"
        if self._worn(key):
            return
        if rng.random() < 0.5:
            operator.read(key, "/v1/pools", lambda answer: next(
                (row["pool"] for row in answer["assignments"] if (row["to"], row["name"]) == ("account", account)), None))
            return
        pool = rng.choice(("p1", "p2", "p3", None))
        if pool is None:
            operator.do("assign", key, {"value": None}, "/v1/pools/unassign", {"account": account})
        else:
            operator.do("assign", key, {"value": pool}, "/v1/pools/assign", {"account": account, "pool": pool})

    def _address(self, operator, rng):
        """Where it is, or goes to: from the command on, that is what was decided."""
        if "membership" in self.run.faults:  # a node that leaves loses its addresses
            return
        address = rng.choice(self.addresses)
        key = f"ip/{address}"
        if self._worn(key):
            return
        if rng.random() < 0.6:
            operator.read(key, "/v1/ips", lambda answer: next(
                (row.get("next") or row.get("node") for row in answer["addresses"] if row["address"] == address), None))
            return
        node = self.node(rng).name
        operator.do("ip", key, {"value": node}, "/v1/ips/move", {"address": address, "node": node})

    def _account(self, operator, rng):
        """Its list of further senders is the value; None: there is no such account."""
        name = rng.choice(("z1@reg.test", "z2@reg.test"))
        key = f"account/{name}"
        if self._worn(key):
            return
        what = rng.random()
        if what < 0.5:
            operator.read(key, f"/v1/accounts/show?name={name}", lambda answer: answer and answer["senders"])
        elif what < 0.6:
            operator.do("account", key, {"value": None}, "/v1/accounts/remove", {"name": name})
        else:
            senders = [f"v{next(self.values)}@reg.test"]
            # Both say 404 or 409 when it is not so, and have changed nothing then.
            path = "/v1/accounts/set" if rng.random() < 0.5 else "/v1/accounts/add"
            body = {"name": name, "senders": senders}
            if path.endswith("add"):
                body["password"] = "correct-horse-battery"
            operator.do("account", key, {"value": senders}, path, body)

    def _worn(self, key):
        self.used[key] = self.used.get(key, 0) + 1
        return self.used[key] > PER_KEY

    def _operate(self, name, rng):
        operator = Operator(name, self.run, rng)
        while not self.pause(rng, 0.12):
            rng.choice((self._limit, self._policy, self._assign, self._address, self._account))(operator, rng)

    def registers(self):
        """What they are when the load begins."""
        found = {"policy": 0, **{f"ip/{address}": "n1" for address in self.addresses}}
        for number in (1, 2):
            found |= {f"limit/x{number}@reg.test/hour": None, f"pool/account/y{number}@reg.test": None,
                      f"account/z{number}@reg.test": None}
        return found


WORKLOADS = [Registers]
