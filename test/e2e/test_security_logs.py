"""What strangers send ends in logs, reports and an operator's terminal: one line per event, and nothing that acts there."""
import json
import re
import time

import pytest

from harness.util import wait_until
from security import greet, plain, so_far, submit

pytestmark = [pytest.mark.sanitizer, pytest.mark.grammar]

LINE = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (error|warning|info|debug) [a-z-]+: ")
# What ends a line somewhere, or acts on a terminal. CR and LF cannot be within an SMTP command, but in base64 and encoded words.
NASTY = {"ESC": "\x1b[2J\x1b]0;owned\x07", "NUL": "\0", "CR": "\r", "U+2028": "\u2028", "U+2029": "\u2029", "NEL": "\u0085",
         "BEL": "\x07", "DEL": "\x7f", "C1": "\u009b31m", "RLO": "\u202emoc.evil", "not UTF-8": None}
FORGED = '{"ts":"2024-01-01T00:00:00.000Z","event":"delivered","id":"FORGED"}'


def octets(nasty):
    return b"\xff\xfe\xc3\x28" if NASTY[nasty] is None else NASTY[nasty].encode()


def check_logs(node):
    """Both logs: whole lines, each of the known form, of harmless characters."""
    time.sleep(0.4)
    for path, is_line in ((node.events_path, lambda line: isinstance(json.loads(line)["event"], str)),
                          (node.log_path, LINE.match)):
        data = path.read_bytes()
        assert data.endswith(b"\n") or not data
        text = data.decode("utf-8") # and nothing else
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", text), path
        for line in text.split("\n")[:-1]:
            assert is_line(line), line
    assert not [e for e in node.events() if e.get("id") == "FORGED"]


@pytest.mark.parametrize("nasty", NASTY)
def test_what_clients_say(make_node, nasty):
    """In HELO, MAIL, RCPT, parameters, a user's name, unknown commands."""
    node = make_node({"smtp": {"max_errors": 1000}})
    bad = octets(nasty)
    lines = [b"HELO a" + bad + b"b", b"EHLO " + bad, b"MAIL FROM:<a" + bad + b"@example.com>",
             b'MAIL FROM:<"a' + bad + b'"@example.com>', b"MAIL FROM:<a@b" + bad + b".test> SMTPUTF8",
             b"MAIL FROM:<a@example.com> ENVID=" + bad, bad, b"NOOP " + bad, b"XYZ\\n" + FORGED.encode(), b"VRFY " + bad]
    with greet(node) as client:
        for line in lines:
            client.send(line + b"\r\n")
            client.reply()
            client.command("RSET")
        client.command("EHLO c.example.com", "250")
        client.command("MAIL FROM:<user@example.com>", "250")
        for to in (b"<r" + bad + b"@example.net>", b'<"r' + bad + b'"@example.net>', b"<r@e" + bad + b".net>"):
            client.send(b"RCPT TO:" + to + b"\r\n")
            client.reply()
    if NASTY[nasty] is not None:
        with greet(node, "submissions") as client:
            name = f"user{NASTY[nasty]}x\n{FORGED}@example.com"
            assert client.command(plain(name, "wrong"))[:3] in ("501", "535")
            assert client.command(plain(f"u{NASTY[nasty]}@example.com", "wrong"))[:3] in ("501", "535")
    check_logs(node)


