"""A server that greylists: mail comes again when it may, from the address that was told so, whatever happens meanwhile."""
import json
import re
import time

import pytest

from harness import postgrey
from harness.quota import SENDER, apply_policy, await_applied
from harness.util import STRETCH, wait_until

SOURCES = [f"127.0.0.{n}" for n in (11, 12, 13)]
DELAY = 6


@pytest.fixture
def greylister(folder):
    if not postgrey.available():
        pytest.skip("needs Postfix, postgrey, and root")
    one = postgrey.Postgrey(folder, DELAY)
    yield one
    one.stop()


@pytest.mark.slow(15)
def test_postgrey_takes_it_the_second_time(make_node, greylister):
    """Each message is refused once, and taken from the same address at the first time that is permitted."""
    node = make_node({"sources": [{"address": a, "ehlo": "relay.example.com"} for a in SOURCES],
                      "routes": [{"domain": "*", "via": f"[127.0.0.1]:{greylister.postfix.port}"}],
                      "delivery": {"retry": ["10m"], "messages_per_connection": 1}})
    everybody = [f"r{n}@example.net" for n in range(6)]
    ids = {rcpt: node.send(rcpt) for rcpt in everybody}
    wait_until("all are refused", lambda: len(greylister.refused()) == 6, 30)
    first = dict(greylister.refused())
    assert set(first.values()) == set(SOURCES), first
    wait_until("all are recorded", lambda: all(r["attempts"] == 1 for r in node.queue()))
    rows = {r["recipient"]: r for r in node.queue()}
    for rcpt in everybody:
        row = rows[rcpt]
        assert row["source_ip"] == first[rcpt] and row["mx"] == "127.0.0.1", row
        assert time.time() - 60 * STRETCH < row["greylisted_ms"] / 1000 <= time.time(), row
        assert row["reply"].endswith(f"try again in {DELAY} seconds"), row
    said = node.cli("track", ids["r0@example.net"]).stdout
    assert re.search(rf"greylisted by \S+ since \d\d:\d\d, next try \d\d:\d\d from {first['r0@example.net']}", said), said
    assert "next try" in node.cli("queue", "show", ids["r1@example.net"]).stdout
    assert json.loads(node.cli("track", ids["r2@example.net"], "--json").stdout)["recipients"][0]["greylisted_ms"]
    node.stop()
    node.restart()
    assert node.api("GET", "/v1/status")["greylisting"] == {"sites": 1, "endless": 0, "example": None}
    wait_until("all are taken", lambda: len(greylister.taken()) == 6, 40)
    assert greylister.taken() == first
    assert len(greylister.refused()) == 6, "it came too early"
    ended = wait_until("the events are written", lambda: len(node.events("relayed") + node.events("delivered")) == 6 and
                       node.events("relayed") + node.events("delivered"))
    assert {e["recipient"]: e["source_ip"] for e in ended} == first
    assert {e["attempt"] for e in ended} == {2}


@pytest.mark.slow(10)
def test_an_open_connection_changes_its_address(make_node, make_sink, dns):
    """Other mail keeps connections to the site open, from any address: greylisted mail goes from its own all the same. Two
    domains with one MX host are one site, of which is learnt."""
    hop = make_sink()
    dns.mail_domain("hop.test", "127.0.0.1")
    dns.add("twin.test", "MX", "10 mx1.hop.test")
    seen = {}

    def rcpt(session, argument):
        if "grey" not in argument:
            return None
        seen.setdefault(argument, []).append(session.peer[0])
        return "451 4.7.1 Greylisted, try again in 2 seconds" if len(seen[argument]) == 1 else None

    hop.hooks["rcpt"] = rcpt
    node = make_node({"sources": [{"address": a, "ehlo": "relay.example.com"} for a in SOURCES],
                      "delivery": {"retry": ["10m"], "messages_per_connection": 5}})
    for number in range(12):
        node.send(f"grey{number}@{'twin' if number % 4 == 0 else 'hop'}.test")
        node.send(f"other{number}@hop.test")

    def arrived():
        node.send(f"more{len(hop.messages)}@hop.test")
        return sum(m.recipients[0].startswith("grey") for m in hop.messages) == 12

    wait_until("all arrive", arrived, 40)
    assert node.api("GET", "/v1/status")["greylisting"]["sites"] == 1
    assert len({tries[0] for tries in seen.values()}) > 1, "one address did it all"
    assert all(len(tries) == 2 and tries[0] == tries[1] for tries in seen.values()), seen


