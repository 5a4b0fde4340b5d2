"""Nodes that come, go, are lost, come back, and are not what they seem."""
import shutil
import threading

import pytest

from harness.clock import library, set_ahead
from harness.cluster import took
from harness.intruder import RAFT, hello, intrude, of_node
from harness.quota import apply_policy, await_applied
from harness.util import STRETCH, wait_until


def roles(node):
    return {row["name"]: row["role"] for row in node.cluster()["nodes"]}


def wait_roles(node, wanted, timeout=30):
    try:
        wait_until("roles", lambda: roles(node) == wanted, timeout)
    except AssertionError as e:
        raise AssertionError(f"{e}: {roles(node)}, not {wanted}") from None


def add_member(cluster, name=None):
    node = cluster.add(name=name).start()
    node.join(cluster.leader(among=[n for n in cluster.living() if n is not node]).token())
    node.wait_ready()
    wait_until(f"{node.name} is active", lambda: node.row(node.name)["state"] == "active")
    return node


def keep(folder, node):
    """A thief's copy of what a node shows to others."""
    kept = []
    for path in of_node(node):
        kept.append(folder / f"stolen-{path.name}")
        shutil.copy(path, kept[-1])
    return tuple(kept)


# ---- lost and replaced


def test_a_wiped_node_joins_again_under_its_name(cluster):
    cluster.nodes[0].add_account("user@example.com")
    wiped = cluster.followers()[0]
    others = [n for n in cluster.nodes if n is not wiped]
    before = wiped.cluster()["self"]
    wiped.kill()
    shutil.rmtree(wiped.folder / "data")
    wiped.restart()
    token = others[0].token()
    message = wiped.fail("POST", "/v1/node/join", {"token": token})
    assert wiped.name in message and "already" in message
    lost = others[0].api("POST", "/v1/nodes/remove", {"node": wiped.name})["lost"]
    assert any("mail" in line for line in lost) and any("burned" in line for line in lost)
    wiped.join(others[0].token())
    cluster.wait_healthy()
    assert wiped.cluster()["self"] > before, "an id is never used again"
    assert wiped.accounts() == ["user@example.com"]
    wait_roles(others[0], {n.name: "voter" for n in cluster.nodes})


def test_a_removed_nodes_certificate_is_worth_nothing(cluster, folder):
    """Removed while it lives, and tried with a stolen copy on every node that is left, on both ports."""
    removed = cluster.followers()[0]
    others = [n for n in cluster.nodes if n is not removed]
    identity, own = keep(folder, removed), removed.cluster()["self"]
    others[0].api("POST", "/v1/nodes/remove", {"node": removed.name})
    wait_until("it knows", lambda: "left" in removed.http("GET", "/readyz")[1])
    for node in others:
        wait_until("it is gone", lambda node=node: node.row(removed.name) is None)

        at = len(node.log_text())
        wait_until("it is refused", lambda node=node: (
            intrude(node.raft_port, identity, RAFT, b"TPR1\x0e127.0.0.1:7301") == b"" and
            f"node {own} is not a member" in node.log_text()[at:]))
        intrude(node.gossip_port, identity, send=hello(identity, own, node.cluster()["self"]))
        wait_until("there too", lambda node=node: "gossip: refused 127.0.0.1" in node.log_text()[at:])
    # the node itself, on both ports, after a restart with all its files
    aside = next((removed.folder / "data").glob("cluster.removed-*"))
    removed.stop()
    shutil.copytree(aside, removed.folder / "data/cluster")
    removed.start()
    assert removed.http("GET", "/readyz")[0] == 503
    term = others[0].cluster()["term"]
    others[0].add_account("user@example.com")
    tried = f"node {own} is not a member"
    wait_until("it has tried", lambda: others[0].log_text().count(tried) + others[1].log_text().count(tried) > 4)
    assert removed.http("GET", "/readyz")[0] == 503
    assert others[0].cluster()["term"] == term, "it disturbs nobody"
    for node in others:
        assert node.row(removed.name) is None


def test_another_clusters_data(make_cluster):
    """Mixed up disks: the others talk to it as little as to any stranger."""
    cluster, stranger = make_cluster(3), make_cluster(1).nodes[0]
    mixed = cluster.followers()[0]
    others = [n for n in cluster.nodes if n is not mixed]
    mixed.kill()
    stranger.stop()
    own = mixed.folder / "data/cluster"
    own.rename(mixed.folder / "data/kept")
    shutil.copytree(stranger.folder / "data/cluster", own)
    mixed.restart()
    wait_until("it is told apart", lambda: any(f"127.0.0.1:{mixed.raft_port}" in line and "no handshake" in line
                                               for n in others for line in n.log_text().splitlines()))
    for node in others:
        wait_until("it is missed", lambda node=node: node.row(mixed.name)["health"] != "alive")
        assert any(mixed.name in problem for problem in node.cluster()["problems"]), node.cluster()["problems"]
    assert mixed.cluster()["cluster"] != others[0].cluster()["cluster"]
    others[0].add_account("user@example.com")
    assert mixed.accounts() == []
    mixed.stop()
    shutil.rmtree(own)
    (mixed.folder / "data/kept").rename(own)
    mixed.restart()
    cluster.wait_healthy()
    assert mixed.accounts() == ["user@example.com"]


