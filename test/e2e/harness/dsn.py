"""Reads a delivery status notification as RFC 3464 and RFC 6522 describe it, and complains about what is not so."""
import email
import email.policy


class Dsn:
    def __init__(self, content):
        self.mail = email.message_from_bytes(content, policy=email.policy.default)
        assert self.mail.get_content_type() == "multipart/report", self.mail.get_content_type()
        assert self.mail["Content-Type"].params["report-type"] == "delivery-status"
        assert self.mail["Auto-Submitted"] == "auto-replied"
        assert self.mail["MIME-Version"] == "1.0"
        assert self.mail["From"] and self.mail["To"] and self.mail["Date"] and self.mail["Message-ID"]
        parts = list(self.mail.iter_parts())
        assert 2 <= len(parts) <= 3, [p.get_content_type() for p in parts]
        assert parts[0].get_content_type() == "text/plain"
        self.text = parts[0].get_content()
        status = parts[1]
        assert status.get_content_type() in ("message/delivery-status", "message/global-delivery-status")
        groups = [dict((k.lower(), v) for k, v in group.items()) for group in status.get_payload()]
        groups = [g for g in groups if g]
        self.per_message, self.recipients = groups[0], groups[1:]
        assert self.per_message["reporting-mta"].startswith("dns;")
        assert self.recipients, "no recipient is reported"
        for r in self.recipients:
            kind, _, address = r["final-recipient"].partition(";")
            assert kind.strip() in ("rfc822", "utf-8") and address.strip()
            assert r["action"] in ("failed", "delayed", "delivered", "relayed", "expanded"), r["action"]
            major = r["status"].split(".")[0]
            assert major == {"failed": "5", "delayed": "4"}.get(r["action"], "2") or r["action"] == "failed", r
            assert len(r["status"].split(".")) == 3
        self.returned = parts[2] if len(parts) == 3 else None
        if self.returned is not None:
            assert self.returned.get_content_type() in ("message/rfc822", "text/rfc822-headers", "message/global",
                                                        "message/global-headers")

    def addresses(self):
        return [r["final-recipient"].partition(";")[2].strip() for r in self.recipients]

    def returned_text(self):
        if self.returned is None:
            return ""
        payload = self.returned.get_payload()
        return payload if isinstance(payload, str) else "".join(part.as_string() for part in payload)
