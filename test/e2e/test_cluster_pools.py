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

    def arrived(self, n, timeout=30):
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
    single.sink.hooks["rcpt"] = lambda _s, _a: "550 5.7.1 127.0.0.2 is on our blocklist"
    single.send(node)
    wait_until("the refusal is counted", lambda: metric(node, "turnpike_source_refusals_total", address="127.0.0.2",
                                                        pool=NEWS, outcome="refused", **{"class": "block"}) == 1)
    shown = node.api("GET", "/v1/ips/show?address=127.0.0.2")
    assert (shown["pool"], shown["node"], shown["ehlo"], shown["missing"]) == (NEWS, node.name, "two.example.com", [])
    record, = shown["sites"]
    assert record["site"].startswith("mx:") and record["hour"]["delivered"] == 2 and record["day"]["refused"] == 1
    assert record["hour"]["classes"] == {"block": {"deferred": 0, "refused": 1}}
    assert "blocklist" in record["reply"] and "blocklist" in node.cli("ip", "show", "127.0.0.2").stdout


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
    single.arrived(4)
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
    single.arrived(3)
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


def test_after_a_restart(single):
    """What the spool gives back goes out from its pool, too, and not before the node knows its addresses."""
    node = single.nodes[0]
    single.pool()
    single.address("127.0.0.2", node)
    single.sink.shut()
    single.send(node, 30)
    node.kill()
    single.sink.open()
    node.restart()
    node.wait_ready()
    single.arrived(30)
    assert single.peers() == {"127.0.0.2": 30}


# ---- moving

def named(make_cluster, count=3, config=None):
    """A cluster whose nodes greet with their own names, so that the next hop can tell them apart."""
    cluster = make_cluster(count, config, form=False)
    for node in cluster.nodes:
        node.config["hostname"] = f"{node.name}.example.com"
        node.write_config()
    return cluster.form()


def uses(sink, address):
    """(begin, end, node) of each session from the address, in order."""
    found = []
    for session in [s for s in sink.sessions if s.peer[0] == address and s.helo]:
        found.append((session.opened, getattr(session, "closed", time.monotonic()), session.helo))
    return sorted(found)


def assert_one_owner_at_a_time(sink, address):
    found = uses(sink, address)
    latest = {}
    for begin, end, who in found:
        for other, until in latest.items():
            assert other == who or until < begin, f"{who} and {other} at once: {found}"
        latest[who] = max(latest.get(who, 0), end)
    return [who for _, _, who in found]


def test_a_move_waits_for_what_is_in_hand(make_cluster, sink):
    """(!) The next owner gets it when the last transaction from there is over."""
    pools = Pools(named(make_cluster), sink)
    a, b = pools.nodes[:2]
    pools.pool()
    pools.address("127.0.0.2", a)
    sink.held.add("dot")
    pools.send(a)
    wait_until("its content was sent", lambda: any(s.content for s in sink.sessions))
    pools.do("ips/move", address="127.0.0.2", node=b.name)
    pools.send(a, domain="a.example.net")
    pools.send(b, domain="b.example.net")
    until = time.monotonic() + 2
    while time.monotonic() < until:
        row = pools.row("127.0.0.2")
        assert (row["node"], row["next"]) == (a.name, b.name)
        time.sleep(0.05)
    assert not sink.messages
    sink.held.clear()
    wait_until("it has moved", lambda: pools.row("127.0.0.2").get("node") == b.name)
    pools.arrived(2)
    assert [m.session.helo for m in sink.messages[:2]] == ["node-a.example.com", "node-b.example.com"]
    assert_one_owner_at_a_time(sink, "127.0.0.2")
    assert pools.peers().keys() == {"127.0.0.2"}


def test_mail_goes_where_the_address_is(make_cluster, sink):
    """Accepted by a node without an address of the pool: once each, from the node that has one."""
    pools = Pools(named(make_cluster), sink)
    a, b = pools.nodes[:2]
    pools.pool()
    pools.address("127.0.0.2", b)
    pools.send(a, 20)
    pools.send(a, 5, domain="a.example.net")
    wait_until("it says why it waits", lambda: any("no address of pool news is usable on this node" in r
                                                   for r in waiting_reply(a)))
    assert all(r["attempts"] == 0 for r in a.queue())
    pools.arrived(25)
    assert pools.peers() == {"127.0.0.2": 25}
    assert {m.session.helo for m in sink.messages} == {f"{b.name}.example.com"}
    assert len(set(sink.recipients())) == 25
    a.wait_empty(10)


