"""The ports between nodes, tried by those who do not belong there: refused, logged, and the cluster untouched."""
import base64
import hashlib
import json
import os
import random
import struct
import time

import pytest

from conftest import make_certificate
from harness.clock import library, set_ahead
from harness.intruder import JOIN, RAFT, Impostor, hello, intrude, of_node
from harness.quota import Client, apply_policy, await_applied
from harness.util import wait_until


class Watch:
    """What must be the same after an attempt."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.at = {node: len(node.log_text()) for node in cluster.living()}
        self.before = self.look()

    def look(self):
        return [(n.name, a["cluster"], a["epoch"], a["leader"], a["term"],
                 [(row["name"], row["role"], row["state"]) for row in a["nodes"]])
                for n in self.cluster.living() for a in [n.cluster()]]

    def said(self, node, *words):
        """A line of the node's log, since the beginning, that has all the words."""
        return any(all(w in line for w in words) for line in node.log_text()[self.at[node]:].splitlines())

    def wait_said(self, node, *words):
        try:
            wait_until(f"{node.name} logs {words}", lambda: self.said(node, *words))
        except AssertionError as e:
            raise AssertionError(f"{e}:\n{node.log_text()[self.at[node]:][-3000:]}") from None

    def check(self):
        """As before, and it works: commands and mail on every node, which goes out."""
        assert self.look() == self.before
        for node in self.cluster.living():
            node.add_account(f"after-{len(node.accounts())}@example.com")
            node.send("b@example.net")
            node.wait_empty()
        self.cluster.wait_healthy()


@pytest.fixture
def strangers(folder, make_cluster):
    """Identities of nobody here: one made by hand, and one of another cluster's first node."""
    other = make_cluster(1)
    identity = of_node(other.nodes[0])
    return {"made by hand": make_certificate(folder, "stranger", "node-a"), "another cluster's": identity}


class Token:
    """A token's text, taken apart: its id, its secret, and the rest."""

    def __init__(self, text):
        letters = text.removeprefix("tpj1-").upper()
        raw = base64.b32decode(letters + "=" * (-len(letters) % 8))
        self.id, self.secret, self.rest = raw[2:10], raw[10:30], raw[30:-4]

    def text(self):
        body = self.id + self.secret + self.rest
        body = struct.pack("<H", len(body) + 4) + body
        letters = base64.b32encode(body + hashlib.sha256(body).digest()[:4])
        return "tpj1-" + letters.decode().rstrip("=").lower()


@pytest.mark.sanitizer
def test_strangers_at_both_ports(cluster, strangers, sink):
    """No certificate, and another authority's."""
    node = cluster.leader()
    watch = Watch(cluster)
    for identity in (None, *strangers.values()):
        assert intrude(node.raft_port, identity, RAFT, b"TPR1\x0e127.0.0.1:7301") == b""
        assert intrude(node.gossip_port, identity, send=hello(strangers["made by hand"], 2, 1)) == b""
    watch.wait_said(node, "connection from 127.0.0.1", "no handshake")
    watch.check()


def test_garbage_instead_of_a_handshake(cluster, sink):
    node = cluster.leader()
    watch = Watch(cluster)
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    print("seed", seed)
    for junk in (b"GET / HTTP/1.1\r\n\r\n", rng.randbytes(4096), b"\x16\x03\x01\x40\x00" + rng.randbytes(16384),
                 b"\x16\x03\x01\x00\x05hello"):
        for port in (node.raft_port, node.gossip_port):
            intrude(port, plain=True, send=junk)
    for alpn in (None, "h2", "smtp"):
        intrude(node.raft_port, alpn=alpn)
    watch.wait_said(node, "connection from 127.0.0.1", "no handshake")
    watch.check()


