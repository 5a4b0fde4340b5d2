"""Clients that take their time, pretend to be elsewhere, or are old: deadlines in every state, PROXY headers, old devices."""
import base64
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest

from harness.node import Raw
from harness.util import NODE, STRETCH, wait_until
from security import greet, plain, silent_end, so_far, submit

pytestmark = pytest.mark.sanitizer

QUICK = {"smtp": {"idle_timeout": "2s", "command_timeout": "3s", "data_timeout": "2s", "session_timeout": "1h"}}


def to_rcpt(client):
    client.command("MAIL FROM:<user@example.com>", "250")
    client.command("RCPT TO:<friend@example.net>", "250")


def connect(node, kind="relay"):
    client = Raw(node.ports[kind])
    client.reply()
    return client


def in_login(node, *answers):
    client = greet(node, "submissions")
    client.command("AUTH LOGIN", "334")
    for answer in answers:
        client.command(answer, "334")
    return client


def in_body(node, command):
    client = greet(node)
    to_rcpt(client)
    client.send(command + "\r\n")
    if command == "DATA":
        assert client.reply().startswith("354")
    return client


def after(*commands):
    def make(node):
        client = greet(node)
        for command in commands:
            client.command(command, "250")
        return client
    return make


STATES = {
    "greeting": connect,
    "EHLO": after(),
    "EHLO in TLS": lambda node: greet(node, "submission"),
    "AUTH, name": in_login,
    "AUTH, password": lambda node: in_login(node, base64.b64encode(b"user@example.com").decode()),
    "MAIL": after("MAIL FROM:<user@example.com>"),
    "RCPT": after("MAIL FROM:<user@example.com>", "RCPT TO:<friend@example.net>"),
    "RSET": after("MAIL FROM:<user@example.com>", "RSET"),
    "DATA": lambda node: in_body(node, "DATA"),
    "BDAT": lambda node: in_body(node, "BDAT 1000"),
    "BDAT LAST": lambda node: in_body(node, "BDAT 1000 LAST"),
    "refused BDAT": lambda node: (lambda c: (c.send("BDAT 1000 LAST\r\n"), c)[1])(greet(node)),
}