def test_an_idle_connection_ends(make_cluster, sink, dns):
    pools = Pools(named(make_cluster), sink)
    a, b = pools.nodes[:2]
    pools.pool()
    pools.address("127.0.0.2", a)
    # An MX host at another node's address is one of us.
    pools.address("203.0.113.9", b)
    dns.add("loop.test", "MX", "10 mx.loop.test.")
    dns.add("mx.loop.test", "A", "203.0.113.9")
    a.send("r@loop.test")
    wait_until("it bounced", lambda: [r["reply"] for r in a.track(recipient="r@loop.test")
                                      if r["state"] == "bounced" and "5.4.6 mail for loop.test loops back to us" in r["reply"]])
    pools.send(a)
    pools.arrived(1)
    assert metric(a, "turnpike_source_connections", address="127.0.0.2") == 1
    pools.do("ips/move", address="127.0.0.2", node=b.name)
    wait_until("it has moved", lambda: pools.row("127.0.0.2").get("node") == b.name)
    assert metric(a, "turnpike_source_connections", address="127.0.0.2") in (0, None)
    assert any(line == b"QUIT\r\n" for side, line in sink.sessions[0].transcript if side == "C")
    pools.do("ips/remove", address="127.0.0.2")
    wait_until("it is gone", lambda: not pools.row("127.0.0.2"))


def test_to_and_fro_under_load(make_cluster, sink):
    """(!) Two nodes have mail for it all the time; the next hop never sees both at once."""
    pools = Pools(named(make_cluster, config={"delivery": {"messages_per_connection": 5}}), sink)
    a, b = pools.nodes[:2]
    pools.pool()
    pools.address("127.0.0.2", a)
    sink.delays["dot"] = 0.05
    for owner in (b, a, b, a):
        for node in (a, b):
            for domain in "abc":
                pools.send(node, 3, domain=f"{domain}.example.net")
        moved = time.monotonic()
        pools.do("ips/move", address="127.0.0.2", node=owner.name)
        pools.send(owner)
        wait_until("it has moved", lambda owner=owner: pools.row("127.0.0.2").get("node") == owner.name)
        wait_until("its owner uses it", lambda owner=owner, moved=moved: any(
            m.session.helo == f"{owner.name}.example.com" and m.time > moved for m in sink.messages))
    who = assert_one_owner_at_a_time(sink, "127.0.0.2")
    assert {"node-a.example.com", "node-b.example.com"} == set(who)
    assert pools.peers().keys() == {"127.0.0.2"}


def test_the_owner_dies(make_cluster, sink):
    """(!) Without a release, its session must have ended first."""
    pools = Pools(named(make_cluster), sink)
    a, b = pools.cluster.followers()
    pools.nodes = [pools.cluster.leader(), a, b]
    pools.pool()
    pools.address("127.0.0.2", a)
    pools.send(b)
    a.kill()
    died = time.monotonic()
    pools.nodes[0].api("POST", "/v1/ips/move", {"address": "127.0.0.2", "node": b.name})
    assert pools.row("127.0.0.2")["node"] == a.name
    pools.arrived(1)
    assert sink.messages[0].time - died > 2
    assert assert_one_owner_at_a_time(sink, "127.0.0.2") == [f"{b.name}.example.com"]
    a.restart()
    wait_until("it takes mail", a.is_ready)
    assert pools.row("127.0.0.2", a)["node"] == b.name


def test_a_paused_owner(make_cluster, sink):
    """(!) It wakes with a floating address that is another's by now, and mail to send from there: it does not."""
    pools = Pools(named(make_cluster, config={"delivery": {"floating_networks": ["127.0.0.64/26"]}}), sink)
    a, b = pools.cluster.followers()
    pools.nodes = [pools.cluster.leader(), a, b]
    pools.pool()
    pools.address("127.0.0.66", a)
    sink.hooks["rcpt"] = lambda session, argument: "450 4.2.0 later"
    pools.send(a, 3)
    wait_until("it was tried", lambda: sink.sessions)
    a.pause()
    pools.nodes[0].api("POST", "/v1/ips/move", {"address": "127.0.0.66", "node": b.name})
    sink.hooks.clear()
    pools.send(b)
    pools.arrived(1)
    assert sink.messages[0].session.helo == f"{b.name}.example.com"
    a.go_on()
    woken = time.monotonic()
    time.sleep(3)
    late = [s for s in sink.sessions if s.opened > woken and s.helo == f"{a.name}.example.com"]
    assert not late, [s.transcript for s in late]
    pools.arrived(4)
    assert {m.session.helo for m in sink.messages} == {f"{b.name}.example.com"}


