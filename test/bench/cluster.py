#!/usr/bin/python3
"""What a cluster costs and how fast it is: three real nodes on loopback.

    cluster.py --build build/release [--only hot,new,...] [--results FILE] [--quick] [--write]

Each measurement is kept in the results file; --write puts all that are there into docs/performance.md (`--only ,` does
only that). `redis` needs
root and Debian's postfix, rspamd and redis-server; `catchup` needs root and network namespaces with tc's tbf. Without
what it needs a measurement is left out, and says why.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- cluster.py: begin -->", "<!-- cluster.py: end -->"
options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
options.add_argument("--dir", type=pathlib.Path, default=ROOT / "build/cluster", help="where the nodes are")
options.add_argument("--results", type=pathlib.Path, default=ROOT / "build/cluster.json")
options.add_argument("--only", default="")
options.add_argument("--quick", action="store_true", help="fewer repetitions")
options.add_argument("--write", action="store_true")
options = options.parse_args()
os.environ["TURNPIKE_BUILD"] = str(options.build.resolve())

from nodes import (FAR, NONE, Alone, Bench, Loaded, Member, await_applied, cpu_seconds, disk_mib, policy, settings,  # noqa: E402
                   wait_until)


def rank(values, q):
    """The value that a part q of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def spread(values, form="{:.0f}"):
    return f"{form.format(statistics.median(values))} ({form.format(min(values))} to {form.format(max(values))})"


