"""Waiting, ports, and where the programs are."""
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


def free_port(address="127.0.0.1"):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as s:
        s.bind((address, 0))
        return s.getsockname()[1]


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
