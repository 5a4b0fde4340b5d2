"""SMTP smuggling (CVE-2023-51764, -51765, -51766) over real connections: each row, in DATA and in BDAT, whole and cut."""
import base64
import itertools
import time

import pytest

from harness.node import PASSWORD, Raw
from harness.util import wait_until

pytestmark = [pytest.mark.sanitizer, pytest.mark.grammar]

SEQUENCES = [b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\n\0.\r\n",
             b"\r\n.\0\r\n", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n"]
SMUGGLED = b"MAIL FROM:<admin@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nSubject: smuggled\r\n\r\nbad\r\n.\r\n"


def begin(client):
    client.command("EHLO client.example.com", "250")
    client.command("MAIL FROM:<user@example.com>", "250")
    client.command("RCPT TO:<friend@example.net>", "250")


def check_nothing_smuggled(node, sink):
    node.send("last@example.net", "Subject: last\r\n\r\nx\r\n")
    wait_until("the last message arrives", lambda: sink.find("Subject: last"))
    assert not [m for m in sink.messages if "victim@example.net" in m.recipients]
    for message in sink.messages:
        assert message.sender != "admin@example.com"


def expect_refusal(client):
    """The 550, and nothing but the end of the connection after it."""
    try:
        data = client.rest()
    except TimeoutError:
        raise AssertionError("the connection stays open") from None
    assert data.startswith(b"550 5.5.2") or data.startswith(b"550 5.6.0"), data
    assert data.count(b"\r\n250") == 0 and b"354" not in data, data


def pieces(data):
    """Whole; cut within the sequence; byte by byte."""
    yield [data]
    at = data.index(b"MAIL FROM:<admin")
    for cut in range(max(1, at - 6), at + 1):
        yield [data[:cut], data[cut:]]
    yield [data[i:i + 1] for i in range(at + 4)] + [data[at + 4:]]


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: s.decode().encode("unicode_escape").decode())
def test_in_data(node, sink, raw, sequence):
    for parts in pieces(b"Subject: x\r\n\r\ntext" + sequence + SMUGGLED):
        client = raw()
        begin(client)
        client.command("DATA", "354")
        try:
            for part in parts:
                client.send(part)
        except (BrokenPipeError, ConnectionResetError):
            pass # refused before the last piece was sent
        expect_refusal(client)
    check_nothing_smuggled(node, sink)
    assert len(sink.messages) == 1


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: s.decode().encode("unicode_escape").decode())
def test_in_bdat(node, sink, raw, sequence):
    """Inside a counted chunk nothing ends the message; what is not CRLF is refused."""
    for parts in itertools.islice(pieces(b"Subject: x\r\n\r\ntext" + sequence + SMUGGLED), 3):
        client = raw()
        begin(client)
        client.send(b"BDAT %d LAST\r\n" % sum(map(len, parts)))
        for part in parts:
            client.send(part)
        reply = client.reply()
        assert reply[:3] in ("550", "250"), reply
        client.send("QUIT\r\n")
        rest = client.rest()
        assert rest == b"" or rest.startswith(b"221"), rest
    time.sleep(0.3)
    check_nothing_smuggled(node, sink)


def test_nothing_bare_is_ever_sent_on(node, sink, raw):
    """What we send has CRLF only, no NUL, and every dot stuffed."""
    node.send("friend@example.net", b"Subject: x\r\n\r\n.\r\n..\r\n.a\r\n\r\n.\r\n" + b"y" * 990 + b"\r\n")
    message = wait_until("it arrives", lambda: sink.messages and sink.messages[0])
    wire = next(data for side, data in message.session.transcript if side == "D")
    without_crlf = wire.replace(b"\r\n", b"")
    assert b"\r" not in without_crlf and b"\n" not in without_crlf and b"\0" not in without_crlf
    lines = wire.split(b"\r\n")
    assert lines.count(b".") == 1 and lines[-2:] == [b".", b""]


def test_old_devices_may_send_bare_lf(make_node, sink, dns):
    """Normalised, never taken for the end of data."""
    node = make_node(start=False)
    node.config["listeners"][0].update({"old_devices": True, "networks": ["127.0.0.0/8"]})
    node.write_config()
    node.start()
    node.add_account("printer@example.com")
    with Raw(node.ports["submission"]) as client:
        client.reply()
        client.command("EHLO printer.example.com", "250")
        client.command("AUTH PLAIN " + base64.b64encode(f"\0printer@example.com\0{PASSWORD}".encode()).decode(), "235")
        client.command("MAIL FROM:<printer@example.com>", "250")
        client.command("RCPT TO:<friend@example.net>", "250")
        client.command("DATA", "354")
        client.send(b"From: printer@example.com\nSubject: scan\n\nline\n.\nMAIL FROM:<x@example.com>\nend\r\n.\r\n")
        assert client.reply().startswith("250")
    message = wait_until("it arrives", lambda: sink.messages and sink.messages[0])
    assert message.content.endswith(b"\r\n\r\nline\r\n.\r\nMAIL FROM:<x@example.com>\r\nend\r\n")
    assert len(sink.messages) == 1


INJECTIONS = [b"MAIL FROM:<a@example.com\rRCPT TO:<x@example.net>>", b"MAIL FROM:<a@example.com\0>",
              b"MAIL FROM:<a@example.com%0d%0aRCPT TO:<x@example.net>>", b"RCPT TO:<x@example.net\r\n DATA>",
              b"MAIL FROM:<a@example.com> BODY=8BITMIME\rX", b"HELO a\rb"]


@pytest.mark.parametrize("line", INJECTIONS, ids=repr)
def test_command_injection(node, raw, line):
    client = raw()
    client.command("EHLO c.example.com", "250")
    client.send(line + b"\r\n")
    reply = client.reply()
    assert reply[0] == "5", reply
    assert b"\rRCPT" not in node.log_path.read_bytes()