@pytest.mark.parametrize("nasty", [n for n in NASTY if n not in ("NUL", "CR")])
def test_header_fields(node, sink, nasty):
    """Subject and Message-ID go on as they came, and into no log raw."""
    bad = octets(nasty)
    with greet(node) as client:
        client.command("MAIL FROM:<user@example.com> BODY=8BITMIME", "250")
        client.command("RCPT TO:<friend@example.net>", "250")
        client.command("DATA", "354")
        client.send(b"Message-ID: <m" + bad + b"@example.com>\r\nSubject: s" + bad + b"\r\n " + FORGED.encode() +
                    b"\r\n\r\nx\r\n.\r\n")
        assert client.reply().startswith("250")
    wait_until("it arrives", lambda: sink.messages)
    assert b"Subject: s" + bad in sink.messages[0].content
    check_logs(node)
    out = node.cli("track", "--recipient", "friend@example.net", check=False)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", out.stdout), out.stdout


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize("code", ["450 4.7.1", "550 5.1.1"])
def test_remote_replies(node, sink, dns, nasty, code):
    """In the logs, the API, the command line and the report to the sender."""
    dns.mail_domain("example.com", "127.0.0.1")
    bad = octets(nasty)
    sink.hooks["rcpt"] = lambda s, a: None if "user@" in a else (
        code.encode() + b" no" + bad + b"such user " + FORGED.encode() + b"\r\n")
    node.send("r@example.net")
    if code[0] == "5":
        report = wait_until("the report", lambda: next((m for m in sink.messages if m.sender == ""), None))
        body = report.content.split(b"message/rfc822")[0]
        assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", body)
        assert not re.search(rb"\r(?!\n)|(?<!\r)\n", report.content)
        assert "\u2028".encode() not in body and "\u0085".encode() not in body
    else:
        wait_until("it waits", lambda: any(r["attempts"] for r in node.queue()))
        for row in node.queue():
            assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", row["reply"]), row
        out = node.cli("queue", "list").stdout
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", out), out
    check_logs(node)


@pytest.mark.parametrize("stage", ["banner", "ehlo", "mail", "data", "dot", "starttls"])
def test_remote_replies_at_every_stage(node, sink, stage):
    if stage == "starttls":
        sink.extensions.append("STARTTLS")
    sink.hooks[stage] = lambda s, a: b"451 4.3.0 a\x1b[2Jb\x07\xe2\x80\xa8c\xff\x9b\rd\r\n"
    node.send("r@example.net")
    wait_until("it was tried", lambda: sink.sessions and (sink.messages or any(r["attempts"] for r in node.queue()) or
                                                         node.events("connect_failed")))
    check_logs(node)


def test_ehlo_of_a_next_hop(node, sink):
    """Its name and its keywords are text of a stranger's too."""
    sink.hooks["ehlo"] = lambda s, a: b"250-x\x1b[2J\xe2\x80\xa8y\r\n250-SIZE \x1b[2J\r\n250-AUTH \x07\r\n250 \xff\xff\r\n"
    node.send("r@example.net")
    wait_until("it was tried", lambda: sink.messages or any(r["attempts"] for r in node.queue()))
    check_logs(node)


def test_one_event_for_each_thing_that_happened(node, sink):
    """Not two lines for one event, and none missing."""
    with greet(node) as client:
        for number in range(20):
            assert submit(client, "user@example.com", f"r{number}@example.net", "Subject: x\r\n\r\nx").startswith("250")
    wait_until("all are delivered", lambda: len(sink.messages) == 20)
    node.wait_empty()
    events = so_far(node, least=40)
    assert sum(e["event"] == "received" for e in events) == 20
    ends = [e for e in events if e["event"] in ("delivered", "relayed")]
    assert sorted(e["recipient"] for e in ends) == sorted(f"r{n}@example.net" for n in range(20))
    check_logs(node)


def test_passwords_are_in_no_log(node):
    node.add_account(password="a-secret-that-is-nowhere")
    with greet(node, "submissions") as client:
        client.command(plain("user@example.com", "another-secret-word"), "535")
        client.command(plain("user@example.com", "a-secret-that-is-nowhere"), "235")
    node.api("POST", "/v1/accounts/passwd", {"name": "user@example.com", "password": "third-secret-word"})
    time.sleep(0.4)
    for path in (node.events_path, node.log_path):
        data = path.read_bytes()
        for secret in (b"a-secret-that-is-nowhere", b"another-secret-word", b"third-secret-word"):
            assert secret not in data
    assert b"a-secret" not in (node.folder / "data/accounts").read_bytes()
