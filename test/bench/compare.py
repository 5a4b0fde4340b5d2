#!/usr/bin/python3
"""Turnpike and Debian's Postfix in turn, in the same run: load generator -> server -> sink, all on loopback.

Both have mail on disk before they answer 250. Each figure is the median of several runs. CPU per message is that
of the server alone, all its processes, ended ones too. Postfix's settings are in servers.py.

    compare.py --build build/release [--only postfix|turnpike] [--repeats 3] [--quick] [--write]

--write puts the tables into docs/performance.md. Needs root, since Postfix does.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

import servers

ROOT = pathlib.Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- compare.py: begin -->", "<!-- compare.py: end -->"

# name, size, messages per connection (0: no end), messages sent to Postfix and to Turnpike
PLAIN = (
    ("4 KiB, connections reused", 4096, 0, 8000, 60000),
    ("100 KiB, connections reused", 102400, 0, 4000, 15000),
    ("4 KiB, one connection per message", 4096, 1, 6000, 30000),
)
SECURE = (
    ("4 KiB, connections reused", 4096, 0, 8000, 60000),
    ("4 KiB, one connection per message", 4096, 1, 4000, 15000),
)


class Bench:
    def __init__(self, options):
        self.options = options
        self.tool = options.build / "test/bench/turnpike-bench"
        self.dir = options.dir
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        self.certificate = (self.dir / "cert.pem", self.dir / "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3", "-subj",
                        "/CN=localhost", "-out", self.certificate[0], "-keyout", self.certificate[1]],
                       check=True, capture_output=True)
        (self.dir / "password").write_text(servers.PASSWORD + "\n")

    def sink(self, messages):
        port = servers.free_port()
        process = subprocess.Popen([self.tool, "sink", f"127.0.0.1:{port}", "--exit-after", str(messages)],
                                   stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        return process, port

    def send(self, port, messages, size, per_connection, secure, sessions=50):
        command = [self.tool, "send", f"localhost:{port}" if secure else f"127.0.0.1:{port}", "--json",
                   "--incompressible", "--messages", str(messages), "--size", str(size), "--sessions", str(sessions),
                   "--from", "bench@bench.test", "--to", "rcpt{n%1000}@sink.test"]
        if per_connection:
            command += ["--per-connection", str(per_connection)]
        if secure:
            command += ["--tls", "starttls", "--auth", "bench@bench.test", "--password-file", self.dir / "password"]
        done = subprocess.run(command, capture_output=True, text=True)
        result = json.loads(done.stdout)
        if done.returncode != 0:
            raise RuntimeError(f"not all messages were accepted: {result}")
        return result

    def direct(self, size, per_connection, secure):
        """The generator straight to the sink: what the machine could do at most."""
        messages = 20000 if self.options.quick else 60000
        port = servers.free_port()
        tls = ["--tls", f"{self.certificate[0]},{self.certificate[1]}"] if secure else []
        process = subprocess.Popen([self.tool, "sink", f"127.0.0.1:{port}", *tls], stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        result = self.send(port, messages // (4 if secure and per_connection else 1), size, per_connection, secure)
        process.terminate()
        process.wait()
        return result["messages_per_s"]

    def once(self, kind, size, per_connection, messages, secure):
        warm_up = 200
        if self.options.quick:
            messages //= 5
        sink, sink_port = self.sink(warm_up + messages)
        server = kind(self.dir / kind.name, sink_port=sink_port, certificate=self.certificate, tls=secure,
                      logging=secure, build=self.options.build)
        try:
            self.send(server.port, warm_up, size, per_connection, secure)
            time.sleep(2)
            cpu, syncs, start = servers.cpu_seconds(server.pid), server.syncs(), time.monotonic()
            sent = self.send(server.port, messages, size, per_connection, secure)
            sink.wait(600)
            took = time.monotonic() - start
            cpu = servers.cpu_seconds(server.pid) - cpu
            result = {"rate": messages / took, "accept": sent["messages_per_s"], "cpu_us": cpu / messages * 1e6,
                      "dot_p50_ms": sent["dot_us"]["p50"] / 1e3, "dot_p99_ms": sent["dot_us"]["p99"] / 1e3,
                      "rss_mib": servers.resident_mib(server.pid)}
            if syncs is not None:
                result["syncs"] = (server.syncs() - syncs) / messages
            return result
        finally:
            sink.kill()
            server.stop()

    def idle(self, kind):
        """One session on an idle server: how long the reply to the final dot takes."""
        sink, sink_port = self.sink(10**9)
        server = kind(self.dir / kind.name, sink_port=sink_port, certificate=self.certificate, tls=False,
                      logging=False, build=self.options.build)
        try:
            self.send(server.port, 100, 4096, 0, False, sessions=1)
            return self.send(server.port, 1000, 4096, 0, False, sessions=1)["dot_us"]["p50"]
        finally:
            sink.kill()
            server.stop()

    def fdatasync(self):
        """The median time of an appending write of 4 KiB and its fdatasync, in microseconds."""
        times = []
        with open(self.dir / "sync", "wb", buffering=0) as f:
            block = os.urandom(4096)
            for _ in range(1000):
                start = time.monotonic_ns()
                f.write(block)
                os.fdatasync(f.fileno())
                times.append((time.monotonic_ns() - start) / 1e3)
        return statistics.median(times)


def median(runs):
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def table(bench, title, cases, secure):
    kinds = [k for k in (servers.Postfix, servers.Turnpike) if bench.options.only in (None, k.name.lower())]
    lines = [f"### {title}", "",
             "| load | server | messages/s through | CPU per message | dot to 250, p50 / p99 | syncs per message | memory |",
             "|---|---|---:|---:|---:|---:|---:|"]
    for name, size, per_connection, to_postfix, to_turnpike in cases:
        direct = statistics.median(bench.direct(size, per_connection, secure) for _ in range(bench.options.repeats))
        runs = {kind: [] for kind in kinds}
        for _ in range(bench.options.repeats): # in turn, so that what else the machine does meets both
            for kind in kinds:
                count = to_postfix if kind is servers.Postfix else to_turnpike
                runs[kind].append(bench.once(kind, size, per_connection, count, secure))
                print(f"{title}: {name}: {kind.name}: {runs[kind][-1]}", file=sys.stderr)
        got = {kind: median(r) for kind, r in runs.items()}
        lines.append(f"| {name} | generator to sink | {direct:,.0f} | | | | |")
        for kind, m in got.items():
            syncs = f"{m['syncs']:.3f}" if "syncs" in m else ""
            lines.append(f"| | {kind.name} | {m['rate']:,.0f} | {m['cpu_us']:,.0f} µs | {m['dot_p50_ms']:.2f} / "
                         f"{m['dot_p99_ms']:.2f} ms | {syncs} | {m['rss_mib']:.0f} MiB |")
        if len(got) == 2:
            ours, theirs = got[servers.Turnpike], got[servers.Postfix]
            lines.append(f"| | ratio | {ours['rate'] / theirs['rate']:.1f} x; {100 * ours['rate'] / direct:.0f} % of "
                         f"direct | 1/{theirs['cpu_us'] / ours['cpu_us']:.1f} | | | |")
    return lines + [""]


def idle_lines(bench):
    kinds = [k for k in (servers.Postfix, servers.Turnpike) if bench.options.only in (None, k.name.lower())]
    sync = bench.fdatasync()
    lines = ["### An idle server, one session", "", "| what | p50 |", "|---|---:|",
             f"| an appending write of 4 KiB and its fdatasync | {sync / 1e3:.2f} ms |"]
    for kind in kinds:
        lines.append(f"| {kind.name}: dot to 250 | {bench.idle(kind) / 1e3:.2f} ms |")
    return lines + [""]


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    postfix = subprocess.run(["postconf", "-d", "-h", "mail_version"], capture_output=True, text=True).stdout.strip()
    return (f"{datetime.date.today()}: {os.cpu_count()} x {model}, {memory:.0f} GiB, Linux {platform.release()}, "
            f"Postfix {postfix}. Generator, server and sink share the processors.")


def write_doc(text):
    path = ROOT / "docs/performance.md"
    doc = path.read_text()
    head, rest = doc.split(BEGIN)
    path.write_text(head + BEGIN + "\n" + text + "\n" + END + rest.split(END)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--dir", type=pathlib.Path, default=ROOT / "build/compare", help="where the queues are")
    parser.add_argument("--only", choices=("postfix", "turnpike"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a fifth of the messages")
    parser.add_argument("--write", action="store_true")
    bench = Bench(parser.parse_args())
    lines = [machine(), ""]
    lines += table(bench, "Plain, no event log", PLAIN, False)
    lines += table(bench, "TLS and AUTH on each connection, event log on", SECURE, True)
    lines += idle_lines(bench)
    text = "\n".join(lines)
    print(text)
    if bench.options.write:
        write_doc(text)
    shutil.rmtree(bench.dir)


main()
