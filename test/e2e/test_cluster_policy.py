"""What the policy's smaller keys do: freeze.mode, when_cut_off, auth_guard."""
import base64
import subprocess
import time

import pytest

from harness.cut import Cut, separable
from harness.node import PASSWORD, Raw
from harness.quota import SENDER, apply_policy, await_applied
from harness.util import NODE, STRETCH, wait_until


def set_policy(cluster, text):
    apply_policy(cluster.nodes[0], "limits: []\n" + text)
    await_applied(cluster.nodes)


def metric(node, name):
    return next(float(line.split()[-1]) for line in node.metrics().splitlines() if line.startswith(f"{name} "))


def mail_reply(node, account):
    """The reply to MAIL on the relay listener."""
    with Raw(node.ports["relay"]) as client:
        client.reply()
        client.command("EHLO x", "250")
        return client.command(f"MAIL FROM:<{account}>")


# ---- policy check

@pytest.mark.parametrize("document, needs", [("voters: 3", None), ("held: {expire: 3d}", "held needs feature level 6"),
                                             ("content: {servers: 'http://127.0.0.1:11333'}", "content needs feature level 7"),
                                             ("content: {milters: [{name: a, socket: 'unix:/a'}]}", "content.milters needs feature level 8"),
                                             ("default_sender_rules: on", "default_sender_rules needs feature level 6")])
def test_a_check_names_the_feature_level(tmp_path, document, needs):
    """Without a node: what a cluster must be at, since apply will refuse it else."""
    path = tmp_path / "policy.yaml"
    path.write_text(document)
    said = subprocess.run([NODE, "--check-policy", path], capture_output=True, text=True, check=True).stderr.splitlines()
    assert said[0] == f"{path}: good"
    assert len(said) == (1 if needs is None else 2)
    assert needs is None or said[1].startswith(f"{path}: {needs}: ")


# ---- freeze.mode

def test_auto_defers_mail_servers_and_rejects_people(make_cluster, sink):
    """Nobody says how to freeze, neither the policy nor the operator: no customer's server returns what it has."""
    cluster = make_cluster()
    set_policy(cluster, "")
    cluster.nodes[0].add_account("anna@example.com")
    await_applied(cluster.nodes)
    clients = {}
    for node in cluster.nodes[:2]:
        clients[node.name] = node.smtp("submission", "anna@example.com")
    for account in (SENDER, "anna@example.com"):
        answer = cluster.nodes[1].api("POST", "/v1/freeze", {"account": account})
        assert answer["mode"] == "auto", answer
    for node in cluster.nodes:
        reply = mail_reply(node, "user@example.com")
        assert reply.startswith("450 4.7.1"), reply
    for client in clients.values():
        code, text = client.mail("anna@example.com")
        assert (code, text[:5]) == (550, b"5.7.1"), text
        client.close()
    node = cluster.nodes[2]
    assert {row["mode"] for row in node.api("GET", "/v1/frozen")["frozen"]} == {"auto"}
    # It is in snapshots and over restarts.
    node.kill()
    node.restart()
    node.wait_ready()
    assert mail_reply(node, "user@example.com").startswith("450 4.7.1")


# ---- when_cut_off

def waiting(node):
    return {row.get("reply") or "" for row in node.queue()}


@pytest.mark.slow(35)
def test_hold_when_cut_off(make_cluster, make_sink, dns):
    """Cut off, a node delivers nothing that it had accepted: not when it is told to, not after a restart, and nothing of a
    sender who was frozen meanwhile. Back again, it does."""
    cluster = separable(make_cluster(form=False)).form()
    set_policy(cluster, "when_cut_off: hold\n")
    sink = make_sink()
    dns.mail_domain("example.net", "127.0.0.1")
    sink.hooks["rcpt"] = lambda session, argument: "450 4.2.0 later"
    victim = cluster.followers()[0]
    others = [node for node in cluster.nodes if node is not victim]
    victim.add_account("anna@example.com")
    await_applied(cluster.nodes)
    for number in range(3):
        victim.send(f"r{number}@example.net")
    victim.send("anna@example.net", sender="anna@example.com", kind="submission", login="anna@example.com")
    wait_until("all were tried", lambda: len(victim.events("deferred")) >= 4)
    wait_until("it is on disk what to do", lambda: (victim.folder / "data/cluster/when_cut_off.hold").exists(), 5)
    assert metric(victim, "turnpike_cluster_holding") == 0

    with Cut(victim, others):
        answer = others[0].api("POST", "/v1/freeze", {"account": SENDER})
        assert {row["node"]: row["how"] for row in answer["nodes"]}[victim.name] == "expired", answer
        sink.hooks.clear()
        tried = len(victim.events("deferred"))
        victim.api("POST", "/v1/queue/retry", {"all": True})
        time.sleep(3)
        assert not sink.messages, "frozen or not, nothing goes"
        assert len(victim.events("deferred")) == tried
        assert all("no session" in reply and "when_cut_off" in reply for reply in waiting(victim)), waiting(victim)
        wait_until("the metric says so", lambda: metric(victim, "turnpike_cluster_holding") == 1, 5)
        assert any("delivers nothing" in problem for problem in victim.cluster()["problems"]), victim.cluster()
        assert victim.queue_length() == 4
        # A node that starts alone would go on after ten seconds if it did not remember the policy.
        victim.kill()
        victim.restart()
        time.sleep(13)
        victim.api("POST", "/v1/queue/retry", {"all": True})
        time.sleep(1)
        assert not sink.messages
        assert all("no session" in reply for reply in waiting(victim)), waiting(victim)
        assert metric(victim, "turnpike_cluster_holding") == 1

    victim.wait_ready()
    wait_until("what may go goes", lambda: [m.recipients for m in sink.messages] == [["anna@example.net"]], 30)
    time.sleep(1)
    assert len(sink.messages) == 1, "the sender is frozen"
    assert metric(victim, "turnpike_cluster_holding") == 0
    others[1].api("POST", "/v1/thaw", {"account": SENDER})
    wait_until("all arrive", lambda: len(sink.messages) == 4, 30)
    set_policy(cluster, "when_cut_off: deliver\n")
    wait_until("and forgets it", lambda: not (victim.folder / "data/cluster/when_cut_off.hold").exists(), 5)


