"""What runs leave behind, and its end: processes, network namespaces, mounts, containers, folders. All of it carries the
name of its run, which names the process of the harness, so whatever belongs to a harness that is gone can be swept away.

Each run has a janitor besides: a process that waits for the harness to go, however it goes, and sweeps after it.
"""
import glob
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

PREFIX = "tpf"
FOLDERS = pathlib.Path(os.environ.get("TURNPIKE_FAULT_TMP", "/tmp"))
LABEL = "turnpike.fault"
_NAME = re.compile(rf"{PREFIX}-(\d+)-(\d+)")


def _born(pid):
    """When the process was started, in ticks since boot; None: it is gone."""
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError):
        return None


def run_name():
    return f"{PREFIX}-{os.getpid()}-{_born(os.getpid())}"


def folder_of(run):
    return FOLDERS / run


def _call(*command, timeout=30):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    until = time.monotonic() + 5
    while any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
        time.sleep(0.02)


def _docker():
    return shutil.which("docker") is not None and pathlib.Path("/var/run/docker.sock").exists()


def _names_of(kind, *more):
    listed = _call("docker", kind, "ls", *more, "--filter", f"label={LABEL}", "--format",
                   f'{{{{.ID}}}} {{{{.Label "{LABEL}"}}}}')
    return [line.split(" ", 1) for line in listed.splitlines() if " " in line]


def sweep_one(run, itself=None):
    """Ends everything that has the run's name, but not the process `itself`, which may stand in one of its spaces."""
    spaces = [os.path.basename(path) for path in glob.glob(f"/run/netns/{run}-*")]
    found = {int(pid) for name in spaces for pid in _call("ip", "netns", "pids", name).split()}
    _kill(found - {itself, os.getpid()})
    for name in spaces:
        _call("ip", "netns", "del", name)
    if _docker():
        gone = [number for number, label in _names_of("container", "-a") if label == run]
        if gone:
            _call("docker", "rm", "-f", "-v", *gone, timeout=60)
        for number, label in _names_of("network"):
            if label == run:
                _call("docker", "network", "rm", number)
    folder = str(folder_of(run))
    mounted = [line.split()[1] for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    for path in sorted((p for p in mounted if p.startswith(folder + "/")), reverse=True):
        _call("umount", "-l", path)
    shutil.rmtree(folder, ignore_errors=True)


def sweep_stale():
    """Sweeps after harnesses that are gone, and whose janitors are too. Returns the names of the runs."""
    found = glob.glob("/run/netns/*") + glob.glob(str(FOLDERS / f"{PREFIX}-*"))
    if _docker():
        found += [label for kind, more in (("container", ["-a"]), ("network", [])) for _, label in _names_of(kind, *more)]
    stale = set()
    for match in (_NAME.match(os.path.basename(name)) for name in found):
        if match and _born(int(match.group(1))) != int(match.group(2)):
            stale.add(match.group(0))
    for run in stale:
        sweep_one(run)
    return sorted(stale)


class Janitor:
    """Sweeps when the harness ends: by itself, by a signal, or because it called done()."""

    def __init__(self, run):
        self.run = run
        self.process = subprocess.Popen([sys.executable, "-m", "fault.cleanup", run], stdin=subprocess.PIPE,
                                        start_new_session=True, cwd=pathlib.Path(__file__).resolve().parents[1])

    def done(self):
        self.process.stdin.close()
        self.process.wait(120)


def main():
    run = sys.argv[1]
    if not _NAME.fullmatch(run):
        raise SystemExit(f"no name of a run: {run}")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    sweep_one(run, itself=int(_NAME.fullmatch(run).group(1)))


if __name__ == "__main__":
    main()
