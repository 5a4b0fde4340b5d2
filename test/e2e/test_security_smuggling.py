"""SMTP smuggling by a client that has logged in: trust in the sender is no reason to trust the line ends.

The unit test splits each sequence at every octet of the whole stream; here the splits around the sequence go through
real TLS connections, each piece in a record of its own.
"""
import time

import pytest

from security import log_in, so_far
from harness.util import wait_until

pytestmark = [pytest.mark.sanitizer, pytest.mark.grammar]

SEQUENCES = [b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\n\0.\r\n",
             b"\r\n.\0\r\n", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n"]
HEAD = b"From: user@example.com\r\nSubject: x\r\n\r\ntext"
SMUGGLED = (b"MAIL FROM:<admin@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nSubject: smuggled\r\n\r\n"
            b"bad\r\n.\r\n")


def cuts(sequence):
    """Every place in and next to the sequence."""
    return range(len(HEAD) - 1, len(HEAD) + len(sequence) + 2)


def refused(client, pieces):
    """Sends them apart and returns what came back until the end of the connection."""
    try:
        for piece in pieces:
            client.send(piece)
            time.sleep(0.002)
    except OSError:
        pass # refused before the last piece
    return client.rest()


@pytest.mark.parametrize("command", ["DATA", "BDAT"])
@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: s.decode().encode("unicode_escape").decode())
def test_authenticated(node, sink, sequence, command):
    node.add_account()
    content = HEAD + sequence + SMUGGLED
    expected = b"550 5.6.0 " if b"\0" in sequence else b"550 5.5.2 "
    for cut in cuts(sequence):
        with log_in(node) as client:
            client.command("MAIL FROM:<user@example.com>", "250")
            client.command("RCPT TO:<friend@example.net>", "250")
            if command == "DATA":
                client.command("DATA", "354")
            else:
                client.send(b"BDAT %d LAST\r\n" % len(content))
            data = refused(client, [content[:cut], content[cut:]])
        assert data.startswith(expected) and data.count(b"\r\n") == 1, (cut, data)
    assert not so_far(node, "received") and node.queue() == []
    node.send("last@example.net")
    wait_until("the honest one arrives", lambda: sink.recipients())
    assert sink.recipients() == ["last@example.net"]
