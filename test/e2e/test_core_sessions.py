"""Clients that send slowly, for ever, in pieces, or do not listen; a stop in the middle; what the event log leaves out."""
import base64
import socket
import ssl
import threading
import time

import pytest

from harness.node import PASSWORD, Raw
from harness.quota import apply_policy, await_applied, usage
from harness.sink import HANG
from harness.util import STRETCH, wait_until


def to_data(client):
    client.reply()
    client.command("EHLO c.example.com", "250")
    client.command("MAIL FROM:<user@example.com>", "250")
    client.command("RCPT TO:<friend@example.net>", "250")
    client.command("DATA", "354")


def trickle(client, *lines):
    """Without waiting for replies, and not all at once: what comes later finds the node waiting for an answer of its own."""
    for line in lines:
        client.send(line + "\r\n")
        time.sleep(0.0003)
    return [client.reply()[:3] for _ in lines]


@pytest.mark.slow(6)
def test_what_comes_while_an_answer_is_awaited_waits_for_it(make_cluster, sink):
    """Of the password, the cluster, the disk: whatever was begun is not begun again."""
    made = make_cluster(1)
    node, most, each = made.nodes[0], 10, 5
    apply_policy(node, "limits:\n  - {name: hour, for: account, count: 1000, window: 2m}\n")
    node.add_account("anna@example.com")
    await_applied(made.nodes)

    def login(password):
        return "AUTH PLAIN " + base64.b64encode(f"\0anna@example.com\0{password}".encode()).decode()
    for number in range(most):
        with Raw(node.ports["submission"]) as client:
            client.reply()
            client.command("EHLO c.example.com", "250")
            client.starttls(node.certificate)
            client.command("EHLO c.example.com", "250")
            assert trickle(client, login(f"wrong{number}"), "NOOP", "NOOP") == ["535", "250", "250"]
            assert trickle(client, login(PASSWORD), "NOOP", "NOOP") == ["235", "250", "250"]
            client.command("MAIL FROM:<anna@example.com>", "250")
            rcpts = [f"RCPT TO:<r{number}.{i}@example.net>" for i in range(each)]
            assert trickle(client, *rcpts, "DATA") == each * ["250"] + ["354"]
            for line in ("Subject: x", "", "hello"):
                client.send(line + "\r\n")
            assert trickle(client, ".", "NOOP", "MAIL FROM:<anna@example.com>", "RSET", "QUIT") == ["250", "250", "250", "250", "221"]
    wait_until("all arrive", lambda: len(sink.recipients()) == most * each)
    assert len(set(sink.recipients())) == most * each
    wait_until("each was taken once", lambda: len(node.events("received")) == most)
    row = wait_until("tokens that were not spent are back", lambda: usage(node, "hour", "anna@example.com") if
                     not usage(node, "hour", "anna@example.com")["held"] else None, 90)
    assert row["used"] == most * each, row # each was charged once


def test_slow_content_has_a_deadline_as_a_whole(make_node, sink):
    """A byte now and then keeps the time-out for silence away, but not that for the whole."""
    node = make_node({"smtp": {"data_timeout": "2s"}})
    with Raw(node.ports["relay"]) as client:
        to_data(client)
        start = time.monotonic()
        with pytest.raises((OSError, AssertionError)):
            for _ in range(100):
                client.send("x")
                time.sleep(0.3)
                client.sock.settimeout(0.01)
                try:
                    assert not client.sock.recv(100).startswith(b"421 4.4.2")
                except TimeoutError:
                    pass
        assert time.monotonic() - start < 20 * STRETCH


def test_content_that_comes_at_a_fair_rate_is_taken(make_node, sink):
    node = make_node({"smtp": {"data_timeout": "2s"}})
    with Raw(node.ports["relay"]) as client:
        to_data(client)
        client.send("Subject: slow\r\n\r\n")
        for _ in range(12):
            client.send("0123456789" * 10 + "\r\n")
            time.sleep(0.5)
        client.command(".", "250")


@pytest.mark.parametrize("verb", ["DATA", "BDAT"])
def test_refused_content_is_not_read_for_ever(make_node, sink, verb):
    node = make_node({"smtp": {"max_message_size": "64k"}})
    with Raw(node.ports["relay"]) as client:
        client.reply()
        client.command("EHLO c.example.com", "250")
        client.command("MAIL FROM:<user@example.com>", "250")
        client.command("RCPT TO:<friend@example.net>", "250")
        if verb == "DATA":
            client.command("DATA", "354")
        else:
            client.send("BDAT 999999999999 LAST\r\n")
        start = time.monotonic()
        with pytest.raises(OSError): # it is closed, soon after the reply
            while time.monotonic() - start < 40 * STRETCH:
                client.send((b"x" * 70 + b"\r\n") * 10)
                time.sleep(0.001)
    assert sink.messages == []


def test_refused_content_of_ordinary_size_gets_its_reply(make_node, sink):
    node = make_node({"smtp": {"max_message_size": "64k"}})
    with Raw(node.ports["relay"]) as client:
        to_data(client)
        client.send((b"x" * 70 + b"\r\n") * 1500)
        assert client.command(".").startswith("552 5.3.4")
        client.command("NOOP", "250")