def in_parallel(jobs):
    """Runs {name: function}; the first failure is raised."""
    failures = []

    def run(name, job):
        try:
            job()
        except BaseException as error: # noqa: B902: told below
            failures.append(f"{name}: {error!r}")

    threads = [threading.Thread(target=run, args=item) for item in jobs.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures, failures


def test_silence_in_every_state(make_node):
    node = make_node(QUICK)

    def one(state):
        with STATES[state](node) as client:
            start = time.monotonic()
            data = client.rest(40 * STRETCH)
            took = time.monotonic() - start
        assert data.startswith(b"421 4.4.2") and data.count(b"\r\n") == 1, data
        assert 1.5 <= took <= 15 * STRETCH, took

    in_parallel({state: lambda state=state: one(state) for state in STATES})
    assert node.queue() == []


def test_octet_by_octet_in_every_state(make_node):
    """The deadline is for a command as a whole. The octets make no command before it, whatever they are."""
    node = make_node(QUICK)

    def one(state):
        with STATES[state](node) as client:
            start = time.monotonic()
            client.sock.settimeout(0.6)
            data = client.pending
            try:
                while time.monotonic() - start < 40 * STRETCH:
                    client.send("N")
                    try:
                        piece = client.sock.recv(65536)
                        if not piece:
                            break
                        data += piece
                    except TimeoutError:
                        pass
            except OSError:
                pass
            took = time.monotonic() - start
        assert data.startswith(b"421 4.4.2"), data
        assert 2 <= took <= 15 * STRETCH, took

    in_parallel({state: lambda state=state: one(state) for state in STATES if "DATA" not in state and "BDAT" not in state})


@pytest.mark.slow
def test_octet_by_octet_in_content(make_node):
    """Content has smtp.data_timeout, and a second more for each 100 octets that came: one octet a second is too slow."""
    node = make_node({"smtp": {"session_timeout": "1m", "data_timeout": "5s"}})

    def one(state):
        with STATES[state](node) as client:
            start = time.monotonic()
            client.sock.settimeout(1)
            data = b""
            try:
                while time.monotonic() - start < 90:
                    client.send("x")
                    try:
                        piece = client.sock.recv(65536)
                        if not piece:
                            break
                        data += piece
                    except TimeoutError:
                        pass
            except OSError:
                pass
            took = time.monotonic() - start
        assert data.startswith(b"421 4.4.2"), data
        assert 5 <= took <= 30 * STRETCH, took

    in_parallel({state: lambda state=state: one(state) for state in ("DATA", "BDAT LAST")})
    assert node.queue() == []


@pytest.mark.slow(35)
@pytest.mark.waits
def test_a_handshake_without_end(node):
    """TLS is begun and then nothing more is said, on both kinds of listener."""
    def one(kind):
        with Raw(node.ports[kind]) as client:
            if kind == "submission":
                client.reply()
                client.command("EHLO c.example.com", "250")
                client.command("STARTTLS", "220")
            client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
            start = time.monotonic()
            assert silent_end(client, 90)
            assert 20 < time.monotonic() - start < 60

    in_parallel({kind: lambda kind=kind: one(kind) for kind in ("submission", "submissions")})


def test_a_client_that_reads_no_replies(make_node):
    """What we owe it is bounded; then it is let go."""
    node = make_node(QUICK)
    before = node.resident_mib()
    with greet(node) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sock.settimeout(2)
        try:
            for _ in range(3000):
                client.send("HELP\r\n" * 1000)
        except OSError:
            pass
    assert node.resident_mib() - before < 16 * STRETCH
    greet(node).close()


def test_sessions_per_client_and_in_all(make_node):
    node = make_node(start=False)
    node.config["listeners"][2].update({"max_sessions_per_client": 3})
    node.config["listeners"][0].update({"max_sessions": 2})
    node.write_config()
    node.start()
    held = [greet(node) for _ in range(3)]
    with Raw(node.ports["relay"]) as client:
        assert client.reply().startswith("421 4.7.0") and client.closed()
    more = [greet(node, "submission") for _ in range(2)]
    with Raw(node.ports["submission"]) as client:
        assert client.reply().startswith("421 4.7.0") and client.closed()
    for client in held + more:
        client.close()

    def room():
        with Raw(node.ports["relay"]) as client:
            return client.reply().startswith("220 ")

    wait_until("there is room again", room)


# ---- PROXY protocol ----------------------------------------------------------------------------------------

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(source="203.0.113.7", command=1, extra=b""):
    if ":" in source:
        address = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
        family = 0x21
    else:
        address = socket.inet_aton(source) + socket.inet_aton("192.0.2.1")
        family = 0x11
    rest = address + struct.pack("!HH", 40000, 587) + extra
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(rest)) + rest


@pytest.fixture
def balanced(make_node):
    """Balancers are 127.0.0.1; others on loopback are not."""
    node = make_node(start=False)
    for listener in node.config["listeners"]:
        listener["address"] = listener["address"].replace("127.0.0.1", "0.0.0.0")
        listener["proxy_protocol"] = {"from": ["127.0.0.1"]}
    node.config["relay_clients"] = [{"networks": "203.0.113.0/24", "account": "relay@example.com"},
                                    {"networks": "2001:db8::/32", "account": "relay@example.com"}]
    node.write_config()
    return node.start()


HEADERS = {
    "v1": (b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 587\r\n", "203.0.113.7"),
    "v1, IPv6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 587\r\n", "2001:db8::7"),
    "v2": (v2(), "203.0.113.7"),
    "v2, IPv6": (v2("2001:db8::7"), "2001:db8::7"),
    "v2 with more": (v2(extra=b"\x04\0\x05hello"), "203.0.113.7"),
}


