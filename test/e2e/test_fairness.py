"""Senders take turns: one sender's backlog delays nobody else."""
import json

import pytest
from conftest import skip_sanitized
from test_durability import BenchSink

from harness.node import PASSWORD
from harness.util import wait_until


@skip_sanitized
@pytest.mark.slow
@pytest.mark.parametrize("backlog", [100000])
def test_another_sender_is_among_the_next_fifty(make_node, folder, backlog):
    """100,000 messages of one sender wait for a slow site; another's message to it leaves among the next 50."""
    slow = BenchSink(folder, "--delay-ms", "100")
    try:
        node = make_node({"routes": [{"domain": "*", "via": f"[127.0.0.1]:{slow.port}"}]})
        (folder / "password").write_text(PASSWORD + "\n")
        node.add_account("bulk@example.com", **{"class": "person"})
        node.add_account("person@example.com")
        load = node.bench("--messages", backlog, "--sessions", 50, "--per-connection", 900, "--size", "600", "--tls", "wrapped", "--auth",
                          "bulk@example.com", "--password-file", folder / "password", "--to", "r{n}@slow.test",
                          port=node.ports["submissions"])
        assert json.loads(load.communicate(timeout=300)[0])["accepted"] == backlog
        waiting = node.queue_length()
        assert waiting > backlog * 0.7, "the site was not slow enough for a backlog"
        before = len(slow.taken())
        node.send("urgent@slow.test", "Subject: urgent\r\nMessage-ID: <urgent@example.com>\r\n\r\nx\r\n",
                  kind="submissions", login="person@example.com")
        accepted = len(slow.taken()) # logging in takes a while, in which others leave
        wait_until("it leaves", lambda: "<urgent@example.com>" in [id for id, _ in slow.taken()[before:]], 30)
        place = before + [id for id, _ in slow.taken()[before:]].index("<urgent@example.com>") - accepted
        assert place <= 50, f"{place} messages went first"
    finally:
        slow.close()


def test_classes_have_weights(make_node, folder):
    """Person 4, bulk 1: while both have a backlog, the site gets four of one for each of the other."""
    slow = BenchSink(folder, "--delay-ms", "10")
    try:
        node = make_node({"routes": [{"domain": "*", "via": f"[127.0.0.1]:{slow.port}"}],
                          "delivery": {"connections_start": 1, "connections_max": 1, "messages_per_connection": 10000}})
        (folder / "password").write_text(PASSWORD + "\n")
        loads = []
        for name, kind in (("news@example.com", "bulk"), ("person@example.com", "person")):
            node.add_account(name, **{"class": kind})
            loads.append(node.bench("--messages", 400, "--sessions", 10, "--size", "600", "--tls", "wrapped", "--auth",
                                    name, "--password-file", folder / "password", "--from", name, "--to",
                                    "r{n}@slow.test", port=node.ports["submissions"]))
        for load in loads:
            load.wait(60)
        begin = len(slow.taken())
        wait_until("a hundred more left", lambda: len(slow.taken()) >= begin + 110, 60)
        rows = [json.loads(line)["from"] for line in slow.log.read_text().split("\n")[:-1]][begin + 10:begin + 110]
        share = rows.count("person@example.com")
        assert 70 <= share <= 90, share
    finally:
        slow.close()
