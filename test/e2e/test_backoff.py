"""What remote servers say and what is done about it: back-off on all nodes, a source address that rests, greylisting, a full
mailbox, and an operator's word."""
import collections
import json
import os
import time

import pytest

from harness.cut import drop, needs_netfilter, nft
from harness.dsn import Dsn
from harness.quota import SENDER, apply_policy, await_applied
from harness.util import STRETCH, wait_until

QUICK = "limits: []\nbackoff: {interval: 0s, for: 1h, deliveries: 0}\n"


def holds(node, **wanted):
    rows = node.api("GET", "/v1/sites/holds")["holds"]
    return [r for r in rows if all(r.get(k) == v for k, v in wanted.items())]


def open_sessions(sink):
    return [s for s in sink.sessions if not s.writer.is_closing()]


@pytest.mark.slow(25)
def test_back_off_on_all_nodes(make_cluster, sink):
    """A site that answers 421 to the third connection gets fewer from all nodes; when it is well again, all arrives."""
    cluster = make_cluster(3, {"delivery": {"retry": ["1s"], "jitter": 0, "connections_start": 5}})
    first, *others = cluster.nodes
    apply_policy(first, QUICK + "rules:\n  - {name: too-many-connections, for: 8s}\n")
    await_applied(cluster.living())
    refused = []

    def banner(session, argument):
        if len(open_sessions(sink)) <= 2:
            return None
        refused.append(time.monotonic())
        return "421 4.7.0 sink.test Error: too many connections from your network"

    sink.hooks["banner"] = banner
    sink.delays["dot"] = 0.3
    for number in range(20):
        first.send(f"a{number}@example.net")
    wait_until("a node is refused", lambda: refused, 20)
    start = time.monotonic()
    site = f"example.net:{sink.port}"
    for node in cluster.nodes:
        wait_until(f"{node.name} backs off", lambda: holds(node, action="backoff"), 5 * STRETCH)
    assert time.monotonic() - start <= 5 * STRETCH
    learnt = holds(others[0])[0]
    assert learnt["site"].startswith("mx:") and learnt["site"].endswith(f":{sink.port}"), learnt
    assert learnt["by"] == first.name and learnt["rule"] == "too-many-connections", learnt
    assert "too many connections" in learnt["reply"]
    row = wait_until("one connection", lambda: next((r for r in first.api("GET", "/v1/sites")["sites"]
                                                     if r["site"] == site and r["conns"] <= 1), None), 10)
    assert row["state"] == "backoff", row
    for number in range(4):
        for node in others:
            node.send(f"{node.name}{number}@example.net")

    def shown(node, name):
        return json.loads(node.cli("site", "show", name, "--json").stdout)

    wait_until("any node shows what each gives it", lambda: any(
        s["node"] == first.name and s["site"] == learnt["site"] and s["backoff"] and s["conns_max"] == 1 and
        s["sources"] and s["waiting"] > 0 for s in shown(others[1], site)["shares"]), 10)
    wait_until("one connection from each node at most", lambda: len(open_sessions(sink)) <= 3, 10)
    refused_then = len(refused)
    sink.hooks["banner"] = None
    healed = time.monotonic()
    wait_until("all has arrived, nothing twice", lambda: len(sink.messages) == 28, 30)
    assert len({r for m in sink.messages for r in m.recipients}) == 28
    assert refused_then <= 20, "it was hammered"
    for node in cluster.nodes:
        wait_until("it is over everywhere", lambda: not holds(node), 20)
        wait_until("the event is written", lambda: [e for e in node.events("shaping") if e["text"].startswith("over")])
    over = time.monotonic() - healed
    places = collections.defaultdict(list)  # connections, by the node that they come from
    most, sent = collections.Counter(), []

    def rcpt(session, argument):
        node = argument.split("<")[1].split(".")[0]
        if session not in places[node]:
            places[node].append(session)
        most[node] = max(most[node], sum(not s.writer.is_closing() for s in places[node]))

    def send_more():
        sent.extend(node.send(f"{node.name}.{len(sent)}@example.net") for _ in range(4) for node in cluster.nodes)

    sink.hooks["rcpt"] = rcpt
    wait_until("as many connections from each node as at first",
               lambda: send_more() or all(most[node.name] >= 5 for node in cluster.nodes), 20)
    full = time.monotonic() - healed
    sink.delays.clear()
    wait_until("all is gone", lambda: len(sink.messages) == 28 + len(sent), 20)
    assert len({r for m in sink.messages for r in m.recipients}) == 28 + len(sent), "something came twice"
    print(f"after healing: over on all nodes in {over:.1f} s, 5 connections from each in {full:.1f} s, "
          f"{len(sent)} messages gone in {time.monotonic() - healed:.1f} s")
    # The rule's 8 s at most, what is looked at each second, and time for a loaded machine.
    assert over <= (8 + 6) * STRETCH and full <= (8 + 14) * STRETCH, (over, full)
    sink.hooks["rcpt"] = None

    # A node that starts learns from the others what is in force; it is ended for all.
    for site in ("later.test", "gone.test"):
        first.cli("site", "backoff", site, "--suspend", "--for", "1h")
        for node in cluster.nodes:
            wait_until("it is in force", lambda: holds(node, action="suspend", site=site), 20)
    others[0].stop()
    view = shown(first, "later.test")
    assert {h["node"] for h in view["holds"]} == {first.name, others[1].name}, view
    assert [m["node"] for m in view["missing"]] == [others[0].name], view
    first.cli("site", "resume", "gone.test")
    others[0].restart()
    wait_until("it is told again", lambda: holds(others[0], action="suspend", site="later.test"), 60)
    wait_until("but not of what was ended", lambda: not any(holds(node, site="gone.test") for node in cluster.nodes), 60)
    wait_until("it is over", lambda: first.cli("site", "resume", "later.test") and
               not any(holds(node) for node in cluster.nodes), 30, 0.5)  # a node is told only once it is heard


