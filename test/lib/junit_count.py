"""Adds up JUnit files: prints "passed failed skipped", then names each failure on standard error.

A file that is missing or broken counts as one failure: a test run that died must not look like a good one.
Usage: junit_count.py FILE...
"""
import sys
import xml.etree.ElementTree as ElementTree


def count(path):
    passed, failed, skipped = 0, 0, 0
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        print(f"FAILED {path}: {error}", file=sys.stderr)
        return 0, 1, 0
    for case in cases:
        name = f"{case.get('classname', '')} {case.get('name', '')}".strip()
        if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
            failed += 1
            print(f"FAILED {name}", file=sys.stderr)
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            skipped += 1
            reason = case.find("skipped")
            print(f"skipped {name}: {'' if reason is None else reason.get('message', '')}", file=sys.stderr)
        else:
            passed += 1
    return passed, failed, skipped


def main():
    totals = [0, 0, 0]
    for path in sys.argv[1:]:
        totals = [a + b for a, b in zip(totals, count(path))]
    print(*totals)


main()
