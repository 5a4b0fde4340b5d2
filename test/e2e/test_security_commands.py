"""Commands that are too long, malformed, ahead of their time or not what they seem; addresses with more than one reading."""
import os
import pathlib
import signal
import time

import pytest

from harness.node import Raw
from harness.util import STRETCH, wait_until
from security import greet, log_in, so_far, submit

pytestmark = [pytest.mark.sanitizer, pytest.mark.grammar]


# ---- early talkers -----------------------------------------------------------------------------------------


def stopped(pid):
    """A signal that stops a process reaches its threads one after another."""
    stats = [task.read_text() for task in pathlib.Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


@pytest.mark.parametrize("data", [b"EHLO c.example.com\r\n", b"\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"E",
                                  b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"MAIL FROM:<a@example.com>\r\n"])
@pytest.mark.parametrize("kind", ["relay", "submission"])
def test_speaking_before_the_greeting(node, data, kind):
    """The node is stopped while it happens, so that the data are there first for sure."""
    os.kill(node.pid(), signal.SIGSTOP)
    try:
        wait_until("every thread stands still", lambda: stopped(node.pid()))
        client = Raw(node.ports[kind])
        client.send(data)
        client.send(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<friend@example.net>\r\nDATA\r\n")
    finally:
        os.kill(node.process.pid, signal.SIGCONT)
    answer = client.rest()
    assert answer.startswith(b"554 5.5.0 ") and answer.count(b"\r\n") == 1, answer
    client.close()


@pytest.mark.parametrize("ahead", [b"HELO c\r\nMAIL FROM:<a@example.com>\r\n",
                                   b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\n",
                                   b"EHLO c\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"])
def test_pipelining_before_it_was_offered(node, raw, ahead):
    """RFC 2920: commands may only come together once the reply to EHLO has said so."""
    client = raw()
    client.send(ahead)
    answer = client.rest()
    assert answer.endswith(answer.splitlines(True)[-1]) and b"554 5.5.0" in answer, answer
    assert b"2.1.0" not in answer and b"354" not in answer


# ---- lengths -----------------------------------------------------------------------------------------------


def test_long_commands(make_node):
    """What RFC 5321 section 4.5.3.1 and the extensions allow is taken; 64 KiB are refused, also without an end."""
    node = make_node({"smtp": {"max_errors": 100}})
    with greet(node) as client:
        for length in (512, 1024, 2048):
            client.command("NOOP ".ljust(length - 2, "x"), "250")
        client.command("NOOP ".ljust(65536, "x"), "500 5.5.2")
        client.command("MAIL FROM:<user@example.com> ENVID=" + "e" * 100 + " BODY=8BITMIME RET=HDRS SIZE=1000", "250")
        client.command(f"RCPT TO:<{'l' * 64}@{'.'.join(['d' * 60] * 4)}> NOTIFY=SUCCESS,FAILURE,DELAY "
                       f"ORCPT=rfc822;{'o' * 490}", "250")
        client.command("NOOP", "250")
    with greet(node) as client:
        before = node.resident_mib()
        client.send("X" * 65536)
        assert client.reply().startswith("500 5.5.2")
        for _ in range(200):
            client.send("X" * 65536)
        client.send("\r\n")
        client.command("NOOP", "250")
        assert node.resident_mib() - before < 8 * STRETCH


@pytest.mark.parametrize("line, code", [
    (b"NO\0OP", "500 5.5.2"), (b"NOOP\0", "500 5.5.2"), (b"\0", "500 5.5.2"), (b"NOOP \xc3\xbc", "500 5.5.2"),
    (b"MAIL FROM:<m\xc3\xbcller@example.com>", "500 5.5.2"), (b"MAIL FROM:<m\xffller@example.com> SMTPUTF8", "501"),
    (b"MAIL FROM:<user\0@example.com>", "500 5.5.2"), (b"MAIL FROM:<user@example.com>\0", "500 5.5.2"),
    (b"MAIL FROM:<user@example.com\xe2\x80\xa8> SMTPUTF8", "501"), (b"EHLO \xff", "501"), (b"EHLO a b", "5"),
    (b"\x1b[2J", "501"), (b"EHLO \x1b[2J", "501"), (b"RSET\t", "250"), (b"", "500")])
def test_octets_that_do_not_belong_there(node, line, code):
    with greet(node) as client:
        client.send(line + b"\r\n")
        reply = client.reply()
        assert reply.startswith(code), reply
        client.command("NOOP", "250")


@pytest.mark.parametrize("parameters, code", [
    ('AUTH="', "501"), ("AUTH=a@b AUTH=a@b", "501"), ("SIZE=99999999999999999999", "552 5.3.4"),
    ("SIZE=999999999999999999999", "501"), ("SIZE=18446744073709551617", "552 5.3.4"), ("SIZE=-1", "501"),
    ("SIZE=0x10", "501"), ("SIZE=1 SIZE=1", "501"), ("SIZE=", "501"), ("BODY=7BIT BODY=8BITMIME", "501"),
    ("RET=FULL RET=FULL", "501"), ("ENVID=a ENVID=b", "501"), ("SMTPUTF8 SMTPUTF8", "501"), ("FOO", "555"),
    ("XCLIENT=1", "555"), ("NOTIFY=NEVER", "555"), ("ENVID=a+0D+0Ab", "501"),
    ("ENVID=" + "+41" * 101, "501"), ("AUTH=a+0D+0AX", "501")])
def test_mail_parameters(node, parameters, code):
    node.add_account()
    with log_in(node) as client:
        client.command(f"MAIL FROM:<user@example.com> {parameters}", code)
        client.command("RCPT TO:<friend@example.net>", "503")
        client.command("MAIL FROM:<user@example.com>", "250")


@pytest.mark.parametrize("parameters", ["NOTIFY=NEVER,SUCCESS", "NOTIFY=", "ORCPT=x", "ORCPT=rfc822;a+0D+0Ab",
                                        "ORCPT=rfc822;a ORCPT=rfc822;a", "NOTIFY=NEVER NOTIFY=NEVER", "SIZE=1",
                                        "ORCPT=rfc822;" + "x" * 600])
def test_rcpt_parameters(node, parameters):
    with greet(node) as client:
        client.command("MAIL FROM:<user@example.com>", "250")
        assert client.command(f"RCPT TO:<friend@example.net> {parameters}")[:3] in ("501", "555")
        client.command("DATA", "554 5.5.1")


# ---- injection ---------------------------------------------------------------------------------------------

INJECTIONS = [b"MAIL FROM:<a@example.com\rRCPT TO:<x@evil.test>>", b"MAIL FROM:<a@example.com>\rRCPT TO:<x@evil.test>",
              b"MAIL FROM:<a@example.com%0d%0aRCPT TO:<x@evil.test>>", b'MAIL FROM:<"a\rRCPT TO:<x@evil.test>"@b.test>',
              b"MAIL FROM:<a@example.com> ENVID=x\rRCPT", b"MAIL FROM:<a@example.com> ENVID=x+0D+0ARCPT",
              b"EHLO a\rMAIL FROM:<x@evil.test>", b"MAIL FROM:<a\\\r@example.com>"]


@pytest.mark.parametrize("line", INJECTIONS, ids=repr)
def test_injection_into_commands(node, line):
    with greet(node) as client:
        client.send(line + b"\r\n")
        assert client.reply()[:3] in ("500", "501", "550", "553")
        client.command("DATA", "503")
    assert b"\rRCPT" not in node.log_path.read_bytes()


def test_what_is_legal_goes_on_as_it_came(node, sink):
    """%0d%0a in a quoted local part, backslashes, an ENVID in xtext: kept, in one line each, on the wire and in Received."""
    sink.extensions += ["DSN", "SMTPUTF8"]
    sender = r'"a%0d%0aRCPT TO:\<x@evil.test\>"@example.com'
    with greet(node) as client:
        client.command(f"MAIL FROM:<{sender}> ENVID=a+2Bb+3D", "250")
        client.command(r'RCPT TO:<"q\"uo te\\"@example.net>', "250")
        client.command("DATA", "354")
        client.send("Subject: x\r\n\r\nx\r\n.\r\n")
        assert client.reply().startswith("250")
    message = wait_until("it arrives", lambda: sink.messages and sink.messages[0])
    lines = [line for side, line in message.session.transcript if side == "C"]
    mail = [line for line in lines if line.startswith(b"MAIL")]
    assert len(mail) == 1 and mail[0].startswith(b"MAIL FROM:<" + sender.encode() + b"> SIZE="), mail
    assert [line for line in lines if line.startswith(b"RCPT")][0].startswith(
        rb'RCPT TO:<"q\"uo te\\"@example.net>')
    assert "ENVID=a+2Bb+3D" in message.parameters
    assert all(b"evil.test" not in line or line.startswith(b"MAIL FROM:<\"a%0d%0a") for line in lines)
    for line in message.header.split("\r\n"):
        assert line[:1] in (" ", "\t") or ":" in line.split(" ")[0], line


# ---- addresses ---------------------------------------------------------------------------------------------

REFUSED = ["<;sleep 5;>", "<u@in.test(x)evil.test>", "<${run{x}}@localhost>", "<u@localhost>", "<u@unqualified>",
           "<" + "l" * 256 + "@in.test>", "<u@" + ".".join(["d" * 63] * 3 + ["d" * 62, "d"]) + ">", "<u@" + "d" * 64 + ".test>",
           "<u@[192.0.2.256]>", "<u@[192.0.2.1>", "<u@192.0.2.1>", "<u@[x:y]>", "<u@[IPv6:::1::]>", "<u@.test>",
           "<u@a..test>", "<u@-a.test>", "<u@in.test.>", "<a@b@in.test>", "<a b@in.test>", "<@in.test:>", "<@in.test>",
           "<>", "u@in.test", "<u@in.test", "<u@in.test>x", "<u@in_test,evil.test>", "<|/bin/sh@in.test", "<u@>",
           '<"u@in.test>', '<"u"x@in.test>', "<u@in.test\\@evil.test>", "<u@in.test;evil.test>", "<u@in.test/x>",
           "<u@in.test:25>", "<u@exa\u2100mple.test>", "<u@in.test,v@evil.test>"]

ROUTED = {  # the address on the wire, and the one domain that is asked for
    '<"x@evil.test y"@in.test>': ('"x@evil.test y"@in.test', "in.test"),
    "<x%evil.test@in.test>": ("x%evil.test@in.test", "in.test"),
    '<"x@evil.test"@in.test>': ('"x@evil.test"@in.test', "in.test"),
    "<evil.test!x@in.test>": ("evil.test!x@in.test", "in.test"),
    "<@evil.test:x@in.test>": ("x@in.test", "in.test"),
    "<@evil.test,@worse.test:x@in.test>": ("x@in.test", "in.test"),
    "<${run{x}}@in.test>": ("${run{x}}@in.test", "in.test"),
    "<|/bin/sh@in.test>": ("|/bin/sh@in.test", "in.test"),
    "<-oQ/tmp@in.test>": ("-oQ/tmp@in.test", "in.test"),
    '<";sleep 5;"@in.test>': ('";sleep 5;"@in.test', "in.test"),
    r'<"a\"@evil.test\""@in.test>': (r'"a\"@evil.test\""@in.test', "in.test"),
    "<" + "l" * 65 + "@in.test>": ("l" * 65 + "@in.test", "in.test"),
    "<" + "l" * 255 + "@in.test>": ("l" * 255 + "@in.test", "in.test"),
    "<X@IN.Test>": ("X@IN.Test", "in.test"),
    "<=?utf-8?q?x=40evil.test?=@in.test>": ("=?utf-8?q?x=40evil.test?=@in.test", "in.test"),
}


def test_refused_addresses(make_node):
    node = make_node({"smtp": {"max_errors": 1000}})
    with greet(node) as client:
        for address in REFUSED:
            client.command("MAIL FROM:<user@example.com>", "250")
            client.send(f"RCPT TO:{address}\r\n")
            assert client.reply()[0] == "5", address
            client.command("DATA", "554 5.5.1")
            client.command("RSET", "250")


@pytest.mark.parametrize("address", ROUTED)
def test_routed_on_one_domain(node, dns, make_sink, address):
    """Exactly one domain is looked up, one host is connected to, and it is told the address that we were told."""
    good, evil = make_sink("127.0.0.1"), make_sink("127.0.0.2")
    dns.mail_domain("in.test", "127.0.0.1")
    for domain in ("evil.test", "worse.test", "relay.example.com", "localhost"):
        dns.mail_domain(domain, "127.0.0.2")
    wire, domain = ROUTED[address]
    start = time.monotonic()
    with greet(node) as client:
        client.command("MAIL FROM:<user@example.com>", "250")
        client.command(f"RCPT TO:{address}", "250")
        client.command("DATA", "354")
        client.send("Subject: x\r\n\r\nx\r\n.\r\n")
        assert client.reply().startswith("250")
    wait_until("it arrives", lambda: good.messages)
    assert time.monotonic() - start < 10 * STRETCH, "something slept"
    assert good.recipients() == [wire]
    assert not evil.sessions
    assert {name for name, kind in dns.queries if kind == "MX"} == {domain}


def test_senders_are_parsed_as_strictly(make_node):
    node = make_node({"smtp": {"max_errors": 1000}})
    with greet(node) as client:
        for address in REFUSED:
            if address == "<>":
                continue
            client.send(f"MAIL FROM:{address}\r\n")
            reply = client.reply()
            assert reply[0] == "5", (address, reply)
            client.command("RSET", "250")


# ---- open relay --------------------------------------------------------------------------------------------

CASES = [("", "relaytest@{t}"), ("antispam@{t}", "relaytest@{t}"), ("antispam@localhost", "relaytest@{t}"),
         ("antispam@{d}", "relaytest@{t}"), ("antispam@[{ip}]", "relaytest@{t}"),
         ("antispam@{d}", "relaytest%{t}@[{ip}]"), ("antispam@{d}", "relaytest%{t}@{d}"),
         ("antispam@{d}", '"relaytest@{t}"'), ("antispam@{d}", '"relaytest%{t}"'), ("antispam@{d}", "relaytest@{t}@[{ip}]"),
         ("antispam@{d}", '"relaytest@{t}"@[{ip}]'), ("antispam@{d}", "relaytest@{t}@{d}"),
         ("antispam@{d}", "@[{ip}]:relaytest@{t}"), ("antispam@{d}", "@{d}:relaytest@{t}"),
         ("antispam@{d}", "{t}!relaytest"), ("antispam@{d}", "{t}!relaytest@[{ip}]"),
         ("antispam@{d}", "{t}!relaytest@{d}"), ("antispam@{d}", "a%b@c.test"), ("antispam@{d}", '"a@b"@c.test'),
         ("antispam@{d}", "@x.test:a@b.test")]
NAMES = {"t": "target.test", "d": "relay.example.com", "ip": "127.0.0.1"}


@pytest.mark.parametrize("kind", ["submission", "submissions"])
def test_no_relay_without_login(make_node, kind):
    """nmap's smtp-open-relay and more: MAIL and RCPT go nowhere."""
    node = make_node({"smtp": {"max_errors": 1000}})
    with greet(node, kind) as client:
        for sender, recipient in CASES:
            client.command(f"MAIL FROM:<{sender.format(**NAMES)}>", "530 5.7.0")
            client.command(f"RCPT TO:<{recipient.format(**NAMES)}>", "530 5.7.0")
            client.command("DATA", "530 5.7.0")
    assert node.queue() == []


def test_no_relay_for_unknown_networks(make_node):
    node = make_node({"relay_clients": [{"networks": "192.0.2.0/24", "account": "far@example.com"}],
                      "smtp": {"max_errors": 1000}})
    with Raw(node.ports["relay"]) as client:
        if not client.reply().startswith("220"):
            return
        client.command("EHLO c.example.com", "250")
        for sender, recipient in CASES:
            client.command(f"MAIL FROM:<{sender.format(**NAMES)}>", "550 5.7.1")
            client.command(f"RCPT TO:<{recipient.format(**NAMES)}>", "503")
    assert node.queue() == []


def test_no_relay_as_somebody_else(make_node):
    """Logged in as another: only as oneself, or with the null sender, and then to the one domain that was parsed."""
    node = make_node({"accounts": {"sender_check": "envelope_and_header"}, "smtp": {"max_errors": 1000}})
    node.add_account()
    with log_in(node) as client:
        for sender, recipient in CASES:
            if sender:
                reply = client.command(f"MAIL FROM:<{sender.format(**NAMES)}>")
                assert reply.startswith(("553 5.7.1", "553 5.1.7")), (sender, reply)
                client.command(f"RCPT TO:<{recipient.format(**NAMES)}>", "503")
                client.command("DATA", "503")
    assert node.queue() == []


@pytest.mark.parametrize("recipient", ["a%b.test@in.test", '"a@b.test"@in.test', "b.test!a@in.test",
                                       "@b.test:a@in.test"])
def test_logged_in_the_domain_is_the_one_parsed(node, dns, make_sink, recipient):
    good, other = make_sink("127.0.0.1"), make_sink("127.0.0.2")
    dns.mail_domain("in.test", "127.0.0.1")
    dns.mail_domain("b.test", "127.0.0.2")
    node.add_account()
    with log_in(node) as client:
        content = "From: user@example.com\r\nSubject: x\r\n\r\nx"
        assert submit(client, "user@example.com", recipient, content).startswith("250")
    wait_until("it arrives", lambda: good.messages)
    assert not other.sessions and ("b.test", "MX") not in dns.queries


# ---- bodies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["DATA", "BDAT"])
@pytest.mark.parametrize("length, code", [(998, "250"), (999, "250"), (2046, "250"), (2047, "500 5.5.2"),
                                          (1 << 20, "500 5.5.2")])
def test_long_lines_are_never_split(node, sink, command, length, code):
    content = b"Subject: x\r\n\r\n" + b"z" * length + b"\r\n"
    with greet(node) as client:
        client.command("MAIL FROM:<user@example.com>", "250")
        client.command("RCPT TO:<friend@example.net>", "250")
        if command == "DATA":
            client.command("DATA", "354")
            client.send(content + b".\r\n")
        else:
            client.send(b"BDAT %d LAST\r\n" % len(content) + content)
        reply = client.reply()
        assert reply.startswith(code), reply
    if code == "250":
        message = wait_until("it arrives", lambda: sink.messages and sink.messages[0])
        assert b"\r\n\r\n" + b"z" * length + b"\r\n" in message.content
    else:
        assert not so_far(node, "received") and not sink.messages


@pytest.mark.parametrize("kib, code", [(100, "250"), (255, "250"), (300, "552 5.3.4")])
def test_header_of_so_many_kib(node, sink, kib, code):
    """smtp.max_header_size is 256k by default."""
    header = b"Subject: x\r\nX-Long: y\r\n" + (b" " + b"h" * 1021 + b"\r\n") * kib
    with greet(node) as client:
        assert submit(client, "user@example.com", "friend@example.net", header + b"\r\nbody").startswith(code)
        client.command("NOOP", "250")
    assert len(so_far(node, "received", code == "250")) == (code == "250")


def test_recipient_1001(node, sink):
    with greet(node) as client:
        client.command("MAIL FROM:<user@example.com>", "250")
        client.send("".join(f"RCPT TO:<r{number}@example.net>\r\n" for number in range(1001)))
        replies = [client.reply()[:9] for _ in range(1001)]
        assert replies == ["250 2.1.5"] * 1000 + ["452 4.5.3"]
        client.command("DATA", "354")
        client.send("Subject: x\r\n\r\nx\r\n.\r\n")
        assert client.reply().startswith("250")
    wait_until("the thousand are delivered", lambda: len(sink.recipients()) == 1000, 30)
    assert len(set(sink.recipients())) == 1000


@pytest.mark.parametrize("announced", [0, 10, 65536])
@pytest.mark.parametrize("command", ["DATA", "BDAT"])
def test_size_lies(make_node, sink, announced, command):
    """What counts is what comes."""
    node = make_node({"smtp": {"max_message_size": "64k"}})
    content = b"Subject: x\r\n\r\n" + (b"y" * 76 + b"\r\n") * 1000
    with greet(node) as client:
        client.command(f"MAIL FROM:<user@example.com> SIZE={announced}", "250")
        client.command("RCPT TO:<friend@example.net>", "250")
        if command == "DATA":
            client.command("DATA", "354")
            client.send(content + b".\r\n")
        else:
            client.send(b"BDAT %d LAST\r\n" % len(content) + content)
        assert client.reply().startswith("552 5.3.4")
        client.command("NOOP", "250")
    assert not so_far(node, "received")


@pytest.mark.parametrize("command", ["BDAT", "BDAT x", "BDAT -1", "BDAT 99999999999999999999", "BDAT 10 FIRST",
                                     "BDAT 1 LAST x", "BDAT 18446744073709551615 LAST"])
def test_bdat_that_is_none(node, command):
    """What cannot be counted cannot be skipped: the connection ends, and nothing after it is a command."""
    with greet(node) as client:
        client.command("MAIL FROM:<user@example.com>", "250")
        client.command("RCPT TO:<friend@example.net>", "250")
        client.send(command + "\r\nRSET\r\nMAIL FROM:<admin@example.com>\r\nRCPT TO:<v@example.net>\r\nDATA\r\n")
        client.sock.settimeout(2)
        data = client.pending
        try:
            while True:
                piece = client.sock.recv(65536)
                if not piece:
                    break
                data += piece
        except (TimeoutError, ConnectionResetError):
            pass
        assert data[:1] in (b"5", b""), data # "": it waits for what was announced, to throw it away
    assert not so_far(node, "received")


@pytest.mark.parametrize("count, code", [(51, "250"), (100, "250"), (101, "554 5.4.6")])
@pytest.mark.parametrize("name", ["Received", "RECEIVED", "received "])
def test_loops(node, sink, count, code, name):
    fields = f"{name}: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n" * count
    with greet(node) as client:
        reply = submit(client, "user@example.com", "friend@example.net", fields + "Subject: x\r\n\r\nx")
        assert reply.startswith(code), reply
