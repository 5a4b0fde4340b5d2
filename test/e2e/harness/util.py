"""Waiting, ports, and where the programs are."""
import fcntl
import itertools
import os
import pathlib
import socket
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("TURNPIKE_BUILD", ROOT / "build/dev"))
NODE = BUILD / "node/core/turnpiked"
CLI = BUILD / "cli/turnpike"
BENCH = BUILD / "test/bench/turnpike-bench"
# Sanitizers make everything slower: deadlines of the tests stretch with them.
SANITIZED = BUILD.name in ("asan", "tsan") or "san" in BUILD.name
STRETCH = 4 if SANITIZED else 1


PORTS = range(10000, 32600)  # below those that clients get
BLOCK = 500


def claim_ports():
    """Ports that no other test process on this machine uses, again and again: a block of them is this process's until
    it ends. That a port is free when one looks says nothing about when the node listens there."""
    folder = pathlib.Path(tempfile.gettempdir(), f"turnpike-ports-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    for start in PORTS[:-BLOCK:BLOCK]:
        lock = os.open(folder / str(start), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        yield from itertools.cycle(range(start, start + BLOCK))
    raise RuntimeError("too many test processes: no ports are left")


_ports = claim_ports()


def free_port(address="127.0.0.1"):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in _ports:
        with socket.socket(family) as s:
            try:
                s.bind((address, port))
                return port
            except OSError:
                continue


def wait_until(what, check, timeout=30.0, interval=0.02):
    """Returns the first true value of check(), or fails naming what was waited for. The limit is for a machine that has
    much else to do: a test that is about the time looks at a clock of its own."""
    end = time.monotonic() + timeout * STRETCH
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout * STRETCH:.0f} s in vain: {what}")
        time.sleep(interval)
