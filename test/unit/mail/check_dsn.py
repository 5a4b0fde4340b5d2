"""Reads delivery reports with Python's email package: structure and fields of RFC 3464, 6522 and 6533.

Usage: check_dsn.py PROGRAM (mail_dsn_samples)
"""
import email
import email.policy
import subprocess
import sys

PROGRAM = sys.argv[1]


def sample(*words):
    run = subprocess.run([PROGRAM, *words], capture_output=True, check=True)
    raw = run.stdout
    for line in raw.split(b"\r\n"):
        assert len(line) <= 998, f"{words}: a line of {len(line)}"
        assert b"\n" not in line and b"\r" not in line and b"\0" not in line, f"{words}: {line!r}"
    eight = any(byte > 127 for byte in raw)
    assert not eight or b"8bit" in run.stderr, f"{words}: undeclared 8-bit octets"
    message = email.message_from_bytes(raw, policy=email.policy.SMTPUTF8)
    assert not message.defects, f"{words}: {message.defects}"
    return message, raw.decode("utf-8"), run.stderr.decode().split()


def parts_of(message, count=3):
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    parts = message.get_payload()
    assert len(parts) == count, f"{len(parts)} parts"
    assert parts[0].get_content_type() == "text/plain"
    return parts


def groups_of(part):
    """The groups of fields of a delivery-status part, as lists of (name, value)."""
    payload = part.get_payload()
    if isinstance(payload, list):
        text = "\n".join(group.as_string() for group in payload)
    else:
        text = part.get_content() if not hasattr(part, "get_payload") else part.get_payload()
    groups = []
    for block in text.replace("\r\n", "\n").strip("\n").split("\n\n"):
        fields = []
        for line in block.strip("\n").split("\n"):
            if line[:1] in " \t":
                fields[-1][1] += " " + line.strip()
            else:
                name, value = line.split(":", 1)
                fields.append([name, value.strip()])
        groups.append(dict(map(tuple, fields)))
        assert len(groups[-1]) == len(fields), "a field comes twice"
    return groups


def check_head():
    message, raw, _ = sample("failed")
    assert message["From"].addresses[0].addr_spec == "MAILER-DAEMON@out.test"
    assert message["To"].addresses[0].addr_spec == "s@t.test"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["MIME-Version"] == "1.0"
    assert message["Message-ID"] == "<report@out.test>"
    assert message["References"] == "<orig@t.test>"
    assert message["Date"] == "Sat, 21 Nov 2026 21:04:16 +0000"
    assert message["Subject"] == "Undelivered mail returned to sender"


def check_actions():
    subjects = {"failed": "Undelivered", "delayed": "Delayed", "delivered": "Your mail was passed on",
                "relayed": "Your mail was passed on", "expanded": "Your mail was passed on"}
    for action, subject in subjects.items():
        message, _, flags = sample(action)
        assert flags == []
        assert message["Subject"].startswith(subject)
        text, status, original = parts_of(message)
        assert status.get_content_type() == "message/delivery-status"
        about, rcpt = groups_of(status)
        assert about == {"Original-Envelope-Id": "env=1", "Reporting-MTA": "dns; out.test",
                         "Arrival-Date": "Sat, 21 Nov 2026 19:40:00 +0000", "X-Turnpike-Queue-ID": "000000000002D"}
        assert rcpt["Action"] == action
        assert rcpt["Original-Recipient"] == "rfc822; orig+x@b.test"
        assert rcpt["Final-Recipient"] == "rfc822; a@b.test"
        assert rcpt["Remote-MTA"] == "dns; mx.b.test"
        assert rcpt["Last-Attempt-Date"] == "Sat, 21 Nov 2026 21:04:15 +0000"
        assert rcpt["Status"] == {"failed": "5.1.1", "delayed": "4.1.1"}.get(action, "2.0.0")
        assert ("Will-Retry-Until" in rcpt) == (action == "delayed")
        if action == "failed":
            assert rcpt["Diagnostic-Code"].endswith("virtual mailbox table of this server")
            assert rcpt["Diagnostic-Code"].startswith("smtp; 550 5.1.1 <a@b.test>: ")
            assert "There is no such mailbox" in text.get_content()
        assert "<a@b.test>: " in text.get_content()
        assert original.get_content_type() == "text/rfc822-headers"
        assert original.get_payload().replace("\r\n", "\n").strip() == \
            "Received: from x by y; z\nFrom: s@t.test\nSubject: original"