def test_garbage_of_a_member_after_the_handshake(cluster, sink):
    """Its certificate is good; what it says is not."""
    leader, member = cluster.leader(), cluster.followers()[0]
    identity, watch = of_node(member), Watch(cluster)
    rng = random.Random(7)
    own, to = member.cluster()["self"], leader.cluster()["self"]
    greeting = f"127.0.0.1:{member.raft_port}".encode()
    for junk in (b"\0", b"TPR1\0", b"TPR1\xff" + b"x" * 255, b"TPR1\x03a\nb", rng.randbytes(3000),
                 b"TPR1" + bytes([len(greeting)]) + greeting + b"more than was welcomed"):
        assert intrude(leader.raft_port, identity, RAFT, junk) == b""
    watch.wait_said(leader, "connection from 127.0.0.1", "garbage after the handshake")
    good = hello(identity, own, to)
    for junk in (b"\xff\xff\xff\xff", rng.randbytes(3000), b"\x04\0\0\0abcd", good[:40] + b"\xff" * 200,
                 hello(identity, own, to, role=2)):
        assert intrude(leader.gossip_port, identity, send=junk) == b""
    # a hello that is right is answered; what follows must be sealed with a key that we have not
    assert intrude(leader.gossip_port, identity, send=good, then=b"\x10\0\0\0" + bytes(16))
    watch.wait_said(leader, "refused")
    watch.check()