@pytest.mark.slow(12)
def test_a_blocked_address_rests_for_that_site_only(make_cluster, make_sink, dns):
    bad = make_sink(["127.0.0.1"])
    dns.mail_domain("blocking.test", "127.0.0.1")
    dns.mail_domain("friendly.test", "127.0.0.1")
    cluster = make_cluster(1, {"delivery": {"retry": ["1s"], "jitter": 0, "messages_per_connection": 1}})
    node, = cluster.nodes
    apply_policy(node, QUICK)

    def do(path, **body):
        node.api("POST", f"/v1/{path}", body)
        await_applied(cluster.living())

    do("pools/add", name="news")
    do("pools/assign", pool="news", account=SENDER)
    for address in ("127.0.0.21", "127.0.0.22"):
        do("ips/add", address=address, pool="news", node=node.name)
    seen = collections.Counter()

    def rcpt(session, argument):
        domain = argument.split("@")[1].split(">")[0]
        seen[domain, session.peer[0]] += 1
        if domain == "blocking.test" and session.peer[0] == "127.0.0.21":
            return "451 4.7.1 Client host [127.0.0.21] is on our blocklist"
        return None

    bad.hooks["rcpt"] = rcpt
    for number in range(30):
        node.send(f"r{number}@blocking.test")
    held = wait_until("the address rests", lambda: holds(node, action="disable_source", source="127.0.0.21"), 20)
    assert held[0]["site"].startswith("news/mx:mx1.blocking.test") and held[0]["rule"] == "source-blocked"
    wait_until("the other one carries on", lambda: len(bad.messages) == 30, 30)
    refused = seen["blocking.test", "127.0.0.21"]
    for number in range(20):
        node.send(f"s{number}@blocking.test")
        node.send(f"s{number}@friendly.test")
    wait_until("all arrives", lambda: len(bad.messages) == 70, 30)
    assert seen["blocking.test", "127.0.0.21"] == refused, "it was used for the site all the same"
    assert seen["blocking.test", "127.0.0.22"] >= 50
    wait_until("for another site it is used", lambda: node.send("t@friendly.test") or
               seen["friendly.test", "127.0.0.21"] > 0, 20)

    # When all rest, mail waits; an operator ends that.
    site = held[0]["site"]
    node.cli("site", "backoff", site, "--source", "127.0.0.22", "--for", "1h")
    wait_until("it is known", lambda: len(holds(node, action="disable_source")) == 2)
    before = len(bad.messages)
    node.send("u@blocking.test")
    row = wait_until("mail waits", lambda: next((r for r in node.api("GET", "/v1/sites")["sites"]
                                                 if r["site"].startswith("news/blocking.test") and r["queued"] == 1),
                                                None))
    assert row["state"] == "backoff" and row["next_ms"] > time.time() * 1000 + 1800000, row
    assert len(bad.messages) <= before + 1  # t@friendly.test may still come
    node.cli("site", "resume", site)
    wait_until("it goes", lambda: any(m.recipients == ["u@blocking.test"] for m in bad.messages))


