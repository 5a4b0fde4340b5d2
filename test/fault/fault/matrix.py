"""Many runs, one after another or some at a time, each in a process of its own; a line that says how far it is, and a table
at the end."""
import concurrent.futures
import json
import shutil
import subprocess
import sys
import threading
import time

from .judge import judged
from .run import catalogue, workloads

SHORT = "partition-leader,pause-holder,kill-random-loop,disk"  # with 20 s: what every change goes through
OVERHEAD_S = 30  # of a run: setting up, the time after the last fault, draining, looking
WIDTH = 24
SIGN = {"pass": ".", "fail": "FAIL", "inconclusive": "?", "not carried out": "!"}


def chosen(text, known, plus=False):
    if text == "all":
        return list(known)
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        for part in name.split("+") if plus else [name]:
            if part not in known and not (plus and part == "none"):
                sys.exit(f"there is no {part!r}: {', '.join(known)}")
    return names


class Progress:
    def __init__(self, total, seconds, jobs):
        self.total, self.done, self.began, self.each = total, 0, time.monotonic(), (seconds + OVERHEAD_S) / jobs
        self.lock = threading.Lock()

    def show(self, what, done=0):
        with self.lock:
            self.done += done
            spent = time.monotonic() - self.began
            each = spent / self.done if self.done else self.each
            left = round(each * (self.total - self.done))
            filled = WIDTH * self.done // self.total
            line = (f"[{'#' * filled}{' ' * (WIDTH - filled)}] {self.done}/{self.total}, {left // 60}:{left % 60:02} left: "
                    f"{what}")
            if sys.stderr.isatty():
                print(f"\r{line:<110.110}", end="", file=sys.stderr, flush=True)
            else:
                print(line, file=sys.stderr, flush=True)


def one(options, workload, fault, seed):
    """(outcome, what is to be said of it, folder)."""
    folder = options.out / f"{workload}-{fault}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "fault", "run", "--workload", workload, "--fault", fault, "--seed", str(seed), "--seconds",
               str(options.seconds), "--engine", options.engine, "--out", str(folder), "--no-check"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds * 3 + 400, check=False)
    except subprocess.TimeoutExpired:
        return "not carried out", "it did not end", folder
    if done.returncode != 0:
        return "not carried out", (done.stderr.strip().splitlines() or ["no reason given"])[-1], folder
    outcome, verdicts = judged(folder / "history.jsonl")
    said = "; ".join(f"{v.invariant}: {v.why}" for v in verdicts if v.outcome == outcome and outcome != "pass")
    return outcome, said, folder


def table(results, rows, columns):
    wide = max(len(column) for column in columns) + 2
    print(f"{'':22}" + "".join(f"{column:<{wide}}" for column in columns))
    for row in rows:
        cells = [results.get((column, row)) for column in columns]
        print(f"{row:22}" + "".join(f"{SIGN[cell['outcome']] if cell else '':<{wide}}" for cell in cells))


def matrix(options):
    kinds = chosen(options.workloads, workloads())
    faults = chosen(options.faults, catalogue(), plus=True)
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    cells = [(kind, fault) for fault in faults for kind in kinds]
    progress, results, lock = Progress(len(cells), options.seconds, options.jobs), {}, threading.Lock()

    def work(number, kind, fault):
        tries = []
        for again in range(options.again + 1):
            progress.show(f"{kind} x {fault}" + (", again" if again else ""))
            seed = options.seed + number + 1000 * again
            outcome, said, folder = one(options, kind, fault, seed)
            tries.append({"seed": seed, "outcome": outcome, "why": said, "folder": str(folder)})
            if outcome in ("pass", "fail"):
                break
        with lock:
            results[kind, fault] = tries[-1] | {"tries": tries}
            rows = [{"workload": k, "fault": f, **cell} for (k, f), cell in results.items()]
            (options.out / "matrix.json").write_text(json.dumps(rows, indent=1) + "\n")
        progress.show(f"{kind} x {fault}: {outcome}", 1)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for future in [pool.submit(work, number, *cell) for number, cell in enumerate(cells)]:
            future.result()
    print(file=sys.stderr)
    table(results, faults, kinds)
    for (kind, fault), cell in results.items():
        for attempt in cell["tries"]:
            if attempt["outcome"] != "pass":
                print(f"\n{kind} x {fault}, seed {attempt['seed']}: {attempt['outcome']}\n  {attempt['why'][:600]}\n  "
                      f"{attempt['folder']}")
    outcomes = [cell["outcome"] for cell in results.values()]
    print(f"\n{len(outcomes)} runs: " + ", ".join(f"{outcomes.count(o)} {o}" for o in SIGN if o in outcomes))
    return 1 if "fail" in outcomes else 2 if set(outcomes) - {"pass"} else 0
