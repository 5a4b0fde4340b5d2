"""What fault runs and simulations have found, each with a schedule that showed it: run again and again, it must not come back.

A schedule is a test of its own where the bug could be cornered in one, and the run that found it besides.
"""
import collections
import concurrent.futures
import dataclasses
import os
import pathlib
import subprocess
import sys
import threading

from .many import OVERHEAD_S, Cell, Progress, attempt
from .nodes import BUILD, STRETCH

TESTS = pathlib.Path(__file__).resolve().parents[1] / "tests"
SIM = TESTS.parents[1] / "sim"
E2E = TESTS.parents[1] / "e2e"
SIGN = ("pass", "fail", "inconclusive", "not carried out")


@dataclasses.dataclass
class Run:
    """A run as the matrix does it."""
    workload: str
    fault: str
    seed: int
    seconds: float = 60

    @property
    def each_s(self):
        return self.seconds + OVERHEAD_S

    def __str__(self):
        return f"{self.workload} x {self.fault}, seed {self.seed}, {self.seconds:g} s"

    def once(self, options, number):
        cell = Cell(self.workload, self.fault, self.seed)
        options.seconds = self.seconds
        attempt(options, cell, self.seed, options.out / f"{self.workload}-{self.fault}-{self.seed}-{number}")
        return cell.outcome, cell.tries[-1]["why"]


@dataclasses.dataclass
class Script:
    """A schedule with real nodes; it prints what it saw last."""
    name: str
    says: str
    each_s: float = 15

    def __str__(self):
        return f"test/fault/tests/{self.name}"

    def once(self, _options, _number):
        done = subprocess.run([sys.executable, TESTS / self.name], capture_output=True, text=True, timeout=180 * STRETCH,
                              check=False)
        if done.returncode != 0:
            return "not carried out", done.stderr[-300:]
        return "pass" if done.stdout.strip() == self.says else "fail", done.stdout.strip()


@dataclasses.dataclass
class Program:
    """A test program of the build: all of it, or with arguments that choose the test."""
    path: str
    test: str
    each_s: float = 5
    arguments: tuple = ()

    def __str__(self):
        return f"{self.path}: {self.test}"

    def once(self, _options, _number):
        if not (BUILD / self.path).exists():
            return "not carried out", f"{BUILD / self.path} is not built"
        done = subprocess.run([BUILD / self.path, *self.arguments], capture_output=True, text=True, timeout=600 * STRETCH, check=False)
        return ("pass", "") if done.returncode == 0 else ("fail", (done.stdout + done.stderr)[-300:])


@dataclasses.dataclass
class EndToEnd:
    """A test of test/e2e, with real nodes."""
    test: str
    each_s: float = 12

    def __str__(self):
        return f"test/e2e/{self.test}"

    def once(self, _options, number):
        place = {"TURNPIKE_BUILD": str(BUILD), "PYTEST_XDIST_WORKER": f"gw{60 + number % 8}"}  # addresses of its own
        done = subprocess.run(["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", self.test], cwd=E2E,
                              env=os.environ | place, capture_output=True, text=True, timeout=300 * STRETCH, check=False)
        if done.returncode == 0 and " passed" in done.stdout and "skipped" not in done.stdout:
            return "pass", ""
        return "fail" if done.returncode == 1 else "not carried out", done.stdout[-300:]


@dataclasses.dataclass
class Bug:
    name: str
    what: str
    fix: str  # the commit's subject
    schedules: list


def named(program, test, each_s=5):
    return Program(f"test/unit/{program}", test, each_s, (test,))