@pytest.fixture
def hop(make_sink, dns):
    one = make_sink()
    dns.mail_domain("hop.test", "127.0.0.1")
    dns.mail_domain("example.com", "127.0.0.1")
    return one


def test_greylisting_is_waited_out(make_node, hop):
    """The server says when: neither sooner nor, by the schedule, much later."""
    times = []
    hop.hooks["rcpt"] = lambda s, a: times.append(time.monotonic()) or (
        "450 4.2.0 Greylisted, please try again in 11 seconds" if len(times) == 1 else None)
    node = make_node({"delivery": {"retry": ["10m"]}})
    node.send("r@hop.test")
    wait_until("it is delivered", lambda: hop.messages, 40)
    assert 10.8 <= times[1] - times[0] <= 14 * STRETCH


def test_a_blocked_address_costs_no_mail(make_node, hop):
    """A refusal for good that is about our address: another one is tried; without another one the message bounces."""
    seen = collections.Counter()

    def rcpt(session, argument):
        seen[session.peer[0]] += 1
        blocked = session.peer[0] == "127.0.0.31" or "all@" in argument
        return "550 5.7.1 Service unavailable; client host is blocked using our blocklist" if blocked else None

    hop.hooks["rcpt"] = rcpt
    node = make_node({"sources": [{"address": f"127.0.0.{n}", "ehlo": "relay.example.com"} for n in (31, 32)],
                      "delivery": {"retry": ["10m"], "messages_per_connection": 1}})
    sent = [node.send(f"r{number}@hop.test") for number in range(6)]
    wait_until("the address rests", lambda: holds(node, action="disable_source", source="127.0.0.31") or
               sent.append(node.send(f"r{len(sent)}@hop.test")), 40)
    wait_until("all arrive", lambda: len(hop.messages) == len(sent), 40)
    assert {m.session.peer[0] for m in hop.messages} == {"127.0.0.32"}
    assert seen["127.0.0.31"] >= 3
    node.send("all@hop.test", sender="")
    wait_until("no other address is left", lambda: node.queue_length() == 0 and node.events("bounced"), 40)
    assert {e["recipient"] for e in node.events("bounced")} == {"all@hop.test"}


@pytest.fixture
def drops():
    """A source address from which nothing reaches a port: what a firewall at the far end does that says nothing."""
    needs_netfilter()
    table = f"turnpike_drop_{os.getpid()}"
    yield lambda source, port: drop(table, [f"ip saddr {source} tcp dport {port}"])
    nft(f"delete table inet {table}\n")


