"""A client that submits messages one after another, writes into the history what it did and what it was told, and never
takes back what it may have sent: who was cut off after the end of a message doesn't know whether it was accepted."""
import hashlib
import itertools
import select
import socket
import time

from .engine import SMTP_PORT
from .history import clock_ns

PATIENT_S, HASTY_S = 10, 2.5  # for a reply: else all clients wait for the one node that stands still
DOMAINS = ("sink.test", "mx.test", "a.mx.test", "b.mx.test")  # the first one needs no DNS
_numbers = itertools.count(1)


class Refused(Exception):
    """A reply that ends the attempt; before the end of the content was sent."""


def message_of(address):
    """The id of the message that a recipient's address was made for; None: it is none of ours."""
    local = address.strip("<>").partition("@")[0]
    return local.partition(".")[0] if local[:1] == "m" and "." in local and local[1:].partition(".")[0].isdigit() else None


def body_hash(content):
    """Of the body, which nobody on the way may change."""
    return hashlib.sha256(content.partition(b"\r\n\r\n")[2]).hexdigest()[:16]


class Connection:
    def __init__(self, node, source, patience_s):
        self.node, self.born = node, node.process
        self.sock = socket.create_connection((node.address, SMTP_PORT), min(4, patience_s), source_address=(source, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(patience_s)
        self.pending = b""
        self.used, self.dirty, self.mail_ns = 0, False, None

    def usable(self, node):
        """Nobody has said anything meanwhile, as a server does that closes."""
        return (self.used < 20 and self.born == node.process and not self.pending and
                not select.select([self.sock], [], [], 0)[0])

    def reply(self):
        lines = []
        while not lines or lines[-1][3:4] == "-":
            while b"\r\n" not in self.pending:
                piece = self.sock.recv(65536)
                if not piece:
                    raise ConnectionError("closed")
                self.pending += piece
            line, _, self.pending = self.pending.partition(b"\r\n")
            lines.append(line.decode("utf-8", "replace"))
        return " ".join(lines)

    def expect(self, good, line=None):
        if line is not None:
            self.sock.sendall(line.encode() + b"\r\n")
        reply = self.reply()
        if not reply.startswith(good):
            raise Refused(reply)
        return reply

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass


class Client:
    """One process of the history. `sender` is the account that the nodes take it for, by the address it comes from."""

    def __init__(self, name, writer, sender, source, rng, domain=DOMAINS[0], keep=0.5, expect=False):
        self.name, self.writer, self.sender, self.source, self.rng = name, writer, sender, source, rng
        self.domain, self.keep = domain, keep
        self.expect = {"expect": "accept"} if expect else {}
        self.kept = {}

    def _connect(self, node):
        """A connection that was kept, if it seems to work; or a new one."""
        kept = self.kept.pop(node.name, None)
        if kept is not None and kept.usable(node):
            return kept
        if kept is not None:
            kept.close()
        connection = Connection(node, self.source, PATIENT_S if self.rng.random() < 0.3 else HASTY_S)
        try:
            connection.expect("220")
            connection.expect("250", "EHLO client.test")
        except BaseException:
            connection.close()
            raise
        return connection

    def _leave_those_that_stop(self):
        """They would wait for the end of transactions that were begun and left there."""
        for name in [name for name, connection in self.kept.items() if connection.node.stopping]:
            self.kept.pop(name).close()

    def _envelope(self, connection, addresses):
        """The recipients that were taken. Commands go out one by one, or all at once: who stands still has them all before
        he wakes up."""
        commands = [*(["RSET"] if connection.dirty else []), f"MAIL FROM:<{self.sender}>",
                    *(f"RCPT TO:<{address}>" for address in addresses)]
        connection.dirty, connection.mail_ns = True, None
        at_once, replies = self.rng.random() < 0.5, []
        if at_once:
            connection.sock.sendall("".join(f"{command}\r\n" for command in commands).encode())
        for command in commands:
            if not at_once:
                connection.sock.sendall(command.encode() + b"\r\n")
            replies.append(connection.reply())
            if command.startswith("MAIL"):
                connection.mail_ns = clock_ns()
            if not replies[-1].startswith("250") and not command.startswith("RCPT"):
                connection.used = 1000  # what comes after this is not worth to be read
                raise Refused(replies[-1])
        answers = replies[-len(addresses):]
        return [address for address, reply in zip(addresses, answers) if reply.startswith("250")], answers[-1]

    def submit(self, node, rcpts=1, size=200, slow_s=0.0, cut=False, refused=0, script=None):
        """One message; True when it was accepted. With slow_s the content takes so long; with cut, its end is never
        sent; so many of the recipients as `refused` says are none that the next hop takes; `script`, says a header, has made
        it."""
        self._leave_those_that_stop()
        number = next(_numbers)
        message, begun, stage = f"m{number}", clock_ns(), "connect"
        addresses = [f"{message}.{i}{'.no' if i < refused else ''}@{self.domain}" for i in range(rcpts)]
        body = b"".join(b"%06d %s\r\n" % (i, b"x" * 60) for i in range(max(1, size // 70)))
        named = f"X-PHP-Originating-Script: {script}\r\n" if script else ""
        content = (f"From: <{self.sender}>\r\nTo: list:;\r\nMessage-ID: <{message}@fault.test>\r\n{named}"
                   f"Subject: {message}\r\n\r\n").encode() + body
        wanted = {"id": message, "rcpts": addresses, "hash": body_hash(content), "from": self.sender, **self.expect}
        wanted |= {**({"slow_s": slow_s} if slow_s else {}), **({"cut": True} if cut else {}),
                   **({"script": script} if script else {})}
        op, connection, end_sent, taken = None, None, None, []
        try:
            connection = self._connect(node)
            op = self.writer.invoke(self.name, "submit", node.name, self.sender, wanted)
            stage = "envelope"
            taken, reply = self._envelope(connection, addresses)
            if not taken:
                raise Refused(reply)
            stage = "data"
            connection.expect("354", "DATA")
            half = len(content) // 2
            connection.sock.sendall(content[:half])
            if slow_s:
                time.sleep(slow_s)
            connection.sock.sendall(content[half:])
            if cut:
                raise ConnectionError("cut by the client")
            stage, end_sent = "dot", clock_ns()
            connection.sock.sendall(b".\r\n")
            reply = connection.reply()
            if reply.startswith("250"):
                self.writer.ok(op, {"rcpts": taken, "end_sent_ns": end_sent, "begin_ns": begun,
                                    "mail_ns": connection.mail_ns}, reply)
                connection.dirty = False
                self._put_back(node, connection)
                return True
            if reply[:1] not in "45":
                raise ConnectionError(f"no reply: {reply}")
            self.writer.fail(op, {"stage": stage, "end_sent_ns": end_sent, "begin_ns": begun}, reply)
            self._put_back(node, connection)
        except Refused as error:
            self._failed(op, node, wanted, begun, stage, str(error))
            if connection is not None:
                self._put_back(node, connection)
        except OSError as error:
            words = str(error) or type(error).__name__
            if end_sent is not None:
                self.writer.info(op, {"rcpts": taken, "stage": stage, "error": words, "end_sent_ns": end_sent,
                                      "begin_ns": begun, "mail_ns": connection.mail_ns})
            else:
                self._failed(op, node, wanted, begun, stage, None, {"error": words})
            if connection is not None:
                connection.close()
        return False

    def _failed(self, op, node, wanted, begun, stage, reply, more=None):
        op = op or self.writer.invoke(self.name, "submit", node.name, self.sender, wanted, t=begun)
        self.writer.fail(op, {"stage": stage, "begin_ns": begun, **(more or {})}, reply)

    def _put_back(self, node, connection):
        connection.used += 1
        if self.rng.random() < self.keep:
            self.kept[node.name] = connection
        else:
            connection.close()

    def close(self):
        for connection in self.kept.values():
            connection.close()
