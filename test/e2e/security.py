"""What the security tests share: sessions as an attacker would open them."""
import base64
import ssl
import time

from harness.node import PASSWORD, Raw
from harness.util import wait_until


def plain(user, password=PASSWORD, authzid=""):
    return "AUTH PLAIN " + base64.b64encode(f"{authzid}\0{user}\0{password}".encode()).decode()


def greet(node, kind="relay", **more):
    """A client that was greeted and said EHLO; with TLS where the listener asks for it."""
    client = Raw(node.ports[kind], **more)
    if kind == "submissions":
        client.wrap(node.certificate)
    assert client.reply().startswith("220 ")
    client.command("EHLO client.example.com", "250")
    if kind == "submission":
        client.starttls(node.certificate)
        client.command("EHLO client.example.com", "250")
    return client


def log_in(node, user="user@example.com", kind="submissions", password=PASSWORD):
    client = greet(node, kind)
    client.command(plain(user, password), "235")
    return client


def submit(client, sender, recipient, content):
    """One transaction; the first reply that is no success, or the last one."""
    for command in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA"):
        reply = client.command(command)
        if reply[0] not in "23":
            client.command("RSET", "250")
            return reply
    client.send(content if isinstance(content, bytes) else content.encode())
    client.send(b"\r\n.\r\n")
    return client.reply()


def silent_end(client, timeout=30):
    """The server closes without a word in plain text: within a handshake, or where nobody is to be talked to."""
    try:
        return client.rest(timeout) == b""
    except (ssl.SSLError, TimeoutError):
        return False


def so_far(node, kind=None, least=0):
    """The events up to now: they are written shortly after they happen. Some of the kind must come."""
    wait_until(f"{least} events", lambda: len(node.events(kind)) >= least)
    time.sleep(0.4)
    return node.events(kind)