def test_an_address_that_gets_no_answer_holds_nothing_up(make_node, hop, drops):
    """Connections from one of two addresses are dropped, silently: mail goes from the other, and
    soon all of it at once."""
    drops("127.0.0.41", hop.port)
    node = make_node({"sources": [{"address": f"127.0.0.{n}", "ehlo": "relay.example.com"} for n in (41, 42)],
                      "delivery": {"retry": ["10m"], "messages_per_connection": 1, "connections_start": 2,
                                   "connections_max": 2, "timeouts": {"connect": "6s"}}})
    begun = time.monotonic()
    for number in range(20):
        node.send(f"r{number}@hop.test")
    wait_until("all arrive", lambda: len(hop.messages) == 20, 20 * STRETCH)
    took = time.monotonic() - begun
    assert took < 6 * STRETCH, f"{took:.1f} s: mail waited for an address that gets no answer"
    assert {m.session.peer[0] for m in hop.messages} == {"127.0.0.42"}
    resting = wait_until("it rests there", lambda: holds(node, action="disable_source", source="127.0.0.41"))
    failed = wait_until("it is written down", lambda: node.events("connect_failed"))
    assert {e["source_ip"] for e in failed} == {"127.0.0.41"} and 1 <= len(failed) <= 4, failed
    assert [r["rule"] for r in resting] == ["(silent)"], resting
    assert "no answer to connections from 127.0.0.41, where those from 127.0.0.42 have one" in resting[0]["reply"]
    wait_until("who reads events is told", lambda: [e for e in node.events("shaping") if e.get("rule") == "(silent)"])
    begun = time.monotonic()
    for number in range(20):
        node.send(f"s{number}@hop.test")
    wait_until("what follows does not wait at all", lambda: len(hop.messages) == 40, 20)
    assert time.monotonic() - begun < 2 * STRETCH
    assert {m.session.peer[0] for m in hop.messages} == {"127.0.0.42"}


def test_a_dead_host_is_not_held_against_addresses(make_node, make_sink, dns, drops):
    """No address gets an answer: the time for a host is not longer than it is set, and no address is found wanting."""
    dead = make_sink()
    dns.mail_domain("dead.test", "127.0.0.1")
    drops("127.0.0.41-127.0.0.42", dead.port)
    node = make_node({"sources": [{"address": f"127.0.0.{n}", "ehlo": "relay.example.com"} for n in (41, 42)],
                      "delivery": {"retry": ["10m"], "timeouts": {"connect": "3s"}}})
    begun = time.monotonic()
    node.send("r@dead.test")
    wait_until("it is given up for now", lambda: len(node.events("connect_failed")) == 2, 20)
    assert 2.9 <= time.monotonic() - begun <= 4.5 * STRETCH
    assert [e["source_ip"] for e in node.events("connect_failed")] == ["127.0.0.41", "127.0.0.42"]
    assert not holds(node)


def test_a_full_mailbox_ends_after_some_attempts(make_node, hop):
    """4xx that is final in truth: the sender hears of it."""
    hop.hooks["rcpt"] = lambda s, a: "452 4.2.2 The mailbox is full" if "hop.test" in a else None
    node = make_node({"delivery": {"retry": ["1s"], "jitter": 0}})
    node.send("r@hop.test")
    report = wait_until("the report", lambda: [m for m in hop.messages if m.sender == ""], 40)[0]
    dsn = Dsn(report.content)
    assert dsn.recipients[0]["action"] == "failed", dsn.recipients
    assert "mailbox is full" in report.content.decode()
    bounced = wait_until("the event is written", lambda: node.events("bounced"))
    assert len(bounced) == 1 and bounced[0]["attempt"] == 8


