"""TLS and logging in: injection before the handshake, AUTH at the wrong moment or malformed, guessing, Dovecot."""
import base64
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

from harness.node import PASSWORD, Raw
from harness.util import STRETCH, wait_until
from security import greet, log_in, plain, so_far, submit

pytestmark = pytest.mark.sanitizer

INJECTED = [b"NOOP\r\n", b"EHLO injected.test\r\n", b"EHLO i\r\nMAIL FROM:<admin@example.com>\r\n",
            b"MAIL FROM:<admin@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nbad\r\n.\r\n"]


# ---- STARTTLS ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["submission", "relay"])
@pytest.mark.parametrize("injected", INJECTED, ids=range(len(INJECTED)))
def test_commands_in_the_segment_of_starttls_are_dropped(node, raw, kind, injected):
    """CVE-2011-0411: one segment. After the handshake nothing of it is answered, and EHLO is due again."""
    client = raw(kind)
    client.command("EHLO c.example.com", "250")
    client.send(b"STARTTLS\r\n" + injected)
    assert client.reply().startswith("220 ")
    assert client.pending == b""
    client.wrap(node.certificate)
    due = "530" if kind == "submission" else "503"
    client.command("RCPT TO:<friend@example.net>", due)
    client.command("MAIL FROM:<user@example.com>", due)
    client.command("EHLO c.example.com", "250")
    client.command("RCPT TO:<friend@example.net>", due)
    assert not so_far(node, "received")


@pytest.mark.parametrize("cut", range(1, len(b"STARTTLS\r\nNOOP\r\n")))
def test_injection_split_at_every_octet(node, raw, cut):
    """What follows in a segment of its own is either dropped, or taken for a broken handshake: the connection ends."""
    client = raw("submission")
    client.command("EHLO c.example.com", "250")
    data = b"STARTTLS\r\nNOOP\r\n"
    client.send(data[:cut])
    time.sleep(0.03)
    try:
        client.send(data[cut:])
    except OSError:
        pass
    assert client.reply().startswith("220 ")
    assert client.pending == b""
    try:
        client.wrap(node.certificate)
    except (ssl.SSLError, OSError):
        return
    client.command("MAIL FROM:<user@example.com>", "530")
    client.command("EHLO c.example.com", "250")
    client.command("MAIL FROM:<user@example.com>", "530")


def test_login_and_names_are_forgotten_at_starttls(make_node, sink):
    """AUTH before STARTTLS, possible on a listener for old devices only, does not count after it."""
    node = make_node(start=False)
    node.config["listeners"][0].update({"old_devices": True, "networks": ["127.0.0.0/8"]})
    node.write_config()
    node.start()
    node.add_account()
    with Raw(node.ports["submission"]) as client:
        client.reply()
        client.command("EHLO before.example.com", "250")
        client.command(plain("user@example.com"), "235")
        client.starttls(node.certificate)
        client.command("MAIL FROM:<user@example.com>", "5")
        client.command("EHLO after.example.com", "250")
        client.command("MAIL FROM:<user@example.com>", "530 5.7.0")
        client.command(plain("user@example.com"), "235")
        content = "From: user@example.com\r\nSubject: x\r\n\r\nx"
        assert submit(client, "user@example.com", "friend@example.net", content).startswith("250")
    message = wait_until("it arrives", lambda: sink.messages and sink.messages[0])
    assert "before.example.com" not in message.header and "after.example.com" in message.header


def test_plain_text_on_the_tls_port(node):
    """No banner, no command, no crash."""
    with Raw(node.ports["submissions"]) as client:
        client.send(b"EHLO c.example.com\r\nMAIL FROM:<a@example.com>\r\n")
        assert b"220" not in client.rest() and b"250" not in client.rest()


# ---- AUTH --------------------------------------------------------------------------------------------------


