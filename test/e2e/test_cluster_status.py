"""`turnpike cluster status`: each thing that can be wrong is one line, on every node, and says what to do."""
from harness.clock import library, set_ahead
from harness.util import wait_until


def problems(node):
    """As an operator sees them: the lines above the figures."""
    said = node.cli("cluster", "status", "--check", check=False)
    lines = said.stdout.split("\ncluster  ")[0].splitlines()
    assert (lines == ["healthy"]) == (said.returncode == 0), said
    return lines


def wait_line(nodes, *parts):
    """One line that has all parts, on each of the nodes."""
    for node in nodes:
        def seen(node=node):
            return any(all(p in line for p in parts) for line in problems(node))
        try:
            wait_until(f"{node.name} says {parts}", seen, 30)
        except AssertionError as e:
            raise AssertionError(f"{e}: {problems(node)}") from None


def restart(node):
    node.stop()
    node.restart()


def test_a_clock_that_is_off_and_a_full_disk(cluster, folder):
    assert all(problems(n) == ["healthy"] for n in cluster.nodes)
    fast, full = cluster.nodes[1], cluster.nodes[2]
    set_ahead(fast, library(folder), seconds=90)
    restart(fast)
    wait_line(cluster.nodes, "node-b: its clock is ", "ahead of the others'", "NTP")
    assert not any("node-a: its clock" in line or "node-c: its clock" in line for line in problems(fast))
    full.config.setdefault("spool", {})["min_free"] = "1024G"
    full.write_config()
    restart(full)
    wait_line(cluster.nodes, "node-c: its disk is nearly full (", " % free)", "make room")
    set_ahead(fast, None)
    del full.config["spool"]["min_free"]
    full.write_config()
    for node in (fast, full):
        restart(node)
    cluster.wait_healthy()


def test_nodes_that_are_away(cluster):
    for node in cluster.nodes[1:]:
        assert problems(node) == ["healthy"]
    cluster.nodes[2].kill()
    left = cluster.nodes[:2]
    wait_line(left, "node-c: does not answer: start it, or turnpike node remove it")
    assert all(len(problems(n)) == 1 for n in left), [problems(n) for n in left]
    cluster.nodes[1].kill()
    wait_line(left[:1], "no quorum; missing: ", "node-b (", "node-c (", "until enough nodes run", "Losing nodes")
    assert "no quorum" in problems(left[0])[0]  # the worst stands first
    wait_line(left[:1], "node-b: does not answer")