def test_an_operator_suspends_and_resumes(make_node, hop):
    node = make_node()
    node.send("a@hop.test")
    wait_until("it works", lambda: len(hop.messages) == 1)
    site = node.api("GET", "/v1/sites")["sites"]
    name = site[0]["site"] if site else f"hop.test:{hop.port}"
    node.cli("site", "backoff", name, "--suspend", "--for", "1h")
    wait_until("it is in force", lambda: holds(node, action="suspend", site=name))
    node.send("b@hop.test")
    wait_until("it waits", lambda: node.queue_length() == 1)
    shown = node.cli("site", "show").stdout
    assert "suspend" in shown and "unix:uid=" in shown
    rows = json.loads(node.cli("site", "show", name, "--json").stdout)["holds"]
    assert rows[0]["by"].startswith("unix:uid=") and rows[0]["rule"] is None
    one = node.cli("site", "show", name).stdout
    assert "WAITING" in one and name in one and "suspend" in one, one
    assert 'turnpike_shaping_total{action="suspend"} 1' in node.metrics()
    time.sleep(0.5)
    assert len(hop.messages) == 1
    node.cli("site", "resume", name)
    wait_until("it goes", lambda: len(hop.messages) == 2)
    assert "nothing is in force" in node.cli("site", "show").stdout
    assert node.cli("policy", "test-reply", "hop.test", "421 4.7.0 too many connections", "--stage", "banner").stdout \
        .startswith("banner: too-many-connections: backoff for 30m")


def test_a_rule_moves_recipients_to_another_pool(make_cluster, make_sink, dns):
    """Refused from one pool's address they go out over the other's at once, over a restart too, and never back."""
    bad = make_sink(["127.0.0.1"])
    dns.mail_domain("choosy.test", "127.0.0.1")
    cluster = make_cluster(1, {"delivery": {"retry": ["1s"], "jitter": 0}})
    node, = cluster.nodes
    said = node.api("POST", "/v1/policy/apply", {"name": "p.yaml", "text": (
        QUICK + "rules:\n  - {name: not-from-here, match: not from here, action: reroute, to: quiet}\n")})
    assert any("no pool quiet for what rule not-from-here moves" in w for w in said["warnings"]), said
    await_applied(cluster.living())

    def do(path, **body):
        node.api("POST", f"/v1/{path}", body)
        await_applied(cluster.living())

    for pool, address in (("news", "127.0.0.21"), ("quiet", "127.0.0.22")):
        do("pools/add", name=pool)
        do("ips/add", address=address, pool=pool, node=node.name)
    do("pools/assign", pool="news", account=SENDER)
    seen = collections.Counter()
    closed = {"late@choosy.test"}

    def rcpt(session, argument):
        who = argument.split("<")[1].split(">")[0]
        seen[who, session.peer[0]] += 1
        if session.peer[0] == "127.0.0.21" and not who.startswith("fine"):
            return "550 5.7.1 not from here, thank you"
        return "450 4.7.1 not from here either, yet" if who in closed else None

    bad.hooks["rcpt"] = rcpt
    assert node.cli("policy", "test-reply", "choosy.test", "550 not from here", "--stage", "rcpt").stdout \
        .startswith("rcpt: not-from-here: reroute to pool quiet; match")
    node.send(["fine@choosy.test", "moved@choosy.test", "late@choosy.test"])
    wait_until("two arrive", lambda: {r for m in bad.messages for r in m.recipients} ==
               {"fine@choosy.test", "moved@choosy.test"}, 30)
    assert seen["moved@choosy.test", "127.0.0.21"] == seen["moved@choosy.test", "127.0.0.22"] == 1
    wait_until("it is refused there, too", lambda: seen["late@choosy.test", "127.0.0.22"] >= 2, 30)
    row, = [r for r in node.api("GET", "/v1/queue")["recipients"]]
    assert (row["rerouted_from"], row["rerouted_to"], row["rerouted_by"]) == ("news", "quiet", "not-from-here"), row
    assert row["site"].startswith("quiet/choosy.test")
    assert "moved from pool news to pool quiet by not-from-here: 450 4.7.1" in node.cli("track", row["id"]).stdout
    node.cli("queue", "hold", row["id"])
    node.stop()
    node.restart()
    node.cli("queue", "release", row["id"])
    before = seen["late@choosy.test", "127.0.0.22"]
    wait_until("it is tried again", lambda: seen["late@choosy.test", "127.0.0.22"] > before, 30)
    closed.clear()
    wait_until("it arrives", lambda: node.queue_length() == 0, 30)
    assert seen["late@choosy.test", "127.0.0.21"] == 1, seen
    events = wait_until("the events are written", lambda: [e for e in node.events("shaping") if "reroute" in e["text"]])
    assert sorted(e["recipient"] for e in events) == ["late@choosy.test", "moved@choosy.test"]
    assert all(e["text"].startswith("reroute from pool news to pool quiet: not from here") and e["pool"] == "news" and
               e["rule"] == "not-from-here" and e["code"] == 550 for e in events), events


