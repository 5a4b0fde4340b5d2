"""The nodes of a run, on the harness of the end-to-end tests: started, killed, paused, seen to."""
import json
import os
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "e2e"))

from harness.cluster import Cluster, Member  # noqa: E402
from harness.node import Node, UnixConnection, merge  # noqa: E402
from harness.util import BUILD, CLI, NODE, STRETCH  # noqa: E402

from .engine import DNS_PORT, GOSSIP_PORT, RAFT_PORT, SINK_PORT, SMTP_PORT  # noqa: E402

__all__ = ["BUILD", "CLI", "NODE", "STRETCH", "FaultCluster", "FaultNode"]
SPOOL_FREE = "16M"


def settings(node, address, hub, clients):
    """What is not as the end-to-end tests have it."""
    return {
        "name": node, "hostname": f"{node}.fault.test", "workers": 2,
        "listeners": [{"kind": "relay", "address": f"{address}:{SMTP_PORT}", "max_sessions_per_client": 1000}],
        "relay_clients": [{"networks": f"{source}/32", "account": account} for source, account in clients],
        "cluster": {"listen": f"{address}:{RAFT_PORT}", "gossip": f"{address}:{GOSSIP_PORT}"},
        "delivery": {"tls": "none", "retry": ["1s", "1s", "2s"], "jitter": 0, "allowed_networks": ["10.0.0.0/8",
                                                                                                  "172.16.0.0/12"]},
        "routes": [{"domain": "b.mx.test", "via": f":{SINK_PORT}", "tls": "opportunistic"},
                   {"domain": "*.mx.test", "via": f":{SINK_PORT}", "tls": "none"},
                   {"domain": "*", "via": f"[{hub}]:{SINK_PORT}", "tls": "none"}],
        "resolver": {"servers": [f"{hub}@{DNS_PORT}"], "timeout": "1s"},
        "spool": {"min_free": SPOOL_FREE, "segment_size": "1M"},
        "log": {"level": "info"},
    }


class FaultNode(Member):
    """A node on a machine of the engine. Who starts and ends it holds its lock; `down` says that it is meant to be
    down, so that the keeper leaves it alone."""

    def __init__(self, engine, name, folder, clients, more=None):
        self.engine, self.name = engine, name
        self.address = engine.add(name)
        folder.mkdir()
        folder.chmod(0o755)
        self.held, self.lock = [], threading.RLock()
        self.down, self.paused, self.member, self.may_end, self.stopping = True, False, True, False, False
        self.program, self.preloads, self.variables = engine.program or NODE, [], {}
        Node.__init__(self, folder, ("/dev/null", "/dev/null"), DNS_PORT, SINK_PORT,
                      merge(settings(name, self.address, engine.hub, clients), more or {}))

    def preload(self, libraries, **variables):
        """From its next start on, besides what other faults preload."""
        self.preloads += libraries
        self.variables |= variables

    def _wrapper(self):
        if not self.preloads:
            return []
        return ["env", "LD_PRELOAD=" + ":".join(map(str, self.preloads)),
                *(f"{name}={value}" for name, value in self.variables.items())]

    def start(self, wait=True):
        with self.lock:
            (self.folder / "data").mkdir(parents=True, exist_ok=True)
            self.log = open(self.log_path, "ab")
            self.process = self.engine.spawn(self.name, self.program, ["--config", self.config_path], self._wrapper(),
                                             self.log)
            self.down, self.paused, self.stopping = False, False, False
        if wait:
            self.await_answer()
        return self

    def await_answer(self, timeout=30):
        until = time.monotonic() + timeout * STRETCH
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {self.log_text()[-2000:]}")
            if self.asked("GET", "/healthz") is not None:
                return self
            time.sleep(0.03)
        raise RuntimeError(f"{self.name} does not answer: {self.log_text()[-2000:]}")

    def alive(self):
        return not self.down and self.process is not None and self.process.poll() is None

    def kill(self):
        """Without warning; False when it was gone already."""
        with self.lock:
            was = self.alive()
            self.down = True
            if self.process is not None:
                self.process.kill()
                self.process.wait(20)
                self.log.close()
            self.paused = False
            return was

    def stop(self):
        """As a service manager does it. Transactions that clients leave open would keep it for 30 s."""
        with self.lock:
            self.go_on()
            self.down, self.stopping = True, True
            if self.process.poll() is None:
                self.process.terminate()
                self.process.wait(30 + 15 * STRETCH)
                self.log.close()

    def pause(self):
        with self.lock:
            if self.alive() and not self.paused:
                self.engine.pause(self.process)
                self.paused = True
                return True
            return False

    def go_on(self):
        with self.lock:
            if self.paused and self.process.poll() is None:
                self.engine.go_on(self.process)
            self.paused = False

    def inside(self, *command):
        return self.engine.inside(self.name, *command)

    # ---- the API, with patience that a test may choose

    def http(self, method, path, body=None, headers=None, timeout=10):
        connection = UnixConnection(self.socket, timeout)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {**({"Content-Type": "application/json"} if data else {}),
                                                    **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def asked(self, method, path, body=None, timeout=1.0):
        """(status, answer), or None when there was none in time."""
        try:
            status, text = self.http(method, path, body, timeout=timeout)
            return status, json.loads(text) if text[:1] in ("{", "[") else text
        except (OSError, ValueError, EOFError):
            return None
        except Exception as error:  # http.client has errors of its own for a peer that leaves
            if type(error).__module__ != "http.client":
                raise
            return None

    def running(self):
        """Which process of which program that is."""
        pid = self.process.pid
        return f"{os.readlink(f'/proc/{pid}/exe')}, process {pid}"

    def status(self):
        said = self.asked("GET", "/v1/cluster", timeout=0.7)
        return said[1] if said is not None and said[0] == 200 else None

    def ready(self):
        said = self.asked("GET", "/readyz")
        return said is not None and said[0] == 200


class FaultCluster(Cluster):
    """Its nodes are n1, n2 and so on."""

    def __init__(self, engine, clients, more=None):
        self.engine, self.clients, self.more = engine, clients, more or {}
        self.folder, self.nodes = engine.folder, []

    def add(self, name=None, config=None):
        name = name or f"n{len(self.nodes) + 1}"
        node = FaultNode(self.engine, name, self.folder / name, self.clients, merge(dict(self.more), config or {}))
        self.nodes.append(node)
        return node

    def by_name(self, name):
        return next(node for node in self.nodes if node.name == name)

    def living(self):
        return [node for node in self.nodes if node.alive() and not node.paused]

    def members(self):
        return [node for node in self.nodes if node.member]

    def close(self):
        for node in self.nodes:
            if node.process is not None and node.process.poll() is None:
                node.go_on()
                node.down = True
                node.process.terminate()
        for node in self.nodes:
            if node.process is not None:
                try:
                    node.process.wait(15 * STRETCH)
                except Exception:
                    node.process.kill()
                    node.process.wait(10)
