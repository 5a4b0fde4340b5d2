"""Limits hold over all nodes at once: whichever way clients hop, whatever restarts, however slow they are."""
import time

import pytest

from harness.node import Raw
from harness.quota import (SENDER, Client, all_receipts, apply_policy, await_applied, most_in_a_window, receipts,
                           together, usage)
from harness.util import STRETCH, wait_until

HOUR = "limits: [{name: account-hour, for: account, count: 200, window: 1h}]\n"


def limited(make_cluster, policy, count=3, config=None):
    cluster = make_cluster(count, config)
    apply_policy(cluster.nodes[0], policy)
    await_applied(cluster.nodes)
    return cluster


def hop(nodes, n):
    """n clients, each beginning at another node and going another way round."""
    ways = [nodes[i % len(nodes):] + nodes[:i % len(nodes)] for i in range(n)]
    return [Client(way if i % 2 == 0 else way[::-1]) for i, way in enumerate(ways)]


@pytest.mark.sanitizer
def test_three_clients_on_three_nodes(make_cluster, sink):
    cluster = limited(make_cluster, HOUR)
    clients = hop(cluster.nodes, 3)
    together(clients, Client.drain)
    got = sum(client.count() for client in clients)
    assert 198 <= got <= 200, (got, [client.refusals for client in clients])
    replies = [reply for client in clients for reply in client.refusals]
    assert all(reply.startswith("450 4.7.1 ") for reply in replies), replies
    assert any("account-hour" in reply and "200 recipients per 1h" in reply and "try again in" in reply
               for reply in replies), replies
    assert len({entry[0] for client in clients for entry in client.accepted}) == 3, "each node had its part"
    all_receipts(cluster.nodes, got)


def test_one_client_on_one_node(make_cluster, sink):
    """Nobody is punished for staying."""
    cluster = limited(make_cluster, HOUR)
    client = Client([cluster.followers()[0]], recipients=3)
    client.drain()
    Client.attempt(client, client.nodes[0])
    assert 198 <= client.count() <= 200, (client.count(), client.refusals)


def test_a_refused_sender_costs_no_log_entry(make_cluster, sink):
    cluster = limited(make_cluster, "limits: [{name: few, for: account, count: 3, window: 1h}]\n")
    client = Client([cluster.followers()[0]])
    client.drain()
    assert client.count() == 3
    node = client.nodes[0]

    def granted():
        totals = node.cluster()["totals"]
        return totals["granted"] + totals["refused"]
    for _ in range(10):
        client.attempt(node)
    await_applied(cluster.nodes)
    before = granted()
    for _ in range(50):
        assert not client.attempt(node)
    assert granted() == before


@pytest.mark.slow
def test_while_the_leader_dies_and_nodes_restart(make_cluster, sink):
    """kill -9 loses the tokens in the node's hands, never the limit."""
    cluster = limited(make_cluster, HOUR)
    clients = hop(cluster.nodes, 3)
    for client in clients:
        client.pause = 0.01
    end = time.monotonic() + 25 * STRETCH

    def trouble():
        for _ in range(3):
            time.sleep(1)
            victim = cluster.leader()
            victim.kill()
            victim.restart()
            cluster.leader(timeout=20)
    import threading
    nemesis = threading.Thread(target=trouble)
    nemesis.start()
    together(clients, lambda client: client.hammer(end))
    nemesis.join()
    got = sum(client.count() for client in clients)
    lost = sum(client.lost for client in clients)
    for node in cluster.nodes:
        node.wait_ready()
    burned = usage(cluster.nodes[0], "account-hour")["burned"]
    assert got <= 200, got
    assert got + lost >= 198 - burned, (got, lost, burned, [client.refusals for client in clients])


def test_windows_roll(make_cluster, sink):
    """Two limits of different windows and one of the tenant, in small windows, so that they roll many times."""
    cluster = limited(make_cluster, """
limits:
  - {name: quick, for: account, count: 10, window: 5s}
  - {name: slower, for: account, count: 15, window: 10s}
  - {name: all, for: tenant, count: 12, window: 7s}
""")
    clients = hop(cluster.nodes, 3)
    for client in clients:
        client.pause = 0.02
    end = time.monotonic() + 22
    together(clients, lambda client: client.hammer(end))
    found = all_receipts(cluster.nodes, sum(client.count() for client in clients))
    assert most_in_a_window(found, 5000) <= 10
    assert most_in_a_window(found, 7000) <= 12
    assert most_in_a_window(found, 10000) <= 15
    assert sum(n for _, n in found) >= 20 / STRETCH, "the windows free up again"


def test_a_slow_message(make_cluster, sink):
    """Between RCPT and the dot the tokens die, and are exchanged for others; or the message is put off."""
    cluster = limited(make_cluster, "limits: [{name: quick, for: account, count: 10, window: 10s}]\n")
    node = cluster.followers()[0]
    with Raw(node.ports["relay"], timeout=60) as slow:
        slow.reply()
        slow.command("EHLO x", "250")
        slow.command("MAIL FROM:<a@example.com>", "250")
        for number in range(5):
            slow.command(f"RCPT TO:<r{number}@example.net>", "250")
        time.sleep(9)
        slow.command("DATA", "354")
        slow.send("Subject: x\r\n\r\n")
        time.sleep(6)
        others = Client(cluster.nodes)
        others.drain()
        slow.send("x\r\n.\r\n")
        reply = slow.reply()
    assert reply.startswith(("250", "451")), reply
    expected = others.count() + (5 if reply.startswith("250") else 0)
    found = all_receipts(cluster.nodes, expected)
    assert most_in_a_window(found, 10000) <= 10, found