@pytest.mark.parametrize("pieces", ["whole", "split", "octets"])
@pytest.mark.parametrize("header", HEADERS)
def test_proxy_header(balanced, sink, header, pieces):
    """The client is who the balancer says: for permission, in Received and in the events."""
    data, address = HEADERS[header]
    with Raw(balanced.ports["relay"]) as client:
        step = {"whole": len(data), "split": len(data) // 2, "octets": 1}[pieces]
        for at in range(0, len(data), step):
            client.send(data[at:at + step])
            if step < len(data):
                time.sleep(0.005)
        assert client.reply().startswith("220 ")
        client.command("EHLO c.example.com", "250")
        assert submit(client, "user@example.com", "friend@example.net", "Subject: x\r\n\r\nx").startswith("250")
    message = wait_until("it arrives", lambda: sink.messages and sink.messages[0])
    assert address in message.header
    assert wait_until("the event", lambda: balanced.events("received"))[0]["client_ip"] == address


def test_proxy_header_before_tls(balanced):
    balanced.add_account()
    with Raw(balanced.ports["submissions"]) as client:
        client.send(HEADERS["v2"][0])
        client.wrap(balanced.certificate)
        client.reply()
        client.command("EHLO c.example.com", "250")
        client.command(plain("user@example.com", "wrong"), "535")
        client.command(plain("user@example.com"), "235")
    assert so_far(balanced, "auth_failed", 1)[0]["client_ip"] == "203.0.113.7"


@pytest.mark.parametrize("kind", ["relay", "submission", "submissions"])
@pytest.mark.parametrize("header", ["v1", "v2", None])
def test_others_may_not_say_who_they_are(balanced, kind, header):
    """Neither with a header nor without one: that listener is for the balancers only."""
    sock = socket.create_connection(("127.0.0.2", balanced.ports[kind]), 10, source_address=("127.0.0.2", 0))
    client = Raw.__new__(Raw)
    client.sock, client.pending = sock, b""
    if header:
        client.send(HEADERS[header][0])
    data = client.rest()
    assert b"220 " not in data and (data == b"" or data.startswith((b"554 5.7.1", b"554 5.5.0"))), data
    client.close()
    assert not [e for e in so_far(balanced) if e.get("client_ip") == "203.0.113.7"]


@pytest.mark.parametrize("data", [
    b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 587\n", b"PROXY TCP4 203.0.113.7\r\n", b"PROXY TCP4 a b c d\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 99999 587\r\n", b"PROXY " + b"x" * 200 + b"\r\n", b"EHLO c.example.com\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 587 MAIL\r\n", SIGNATURE + b"\x31\x11\0\x0c" + b"\0" * 12,
    SIGNATURE + b"\x21\x11\0\x02ab", SIGNATURE + b"\x22\x11\0\x0c" + b"\0" * 12, b"\x16\x03\x01\x02\0",
    b"proxy TCP4 203.0.113.7 192.0.2.1 40000 587\r\n", SIGNATURE + b"\x21\x11\xff\xff" + b"\0" * 4096])
def test_broken_proxy_headers(balanced, data):
    with Raw(balanced.ports["relay"]) as client:
        client.send(data)
        assert b"220 " not in client.rest()


def test_silent_balancer(balanced):
    """No header: closed after five seconds, without a greeting."""
    with Raw(balanced.ports["relay"]) as client:
        start = time.monotonic()
        assert client.rest(40) == b""
        assert 3 < time.monotonic() - start < 25


def test_health_check_of_a_balancer(balanced):
    """LOCAL (v2) and UNKNOWN (v1): the balancer speaks for itself."""
    for header in (SIGNATURE + b"\x20\0\0\0", b"PROXY UNKNOWN\r\n"):
        with Raw(balanced.ports["submission"]) as client:
            client.send(header)
            assert client.reply().startswith("220 ")
            client.command("QUIT", "221")


def test_speaking_ahead_through_a_balancer(balanced):
    with Raw(balanced.ports["relay"]) as client:
        client.send(HEADERS["v1"][0] + b"EHLO c.example.com\r\nMAIL FROM:<a@example.com>\r\n")
        assert client.rest().startswith(b"554 5.5.0")


# ---- old devices -------------------------------------------------------------------------------------------


@pytest.fixture
def devices(make_node):
    """The submission listener is for old devices on 127.0.0.0/29."""
    node = make_node(start=False)
    node.config["listeners"][0].update({"old_devices": True, "networks": ["127.0.0.0/29"],
                                        "address": f"0.0.0.0:{node.ports['submission']}"})
    node.write_config()
    node.start()
    node.add_account("printer@example.com")
    return node


def test_old_devices_log_in_without_tls(devices, sink):
    with connect(devices, "submission") as client:
        assert "AUTH PLAIN LOGIN" in client.command("EHLO printer", "250")
        client.command(plain("printer@example.com"), "235")
        client.command("MAIL FROM:<printer@example.com>", "250")
        client.command("RCPT TO:<friend@example.net>", "250")
        client.command("DATA", "354")
        client.send(b"From: printer@example.com\nSubject: scan\n\nline\n.\nQUIT\nend\r\n.\r\n")
        assert client.reply().startswith("250")
    message = wait_until("it arrives", lambda: sink.messages and sink.messages[0])
    assert message.content.endswith(b"\r\n\r\nline\r\n.\r\nQUIT\r\nend\r\n")


@pytest.mark.parametrize("sequence", [b"\n.\r", b"\r.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n\0.\r\n",
                                      b"\r\n.\0\r\n", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n"], ids=repr)
def test_old_devices_smuggle_nothing(devices, sink, sequence):
    """Only a bare LF is forgiven: a bare CR and NUL are not."""
    with connect(devices, "submission") as client:
        client.command("EHLO printer", "250")
        client.command(plain("printer@example.com"), "235")
        client.command("MAIL FROM:<printer@example.com>", "250")
        client.command("RCPT TO:<friend@example.net>", "250")
        client.command("DATA", "354")
        client.send(b"From: printer@example.com\n\ntext" + sequence +
                    b"MAIL FROM:<x@example.com>\r\nRCPT TO:<v@example.net>\r\nDATA\r\nbad\r\n.\r\n")
        data = client.rest()
    assert data.startswith(b"550 5.") and data.count(b"\r\n") == 1, data
    assert not so_far(devices, "received")


def test_old_devices_only_from_their_networks(devices):
    sock = socket.create_connection(("127.0.0.9", devices.ports["submission"]), 10, source_address=("127.0.0.9", 0))
    client = Raw.__new__(Raw)
    client.sock, client.pending = sock, b""
    assert client.reply().startswith("554 5.7.1")
    assert client.closed()
    client.close()
    with connect(devices, "relay") as client: # and the other listeners are as strict as ever
        client.command("EHLO printer", "250")
        client.command("MAIL FROM:<printer@example.com>", "250")
        client.command("RCPT TO:<friend@example.net>", "250")
        client.command("DATA", "354")
        client.send(b"Subject: x\n\nx\n.\r\n")
        assert client.rest().startswith(b"550 5.5.2")


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl")
@pytest.mark.parametrize("version", ["-tls1", "-tls1_1", "-tls1_2"])
def test_old_devices_old_tls(devices, version):
    def handshake(kind):
        starttls = [] if kind == "submissions" else ["-starttls", "smtp"]
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{devices.ports[kind]}", version, *starttls,
                               "-cipher", "ALL:@SECLEVEL=0"], input="QUIT\r\n", capture_output=True, text=True,
                              timeout=60)
        if "unknown option" in done.stderr.lower():
            pytest.skip(f"this openssl knows no {version}")
        return "New, TLS" in done.stdout and "Cipher is (NONE)" not in done.stdout

    assert handshake("submission")
    assert handshake("submissions") == (version == "-tls1_2"), "the other listeners stay strict"


@pytest.mark.parametrize("networks", [None, ["0.0.0.0/0"], ["::/0"]])
def test_old_devices_need_named_networks(make_node, networks):
    node = make_node(start=False)
    node.config["listeners"][0].update({"old_devices": True, **({"networks": networks} if networks else {})})
    node.write_config()
    done = subprocess.run([NODE, "--check", node.config_path], capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and "networks" in done.stdout + done.stderr
