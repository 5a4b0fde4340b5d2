"""Reads delivery reports with Python's email package: structure and fields of RFC 3464, 6522 and 6533.

Usage: check_dsn.py PROGRAM (mail_dsn_samples)
"""
import base64
import email
import email.policy
import re
import subprocess
import sys

PROGRAM = sys.argv[1]


def sample(*words):
    run = subprocess.run([PROGRAM, *words], capture_output=True, check=True)
    raw = run.stdout
    for line in raw.split(b"\r\n"):
        assert len(line) <= 998, f"{words}: a line of {len(line)}"
        assert b"\n" not in line and b"\r" not in line and b"\0" not in line, f"{words}: {line!r}"
    flags = run.stderr.decode().split()
    assert raw.isascii() or "8bit" in flags, f"{words}: undeclared 8-bit octets"
    assert raw.partition(b"\r\n\r\n")[0].isascii() or "utf8" in flags, f"{words}: a header in UTF-8"
    for policy in (email.policy.SMTP, email.policy.default, email.policy.SMTPUTF8):
        message = email.message_from_bytes(raw, policy=policy)
        assert not message.defects, f"{words}: {message.defects}"
        for part in message.get_payload():
            assert not part.defects, f"{words}: {part.get_content_type()}: {part.defects}"
    return message, raw.decode("utf-8", "surrogateescape"), flags


def unescaped(text):
    """A utf-8-addr-xtext of RFC 6533 section 3, checked and read."""
    assert re.fullmatch(r"(?:[!-*,-<>-\[\]-~]|\\x\{(?:[0-9A-F]{2,5}|10[0-9A-F]{4})\})+", text), text
    return re.sub(r"\\x\{([0-9A-F]+)\}", lambda match: chr(int(match[1], 16)), text)


def returned(part):
    """The octets of a returned message or header that is in base64, which RFC 6532 section 3.7 allows and Python
    does not undo by itself: it takes the text for a message, or for the rest of one."""
    assert part["Content-Transfer-Encoding"] == "base64"
    inner = part.get_payload()
    text = inner[0].get_payload() if isinstance(inner, list) else inner
    lines = text.split()
    assert all(len(line) == 76 for line in lines[:-1]) and len(lines[-1]) <= 76
    return base64.b64decode("".join(lines), validate=True)


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
        as_written = part.policy.clone(refold_source="none")
        text = "\n".join(group.as_string(policy=as_written) for group in payload)
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
    for words, kind in ((("failed", "utf8", "utf8-original"), "message/global-headers"),
                        (("failed", "full", "utf8", "utf8-original"), "message/global")):
        message, raw, flags = sample(*words)
        assert flags == ["8bit", "utf8"]
        parts = parts_of(message)
        assert [part.get_content_type() for part in parts][1:] == ["message/global-delivery-status", kind]
        assert parts[2]["Content-Transfer-Encoding"] == "8bit"
        assert "\r\nSubject: \u00fcrig!!!\r\n" in raw


HEADER = "Received: from x by y; z\r\nFrom: s@t.test\r\nSubject: \u00fcrig!!!\r\n\r\n"
BODY = "body l\u00efne\r\n--=_not the boundary\r\nlast line"


def check_utf8_recipient_of_an_ascii_sender():
    # whatever of the message is in UTF-8, the report must pass where it did not
    for words, kind, octets in ((("failed",), "message/global-headers", HEADER),
                                (("failed", "8bit"), "message/global-headers", HEADER),
                                (("failed", "full"), "message/global", HEADER + BODY),
                                (("failed", "full", "8bit"), "message/global", HEADER + BODY),
                                (("failed", "full", "cap"), "message/global-headers", HEADER)):
        message, raw, flags = sample(*words, "utf8-rcpt", "utf8-original")
        assert flags == [] and raw.isascii()
        assert message["Content-Transfer-Encoding"] is None
        text, status, original = parts_of(message)
        assert text.get_content_charset() == "utf-8"
        assert text["Content-Transfer-Encoding"] == "quoted-printable"
        assert "<j\u00fcrg+en@b.test>: NOT delivered" in text.get_content().splitlines()
        assert all(len(line) <= 76 for line in text.get_payload().splitlines())
        assert status.get_content_type() == "message/delivery-status"
        assert status["Content-Transfer-Encoding"] is None
        rcpt = groups_of(status)[1]
        assert rcpt["Final-Recipient"] == r"utf-8; j\x{FC}rg\x{2B}en@b.test"
        assert rcpt["Original-Recipient"] == "rfc822; orig+x@b.test"
        assert original.get_content_type() == kind
        assert returned(original).decode() == octets
    # our own lines stay whole
    text = parts_of(sample("failed", "delayed", "relayed", "delivered", "utf8-rcpt")[0])[0]
    assert not [line for line in text.get_payload().splitlines() if line.endswith("=")]
    # an original in ASCII is marked so too: the Received field written here may have the recipient
    message, raw, flags = sample("failed", "full", "utf8-rcpt")
    assert flags == [] and parts_of(message)[2].get_content_type() == "message/global"