def test_a_lowered_limit(make_cluster, sink):
    cluster = limited(make_cluster, "limits: [{name: quick, for: account, count: 30, window: 10s}]\n")
    client = Client(cluster.nodes)
    client.drain()
    assert client.count() >= 29
    cluster.nodes[1].cli("limit", "set", SENDER, "quick", 5)
    lowered_ms = time.time() * 1000
    client.hammer(time.monotonic() + 25)
    later = [entry for entry in receipts(cluster.nodes) if entry[0] >= lowered_ms + 500]
    assert later, client.refusals
    assert most_in_a_window(later, 10000) <= 5


def test_reset_and_disconnect_give_tokens_back(make_cluster, sink):
    cluster = limited(make_cluster, "limits: [{name: few, for: account, count: 4, window: 1h}]\n")
    node = cluster.nodes[1]

    def reserves_all(how):
        """On a connection that may be another worker's."""
        with Raw(node.ports["relay"]) as client:
            client.reply()
            client.command("EHLO x", "250")
            client.command("MAIL FROM:<a@example.com>", "250")
            replies = [client.command(f"RCPT TO:<r{number}@example.net>")[:3] for number in range(5)]
            if how:
                client.command(how, "2")
            assert replies[4] == "450"
            return replies == ["250"] * 4 + ["450"]
    for how in ("RSET", "QUIT", None):
        wait_until("all tokens can be had", lambda how=how: reserves_all(how), 15, interval=0.5)
    wait_until("another node has them", lambda: Client([cluster.nodes[2]], recipients=4).attempt(cluster.nodes[2]), 15)
    assert sum(n for _, n in receipts(cluster.nodes)) <= 4


def test_pipelined_commands(make_cluster, sink):
    """A whole transaction in one packet, by a sender that no node knows yet: the cluster is not asked for each."""
    cluster = limited(make_cluster, HOUR)
    granted = cluster.leader().cluster()["totals"]["granted"]
    with Raw(cluster.followers()[0].ports["relay"]) as client:
        client.reply()
        client.command("EHLO x", "250")
        recipients = "".join(f"RCPT TO:<r{n}@example.net>\r\n" for n in range(20))
        client.send(f"MAIL FROM:<a@example.com>\r\n{recipients}DATA\r\n")
        replies = [client.reply() for _ in range(22)]
        assert all(reply.startswith("250") for reply in replies[:21]) and replies[21].startswith("354"), replies
        client.send("Subject: x\r\n\r\nx\r\n.\r\nQUIT\r\n")
        assert client.reply().startswith("250")
    assert cluster.leader().cluster()["totals"]["granted"] <= granted + 2
    wait_until("all arrive", lambda: sum(len(m.recipients) for m in sink.messages) == 20)


def test_recipients_of_one_message(make_cluster, sink):
    cluster = limited(make_cluster, "classes: {device: {max_recipients: 3}}\n")
    with Raw(cluster.nodes[0].ports["relay"]) as client:
        client.reply()
        client.command("EHLO x", "250")
        client.command("MAIL FROM:<a@example.com>", "250")
        for number in range(3):
            client.command(f"RCPT TO:<r{number}@example.net>", "250")
        assert client.command("RCPT TO:<more@example.net>").startswith("452 4.5.3")
        client.command("DATA", "354")
        client.send("Subject: x\r\n\r\nx\r\n.\r\n")
        assert client.reply().startswith("250")


def test_late_identity(make_cluster, sink):
    """A trusted relay names the real sender: both are charged, and who is over is told at the dot."""
    policy = f"""
limits:
  - {{name: hour, for: account, count: 6, window: 1h}}
late_identity: {{header: X-Sender-Account, accounts: ["{SENDER}"]}}
"""
    cluster = limited(make_cluster, policy)
    cluster.nodes[0].cli("limit", "set", SENDER, "hour", 100)
    await_applied(cluster.nodes)

    def submit(node, named, recipients=2):
        with node.smtp("relay") as client:
            client.mail("a@example.com")
            for number in range(recipients):
                assert client.rcpt(f"r{number}@example.net")[0] == 250
            header = f"X-Sender-Account: {named}\r\n" if named else ""
            code, text = client.data(f"{header}Subject: x\r\n\r\nx\r\n")
            return f"{code} {text.decode()}"
    for node in cluster.nodes:
        assert submit(node, "shop@example.org").startswith("250")
    refused = submit(cluster.nodes[0], "shop@example.org")
    assert refused.startswith("450 4.7.1") and "hour" in refused, refused
    assert submit(cluster.nodes[1], "other@example.org").startswith("250")
    assert submit(cluster.nodes[2], None).startswith("250")
    assert submit(cluster.nodes[2], "no address at all, or is it <").startswith("550 5.6.0")
    assert usage(cluster.nodes[0], "hour", "shop@example.org")["used"] == 6
    assert usage(cluster.nodes[0], "hour")["used"] >= 10
    cluster.nodes[0].api("POST", "/v1/freeze", {"account": "other@example.org"})
    assert submit(cluster.nodes[1], "other@example.org")[:3] in ("450", "550")
