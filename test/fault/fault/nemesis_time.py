"""Clocks. Wall clocks jump, which promises nothing and must change nothing: libfaketime, each node with a file of its own,
and without touching the other clocks. Or all clocks of a node run 0.4 % too fast or too slow, within the assumption."""
import datetime
import json
import os
import pathlib
import subprocess
import time

from .engine import EngineError
from .trouble import Nemesis

LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
JUMPS_S = (0.1, 0.7, 3, 12, 40, 110, 288)
RATES = (1.004, 0.996)


class Clock(Nemesis):
    """In some runs one node's clocks run at another rate all the time, besides the jumps of the others."""

    name = "clock"
    hold_s, rest_s = (3.0, 8.0), (1.0, 4.0)

    def prepare(self):
        if not pathlib.Path(LIBRARY).exists():
            raise EngineError("the fault 'clock' needs Debian's package libfaketime")
        self.rated, self.begun_ns = None, time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        # A process that is started anew begins with right clocks: with kills, that would be a jump of BOOTTIME.
        if self.run.faults == [self.name] and self.rng.random() < 0.5:
            self.rated = (self.rng.choice(self.cluster.nodes), self.rng.choice(RATES))
        for node in self.cluster.nodes:
            self._wrap(node)

    def _wrap(self, node):
        if self.rated is not None and self.rated[0] is node:
            made = self.run.engine.folder / "rate.so"
            subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", made,
                            pathlib.Path(__file__).parent / "rate.c", "-ldl"], check=True)
            node.preload([made], FAULT_RATE=self.rated[1], FAULT_RATE_ORIGIN=self.begun_ns)
            return
        self._set(node, 0)
        node.preload([LIBRARY], FAKETIME_TIMESTAMP_FILE=self._file(node), FAKETIME_DONT_FAKE_MONOTONIC=1,
                     FAKETIME_FORCE_MONOTONIC_FIX=0, FAKETIME_NO_CACHE=1)

    def clock_ok(self, _node):
        return False

    @staticmethod
    def _file(node):
        return node.folder / "faketime.rc"

    def _set(self, node, ahead_s):
        new = self._file(node).with_suffix(".new")
        new.write_text(f"{ahead_s:+.3f}\n")
        new.rename(self._file(node))

    def begin(self):
        jumping = [n for n in self.cluster.members() if self._file(n).exists()]
        self.victims = self.rng.sample(jumping, self.rng.randint(1, len(jumping)))
        self.jumps = {}
        for node in self.victims:
            # The first jump is one that can be seen for sure.
            size = self.rng.choice(JUMPS_S[3:] if self.turns == 0 else JUMPS_S)
            self.jumps[node.name] = size * self.rng.choice((-1, 1))
            self._set(node, self.jumps[node.name])
        names = [n.name for n in self.victims]
        rated = {self.rated[0].name: self.rated[1]} if self.rated else {}
        return {"targets": names, "unclear": names, "ahead_s": self.jumps, "rates": rated}

    def _shown(self, node):
        """How far ahead the node's clock is, by the last line of its event log."""
        try:
            last = node.events_path.read_bytes().rstrip(b"\n").rpartition(b"\n")[2]
            stamp = datetime.datetime.fromisoformat(json.loads(last)["ts"].replace("Z", "+00:00"))
            return stamp.timestamp() - node.events_path.stat().st_mtime
        except (OSError, ValueError, KeyError):
            return 0.0

    def end(self):
        seen = {n.name: round(self._shown(n), 1) for n in getattr(self, "victims", [])}
        good = any(abs(seen[name]) > 0.5 * abs(jump) and abs(jump) > 2 for name, jump in self.jumps.items()) if seen else False
        for node in getattr(self, "victims", []):
            if self.rng.random() < 0.7:
                self._set(node, 0)
        return good, f"event logs are ahead by {seen}"


FAULTS = [Clock]
