"""After 250 a message is on disk: nothing acknowledged is ever lost, and the sync comes before the reply."""
import collections
import json
import random
import re
import shutil
import subprocess
import time

import pytest

from harness.util import BENCH, SANITIZED, free_port, wait_until


class BenchSink:
    """The sink in C, which keeps up with the load, logging each message."""

    def __init__(self, folder, *options):
        self.port = free_port()
        self.log = folder / "sink.log"
        self.process = subprocess.Popen([BENCH, "sink", f"127.0.0.1:{self.port}", "--log", self.log, *options],
                                        stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().startswith("listening")

    def taken(self):
        """[(message id, time in ms since 1970)]"""
        rows = [json.loads(line) for line in self.log.read_text().split("\n")[:-1]]  # the last may still be written
        return [(row["message_id"], row["wall_ms"]) for row in rows]

    def close(self):
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def bench_sink(folder):
    sink = BenchSink(folder)
    yield sink
    sink.close()


@pytest.mark.slow(30)
@pytest.mark.parametrize("kills", [20])
def test_kill_9_during_load(make_node, bench_sink, folder, kills):
    """Every acknowledged message is delivered; a second copy only of what was on its way at a kill."""
    node = make_node({"routes": [{"domain": "*", "via": f"[127.0.0.1]:{bench_sink.port}"}],
                      "delivery": {"connections_start": 5, "connections_max": 10}})
    acks = folder / "acks"
    load = node.bench("--seconds", 10000, "--sessions", 10, "--size", "2k", "--to", "r{n%50}@d{n%20}.test",
                      "--ack-log", acks, "--give-up", 60)
    killed = []
    try:
        for number in range(kills):
            time.sleep(random.uniform(0.3, 1.5))
            killed.append(time.time() * 1000)
            node.kill()
            node.restart()
        time.sleep(1)
    finally:
        load.terminate()
        load.wait(10)
    acknowledged = acks.read_text().split("\n")[:-1]
    node.wait_empty(120)
    taken = bench_sink.taken()
    counts = collections.Counter(id for id, _ in taken)
    lost = [id for id in acknowledged if id not in counts]
    assert len(acknowledged) > kills * 20, "there was too little load for a meaning"
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged messages are lost: {lost[:5]}"
    first = {}
    for id, at in taken:
        first.setdefault(id, at)
    for id in (id for id, n in counts.items() if n > 1):
        assert any(-2000 <= first[id] - at <= 500 for at in killed), f"{id} came twice, but no kill was near"
    assert max(counts.values()) <= 1 + kills
    assert sum(n - 1 for n in counts.values()) <= kills * 10 * 50, "more copies than were on their way"


@pytest.mark.slow
def test_kill_9_with_deferred_mail(make_node, dns, make_sink):
    """What waits for a retry is there after each crash, with its attempts counted, and is delivered once."""
    hop = make_sink()
    dns.mail_domain("hop.test", "127.0.0.1")
    hop.hooks["rcpt"] = lambda s, a: "451 4.7.1 later"
    node = make_node({"delivery": {"retry": ["1h"]}})
    for number in range(50):
        node.send(f"r{number}@hop.test")
    wait_until("all are deferred", lambda: sum(r["attempts"] == 1 for r in node.queue()) == 50)
    time.sleep(3) # the last of them was shown before it was on disk: nothing is promised about attempts
    for _ in range(3):
        node.kill()
        node.restart()
        assert [r["attempts"] for r in node.queue()] == [1] * 50
    hop.hooks.clear()
    node.api("POST", "/v1/queue/retry", {"all": True})
    wait_until("all are delivered", lambda: len(hop.messages) == 50, 30)
    node.wait_empty()
    assert len(set(hop.recipients())) == 50
    time.sleep(3) # so that no record of a delivery is still on its way to the disk
    node.kill()
    node.restart()
    assert node.queue() == []
    time.sleep(1)
    assert len(hop.messages) == 50


CALL = re.compile(r"^(?:\[pid\s+)?(\d+)\]?\s+(?:\d+\.\d+\s+)?(.*)$")


def calls(path):
    """(name, text) of each system call at the moment that it returned, in that order."""
    pending = {}
    for line in path.read_text("utf-8", "replace").splitlines():
        pid, text = CALL.match(line).groups()
        if text.endswith("<unfinished ...>"):
            pending[pid] = text[: -len("<unfinished ...>")]
            continue
        resumed = re.match(r"<\.\.\. (\w+) resumed>(.*)", text)
        if resumed:
            text = pending.pop(pid, resumed.group(1) + "(") + resumed.group(2)
        name = re.match(r"(\w+)\(", text)
        if name:
            yield name.group(1), text


@pytest.mark.skipif(SANITIZED or not shutil.which("strace"), reason="needs strace and an ordinary build")
def test_the_sync_comes_before_each_250(make_node, dns, folder):
    """As the kernel saw it: write to a segment, fdatasync returned 0, and only then 250 to the client. Nothing is
    delivered meanwhile: what is written about that may come between a message's sync and its 250."""
    trace = folder / "strace"
    dns.fail["slow.test"] = "timeout"
    node = make_node({"workers": 1, "resolver": {"timeout": "2m"}}, wrapper=[
        "strace", "-f", "-y", "-s", "200", "-o", str(trace), "-e",
        "trace=openat,write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sendto,sendmsg"])
    messages = 20
    for number in range(messages):
        node.send(f"r{number}@slow.test", f"Subject: n{number}\r\n\r\n" + ("x" * 70 + "\r\n") * 40)
    node.stop()
    spool = str(node.folder / "data/spool")
    written = synced = False
    new_segments, directory_synced = set(), True
    acknowledged = 0
    for name, text in calls(trace):
        target = re.match(r"\w+\(\d+<([^>]*)>", text)
        path = target.group(1) if target else ""
        if name == "openat" and "O_CREAT" in text and spool in text:
            new_segments.add(text)
            directory_synced = False
        elif name in ("fsync", "fdatasync") and path.startswith(spool) and text.rstrip().endswith("= 0"):
            if path.rstrip("/") == spool:
                directory_synced = True
            elif written:
                synced = True
        elif name in ("write", "writev", "pwrite64", "pwritev", "pwritev2") and path.startswith(spool):
            written, synced = True, False
        elif name in ("write", "writev", "sendto", "sendmsg") and re.search(r"250 2\.\d\.\d [^\"]*queued", text):
            acknowledged += 1
            assert written, "250 without a write to the spool"
            assert synced, f"250 before its fdatasync returned: {text}"
            assert directory_synced, "250 before the directory of a new segment was synced"
            written = synced = False
    assert acknowledged == messages
    assert new_segments


def test_spool_verify_after_a_crash(make_node, sink):
    node = make_node()
    node.bench("--messages", 500, "--to", "r{n}@example.net").wait(60)
    node.kill()
    done = node.cli("spool", "verify", node.folder / "data/spool", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 damaged" in done.stdout or "damaged: 0" in done.stdout or '"damaged":0' in done.stdout, done.stdout


def test_second_node_on_the_same_spool_is_refused(make_node):
    one = make_node()
    two = make_node({"data_dir": str(one.folder / "data")}, start=False)
    two.start(wait=False)
    assert two.process.wait(20) != 0
    two.expected_exit = two.process.returncode
    one.api("GET", "/v1/status")


@pytest.mark.slow
def test_disk_full_refuses_new_mail_and_keeps_the_old(make_node, dns, make_sink, folder):
    """A small file system: 452 4.3.1 near its end, everything accepted is delivered."""
    small = folder / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("cannot mount a file system here")
    try:
        hop = make_sink()
        dns.mail_domain("hop.test", "127.0.0.1")
        hop.hooks["rcpt"] = lambda s, a: "451 4.7.1 later"
        node = make_node({"data_dir": str(small), "spool": {"segment_size": "4M", "min_free": "16M"},
                          "delivery": {"retry": ["1h"]}})
        load = node.bench("--messages", 3000, "--size", "64k", "--incompressible", "--to", "r{n}@hop.test",
                          "--ack-log", folder / "acks")
        result = json.loads(load.communicate(timeout=120)[0])
        assert result["refused"] > 0 and result["accepted"] > 100
        assert any("452 4.3.1" in text for text in result["errors"]), result["errors"]
        hop.hooks.clear()
        node.api("POST", "/v1/queue/retry", {"all": True})
        wait_until("all accepted mail is delivered", lambda: len(hop.messages) == result["accepted"], 120)
        assert node.send("again@hop.test"), "it takes mail again"
        node.stop()
    finally:
        subprocess.run(["umount", "-l", small], check=False)
