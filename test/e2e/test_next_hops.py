"""Awkward and hostile next hops: bounded, the right class of failure, and no copy lost or made twice."""
import itertools
import time

import pytest

from harness.dsn import Dsn
from harness.sink import CLOSE, RESET
from harness.util import wait_until

pytestmark = pytest.mark.sanitizer


@pytest.fixture
def hop(make_sink, dns):
    one = make_sink()
    dns.mail_domain("hop.test", "127.0.0.1")
    dns.mail_domain("example.com", "127.0.0.1")
    return one


def once(reply, then=None):
    """A hook that answers so the first time."""
    left = [reply]
    return lambda session, argument: left.pop() if left else then


def delivered(hop):
    return lambda: "r@hop.test" in hop.recipients()


def deferred(node):
    """Tried, and waiting: of a site that is down, the attempt is the site's, not each message's."""
    return next((r for r in node.queue() if r["recipient"] == "r@hop.test" and r["reply"]), None)


def bounce(hop, node):
    """The report about r@hop.test that came back to user@example.com."""
    message = wait_until("the report", lambda: next((m for m in hop.messages if m.sender == ""), None))
    assert message.recipients == ["user@example.com"]
    return Dsn(message.content)


def test_5xx_greeting_means_the_next_host_then_later(node, dns, make_sink):
    grumpy, kind = make_sink("127.0.0.1"), make_sink("127.0.0.2")
    grumpy.hooks["banner"] = lambda s, a: "554 5.3.2 go away"
    dns.add("hop.test", "MX", "10 a.hop.test", "20 b.hop.test")
    dns.add("a.hop.test", "A", "127.0.0.1")
    dns.add("b.hop.test", "A", "127.0.0.2")
    node.send("r@hop.test")
    wait_until("the other host takes it", lambda: len(kind.messages) == 1)


def test_5xx_greeting_everywhere_is_deferred(node, hop):
    hop.hooks["banner"] = lambda s, a: "554 5.3.2 go away"
    node.send("r@hop.test")
    wait_until("it is deferred", lambda: deferred(node))
    hop.hooks.clear()
    wait_until("it is delivered later", delivered(hop))


def test_ehlo_refused_means_helo(node, hop):
    hop.hooks["ehlo"] = lambda s, a: "502 5.5.1 unknown command"
    node.send("r@hop.test")
    wait_until("it is delivered", delivered(hop))
    assert any(line.startswith(b"HELO ") for _, line in hop.messages[0].session.transcript)


def test_552_on_rcpt_is_temporary(node, hop):
    """RFC 5321 section 4.5.3.1.10: too many recipients, by an old server."""
    hop.hooks["rcpt"] = lambda s, a: "552 5.5.3 too many recipients" if len(s.recipients) >= 2 else None
    node.send([f"r{n}@hop.test" for n in range(5)])
    wait_until("all are delivered", lambda: len(hop.recipients()) == 5)


def test_452_on_later_recipients_sends_the_rest_at_once(node, hop):
    hop.hooks["rcpt"] = lambda s, a: "452 4.5.3 too many recipients" if len(s.recipients) >= 50 else None
    node.send([f"r{n}@hop.test" for n in range(120)])
    wait_until("all are delivered", lambda: len(hop.recipients()) == 120)
    assert len(set(hop.recipients())) == 120


def test_tls_failure_where_tls_is_opportunistic(node, hop):
    """It says STARTTLS and then talks nonsense: plain text is better than no mail."""
    hop.extensions.append("STARTTLS")
    hop.hooks["starttls"] = lambda s, a: iter([b"220 2.0.0 go ahead\r\n", 0.3, b"this is no handshake, is it?\r\n" * 9, CLOSE])
    node.send("r@hop.test")
    wait_until("it is delivered in plain text", delivered(hop))
    assert hop.messages[-1].session.tls is None


def test_starttls_refused_where_tls_is_opportunistic(node, hop):
    hop.extensions.append("STARTTLS")
    hop.hooks["starttls"] = lambda s, a: "454 4.7.0 TLS not available"
    node.send("r@hop.test")
    wait_until("it is delivered", delivered(hop))


def test_response_injection_before_tls(node, hop, sink_certificate):
    """Bytes after 220 and before the handshake are not taken for answers inside TLS."""
    hop.extensions.append("STARTTLS")
    seen = []
    hop.hooks["starttls"] = lambda s, a: seen.append(s) or (
        b"220 2.0.0 go ahead\r\n250-hop.test\r\n250-AUTH PLAIN\r\n250 ok\r\n")
    node.send("r@hop.test")
    wait_until("it is delivered, or deferred", lambda: deferred(node) or delivered(hop)())
    for session in seen:
        lines = [line for side, line in session.transcript if side == "C"]
        assert lines[-1].upper().startswith(b"STARTTLS"), "it believed injected replies"


def test_no_smtputf8_for_a_utf8_address(node, hop):
    with node.smtp() as client:
        client.command_encoding = "utf-8"
        client.ehlo("client.example.com")
        assert client.docmd("MAIL FROM:<user@example.com> SMTPUTF8")[0] == 250
        assert client.docmd("RCPT TO:<müller@hop.test>")[0] == 250
        assert client.data("Subject: x\r\n\r\nx\r\n")[0] == 250
    report = bounce(hop, node)
    assert report.recipients[0]["status"] == "5.6.7"


