#!/usr/bin/python3
"""What the check of content costs: one node, whose policy has none and then one by a server that answers at once
(turnpike-verdicts), in turns, with the same load. Figures are medians over the turns, ratios those of pairs.

    content.py --build build/release [--turns 7] [--messages 10000] [--sessions 16]

Both of messages a second and of the node's CPU: the server runs on the same machine, whose processors it takes time of.
"""
import argparse
import os
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
options.add_argument("--dir", type=pathlib.Path, default=ROOT / "build/content", help="where the node is")
options.add_argument("--turns", type=int, default=7)
options.add_argument("--messages", type=int, default=10000)
options.add_argument("--sessions", type=int, default=16)
options = options.parse_args()
os.environ["TURNPIKE_BUILD"] = str(options.build.resolve())

import json  # noqa: E402
import subprocess  # noqa: E402

from nodes import BENCH, BUILD, Bench, Member, cpu_seconds, free_port, policy  # noqa: E402

VERDICTS = BUILD / "test/bench/turnpike-verdicts"


def checked(node):
    return sum(float(line.split()[-1]) for line in node.metrics().splitlines()
               if line.startswith("turnpike_content_checks_total{") and 'verdict="clean"' in line)


def run(bench, node):
    """Messages a second until all are accepted, the time from the dot to its 250, and the node's CPU for each message."""
    sink = subprocess.Popen([BENCH, "sink", f"127.0.0.1:{bench.sink_port}", "--exit-after", str(options.messages)],
                            stdout=subprocess.PIPE, text=True)
    sink.stdout.readline()
    cpu, begin = cpu_seconds(node), time.monotonic()
    load = node.bench("--messages", options.messages, "--sessions", options.sessions, "--size", 4096, "--incompressible",
                      "--from", "bench@bench.test", "--to", "rcpt{n%1000}@sink.test")
    said = load.communicate()[0]
    took = time.monotonic() - begin
    assert load.returncode == 0, said
    assert sink.wait(600) == 0
    return options.messages / took, (cpu_seconds(node) - cpu) / options.messages * 1e6, json.loads(said)


def main():
    bench = Bench(options.dir)
    port = free_port()
    server = subprocess.Popen([VERDICTS, str(port)])
    texts = {"no check": "limits: []\n",
             "a check": f"limits: []\ncontent:\n  servers: [http://127.0.0.1:{port}]\n  when_unreachable: defer\n"}
    try:
        cluster = bench.cluster(Member, count=1).form()
        node, got = cluster.nodes[0], {name: [] for name in texts}
        for turn in range(options.turns + 1):
            for name in sorted(got, reverse=turn % 2 == 1):
                policy(cluster, texts[name])
                before = checked(node)
                result = run(bench, node)
                assert checked(node) - before == (options.messages if name == "a check" else 0)
                if turn > 0:  # the first one warms up
                    got[name].append(result)
                print(name, result, file=sys.stderr)
        for name, results in got.items():
            rate, cpu = (statistics.median(r[i] for r in results) for i in (0, 1))
            print(f"{name}: {rate:,.0f} messages/s, {cpu:.0f} µs CPU per message")
        for i, what in enumerate(("messages/s", "CPU per message")):
            ratios = [100 * (b[i] / a[i] - 1) for a, b in zip(got["no check"], got["a check"])]
            print(f"pair by pair: {statistics.median(ratios):+.1f} % {what} (from {min(ratios):+.1f} to {max(ratios):+.1f})")
    except BaseException:
        bench.tell()
        raise
    finally:
        server.kill()
        bench.close()


if __name__ == "__main__":
    main()
