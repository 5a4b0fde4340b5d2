"""Filters by the milter protocol, as users have them: one of pymilter's that obeys a test, and rspamd as its proxy serves milters."""
import json
import os
import pathlib
import signal
import socket
import subprocess

from .util import free_port, wait_until

PROGRAM = pathlib.Path(__file__).with_name("filter.py")


class Filter:
    """pymilter's: see filter.py. `unix` puts its socket into `folder`."""

    @staticmethod
    def available():
        return subprocess.run(["/usr/bin/python3", "-c", "import Milter"], capture_output=True).returncode == 0

    def __init__(self, folder, kind="headers", unix=False):
        folder.mkdir()
        self.folder, self.kind, self.process, self.port = folder, kind, None, free_port()
        self.path = folder / "socket" if unix else None
        self.socket = f"unix:{self.path}" if unix else f"inet:127.0.0.1:{self.port}"
        self.order()
        self.start()

    def order(self, **orders):
        fresh = self.folder / "orders.new"
        fresh.write_text(json.dumps({k.replace("__", " "): v for k, v in orders.items()}))
        fresh.rename(self.folder / "orders.json")

    def start(self):
        where = f"local:{self.path}" if self.path else f"inet:{self.port}@127.0.0.1"
        self.process = subprocess.Popen(["/usr/bin/python3", PROGRAM, self.folder, where, self.kind],
                                        stdout=open(self.folder / "out.log", "ab"), stderr=subprocess.STDOUT, start_new_session=True)
        wait_until("the filter listens", self.listens, 30)
        return self

    def listens(self):
        assert self.process.poll() is None, (self.folder / "out.log").read_text()
        try:
            with socket.socket(socket.AF_UNIX if self.path else socket.AF_INET) as s:
                s.connect(str(self.path) if self.path else ("127.0.0.1", self.port))
                return True
        except OSError:
            return False

    def seen(self):
        file = self.folder / "seen.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def kill(self):
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def pause(self, paused):
        os.killpg(self.process.pid, signal.SIGSTOP if paused else signal.SIGCONT)
