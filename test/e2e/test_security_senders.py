"""Who may send as whom: the envelope and a From header that wants to be read in two ways; reports that nobody asked for."""
import time

import pytest

from harness.util import wait_until
from security import log_in, so_far, submit

pytestmark = [pytest.mark.sanitizer, pytest.mark.grammar]

OWN = "user@example.com"


@pytest.fixture
def strict(make_node, sink):
    node = make_node({"accounts": {"sender_check": "envelope_and_header"}, "smtp": {"max_errors": 1000}})
    node.add_account(OWN, senders=["alias@example.com", "@owned.example.com"])
    return node


FOREIGN = ["other@example.com", "user@example.org", "user@sub.example.com", "user@example.com.evil.test", "User2@example.com",
           '"user@example.com"@evil.test', '"user"@evil.test', "user%example.com@evil.test", "user@xexample.com",
           "@example.com:user@evil.test", "user@sub.owned.example.com", "user@xowned.example.com", "+tag@example.com",
           "x+user@example.com", "user@[127.0.0.1]", "alias2@example.com", "user-tag@example.com", "us+er@example.com"]


@pytest.mark.parametrize("kind", ["submission", "submissions"])
def test_foreign_envelopes(strict, kind):
    with log_in(strict, kind=kind) as client:
        for sender in FOREIGN:
            client.command(f"MAIL FROM:<{sender}>", "553 5.7.1")
            client.command("RCPT TO:<friend@example.net>", "503")
    assert not so_far(strict, "received")
    assert len(strict.events("rejected")) >= len(FOREIGN)


@pytest.mark.parametrize("sender", [OWN, "USER@Example.COM", "user+tag@example.com", "user+a+b@example.com", "alias@example.com",
                                    "alias+x@example.com", "any.body@owned.example.com", ""])
def test_own_envelopes(strict, sink, sender):
    with log_in(strict) as client:
        assert submit(client, sender, "friend@example.net", f"From: {OWN}\r\nSubject: x\r\n\r\nx").startswith("250")
    wait_until("it arrives", lambda: sink.messages)
    assert sink.messages[0].sender == sender


# What some reader, a mail program or a filter, would show as somebody else.
TRICKY = [
    "From: other@example.com",
    "From: <other@example.com>",
    "From: User <other@example.com>",
    'From: "user@example.com" <other@example.com>',
    "From: user@example.com <other@example.com>",
    "From: other@example.com (user@example.com)",
    "From: (user@example.com) other@example.com",
    "From: user@example.com, other@example.com",
    "From: other@example.com, user@example.com",
    "From: friends: user@example.com, other@example.com;",
    "From: user@example.com\r\nFrom: other@example.com",
    "From: other@example.com\r\nFrom: user@example.com",
    "From: user@example.com\r\nSubject: x\r\nFROM: other@example.com",
    "From: user@example.com\r\nfrom : other@example.com",
    "From:\r\n other@example.com",
    "From: \r\n\t<other@example.com>",
    "From: user@example.com,\r\n other@example.com",
    "From: user@example.com\r\n <other@example.com>",
    "From: <@user@example.com:other@example.com>",
    "From: <@example.com:other@example.com>",
    "From: other(comment)@example.com",
    "From: other@(user@)example.com",
    'From: "other"@example.com',
    'From: "user@example.com"@evil.test',
    "From: user@example.com@evil.test",
    "From: user@example.com\\, other@example.com",
    "From: <user@example.com> <other@example.com>",
    "From: <user@example.com>, <other@example.com",
    "From: <<other@example.com>>",
    "From: user@example.com>",
    "From: user@example.com other@example.com",
    "From: =?utf-8?q?other=40example.com?=",
    "From: =?utf-8?q?user=40example.com?= <other@example.com>",
    "From: user@example.com =?utf-8?q?=3Cother=40example.com=3E?=",
    "From: user@example.com (unclosed <other@example.com>",
    'From: "unclosed <user@example.com>',
    "From: user@example.com;other@example.com",
    "From: user@example.com | other@example.com",
    "From: user@[127.0.0.1]",
    "From: user@ex ample.com",
    "From: user @evil.test",
    "From: \u0443ser@example.com",
    "From: user@example.com\u2028other@example.com",
    "From: user@example.com\x01other@example.com",
    "From: user@ex\uff41mple.com",
]


@pytest.mark.parametrize("header", TRICKY)
def test_foreign_headers(strict, header):
    """Refused: 553 where it is somebody else's, 550 where it cannot be understood."""
    with log_in(strict) as client:
        reply = submit(client, OWN, "friend@example.net", f"{header}\r\nSubject: x\r\n\r\nx".encode())
        assert reply.startswith(("553 5.7.1", "550 5.6.0")), reply
        reply = submit(client, "", "friend@example.net", f"{header}\r\nSubject: x\r\n\r\nx".encode())
        assert reply.startswith(("553 5.7.1", "550 5.6.0")), "the null sender is no way around it: " + reply
    assert not so_far(strict, "received")


