"""Many runs, some at a time, each in a process of its own, with a line that says how far they are. What proved nothing is
repeated with another seed; and what was late is repeated alone, since it may have been this machine that was."""
import concurrent.futures
import dataclasses
import shutil
import subprocess
import sys
import threading
import time

from .judge import judged

OVERHEAD_S = 30  # of a run: setting up, the time after the last fault, draining, looking
WIDTH = 24
LATE = {"I6"}


@dataclasses.dataclass
class Cell:
    """A run that is wanted, and what became of each try of it."""
    workload: str
    fault: str
    seed: int
    engine: str = ""  # another one than is asked for
    tries: list = dataclasses.field(default_factory=list)

    @property
    def name(self):
        return f"{self.workload} x {self.fault}"

    @property
    def outcome(self):
        return self.tries[-1]["outcome"]

    @property
    def seconds(self):
        return sum(attempt["took_s"] for attempt in self.tries)

    def late(self):
        return self.outcome == "fail" and set(self.tries[-1]["failed"]) == LATE

    def row(self):
        return {"workload": self.workload, "fault": self.fault, **self.tries[-1], "tries": self.tries}


class Progress:
    def __init__(self, total, each_s):
        self.total, self.done, self.began, self.each = total, 0, time.monotonic(), each_s
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


def attempt(options, cell, seed, folder):
    """One run, and the judgement of it."""
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "fault", "run", "--workload", cell.workload, "--fault", cell.fault, "--seed", str(seed),
               "--seconds", str(options.seconds), "--engine", cell.engine or options.engine, "--out", str(folder), "--no-check"]
    if options.before is not None:
        command += ["--before", str(options.before)]
    outcome, failed, why = "not carried out", [], "it did not end"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds * 3 + 400, check=False)
        if done.returncode != 0:
            why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        else:
            outcome, verdicts = judged(folder / "history.jsonl")
            failed = [v.invariant for v in verdicts if v.outcome == "fail"]
            why = "; ".join(f"{v.invariant}: {v.why}" for v in verdicts if v.outcome == outcome and outcome != "pass")
    except subprocess.TimeoutExpired:
        pass
    cell.tries.append({"seed": seed, "outcome": outcome, "failed": failed, "why": why, "folder": str(folder),
                       "took_s": round(time.monotonic() - began, 1)})


def carry_out(options, cells, tell=lambda cell: None):
    """All cells; `tell` hears of each that has an outcome, and again if it was repeated alone."""
    progress, lock = Progress(len(cells), (options.seconds + OVERHEAD_S) / options.jobs), threading.Lock()

    def work(cell):
        for again in range(options.again + 1):
            progress.show(cell.name + (", again" if again else ""))
            seed = cell.seed + 1000 * again
            attempt(options, cell, seed, options.out / f"{cell.workload}-{cell.fault}-{seed}")
            if cell.outcome in ("pass", "fail"):
                break
        with lock:
            tell(cell)
        progress.show(f"{cell.name}: {cell.outcome}", 1)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for future in [pool.submit(work, cell) for cell in cells]:
            future.result()
    for cell in filter(Cell.late, cells if options.again else []):
        progress.show(f"{cell.name}, alone")
        seed = cell.tries[-1]["seed"]
        attempt(options, cell, seed, options.out / f"{cell.workload}-{cell.fault}-{seed}-alone")
        tell(cell)
        progress.show(f"{cell.name}: {cell.outcome} alone")
    print(file=sys.stderr)