def check_utf8_big():
    message, raw, flags = sample("failed", "full", "utf8-big")
    assert flags == [] and raw.isascii()
    content = returned(parts_of(message)[2])
    start = (HEADER + BODY).encode()
    assert content == start + bytes((i * 31 >> 3) & 255 for i in range(len(start), 100003))


def check_utf8_orcpt():
    for words, name in (((), r"utf-8; \x{1FF}@b.test"), (("utf8-rcpt", "full", "8bit"), r"utf-8; \x{1FF}@b.test")):
        message, raw, flags = sample("failed", *words, "utf8-typed")
        assert flags == [] and raw.isascii()
        assert groups_of(parts_of(message)[1])[1]["Original-Recipient"] == name
    message, raw, flags = sample("failed", "utf8-orcpt")
    assert flags == [] and raw.isascii()
    text, status, original = parts_of(message)
    rcpt = groups_of(status)[1]
    kind, _, address = rcpt["Original-Recipient"].partition("; ")
    assert kind == "UTF-8" and address == r'"\x{1F600}\x{20}a\x{5C}\x{3D}\x{2B}"@b.test'
    assert unescaped(address) == '"\U0001f600 a\\=+"@b.test'
    assert rcpt["Final-Recipient"] == "rfc822; a@b.test"
    assert text["Content-Transfer-Encoding"] is None and text.get_content_charset() == "us-ascii"
    assert original.get_content_type() == "text/rfc822-headers"
    _, raw, flags = sample("failed", "utf8", "utf8-orcpt")
    assert flags == ["8bit", "utf8"] and 'Original-Recipient: UTF-8; "\U0001f600 a\\=+"@b.test\r\n' in raw


def check_utf8_reply():
    message, raw, flags = sample("failed", "utf8-reply")
    assert flags == [] and raw.isascii()
    text, status, _ = parts_of(message)
    assert status.get_content_type() == "message/delivery-status"
    words = groups_of(status)[1]["Diagnostic-Code"]
    assert words == ("smtp; 550 5.1.1 Empf\\x{E4}nger unbekannt: \\x{5B9B} ? ?? A\\b=c, und noch viel mehr dazu, "
                     "damit die Zeile gebrochen wird")
    assert text["Content-Transfer-Encoding"] == "quoted-printable"
    shown = " ".join(text.get_content().split())
    assert "said: 550 5.1.1 Empf\u00e4nger unbekannt: \u5b9b ? ?? A\\b=c, und noch" in shown
    _, raw, flags = sample("failed", "utf8", "utf8-reply")
    assert flags == ["8bit", "utf8"] and "Diagnostic-Code: smtp; 550 5.1.1 Empf\u00e4nger unbekannt: \u5b9b" in raw


def check_utf8_message_id():
    message, raw, flags = sample("failed", "utf8-id", "utf8-original")
    assert flags == [] and raw.isascii()
    assert message["References"] is None
    assert "(Message-ID <\u00e9@t.test>)" in parts_of(message)[0].get_content()
    assert "\r\nReferences: <\u00e9@t.test>\r\n" in sample("failed", "utf8", "utf8-id")[1]


def check_long():
    for words in ((), ("utf8-original", "full"), ("8bit", "full"), ("utf8",)):
        message, raw, flags = sample("failed", *words, "long")
        assert ("utf8" in flags) == ("utf8" in words)
        parts_of(message)
    rcpt = groups_of(parts_of(sample("failed", "long")[0])[1])[1]
    name = unescaped(rcpt["Final-Recipient"].removeprefix("utf-8; "))
    assert name.startswith("utf-8;") and set(name[7:]) == set("+\u00fc") and len(rcpt["Final-Recipient"]) > 890
    code = "".join(rcpt["Diagnostic-Code"].split())
    assert code.count(r"\x{FC}") == 998


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
