"""Deferred mail: the retry schedule, delay notices, final reports, and dead destinations."""
import time

import pytest

from harness.dsn import Dsn
from harness.sink import CLOSE
from harness.util import STRETCH, wait_until


@pytest.fixture
def hop(make_sink, dns):
    one = make_sink()
    dns.mail_domain("hop.test", "127.0.0.1")
    dns.mail_domain("example.com", "127.0.0.1")
    return one


def refuse(recipient="r@hop.test", reply="451 4.7.1 try later"):
    return lambda session, argument: reply if recipient in argument else None


def reports(hop):
    return [m for m in hop.messages if m.sender == ""]


def test_4xx_then_2xx_on_schedule(make_node, hop):
    times = []
    hop.hooks["rcpt"] = lambda s, a: times.append(time.monotonic()) or (
        "451 4.7.1 try later" if len(times) < 5 else None)
    node = make_node({"delivery": {"retry": ["1s", "2s", "3s"], "jitter": 0}})
    node.send("r@hop.test")
    wait_until("it is delivered", lambda: hop.recipients() == ["r@hop.test"], 30)
    waits = [b - a for a, b in zip(times, times[1:])]
    for waited, planned in zip(waits, [1, 2, 3, 3]): # the last step repeats
        assert planned - 0.2 <= waited <= planned + 3 * STRETCH, waits


def test_jitter_spreads_retries(make_node, hop):
    times = {}
    hop.hooks["rcpt"] = lambda s, a: times.setdefault(a.split()[0], []).append(time.monotonic()) or (
        "451 4.7.1 try later" if len(times[a.split()[0]]) < 2 else None)
    node = make_node({"delivery": {"retry": ["5s"], "jitter": 50}})
    for number in range(30):
        node.send(f"r{number}@hop.test")
    wait_until("all are delivered", lambda: len(hop.recipients()) == 30, 30)
    waits = [t[1] - t[0] for t in times.values()]
    assert 2.3 <= min(waits) and max(waits) <= 12 * STRETCH
    assert max(waits) - min(waits) > 1.5, "they all came back at once"


@pytest.mark.slow(65)
def test_delay_notice_once_then_final_report(make_node, hop):
    """RFC 3464: action delayed with status 4, then failed with status 5 when the time is over."""
    hop.hooks["rcpt"] = refuse()
    node = make_node({"delivery": {"retry": ["1s"], "delay_notice": "3s", "expire": "1m"}})
    start = time.monotonic()
    node.send("r@hop.test", "Subject: late\r\nMessage-ID: <late@example.com>\r\n\r\nsecret body\r\n")
    first = wait_until("the delay notice", lambda: reports(hop) and reports(hop)[0])
    assert 2.5 <= first.time - start <= 15 * STRETCH
    assert first.recipients == ["user@example.com"]
    delay = Dsn(first.content)
    assert [(r["action"], r["status"]) for r in delay.recipients] == [("delayed", "4.7.1")]
    assert "will-retry-until" in delay.recipients[0]
    assert "451 4.7.1 try later" in delay.recipients[0]["diagnostic-code"]
    last = wait_until("the final report", lambda: len(reports(hop)) > 1 and reports(hop)[1], 90)
    assert 55 <= last.time - start <= 90 * STRETCH
    final = Dsn(last.content)
    assert [(r["action"], r["status"][0]) for r in final.recipients] == [("failed", "4")] or \
        [(r["action"], r["status"][0]) for r in final.recipients] == [("failed", "5")]
    assert "<late@example.com>" in final.returned_text()
    assert "secret body" not in final.returned_text(), "RET was absent: the header only"
    time.sleep(3)
    assert len(reports(hop)) == 2
    assert node.queue() == []
    assert [r["state"] for r in node.track(recipient="r@hop.test")] == ["expired"]


@pytest.mark.parametrize("notify, reply, expected", [
    (None, "550 5.1.1 no", ["failed"]),
    ("NOTIFY=FAILURE", "550 5.1.1 no", ["failed"]),
    ("NOTIFY=NEVER", "550 5.1.1 no", []),
    ("NOTIFY=SUCCESS", "550 5.1.1 no", []),
    ("NOTIFY=DELAY", "550 5.1.1 no", []),
    (None, None, []),
    ("NOTIFY=SUCCESS", None, ["relayed"]),
    ("NOTIFY=SUCCESS,FAILURE", None, ["relayed"]),
    ("NOTIFY=FAILURE", None, []),
    ("NOTIFY=NEVER", None, []),
])
@pytest.mark.parametrize("dsn_hop", [False, True])
def test_notify_matrix(node, hop, notify, reply, expected, dsn_hop):
    """RFC 3461: which reports we make, and what we pass on to a next hop that knows DSN."""
    if dsn_hop:
        hop.extensions.append("DSN")
    if reply:
        hop.hooks["rcpt"] = refuse(reply=reply)
    if dsn_hop and reply is None:
        expected = [] # the next hop makes it
    node.send("r@hop.test", rcpt_options=[notify] if notify else [], mail_options=["ENVID=e1", "RET=HDRS"])
    if expected:
        message = wait_until("the report", lambda: reports(hop) and reports(hop)[0])
        report = Dsn(message.content)
        assert [r["action"] for r in report.recipients] == expected
        assert report.per_message["original-envelope-id"] == "e1"
    else:
        node.wait_empty()
        time.sleep(0.5)
        assert reports(hop) == []
    if reply is None:
        message = next(m for m in hop.messages if m.sender)
        passed_on = message.rcpt_parameters[0]
        assert (f"{notify}" in passed_on if notify else "NOTIFY" not in passed_on) if dsn_hop else passed_on == ""
        assert ("ENVID=e1" in message.parameters) == dsn_hop