def test_auth_at_the_wrong_moment(node, raw):
    node.add_account()
    client = raw("submission")
    client.command(plain("user@example.com"), "5")
    client.command("EHLO c.example.com", "250")
    for command in ("AUTH PLAIN", "AUTH LOGIN", plain("user@example.com"), plain("user@example.com", "wrong")):
        client.command(command, "530 5.7.0")
    client.command("MAIL FROM:<user@example.com>", "530 5.7.0")
    client.command("RCPT TO:<friend@example.net>", "5")
    client.command("DATA", "5")
    client.command("BDAT 4 LAST\r\nx\r\n", "5")
    assert not so_far(node, "auth_failed"), "a password sent in the clear was looked at"
    client = greet(node, "submission")
    client.command("MAIL FROM:<user@example.com>", "530 5.7.0")
    client.command("MAIL FROM:<>", "530 5.7.0")
    client.command(plain("user@example.com"), "235")
    client.command(plain("user@example.com"), "503")
    client.command("MAIL FROM:<user@example.com>", "250")
    client.command(plain("user@example.com"), "503")
    client.command("RCPT TO:<friend@example.net>", "250")
    client.command(plain("user@example.com"), "503")
    client.command("AUTH LOGIN", "503")
    client.command("RSET", "250")
    client.command(plain("user@example.com"), "503")
    client.close()


def test_auth_is_not_offered_on_relay_listeners(node, raw):
    client = raw("relay")
    assert "AUTH" not in client.command("EHLO c.example.com", "250")
    client.command(plain("user@example.com"), "502")


MALFORMED = ["!!!!", "AGEAYg", "AGEAYg=", "AGEAYg===", "=AGEAYg=", "AGEA Yg==", "AGEAYg==x", "QQ==", "AAAA",
             "AGEA", "AABi", base64.b64encode(b"\0user@example.com\0pass\0word").decode(),
             base64.b64encode(b"\0us\ner@example.com\0password").decode(),
             base64.b64encode(b"\0us\x1b[2Jer@example.com\0password").decode(),
             base64.b64encode(b"\0\xff\xfe@example.com\0password").decode(),
             base64.b64encode(b"\0" + b"u" * 300 + b"\0password").decode()]


def test_malformed_responses(make_node):
    node = make_node({"smtp": {"max_errors": 1000}})
    node.add_account()
    with greet(node, "submissions") as client:
        for response in MALFORMED:
            client.command(f"AUTH PLAIN {response}", "501")
            client.command("AUTH PLAIN", "334")
            client.command(response, "501")
        for mechanism in ("PLAIN", "LOGIN"):
            client.command(f"AUTH {mechanism}", "334")
            client.command("*", "501")
        client.command("AUTH LOGIN", "334")
        client.command(base64.b64encode(b"user@example.com").decode(), "334")
        client.command("*", "501")
        client.command("AUTH", "501")
        for mechanism in ("NTLM", "CRAM-MD5", "XOAUTH2", "EXTERNAL", "ANONYMOUS", "PLAIN\0"):
            client.command(f"AUTH {mechanism}", "5")
        client.command(plain("user@example.com"), "235")
    assert not so_far(node, "auth_failed"), "what was never a password was counted"


@pytest.mark.parametrize("how", ["initial", "answer"])
def test_longest_response(make_node, how):
    """12,288 octets of base64 (RFC 4954 section 4) are read; one more, and 64 KiB more, are refused with 500."""
    node = make_node({"smtp": {"max_errors": 100}})
    node.add_account()
    before = node.resident_mib()
    with greet(node, "submissions") as client:
        def auth(response):
            if how == "initial":
                return client.command("AUTH PLAIN " + response)
            client.command("AUTH PLAIN", "334")
            return client.command(response)

        fits = base64.b64encode(b"\0user@example.com\0".ljust(9216, b"p")).decode()
        assert len(fits) == 12288
        assert auth(fits)[:3] in ("501", "535")
        for length in (12289, 12292, 12288 + 65536, 1 << 20):
            assert auth("A" * length).startswith("500 5.5.6"), length
            client.command("NOOP", "250")
        client.command(plain("user@example.com"), "235")
    assert node.resident_mib() - before < 16 * STRETCH


def test_nobody_acts_for_another_account(node):
    """RFC 4616's authorization identity."""
    node.add_account()
    node.add_account("boss@example.com")
    with greet(node, "submissions") as client:
        client.command(plain("user@example.com", authzid="boss@example.com"), "535 5.7.8")
        client.command(plain("user@example.com", authzid="user@example.com"), "235")


