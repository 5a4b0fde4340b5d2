"""Builds Turnpike with each of the faults in faults.txt, one at a time, and sees that the tests named there fail.

usage: test/mutants.sh [--build DIR] [--jobs N] [--missing] [--quick] [--sound] [--table] [--by TEST] [NAME...]

  --missing  only by those tests that have not found them yet
  --quick    only by test programs, not by whole nodes and clusters
  --sound    first the same tests without a fault, which must pass
  --by TEST  not by those in faults.txt, but by this one
  --table    nothing is run: what is known, as Markdown

What is found is kept in DIR/results.json. Exit 0: each that was asked for was found by every test named for it.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import table

LIMIT_S = 300
E2E_TARGETS = ["turnpiked", "turnpike"]
PYTHON = "/usr/bin/python3"


class Runner:
    def __init__(self, args):
        self.build, self.jobs = pathlib.Path(args.build).resolve(), args.jobs
        self.results_path = self.build / "results.json"
        self.results = json.loads(self.results_path.read_text()) if self.results_path.exists() else {}

    def keep(self):
        self.results_path.write_text(json.dumps(self.results, indent=1))

    def make(self, mutant, tests):
        """None, or why there is no program."""
        targets = sorted({target for test in tests for target in (E2E_TARGETS if test[0] in ("e2e", "fault") else test[:1])})
        configure = ["cmake", "-S", table.ROOT, "-B", self.build, f"-DTURNPIKE_MUTANT={mutant}"]
        if not (self.build / "CMakeCache.txt").exists():
            configure += ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_C_FLAGS=-Og"]
            if subprocess.run(["sh", "-c", "command -v ccache"], stdout=subprocess.DEVNULL).returncode == 0:
                configure += ["-DCMAKE_C_COMPILER_LAUNCHER=ccache"]
        for command in (configure, ["cmake", "--build", self.build, "-j", str(self.jobs), "--target", *targets]):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode != 0:
                return "\n".join(done.stdout.splitlines()[-30:])
        return None

    def program(self, target):
        for found in self.build.rglob(target):
            if found.is_file() and os.access(found, os.X_OK):
                return found
        raise SystemExit(f"{target}: not in {self.build}")

    def command(self, test):
        """What to run, and where."""
        kind, *rest = test
        if kind == "e2e":
            return [PYTHON, "-m", "pytest", "-q", "-x", "--tb=line", "-p", "no:cacheprovider", *rest], table.ROOT / "test/e2e"
        if kind == "fault":
            workload, fault, seconds, seed, _ = rest
            out = self.build / "fault-runs" / "-".join(rest)
            shutil.rmtree(out, ignore_errors=True)
            return [PYTHON, "-m", "fault", "run", "--workload", workload, "--fault", fault, "--seconds", seconds, "--seed",
                    seed, "--out", out], table.ROOT / "test/fault"
        return [self.program(kind), *rest], self.build

    def run(self, test):
        """(failed, how it says so, seconds)"""
        command, folder = self.command(test)
        env = dict(os.environ, TURNPIKE_BUILD=str(self.build))
        started = time.monotonic()
        try:
            done = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=LIMIT_S, errors="replace")
        except subprocess.TimeoutExpired:
            # A program that hangs has failed; a cluster may only be slow.
            return test[0] not in ("e2e", "fault"), f"no end within {LIMIT_S} s", time.monotonic() - started
        if test[0] == "fault":  # a slow machine fails I6
            broken = re.findall(rf"^{test[-1]} +fail .*", done.stdout, re.M)
            return bool(broken), broken[0] if broken else says(done.stdout), time.monotonic() - started
        return done.returncode != 0, says(done.stdout), time.monotonic() - started


def says(output):
    """The line that names what failed."""
    for pattern in (r"^\[  FAILED  \] (?:\w+: )?([a-z][\w.]+)$", r"^(seed \d+\b.*)", r"^FAILED (\S+)", r"^(I\d +fail .*)", r"^(E  .*)",
                    r"^(.*(?:[Aa]ssert|ensure|FAIL|fault).*)"):
        found = re.findall(pattern, output, re.M)
        if found:
            return ", ".join(dict.fromkeys(found)) if pattern.startswith(r"^\[") else found[0].strip()
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def name_of(test):
    return " ".join(test)


def sound(runner, tests):
    """The same tests without a fault. How many fail."""
    tests = sorted({tuple(test) for test in tests})
    print(f"without a fault: {len(tests)} tests", flush=True)
    why = runner.make("", tests)
    if why is not None:
        raise SystemExit(f"cannot be built:\n{why}")
    bad = 0
    for test in tests:
        failed, how, seconds = runner.run(test)
        bad += failed
        print(f"  {name_of(test)}: {'FAILED: ' + how if failed else 'passed'} ({seconds:.1f} s)", flush=True)
    return bad


def try_one(runner, one, tests):
    """True: all these tests fail."""
    known = runner.results.setdefault(one.name, {})
    why = runner.make(one.name, tests)
    if why is not None:
        print(f"{one.name}: CANNOT BE BUILT\n{why}", flush=True)
    for test in tests:
        failed, how, seconds = runner.run(test) if why is None else (False, "", 0.0)
        known[name_of(test)] = {"failed": failed, "how": how if failed else "", "seconds": round(seconds, 1)}
        print(f"{one.name}: {'found' if failed else 'NOT FOUND'} by {name_of(test)} after {seconds:.1f} s: {how[:160]}", flush=True)
    runner.keep()
    return all(known[name_of(test)]["failed"] for test in tests)


def markdown(results, mutants):
    group = None
    for one in mutants.values():
        if one.group != group:
            group = one.group
            print(f"\n## {group}\n\n| fault | the rule that it breaks | found by | after |\n|---|---|---|---|")
        known = results.get(one.name, {})
        by = [(name_of(test), known[name_of(test)]) for test in one.by if known.get(name_of(test), {}).get("failed")]
        tests = "<br>".join(f"`{name}`{detail(entry['how'])}" for name, entry in by) or "**nothing**"
        after = "<br>".join(f"{max(entry['seconds'], 0.1):.1f} s" for name, entry in by)
        print(f"| `{one.name}` | {one.rule} | {tests} | {after} |")


def detail(how):
    seed = re.search(r"seed (\d+)", how)
    if seed:
        return f", seed {seed[1]}"
    if "broken invariant" in how:
        return ", which stops by itself"
    if how.startswith("I"):
        return ""
    first = how.split(", ")[0].removeprefix("[  FAILED  ] ")
    return f": {first}" if re.fullmatch(r"[a-z][\w.]+", first) else ""


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--build", default=table.ROOT / "build/mutants")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    for flag in ("--missing", "--quick", "--sound", "--table"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--by")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    mutants = table.load()
    runner = Runner(args)
    if args.table:
        return markdown(runner.results, mutants)
    unknown = [name for name in args.names if name not in mutants]
    if unknown:
        raise SystemExit(f"no such fault: {', '.join(unknown)}")
    wanted = []
    for one in mutants.values():
        if args.by:
            one.by = [args.by.split()]
        known = runner.results.get(one.name, {})
        tests = [test for test in one.by if not (args.quick and test[0] in ("e2e", "fault"))
                 and not (args.missing and known.get(name_of(test), {}).get("failed"))]
        if tests and (not args.names or one.name in args.names):
            wanted.append((one, tests))
    bad = sound(runner, [test for _, tests in wanted for test in tests]) if args.sound else 0
    survive, began = [], time.monotonic()
    for done, (one, tests) in enumerate(wanted, 1):
        if not try_one(runner, one, tests):
            survive.append(one.name)
        left = (time.monotonic() - began) / done * (len(wanted) - done)
        print(f"[{done}/{len(wanted)}] about {left / 60:.0f} min left", flush=True)
    print(f"{len(wanted) - len(survive)} of {len(wanted)} faults found in {(time.monotonic() - began) / 60:.1f} min"
          + (f"; NOT found: {', '.join(survive)}" if survive else ""))
    return 1 if survive or bad else 0


if __name__ == "__main__":
    sys.exit(main())
