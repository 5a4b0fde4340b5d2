#!/usr/bin/python3
"""What signing with RSA 2048 costs those who do not sign: the time of the reply to MAIL in other sessions, and to the
dot of each message, while mail comes at a fixed rate. Three take turns: a node without keys; one with a key; and the
one without, while a process that has nothing to do with it computes for as long as signing takes, so that what
signing does to a worker is told from what a processor less to go round does. Each figure is the median over the
rounds of what was measured in one.

    signing.py --build build/release [--rounds 9] [--seconds 6] [--rate 150]
"""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time

import servers

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBES = 8  # sessions that begin transactions, over both workers
PAUSE = 0.004
WORDS = {"no key": "without", "computing": "without but with as much computing beside", "RSA 2048": "with signing"}
NICE = 10  # as the threads that sign

# Computes for so many seconds, so many times a second.
COMPUTE = """
import sys, time
seconds, pause = float(sys.argv[1]), 1 / float(sys.argv[2])
due = time.monotonic()
while True:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
    due = max(due + pause, time.monotonic())
    time.sleep(max(0, due - time.monotonic()))
"""


def node(options, sink_port, name, key):
    folder = options.dir / name
    kept = servers.TURNPIKE
    try:
        if key:
            servers.TURNPIKE = kept + ("dkim:\n  default_domain: bench.test\n"
                                       f"  keys: {{{{ domain: bench.test, selector: s1, file: {key} }}}}\n")
        return servers.Turnpike(folder, sink_port, options.certificate, False, False, build=options.build)
    finally:
        servers.TURNPIKE = kept


class Probe(threading.Thread):
    """Begins a transaction and ends it, again and again until it is told to stop."""

    def __init__(self, port):
        super().__init__()
        self.stopping, self.took = False, []
        self.peer = socket.create_connection(("127.0.0.1", port))
        self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ask(None)
        self.ask(b"EHLO probe.test\r\n")

    def ask(self, command):
        if command:
            self.peer.sendall(command)
        text = b""
        while not text.endswith(b"\r\n") or text.rstrip().rsplit(b"\r\n", 1)[-1][3:4] == b"-":
            piece = self.peer.recv(4096)
            if not piece:
                raise ConnectionError("the node has gone")
            text += piece

    def run(self):
        while not self.stopping:
            begun = time.monotonic_ns()
            self.ask(b"MAIL FROM:<bench@bench.test>\r\n")
            self.took.append((time.monotonic_ns() - begun) / 1000)
            self.ask(b"RCPT TO:<probe@sink.test>\r\n")
            self.ask(b"RSET\r\n")
            time.sleep(PAUSE)
        self.peer.close()


def measure(options, server):
    probes = [Probe(server.port) for _ in range(PROBES)]
    for probe in probes:
        probe.start()
    try:
        done = subprocess.run([options.tool, "send", f"127.0.0.1:{server.port}", "--json", "--incompressible", "--size", "4096",
                               "--rate", str(options.rate), "--seconds", str(options.seconds), "--sessions", "20", "--from",
                               "bench@bench.test", "--to", "rcpt{n%1000}@sink.test"], capture_output=True, text=True)
    finally:
        for probe in probes:
            probe.stopping = True
        for probe in probes:
            probe.join()
    sent = json.loads(done.stdout)
    took = sorted(t for probe in probes for t in probe.took)
    return {"MAIL p50": took[len(took) // 2], "MAIL p99": took[len(took) * 99 // 100],
            "dot p50": sent["dot_us"]["p50"], "dot p99": sent["dot_us"]["p99"]}


class Computing:
    """Another process that computes meanwhile."""

    def __init__(self, seconds, rate):
        self.process = subprocess.Popen(["nice", "-n", str(NICE), sys.executable, "-c", COMPUTE, str(seconds), str(rate)])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def signing_takes(options, both):
    """Seconds of a processor for a message, by what the two nodes take more or less; the round in which all get warm."""
    took = {}
    for name, server in both.items():
        before = processor_seconds(server.pid)
        measure(options, server)
        took[name] = processor_seconds(server.pid) - before
    return max(took["RSA 2048"] - took["no key"], 0) / (options.rate * options.seconds)


def signed(server):
    connection = servers.UnixConnection(server.folder / "admin.sock")
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    return int(float(next(line.split()[-1] for line in text.splitlines()
                          if line.startswith('turnpike_dkim_signatures_total{algorithm="rsa"}'))))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--dir", type=pathlib.Path, default=ROOT / "build/signing", help="where the queues are")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--rate", type=int, default=150)
    options = parser.parse_args()
    options.tool = options.build / "test/bench/turnpike-bench"
    shutil.rmtree(options.dir, ignore_errors=True)
    options.dir.mkdir(parents=True)
    key = options.dir / "key.pem"
    options.certificate = (options.dir / "cert.pem", options.dir / "tls.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3", "-subj", "/CN=localhost",
                    "-out", options.certificate[0], "-keyout", options.certificate[1]], check=True, capture_output=True)
    subprocess.run(["openssl", "genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key], check=True,
                   capture_output=True)
    key.chmod(0o600)
    port = servers.free_port()
    sink = subprocess.Popen([options.tool, "sink", f"127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True)
    sink.stdout.readline()
    both = {"no key": node(options, port, "plain", None), "RSA 2048": node(options, port, "rsa", key)}
    results = {name: [] for name in (*both, "computing")}
    try:
        seconds = signing_takes(options, both)
        for number in range(options.rounds):
            for name in sorted(results, reverse=number % 2 == 1):
                beside = Computing(seconds, options.rate) if name == "computing" else contextlib.nullcontext()
                with beside:
                    results[name].append(measure(options, both.get(name, both["no key"])))
        if signed(both["no key"]) != 0 or signed(both["RSA 2048"]) < options.rate * options.seconds * options.rounds * 0.9:
            sys.exit("it was not signed as it should be")
    finally:
        for server in both.values():
            server.stop()
        sink.terminate()
        sink.wait()
    print(f"{options.rounds} rounds of {options.seconds} s, {options.rate} messages a second, each signed in {seconds * 1e6:.0f} of a "
          "processor; microseconds")
    for what in results["no key"][0]:
        each = {name: [r[what] for r in results[name]] for name in results}
        print(f"{what}: " + ", ".join(f"{statistics.median(each[name]):.0f} {words}" for name, words in WORDS.items()))
        for name in ("no key", "computing"):
            differences = [b - a for a, b in zip(each[name], each["RSA 2048"])]
            print(f"    signing against {WORDS[name]}, in a pair: {statistics.median(differences):+.0f} "
                  f"(from {min(differences):+.0f} to {max(differences):+.0f})")


if __name__ == "__main__":
    main()
