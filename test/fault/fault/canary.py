"""Does the machine itself stand still? A process of its own sleeps, computes and syncs a little, again and again, as any node
does, and tells when that took much longer than it should: then others have the processors or the disk, and what was late
meanwhile says nothing about availability. It ends when its standard input does.
"""
import os
import pathlib
import select
import subprocess
import sys
import time

PERIOD_S = 0.1
COMPUTE_S = 0.002
STILL_NS = 500_000_000


def main():
    file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY, 0o600)
    before = time.monotonic_ns()
    while not select.select([sys.stdin], [], [], PERIOD_S)[0]:
        computed = time.process_time()
        while time.process_time() - computed < COMPUTE_S:
            pass
        os.pwrite(file, b"x" * 4096, 0)
        os.fdatasync(file)
        now = time.monotonic_ns()
        if now - before > STILL_NS:
            print(before, now, flush=True)
        before = now


class Canary:
    def __init__(self, folder):
        self.told = folder / "canary.told"
        with open(self.told, "wb") as told:
            self.process = subprocess.Popen([sys.executable, "-m", "fault.canary", folder / "canary"], stdin=subprocess.PIPE,
                                            stdout=told, cwd=pathlib.Path(__file__).resolve().parents[1])

    def close(self):
        """When it stood still: pairs of times."""
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(60)
        return [tuple(map(int, line.split())) for line in self.told.read_text().splitlines()]


if __name__ == "__main__":
    main()