@pytest.mark.slow(28)
def test_a_node_that_drains_sends_greylisted_mail_to_where_its_address_is(make_cluster, greylister):
    """It goes where its address does, be that moved before the node drains, or again when the mail has arrived elsewhere, at a
    node that has other addresses of the pool: it is taken at the second attempt. Mail whose address nobody has any more goes on from
    another, and `track` shows that it waits anew."""
    cluster = make_cluster(3, {"routes": [{"domain": "*", "via": f"[127.0.0.1]:{greylister.postfix.port}"}],
                               "delivery": {"retry": ["10m"], "messages_per_connection": 1}})
    giver, early, late = cluster.nodes
    apply_policy(giver, "limits: []\n")
    giver.api("POST", "/v1/pools/add", {"name": "news"})
    giver.api("POST", "/v1/pools/assign", {"pool": "news", "account": SENDER})

    def address(number, node):
        giver.api("POST", "/v1/ips/add", {"address": f"127.0.0.{number}", "pool": "news", "node": node.name})

    def owner(number):
        return next(r["node"] for r in giver.api("GET", "/v1/ips")["addresses"] if r["address"] == f"127.0.0.{number}")

    def move(number, node):
        giver.api("POST", "/v1/ips/move", {"address": f"127.0.0.{number}", "node": node.name})

    def rows(nodes):
        return [r for n in nodes for r in n.api("GET", "/v1/queue?limit=100&scope=local")["recipients"]]

    address(11, giver)
    wait_until("it has it", lambda: owner(11) == giver.name)
    await_applied(cluster.nodes)
    giver.send("r0@example.net")
    wait_until("it is refused", lambda: dict(greylister.refused()) == {"r0@example.net": "127.0.0.11"}, 30)
    wait_until("that is recorded", lambda: rows([giver]) and rows([giver])[0]["attempts"] == 1)
    # the mail follows its address, which is asked for already; it is not tried meanwhile
    giver.cli("freeze", SENDER)
    move(11, early)
    giver.api("POST", "/v1/node/drain", {})
    wait_until("it has moved", lambda: not rows([giver]) and rows([early]))
    row = rows([early])[0]
    assert (row["source_ip"], row["attempts"]) == ("127.0.0.11", 1) and row["greylisted_ms"], row
    assert not rows([late])
    said = late.cli("track", row["id"]).stdout
    assert re.search(r"greylisted by \S+ since \d\d:\d\d, next try \d\d:\d\d from 127\.0\.0\.11", said), said
    # and once more
    address(12, early)
    move(11, late)
    wait_until("it has gone", lambda: owner(11) == late.name and owner(12) == early.name, 30)
    await_applied(cluster.nodes)
    giver.cli("thaw", SENDER)
    wait_until("it is taken", lambda: greylister.taken() == {"r0@example.net": "127.0.0.11"}, 60)
    assert len(greylister.refused()) == 1, "it came too early, or from elsewhere"
    ended = wait_until("the event is written", lambda: late.events("relayed") + late.events("delivered"))
    assert [(e["source_ip"], e["attempt"]) for e in ended] == [("127.0.0.11", 2)]
    # an address that nobody has any more: its mail begins to wait anew, from another
    early.send("r1@example.net")
    wait_until("it is refused", lambda: dict(greylister.refused()).get("r1@example.net") == "127.0.0.12", 30)
    wait_until("that is recorded", lambda: rows([early]) and rows([early])[0]["attempts"] == 1)
    giver.api("POST", "/v1/ips/remove", {"address": "127.0.0.12"})
    early.api("POST", "/v1/node/drain", {})
    wait_until("it is refused again", lambda: ("r1@example.net", "127.0.0.11") in greylister.refused(), 60)
    wait_until("that is recorded", lambda: any(r["attempts"] == 2 for r in rows([late])))
    row = rows([late])[0]
    said = giver.cli("track", row["id"]).stdout
    assert re.search(r"greylisted by \S+ since \d\d:\d\d, next try \d\d:\d\d from 127\.0\.0\.11", said), said
    wait_until("it is taken", lambda: greylister.taken().get("r1@example.net") == "127.0.0.11", 60)