@pytest.mark.slow(15)
def test_when_all_addresses_of_a_pool_rest(make_cluster, make_sink, dns):
    """Mail goes to the node that has one which is awake; where there is none, what the policy says is done."""
    bad = make_sink(["127.0.0.1"])
    dns.mail_domain("blocking.test", "127.0.0.1")
    dns.mail_domain("example.com", "127.0.0.1")
    cluster = make_cluster(2, {"delivery": {"retry": ["1s"], "jitter": 0, "messages_per_connection": 1}})
    first, second = cluster.nodes
    rule = "rules:\n  - {name: go-away, match: go away, action: disable_source, for: 1h}\n"

    def policy(when):
        apply_policy(first, QUICK + rule + "pools:\n  - {name: news, when_all_disabled: " + when + "}\n")
        await_applied(cluster.living())

    def do(path, **body):
        first.api("POST", f"/v1/{path}", body)
        await_applied(cluster.living())

    policy("reroute, to: quiet")
    for pool, address, node in (("news", "127.0.0.21", first), ("news", "127.0.0.22", second),
                                ("quiet", "127.0.0.23", second)):
        if pool not in {p["name"] for p in first.api("GET", "/v1/pools")["pools"]}:
            do("pools/add", name=pool)
        do("ips/add", address=address, pool=pool, node=node.name)
    do("pools/assign", pool="news", account=SENDER)
    blocked = {"127.0.0.21"}
    bad.hooks["rcpt"] = lambda s, a: "451 4.7.1 go away" if s.peer[0] in blocked and "blocking.test" in a else None

    def came_from(recipient):
        return next((m.session.peer[0] for m in bad.messages if m.recipients == [recipient]), None)

    first.send("a@blocking.test")
    wait_until("it goes out from the other node", lambda: came_from("a@blocking.test") == "127.0.0.22", 60)
    blocked.add("127.0.0.22")
    second.send("b@blocking.test")
    wait_until("it goes out over the other pool", lambda: came_from("b@blocking.test") == "127.0.0.23", 60)
    wait_until("the event is written", lambda: [e for e in second.events("shaping") if e["text"].startswith(
        "all addresses rest: what waits is moved to pool quiet")])
    assert "ALL OF A POOL'S REST for 1 site" in second.cli("status").stdout
    assert second.api("GET", "/v1/status")["sites_rested"] == 1
    policy("bounce, after: 1s")
    second.send("c@blocking.test")
    bounced = wait_until("it comes back", lambda: second.events("bounced"), 60)
    assert bounced[0]["recipient"] == "c@blocking.test" and bounced[0]["enhanced"] == "5.4.4", bounced
    blocked.clear()
    policy("use_any")
    second.send("d@blocking.test")
    wait_until("it goes out all the same", lambda: came_from("d@blocking.test") == "127.0.0.22", 60)
    policy("wait")
    site = holds(second)[0]["site"]
    second.send("e@blocking.test")
    wait_until("it waits", lambda: any(r["state"] == "backoff" and r["queued"] == 1
                                       for r in second.api("GET", "/v1/sites")["sites"]), 30)
    first.cli("site", "resume", site)
    wait_until("it goes", lambda: came_from("e@blocking.test"), 60)
    wait_until("it is over", lambda: second.api("GET", "/v1/status")["sites_rested"] == 0, 30)