@pytest.mark.parametrize("ret, body_returned", [("RET=HDRS", False), ("RET=FULL", True)])
def test_ret(node, hop, ret, body_returned):
    hop.hooks["rcpt"] = refuse(reply="550 5.1.1 no")
    node.send("r@hop.test", "Subject: mine\r\n\r\nunmistakable body\r\n", mail_options=[ret])
    report = Dsn(wait_until("the report", lambda: reports(hop) and reports(hop)[0]).content)
    assert "Subject: mine" in report.returned_text()
    assert ("unmistakable body" in report.returned_text()) == body_returned


def test_orcpt_is_reported(node, hop):
    hop.hooks["rcpt"] = refuse(reply="550 5.1.1 no")
    node.send("r@hop.test", rcpt_options=["ORCPT=rfc822;first+2Baddress@list.test"])
    report = Dsn(wait_until("the report", lambda: reports(hop) and reports(hop)[0]).content)
    assert report.recipients[0]["original-recipient"].replace(" ", "") == "rfc822;first+address@list.test"


def test_no_report_to_the_null_sender(node, hop):
    hop.hooks["rcpt"] = refuse(reply="550 5.1.1 no")
    node.send("r@hop.test", sender="")
    wait_until("it ends", lambda: [r["state"] for r in node.track(recipient="r@hop.test")] == ["bounced"])
    time.sleep(0.5)
    assert hop.messages == [] and node.queue() == []


def test_a_report_that_bounces_makes_no_other(node, hop):
    hop.hooks["rcpt"] = lambda s, a: "550 5.1.1 nobody here"
    node.send("r@hop.test")
    wait_until("the report was tried", lambda: any("user@example.com" in str(line) for s in hop.sessions
                                                   for line in s.transcript))
    node.wait_empty()
    assert hop.messages == []


def test_several_failures_are_reported_together(node, hop):
    hop.hooks["rcpt"] = refuse("bad", "550 5.1.1 no")
    node.send(["bad1@hop.test", "bad2@hop.test", "good@hop.test"])
    report = Dsn(wait_until("the report", lambda: reports(hop) and reports(hop)[0]).content)
    assert sorted(report.addresses()) == ["bad1@hop.test", "bad2@hop.test"]
    time.sleep(0.5)
    assert len(reports(hop)) == 1


def test_dead_site_is_probed_by_one_connection(make_node, make_sink, dns):
    """A thousand messages wait for it: they must not all knock."""
    dead = make_sink("127.0.0.3")
    dead.hooks["banner"] = lambda s, a: CLOSE
    dns.mail_domain("dead.test", "127.0.0.3")
    node = make_node({"delivery": {"retry": ["2s"], "jitter": 0}})
    node.bench("--messages", 1000, "--to", "r{n}@dead.test", "--sessions", 10).wait(60)
    wait_until("it is known to be down", lambda: node.api("GET", "/v1/status")["queue"]["sites_down"] == 1)
    before = len(dead.sessions)
    time.sleep(10)
    assert len(dead.sessions) - before <= 7, "more than a probe every two seconds"
    assert len(dead.sessions) <= 20
    dead.hooks.clear()
    wait_until("all are delivered once it is back", lambda: len(dead.messages) == 1000, 60)


def test_retry_command_is_obeyed_at_once(make_node, hop):
    hop.hooks["rcpt"] = refuse()
    node = make_node({"delivery": {"retry": ["1h"]}})
    node.send("r@hop.test")
    wait_until("it is deferred", lambda: any(r["attempts"] for r in node.queue()))
    hop.hooks.clear()
    assert node.api("POST", "/v1/queue/retry", {"all": True})["done"] == 1
    wait_until("it is delivered", lambda: hop.recipients() == ["r@hop.test"])


def test_schedule_survives_a_restart(make_node, hop):
    hop.hooks["rcpt"] = refuse()
    node = make_node({"delivery": {"retry": ["8s"], "jitter": 0}})
    node.send("r@hop.test")
    row = wait_until("it is deferred", lambda: next((r for r in node.queue() if r["attempts"]), None))
    node.stop()
    node.restart()
    again = node.queue()[0]
    assert again["attempts"] == row["attempts"] and abs(again["next_ms"] - row["next_ms"]) < 1000
    assert again["reply"] == row["reply"]
    hop.hooks.clear()
    wait_until("it is delivered in time", lambda: hop.recipients() == ["r@hop.test"])