def test_garbage_of_a_joiner(cluster, sink):
    leader = cluster.leader()
    watch = Watch(cluster)
    for junk in (b"", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x02\0\0\0{}", b"\x05\0\0\0[[[[[", b"\x0a\0\0\0" + b"\0" * 10):
        intrude(leader.raft_port, alpn=JOIN, send=junk, timeout=40)
    watch.check()


def test_requests_to_join_without_end(cluster, sink):
    """A hundred from somebody who has no token: each is answered, and the log stays short."""
    leader = cluster.leader()
    watch = Watch(cluster)
    asked = {"version": 1, "token": "00" * 8, "secret": "00" * 20, "name": "node-x", "raft_address": "127.0.0.1:1",
             "gossip_address": "127.0.0.1:2", "program": "1", "features": 0, "wall_ms": int(time.time() * 1000),
             "certificate_request": "none"}
    request = json.dumps(asked).encode()
    for _ in range(100):
        answer = intrude(leader.raft_port, alpn=JOIN, send=struct.pack("<I", len(request)) + request)
        assert b"does not know the token" in answer
    lines = [line for line in leader.log_text().splitlines() if "may not join" in line]
    assert 10 <= len(lines) <= 30, len(lines)
    watch.check()


def test_forged_tokens(make_cluster, sink):
    """Whole and well-formed, of this cluster; but its secret, its name or its authority is not what was given out. They
    cost the good one nothing."""
    cluster = make_cluster(2, form=False)
    first, second = (n.start() for n in cluster.nodes)
    first.init()
    good = first.token()
    assert Token(good).text() == good
    for change, words in ((lambda t: setattr(t, "secret", bytes(20)), "the token is wrong"),
                          (lambda t: setattr(t, "secret", t.secret[:19] + bytes([t.secret[19] ^ 1])), "the token is wrong"),
                          (lambda t: setattr(t, "id", bytes(8)), "does not know the token"),
                          (lambda t: setattr(t, "rest", bytes(32) + t.rest[32:]), "not of the cluster that this token is for")):
        forged = Token(good)
        change(forged)
        message = second.fail("POST", "/v1/node/join", {"token": forged.text()})
        assert words in message, message
        assert not (second.folder / "data/cluster/member.json").exists()
    assert "may not join: the token is wrong" in first.log_text()
    assert [row["name"] for row in first.cluster()["nodes"]] == [first.name]
    second.join(good)
    cluster.wait_healthy()
    assert "used" in cluster.add().start().fail("POST", "/v1/node/join", {"token": good})


def test_secrets_are_in_no_log(make_cluster, sink):
    """Nor for others to read, nor in anybody's arguments: tokens, the authority's secret, keys."""
    cluster = make_cluster(2, form=False)
    first, second = (n.start() for n in cluster.nodes)
    first.api("POST", "/v1/log", {"level": "debug"})
    second.api("POST", "/v1/log", {"level": "debug"})
    first.init()
    token = first.token()
    second.join(token)
    cluster.wait_healthy()
    own = first.folder / "data/cluster"
    secret = (own / "secret").read_bytes()
    hidden = [token.encode(), Token(token).secret, Token(token).secret.hex().encode(), secret.strip(),
              (own / "node.key").read_bytes().splitlines()[1]]
    for node in cluster.nodes:
        arguments = open(f"/proc/{node.process.pid}/cmdline", "rb").read()
        for text in hidden:
            assert text not in node.log_path.read_bytes()
            assert text not in arguments
        for file in ("secret", "node.key"):
            assert os.stat(node.folder / "data/cluster" / file).st_mode & 0o077 == 0
        answers = "".join(node.http("GET", path)[1] for path in ("/v1/cluster", "/v1/config", "/v1/status", "/v1/audit", "/metrics"))
        for text in hidden:
            assert text not in answers.encode()


def test_a_member_under_anothers_name(cluster, sink):
    """A certificate says who one is: it does not help to claim otherwise, nor to answer in another's place."""
    leader = cluster.leader()
    thief, absent = cluster.followers()
    identity = of_node(thief)
    own, other, to = (n.cluster()["self"] for n in (thief, absent, leader))
    watch = Watch(cluster)
    assert intrude(leader.gossip_port, identity, send=hello(identity, other, to)) == b""
    watch.wait_said(leader, "refused", "claims to be a node that its certificate does not name")
    watch.check()

    absent.kill()
    raft = Impostor(absent.raft_port, identity, RAFT)
    gossip = Impostor(absent.gossip_port, identity, say=hello(identity, other, to, role=2))
    try:
        watch.wait_said(leader, f"127.0.0.1:{absent.raft_port}", f"node {own} answers where node {other} was expected")
        # the node with the smaller id dials
        dialler = min((n for n in (leader, thief)), key=lambda n: n.cluster()["self"])
        if dialler.cluster()["self"] < other:
            wait_until("it was dialled", lambda: gossip.handshakes > 0)
        wait_until("nobody takes it for the node", lambda: leader.row(absent.name)["health"] != "alive")
        leader.send("b@example.net")
    finally:
        raft.close()
        gossip.close()
    absent.restart()
    cluster.wait_healthy()


@pytest.mark.slow
def test_an_expired_certificate(make_cluster, folder, sink):
    """Of a member that has a newer one. Formed 300 days ago: nodes renew what has less than a third left."""
    clock = library(folder)
    cluster = make_cluster(2, form=False)
    for node in cluster.nodes:
        set_ahead(node, clock, days=-300)
    cluster.form()
    first = [of_node(node)[0].read_bytes() for node in cluster.nodes]
    old = {}
    for name, path in zip(("pem", "key"), of_node(cluster.nodes[1])):
        old[name] = folder / f"old.{name}"
        old[name].write_bytes(path.read_bytes())
        os.chmod(old[name], 0o600)
    for node in cluster.nodes:
        node.kill()
        set_ahead(node, clock)
        node.restart()
    wait_until("all are renewed", lambda: all(of_node(node)[0].read_bytes() != was
                                              for node, was in zip(cluster.nodes, first)), 90)
    cluster.wait_healthy()
    for node in cluster.nodes:
        node.kill()
        set_ahead(node, clock, days=100)
        node.restart()
    cluster.wait_healthy()
    node, identity = cluster.nodes[0], (old["pem"], old["key"])
    watch = Watch(cluster)
    assert intrude(node.raft_port, identity, RAFT, b"TPR1\x0e127.0.0.1:7301") == b""
    watch.wait_said(node, "no handshake", "expired")
    assert intrude(node.gossip_port, identity, send=hello(identity, 2, 1)) == b""
    watch.check()


def test_the_null_sender_is_counted(make_cluster, sink):
    """Reports and what calls itself one: the account pays for them, on all nodes together."""
    cluster = make_cluster(2)
    apply_policy(cluster.nodes[0], "limits: [{name: account-hour, for: account, count: 20, window: 1h}]\n")
    await_applied(cluster.nodes)
    nobody, somebody = Client(cluster.nodes, sender=""), Client(cluster.nodes)
    for _ in range(5):
        assert nobody.attempt(cluster.nodes[0])
    nobody.drain()
    somebody.drain()
    assert 19 <= nobody.count() <= 20, nobody.refusals
    assert nobody.count() + somebody.count() <= 20
    assert any(reply.startswith("450 4.7.1") for reply in nobody.refusals), nobody.refusals
