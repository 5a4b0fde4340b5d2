"""What fault runs have found, as a schedule that shows it each time."""
import os
import pathlib
import subprocess
import sys

import pytest

from fault.nodes import NODE

HERE = pathlib.Path(__file__).resolve().parent

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not NODE.exists(), reason="needs root, and a build")


def said(name):
    done = subprocess.run([sys.executable, HERE / name], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def test_the_second_of_two_that_are_removed_hears_of_it():
    """It waited for a majority for ever, and 'node leave' there never came to an end."""
    assert said("second_removed.py") == "not ready: this node has left its cluster"
