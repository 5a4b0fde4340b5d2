#!/usr/bin/python3
"""What 500 rules about replies cost: one node, whose policy has none of its own and then 500, in turns, with the same load. The
next hop takes all; or it defers a fifth of the recipients, each with words of its own, which look like those of many rules and
meet none. The rules that every policy begins with are always there. A turn is two runs, in an order that changes; figures are
medians over the turns, ratios those of pairs.

    rules.py --build build/release [--turns 9] [--messages 20000] [--rules 500]
    rules.py --build build/release --senders [--turns 9] [--messages 20000] [--accounts 1] [--nodes 1]

With --senders: what the built-in rules about senders cost, which read the text of each message: `default_sender_rules` off, on
trial and on take turns, and the next hop takes all. One account sends; so that it does not wait for the cluster when they are on, a node
may let it go on for as long as can be (`sender_credit: 1000`). With --accounts so many send in turn, whom the header of a trusted relay names,
on all nodes of a cluster of --nodes, and the credit is what it is. Of CPU is counted what all nodes take, until their last reports are
applied everywhere, but for what they take when nothing happens.

Both of messages a second and of the node's CPU: on a machine with other work only the second says something.
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
options.add_argument("--dir", type=pathlib.Path, default=ROOT / "build/rules", help="where the node is")
options.add_argument("--turns", type=int, default=9)
options.add_argument("--messages", type=int, default=20000)
options.add_argument("--rules", type=int, default=500)
options.add_argument("--senders", action="store_true", help="the built-in rules about senders, off, on trial and on")
options.add_argument("--accounts", type=int, default=1, help="with --senders: that send in turn")
options.add_argument("--nodes", type=int, default=1, help="with --senders: of the cluster")
options = options.parse_args()
os.environ["TURNPIKE_BUILD"] = str(options.build.resolve())

import subprocess  # noqa: E402

from nodes import BENCH, Bench, Member, cpu_seconds, policy, wait_until  # noqa: E402

REPORT_S = 3.5  # nodes tell what senders sent every 3 s
SUBJECTS = ["rate", "quota", "connections", "reputation", "blocklist", "greylisting", "mailbox", "recipient", "policy", "content"]
VERBS = ["exceeded", "limited", "refused", "deferred", "throttled", "denied", "blocked", "unknown", "full", "unavailable"]
LATER = ("rcpt:*[05]@sink.test=451 4.3.0 The mailbox that you tried to reach is closed for now. Please visit our pages to learn "
         "more about this, and try again in a while. {n} - sink")
SINKS = {"all is taken": [], "a fifth is deferred": ["--reply", LATER]}


def text(rules):
    lines = [f"  - {{name: own-{i}, match: '{SUBJECTS[i % 10]}\\b.{{0,40}}\\b({VERBS[i // 10 % 10]}|code{i})|(rule|text){i}', "
             "action: notify}" for i in range(rules)]
    return "limits: []\n" + ("rules:\n" + "\n".join(lines) + "\n" if lines else "")


def senders(mode):
    one, many = "sender_credit: 1000\n", 'late_identity: {header: From, accounts: ["relay@example.com"]}\n'
    return f"limits: []\ndefault_sender_rules: {mode}\n" + (one if options.accounts == 1 else many)


def plan():
    """What takes turns: its name, the policy; the first is what the others are compared with. And the next hops."""
    if options.senders:
        return {f"rules about senders {mode}": senders(mode) for mode in ("off", "dry_run", "on")}, {"all is taken": []}
    return {f"{rules} rules": text(rules) for rules in (0, options.rules)}, SINKS


def deferred(node):
    return sum(float(line.split()[-1]) for line in node.metrics().splitlines()
               if line.startswith("turnpike_recipients_total{") and 'outcome="deferred"' in line)


def cpu_all(nodes):
    return sum(map(cpu_seconds, nodes))


def idle(nodes):
    """The nodes' CPU in a second in which nothing comes."""
    begin, seconds = cpu_all(nodes), 10
    time.sleep(seconds)
    return (cpu_all(nodes) - begin) / seconds


def run(bench, cluster, arguments, at_rest):
    """Messages a second until the next hop has answered all, and the nodes' CPU for each, in microseconds."""
    nodes, share = cluster.nodes, 0.2 if arguments else 0
    each = options.messages // len(nodes)
    total = each * len(nodes)
    sink = subprocess.Popen([BENCH, "sink", f"127.0.0.1:{bench.sink_port}", "--exit-after",
                             str(round(total * (1 - share))), *arguments], stdout=subprocess.PIPE, text=True)
    sink.stdout.readline()
    before, cpu, begin = sum(map(deferred, nodes)), cpu_all(nodes), time.monotonic()
    words = [] if options.senders else ["--incompressible"]
    sender = f"u{{n%{options.accounts}}}@bench.test" if options.accounts > 1 else "bench@bench.test"
    loads = [node.bench("--messages", each, "--sessions", 16, "--size", 4096, *words, "--from", sender, "--to",
                        "rcpt{n%1000}@sink.test") for node in nodes]
    said = [load.communicate()[0] for load in loads]
    assert not any(load.returncode for load in loads), said
    assert sink.wait(600) == 0
    took = time.monotonic() - begin
    wait_until("the rest is deferred", lambda: sum(map(deferred, nodes)) - before >= total * share, 60)
    time.sleep(2 * REPORT_S if options.senders else 0)
    used = cpu_all(nodes) - cpu - at_rest * (time.monotonic() - begin)
    for node in nodes:
        node.api("POST", "/v1/queue/delete", {"all": True})
    return total / took, used / total * 1e6


def main():
    bench = Bench(options.dir)
    try:
        cluster = bench.cluster(Member, count=options.nodes).form()
        policies, sinks = plan()
        at_rest = idle(cluster.nodes)
        for name, arguments in sinks.items():
            got = {what: [] for what in policies}
            for turn in range(options.turns + 1):
                for what in sorted(got, key=list(got).index, reverse=turn % 2 == 1):
                    policy(cluster, policies[what])
                    result = run(bench, cluster, arguments, at_rest)
                    if turn > 0:  # the first one warms up
                        got[what].append(result)
                    print(name, what, result, file=sys.stderr)
            for what, results in got.items():
                rate, cpu = (statistics.median(r[i] for r in results) for i in (0, 1))
                print(f"{name}, {what}: {rate:,.0f} messages/s, {cpu:.0f} µs CPU per message")
            first, *others = got
            for what in others:
                for i, of in enumerate(("messages/s", "CPU per message")):
                    ratios = [100 * (b[i] / a[i] - 1) for a, b in zip(got[first], got[what])]
                    print(f"{name}, {what}, pair by pair: {statistics.median(ratios):+.1f} % {of} "
                          f"(from {min(ratios):+.1f} to {max(ratios):+.1f})")
    except BaseException:
        bench.tell()
        raise
    finally:
        bench.close()


if __name__ == "__main__":
    main()