# ---- auth_guard

TOLD_S = 1  # nodes hear of each other's failures within milliseconds; the machine may be busy


def guard(cluster, **more):
    keys = {"failures_per_account": 0, "failures_per_network": 0, "window": "10m", "block": "15m", **more}
    set_policy(cluster, "auth_guard: {" + ", ".join(f"{k}: {v}" for k, v in keys.items()) + "}\n")


def login(node, account, password=PASSWORD):
    """The first three digits of the reply to AUTH."""
    with Raw(node.ports["submission"]) as client:
        client.reply()
        client.command("EHLO x", "250")
        client.starttls(node.certificate)
        client.command("EHLO x", "250")
        plain = base64.b64encode(f"\0{account}\0{password}".encode()).decode()
        return client.command(f"AUTH PLAIN {plain}")[:3]


def blocked_everywhere(cluster, account):
    """By what the owner himself is answered. He is asked once: if he got in, his network would be known and stay open."""
    time.sleep(TOLD_S * STRETCH)
    assert [login(node, account) for node in cluster.nodes] == ["421"] * len(cluster.nodes)


def free_everywhere(cluster, account, within_s=TOLD_S):
    for node in cluster.nodes:
        wait_until(f"{account} may log in to {node.name}", lambda node=node: login(node, account) == "235", within_s)


@pytest.fixture
def guarded(make_cluster):
    """The configuration's own numbers are others than the policy's."""
    own = {"account_failures": 2, "client_failures": 2, "window": "1d", "block": "1d"}
    cluster = make_cluster(config={"accounts": {"guard": own}})
    for name in ("anna", "bob", "carol"):
        cluster.nodes[0].add_account(f"{name}@example.com")
    await_applied(cluster.nodes)
    return cluster


def test_failures_of_an_account_count_on_all_nodes(guarded):
    cluster = guarded
    guard(cluster, failures_per_account=6)
    account = "anna@example.com"
    began = time.monotonic()
    replies = []
    for number in range(6):
        replies.append(login(cluster.nodes[number % 3], account, "wrong"))
    assert replies == ["535"] * 6, "the policy's number, not the configuration's"
    blocked_everywhere(cluster, account)
    assert time.monotonic() - began < 60, "none has leaked away: six in ten minutes are one in 100 s"
    assert login(cluster.nodes[1], "bob@example.com") == "235"
    # A reload of the node's file doesn't bring its numbers back; another policy does without a restart.
    cluster.nodes[2].reload()
    guard(cluster, failures_per_account=7)
    blocked_everywhere(cluster, account)
    guard(cluster, failures_per_account=6, block="3s")
    free_everywhere(cluster, account, 3 + TOLD_S)
    guard(cluster, failures_per_account=0)
    for number in range(12):
        assert login(cluster.nodes[number % 3], "carol@example.com", "wrong") == "535"
    free_everywhere(cluster, "carol@example.com")


def test_failures_of_a_network_count_on_all_nodes(guarded):
    cluster = guarded
    guard(cluster, failures_per_account=100, failures_per_network=9)
    assert login(cluster.nodes[0], "carol@example.com") == "235"
    for number in range(9):
        assert login(cluster.nodes[number % 3], f"nobody{number}@example.com", "wrong") == "535"
    blocked_everywhere(cluster, "anna@example.com")
    blocked_everywhere(cluster, "bob@example.com")
    # All nodes know that it is carol's network.
    assert [login(node, "carol@example.com") for node in cluster.nodes] == ["235"] * 3
    guard(cluster, failures_per_account=9)
    free_everywhere(cluster, "anna@example.com")
    # An operator sees on any node who is blocked on all, and lets him go on.
    guard(cluster, failures_per_account=100, failures_per_network=9)

    def blocked():
        answer = cluster.nodes[1].api("GET", "/v1/auth/blocked")
        assert answer["missing"] == []
        return {row["network"]: sorted(row["nodes"]) for row in answer["blocked"]}
    everywhere = {"127.0.0.0/24": sorted(node.name for node in cluster.nodes)}
    wait_until("all nodes know", lambda: blocked() == everywhere)
    assert "127.0.0.0/24" in cluster.nodes[0].cli("auth", "blocked").stdout
    cluster.nodes[2].cli("auth", "unblock", "127.0.0.1")
    wait_until("all nodes were told", lambda: blocked() == {})
    assert [login(node, "bob@example.com") for node in cluster.nodes] == ["235"] * 3


def test_a_node_that_comes_counts_by_the_policy(guarded):
    """Also one that was down when the policy was applied."""
    cluster = guarded
    late = cluster.followers()[0]
    late.kill()
    leader = cluster.leader(among=[node for node in cluster.nodes if node is not late], timeout=20)
    apply_policy(leader, "limits: []\nauth_guard: {failures_per_account: 4, failures_per_network: 0}\n")
    late.restart()
    late.wait_ready()
    await_applied(cluster.nodes)
    for _ in range(4):
        assert login(late, "anna@example.com", "wrong") == "535"
    blocked_everywhere(cluster, "anna@example.com")
