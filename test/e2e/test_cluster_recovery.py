"""When a majority, or all of a cluster, is lost: a new epoch of one node, from its own state or from a backup."""
import shutil
import subprocess

import pytest

from harness.intruder import RAFT, hello, intrude, of_node
from harness.quota import Client, apply_policy, await_applied
from harness.util import NODE, wait_until

HOUR = "limits: [{name: account-hour, for: account, count: 50, window: 1h}]\n"


def turnpiked(node, *arguments):
    return subprocess.run([NODE, "--config", node.config_path, *map(str, arguments)], capture_output=True, text=True,
                          timeout=60)


def recover(node):
    done = turnpiked(node, "--recover-cluster")
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_alone(node, epoch):
    node.wait_ready()
    answer = node.cluster()
    assert answer["epoch"] == epoch and [row["name"] for row in answer["nodes"]] == [node.name], answer
    return answer


def accepts(node):
    client = Client([node])
    client.attempt(node)
    return client


@pytest.fixture
def limited(cluster):
    apply_policy(cluster.nodes[0], HOUR)
    await_applied(cluster.nodes)
    return cluster


@pytest.mark.sanitizer
def test_recover_from_a_lost_majority(limited, sink):
    cluster = limited
    survivor, *lost = cluster.nodes
    survivor.add_account("user@example.com")
    survivor.api("POST", "/v1/freeze", {"account": "bad@example.com", "reason": "spam"})
    assert accepts(survivor).count() == 1
    before = survivor.cluster()
    await_applied(cluster.nodes)
    for node in lost:
        node.kill()
    assert "stop it first" in turnpiked(survivor, "--recover-cluster").stderr
    wait_until("it takes no mail", lambda: survivor.http("GET", "/readyz")[0] == 503)
    survivor.stop()
    told = turnpiked(survivor, "--inspect-cluster").stdout
    assert f"node {survivor.name}" in told and "epoch 1" in told and "index" in told
    assert "epoch 2" in recover(survivor)
    survivor.restart()
    after = wait_alone(survivor, 2)
    assert after["cluster"] == before["cluster"] and after["applied"] > before["applied"]
    assert survivor.accounts() == ["user@example.com"]
    assert "bad@example.com" in survivor.http("GET", "/v1/frozen")[1]
    assert "frozen" in survivor.log_text() and not (survivor.folder / "data/cluster/founding").exists()
    # nobody knows what the others admitted last
    refused = accepts(survivor)
    assert refused.count() == 0 and any("account-hour" in reply for reply in refused.refusals), refused.refusals
    # a named operator does
    survivor.api("POST", "/v1/limits/reopen", {})
    wait_until("mail is accepted", lambda: accepts(survivor).count() == 1)
    audit = survivor.http("GET", "/v1/audit")[1]
    assert "epoch 2" in audit and "limits count what is known again" in audit
    assert "no limits count as full" in survivor.fail("POST", "/v1/limits/reopen", {})

    # the others come back with what they had: their certificates are of another epoch's authority
    for node in lost:
        node.expected_exit = 0
        node.start()
    second = lost[0]
    at = len(survivor.log_text())
    intrude(survivor.raft_port, of_node(second), RAFT, b"TPR1\x0e127.0.0.1:7301")
    intrude(survivor.gossip_port, of_node(second), send=hello(of_node(second), 2, survivor.cluster()["self"]))
    wait_until("it is refused", lambda: "no handshake" in survivor.log_text()[at:])
    survivor.send("b@example.net")
    assert [row["name"] for row in survivor.cluster()["nodes"]] == [survivor.name]
    # emptied, they join again
    for node in lost:
        node.stop()
        shutil.rmtree(node.folder / "data/cluster")
        node.restart()
        node.join(survivor.token())
    cluster.wait_healthy()
    for node in lost:
        assert node.accounts() == ["user@example.com"] and node.cluster()["epoch"] == 2
    survivor.kill()
    cluster.leader(among=lost)
    survivor.restart()
    cluster.wait_healthy()


def test_recover_may_be_repeated_and_needs_a_member(make_cluster):
    cluster = make_cluster(2)
    node, other = cluster.nodes
    node.add_account("user@example.com")
    other.kill()
    node.kill()
    for _ in range(2):  # the second before the first has come to its end
        recover(node)
    node.restart()
    wait_alone(node, 3)
    assert node.accounts() == ["user@example.com"]
    stranger = cluster.add()
    done = turnpiked(stranger, "--recover-cluster")
    assert done.returncode != 0 and "no member" in done.stderr and "\n" not in done.stderr.strip()
    shutil.rmtree(other.folder / "data/cluster/raft")
    done = turnpiked(other, "--recover-cluster")
    assert done.returncode != 0 and "raft" in done.stderr
    assert not (other.folder / "data/cluster/founding").exists()