def test_cut_off(make_cluster, sink):
    """What is bound to this node for good goes on; a floating address stops with the session."""
    pools = Pools(named(make_cluster, config={"delivery": {"floating_networks": ["127.0.0.64/26"]}}), sink)
    a = pools.nodes[0]
    for name, address in (("plain", "127.0.0.2"), ("float", "127.0.0.66")):
        pools.pool(name, account=None)
        pools.address(address, a, pool=name)
    pools.do("pools/assign", pool="float", account=SENDER)
    pools.send(a)
    pools.arrived(1)
    assert metric(a, "turnpike_source_connections", address="127.0.0.66") == 1
    sink.hooks["rcpt"] = lambda session, argument: "450 4.2.0 later"
    pools.send(a)
    a.add_account("plain@example.com")
    pools.do("pools/assign", pool="plain", account="plain@example.com")
    a.send("p@a.example.net", kind="submission", login="plain@example.com", sender="plain@example.com")
    wait_until("both wait", lambda: a.queue_length() == 2)
    for node in pools.nodes[1:]:
        node.pause()
    wait_until("its session has ended", lambda: not a.is_ready())
    wait_until("nothing is open from there",
               lambda: metric(a, "turnpike_source_connections", address="127.0.0.66") == 0, 5)
    sink.hooks.clear()
    pools.arrived(2)
    time.sleep(2)
    assert [m.session.peer[0] for m in sink.messages] == ["127.0.0.66", "127.0.0.2"]
    assert any("no address of pool float is usable" in r for r in waiting_reply(a))
    for node in pools.nodes[1:]:
        node.go_on()
    pools.arrived(3)
    assert sink.messages[2].session.peer[0] == "127.0.0.66"


@pytest.mark.slow
def test_it_floats_by_itself(make_cluster, sink):
    """(!) The owner stands still within a transaction, and wakes when the address is another node's: it sends nothing
    more from there. Then the other one is killed."""
    pools = Pools(named(make_cluster), sink)
    a = pools.cluster.followers()[0]
    rest = [node for node in pools.nodes if node is not a]
    pools.nodes = rest
    pools.pool()
    pools.do("pools/float", name=NEWS, mode="automatic", after="1s")
    pools.address("127.0.0.66", a)
    sink.held.add("rcpt")
    pools.send(a)
    wait_until("it waits for an answer", lambda: sink.sessions and any(
        line.startswith(b"RCPT") for side, line in sink.sessions[0].transcript if side == "C"))
    a.pause()
    wait_until("it has another owner", lambda: pools.row("127.0.0.66").get("node") in [node.name for node in rest], 60)
    b = next(node for node in rest if node.name == pools.row("127.0.0.66")["node"])
    first = sink.sessions[0]
    sink.held.clear()
    wait_until("it has its answer", lambda: first.transcript[-1][0] == "S")
    pools.send(b)
    pools.arrived(1)
    said = len([line for side, line in first.transcript if side != "S"])
    a.go_on()
    wait_until("it has a session again", a.is_ready)
    pools.arrived(2)
    assert [line for side, line in first.transcript if side != "S"][said:] == []
    assert {m.session.helo for m in sink.messages} == {f"{b.name}.example.com"}
    pools.nodes = [node for node in pools.cluster.nodes if node is not b]
    b.kill()
    wait_until("it has a third owner", lambda: pools.row("127.0.0.66").get("node") in [n.name for n in pools.nodes], 60)
    c = next(node for node in pools.nodes if node.name == pools.row("127.0.0.66")["node"])
    pools.send(c)
    pools.arrived(3)
    assert sink.messages[2].session.helo == f"{c.name}.example.com"
    assert sink.messages[2].session.peer[0] == "127.0.0.66"
