"""A new source address sends its day's messages and no more, from whichever node has it; the rest goes out from the
others of its pool."""
import collections

import pytest

from harness.quota import SENDER, apply_policy, await_applied
from harness.util import wait_until

NEW, WARM = "127.0.0.2", "127.0.0.3"
DAY = 40


class Warmup:
    def __init__(self, cluster, sink):
        self.cluster, self.nodes, self.sink = cluster, cluster.nodes, sink
        self.sent = 0
        apply_policy(self.nodes[0], f"limits: []\nwarmup: {{first: {DAY}}}\n")
        self.do("pools/add", name="news")
        self.do("pools/assign", pool="news", account=SENDER)

    def do(self, path, **body):
        self.nodes[0].api("POST", f"/v1/{path}", body)
        await_applied(self.cluster.living())

    def address(self, address, node, weight):
        self.do("ips/add", address=address, pool="news", node=node.name, weight=weight)
        self.owned(address, node)

    def owned(self, address, node):
        def owner():
            rows = node.api("GET", "/v1/ips")["addresses"]
            return next(r["node"] for r in rows if r["address"] == address)
        wait_until(f"{node.name} has {address}", lambda: owner() == node.name, 30)

    def send(self, node, n):
        for _ in range(n):
            self.sent += 1
            node.send(f"r{self.sent}@example.net")

    def arrived(self):
        """By address; each message once, but for what a crash doubled."""
        wait_until(f"{self.sent} messages arrive",
                   lambda: len({r for m in self.sink.messages for r in m.recipients}) == self.sent, 90)
        return collections.Counter(m.session.peer[0] for m in self.sink.messages)

    def plan(self, node):
        sites = node.api("GET", f"/v1/ips/warm?address={NEW}")["sites"]
        assert len(sites) == 1, sites
        return sites[0]


@pytest.mark.slow
def test_a_days_plan_holds_in_the_whole_cluster(make_cluster, sink):
    w = Warmup(make_cluster(3), sink)
    first, second, third = w.nodes
    w.address(NEW, first, 1000)
    w.address(WARM, second, 10)
    w.do("ips/warm/start", address=NEW)
    for node in w.nodes:
        w.send(node, 15)
    wait_until("the new address sends", lambda: any(m.session.peer[0] == NEW for m in sink.messages), 30)
    first.kill()
    w.send(second, 10)
    first.restart()
    first.wait_ready()
    w.send(first, 20)
    w.do("ips/move", address=NEW, node=second.name)
    w.send(third, 10)
    w.owned(NEW, second)
    before = w.arrived()
    # Whatever was lost on the way: the rest of the day goes out from the next owner.
    while w.plan(second)["reserved"] < DAY:
        w.send(second, 5)
        w.arrived()
    w.send(first, DAY)
    w.send(second, DAY)
    peers = w.arrived()
    assert set(peers) == {NEW, WARM}
    assert before[NEW] <= peers[NEW] <= DAY
    assert peers[NEW] >= DAY // 2
    plan = w.plan(third)
    assert plan["volume"] == DAY and plan["reserved"] == DAY
    # Nowhere else to go: it waits and says why.
    w.do("ips/set", address=WARM, use="disabled")
    w.send(second, 1)
    wait_until("it says why it waits", lambda: any("messages of today" in (r.get("reply") or r.get("last_reply") or "")
                                                   for r in second.queue()), 30)
    assert "warms up" in second.cli("site", "list").stdout
    assert "example.net" in second.cli("ip", "warm", NEW, "show").stdout
    w.do("ips/warm/stop", address=NEW)
    assert w.arrived()[NEW] == peers[NEW] + 1
