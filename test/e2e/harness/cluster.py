"""Three nodes (or more) that make a cluster on this machine: each with its own folder, ports and admin socket."""
import json
import os
import pathlib
import signal
import socket
import time

from .node import Node, merge
from .util import ROOT, STRETCH, free_port, wait_until

os.environ.setdefault("TSAN_OPTIONS", f"suppressions={ROOT}/test/lib/tsan.supp print_suppressions=0")


def reserve(port):
    """Nobody else takes the port before the node does, which it does only when it becomes a member."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", port))
    return held


class Member(Node):
    """A node with a `cluster` section."""

    def __init__(self, folder, certificate, dns_port, mx_port, name, config=None):
        self.name = name
        self.raft_port, self.gossip_port = free_port(), free_port()
        self.held = [reserve(self.raft_port), reserve(self.gossip_port)]
        own = {"name": name, "cluster": {"listen": f"127.0.0.1:{self.raft_port}",
                                         "gossip": f"127.0.0.1:{self.gossip_port}"}}
        super().__init__(folder, certificate, dns_port, mx_port, merge(own, config or {}))

    def is_answering(self):
        if self.process.poll() is not None:
            raise AssertionError(f"turnpiked ended with {self.process.returncode}:\n{self.log_text()[-4000:]}")
        try:
            return self.http("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def start(self, wait=True):
        """A node that is no member yet is never ready: its admin API answers."""
        super().start(wait=False)
        if wait:
            wait_until(f"{self.name} answers", self.is_answering, 30)
        return self

    def wait_ready(self, timeout=30):
        return wait_until(f"{self.name} takes mail", self.is_ready, timeout)

    def pause(self):
        """Returns when it stands still: one thread has to run for the signal to reach the others."""
        os.kill(self.process.pid, signal.SIGSTOP)
        wait_until("all threads are stopped", self.stands_still, 30, 0.001)

    def stands_still(self):
        try:
            states = [(task / "stat").read_text().rpartition(")")[2].split()[0]
                      for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()]
        except FileNotFoundError: # one has just ended
            return False
        return all(state in "TZ" for state in states)

    def go_on(self):
        os.kill(self.process.pid, signal.SIGCONT)

    # ---- the API

    def call(self, method, path, body=None):
        """(status, answer) whatever it is."""
        status, text = self.http(method, path, body)
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def fail(self, method, path, body=None):
        """The one line that a failing call answers."""
        status, answer = self.call(method, path, body)
        assert status >= 400, f"{method} {path} should fail: {answer}"
        message = answer["error"]["message"] if isinstance(answer["error"], dict) else answer["error"]
        assert "\n" not in message, message
        return message

    def init(self):
        return self.api("POST", "/v1/cluster/init", {})

    def token(self, **more):
        return self.api("POST", "/v1/nodes/token", more)["token"]

    def join(self, token):
        return self.api("POST", "/v1/node/join", {"token": token})

    def cluster(self):
        return self.api("GET", "/v1/cluster")

    def leader(self):
        """The leader's id as this node sees it; 0 when it sees none."""
        status, answer = self.call("GET", "/v1/cluster")
        return answer["leader"] if status == 200 else 0

    def row(self, name):
        return next((n for n in self.cluster()["nodes"] if n["name"] == name), None)

    def accounts(self):
        return [a["name"] for a in self.api("GET", "/v1/accounts?limit=1000")["accounts"]]


class Cluster:
    def __init__(self, folder, certificate, dns_port, mx_port, count=3, config=None):
        self.make = lambda where, name, more=None: Member(where, certificate, dns_port, mx_port, name,
                                                          merge(dict(config or {}), more or {}))
        self.folder = folder
        self.nodes = []
        for _ in range(count):
            self.add()

    def add(self, name=None, config=None):
        """One more node, not started."""
        name = name or f"node-{'abcdefgh'[len(self.nodes)]}"
        where = self.folder / f"m{len(self.nodes)}"
        where.mkdir()
        self.nodes.append(self.make(where, name, config))
        return self.nodes[-1]

    def form(self):
        """All nodes run, and each takes mail."""
        for node in self.nodes:
            node.start()
        self.nodes[0].init()
        for node in self.nodes[1:]:
            node.join(self.nodes[0].token())
        self.wait_healthy()
        return self

    def living(self):
        return [n for n in self.nodes if n.process is not None and n.process.poll() is None]

    def wait_voters(self, timeout=30):
        """As many voters as nodes, up to three, as every node sees it."""
        def voters():
            for node in self.nodes:
                rows = [n for n in node.cluster()["nodes"] if n["role"] == "voter" and n["state"] == "active"]
                if len(rows) < min(3, len(self.nodes)):
                    return False
            return True
        wait_until("the voters are there", voters, timeout)

    def wait_healthy(self, timeout=30):
        self.wait_voters(timeout)
        for node in self.nodes:
            node.wait_ready(timeout)

        def quiet():
            for node in self.nodes:
                problems = [p for p in node.cluster()["problems"] if "two nodes vote" not in p]
                if problems:
                    self.why = f"{node.name}: {problems}"
                    return False
            return True
        try:
            wait_until("nothing is wrong", quiet, timeout)
        except AssertionError as e:
            raise AssertionError(f"{e}: {getattr(self, 'why', '')}") from None

    def by_id(self, node_id):
        return next(n for n in self.nodes if n.process.poll() is None and n.cluster()["self"] == node_id)

    def leader(self, among=None, timeout=30):
        """The node that all of `among` take for their leader, itself one of them."""
        among = among or self.living()

        def agreed():
            said = {n.leader() for n in among}
            if len(said) != 1 or 0 in said:
                return None
            wanted = said.pop()
            return next((n for n in among if n.cluster()["self"] == wanted), None)
        return wait_until("there is a leader", agreed, timeout)

    def followers(self):
        leader = self.leader()
        return [n for n in self.living() if n is not leader]

    def close(self):
        for node in self.nodes:
            if node.process is not None and node.process.poll() is None:
                try:
                    node.go_on()
                    node.stop(30 * STRETCH)
                finally:
                    if node.process.poll() is None:
                        node.process.kill()
                        node.process.wait()
        for node in self.nodes:
            for held in node.held:
                held.close()
            node.check_clean()


def took(what):
    """Seconds that a call lasted, and what it returned."""
    began = time.monotonic()
    value = what()
    return time.monotonic() - began, value
