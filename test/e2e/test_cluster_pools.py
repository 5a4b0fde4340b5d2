"""Pools of source addresses: which address a next hop sees, who may use it, and what happens when it moves."""
import collections
import time

import pytest

from harness.quota import SENDER, apply_policy, await_applied
from harness.util import wait_until

UNLIMITED = "limits: []\n"
NEWS, PLAIN = "news", "127.0.0.1"


class Pools:
    """A cluster with pools, and what the next hop saw."""

    def __init__(self, cluster, sink):
        self.cluster, self.nodes, self.sink = cluster, cluster.nodes, sink
        apply_policy(self.nodes[0], UNLIMITED)

    def do(self, path, **body):
        self.nodes[0].api("POST", f"/v1/{path}", body)
        await_applied(self.cluster.living())

    def pool(self, name=NEWS, account=SENDER):
        self.do("pools/add", name=name)
        if account:
            self.do("pools/assign", pool=name, account=account)

    def address(self, address, node, pool=NEWS, **more):
        self.do("ips/add", address=address, pool=pool, node=node.name, **more)
        wait_until(f"{address} has its owner", lambda: self.row(address).get("node") == node.name)

    def row(self, address, node=None):
        rows = (node or self.nodes[0]).api("GET", "/v1/ips")["addresses"]
        return next((r for r in rows if r["address"] == address), {})

    def send(self, node, n=1, domain="example.net"):
        for i in range(n):
            node.send(f"r{i}@{domain}")

    def site(self, pool=NEWS, domain="example.net"):
        return f"{pool}/{domain}:{self.sink.port}"

    def arrived(self, n, timeout=15):
        wait_until(f"{n} messages arrive", lambda: len(self.sink.messages) >= n, timeout)

    def peers(self):
        """Messages by the address that they came from."""
        return collections.Counter(m.session.peer[0] for m in self.sink.messages)


@pytest.fixture
def single(make_cluster, sink):
    return Pools(make_cluster(1), sink)


@pytest.fixture
def pools(make_cluster, sink):
    return Pools(make_cluster(3), sink)


def metric(node, name, **labels):
    for line in node.metrics().splitlines():
        if line.startswith(name + "{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
            return float(line.split()[-1])
    return None


def waiting_reply(node):
    """What `queue list` says of mail that waits."""
    return {row.get("reply") or row.get("last_reply") or "" for row in node.queue()}


# ---- choosing

def test_the_address_and_its_name(single):
    node = single.nodes[0]
    single.pool()
    single.address("127.0.0.2", node, ehlo="two.example.com")
    single.send(node, 2)
    single.arrived(2)
    assert single.peers() == {"127.0.0.2": 2}
    assert {m.session.helo for m in single.sink.messages} == {"two.example.com"}
    assert metric(node, "turnpike_source_recipients_total", address="127.0.0.2", pool=NEWS, outcome="delivered") == 2
    assert metric(node, "turnpike_source_connections_total", address="127.0.0.2", result="ok") >= 1
    delivered = wait_until("the events are written", lambda: node.events("delivered"))
    assert {e["source_ip"] for e in delivered} == {"127.0.0.2"}
    assert {e["site"] for e in delivered} == {single.site()}


def test_senders_without_a_pool_are_apart(single):
    """Class, tenant, account: the nearest wins; nobody else's mail goes out from there."""
    node = single.nodes[0]
    for name, number in (("a", 2), ("b", 3)):
        single.pool(name, account=None)
        single.address(f"127.0.0.{number}", node, pool=name)
    single.send(node)
    single.arrived(1)
    single.do("pools/assign", pool="a", **{"class": "device"})
    single.send(node)
    single.arrived(2)
    single.do("pools/assign", pool="b", account=SENDER)
    single.send(node)
    single.arrived(3)
    single.do("pools/unassign", account=SENDER)
    single.send(node)
    single.arrived(4)
    single.do("pools/unassign", **{"class": "device"})
    apply_policy(node, "limits: []\nclasses: {device: {pool: b}}\n")
    await_applied(single.nodes)
    single.send(node)
    single.arrived(5)
    assert [m.session.peer[0] for m in single.sink.messages] == [PLAIN, "127.0.0.2", "127.0.0.3", "127.0.0.2",
                                                                "127.0.0.3"]


def test_by_weight(make_cluster, sink):
    single = Pools(make_cluster(1, {"delivery": {"messages_per_connection": 1, "connections_start": 1,
                                                 "connections_max": 1}, "workers": 1}), sink)
    node = single.nodes[0]
    single.pool()
    single.address("127.0.0.2", node, weight=100)
    single.address("127.0.0.3", node, weight=300)
    single.send(node, 40)
    single.arrived(40)
    assert set(single.peers()) == {"127.0.0.2", "127.0.0.3"}
    assert 8 <= single.peers()["127.0.0.2"] <= 12


def test_drained_and_disabled_at_once(single):
    node = single.nodes[0]
    single.pool()
    single.address("127.0.0.2", node)
    single.address("127.0.0.3", node)
    single.do("ips/set", address="127.0.0.3", use="drained")
    single.send(node, 3)
    single.arrived(3)
    assert set(single.peers()) == {"127.0.0.2"}
    single.do("ips/set", address="127.0.0.2", use="disabled")
    wait_until("its connections have ended",
               lambda: metric(node, "turnpike_source_connections", address="127.0.0.2") == 0)
    single.send(node)
    wait_until("it says why it waits", lambda: any("no address of pool news is usable" in r
                                                   for r in waiting_reply(node)))
    single.do("ips/set", address="127.0.0.3", use="used")
    single.arrived(4, timeout=5)
    assert single.peers()["127.0.0.3"] == 1
    row = next(r for r in node.api("GET", "/v1/sites")["sites"] if r["site"] == single.site())
    assert row["state"] == "up"


# ---- waiting

def test_nothing_usable_waits_visibly(single):
    """Nothing bounces, nothing leaves by another way, and it goes at once when there is an address."""
    node = single.nodes[0]
    single.pool()
    single.send(node, 3)
    wait_until("it says why it waits", lambda: any("no address of pool news is usable" in r
                                                   for r in waiting_reply(node)))
    time.sleep(2)
    assert node.queue_length() == 3 and not single.sink.messages
    assert all(row["attempts"] == 0 for row in node.queue())
    shown = node.cli("site", "list").stdout
    assert single.site() in shown and "no address of pool news" in shown
    single.address("127.0.0.2", node)
    single.arrived(3, timeout=5)
    assert set(single.peers()) == {"127.0.0.2"}


def test_an_address_that_is_not_here(single):
    node = single.nodes[0]
    single.pool()
    single.address("192.0.2.77", node)
    single.send(node)
    wait_until("it says what is wrong", lambda: any("not one of this machine's" in r for r in waiting_reply(node)))
    assert metric(node, "turnpike_source_connections_total", address="192.0.2.77", result="failed") >= 1


def test_queued_mail_follows_its_sender(single):
    """Whoever is given a pool, what is queued already goes out from it, too."""
    node = single.nodes[0]
    single.sink.shut()
    single.send(node, 5)
    wait_until("it was tried", lambda: node.events("connect_failed"))
    single.pool()
    single.address("127.0.0.2", node)
    wait_until("it is in the pool's queue",
               lambda: {r["site"] for r in node.queue()} == {single.site()})
    single.sink.open()
    node.api("POST", "/v1/queue/retry", {"all": True})
    single.arrived(5)
    assert set(single.peers()) == {"127.0.0.2"}
