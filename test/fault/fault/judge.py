"""Says what the checkers make of a history."""
import sys

from .check import check_path, overall

STATUS = {"pass": 0, "fail": 1, "inconclusive": 2}


def output_of_nodes(folder):
    return sorted([*folder.glob("*.node.log"), *folder.glob("core*")])


def judged(path):
    """(overall outcome, verdicts) of a history."""
    _history, verdicts = check_path(path, output_of_nodes(path.parent))
    return overall(verdicts), verdicts


def judge(path, out=sys.stdout):
    outcome, verdicts = judged(path)
    for verdict in verdicts:
        print(f"{verdict.invariant:4} {verdict.outcome:12} {verdict.why}", file=out)
    print(f"{outcome}: {path}", file=out)
    return STATUS[outcome]
