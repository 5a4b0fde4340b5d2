#!/usr/bin/env python3
"""How long `turnpike track` takes over three nodes whose histories hold a million finished messages together.

    cmake --preset release && cmake --build --preset release
    test/bench/track.py --write

Each question is asked of every node in turn by the command line's program, its start included: cold, with the files out
of the kernel's cache, and then again. With --write the figures go into docs/performance.md."""
import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
options.add_argument("--dir", type=pathlib.Path, default=ROOT / "build/track", help="where the nodes are")
options.add_argument("--messages", type=int, default=1000000)
options.add_argument("--rounds", type=int, default=5, help="how often each question is asked again of each node")
options.add_argument("--write", action="store_true")
options = options.parse_args()
os.environ["TURNPIKE_BUILD"] = str(options.build.resolve())

from nodes import Bench, Member  # noqa: E402

BEGIN, END = "<!-- track.py: begin -->", "<!-- track.py: end -->"


def questions(id):
    """What is asked, and of what; see histories.c for what there is."""
    middle = options.messages // 2
    user, news = "user77@customer77.example", "news@letters.example"
    hour = ["--since", "100h", "--until", "99h"]
    return [
        ("Message-ID", ["--message-id", f"<{middle}@bench.example>"]),
        ("a Message-ID that is not there", ["--message-id", "<nothing@bench.example>"]),
        ("queue id", [id]),
        ("sender", ["--sender", user]),
        ("sender of a tenth of all mail", ["--sender", news]),
        ("a domain's senders", ["--sender", "@customer7.example"]),
        ("recipient", ["--recipient", "person77@large1.example"]),
        ("a large domain's recipients", ["--recipient", "@large1.example"]),
        ("a small domain's recipients", ["--recipient", "@domain77.example"]),
        ("an hour", hour),
        ("a small tenant", ["--tenant", "small.example", "--since", "240h"]),
        ("a small tenant, an hour", ["--tenant", "small.example", *hour]),
        ("what bounced", ["--status", "bounced"]),
        ("sender and recipient", ["--sender", user, "--recipient", "@large1.example"]),
        ("busy sender and small domain", ["--sender", news, "--recipient", "@domain77.example"]),
        ("busy sender and large domain", ["--sender", news, "--recipient", "@large1.example"]),
        ("sender, large domain, an hour", ["--sender", user, "--recipient", "@large1.example", *hour]),
        ("large domain, bounced, an hour", ["--recipient", "@large2.example", "--status", "bounced", *hour]),
        ("large domain and nobody's account", ["--recipient", "@large1.example", "--account", "nobody"]),
    ]


def fill(nodes):
    tool = options.build / "test/bench/turnpike-histories"
    filled = []
    for number, node in enumerate(nodes, 1):
        (node.folder / "data").mkdir(parents=True, exist_ok=True)
        done = subprocess.run([tool, node.folder / "data/history.db", str(number), str(len(nodes)),
                               str(options.messages)], check=True, capture_output=True, text=True)
        filled.append(json.loads(done.stdout))
    return filled


def forget(nodes):
    """The files leave the kernel's cache."""
    for node in nodes:
        for path in (node.folder / "data").glob("history.db*"):
            with open(path, "rb") as file:
                os.fdatasync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident(node, what="VmRSS"):
    return next(int(line.split()[1]) / 1024 for line in open(f"/proc/{node.process.pid}/status") if what in line)


def ask(node, args):
    begin = time.monotonic()
    done = subprocess.run([options.build / "cli/turnpike", "--socket", node.socket, "track", *args, "--json"],
                          capture_output=True, text=True)
    took = (time.monotonic() - begin) * 1000
    assert done.returncode in (0, 4), done.stderr
    answer = json.loads(done.stdout)
    assert answer["missing"] == [], answer["missing"]
    return took, len(answer["recipients"])


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return f"{os.cpu_count()} x {model}, {datetime.date.today()}, load of the machine before {os.getloadavg()[0]:.1f}."


def measure(bench):
    where = machine()
    cluster = bench.cluster(Member)
    filled = fill(cluster.nodes)
    cluster.form()
    before = max(resident(node) for node in cluster.nodes)
    first = json.loads(subprocess.run([options.build / "cli/turnpike", "--socket", cluster.nodes[0].socket, "track",
                                       "--since", "50h", "--until", "49h", "--limit", "1", "--json"], check=True,
                                      capture_output=True, text=True).stdout)["recipients"][0]["id"]
    lines = ["| asked by | rows | cold, median / longest | again, median / longest |", "|---|---:|---:|---:|"]
    for name, args in questions(first):
        cold, warm, rows = [], [], 0
        for node in cluster.nodes:
            forget(cluster.nodes)
            took, rows = ask(node, args)
            cold.append(took)
            warm += [ask(node, args)[0] for _ in range(options.rounds)]
        lines.append(f"| {name} | {rows} | {statistics.median(cold):.0f} / {max(cold):.0f} ms |"
                     f" {statistics.median(warm):.0f} / {max(warm):.0f} ms |")
        print(lines[-1], flush=True)
    most = max(resident(node, "VmHWM") for node in cluster.nodes)
    rows = sum(one["rows"] for one in filled)
    total = sum(one["bytes"] for one in filled)
    return "\n".join([
        f"{where} {options.messages:,} messages with {rows:,} recipients, {total / 2**20:.0f} MiB on three nodes; a row of"
        f" the history cost {max(one['cpu_us_per_row'] for one in filled):.1f} µs of a processor, with making up what to"
        f" write. A node took {before:.0f} MiB before it was asked, {most:.0f} MiB at most.", "", *lines, ""])


def main():
    bench = Bench(options.dir)
    try:
        text = measure(bench)
    except BaseException:
        bench.tell()
        raise
    finally:
        bench.close()
    print(text)
    if options.write:
        path = ROOT / "docs/performance.md"
        head, rest = path.read_text().split(BEGIN)
        path.write_text(head + BEGIN + "\n" + text + "\n" + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
