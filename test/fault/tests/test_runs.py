"""Real nodes, in network namespaces: what is left when the harness is killed, alone or together with its janitor; and what
fault runs have found, as schedules that show it each time."""
import glob
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from fault.cleanup import folder_of, sweep_stale
from fault.engine_netns import missing_of_netns
from fault.nodes import NODE

PACKAGE = pathlib.Path(__file__).resolve().parents[1]

MISSING = missing_of_netns() if NODE.exists() else f"there is no {NODE}"

pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


def wait(what, check, seconds=60):
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until, f"waited in vain: {what}"
        time.sleep(0.05)


def spaces(run):
    return glob.glob(f"/run/netns/{run}-*")


def nodes_of(run):
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            words = pathlib.Path(path).read_bytes()
        except OSError:
            continue
        if b"--config\0" + str(folder_of(run)).encode() in words and words.startswith(str(NODE).encode()):
            found.append(path)
    return found


def mounts(run):
    return [line for line in pathlib.Path("/proc/mounts").read_text().splitlines() if f" {folder_of(run)}/" in line]


@pytest.fixture
def running(tmp_path):
    """A run whose nodes have started; (process, name of the run)."""
    process = subprocess.Popen([sys.executable, "-m", "fault", "run", "--workload", "quota", "--fault", "disk", "--seconds",
                                "60", "--out", tmp_path], cwd=PACKAGE, stderr=subprocess.DEVNULL)
    born = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    run = f"tpf-{process.pid}-{born}"
    wait("three nodes", lambda: len(nodes_of(run)) == 3)
    assert len(spaces(run)) == 4 and len(mounts(run)) == 3
    yield process, run
    process.kill()
    process.wait()
    wait("it is gone", lambda: run not in sweep_stale() and not spaces(run))


def nothing_left(run):
    return not spaces(run) and not nodes_of(run) and not mounts(run) and not folder_of(run).exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_harness_that_is_killed(running, number):
    process, run = running
    process.send_signal(number)
    process.wait(60)
    wait("its janitor has swept", lambda: nothing_left(run))


def command_of(path):
    try:
        return pathlib.Path(path).read_bytes()
    except (FileNotFoundError, ProcessLookupError): # it has just ended
        return b""


def test_killed_with_its_janitor(running):
    process, run = running
    janitors = [path for path in glob.glob("/proc/[0-9]*/cmdline")
                if command_of(path).endswith(b"fault.cleanup\0" + run.encode() + b"\0")]
    assert len(janitors) == 1
    os.kill(int(janitors[0].split("/")[2]), signal.SIGKILL)
    process.kill()
    process.wait(10)
    sweep_stale()  # or another harness does, that begins just now
    wait("all is gone", lambda: nothing_left(run))


def said(name):
    """What a schedule of its own process prints, since it enters a namespace."""
    done = subprocess.run([sys.executable, PACKAGE / "tests" / name], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def test_the_second_of_two_that_are_removed_hears_of_it():
    """It waited for a majority for ever, and 'node leave' there never came to an end."""
    assert said("second_removed.py") == "not ready: this node has left its cluster"
