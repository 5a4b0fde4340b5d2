"""What a client writes into the history: `fail` only where it is sure that nothing was accepted."""
import random
import socket
import threading
import types

import pytest

from fault import client as clients
from fault.history import History, Writer, read


class Server:
    """Says what it is told at each stage; None: it closes the connection there."""

    def __init__(self, **answers):
        self.answers = {"banner": "220 x", "EHLO": "250 x", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go",
                        "dot": "250 2.0.0 Ok: queued", "RSET": "250 ok", **answers}
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.accepted = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            with sock, sock.makefile("rb") as lines:
                self._session(sock, lines)

    def _session(self, sock, lines):
        stage, body, rcpts = "banner", False, 0
        while True:
            answer = self.answers[stage] if not callable(self.answers[stage]) else self.answers[stage](rcpts)
            if answer is None:
                return
            sock.sendall(answer.encode() + b"\r\n")
            body = stage == "DATA" and answer.startswith("354")
            line = lines.readline()
            while body and line and line != b".\r\n":
                line = lines.readline()
            if not line:
                return
            stage = "dot" if body else line[:4].decode()
            rcpts += stage == "RCPT"

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # whoever waits in accept would keep it open
        except OSError:
            pass
        self.listener.close()


@pytest.fixture
def submit(tmp_path, monkeypatch):
    """Submits to a server that answers so; the operation as the history has it."""
    servers = []

    def go(keep=0.0, times=1, dead=False, **answers):
        message = {name: answers.pop(name) for name in ("rcpts", "cut") if name in answers}
        servers.append(Server(**answers))
        if dead:
            servers[-1].close()
        monkeypatch.setattr(clients, "SMTP_PORT", servers[-1].port)
        node = types.SimpleNamespace(name="n1", address="127.0.0.1", process=object(), stopping=False)
        with Writer(tmp_path / "h.jsonl") as writer:
            writer.observe("run", "meta", {"version": 1, "workload": "quota", "faults": [], "nodes": ["n1"]})
            client = clients.Client("c", writer, "a@x.test", "127.0.0.1", random.Random(1), keep=keep)
            for _ in range(times):
                client.submit(node, **message)
            client.close()
        history = read(tmp_path / "h.jsonl")
        assert isinstance(history, History) and len(history.ops) == times
        return history.ops[-1]

    yield go
    for server in servers:
        server.close()


def test_accepted(submit):
    op = submit(rcpts=2)
    assert op.outcome == "ok" and op.end.v["rcpts"] == op.invoke.v["rcpts"] and len(op.end.v["rcpts"]) == 2
    assert op.t0 <= op.end.v["end_sent_ns"] <= op.t1 and op.end.reply == "250 2.0.0 Ok: queued"


def test_some_recipients_are_refused(submit):
    op = submit(rcpts=3, RCPT=lambda n: "250 ok" if n == 2 else "450 4.7.1 Limit")
    assert op.outcome == "ok" and op.end.v["rcpts"] == [op.invoke.v["rcpts"][1]]


@pytest.mark.parametrize("stage, answer", [("banner", "421 not now"), ("MAIL", "451 no"), ("RCPT", "450 no"),
                                           ("DATA", "451 no"), ("dot", "451 no"), ("dot", "554 no")])
def test_refused(submit, stage, answer):
    op = submit(**{stage: answer})
    assert op.outcome == "fail" and op.end.reply == answer


@pytest.mark.parametrize("stage", ["banner", "EHLO", "MAIL", "RCPT", "DATA"])
def test_broken_off_before_the_end(submit, stage):
    op = submit(**{stage: None})
    assert op.outcome == "fail" and op.end.reply is None and op.end.v["error"]


def test_nobody_there(submit):
    op = submit(dead=True)
    assert op.outcome == "fail" and op.end.v["stage"] == "connect"


@pytest.mark.parametrize("answer", [None, "hello"])
def test_no_answer_to_the_end_says_nothing(submit, answer):
    op = submit(dot=answer, rcpts=2)
    assert op.outcome == "info" and len(op.end.v["rcpts"]) == 2 and op.end.v["end_sent_ns"] >= op.t0


def test_the_end_is_not_sent(submit):
    op = submit(cut=True)
    assert op.outcome == "fail" and op.invoke.v["cut"] is True


def test_a_connection_is_used_again(submit):
    assert submit(keep=1.0, times=3).outcome == "ok"


def test_names_of_messages():
    assert clients.message_of("<m12.0@sink.test>") == "m12"
    assert clients.message_of("m12.3.no@sink.test") == "m12"
    for other in ("postmaster@n1.fault.test", "m.0@x", "mail.list@x", ""):
        assert clients.message_of(other) is None
