"""The next hop of a run: takes what comes, writes each copy that it took into the history, and is as faulty as it is told
to be: temporary refusals, connections cut after the dot, tarpits, TLS that fails. Reports to senders come here too."""
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "e2e"))

from harness.sink import CLOSE, Sink  # noqa: E402

from .client import body_hash, message_of  # noqa: E402
from .engine import SINK_PORT  # noqa: E402
from .history import clock_ns  # noqa: E402


TLS_FAILS = ([b"454 4.7.0 TLS not available\r\n"], [b"220 2.0.0 go ahead\r\n", b"what is a handshake?\r\n", CLOSE],
             [b"220 2.0.0 go ahead\r\n", CLOSE])


STAGES = ("banner", "ehlo", "helo", "mail", "rcpt", "data", "dot", "rset", "noop", "quit")


def certificate(folder):
    """One that nobody can verify, as most next hops have."""
    pair = folder / "sink.pem", folder / "sink.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=sink.test", "-out", pair[0], "-keyout", pair[1]], check=True, capture_output=True)
    return pair


class RecordingSink:
    """`faulty` is the share of transactions that something is wrong with. Who wants TLS gets it."""

    def __init__(self, address, writer, name_of, rng, folder, faulty=0.0, floating=(), extensions=None):
        self.writer, self.name_of, self.rng, self.faulty, self.floating = writer, name_of, rng, faulty, floating
        self.copies, self.encrypted = 0, 0
        self.sink = Sink((address,), SINK_PORT, certificate(folder))
        self.sink.hooks = {"dot": self._dot, "mail": self._mail, "rcpt": self._rcpt, "banner": self._banner,
                           "starttls": self._starttls}
        for stage in STAGES if floating else ():
            self.sink.hooks[stage] = self._stamped(stage, self.sink.hooks.get(stage))
        if extensions is not None:
            self.sink.extensions = [each for each in self.sink.extensions if each in (*extensions, "STARTTLS")]
        self.address = address

    @staticmethod
    def _stamped(stage, hook):
        """Notes when each command came, and how far the client has surely been: see tell_uses."""
        def stamped(session, argument):
            session.proven_ns = getattr(session, "answered_ns", 0)
            session.answered_ns = clock_ns()
            session.begin_ns = getattr(session, "begin_ns", session.answered_ns)
            session.at_dot = stage == "dot"
            return hook(session, argument) if hook else None
        return stamped

    def _node(self, session):
        """By its address; what comes from a floating one, by the name that it greets with."""
        return self.name_of(session.peer[0]) or (session.helo.partition(".")[0] if session.helo else None)

    def tell_uses(self):
        """Connections from floating addresses. `proven_ns`: the answer before the last command, which was not sent ahead of
        it; `unread`: the last answer was to a message, and nobody can say whether it was read."""
        for session in self.sink.sessions:
            if session.peer[0] in self.floating and session.helo and hasattr(session, "begin_ns"):
                self.writer.observe("sink", "use", {
                    "source_ip": session.peer[0], "session": session.number, "begin_ns": session.begin_ns,
                    "proven_ns": max(session.begin_ns, session.proven_ns), "unread": session.at_dot},
                    n=self._node(session), t=session.answered_ns)

    def _banner(self, _session, _argument):
        if self.faulty and self.rng.random() < self.faulty / 3:
            return self.rng.choice([CLOSE, b"421 4.3.2 not now\r\n"])
        return None

    def _starttls(self, _session, _argument):
        if self.faulty and self.rng.random() < self.faulty:
            return iter(self.rng.choice(TLS_FAILS))
        return None

    def _mail(self, session, _argument):
        session.mail_ns = clock_ns()

    def _rcpt(self, _session, argument):
        local = re.search(r"<([^>@]*)", argument)
        if local and local.group(1).endswith(".no"):
            return "550 5.1.1 no such user"
        if self.faulty and self.rng.random() < self.faulty / 3:
            return "450 4.2.1 try again later"
        return None

    def _dot(self, session, message):
        fault = self.rng.random() < self.faulty and self.rng.choice(("4xx", "cut", "tarpit"))
        session.sink.messages.clear()
        if fault == "4xx":
            return "451 4.3.0 no room"
        text = message.content.decode("utf-8", "replace")
        if message.sender == "" and "multipart/report" in text:
            self._report(text)
            return None
        for recipient in message.recipients:
            self.copies += 1
            self.encrypted += session.tls is not None
            node = self._node(session)
            self.writer.observe("sink", "deliver", {
                "id": message_of(recipient) or "", "rcpt": recipient, "hash": body_hash(message.content),
                "source_ip": session.peer[0], "session": session.number, "begin_ns": getattr(session, "mail_ns", clock_ns()),
                "ack": fault != "cut"}, n=node)
        if fault == "cut":
            return CLOSE
        if fault == "tarpit":
            return iter([b"250-2.0.0 wait\r\n", 1.0, b"250 2.0.0 taken\r\n"])
        return None

    def _report(self, text):
        found = {}
        for block in re.split(r"\r?\n\r?\n", text):
            recipient = re.search(r"(?mi)^Final-Recipient:\s*rfc822;\s*(\S+)", block)
            action = re.search(r"(?mi)^Action:\s*(\S+)", block)
            if recipient and action and message_of(recipient.group(1)):
                found.setdefault((message_of(recipient.group(1)), action.group(1)), []).append(recipient.group(1))
        for (about, action), recipients in found.items():
            self.writer.observe("sink", "dsn", {"about": about, "rcpts": recipients, "action": action})

    def mend(self):
        """From now on it only takes."""
        self.faulty = 0.0

    def close(self):
        self.sink.close()