def test_unknown_and_wrong_and_disabled_look_the_same(make_node):
    """The same reply to the octet, after the same work: nobody learns which accounts there are."""
    node = make_node({"accounts": {"guard": {"account_failures": 0, "client_failures": 0}},
                      "smtp": {"max_errors": 1000}})
    node.add_account()
    node.add_account("off@example.com", disabled=True)
    users = ["user@example.com", "nobody@example.com", "off@example.com", "nobody@elsewhere.test", "no-domain"]
    times, replies = {user: [] for user in users}, set()
    with greet(node, "submissions") as client:
        for number in range(9):
            for user in users:
                start = node.cpu_ms()
                replies.add(client.command(plain(user, f"wrong-{number}")))
                times[user].append(node.cpu_ms() - start)
    assert len(replies) == 1 and replies.pop().startswith("535 5.7.8 ")
    usual = {user: sorted(t)[4] for user, t in times.items()}
    assert min(usual.values()) > 2, "no password was hashed"
    assert max(usual.values()) < 1.5 * min(usual.values()), usual


def test_a_changed_password_ends_what_the_old_one_may(node):
    node.add_account()
    with log_in(node) as client:
        node.api("POST", "/v1/accounts/passwd", {"name": "user@example.com", "password": "another-long-one"})
        client.command("MAIL FROM:<user@example.com>", "421 4.7.0")
        assert client.closed()
    with greet(node, "submissions") as client:
        client.command(plain("user@example.com"), "535")
        client.command(plain("user@example.com", "another-long-one"), "235")
        node.api("POST", "/v1/accounts/remove", {"name": "user@example.com"})
        client.command("MAIL FROM:<user@example.com>", "421 4.7.0")


# ---- guessing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["BOGUS", "RCPT TO:<x@example.net>", "AUTH PLAIN !!!!", "NOOP \x07"])
def test_the_21st_error_ends_the_session(node, bad):
    with greet(node, "submissions") as client:
        for number in range(20):
            assert client.command(bad)[0] == "5", number
        client.command(bad, "421 4.7.0")
        assert client.closed()


def test_guessing_blocks_the_account(make_node):
    """From any network, also with the right password; but not from a network that its owner used before."""
    node = make_node({"accounts": {"guard": {"account_failures": 5, "client_failures": 0, "window": "10m",
                                             "block": "10m"}}}, start=False)
    node.config["listeners"][1]["address"] = f"0.0.0.0:{node.ports['submissions']}"
    node.write_config()
    node.start()
    for name in ("user@example.com", "other@example.com", "known@example.com"):
        node.add_account(name)

    def attempt(address, user, password):
        with Raw(node.ports["submissions"], address) as client:
            client.wrap(node.certificate)
            client.reply()
            client.command("EHLO c.example.com", "250")
            return client.command(plain(user, password))

    assert attempt("127.0.0.1", "known@example.com", PASSWORD).startswith("235")
    for user in ("user@example.com", "known@example.com", "nobody@example.com"):
        for number in range(5):
            assert attempt("127.0.0.1", user, f"guess-{number}").startswith("535"), (user, number)
    for user, password in (("user@example.com", PASSWORD), ("user@example.com", "guess"),
                           ("nobody@example.com", "guess")):
        assert attempt("127.0.0.1", user, password).startswith("421 4.7.0"), user
    assert attempt("127.0.0.1", "other@example.com", PASSWORD).startswith("235")
    assert attempt("127.0.0.1", "known@example.com", PASSWORD).startswith("235"), "its owner is locked out"
    wait_until("it is told", lambda: any("too many" in str(e) for e in node.events("auth_failed")))
    told = [(e["rule"], e["account"], e["client_ip"]) for e in node.events("auth_attack")]
    assert told == [("account", f"{name}@example.com", "127.0.0.1") for name in ("user", "known", "nobody")]
    node.cli("auth", "unblock", "user@example.com")
    assert attempt("127.0.0.1", "user@example.com", PASSWORD).startswith("235")
    assert "nobody@example.com" in node.cli("auth", "blocked").stdout


