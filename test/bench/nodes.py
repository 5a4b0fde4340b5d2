"""Clusters to measure, on the harness of the end-to-end tests: three nodes on loopback, as turnpiked or as
turnpike-grants, which takes orders. And what is read of their processes."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from harness.cluster import Cluster, Member  # noqa: E402
from harness.node import Node, merge  # noqa: E402
from harness.quota import apply_policy, await_applied  # noqa: E402
from harness.util import BENCH, BUILD, free_port, wait_until  # noqa: E402

GRANTS = BUILD / "test/bench/turnpike-grants"
TICKS = os.sysconf("SC_CLK_TCK")
FAR = """limits:
  - {name: hour, for: account, count: 1000000000, window: 1h}
  - {name: day, for: account, count: 1000000000, window: 1d}
  - {name: all, for: tenant, count: 1000000000, window: 1h}
"""
NONE = "limits: []\n"


def certificate(folder):
    paths = folder / "node.pem", folder / "node.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "3", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", paths[0],
                    "-keyout", paths[1]], check=True, capture_output=True)
    paths[1].chmod(0o600)
    return paths


def settings(sink_port, **more):
    """Of a node that is measured: nothing limits it but the machine."""
    relay = {"kind": "relay", "address": f"127.0.0.1:{free_port()}", "max_sessions_per_client": 1000}
    return merge({"workers": 1, "listeners": [relay], "smtp": {"max_messages_per_connection": 1000000},
                  "delivery": {"connections_start": 50, "connections_max": 50, "messages_per_connection": 10000,
                               "tls": "none", "retry": ["5m"]},
                  "routes": [{"domain": "*", "via": f"[127.0.0.1]:{sink_port}", "tls": "none"}],
                  "log": {"level": "info", "events": "off", "hide_subject": None}}, more)


class Loaded(Member):
    """A member that is turnpike-grants."""

    program = GRANTS

    def start(self, wait=True):
        if self.program != GRANTS:
            return super().start(wait)
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        self.log = open(self.log_path, "ab")
        for held in getattr(self, "held", []):
            held.close()
        self.held = []
        self.process = subprocess.Popen([*self.wrapper, GRANTS, "--config", self.config_path], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        if wait:
            wait_until(f"{self.name} answers", self.is_answering, 60)
        return self

    def order(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def result(self):
        return json.loads(self.process.stdout.readline())

    def do(self, line):
        self.order(line)
        return self.result()


class Bench:
    """A folder, and what was started in it."""

    def __init__(self, folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder, self.certificate, self.started, self.sink_port = folder, certificate(folder), [], free_port()

    def cluster(self, kind=Loaded, name="c", count=3, **more):
        where = self.folder / name
        where.mkdir()
        cluster = Cluster(where, self.certificate, 53, self.sink_port, 0)
        cluster.make = lambda at, node, extra=None: kind(at, self.certificate, 53, self.sink_port, node,
                                                         settings(self.sink_port, **more))
        for _ in range(count):
            node = cluster.add()
            node.ports["relay"] = int(node.config["listeners"][0]["address"].rpartition(":")[2])
        self.started += cluster.nodes
        return cluster

    def alone(self, count=3):
        nodes = []
        for number in range(count):
            where = self.folder / f"s{number}"
            where.mkdir()
            node = Node(where, self.certificate, 53, self.sink_port, settings(self.sink_port, cluster=None))
            node.ports["relay"] = int(node.config["listeners"][0]["address"].rpartition(":")[2])
            nodes.append(node.start())
        self.started += nodes
        return nodes

    def sink(self, messages):
        process = subprocess.Popen([BENCH, "sink", f"127.0.0.1:{self.sink_port}", "--exit-after", str(messages)],
                                   stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        return process

    def tell(self):
        """Something went wrong: what the nodes said last."""
        for node in self.started:
            state = "runs" if node.process.poll() is None else f"ended with {node.process.returncode}"
            print(f"{node.folder.name} {state}:\n{node.log_text()[-1500:]}", file=sys.stderr)

    def close(self):
        for node in self.started:
            if node.process is not None and node.process.poll() is None:
                node.process.kill()
                node.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Alone:
    """What the machine itself can do meanwhile, or alone: a program in a process of its own that times one small thing
    again and again, and says the 50th and 99th percentile and the longest in milliseconds."""

    # A thread before which only the kernel and the hypervisor run; it sleeps for 1 ms. What is late is not our doing.
    SLEEP = """
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(80))
except PermissionError:
    sys.exit()
def once():
    time.sleep(0.001)
def own(passed):
    return max(0, passed - 0.001)
"""
    # A write as the log's: a page, direct, back when it is on disk; 300 a second.
    WRITE = """
page, at = mmap.mmap(-1, 4096), 0
file = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR | os.O_DIRECT | os.O_DSYNC, 0o600)
os.posix_fallocate(file, 0, 8 << 20)
def once():
    global at
    os.pwrite(file, page, at)
    at = (at + 4096) % (8 << 20)
def own(passed):
    time.sleep(1 / 300)
    return passed
"""
    LOOP = """
took, over = [], []
signal.signal(signal.SIGTERM, lambda *_: over.append(1))
while not over:
    begin = time.monotonic()
    once()
    took.append(own(time.monotonic() - begin) * 1000)
took.sort()
print(json.dumps([took[len(took) // 2], took[len(took) * 99 // 100], took[-1]]))
"""

    def __init__(self, what, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import json, mmap, os, signal, sys, time\n" + what + self.LOOP, *map(str, arguments)],
            stdout=subprocess.PIPE, text=True)

    def end(self):
        """The three figures; None: it may not."""
        self.process.terminate()
        text = self.process.communicate()[0]
        return json.loads(text) if text else None


def policy(cluster, text):
    apply_policy(cluster.nodes[0], text)
    await_applied(cluster.nodes)


def cpu_seconds(node):
    fields = pathlib.Path(f"/proc/{node.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def disk_mib(path):
    total = 0
    for file in pathlib.Path(path).rglob("*"):
        try:
            total += file.stat().st_blocks * 512
        except OSError:
            pass
    return total / 2**20
