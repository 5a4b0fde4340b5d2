"""I8: no process ended, complained or dumped core, unless the test made it: by the events, and by the nodes' own output."""
import os
import re

from .facts import Facts
from .verdict import Judge

SIGNS = re.compile(
    rb"turnpike: broken invariant: |ERROR: (?:Address|Leak|Thread|Memory)Sanitizer|WARNING: ThreadSanitizer|: runtime error: |"
    rb"Assertion [`'][^\n]{1,200}' failed|\(core dumped\)|stack smashing detected|free\(\): |malloc\(\): |"
    rb"corrupted (?:size|double)")
PIECE = 1 << 20
LINE_MAX = 300


def signs_in(path):
    """Lines, or as much of them as is near, that tell of a crash."""
    found, rest = [], b""
    with open(path, "rb") as file:
        last = False
        while not last:
            piece = file.read(PIECE)
            last = not piece
            data, end = rest + piece, 0
            # What lies across two pieces is looked at with the second one.
            whole = len(data) if last else max(0, len(data) - LINE_MAX)
            for match in SIGNS.finditer(data):
                if match.start() >= whole or match.start() < end:
                    continue
                begin = max(data.rfind(b"\n", 0, match.start()) + 1, match.start() - LINE_MAX)
                end = data.find(b"\n", match.end())
                end = min(len(data) if end < 0 else end, begin + LINE_MAX + len(match.group()))
                found.append(data[begin:end].decode("utf-8", "replace"))
            rest = data[whole:]
    return found


def check(facts: Facts, files=()):
    judge = Judge("I8")
    caused = 0
    for event in facts.history.observed("crash"):
        caused += event.v["caused"] is True
        if event.v["caused"] is not True:
            judge.violation(f"{event.node} ended by itself ({event.v.get('how', 'unknown')})", [event])
    lines = {event.v["line"] for event in facts.history.observed("log") if event.v.get("caused")}
    for event in facts.history.observed("log"):
        if event.v["kind"] != "fenced" and not event.v.get("caused"):
            judge.violation(f"{event.node}: {event.v['line'][:LINE_MAX]}", [event])
    read = 0
    for path in files:
        if os.path.basename(path).split(".")[0] == "core":
            judge.violation(f"a core dump: {path}")
            continue
        try:
            for line in signs_in(path):
                if not any(known in line or line in known for known in lines):
                    judge.violation(f"{os.path.basename(path)}: {line}")
            read += 1
        except OSError as error:
            judge.doubt(f"{path} cannot be read: {error.strerror}")
    looked = {event.node for event in facts.history.observed("collected") if event.v["what"] == "log" and event.v["good"]}
    unseen = sorted(set(facts.nodes) - looked)
    if not read and unseen:
        judge.doubt(f"nobody looked into the output of {', '.join(unseen)}")
    judge.figures = {"files": read, "caused": caused}
    return judge.verdict(f"{read} files of output, {caused} processes ended by the test")