def test_client_that_takes_no_replies_is_not_read_from(node, sink):
    """Its commands stay in the kernel's buffers, and nobody else notices."""
    before = node.resident_mib()
    with Raw(node.ports["relay"]) as client:
        client.reply()
        client.command("EHLO c.example.com", "250")
        client.command("MAIL FROM:<user@example.com>", "250")
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sock.settimeout(3)
        sent = 0
        with pytest.raises((TimeoutError, socket.timeout)):
            while sent < 100 << 20:
                sent += client.sock.send(b"RCPT TO:<friend@example.net>\r\n" * 10000)
        assert node.resident_mib() - before < 40
        node.send("friend@example.net")
        client.sock.settimeout(30)
        got = b""
        while len(got) < 1 << 17: # once it listens it is served, little by little
            piece = client.sock.recv(1 << 16)
            assert piece
            got += piece


@pytest.mark.parametrize("how", ["after RSET", "in AUTH"])
def test_stop_tells_sessions_421(make_node, sink, how):
    node = make_node()
    node.add_account()
    with Raw(node.ports["submissions"]) as client:
        client.wrap(node.certificate)
        client.reply()
        client.command("EHLO c.example.com", "250")
        if how == "in AUTH":
            client.command("AUTH LOGIN", "334")
        else:
            import base64
            token = base64.b64encode(f"\0user@example.com\0{PASSWORD}".encode()).decode()
            client.command(f"AUTH PLAIN {token}", "235")
            client.command("MAIL FROM:<user@example.com>", "250")
        stopping = threading.Thread(target=node.stop)
        stopping.start()
        wait_until("it is stopping", lambda: "stopping" in node.log_text())
        if how == "after RSET":
            time.sleep(0.3)
            client.command("RSET", "250")
        assert client.rest().startswith(b"421 4.3.2")
        client.close()
        stopping.join(30)


def test_probe_does_not_delay_the_stop(make_node, make_sink, dns):
    hang = make_sink()
    hang.hooks["banner"] = lambda s, a: HANG
    dns.mail_domain("example.net", "127.0.0.1")
    node = make_node()
    done = []
    probe = threading.Thread(target=lambda: done.append(node.cli("probe", "x@example.net", check=False)))
    probe.start()
    wait_until("the probe is connected", lambda: hang.sessions)
    start = time.monotonic()
    node.stop()
    assert time.monotonic() - start < 15 * STRETCH
    probe.join(30)
    assert done


def test_handshake_may_come_with_the_proxy_header(make_node, sink):
    node = make_node(start=False)
    listener = next(l for l in node.config["listeners"] if l["kind"] == "submissions")
    listener["proxy_protocol"] = {"from": ["127.0.0.0/8"]}
    node.write_config()
    node.start()
    context = ssl.create_default_context(cafile=str(node.certificate[0]))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", node.ports["submissions"]), 10) as sock:
        sock.settimeout(10)
        first = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 465\r\n"
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(first + outgoing.read())
                first = b""
                piece = sock.recv(65536)
                assert piece, "closed during the handshake"
                incoming.write(piece)
        sock.sendall(outgoing.read())
        while True:
            try:
                assert tls.read(100).startswith(b"220 ")
                break
            except ssl.SSLWantReadError:
                incoming.write(sock.recv(65536))
    wait_until("the log names the client", lambda: [e for e in node.events("connection") if e["client_ip"] == "192.0.2.7"])


def test_requiretls_is_offered_under_tls_to_who_logs_in(node):
    node.add_account()
    with Raw(node.ports["submissions"]) as client:
        client.wrap(node.certificate)
        client.reply()
        assert "REQUIRETLS" in client.command("EHLO c.example.com", "250")
    with Raw(node.ports["relay"]) as client:
        client.reply()
        client.command("EHLO c.example.com", "250")
        client.starttls(node.certificate)
        assert "REQUIRETLS" not in client.command("EHLO c.example.com", "250")
        client.command("MAIL FROM:<user@example.com> REQUIRETLS", "555 5.5.4")
    node.config["smtp"] = {"requiretls": False}
    node.take_config()
    with Raw(node.ports["submissions"]) as client:
        client.wrap(node.certificate)
        client.reply()
        assert "REQUIRETLS" not in client.command("EHLO c.example.com", "250")


# ---- what the event log leaves out -------------------------------------------------------------------------


def received(node, sink, **log):
    node.config["log"].update(log)
    node.write_config()
    node.start()
    with node.smtp() as client:
        client.ehlo("[127.0.0.1]")
        client.sendmail("user@example.com", ["friend@example.net"],
                        "Subject: a secret\r\n in two lines\r\nMessage-ID: <m1@example.com>\r\n\r\nx\r\n")
    wait_until("it is delivered", lambda: node.events("delivered"))
    return node.events("received")[0], node.events("delivered")[0]


def test_log_shows_what_it_may(make_node, sink):
    came, went = received(make_node(start=False), sink, hide_subject=False)
    assert came["subject"] == "a secret in two lines"
    assert came["message_id"] == went["message_id"] == "<m1@example.com>"
    assert came["client_ip"] == "127.0.0.1" and came["helo"] == "[127.0.0.1]"


def test_log_hides_what_it_should(make_node, sink):
    node = make_node(start=False)
    came, went = received(node, sink, hide_subject=True, hide_message_id=True, hide_client=True)
    assert "subject" not in came and "message_id" not in came and "message_id" not in went
    assert came["client_ip"] == "127.0.0.0/24" and "helo" not in came
    text = node.events_path.read_text()
    assert "secret" not in text and "m1@example.com" not in text
    assert all(e["client_ip"] == "127.0.0.0/24" for e in node.events("connection"))
