"""Judges a history: one verdict for each invariant, and one on whether the run was worth anything.

docs/fault-testing.md says what each of them means, and what is made of operations whose outcome nobody knows.
"""
import pathlib

from .. import history as histories
from . import (addresses, availability, conservation, crash, duplicates, freeze, loss, overshoot, registers, worth)
from .facts import Facts
from .verdict import FAIL, INCONCLUSIVE, PASS, Verdict, overall

__all__ = ["FAIL", "INCONCLUSIVE", "PASS", "Verdict", "check", "check_path", "overall"]

CHECKERS = {"I1": overshoot, "I2": loss, "I3": freeze, "I4": registers, "I5": duplicates, "I6": availability,
            "I7": conservation, "I8": crash,
            "I9": addresses, "run": worth}


def check(history, files=()):
    """`files`: the nodes' output, and core dumps, for I8."""
    facts = Facts(history)
    files = [str(path) for path in files]
    return [checker.check(facts, files) for checker in CHECKERS.values()]


def check_path(path, files=()):
    """(history, verdicts) of a file. A history that cannot be read is judged inconclusive, with no history."""
    try:
        history = histories.read(pathlib.Path(path))
    except (OSError, histories.HistoryError) as error:
        return None, [Verdict("run", INCONCLUSIVE, f"the history cannot be read: {error}")]
    return history, check(history, files)
