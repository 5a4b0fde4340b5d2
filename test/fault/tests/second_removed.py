"""Two members are removed shortly after one another, and the second one's raft connections are dead: only the others' word
tells it that it is out. Prints what it knows in the end. Run by test_runs.py, since it enters a namespace."""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from fault.engine import RAFT_PORT, engine  # noqa: E402
from fault.nodes import FaultCluster  # noqa: E402


def main():
    machines = engine("netns")
    machines.open(1)
    try:
        cluster = FaultCluster(machines, [("10.99.1.1", "a@x.test")])
        for _ in range(5):
            cluster.add()
        cluster.form()
        rows = {r["name"]: r["role"] for r in cluster.nodes[0].cluster()["nodes"]}
        first, late = [n for n in cluster.nodes if rows[n.name] == "standby"]
        for where, port in (("INPUT", "--sport"), ("INPUT", "--dport")):
            late.inside("iptables", "-w", "-A", where, "-p", "tcp", port, RAFT_PORT, "-j", "DROP")
        leader = cluster.leader(among=[n for n in cluster.nodes if n not in (first, late)])
        for node in (first, late):
            leader.api("POST", "/v1/nodes/remove", {"node": node.name})
        until = time.monotonic() + 8
        while "left" not in late.http("GET", "/readyz")[1] and time.monotonic() < until:
            time.sleep(0.1)
        print(late.http("GET", "/readyz")[1].strip())
    finally:
        machines.close()


main()
