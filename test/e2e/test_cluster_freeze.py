"""Frozen means frozen everywhere when the command returns: logins, mail that comes, and mail that waits."""
import threading
import time

import pytest

from harness.cluster import took
from harness.cut import Cut, separable
from harness.node import PASSWORD, Raw
from harness.quota import SENDER, Client, Staying, apply_policy, await_applied
from harness.util import STRETCH, wait_until

TTL_S, MARGIN_S, ELECTION_S = 3, 1, 3
UNLIMITED = "limits: []\nfreeze: {mode: reject}\n"


@pytest.fixture
def open_cluster(make_cluster):
    cluster = make_cluster()
    apply_policy(cluster.nodes[0], UNLIMITED)
    await_applied(cluster.nodes)
    return cluster


def freeze(node, account=SENDER, **more):
    return node.api("POST", "/v1/freeze", {"account": account, **more})


def thaw(node, account=SENDER):
    return node.api("POST", "/v1/thaw", {"account": account})


def add_account(cluster, name, **more):
    cluster.nodes[0].api("POST", "/v1/accounts/add", {"name": name, "password": PASSWORD, **more})
    await_applied(cluster.nodes)


def login(node, account, password=PASSWORD):
    """The reply to AUTH, on a connection that stays open."""
    client = Raw(node.ports["submission"])
    client.reply()
    client.command("EHLO x", "250")
    client.starttls(node.certificate)
    client.command("EHLO x", "250")
    import base64
    plain = base64.b64encode(f"\0{account}\0{password}".encode()).decode()
    return client, client.command(f"AUTH PLAIN {plain}")


def hammered(cluster, during, kinds=(Client,) * 3, more=()):
    """Clients that send all the time to all nodes, while `during` runs; what they got, by the monotonic clock."""
    stop = threading.Event()
    clients = [kind(cluster.nodes[i % 3:] + cluster.nodes[:i % 3]) for i, kind in enumerate(kinds)] + list(more)

    def work(client):
        turn = 0
        while not stop.is_set():
            client.attempt(client.nodes[turn % len(client.nodes)])
            turn += 1
    workers = [threading.Thread(target=work, args=(client,)) for client in clients]
    for worker in workers:
        worker.start()
    try:
        value = during(clients)
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    return clients, value


@pytest.mark.sanitizer
def test_nothing_is_accepted_after_the_call_returned(open_cluster, sink):
    cluster = open_cluster

    def during(clients):
        wait_until("mail flows", lambda: all(client.count() > 5 for client in clients), 20)
        moments = []
        for i in range(3):
            freeze(cluster.nodes[i % 3])
            frozen = time.monotonic()
            time.sleep(0.6)
            thawing = time.monotonic()
            thaw(cluster.nodes[(i + 1) % 3])
            before = [client.count() for client in clients]
            moments.append((frozen, thawing))
            wait_until("it flows again", lambda: all(client.count() > n for client, n in zip(clients, before)), 20)
        return moments
    clients, moments = hammered(cluster, during)
    for frozen, thawing in moments:
        for client in clients:
            broken = [entry for entry in client.accepted if frozen < entry[1] and entry[2] < thawing]
            assert not broken, "accepted though its MAIL came after the freeze had returned"
    assert any(reply.startswith(("550 5.7.1", "450 4.7.1")) for client in clients for reply in client.refusals)


def test_with_a_node_that_stands_still(open_cluster, sink):
    """The call waits until the paused node cannot accept any more; woken up, it does not."""
    cluster = open_cluster
    victim = cluster.followers()[0]
    others = [node for node in cluster.nodes if node is not victim]
    with Raw(victim.ports["relay"], timeout=60) as early:
        early.reply()
        early.command("EHLO x", "250")
        victim.pause()
        try:
            seconds, answer = took(lambda: freeze(others[0]))
            assert seconds <= (TTL_S + MARGIN_S + 5) * STRETCH, seconds
            rows = {row["name"] if "name" in row else row["node"]: row["how"] for row in answer["nodes"]}
            assert sorted(rows.values()) == ["confirmed", "confirmed", "expired"], rows
            early.send("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\n")
        finally:
            victim.go_on()
        reply = early.reply()
        assert reply[:3] in ("421", "451", "450", "550"), reply
    assert not Client([victim]).attempt(victim)


