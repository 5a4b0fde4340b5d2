"""Clients that take what they can get, and the check of what they got against a limit: nothing here trusts the node's
own counters. Moments are the nodes' own receipts: when the commit record was handed to the spool."""
import bisect
import datetime
import itertools
import smtplib
import threading
import time

from .util import wait_until

SENDER = "relay@example.com"  # the account of the harness's relay clients
clients = itertools.count()


class Client:
    """One sender's client that sends single messages to the nodes it is given, in turn, and counts."""

    def __init__(self, nodes, recipients=1, sender="user@example.com", pause=0.0, source="127.0.0.1"):
        self.nodes, self.recipients, self.sender, self.pause, self.source = nodes, recipients, sender, pause, source
        self.accepted = []  # (node, before MAIL, after the reply to the dot, recipients), by the monotonic clock
        self.refusals, self.addresses = {}, 0
        self.lost = 0  # sent to the end, and no answer came
        self.sent, self.unanswered = [], []  # both again: (recipient, before MAIL, when it ended)
        self.name = f"r{next(clients)}"

    def address(self):
        """Of one recipient of one message."""
        self.addresses += 1
        return f"{self.name}-{self.addresses}@example.net"

    def count(self):
        return sum(entry[3] for entry in self.accepted)

    def note(self, reply):
        if isinstance(reply, smtplib.SMTPResponseException):
            reply = f"{reply.smtp_code} {reply.smtp_error.decode() if isinstance(reply.smtp_error, bytes) else reply.smtp_error}"
        elif isinstance(reply, Exception):
            reply = type(reply).__name__
        self.refusals[reply[:160]] = self.refusals.get(reply[:160], 0) + 1

    def connect(self, node):
        smtp = smtplib.SMTP("127.0.0.1", node.ports["relay"], timeout=15, source_address=(self.source, 0))
        smtp.ehlo("client.example.com")
        return smtp

    def attempt(self, node):
        """One message, on a connection of its own: True when it was accepted."""
        try:
            with self.connect(node) as smtp:
                return self.message(node, smtp)
        except (smtplib.SMTPException, OSError) as e:
            self.note(e)
            return False

    def message(self, node, smtp):
        begun = time.monotonic()
        code, text = smtp.mail(self.sender)
        if code != 250:
            self.note(f"{code} {text.decode()}")
            return False
        names, got = [self.address() for _ in range(self.recipients)], []
        for name in names:
            code, text = smtp.rcpt(name)
            if code == 250:
                got.append(name)
            else:
                self.note(f"{code} {text.decode()}")
        if not got:
            return False
        try:
            code, text = smtp.data("Subject: q\r\n\r\nx\r\n")
        except (smtplib.SMTPException, OSError):
            self.lost += len(got)
            self.unanswered += [(name, begun, time.monotonic()) for name in got]
            return False
        if code != 250:
            self.note(f"{code} {text.decode()}")
            return False
        ended = time.monotonic()
        self.accepted.append((node.name, begun, ended, len(got)))
        self.sent += [(name, begun, ended) for name in got]
        return True

    def hammer(self, until, ended=None):
        """Goes round the nodes until the time is over, or it is told to end."""
        turn = 0
        while time.monotonic() < until and not (ended and ended.is_set()):
            self.attempt(self.nodes[turn % len(self.nodes)])
            turn += 1
            if self.pause:
                time.sleep(self.pause)

    def drain(self, refusals=6, most=1000):
        """Goes round until that many attempts in a row failed, or clearly too much was taken."""
        failed = turn = 0
        while failed < refusals and self.count() < most:
            failed = 0 if self.attempt(self.nodes[turn % len(self.nodes)]) else failed + 1
            turn += 1


class Staying(Client):
    """On one connection to each node for as long as that lasts."""

    def attempt(self, node):
        open_ones = self.__dict__.setdefault("open", {})
        try:
            if node.name not in open_ones:
                open_ones[node.name] = self.connect(node)
            if self.message(node, open_ones[node.name]):
                return True
            open_ones[node.name].rset()
        except (smtplib.SMTPException, OSError) as e:
            self.note(e)
            left = open_ones.pop(node.name, None)
            if left is not None:
                left.close()
        return False

    def close(self):
        for smtp in self.__dict__.pop("open", {}).values():
            smtp.close()


def together(clients, work):
    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def receipts(nodes, account=SENDER):
    """(moment in ms, recipients) of every message that any node admitted for the account."""
    found = []
    for node in nodes:
        for event in node.events("received"):
            if event.get("account") == account:
                moment = datetime.datetime.fromisoformat(event["ts"].replace("Z", "+00:00")).timestamp()
                found.append((round(moment * 1000), event["recipients"]))
    return sorted(found)


def all_receipts(nodes, expected, account=SENDER):
    """The same once they are all written: there must be receipts for exactly what clients were told is accepted."""
    def complete():
        found = receipts(nodes, account)
        total = sum(n for _, n in found)
        assert total <= expected, f"{total} admitted, {expected} answered with 250"
        return found if total == expected else None
    return wait_until(f"receipts for {expected} recipients", complete)


def most_in_a_window(found, window_ms):
    """The largest sum of recipients in any rolling window of that length."""
    best = total = begin = 0
    for moment, recipients in found:
        total += recipients
        while found[begin][0] <= moment - window_ms:
            total -= found[begin][1]
            begin += 1
        best = max(best, total)
    return best


def most_within(sent, window_s):
    """The largest number of recipients that were admitted in one rolling window for certain: from (recipient, begun,
    ended) as clients saw it. Where a node was killed its receipts may be incomplete, and this is not."""
    begun, ended = sorted(b for _, b, _ in sent), sorted(e for _, _, e in sent)
    return max((bisect.bisect_right(ended, start + window_s) - bisect.bisect_left(begun, start) for start in begun),
               default=0)


def apply_policy(node, text):
    path = node.folder / "policy.yaml"
    path.write_text(text)
    node.cli("policy", "apply", path)


def usage(node, limit, account=SENDER):
    rows = node.api("GET", f"/v1/limits?account={account}")["limits"]
    return next(row for row in rows if row["limit"] == limit)


def await_applied(nodes):
    """All nodes have applied what the furthest of them has."""
    target = max(node.cluster()["applied"] for node in nodes)
    for node in nodes:
        wait_until(f"{node.name} caught up", lambda node=node: node.cluster()["applied"] >= target)
