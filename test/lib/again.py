"""Runs the tests of a JUnit report that failed once more, alone, and says which of them passed then.

Many tests run at a time, more than there are processors, and some judge times. So a test that failed counts as failed
only if it fails again with the machine to itself; which ones those were is printed, for they are to be mended too. Not
repeated, because a second look proves nothing: what crashed, what a sanitizer or one of our own checks reported, and
anything when more than a few failed.

Usage: again.py pytest|ctest REPORT COMMAND...      the names of the tests are added to the command
"""
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

FEW = 6
FINAL = ("Sanitizer", "broken invariant", "core dumped", "Subprocess aborted", "SEGFAULT", "Exception", "runtime error:")


def trouble(case):
    """The elements that say that it failed."""
    return [e for e in case if e.tag in ("failure", "error")]


def text_of(case):
    return "".join(case.itertext()) + "".join(v for e in case.iter() for v in e.attrib.values())


def command_for(kind, command, case):
    if kind == "ctest":
        return [*command, "-R", "^" + case.get("name") + "$"]
    return [*command, "test/e2e/" + case.get("classname").replace(".", "/") + ".py::" + case.get("name")]


def main():
    kind, report, *command = sys.argv[1:]
    try:
        tree = ElementTree.parse(report)
    except (OSError, ElementTree.ParseError):
        return  # it counts as a failure where reports are counted
    failed = [case for case in tree.iter("testcase") if trouble(case) or case.get("status") == "fail"]
    if len(failed) > FEW:
        print(f"{len(failed)} tests failed: too many to be repeated")
        return
    for case in failed:
        if any(word in text_of(case) for word in FINAL):
            continue
        again = subprocess.run(command_for(kind, command, case), capture_output=True, text=True)
        if again.returncode != 0 or "No tests were found" in again.stdout + again.stderr:
            print(again.stdout[-3000:])
            continue
        for element in trouble(case):
            case.remove(element)
        if case.get("status") == "fail":
            case.set("status", "run")
        print(f"PASSED ONLY WHEN REPEATED: {case.get('classname', '')} {case.get('name')}")
        tree.write(report)


main()