ORDINARY = ["From: user@example.com", "From: <user@example.com>", "FROM:user@example.com", 'From: "A. User" <USER@EXAMPLE.COM>',
            "From: User Name <user+tag@example.com>", "From: =?utf-8?b?VMO8cg==?= <user@example.com>",
            "From: user@example.com (A. User)", "From: user@example.com, alias@example.com",
            'From: "Other, other@example.com" <user@example.com>', "From: User\r\n <user@example.com>",
            "From: x@owned.example.com", "From: user @ example.com"]


@pytest.mark.parametrize("header", ORDINARY)
def test_own_headers(strict, sink, header):
    with log_in(strict) as client:
        assert submit(client, OWN, "friend@example.net", f"{header}\r\nSubject: x\r\n\r\nx").startswith("250")
    wait_until("it arrives", lambda: sink.messages)


def test_the_body_is_no_header(strict, sink):
    """From after the empty line, or in an attached message, is text."""
    with log_in(strict) as client:
        assert submit(client, OWN, "friend@example.net",
                      "From: user@example.com\r\nSubject: x\r\n\r\nFrom: other@example.com\r\n\r\nx").startswith("250")
        reply = submit(client, OWN, "friend@example.net",
                       "From: user@example.com\r\nNo header at all\r\nFrom: other@example.com\r\n\r\nx")
        assert reply[:3] in ("250", "550", "553")
    wait_until("it arrives", lambda: sink.messages)
    for message in sink.messages: # where a line ended the header, what follows it must not look like one again
        assert "From: other@example.com" not in message.header


def test_envelope_only(make_node, sink):
    node = make_node({"accounts": {"sender_check": "envelope"}})
    node.add_account()
    with log_in(node) as client:
        assert submit(client, "other@example.com", "friend@example.net", "Subject: x\r\n\r\nx").startswith("553 5.7.1")
        assert submit(client, OWN, "friend@example.net", "From: other@example.com\r\n\r\nx").startswith("250")
    wait_until("it arrives", lambda: sink.messages)


def test_a_forwarder_that_policy_allows(make_node, sink):
    """senders: "*" is for servers that forward other people's mail."""
    node = make_node({"accounts": {"sender_check": "envelope_and_header"}})
    node.add_account("forwarder@example.com", senders=["*"])
    with log_in(node, "forwarder@example.com") as client:
        for sender in ("stranger@elsewhere.test", "SRS0=HHH=TT=elsewhere.test=stranger@example.com", ""):
            assert submit(client, sender, "friend@example.net",
                          "From: stranger@elsewhere.test\r\nSubject: x\r\n\r\nx").startswith("250")
    wait_until("all arrive", lambda: len(sink.messages) == 3)


# ---- backscatter -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["550 at RCPT", "550 at dot", "null MX", "unknown domain", "delayed", "by the operator"])
def test_no_report_to_the_null_sender(make_node, sink, dns, how):
    """However it fails: the end is recorded, and nobody is written to."""
    retry = {"delayed": {"retry": ["1s"], "expire": "1m", "delay_notice": "2s"}, "by the operator": {"retry": ["1h"]}}
    node = make_node({"delivery": retry.get(how, {})})
    recipient = "r@example.net"
    if how == "550 at RCPT":
        sink.hooks["rcpt"] = lambda s, a: "550 5.1.1 no"
    elif how == "550 at dot":
        sink.hooks["dot"] = lambda s, a: "550 5.7.1 no"
    elif how == "null MX":
        dns.add("null.test", "MX", "0 .")
        recipient = "r@null.test"
    elif how == "unknown domain":
        recipient = "r@nowhere.test"
    else:
        sink.hooks["rcpt"] = lambda s, a: "450 4.7.1 later"
    node.send(recipient, sender="")
    if how == "by the operator":
        wait_until("it is not in flight, which is busy", lambda: node.api(
            "POST", "/v1/queue/bounce", {"all": True, "text": "no longer wanted"})["done"] == 1)
    if how == "delayed":
        time.sleep(4)
        assert not node.events("dsn"), "a delay notice to nobody"
        wait_until("it is deleted", lambda: node.api("POST", "/v1/queue/delete", {"all": True})["busy"] == 0)
    node.wait_empty()
    assert not so_far(node, "dsn")
    assert sink.messages == [] and node.queue() == []


def test_a_report_that_cannot_be_delivered_ends(node, sink):
    """Double bounce: the report's own failure is recorded, and makes no other report."""
    sink.hooks["rcpt"] = lambda s, a: "550 5.1.1 nobody here"
    node.send("r@example.net", sender="user@a.example.net")
    wait_until("there is a report", lambda: node.events("dsn"))
    node.wait_empty()
    time.sleep(1)
    assert len(so_far(node, "dsn", 1)) == 1 and len(node.events("bounced")) == 2
    assert sink.messages == []


def test_reports_are_few_and_small(node, sink):
    """A message to many bad addresses is one report, and returns the header only: no amplifier."""
    sink.hooks["rcpt"] = lambda s, a: None if "user@a" in a else "550 5.1.1 no"
    node.send([f"r{number}@example.net" for number in range(100)], "Subject: x\r\n\r\n" + ("y" * 70 + "\r\n") * 3000,
              sender="user@a.example.net")
    wait_until("the report", lambda: sink.messages)
    node.wait_empty()
    time.sleep(0.5)
    assert len(sink.messages) <= 2
    assert sum(len(m.content) for m in sink.messages) < 100000
