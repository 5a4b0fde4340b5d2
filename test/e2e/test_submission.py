"""Mail comes in: STARTTLS and TLS, AUTH, what a listener of each kind demands, and what it does to a message."""
import base64
import email
import smtplib
import ssl
import subprocess

import pytest

from harness.node import PASSWORD
from harness.util import wait_until

pytestmark = pytest.mark.sanitizer


@pytest.mark.parametrize("kind", ["submission", "submissions"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_login_and_send(node, sink, kind, mechanism):
    node.add_account()
    client = node.smtp(kind)
    client.user, client.password = "user@example.com", PASSWORD
    code, _ = client.auth(mechanism, getattr(client, "auth_" + mechanism.lower()))
    assert code == 235
    client.sendmail("user@example.com", ["friend@example.net"], "Subject: in\r\n\r\nhello\r\n")
    client.quit()
    message = wait_until("it is delivered", lambda: sink.messages and sink.messages[0])
    assert message.sender == "user@example.com"
    received = email.message_from_bytes(message.content).get_all("Received")
    assert len(received) == 1
    assert "with ESMTPSA" in received[0]
    assert "by relay.example.com" in received[0]
    assert message.content.endswith(b"\r\n\r\nhello\r\n")


def test_missing_date_and_message_id_are_added_and_bcc_removed(node, sink):
    node.add_account()
    node.send(["friend@example.net"], "From: user@example.com\r\nBcc: secret@example.net\r\nSubject: x\r\n\r\nhi\r\n",
              kind="submission", login="user@example.com")
    message = wait_until("it is delivered", lambda: sink.messages and sink.messages[0])
    mail = email.message_from_bytes(message.content)
    assert mail["Date"] and mail["Message-ID"]
    assert mail["Bcc"] is None and b"secret" not in message.content


def test_present_date_and_message_id_are_kept(node, sink):
    node.add_account()
    head = "Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <kept@example.com>\r\nFrom: user@example.com\r\n"
    node.send(["friend@example.net"], head + "\r\nhi\r\n", kind="submission", login="user@example.com")
    message = wait_until("it is delivered", lambda: sink.messages and sink.messages[0])
    assert head.encode() in message.content


def test_relay_client_by_network_needs_no_login(node, sink):
    node.send("friend@example.net", kind="relay")
    wait_until("it is delivered", lambda: sink.recipients() == ["friend@example.net"])


def test_relay_refuses_unknown_networks(make_node):
    node = make_node({"relay_clients": [{"networks": "192.0.2.0/24", "account": "far@example.com"}]})
    with pytest.raises((smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused, smtplib.SMTPServerDisconnected)):
        client = node.smtp("relay")
        client.sendmail("a@example.com", ["b@example.net"], "Subject: x\r\n\r\nx\r\n")


def test_content_arrives_unchanged(node, sink):
    """Dots, long lines, 8-bit and an empty body: after the Received field, byte for byte."""
    bodies = [b".\r\n..\r\n.a\r\n", b"x" * 990 + b"\r\n", "grüße\r\n".encode(), b"", b"\r\n\r\n", b"no line end"]
    for number, body in enumerate(bodies):
        node.send("friend@example.net", f"Subject: n{number}\r\n\r\n".encode() + body,
                  mail_options=["BODY=8BITMIME"])
    wait_until("all are delivered", lambda: len(sink.messages) == len(bodies))
    for number, body in enumerate(bodies):
        content = sink.find(f"Subject: n{number}\r\n")[0].content
        expected = body if not body or body.endswith(b"\r\n") else body + b"\r\n"
        assert content.split(b"\r\n\r\n", 1)[1] == expected


def test_bdat(node, sink, raw):
    client = raw()
    client.command("EHLO client.example.com", "250")
    client.command("MAIL FROM:<user@example.com>", "250")
    client.command("RCPT TO:<friend@example.net>", "250")
    client.send(b"BDAT 18\r\nSubject: bdat\r\n\r\n.")
    assert client.reply().startswith("250")
    client.send(b"BDAT 7 LAST\r\nlast.\r\n")
    assert client.reply().startswith("250")
    message = wait_until("it is delivered", lambda: sink.messages and sink.messages[0])
    assert message.content.endswith(b"Subject: bdat\r\n\r\n.last.\r\n")


def test_everything_pipelined(node, sink, raw):
    client = raw()
    client.command("EHLO client.example.com", "250")
    client.send("MAIL FROM:<user@example.com>\r\nRCPT TO:<a@example.net>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
    assert [client.reply()[:3] for _ in range(4)] == ["250", "250", "250", "354"]
    client.send("Subject: p\r\n\r\nx\r\n.\r\nMAIL FROM:<user@example.com>\r\nRCPT TO:<c@example.net>\r\nDATA\r\n")
    assert [client.reply()[:3] for _ in range(4)] == ["250", "250", "250", "354"]
    client.send("Subject: q\r\n\r\ny\r\n.\r\nQUIT\r\n")
    assert [client.reply()[:3] for _ in range(2)] == ["250", "221"]
    wait_until("both are delivered", lambda: sorted(sink.recipients()) == [f"{c}@example.net" for c in "abc"])
    assert len(sink.messages) == 2, "recipients of one message to one site share a transaction"


def test_ehlo_announces_what_works(node, raw):
    client = raw("submission")
    before = client.command("EHLO client.example.com", "250")
    client.starttls(node.certificate)
    after = client.command("EHLO client.example.com", "250")
    assert "STARTTLS" in before and "AUTH" not in before
    assert "STARTTLS" not in after and "AUTH" in after
    for word in ("PIPELINING", "SIZE ", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING", "LIMITS "):
        assert word in after, word


def plain(user, password):
    return "AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def test_auth_rows(node, raw):
    """The row "AUTH" of the session cases: each input and its answer."""
    node.add_account()
    client = raw("submission")
    client.command("EHLO c.example.com", "250")
    client.command(plain("user@example.com", PASSWORD), "530 5.7.0")
    client.command("MAIL FROM:<user@example.com>", "530 5.7.0")
    client.starttls(node.certificate)
    client.command("EHLO c.example.com", "250")
    client.command("MAIL FROM:<user@example.com>", "530 5.7.0")
    client.command("AUTH PLAIN !!!!", "501")
    client.command("AUTH PLAIN", "334")
    client.command("*", "501")
    client.command("AUTH NTLM", "504")
    client.command(plain("nobody@example.com", PASSWORD), "535 5.7.8")
    client.command(plain("user@example.com", "wrong"), "535 5.7.8")
    client.command("AUTH PLAIN", "334")
    assert client.command("A" * 12300)[:3] in ("500", "501")
    client.command(plain("user@example.com", PASSWORD), "235")
    client.command(plain("user@example.com", PASSWORD), "503")
    client.command("MAIL FROM:<user@example.com>", "250")
    client.command(plain("user@example.com", PASSWORD), "503")


def test_unknown_user_takes_as_long_as_a_wrong_password(node):
    node.add_account()
    times = {"nobody@example.com": [], "user@example.com": []}
    for _ in range(4):
        for user in times:
            client = node.smtp("submissions")
            start = node.cpu_ms()
            with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
                client.login(user, "wrong")
            times[user].append(node.cpu_ms() - start)
            assert refused.value.smtp_code == 535
            client.close()
    unknown, known = (sorted(t)[1] for t in times.values())
    assert 0.5 < unknown / known < 2, times


def test_sender_ownership(make_node, sink):
    node = make_node({"accounts": {"sender_check": "envelope_and_header"}})
    node.add_account(senders=["alias@example.com"])
    client = node.smtp("submission", "user@example.com")
    text = "From: {}\r\nSubject: x\r\n\r\nx\r\n"
    with pytest.raises(smtplib.SMTPSenderRefused) as refused:
        client.sendmail("other@example.com", ["b@example.net"], text.format("other@example.com"))
    assert (refused.value.smtp_code, refused.value.smtp_error[:5]) == (553, b"5.7.1")
    client.sendmail("alias@example.com", ["ok1@example.net"], text.format("alias@example.com"))
    client.sendmail("user+tag@example.com", ["ok2@example.net"], text.format("user+tag@example.com"))
    client.sendmail("", ["ok3@example.net"], text.format("user@example.com"))
    with pytest.raises(smtplib.SMTPDataError) as refused:
        client.sendmail("user@example.com", ["b@example.net"], text.format("other@example.com"))
    assert refused.value.smtp_code in (550, 553)
    wait_until("the allowed ones are delivered", lambda: len(sink.messages) == 3)
    assert "b@example.net" not in sink.recipients()


def test_starttls_command_injection(node, raw):
    """CVE-2011-0411: what came before the handshake is never answered after it."""
    for pieces in ([b"STARTTLS\r\nNOOP\r\n"], [b"STARTTLS\r\n", b"NOOP\r\n"]):
        client = raw("submission")
        client.command("EHLO c.example.com", "250")
        for piece in pieces:
            client.send(piece)
        first = client.reply()
        if first.startswith("554") or first.startswith("503"):
            assert client.closed()
            continue
        assert first.startswith("220")
        assert client.pending == b"", "the injected command was answered before TLS"
        try:
            client.wrap(node.certificate)
        except (ssl.SSLError, OSError):
            continue # the bytes were taken for a handshake and refused: fine
        client.command("MAIL FROM:<user@example.com>", "5")
        client.command("EHLO c.example.com", "250")


def test_state_is_reset_by_starttls(node, raw):
    client = raw("relay")
    client.command("EHLO before.example.com", "250")
    client.command("MAIL FROM:<user@example.com>", "250")
    client.command("STARTTLS", "503")
    client.command("RSET", "250")
    client.starttls(node.certificate)
    client.command("MAIL FROM:<user@example.com>", "503")
    client.command("EHLO after.example.com", "250")
    client.command("MAIL FROM:<user@example.com>", "250")


def test_early_talkers(node, raw):
    client = raw("relay", greeting=False)
    client.send("EHLO c.example.com\r\nMAIL FROM:<a@example.com>\r\n")
    assert b"250 2.1.0" not in client.rest(), "commands before the greeting were obeyed"


def test_tls_versions(make_node):
    node = make_node()
    for version, works in (("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{node.ports['submissions']}", version,
                               "-cipher", "ALL:@SECLEVEL=0"], input="QUIT\r\n", capture_output=True, text=True)
        assert ("Cipher is (NONE)" not in done.stdout and "New, TLS" in done.stdout) == works, version


def test_hidden_client_address(make_node, sink):
    node = make_node(start=False)
    node.config["listeners"][1]["hide_client_address"] = True
    node.write_config()
    node.start()
    node.add_account()
    node.send("friend@example.net", kind="submissions", login="user@example.com")
    message = wait_until("it is delivered", lambda: sink.messages and sink.messages[0])
    received = email.message_from_bytes(message.content)["Received"]
    assert "127.0.0.1" not in received and "client.example.com" not in received


def test_header_rules_and_always_bcc(make_node, sink):
    node = make_node({"header_rules": [{"remove": "X-Secret"}, {"add": "X-Relayed-By: us"}],
                      "always_bcc": ["archive@a.example.net"]})
    node.send("friend@example.net", "X-Secret: one\r\n two\r\nSubject: s\r\nX-Secret: three\r\n\r\nbody\r\n")
    wait_until("both copies arrive", lambda: sorted(sink.recipients()) == ["archive@a.example.net",
                                                                          "friend@example.net"])
    for message in sink.messages:
        assert "X-Relayed-By: us" in message.header
        assert "X-Secret" not in message.header and "two" not in message.header
        assert "archive" not in message.header
