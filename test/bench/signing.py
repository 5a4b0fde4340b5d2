#!/usr/bin/python3
"""What signing with RSA 2048 costs those who do not sign: the time of the reply to MAIL in other sessions, and to the
dot of each message, while mail comes at a fixed rate. A node without keys and one with a key take turns; each figure is the median over the
rounds of what was measured in one.

    signing.py --build build/release [--rounds 9] [--seconds 6] [--rate 150]
"""
import argparse
import json
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
    results = {name: [] for name in both}
    try:
        for number in range(options.rounds + 1):
            for name in sorted(both, reverse=number % 2 == 1):
                got = measure(options, both[name])
                if number > 0:  # the first round warms up
                    results[name].append(got)
        if signed(both["no key"]) != 0 or signed(both["RSA 2048"]) < options.rate * options.seconds * options.rounds * 0.9:
            sys.exit("it was not signed as it should be")
    finally:
        for server in both.values():
            server.stop()
        sink.terminate()
        sink.wait()
    print(f"{options.rounds} rounds of {options.seconds} s, {options.rate} messages a second; microseconds")
    for what in results["no key"][0]:
        plain, rsa = ([r[what] for r in results[name]] for name in ("no key", "RSA 2048"))
        differences = [b - a for a, b in zip(plain, rsa)]
        print(f"{what}: {statistics.median(plain):.0f} without, {statistics.median(rsa):.0f} with; in a pair "
              f"{statistics.median(differences):+.0f} (from {min(differences):+.0f} to {max(differences):+.0f})")


if __name__ == "__main__":
    main()