def accepted_within(clients, begin, end):
    """What was accepted of transactions whose MAIL was sent after `begin`."""
    return [entry for client in clients for entry in client.accepted if begin < entry[1] and entry[2] < end]


@pytest.mark.slow
@pytest.mark.parametrize("who", ["follower", "leader"])
def test_with_a_node_cut_off_under_load(make_cluster, sink, who):
    """Its clients still reach it, and it accepts until its session ends; the call returns no sooner. It accepts nothing
    then, nor when it is back."""
    cluster = separable(make_cluster(form=False)).form()
    apply_policy(cluster.nodes[0], UNLIMITED)
    await_applied(cluster.nodes)
    victim = cluster.leader() if who == "leader" else cluster.followers()[0]
    others = [node for node in cluster.nodes if node is not victim]
    got = {}

    def flows(clients, since):
        return {entry[0] for client in clients for entry in client.accepted
                if entry[1] > since} == {node.name for node in cluster.nodes}

    def during(clients):
        wait_until("mail flows on all nodes, ahead of which they have tokens",
                   lambda: all(client.count() > 50 for client in clients[3:]), 60)
        with Cut(victim, others) as cut:
            got["cut"] = time.monotonic()
            got["seconds"], got["answer"] = took(lambda: freeze(others[1], mode="reject"))
            got["frozen"] = time.monotonic()
            time.sleep(3)
            got["dropped"] = cut.dropped()
            assert not (late := Client([victim])).attempt(victim)
            # It is reached by clients.
            assert late.refusals and all(reply.startswith("421 4.3.2") for reply in late.refusals), late.refusals
            assert "quorum" in victim.fail("POST", "/v1/freeze", {"account": "u@example.com"})
        victim.wait_ready()
        cluster.wait_healthy()
        time.sleep(1)
        got["thawing"] = time.monotonic()
        thaw(victim)
        wait_until("it flows again on all nodes", lambda: flows(clients, got["thawing"]), 20)

    clients, _ = hammered(cluster, during, (Client,) * 3, [Staying([node]) for node in (victim, victim, *others)])
    for client in clients[3:]:
        client.close()
    meanwhile = [entry for entry in accepted_within(clients, got["cut"], got["frozen"]) if entry[0] == victim.name]
    late = max((entry[1] - got["cut"] for entry in meanwhile), default=0)
    print(f"{who} cut off: freeze took {got['seconds']:.2f} s, {len(meanwhile)} accepted there meanwhile, the last one's "
          f"MAIL {late:.2f} s after the cut; {got['dropped']} packets dropped; "
          f"{sum(client.count() for client in clients)} accepted in all")
    assert got["dropped"] > 0
    assert got["answer"]["complete"]
    assert {row["node"]: row["how"] for row in got["answer"]["nodes"]} == {
        node.name: "expired" if node is victim else "confirmed" for node in cluster.nodes}
    most = TTL_S + MARGIN_S + 5 + (ELECTION_S if who == "leader" else 0)
    assert got["seconds"] <= most * STRETCH, got["seconds"]
    assert accepted_within(clients, got["frozen"], got["thawing"]) == []


def test_logins_and_modes(open_cluster, sink):
    cluster = open_cluster
    account = "anna@example.com"
    add_account(cluster, account)
    session, reply = login(cluster.nodes[1], account)
    assert reply.startswith("235"), reply
    freeze(cluster.nodes[0], account, mode="reject")
    assert session.command(f"MAIL FROM:<{account}>").startswith("550 5.7.1")
    again, reply = login(cluster.nodes[2], account)
    assert reply.startswith("535 5.7.13"), reply
    again.close()
    thaw(cluster.nodes[2], account)
    freeze(cluster.nodes[2], account, mode="defer")
    assert session.command(f"MAIL FROM:<{account}>").startswith("450 4.7.1")
    thaw(cluster.nodes[1], account)
    freeze(cluster.nodes[1], account, mode="hold")
    session.command(f"MAIL FROM:<{account}>", "250")
    session.command("RCPT TO:<b@example.net>", "250")
    session.command("DATA", "354")
    session.send(f"From: {account}\r\nSubject: x\r\n\r\nx\r\n.\r\n")
    assert session.reply().startswith("250")
    session.close()
    node = cluster.nodes[1]
    wait_until("it is held", lambda: [row["state"] for row in node.queue()] == ["held"])
    thaw(cluster.nodes[0], account)
    time.sleep(1)
    assert not sink.messages, "what was held waits for the postmaster, thawed or not"
    node.api("POST", "/v1/queue/release", {"account": account})
    wait_until("it arrives", lambda: len(sink.messages) == 1)


