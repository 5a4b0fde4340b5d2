"""Waiting, ports, and where the programs are."""
import itertools
import os
import pathlib
import socket
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("TURNPIKE_BUILD", ROOT / "build/dev"))
NODE = BUILD / "node/core/turnpiked"
CLI = BUILD / "cli/turnpike"
BENCH = BUILD / "test/bench/turnpike-bench"
# Sanitizers make everything slower: deadlines of the tests stretch with them.
SANITIZED = BUILD.name in ("asan", "tsan") or "san" in BUILD.name
STRETCH = 4 if SANITIZED else 1


# Test processes that run side by side take ports from ranges of their own, below those that clients get.
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8
_range = [18000 + 1700 * _worker + (os.getpid() * 37 + i) % 1700 for i in range(1700)]
_ports = itertools.cycle(_range)


def free_port(address="127.0.0.1"):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in _ports:
        with socket.socket(family) as s:
            try:
                s.bind((address, port))
                return port
            except OSError:
                continue


def wait_until(what, check, timeout=10.0, interval=0.02):
    """Returns the first true value of check(), or fails naming what was waited for."""
    end = time.monotonic() + timeout * STRETCH
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout * STRETCH:.0f} s in vain: {what}")
        time.sleep(interval)