def test_smtputf8_is_used_where_offered(node, hop):
    hop.extensions.append("SMTPUTF8")
    with node.smtp() as client:
        client.command_encoding = "utf-8"
        client.ehlo("client.example.com")
        assert client.docmd("MAIL FROM:<user@example.com> SMTPUTF8")[0] == 250
        assert client.docmd("RCPT TO:<müller@hop.test>")[0] == 250
        assert client.data("Subject: x\r\n\r\nx\r\n")[0] == 250
    wait_until("it is delivered", lambda: hop.recipients() == ["müller@hop.test"])
    assert "SMTPUTF8" in hop.messages[0].parameters


@pytest.mark.parametrize("reply", ["550 5.1.1 no such user", "553 5.1.3 bad address", "550 no enhanced code"])
def test_5xx_at_rcpt_bounces_at_once(node, hop, reply):
    hop.hooks["rcpt"] = lambda s, a: reply if "r@hop" in a else None
    node.send(["r@hop.test", "good@hop.test"])
    report = bounce(hop, node)
    assert report.addresses() == ["r@hop.test"]
    assert report.recipients[0]["action"] == "failed"
    assert report.recipients[0]["status"][0] == "5"
    assert reply[:3] in report.recipients[0]["diagnostic-code"]
    assert "good@hop.test" in hop.recipients()


@pytest.mark.parametrize("stage", ["mail", "data", "dot"])
@pytest.mark.parametrize("code", ["451 4.3.0 later", "554 5.6.0 never"])
def test_replies_at_every_stage(node, hop, stage, code):
    hop.hooks[stage] = lambda s, a: None if s.sender == "" or "<>" in str(a) or getattr(
        a, "sender", None) == "" else code
    node.send("r@hop.test")
    if code[0] == "5":
        assert bounce(hop, node).recipients[0]["status"] == "5.6.0"
    else:
        assert "4.3.0" in wait_until("it is deferred", lambda: deferred(node))["reply"]
        hop.hooks.clear()
        wait_until("it is delivered later", delivered(hop))


@pytest.mark.parametrize("stage", ["banner", "ehlo", "mail", "rcpt", "data", "dot", "quit"])
@pytest.mark.parametrize("what", ["421", "close", "reset"])
def test_the_connection_ends_at_every_stage(node, hop, stage, what):
    """Sent again later, and after the dot too, where a second copy is RFC 1047's price."""
    answer = {"421": "421 4.3.2 shutting down", "close": CLOSE, "reset": RESET}[what]
    hop.hooks[stage] = once(answer)
    node.send("r@hop.test")
    wait_until("it is delivered", delivered(hop))
    time.sleep(1.5)
    assert hop.recipients() == ["r@hop.test"]
    node.wait_empty()


@pytest.mark.parametrize("nonsense", [
    b"999 what\r\n", b"no code at all\r\n", b"2\r\n", b"250\0nul 250 ok\r\n", b"\r\n", b"\xff\xfe\xfd\r\n", b"25 0 x\r\n"])
def test_nonsense_replies_are_temporary(node, hop, nonsense):
    hop.hooks["rcpt"] = lambda s, a: nonsense
    node.send("r@hop.test")
    wait_until("it is deferred", lambda: deferred(node))
    hop.hooks.clear()
    wait_until("it is delivered later", delivered(hop))


def test_endless_reply_is_cut(node, hop):
    hop.hooks["ehlo"] = lambda s, a: itertools.repeat(b"250-and another thing\r\n" * 100)
    before = node.resident_mib()
    node.send("r@hop.test")
    wait_until("it is deferred", lambda: deferred(node))
    assert node.resident_mib() - before < 20
    hop.hooks.clear()
    wait_until("it is delivered later", delivered(hop))


def test_reply_line_of_a_mebibyte_is_cut(node, hop):
    hop.hooks["banner"] = lambda s, a: b"220 " + b"x" * (1 << 20) + b"\r\n"
    before = node.resident_mib()
    node.send("r@hop.test")
    wait_until("it is deferred", lambda: deferred(node))
    assert node.resident_mib() - before < 20


def test_250_before_the_dot_is_not_believed(node, hop):
    """A final reply that comes with 354, before the content was sent, is no acceptance."""
    hop.hooks["data"] = once(b"354 go ahead\r\n250 2.0.0 taken already\r\n", None)
    node.send("r@hop.test")
    wait_until("it is delivered", lambda: len(hop.find("hello")) >= 1 and not node.queue())


def test_hostile_words_do_not_reach_logs_or_reports_raw(node, hop):
    hop.hooks["rcpt"] = lambda s, a: b"550 5.1.1 no\x1b[2J\x07\xe2\x80\xa8 such user\r\n" if "r@hop" in a else None
    node.send("r@hop.test")
    message = wait_until("the report", lambda: next((m for m in hop.messages if m.sender == ""), None))
    assert b"\x1b" not in message.content and b"\x07" not in message.content
    assert b"\x1b" not in node.events_path.read_bytes()
    assert b"\x1b" not in node.log_path.read_bytes()


def test_size_is_announced_and_obeyed(node, hop):
    hop.extensions[:] = [e for e in hop.extensions if not e.startswith("SIZE")] + ["SIZE 1000"]
    node.send("r@hop.test", "Subject: x\r\n\r\n" + "x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 50, sender="")
    wait_until("it bounces", lambda: any(r["state"] == "bounced" and "5.3.4" in r["reply"]
                                         for r in node.track(recipient="r@hop.test")))
    assert not hop.messages
