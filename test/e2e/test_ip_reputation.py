"""Source addresses and what sites think of them: an address that is refused rests and comes back step by step."""
import collections
import json

import pytest

from harness.quota import SENDER, apply_policy, await_applied
from harness.util import wait_until

BAD, GOOD = "127.0.0.2", "127.0.0.3"
POLICY = """limits: []
default_rules: false
sites:
  - {name: there, domain: example.net, messages_per_connection: 1}
reputation:
  addresses:
    enabled: true
    rest_when: {refused_share: 50, at_least: 4, within: 1h, classes: [block]}
    rest_for: 2s
    return_first: 1
"""


class Addresses:
    def __init__(self, cluster, sink):
        self.cluster, self.nodes, self.sink = cluster, cluster.nodes, sink
        self.sent = 0

    def do(self, path, **body):
        self.nodes[0].api("POST", f"/v1/{path}", body)
        await_applied(self.cluster.living())

    def begin(self, policy, addresses):
        apply_policy(self.nodes[0], policy)
        self.do("pools/add", name="news")
        self.do("pools/assign", pool="news", account=SENDER)
        for address, node in addresses:
            self.do("ips/add", address=address, pool="news", node=node.name)
            wait_until(f"{address} has its owner",
                       lambda: self.show(address).get("node") == node.name, 30)

    def show(self, address, node=None):
        return (node or self.nodes[0]).api("GET", f"/v1/ips/show?address={address}")

    def rests(self, address, node=None):
        return [h for h in self.show(address, node)["holds"] if h["rule"] == "(record)"]

    def send(self, n, node=None):
        for _ in range(n):
            self.sent += 1
            (node or self.nodes[0]).send(f"r{self.sent}@example.net")

    def arrived(self):
        """All of them; by the address that they came from."""
        wait_until(f"{self.sent} messages arrive",
                   lambda: len({r for m in self.sink.messages for r in m.recipients}) == self.sent, 60)
        return collections.Counter(m.session.peer[0] for m in self.sink.messages)


@pytest.mark.slow
def test_an_address_rests_by_its_record(make_cluster, sink):
    """It rests on the word of its record; the others carry on, and it comes back a few messages at a time. The last one
    of the pool never rests."""
    a = Addresses(make_cluster(1, {"delivery": {"retry": ["1s"], "jitter": 0}}), sink)
    first, = a.nodes
    a.begin(POLICY, [(BAD, first), (GOOD, first)])
    blocked = {BAD}
    sink.hooks["rcpt"] = lambda s, _a: "451 4.7.1 your address is on our blocklist" if s.peer[0] in blocked else None
    a.send(8)
    hold = wait_until("the address rests", lambda: a.rests(BAD), 30)[0]
    assert hold["site"] == "news/there" and hold["action"] == "disable_source", hold
    assert "refused within 1h" in hold["reply"] and "blocklist" in hold["reply"], hold
    assert any(h["rule"] == "(record)" for h in first.api("GET", "/v1/sites/holds")["holds"])
    assert set(a.arrived()) == {GOOD}
    # It comes back: a few, and as it takes them more, until it sends as ever.
    blocked.clear()
    wait_until("its rest is over", lambda: not a.rests(BAD), 30)
    ended = wait_until("it is as ever", lambda: a.send(8) or [
        e for e in first.events("shaping") if "takes mail from the address again" in (e.get("text") or "")], 60)
    assert ended[0]["source_ip"] == BAD
    assert a.arrived()[BAD] >= 21 and not a.rests(GOOD)
    # Both are refused: one of them goes on, and nothing waits for the end of a rest.
    blocked.update((BAD, GOOD))
    a.send(16)
    wait_until("one of them rests", lambda: a.rests(BAD) or a.rests(GOOD), 30)
    blocked.clear()
    a.arrived()


ERROR = "127.255.255.254"  # "you may not ask me"
LISTS = """limits: []
default_rules: false
dnsbl:
  lists:
    - {zone: list.test, action: rest}
    - {zone: refuses.test, action: rest}
    - {zone: all.test, action: rest}
    - {zone: silent.test}
"""


@pytest.mark.slow
def test_lists_of_bad_addresses(make_cluster, sink, dns):
    """An address that a list has rests, and is told of; the last one of a pool goes on. A list that answers with an
    error, has everything or does not answer is not believed."""
    for zone in ("list.test", "refuses.test", "all.test"):
        dns.add(f"2.0.0.127.{zone}", "A", "127.0.0.2")
    dns.add("1.0.0.127.all.test", "A", "127.0.0.2")
    dns.fail["1.0.0.127.silent.test"] = "SERVFAIL"
    for last in "45":
        dns.add(f"{last}.0.0.127.refuses.test", "A", ERROR)
        dns.add(f"{last}.0.0.127.all.test", "A", "127.0.0.2")
    dns.add("4.0.0.127.list.test", "A", "127.0.0.3")
    dns.add("4.0.0.127.list.test", "TXT", '"see https://list.test/ about it"')
    one, two = "127.0.0.4", "127.0.0.5"
    a = Addresses(make_cluster(1, {"delivery": {"retry": ["1s"], "jitter": 0}}), sink)
    node, = a.nodes
    a.begin(LISTS, [(one, node), (two, node)])

    def check(address):
        done = node.cli("ip", "check", address, "--json", check=False)
        row, = json.loads(done.stdout)["ips"]
        assert done.returncode == (0 if row["ok"] else 1), done.stderr
        return row, {entry["list"]: (entry["state"], entry["text"]) for entry in row["lists"]}

    def resting():
        return {h["source"]: h["reply"] for h in node.api("GET", "/v1/sites/holds")["holds"] if h["rule"] == "(dnsbl)"}

    def told(what):
        return [e for e in node.events("shaping") if e.get("rule") == "list.test" and e["text"].startswith(what)]

    row, lists = check(one)
    assert lists["list.test"] == ("listed", "127.0.0.3 see https://list.test/ about it")
    assert lists["refuses.test"][0] == "broken" and ERROR in lists["refuses.test"][1]
    assert lists["all.test"] == ("broken", "it lists 127.0.0.1")
    assert lists["silent.test"][0] == "unknown"
    assert "is on the list list.test: 127.0.0.3 see" in row["problem"]
    assert check(two)[1]["list.test"][0] == "clean"
    assert "is not believed: it lists 127.0.0.1" in node.cli("ip", "check", one, check=False).stdout
    wait_until("it rests", lambda: one in resting(), 30)
    assert "listed by list.test: 127.0.0.3 see" in resting()[one]
    assert "127.0.0.4 on list.test" in node.cli("status").stdout
    assert f'turnpike_dnsbl_listed{{address="{one}",list="list.test"}} 1' in node.http("GET", "/metrics")[1]
    event, = wait_until("an event says so", lambda: told("listed: 127.0.0.3 see"), 30)
    assert event["source_ip"] == one, event
    a.send(4)
    assert set(a.arrived()) == {two}
    # Both are listed: mail goes out all the same.
    dns.add("5.0.0.127.list.test", "A", "127.0.0.2")
    wait_until("both rest", lambda: check(two)[1]["list.test"][0] == "listed" and len(resting()) == 2, 30)
    a.send(4)
    a.arrived()
    # They are taken off.
    for last in "45":
        dns.clear(f"{last}.0.0.127.list.test")
    wait_until("none rests", lambda: [check(ip)[1]["list.test"][0] for ip in (one, two)] == ["clean"] * 2
               and not resting(), 30)
    wait_until("events say so", lambda: {e["source_ip"] for e in told("not listed any more")} == {one, two}, 30)
