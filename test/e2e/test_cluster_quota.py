"""Limits hold over all nodes at once: whichever way clients hop, whatever restarts, however slow they are."""
import re
import threading
import time

import pytest

from harness import real
from harness.node import PASSWORD, Raw
from harness.npm import npm_modules
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


# ---- clients of four kinds on one account, and what arrives


def admitted(sink):
    """Every message that was ever admitted, once all were delivered: Postfix may have sent one again whose answer it did
    not get, and the same copy may have come twice where a node was killed."""
    return {(message.recipients[0], re.search(r"^Received:.*?\sid (\S+)", message.header, re.S | re.M).group(1))
            for message in sink.messages}


def real_clients(cluster, nodes, folder, sink, pause, during=None):
    """All of them until nothing more is accepted, whatever `during` does meanwhile."""
    why = real.missing()
    if why:
        pytest.skip(why)
    cluster.nodes[0].add_account(SENDER, **{"class": "device"})
    await_applied(cluster.nodes)
    over = threading.Event()
    clients = [real.Swaks(nodes, over, pause), real.Swaks(nodes[::-1], over, pause), real.Smtplib(nodes, over, pause),
               real.Postfix(nodes, folder, 150)]
    if npm_modules("nodemailer@6"):
        clients.append(real.Nodemailer(nodes, pause))
    started = []
    try:
        for client in clients:
            started.append(client)
            client.start()
        if during:
            during()
        quiet = [0, time.monotonic()]

        def stopped():
            if len(sink.messages) != quiet[0]:
                quiet[:] = len(sink.messages), time.monotonic()
            return all(client.refusals for client in clients) and time.monotonic() > quiet[1] + 4
        wait_until("nothing more is accepted", stopped, 60, 0.2)
    finally:
        over.set()
        for client in started:
            client.end()
    for node in cluster.nodes:
        node.wait_empty()
    got = admitted(sink)
    told = [name for client in clients for name in client.accepted]
    assert len(told) == len(set(told)) and set(told) <= {name for name, _ in got}, "accepted, and did not arrive"
    by_kind = {}
    for client in clients:
        by_kind[client.kind] = by_kind.get(client.kind, 0) + len(client.accepted)
    shown = [usage(node, "account-hour") for node in cluster.nodes]
    assert len({(row["used"], row["burned"]) for row in shown}) == 1, shown
    print(f"{len(got)} admitted, {len(told)} known to clients ({by_kind}), as the cluster shows: used {shown[0]['used']}, "
          f"held {shown[0]['held']}, burned {shown[0]['burned']}")
    return got, by_kind, shown[0], clients


@pytest.mark.slow(40)
@pytest.mark.parametrize("where", ["on all nodes", "on one node"])
def test_programs_of_others(make_cluster, folder, sink, where):
    cluster = limited(make_cluster, HOUR)
    nodes = cluster.nodes if where == "on all nodes" else [cluster.followers()[0]]
    got, by_kind, shown, clients = real_clients(cluster, nodes, folder, sink, 0.1)
    assert 198 <= len(got) <= 200 and shown["burned"] == 0
    assert len(by_kind) >= 3 and min(by_kind.values()) > 0, by_kind
    for client in clients:
        assert any("account-hour" in reply for reply in client.refusals), (client.kind, client.refusals)
        assert not any(reply.startswith("5") for reply in client.refusals), (client.kind, client.refusals)