def test_guessing_blocks_the_network(make_node):
    """Many accounts, one password each, from one /24: the accounts' own counts would not notice."""
    node = make_node({"accounts": {"guard": {"account_failures": 0, "client_failures": 10}}})
    node.add_account()
    answers = []
    for number in range(12):
        with greet(node, "submissions") as client:
            answers.append(client.command(plain(f"u{number}@example.com", "Summer2024!"))[:9])
    assert answers[:10] == ["535 5.7.8"] * 10 and answers[10:] == ["421 4.7.0"] * 2, answers
    with greet(node, "submissions") as client:
        client.command(plain("user@example.com"), "421 4.7.0")
        assert client.closed()


def test_a_block_ends(make_node):
    node = make_node({"accounts": {"guard": {"account_failures": 3, "client_failures": 0, "window": "1m",
                                             "block": "8s"}}})
    node.add_account()
    for number in range(3):
        with greet(node, "submissions") as client:
            client.command(plain("user@example.com", f"guess-{number}"), "535")
    with greet(node, "submissions") as client:
        client.command(plain("user@example.com"), "421 4.7.0")
    time.sleep(8.3)
    log_in(node).close()


# ---- a flood of logins -------------------------------------------------------------------------------------


def test_more_checks_than_may_wait(make_node):
    """The queue of password checks is bounded: 454, never 535, and the next client is served."""
    node = make_node({"accounts": {"checks": {"threads": 1, "queue": 2},
                                   "guard": {"account_failures": 0, "client_failures": 0}}})
    node.add_account()
    clients = [greet(node, "submissions") for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(plain("user@example.com", f"wrong-{number}") + "\r\n")
    replies = {client.reply()[:9] for client in clients}
    assert replies <= {"454 4.7.0", "535 5.7.8"} and "454 4.7.0" in replies, replies
    for client in clients:
        client.close()
    log_in(node).close()


def test_leaving_while_the_password_is_checked(node):
    node.add_account()
    for number in range(30):
        with greet(node, "submissions") as client:
            client.send(plain("user@example.com", f"wrong-{number % 3}") + "\r\n")
    with greet(node, "relay") as client:
        client.command("NOOP", "250")


# ---- Dovecot -----------------------------------------------------------------------------------------------


class Dovecot:
    """As much of Dovecot's authentication server as its protocol's description promises; and its misbehaviour."""

    HELLO = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\tabc\nDONE\n"

    def __init__(self, path, hello=None):
        self.path, self.hello = str(path), hello if hello is not None else self.HELLO
        self.requests = []
        self.connections = []
        self.drop = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(5)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            connection.sendall(self.hello.encode())
            for line in connection.makefile("r", encoding="utf-8", newline="\n"):
                fields = line.rstrip("\n").split("\t")
                if fields[0] != "AUTH":
                    continue
                self.requests.append(fields)
                if self.drop:
                    self.drop -= 1
                    connection.close()
                    return
                answer = self.answer(fields)
                if answer:
                    connection.sendall(answer)
        except OSError:
            pass

    def answer(self, fields):
        response = next(f for f in fields if f.startswith("resp="))[5:]
        _, user, password = base64.b64decode(response).split(b"\0")
        id = fields[1].encode()
        if user == b"slow@example.com":
            return None
        if user == b"temp@example.com":
            return b"FAIL\t" + id + b"\tuser=" + user + b"\ttemp\n"
        if user == b"evil@example.com": # a name that would be two lines in a log
            return b"OK\t" + id + b"\tuser=a\x01nINJECTED\x01r@example.com\n"
        if user == b"alias@example.com" and password == PASSWORD.encode():
            return b"OK\t" + id + b"\tuser=Real@example.com\n"
        if user == b"user@example.com" and password == PASSWORD.encode():
            return b"OK\t" + id + b"\tuser=user@example.com\n"
        return b"FAIL\t" + id + b"\tuser=" + user + b"\n"

    def close(self):
        self.listener.close()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()
        if os.path.exists(self.path):
            os.unlink(self.path)


@pytest.fixture
def dovecot(folder):
    server = Dovecot(folder / "auth")
    yield server
    server.close()


@pytest.fixture
def dovecot_node(make_node, dovecot):
    return make_node({"accounts": {"source": "dovecot", "sender_check": "envelope_and_header",
                                   "dovecot": {"socket": dovecot.path, "timeout": "2s",
                                               "rules": [{"match": "*@example.com", "class": "bulk"}]}}})


def test_dovecot(dovecot_node, dovecot, sink):
    with greet(dovecot_node, "submissions") as client:
        client.command(plain("user@example.com", "wrong"), "535 5.7.8")
        client.command(plain("nobody@example.com", "wrong"), "535 5.7.8")
        client.command(plain("temp@example.com"), "454 4.7.0")
        client.command(plain("user@example.com"), "235")
        content = "From: user@example.com\r\nSubject: x\r\n\r\nx"
        assert submit(client, "other@example.com", "friend@example.net", content).startswith("553 5.7.1")
        assert submit(client, "user@example.com", "friend@example.net", content).startswith("250")
    wait_until("it arrives", lambda: sink.recipients() == ["friend@example.net"])
    request = dovecot.requests[-1]
    assert "service=smtp" in request and "secured" in request and "rip=127.0.0.1" in request
    assert request[-1].startswith("resp="), "resp must be the last field"
    event = wait_until("the event", lambda: dovecot_node.events("received"))[0]
    assert event["class"] == "bulk" and event["account"] == "user@example.com"


def test_dovecot_decides_whose_login_it_is(dovecot_node):
    """Its user= is the account, whatever name was typed."""
    with log_in(dovecot_node, "alias@example.com") as client:
        client.command("MAIL FROM:<alias@example.com>", "553 5.7.1")
        client.command("MAIL FROM:<real@example.com>", "250")


def test_dovecot_answers_late_or_with_a_false_name(dovecot_node):
    with greet(dovecot_node, "submissions") as client:
        start = time.monotonic()
        client.command(plain("slow@example.com"), "454 4.7.0")
        assert time.monotonic() - start < 15 * STRETCH
        client.command(plain("evil@example.com"), "454 4.7.0")
        client.command(plain("user@example.com"), "235")
    for data in (dovecot_node.events_path.read_text(), dovecot_node.log_text()):
        assert not [line for line in data.splitlines() if line.startswith("INJECTED")]


def test_dovecot_restarts(dovecot_node, dovecot, folder):
    log_in(dovecot_node).close()
    dovecot.drop = 1
    with greet(dovecot_node, "submissions") as client: # the link asks again on its next connection
        assert client.command(plain("user@example.com", "wrong"))[:3] in ("535", "454")
    dovecot.close()
    with greet(dovecot_node, "submissions") as client:
        client.command(plain("other@example.com", "x"), "454 4.7.0")
    again = Dovecot(folder / "auth")

    def works():
        with greet(dovecot_node, "submissions") as client:
            return client.command(plain("user@example.com", "wrong")).startswith("535")

    wait_until("it answers again", works)
    log_in(dovecot_node).close()
    again.close()


@pytest.mark.parametrize("hello", ["", "VERSION\t2\t0\nMECH\tPLAIN\nDONE\n", "VERSION\t1\t1\nMECH\tLOGIN\nDONE\n",
                                   "\0\xff" * 100, "X" * 20000, "OK\t1\tuser=user@example.com\n"])
def test_dovecot_is_something_else(make_node, folder, hello):
    """Temporary, whatever listens there: never a login that was not checked."""
    server = Dovecot(folder / "auth", hello)
    node = make_node({"accounts": {"source": "dovecot", "dovecot": {"socket": server.path, "timeout": "1s"}}})
    with greet(node, "submissions") as client:
        client.command(plain("user@example.com"), "454 4.7.0")
        client.command("MAIL FROM:<user@example.com>", "530")
    server.close()


# ---- TLS versions ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl")
@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
@pytest.mark.parametrize("kind", ["submission", "submissions", "relay"])
def test_old_tls_is_refused(node, kind, version):
    starttls = [] if kind == "submissions" else ["-starttls", "smtp"]
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{node.ports[kind]}", version, *starttls,
                           "-cipher", "ALL:@SECLEVEL=0"], input="QUIT\r\n", capture_output=True, text=True, timeout=60)
    assert "New, TLS" not in done.stdout or "Cipher is (NONE)" in done.stdout, done.stdout