def test_a_clock_that_is_far_off_at_join(make_cluster, folder):
    clock = library(folder)
    cluster = make_cluster(2, form=False)
    first, second = cluster.nodes
    first.start()
    first.init()
    token = first.token()
    for seconds in (3600, -3600):
        set_ahead(second, clock, seconds=seconds)
        second.start()
        message = second.fail("POST", "/v1/node/join", {"token": token})
        assert "clock" in message or "not yet valid" in message, message
        assert not (second.folder / "data/cluster/member.json").exists()
        second.kill()
    set_ahead(second, clock, seconds=120)
    second.restart()
    second.join(token)
    second.wait_ready()


# ---- roles


def test_promote_and_demote(cluster):
    fourth = add_member(cluster)
    leader = cluster.leader()
    wait_roles(leader, {"node-a": "voter", "node-b": "voter", "node-c": "voter", "node-d": "standby"})
    assert "as the policy wants" in leader.fail("POST", "/v1/nodes/role", {"node": "node-d", "role": "voter"})
    assert "already" in leader.fail("POST", "/v1/nodes/role", {"node": "node-a", "role": "voter"})
    # the leader itself: it hands over
    fourth.cli("node", "demote", leader.name)
    wait_roles(fourth, {n.name: "standby" if n is leader else "voter" for n in cluster.nodes})
    new = cluster.leader()
    assert new is not leader
    new.add_account("user@example.com")
    cluster.wait_healthy()
    assert leader.accounts() == ["user@example.com"]
    # and back
    other = next(n for n in cluster.followers() if n is not leader)
    new.cli("node", "demote", other.name)
    wait_roles(new, {n.name: "standby" if n is other else "voter" for n in cluster.nodes})
    cluster.wait_healthy()


@pytest.mark.slow(30)
def test_five_voters_outlive_two(cluster):
    for _ in range(2):
        add_member(cluster)
    apply_policy(cluster.nodes[0], "voters: 5\n")
    for node in cluster.nodes: # one that has not heard that it is a voter does not vote
        wait_roles(node, {f"node-{c}": "voter" for c in "abcde"}, 40)
    leader, second = cluster.leader(), cluster.followers()[0]
    for node in (leader, second):
        node.kill()
    rest = cluster.living()
    new = cluster.leader(among=rest, timeout=15)
    wait_until("commands work", lambda: new.call("POST", "/v1/accounts/add", {
        "name": "user@example.com", "password": "correct-horse"})[0] == 200)
    for node in rest:
        node.wait_ready()
        wait_until("both are missed", lambda node=node: all(
            any(lost.name in line for line in node.cluster()["problems"]) for lost in (leader, second)))
    for node in (leader, second):
        node.restart()
    cluster.wait_healthy()
    assert leader.accounts() == ["user@example.com"]


@pytest.mark.slow(75)
def test_a_standby_takes_a_dead_voters_place(cluster):
    """After a minute, by itself; when the dead one comes back, it stands by."""
    add_member(cluster)
    dead = next(n for n in cluster.nodes[:3] if n is not cluster.leader())
    dead.kill()
    watcher = cluster.leader(among=cluster.living())
    wait_roles(watcher, {n.name: "standby" if n is dead else "voter" for n in cluster.nodes}, 90)
    dead.restart()
    cluster.wait_healthy()
    assert roles(dead)[dead.name] == "standby"


# ---- leaders


@pytest.mark.slow(27)
def test_ten_leaders_killed_under_load(cluster, sink):
    """Mail is accepted on all nodes meanwhile; a new leader is there in time; nothing that was accepted is lost."""
    apply_policy(cluster.nodes[0], "limits: [{name: account-hour, for: account, count: 1000000, window: 1h}]\n")
    await_applied(cluster.nodes)
    ended, accepted, lock = threading.Event(), [], threading.Lock()

    def load(node):
        while not ended.is_set():
            try:
                message = node.send("b@example.net")
            except (AssertionError, OSError):
                ended.wait(0.05)
                continue
            with lock:
                accepted.append(message)

    threads = [threading.Thread(target=load, args=(node,)) for node in cluster.nodes]
    for thread in threads:
        thread.start()
    gaps = []
    try:
        for _ in range(10):
            leader = cluster.leader(timeout=20)
            others = [n for n in cluster.nodes if n is not leader]
            leader.kill()
            seconds, new = took(lambda: cluster.leader(among=others))
            gaps.append(seconds)
            assert new is not leader
            leader.restart()
            leader.wait_ready()
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    cluster.wait_healthy()
    print("seconds without a leader:", " ".join(f"{g:.2f}" for g in sorted(gaps)), "accepted:", len(accepted))
    assert max(gaps) < 8 * STRETCH, gaps
    assert len(accepted) > 100
    for node in cluster.nodes:
        node.wait_empty()
    assert len(sink.recipients()) >= len(accepted)
