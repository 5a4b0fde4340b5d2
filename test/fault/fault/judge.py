"""Says what the checkers make of a history, and writes the report next to it."""
import sys

from . import report
from .check import check_path, overall

STATUS = {"pass": 0, "fail": 1, "inconclusive": 2}


def output_of_nodes(folder):
    return sorted([*folder.glob("*.node.log"), *folder.glob("core*")])


def judged(path):
    """(overall outcome, verdicts) of a history; the report is beside it."""
    history, verdicts = check_path(path, output_of_nodes(path.parent))
    if history is not None:
        report.write(history, verdicts, path.parent)
    return overall(verdicts), verdicts


def judge(path, out=sys.stdout):
    outcome, verdicts = judged(path)
    for verdict in verdicts:
        print(f"{verdict.invariant:4} {verdict.outcome:12} {verdict.why}", file=out)
    print(f"{outcome}: {path}", file=out)
    return STATUS[outcome]