BUGS = [
    Bug("removed", "who was removed shortly after another member heard nothing of it, and its 'node leave' never ended",
        "core: every member that is removed is told, also while others linger",
        [Script("second_removed.py", "not ready: this node has left its cluster"), Run("quota", "membership", 112)]),
    Bug("refused", "a spool that had been full refused for ever, as long as somebody tried five times a second",
        "spool: what is refused does not put off the next try",
        [Program("test/unit/spool/test_spool_rules", "test_refused_messages_do_not_put_off_the_next_try"),
         Run("spool", "disk", 415)]),
    Bug("snapshot", "a follower refused the entries after a snapshot that named another one's term, and freed them twice",
        "consensus: a snapshot that is sent names its own term",
        [named("replica/test_replica_snapshot", "test_install_of_another_term")]),
    Bug("commit", "a follower's commit index went back, and the snapshot that it took next was named by the lower one",
        "consensus: a follower's commit index never goes back",
        [named("replica/test_replica_basic", "test_commit_does_not_go_back"),
         Program("test/sim/cluster_sim", "seed 954, 10 events", 1, ("--replay", SIM / "schedules/commit-goes-back"))]),
    Bug("stopped", "a node that was stopped with a write of its log under way exited when it went on",
        "consensus: a process that was stopped is not taken for a disk that is stuck",
        [named("replica/test_replica_failure", "test_stopped_with_a_write", 10)]),
    Bug("overtaken", "a segment that compaction had emptied was taken for damaged when a message ended while it was copied",
        "spool: a copy that a message's end overtakes moves with it",
        [Program("test/unit/spool/test_spool_rules_keep", "test_compaction_overtaken_by_an_end", 1),
         Program("test/sim/cluster_sim", "seed 11", 1, ("11",))]),
    Bug("between", "a batch that was to move while the disk was full for a moment stayed in no queue until a restart",
        "core: a batch is marked again when the disk has room",
        [named("core/test_core_transfer", "test_marked_before_it_is_offered"), Run("addresses", "disk", 208)]),
    Bug("term", "a node that had led said for a moment that it led the next term, when it heard of that one",
        "consensus: leader and term in the status are of one moment",
        [named("replica/test_replica_basic", "test_leader_and_term_belong_together"), Run("freeze", "partition-one", 4401)]),
    Bug("silent", "connections from an address that got no answer took all of a site's places for half a minute",
        "delivery: a source address that gets no answer from a site holds nothing up",
        [EndToEnd("test_backoff.py::test_an_address_that_gets_no_answer_holds_nothing_up")]),
    Bug("set-right", "a clock that was set back five minutes delayed mail by as much",
        "queue: a clock that is set right delays nothing by as much as it was wrong",
        [Program("test/unit/queue/queue_items", "a_clock_set_right_delays_nothing", 1), Run("addresses", "clock", 4559)]),
    Bug("relay", "a relay that named somebody whose mail is held was not charged",
        "core: a relay is charged for mail that names somebody whose mail is held",
        [EndToEnd("test_cluster_quota.py::test_a_relay_is_charged_for_mail_of_somebody_held")]),
    Bug("meanwhile", "what came while a password, a token or a commit was awaited, and found nothing before it that was unread, began "
        "that a second time: the node aborted", "core: what is under way is not begun again by what comes meanwhile",
        [EndToEnd("test_core_sessions.py::test_what_comes_while_an_answer_is_awaited_waits_for_it", 20)]),
    Bug("crash-states", "ids given twice, states before their commits, a directory's sync that failed unnoticed",
        "spool: crash tests on a simulated disk, and what they found",
        [Program("test/unit/spool/test_spool_crash", "test_every_crash_point", 60)]),
]


def chosen(names):
    known = {bug.name: bug for bug in BUGS}
    for name in names:
        if name not in known:
            sys.exit(f"there is no {name!r}: {', '.join(known)}")
    return [known[name] for name in names] or BUGS


def regress(options):
    bugs = chosen(options.names)
    if options.list:
        for bug in bugs:
            print(f"{bug.name}: {bug.what}\n  {bug.fix}\n" + "".join(f"  - {one}\n" for one in bug.schedules))
        return 0
    options.out, options.engine, options.before = options.out.resolve(), "netns", None
    options.out.mkdir(parents=True, exist_ok=True)
    counts = {}
    for bug in bugs:
        for schedule in bug.schedules:
            if options.directed and isinstance(schedule, Run):
                continue
            counts[bug.name, str(schedule)] = repeat(options, f"{bug.name}: {schedule}", schedule)
    print()
    for (name, schedule), seen in counts.items():
        print(f"{name:14}{schedule}: " + ", ".join(f"{seen[sign]} {sign}" for sign in SIGN if seen[sign]))
    wrong = sum(seen["fail"] + seen["not carried out"] for seen in counts.values())
    return 1 if wrong else 0


def repeat(options, name, schedule):
    """How often it ended how."""
    seen, lock = collections.Counter(), threading.Lock()
    progress = Progress(options.times, schedule.each_s / options.jobs)
    progress.show(name)

    def work(number):
        outcome, why = schedule.once(options, number)
        with lock:
            seen[outcome] += 1
        if outcome != "pass":
            print(f"\n{name}, {number}: {outcome}: {why[:600]}")
        progress.show(name, 1)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for future in [pool.submit(work, number) for number in range(1, options.times + 1)]:
            future.result()
    print(file=sys.stderr)
    return seen
