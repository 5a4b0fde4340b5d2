"""Packages of npm's, for tests that speak with programs of others."""
import fcntl
import pathlib
import shutil
import subprocess
import tempfile

from .util import ROOT


def npm_there(package):
    """The folder, if it was made before; None."""
    where = ROOT / "build" / package.partition("@")[0]
    return where / "node_modules" if where.exists() else None


def npm_modules(package):
    """The folder of modules with that one ("name@version"); None: it cannot be had. It is there whole or not at all, though
    many tests ask at once."""
    where = ROOT / "build" / package.partition("@")[0]
    if not shutil.which("node") or not shutil.which("npm"):
        return None
    where.parent.mkdir(exist_ok=True)
    with open(f"{where}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not where.exists():
            fresh = pathlib.Path(tempfile.mkdtemp(prefix=where.name + "-", dir=where.parent))
            got = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--prefix", fresh, package],
                                 capture_output=True, timeout=120)
            if got.returncode == 0:
                fresh.rename(where)
            else:
                shutil.rmtree(fresh)
    return npm_there(package)
