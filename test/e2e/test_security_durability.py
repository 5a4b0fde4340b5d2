"""After 250 a message is on disk, as the kernel saw it: each call's beginning and end count, and each sync may fail."""
import re
import shutil
import smtplib
import subprocess

import pytest

from harness.util import SANITIZED, wait_until

pytestmark = pytest.mark.skipif(SANITIZED or not shutil.which("strace"), reason="needs strace and an ordinary build")

SYNCS = ("fsync", "fdatasync")
WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2")
SENDS = ("write", "writev", "sendto", "sendmsg")
LINE = re.compile(r"^(\d+)\s+(\d+\.\d+)\s+(.*)$")


def calls(path):
    """(begin, end, name, file, whole text) of each call; times are positions in the trace, which strace writes in order."""
    begun, out = {}, []
    for position, line in enumerate(path.read_text("utf-8", "replace").splitlines()):
        pid, _, text = LINE.match(line).groups()
        if text.endswith("<unfinished ...>"):
            begun[pid] = (position, text[:-len("<unfinished ...>")])
            continue
        begin, resumed = position, re.match(r"<\.\.\. \w+ resumed>(.*)", text)
        if resumed:
            begin, first = begun.pop(pid, (position, ""))
            text = first + resumed.group(1)
        name = re.match(r"(\w+)\(", text)
        if name:
            file = re.match(r"\w+\((?:AT_FDCWD[^,]*|\d+)<([^>]*)>", text)
            out.append((begin, position, name.group(1), file.group(1) if file else "", text))
    return out


def strace(path, *more):
    return ["strace", "-f", "-ttt", "-y", "-s", "300", "-o", str(path), "-e",
            "trace=openat,rename,renameat2,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sendto,sendmsg,ftruncate",
            *more]


def good(text):
    return re.search(r"= 0$", text.rstrip()) is not None


def length(call):
    return int(call[4].rsplit("= ", 1)[1].split()[0])


def is_seal(call, seen):
    """The summary at a full segment's end, after which the file is cut: of use to a start, but no part of a message."""
    after = next((c for c in seen if c[0] > call[1] and c[3] == call[3]), None)
    return length(call) <= 128 and after is not None and after[2] == "ftruncate"


def is_summary(call, seen):
    """Of a full segment, at its end or beside it: of use to a start and nothing else."""
    return call[3].endswith(".sum.tmp") or is_seal(call, seen)


def test_no_250_begins_before_its_sync_has_ended(make_node, dns, folder):
    """Nothing is delivered meanwhile, so that what is written between two 250s is the second message and nothing else:
    every write of it ended before a sync of that segment began, which succeeded and ended before the 250 was
    begun; and each new file's directory was synced since."""
    trace = folder / "strace"
    dns.fail["slow.test"] = "timeout"
    node = make_node({"workers": 1, "resolver": {"timeout": "2m"}, "spool": {"segment_size": "1M"}}, wrapper=strace(trace))
    messages = 30
    for number in range(messages):
        body = "".join(f"{number} {n} {hash((number, n))}\r\n" for n in range(2500))
        node.send(f"r{number}@slow.test", f"Subject: n{number}\r\n\r\n{body}")
    subprocess.run(["kill", "-9", str(node.pid())], check=True)
    node.process.wait(20)
    node.expected_exit = node.process.returncode
    spool = str(node.folder / "data/spool")
    seen = calls(trace)
    acks = [c for c in seen if c[2] in SENDS and not c[3].startswith(spool) and re.search(r"250 2\.0\.0[^\"]*queued", c[4])]
    assert len(acks) == messages
    last, segments = -1, set()
    for begin, end, _, _, _ in acks:
        mine = [c for c in seen if c[2] in WRITES and c[3].startswith(spool + "/") and last < c[1] < begin]
        mine = [c for c in mine if not is_summary(c, seen)]
        assert sum(length(c) for c in mine) > 20000, "250 without the message having been written"
        assert not [c for c in seen if c[2] in WRITES and c[3].startswith(spool + "/") and c[0] < begin < c[1]
                    and not is_summary(c, seen)]
        for file in {c[3] for c in mine}:
            written = max(c[1] for c in mine if c[3] == file)
            syncs = [c for c in seen if c[2] in SYNCS and c[3] == file and good(c[4]) and written < c[0] and c[1] < begin]
            assert syncs, f"250 before a sync of {file} that began after its last write"
        for c in seen:
            if c[2] == "openat" and "O_CREAT" in c[4] and re.search(rf'"{spool}/\w+\.seg"', c[4]) and c[1] < begin:
                segments.add(c[4])
                assert [d for d in seen if d[2] in SYNCS and d[3] == spool and good(d[4]) and c[1] < d[0] and d[1] < begin], c[4]
        last = end
    assert len(segments) >= 2, "no change of segments was seen"
    # what was acknowledged is there
    node.wrapper = []
    node.restart()
    assert node.queue_length() == messages
    dns.fail.clear()


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
@pytest.mark.parametrize("when", [1, 2, 3, 4, 6, 9])
def test_a_sync_that_fails_once(make_node, dns, folder, call, when):
    """EIO from the n-th sync: no 250 for what it should have covered, the node stops, and all that was acknowledged is
    there at the next start."""
    dns.fail["slow.test"] = "timeout"
    trace = folder / "strace"
    node = make_node({"workers": 1, "resolver": {"timeout": "2m"}, "history": {"enabled": False}}, start=False)
    node.wrapper = ["strace", "-f", "-y", "-o", str(trace), "-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={when}"]
    acknowledged = 0
    try:
        node.start()
        for number in range(10):
            node.send(f"r{number}@slow.test")
            acknowledged += 1
    except (AssertionError, OSError, smtplib.SMTPException):
        pass
    injected = "EIO" in trace.read_text()
    if injected:
        if "/data/spool" in next(line for line in trace.read_text().splitlines() if "EIO" in line):
            wait_until("the node has stopped", lambda: node.process.poll() is not None)
    if node.process.poll() is None:
        subprocess.run(["kill", "-9", str(node.pid())], check=True)
        node.process.wait(20)
    node.expected_exit = node.process.returncode
    node.wrapper = []
    node.restart()
    assert acknowledged <= node.queue_length() <= acknowledged + 1, "one may be there without its 250"
    if call == "fdatasync" and when <= 4:
        assert injected, "the failure was never reached"
