"""A cluster that goes from an earlier build to this one and back, node by node, while clients send.

The earlier build is of the commit named below, made once in a clone of this repository, or found in the build folder
that TURNPIKE_EARLIER names. Until there is a release, a change of the formats may move the commit.
"""
import os
import pathlib
import re
import subprocess
import threading

import pytest

from harness import node as harness_node
from harness.quota import apply_policy, await_applied
from harness.util import NODE, ROOT, SANITIZED, wait_until

EARLIER = "6404985"


def build(folder):
    source, made = folder / "source", folder / "build"
    commands = (["git", "clone", "-q", "--shared", ROOT, source], ["git", "-C", source, "checkout", "-q", EARLIER],
                ["cmake", "-B", made, "-S", source, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_C_FLAGS=-Og",
                 "-DTURNPIKE_TESTS=OFF"],
                ["cmake", "--build", made, "--target", "turnpiked", f"-j{os.cpu_count()}"])
    for command in commands:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"no earlier build: {command[0]} {command[1]}: {(done.stderr or done.stdout).strip()[-200:]}")
    return made


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    if SANITIZED:
        pytest.skip("one earlier build is enough")
    given = os.environ.get("TURNPIKE_EARLIER")
    program = (pathlib.Path(given) if given else build(tmp_path_factory.mktemp("earlier"))) / "node/core/turnpiked"
    assert program.exists(), program
    return program


@pytest.fixture
def run_as(monkeypatch):
    """Nodes that start from now on are of this build."""
    return lambda program: monkeypatch.setattr(harness_node, "NODE", program)


def roll(cluster, run_as, program):
    """As docs/recovery.md says."""
    run_as(program)
    for node in cluster.nodes:
        node.api("POST", "/v1/node/drain", {})
        node.stop()
        node.restart()
        wait_until("it answers", lambda node=node: node.call("POST", "/v1/node/drain", {"undo": True})[0] == 200)
        cluster.wait_healthy()
        assert os.readlink(f"/proc/{node.process.pid}/exe") == str(program.resolve())


@pytest.mark.slow(60)
def test_rolling_upgrade_and_back(earlier, run_as, make_cluster, sink):
    run_as(earlier)
    cluster = make_cluster()
    apply_policy(cluster.nodes[0], "limits: [{name: account-hour, for: account, count: 1000000, window: 1h}]\n")
    cluster.nodes[0].add_account("before@example.com")
    cluster.nodes[0].api("POST", "/v1/freeze", {"account": "bad@example.com"})
    await_applied(cluster.nodes)
    ended, accepted, lock = threading.Event(), [], threading.Lock()

    def load():
        turn = 0
        while not ended.is_set():
            turn += 1
            try:
                message = cluster.nodes[turn % 3].send("b@example.net")
            except (AssertionError, OSError):
                ended.wait(0.02)
                continue
            with lock:
                accepted.append(message)

    client = threading.Thread(target=load)
    client.start()
    try:
        roll(cluster, run_as, NODE)
        leader = cluster.leader()
        leader.add_account("upgraded@example.com")
        level = int(re.search("feature level ([0-9]+), and 1 is in force", leader.cluster()["note"]).group(1))
        assert level > 1
        assert f"level {level} only" in leader.fail("POST", "/v1/cluster/raise", {"level": level + 1})
        counts = [len(accepted)]
        # what was not raised can be gone back from
        roll(cluster, run_as, earlier)
        counts.append(len(accepted))
    finally:
        ended.set()
        client.join()
    assert counts[0] > 20 and counts[1] > counts[0] + 20, counts
    await_applied(cluster.nodes)
    for node in cluster.nodes:
        assert node.accounts() == ["before@example.com", "upgraded@example.com"]
        assert "bad@example.com" in node.http("GET", "/v1/frozen")[1]
        node.wait_empty()
    assert len(sink.recipients()) >= len(accepted)