def repeats(n):
    return max(2, n // 4) if options.quick else n


# ---- messages of hot senders: what do quotas cost? ---------------------------------------------------------------------

def push(bench, nodes, messages):
    """The same load on all nodes at once: messages per second until the sink has the last one, CPU per message."""
    sink = bench.sink(messages * len(nodes))
    cpu, begin = sum(map(cpu_seconds, nodes)), time.monotonic()
    loads = [n.bench("--messages", messages, "--sessions", 16, "--size", 4096, "--incompressible", "--from",
                     "bench@bench.test", "--to", "rcpt{n%1000}@sink.test") for n in nodes]
    for load in loads:
        text = load.communicate()[0]
        assert load.returncode == 0, text
    assert sink.wait(300) == 0
    took = time.monotonic() - begin
    time.sleep(0.3)
    return messages * len(nodes) / took, (sum(map(cpu_seconds, nodes)) - cpu) / messages / len(nodes) * 1e6


def pause(nodes, on):
    for node in nodes:
        os.kill(node.process.pid, 19 if on else 18)


def hot(bench):
    cluster, alone = bench.cluster(Member).form(), bench.alone()
    got = {"alone": [], "off": [], "on": []}
    messages = 2000 if options.quick else 3000
    for turn in range(repeats(7) + 1):
        for kind in got:
            pause(alone, kind != "alone")
            pause(cluster.nodes, kind == "alone")
            if kind != "alone":
                cluster.wait_healthy(60)
                policy(cluster, FAR if kind == "on" else NONE)
            result = push(bench, alone if kind == "alone" else cluster.nodes, messages)
            if turn > 0:
                got[kind].append(result)
            print(kind, result, file=sys.stderr)
    pause(alone, False)

    def ratio(a, b, i):
        return statistics.median(x[i] / y[i] for x, y in zip(got[a], got[b]))
    rows = [[f"hot senders, {name}", f"{statistics.median(r[0] for r in got[kind]):,.0f} messages/s, "
             f"{statistics.median(r[1] for r in got[kind]):.0f} µs CPU per message", ""]
            for kind, name in (("alone", "three nodes without a cluster"), ("off", "a cluster, no limits"),
                               ("on", "a cluster, three limits"))]
    rows.append(["quotas on against a cluster without limits, pair by pair",
                 f"{100 * (ratio('on', 'off', 0) - 1):+.1f} % messages/s, {100 * (ratio('on', 'off', 1) - 1):+.1f} % CPU",
                 "at most -5 % messages/s"])
    rows.append(["quotas on against no cluster, pair by pair",
                 f"{100 * (ratio('on', 'alone', 0) - 1):+.1f} % messages/s, "
                 f"{100 * (ratio('on', 'alone', 1) - 1):+.1f} % CPU", ""])
    return rows


# ---- every message from a new sender -----------------------------------------------------------------------------------

counter = iter(range(1 << 30))


def grants(nodes, count, rate, waiting, senders=0):
    names = [f"r{next(counter)}" for _ in nodes]
    for node, name in zip(nodes, names):
        node.order(f"run {name} {count} {rate} {waiting} {senders}")
    results = [node.result() for node in nodes]
    refused = sum(r["errors"] for r in results)
    if refused:
        print(f"{refused} of {count * len(nodes)} questions had no answer in time: counted as not granted", file=sys.stderr)
    return results


def total(results):
    return sum(r["granted"] for r in results) / max(r["seconds"] for r in results)


def worst(results, what):
    return max(r[what] for r in results) / 1000


def new(bench):
    """About a million senders in all: a machine has room for four million counters, and each needs two."""
    cluster = bench.cluster().form()
    policy(cluster, FAR)
    rows = []
    for waiting in (16, 64, 256):
        runs = [grants(cluster.nodes, 50 * waiting + 5000, 0, waiting) for _ in range(repeats(6))]
        rows.append([f"new senders, {waiting} waiting on each node", f"{spread([total(r) for r in runs], '{:,.0f}')} grants/s",
                     "20,000 grants/s" if waiting == 256 else ""])
    writers = [Alone(Alone.WRITE, bench.folder / f"writer{i}") for i in range(3)]
    time.sleep(5)
    rows.append(["the disk alone: three processes, each 300 writes of 4 KiB a second, direct and synchronous: p50 / p99 / longest",
                 "{:.2f} / {:.2f} / {:.0f} ms".format(*map(max, zip(*[w.end() for w in writers]))), ""])
    for rate in (300, 1000, 3000, 6700):
        sleeper = Alone(Alone.SLEEP)
        runs = [grants(cluster.nodes, rate * 2, rate, 4000) for _ in range(repeats(12 if rate == 6700 else 6))]
        late = sleeper.end()
        p50, p99 = [worst(r, "p50_us") for r in runs], [worst(r, "p99_us") for r in runs]
        rows.append([f"new senders, {3 * rate:,} a second offered: a grant, p50 / p99 of the slowest node",
                     f"{spread(p50, '{:.1f}')} / {spread(p99, '{:.1f}')} ms", "p99 10 ms" if rate == 6700 else ""])
        if late is not None:
            rows.append(["... and how late a thread woke meanwhile that nothing of it can hold up: p99 / longest",
                         f"{late[1]:.1f} / {late[2]:.1f} ms", ""])
        print(rows[-2:], file=sys.stderr)
    runs = [grants(cluster.nodes, 100000, 0, 1, 1) for _ in range(repeats(8))]
    each = [max(1e6 * r["cpu_seconds"] / r["granted"] for r in run) for run in runs]
    rows.append(["a token in hand: reserve, check, spend, on three nodes at once, with what the load generator takes for it: of a processor",
                 f"{spread(each, '{:.2f}')} µs", "2 µs"])
    policy(cluster, "limits: [{name: few, for: account, count: 3, window: 1h}]\n")
    name = f"run h{next(counter)} 20000 0 1 1"
    for node in cluster.nodes:
        node.do(name)

    def asked():
        totals = cluster.nodes[0].cluster()["totals"]
        return totals["granted"] + totals["refused"]
    await_applied(cluster.nodes)
    before, refused = asked(), [node.do(name.replace("20000", "200000")) for node in cluster.nodes]
    await_applied(cluster.nodes)
    rows.append(["a refused sender tries on all nodes",
                 f"{sum(r['refused'] for r in refused):,} refusals, {asked() - before} entries in the log", "0 entries"])
    return rows


# ---- the leader dies ---------------------------------------------------------------------------------------------------

def leader(bench):
    cluster = bench.cluster().form()
    policy(cluster, FAR)
    waits, gaps = [], []
    for turn in range(repeats(20)):
        victim = cluster.leader(timeout=30)
        fresh, hot_one = [n for n in cluster.nodes if n is not victim][::1 if turn % 2 else -1]
        hot_one.do(f"run hot{turn} 500 500 100 1")
        fresh.order(f"run l{turn} 1200 200 4000")
        hot_one.order(f"run hot{turn} 3000 500 100 1")
        time.sleep(1)
        killed = time.monotonic()
        victim.kill()
        new_one, old_one = fresh.result(), hot_one.result()
        assert new_one["gap_end_s"] > killed, new_one
        waits.append((new_one["gap_end_s"] - killed) * 1000)
        gaps.append(old_one["max_us"] / 1000)
        print(victim.name, waits[-1], gaps[-1], new_one["errors"], old_one["errors"], file=sys.stderr)
        victim.restart()
        cluster.wait_healthy(60)
    return [[f"leader killed {len(waits)} times: to the next new grant, p50 / p99",
             f"{rank(waits, 0.5):,.0f} / {rank(waits, 0.99):,.0f} ms", "p99 2,000 ms"],
            ["meanwhile a sender with tokens, 500 messages/s: longest wait, p50 / p99",
             f"{rank(gaps, 0.5):.1f} / {rank(gaps, 0.99):.1f} ms", "no gap"]]


# ---- freeze ------------------------------------------------------------------------------------------------------------

def freeze(bench):
    cluster = bench.cluster(Member).form()
    took = []
    for turn in range(repeats(200)):
        node = cluster.nodes[turn % 3]
        begin = time.monotonic()
        answer = node.api("POST", "/v1/freeze", {"account": f"u{turn}@bench.test"})
        took.append((time.monotonic() - begin) * 1000)
        assert [row["how"] for row in answer["nodes"]] == ["confirmed"] * 3, answer
        time.sleep(0.02)
    return [[f"{len(took)} freezes on nodes in turn, all confirmed: p50 / p99",
             f"{rank(took, 0.5):.1f} / {rank(took, 0.99):.1f} ms", "p99 50 ms"]]


# ---- a large state -----------------------------------------------------------------------------------------------------

class Watcher(threading.Thread):
    """The most that the replicas' folders ever hold, and nodes have resident."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster, self.most, self.resident, self.over = cluster, 0, 0, False
        self.start()

    def run(self):
        while not self.over:
            self.most = max([self.most] + [disk_mib(n.folder / "data/cluster/raft") for n in self.cluster.nodes])
            self.resident = max([self.resident] + [n.resident_mib() for n in self.cluster.nodes])
            time.sleep(0.2)


ROUNDS = int(os.environ.get("TURNPIKE_ROUNDS", 50))  # 50: half of the hundredths; each takes some seconds


def fill(cluster, senders, rounds):
    """Each sender has something in one hundredth after the other of its two windows."""
    each = senders // 3
    for number in range(rounds):
        cluster.leader(timeout=30).do("skip 36000")
        for node in cluster.nodes:
            node.order(f"run {node.name} {each} 0 256 {each}")
        results = [node.result() for node in cluster.nodes]
        print(number, round(total(results)), [r["errors"] for r in results], file=sys.stderr)


def most(rows, key):
    return max(row[key] for row in rows)


def snapshots(node):
    return {f.name for f in (node.folder / "data/cluster/raft").glob("snapshot-*")}


def one_more_snapshot(node, leader, accounts, look):
    """What `look` says again and again until the node has taken one, with nothing else to do than now and then accounts."""
    before, seen, end = snapshots(node), [], time.monotonic() + 300
    while snapshots(node) <= before and time.monotonic() < end:
        leader.do(f"accounts {accounts // 50} {73 + len(seen) % 2}")
        seen.append(look())
    return seen


def resident(node, leader, accounts):
    """Of a node: MiB without a snapshot under way, once it has taken one; and most meanwhile."""
    most_mib = max(one_more_snapshot(node, leader, accounts, node.resident_mib))
    wait_until(f"{node.name} has given back what it needed for the snapshot", lambda: node.resident_mib() < most_mib, 30)
    time.sleep(2)
    return node.resident_mib(), most_mib


def memory(bench):
    cluster = bench.cluster().form()
    policy(cluster, FAR.replace("window: 1d", "window: 61m"))
    watcher = Watcher(cluster)
    accounts, senders = (100000, 12000) if options.quick else (1000000, 99999)
    took = cluster.leader().do(f"accounts {accounts} 73")["seconds"]
    await_applied(cluster.nodes)
    for node in cluster.nodes:
        node.do("lag")
    fill(cluster, senders, ROUNDS)
    lags = [node.do("lag") for node in cluster.nodes]
    print(lags, file=sys.stderr)
    state = cluster.nodes[0].cluster()["totals"]
    target = cluster.followers()[0]
    target.do("lag")
    quiet = one_more_snapshot(target, cluster.leader(), accounts, lambda: target.do("lag"))
    snapshot = max(f.stat().st_size for f in (target.folder / "data/cluster/raft").glob("snapshot-*")) / 2**20
    watcher.over = True
    times, sizes, taking = [], [], []
    for node in cluster.followers():
        node.kill()
        node.program = None
        begin = time.monotonic()
        node.expected_exit = 0
        node.start()
        node.wait_ready(120)
        times.append(time.monotonic() - begin)
        small, large = resident(node, cluster.leader(), accounts)
        sizes.append(small)
        taking.append(large)
    return [[f"{state['accounts']:,} accounts, {senders:,} with two windows of which {ROUNDS} of 100 parts are used ({state['counters']:,} counters): resident",
             f"{max(sizes):.0f} MiB after a restart (load generator included)", "400 MiB"],
            ["... most while a snapshot is taken, after a restart / while it grew",
             f"{max(taking):.0f} / {watcher.resident:.0f} MiB", ""],
            ["restart until it takes mail", f"{max(times):.1f} s", "10 s"],
            ["the cluster thread's longest pause, snapshots being taken, without other load / at full load: by its own work",
             f"{most(quiet, 'busiest_ms'):.0f} / {most(lags, 'busiest_ms'):.0f} ms", "50 ms"],
            ["... and when its waiting for a processor counts, on two for three nodes",
             f"{most(quiet, 'longest_ms'):.0f} / {most(lags, 'longest_ms'):.0f} ms", ""],
            [f"on disk at most, state {snapshot:.0f} MiB (snapshot, compressed as it is)", f"{watcher.most:.0f} MiB",
             f"{4 * snapshot + 128:.0f} MiB"],
            [f"{accounts:,} accounts set through the log", f"{accounts / took:,.0f} a second", ""]]


MEASUREMENTS = {"hot": hot, "new": new, "leader": leader, "freeze": freeze, "memory": memory}


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} x {model}, {gib:.0f} GiB, Linux {platform.release()}"


def tables(results):
    lines = ["| what | measured | wanted | date, load of the machine before |", "|---|---:|---:|---|"]
    for name in [*MEASUREMENTS, *results]:
        if name in results:
            kept = results.pop(name)
            lines += [f"| {' | '.join(row)} | {kept['when']} |" for row in kept["rows"]]
    return "\n".join([machine() + ". Generators, nodes and sink share the processors.", "", *lines, ""])


def main():
    try:
        import rivals
        MEASUREMENTS.update(rivals.MEASUREMENTS)
    except ImportError:
        pass
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    for name in filter(None, options.only.split(",") if options.only else MEASUREMENTS):
        load = os.getloadavg()[0]
        bench = Bench(options.dir / name)
        try:
            rows = MEASUREMENTS[name](bench)
        except BaseException:
            bench.tell()
            raise
        finally:
            bench.close()
        if isinstance(rows, str):
            print(f"{name}: left out: {rows}", file=sys.stderr)
            continue
        results[name] = {"when": f"{datetime.date.today()}, {load:.1f}", "rows": rows}
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_text(json.dumps(results, indent=1))
    text = tables(results)
    print(text)
    if options.write:
        path = ROOT / "docs/performance.md"
        head, rest = path.read_text().split(BEGIN)
        path.write_text(head + BEGIN + "\n" + text + "\n" + END + rest.split(END)[1])
    shutil.rmtree(options.dir, ignore_errors=True)


if __name__ == "__main__":
    main()