@pytest.mark.slow(60)
def test_programs_of_others_while_nodes_restart_and_leaders_die(make_cluster, folder, sink):
    cluster = limited(make_cluster, HOUR)

    def trouble():
        for turn in range(3):
            time.sleep(1.5)
            victim = cluster.leader(timeout=20)
            victim.kill()
            cluster.leader(among=[n for n in cluster.nodes if n is not victim], timeout=20)
            victim.restart()
            victim.wait_ready()
            other = cluster.followers()[turn % 2]
            other.stop()
            other.restart()
            other.wait_ready()
        paused = cluster.leader()
        paused.pause()
        time.sleep(5)
        paused.go_on()
        cluster.wait_healthy()

    got, by_kind, shown, _ = real_clients(cluster, cluster.nodes, folder, sink, 0.5, trouble)
    assert len(got) <= 200
    assert len(got) >= 200 - shown["burned"], (len(got), shown)
    assert shown["used"] - shown["burned"] - shown["held"] <= len(got) <= shown["used"] <= 200, (len(got), shown)
    burned = cluster.nodes[1].cli("limit", "show", SENDER).stdout.splitlines()
    assert burned[1].split()[0] == "account-hour" and int(burned[1].split()[7]) == shown["burned"], burned


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
    client.drain(most=300)
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


@pytest.mark.slow(36)
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


@pytest.mark.slow(30)
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


@pytest.mark.slow(23)
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


@pytest.mark.slow(75)
def test_a_minute_between_recipients_and_the_dot(make_cluster, sink):
    """Its tokens outlive nobody's patience: they die after a minute, and are exchanged, or the message is put off. Others
    take all they can get meanwhile."""
    cluster = limited(make_cluster, HOUR)
    node, other = cluster.followers()
    with Raw(node.ports["relay"], timeout=120) as slow:
        slow.reply()
        slow.command("EHLO x", "250")
        slow.command("MAIL FROM:<a@example.com>", "250")
        for number in range(20):
            slow.command(f"RCPT TO:<s{number}@example.net>", "250")
        slow.command("DATA", "354")
        slow.send("Subject: x\r\n\r\n")
        begun, others = time.monotonic(), Client([other, *cluster.nodes])
        wait_until("the limit is reached", lambda: others.drain() or any("account-hour" in r for r in others.refusals), 30)
        first = others.count()
        others.pause = 0.5
        others.hammer(begun + 63)
        slow.send("x\r\n.\r\n")
        reply = slow.reply()
    others.pause = 0
    others.drain()
    total = others.count() + (20 if reply.startswith("250") else 0)
    print(f"{first} by others at once, {others.count()} in all; after a minute: {reply}; {total} admitted")
    assert reply.startswith(("250", "451 4.7.1 Limit account-hour of this account reached (200 recipients per 1h)")), reply
    assert first <= 180 and 198 <= total <= 200, (first, total, others.refusals)
    all_receipts(cluster.nodes, total)


@pytest.mark.slow(34)
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
            assert replies.count("250") <= 4, replies # a late refund may come after a refusal
            return replies == ["250"] * 4 + ["450"]
    for how in ("RSET", "QUIT", None):
        wait_until("all tokens can be had", lambda how=how: reserves_all(how), interval=0.5)
    wait_until("another node has them", lambda: Client([cluster.nodes[2]], recipients=4).attempt(cluster.nodes[2]))
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


def test_a_relay_is_charged_for_mail_of_somebody_held(make_cluster, sink):
    """It names a sender whose mail is held: the relay's own limit is not got round by that."""
    policy = f"""
limits:
  - {{name: hour, for: account, count: 4, window: 1h}}
late_identity: {{header: X-Sender-Account, accounts: ["{SENDER}"]}}
"""
    cluster = limited(make_cluster, policy)
    first, *_ = cluster.nodes
    first.cli("freeze", "stopped@example.org", "--mode", "hold")
    await_applied(cluster.nodes)

    def submit():
        with first.smtp("relay") as client:
            client.mail("a@example.com")
            for number in range(2):
                code, text = client.rcpt(f"r{number}@example.net")
                if code != 250:
                    return f"{code} {text.decode()}"
            code, text = client.data("X-Sender-Account: stopped@example.org\r\nSubject: x\r\n\r\nx\r\n")
            return f"{code} {text.decode()}"
    assert [submit()[:3] for _ in range(2)] == ["250", "250"]
    assert len(first.api("GET", "/v1/held")["messages"]) == 2
    refused = submit()
    assert refused.startswith("450 4.7.1") and "hour" in refused, refused
