"""Disks: full, or failing. Each node has a small file system of its own for its data, which a balloon fills; and runs with
libfiu's library, which makes system calls fail on demand."""
import os
import pathlib
import subprocess

from .engine import EngineError
from .trouble import Nemesis

DISK_MIB = 160
LIBRARIES = ("/usr/lib/fiu/fiu_run_preload.so", "/usr/lib/fiu/fiu_posix_preload.so")
EIO, ENOSPC = 5, 28
# Not write and writev: pipes, sockets and eventfds are written with them too, and no disk makes those fail.
OFTEN = ("posix/io/sync/fdatasync", "posix/io/rw/pwritev")
SELDOM = ("posix/io/sync/fsync", "posix/io/rw/pwrite", "posix/io/dir/rename")  # when files are made, or take others' places


class Disk(Nemesis):
    name = "disk"
    hold_s, rest_s = (2.0, 6.0), (2.0, 4.0)

    def prepare(self):
        if not pathlib.Path("/usr/lib/fiu/fiu_posix_preload.so").exists():
            raise EngineError("the fault 'disk' needs Debian's packages libfiu0 and fiu-utils")
        for node in self.cluster.nodes:
            self.run.engine.small_disk(node.folder / "data", DISK_MIB)
            node.preload(LIBRARIES, FIU_CTRL_FIFO=node.folder / "fiu")
            node.may_end = True

    def begin(self):
        # Who joined later has neither a small disk nor the library.
        self.victim = self.rng.choice([n for n in self.cluster.members() if n.may_end and n.alive()])
        self.balloon = self.victim.folder / "data/balloon"
        self.full = self.rng.random() < 0.5
        self.process, self.logged = self.victim.process, self.victim.log_path.stat().st_size
        names = [self.victim.name]
        if self.full:
            left = self.rng.choice((0, 0, 64 << 10, 3 << 20, 8 << 20))
            self._fill(left)
            return {"targets": names, "unclear": names, "how": f"full, {left} bytes left"}
        # The first one is of a sort that is noticed for sure. A share of what is seldom done would be nothing.
        often = self.turns == 0 or self.rng.random() < 0.75
        self.points = (self.rng.choice(OFTEN),) if often else SELDOM
        share = self.rng.choice((0.05, 0.3, 1.0)) if self.turns and often else 1.0
        error = self.rng.choice((EIO, ENOSPC))
        for point in self.points:
            self._tell(f"enable_random name={point},probability={share},failinfo={error}")
        return {"targets": names, "unclear": names, "how": f"{', '.join(self.points)} fail with {error}, {share:.0%}"}

    def _fill(self, left):
        """To the last byte, while the node writes too; then so much is given back."""
        with open(self.balloon, "wb", buffering=0) as file:
            size = 1 << 20
            while size >= 4096:
                try:
                    file.write(b"\0" * size)
                except OSError:
                    size //= 16
            file.truncate(max(0, file.tell() - left))

    def _tell(self, command):
        """The node may be gone, or be ending just now."""
        pid = self._pid()
        done = subprocess.run(["fiu-ctrl", "-f", str(self.victim.folder / "fiu"), "-c", command, str(pid)],
                              capture_output=True, timeout=10, check=False)
        return done.returncode == 0

    def _pid(self):
        return getattr(self.victim.process, "inner_pid", self.victim.process.pid)

    def end(self):
        if getattr(self, "victim", None) is None:
            return False, "no node was there"
        if self.full:
            free = os.statvfs(self.victim.folder / "data")
            left = free.f_bavail * free.f_bsize
            self.balloon.unlink(missing_ok=True)
            return left < 16 << 20, f"{left} bytes were free"
        ended = self.victim.process is not self.process or self.process.poll() is not None
        if not ended:
            try:
                for point in self.points:
                    self._tell(f"disable name={point}")
            except subprocess.TimeoutExpired:
                pass
        with open(self.victim.log_path, encoding="utf-8", errors="replace") as log:
            log.seek(self.logged)
            said = [line.rstrip() for line in log if "Input/output error" in line or "No space left" in line]
        return ended or bool(said), "the node ended" if ended else f"its log: {said[-1][:120] if said else 'nothing'}"


FAULTS = [Disk]