def test_recover_cut_short(make_cluster):
    """The epoch's identity is there, raft's configuration still has the others: nothing is done with the old state."""
    cluster = make_cluster(2)
    node, other = cluster.nodes
    node.kill()
    other.kill()
    raft = node.folder / "data/cluster/raft"
    kept = node.folder / "raft-before"
    shutil.copytree(raft, kept)
    recover(node)
    shutil.rmtree(raft)
    kept.rename(raft)
    node.restart()
    other.restart()
    assert node.http("GET", "/readyz")[0] == 503
    wait_until("they are apart", lambda: "no handshake" in other.log_text() or "no handshake" in node.log_text())
    assert node.http("GET", "/readyz")[0] == 503 and node.cluster()["joining"]
    node.stop()
    recover(node)
    node.restart()
    wait_alone(node, 3)


def test_backup_and_restore(limited, sink, folder):
    """Everything is lost but a file."""
    cluster = limited
    first = cluster.nodes[0]
    for name in ("anna@example.com", "bert@example.com"):
        first.add_account(name)
    first.api("POST", "/v1/freeze", {"account": "bert@example.com"})
    first.cli("dkim", "generate", "example.com", "--selector", "e1", "--type", "ed25519", "--cluster")
    first.cli("secret", "new", "srs", "--name", "one")
    sealing = (first.folder / "data/cluster/sealing").read_bytes()
    backup = folder / "state.backup"
    caller = cluster.followers()[0]
    said = caller.cli("cluster", "backup", backup)
    assert "backup" in said.stdout
    assert backup.stat().st_mode & 0o777 == 0o600
    assert caller.cli("cluster", "backup", backup, check=False).returncode != 0, "no file is overwritten"
    first.add_account("late@example.com")
    for node in cluster.nodes:
        node.kill()
        shutil.rmtree(node.folder / "data")

    # what is wrong is told, and nothing is made
    second = cluster.nodes[1]
    (second.folder / "data").mkdir()
    bad = folder / "bad"
    content = backup.read_bytes()
    for wrong, word in ((content[:-1], "checksum"), (content[:100] + b"x" + content[101:], "checksum"),
                        (b"hello", "no backup"), (b"", "no backup"), (content + b"\0", "checksum"),
                        (content[:8] + b"\x02" + content[9:], "newer")):
        bad.write_bytes(wrong)
        done = turnpiked(second, "--restore-cluster", bad)
        assert done.returncode != 0 and word in done.stderr, done.stderr
    assert "No such file" in turnpiked(second, "--restore-cluster", folder / "none").stderr.replace("no such", "No such")
    assert not (second.folder / "data/cluster").exists()
    stranger = cluster.add(name="node-x")
    done = turnpiked(stranger, "--restore-cluster", backup)
    assert done.returncode != 0 and "node-a, node-b, node-c" in done.stderr, done.stderr

    done = turnpiked(second, "--restore-cluster", backup)
    assert done.returncode == 0, done.stderr
    # what the backup cannot have is named, and where it belongs
    place = second.folder / "data/cluster/sealing"
    assert "DKIM key e1 of example.com, secret one of srs. " in done.stdout, done.stdout
    assert f"sealing key 1) at {place}, mode 0600" in done.stdout, done.stdout
    place.write_bytes(sealing)
    place.chmod(0o600)
    assert "already" in turnpiked(second, "--restore-cluster", backup).stderr
    second.restart()
    wait_alone(second, 2)
    assert second.accounts() == ["anna@example.com", "bert@example.com"]
    assert "bert@example.com" in second.http("GET", "/v1/frozen")[1]
    assert "account-hour" in second.http("GET", "/v1/policy")[1]
    assert accepts(second).count() == 0, "all windows count as full"
    second.cli("limit", "reopen", "--yes")
    wait_until("mail is accepted", lambda: accepts(second).count() == 1)
    second.send("b@example.net", "From: user@example.com\r\nSubject: signed\r\n\r\nhi\r\n")
    wait_until("it is signed", lambda: "e1._domainkey.example.com" in [e.get("dkim") for e in second.events("received")])
    assert not any("sealing" in problem for problem in second.cluster()["problems"])
    for node in (cluster.nodes[0], cluster.nodes[2]):
        node.restart()
        node.join(second.token())
    cluster.nodes.remove(stranger)
    cluster.wait_healthy()
    assert cluster.nodes[0].accounts() == ["anna@example.com", "bert@example.com"]