def test_what_waits_in_the_queue_stays(open_cluster, make_sink, dns):
    """On every node: no new attempt after the call returned; other senders go on; a thaw lets it go."""
    cluster = open_cluster
    sink = make_sink()
    dns.mail_domain("example.net", "127.0.0.1")
    sink.hooks["rcpt"] = lambda s, a: "450 4.2.0 later"
    for node in cluster.nodes:
        for number in range(5):
            node.send(f"r{number}@example.net")
    wait_until("all were tried", lambda: all(len(node.events("deferred")) >= 5 for node in cluster.nodes))
    freeze(cluster.nodes[0])
    tried = [len(node.events("deferred")) for node in cluster.nodes]
    sink.hooks.pop("rcpt")
    time.sleep(4)
    assert not sink.messages
    assert [len(node.events("deferred")) for node in cluster.nodes] == tried
    for node in cluster.nodes:
        assert all(row["state"] in ("held", "queued") for row in node.queue())
        node.api("POST", "/v1/queue/retry", {"all": True})
    time.sleep(1)
    assert not sink.messages, "an operator's retry does not get round it"
    thaw(cluster.nodes[1])
    wait_until("all arrive", lambda: len(sink.messages) == 15, 20)


def test_a_tenant(open_cluster, sink):
    cluster = open_cluster
    add_account(cluster, "a@shop.example", tenant="shop")
    add_account(cluster, "b@shop.example", tenant="shop")
    add_account(cluster, "c@other.example", tenant="other")
    cluster.nodes[1].api("POST", "/v1/freeze", {"tenant": "shop", "reason": "stolen passwords"})
    for name, code in (("a@shop.example", "535 5.7.13"), ("b@shop.example", "535 5.7.13"), ("c@other.example", "235")):
        for node in cluster.nodes:
            client, reply = login(node, name)
            client.close()
            assert reply.startswith(code), (name, reply)
    rows = cluster.nodes[2].api("GET", "/v1/frozen")["frozen"]
    assert [(row["name"], row["reason"]) for row in rows] == [("shop", "stolen passwords")], rows


def test_a_freeze_ends_by_itself(open_cluster, sink):
    cluster = open_cluster
    freeze(cluster.nodes[0], **{"for": "2s"})
    assert not Client(cluster.nodes).attempt(cluster.nodes[1])
    wait_until("it has ended", lambda: Client(cluster.nodes).attempt(cluster.nodes[2]), 10)


def test_a_node_that_was_away_knows_before_it_delivers(open_cluster, make_sink, dns):
    """Frozen while the node was down: after its start, no attempt is made."""
    cluster = open_cluster
    sink = make_sink()
    dns.mail_domain("example.net", "127.0.0.1")
    sink.hooks["rcpt"] = lambda s, a: "450 4.2.0 later"
    victim = cluster.followers()[0]
    for number in range(5):
        victim.send(f"r{number}@example.net")
    wait_until("all were tried", lambda: len(victim.events("deferred")) >= 5)
    victim.kill()
    sink.hooks.pop("rcpt")
    freeze(cluster.leader(among=[node for node in cluster.nodes if node is not victim], timeout=20))
    victim.restart()
    victim.wait_ready()
    time.sleep(3)
    assert not sink.messages
    thaw(victim)
    wait_until("all arrive", lambda: len(sink.messages) == 5, 20)


def test_guessing_goes_round_in_vain(open_cluster):
    """Failed logins on all nodes count together."""
    cluster = open_cluster
    add_account(cluster, "anna@example.com")
    replies = []
    for number in range(24):
        client, reply = login(cluster.nodes[number % 3], "anna@example.com", "wrong")
        client.close()
        replies.append(reply[:3])
        if reply.startswith(("421", "454")):
            break
    assert replies[-1] in ("421", "454") and len(replies) <= 22, replies
    for node in cluster.nodes:
        wait_until("blocked there too", lambda node=node: login(node, "anna@example.com")[1].startswith(("421", "454")))