def check_content():
    # the whole message: only for failures, only under the cap
    body = "body line\n--=_not the boundary\nlast line"
    for words, full in ((("failed", "full"), True), (("failed", "delayed", "full"), True), (("delayed", "full"), False),
                        (("relayed", "full"), False), (("failed", "full", "cap"), False)):
        message, _, _ = sample(*words)
        original = parts_of(message)[2]
        if full:
            assert original.get_content_type() == "message/rfc822", words
            inner = original.get_payload()[0]
            assert inner["Subject"] == "original"
            assert inner.get_payload().replace("\r\n", "\n") == body
        else:
            assert original.get_content_type() == "text/rfc822-headers", words
    parts_of(sample("failed", "full", "null-reader")[0], 2)


def check_eight_bit():
    message, _, flags = sample("failed", "full", "8bit")
    assert flags == ["8bit"]
    assert message["Content-Transfer-Encoding"] == "8bit"
    parts = parts_of(message)
    assert parts[1].get_content_type() == "message/delivery-status"
    assert parts[1]["Content-Transfer-Encoding"] is None
    assert parts[2]["Content-Transfer-Encoding"] == "8bit"
    assert parts[2].get_content_type() == "message/rfc822"


def check_utf8():
    message, raw, flags = sample("failed", "utf8")
    assert flags == ["8bit", "utf8"]
    assert "To: <\u00e9@t.test>\r\n" in raw
    text, status, original = parts_of(message)
    assert text.get_content_charset() == "utf-8"
    assert status.get_content_type() == "message/global-delivery-status"
    assert status["Content-Transfer-Encoding"] == "8bit"
    assert "Final-Recipient: utf-8; j\u00fcrgen@b.test\r\n" in raw
    assert "Original-Recipient: utf-8; j\u00fcrgen@b.test\r\n" in raw
    assert original.get_content_type() == "text/rfc822-headers"
    for words, kind in ((("failed", "utf8-original"), "message/global-headers"),
                        (("failed", "full", "utf8-original"), "message/global")):
        message, _, flags = sample(*words)
        assert flags == ["8bit", "utf8"]
        parts = message.get_payload()
        assert [part.get_content_type() for part in parts][1:] == ["message/global-delivery-status", kind]


def check_local():
    message, _, _ = sample("failed", "local")
    rcpt = groups_of(parts_of(message)[1])[1]
    assert rcpt["Diagnostic-Code"] == "X-Turnpike; connection timed out"


def check_nasty():
    message, raw, flags = sample("failed", "nasty")
    assert flags == []
    assert message["Bcc"] is None
    assert raw.isascii()
    about, rcpt = groups_of(parts_of(message)[1])
    assert rcpt["Action"] == "failed"
    assert "X" not in rcpt and "X" not in about
    assert about["Original-Envelope-Id"] == "e??f"
    assert rcpt["Original-Recipient"] == "rfc822; x????y"


def check_bare():
    message, _, _ = sample("bare", "failed", "bare")
    about, rcpt = groups_of(parts_of(message)[1])
    assert sorted(about) == ["Arrival-Date", "Reporting-MTA"]
    assert rcpt == {"Final-Recipient": "rfc822; a@b.test", "Action": "failed", "Status": "5.0.0"}
    assert message["References"] is None


def check_mixed_and_many():
    message, _, _ = sample("failed", "delayed", "relayed")
    groups = groups_of(parts_of(message)[1])
    assert [group.get("Action") for group in groups] == [None, "failed", "delayed", "relayed"]
    message, _, _ = sample("many")
    groups = groups_of(parts_of(message)[1])
    assert len(groups) == 10001 and all(group["Action"] == "failed" for group in groups[1:])


for name, check in sorted(globals().copy().items()):
    if name.startswith("check_"):
        check()
        print("ok", name)
