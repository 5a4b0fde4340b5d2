"""Forwarded mail leaves with a return path of ours, and what comes back to it goes on to its sender (SRS)."""
import json

import pytest

from harness.quota import apply_policy, await_applied
from harness.util import free_port, wait_until

LIST, OTHER = "list@shop.example", "anna@shop.example"
POLICY = "limits: []\nforwarding: {accounts: [list@shop.example], domain: srs.example.org, returns: 3}\n"
REPORT = "From: mailer@example.net\r\nSubject: undelivered\r\n\r\nno such user\r\n"


@pytest.fixture
def node(make_cluster, dns):
    for domain in ("example.com", "sender.example", "shop.example", "first.example"):
        dns.add(domain, "MX", "10 mx1.example.net")
    made = make_cluster(1, form=False)
    one = made.nodes[0]
    one.ports["inbound"] = free_port()
    one.config["listeners"].append({"kind": "inbound", "address": f"127.0.0.1:{one.ports['inbound']}"})
    one.config["accounts"]["sender_check"] = "envelope_and_header"
    one.write_config()
    made.form()
    for name in (LIST, OTHER):
        one.add_account(name)
    apply_policy(one, POLICY)
    await_applied(made.nodes)
    return one


def path_of(node, sink, sender, recipient, login=LIST):
    node.send(recipient, f"From: {sender}\r\nSubject: hello\r\n\r\nhi\r\n", sender=sender, kind="submission", login=login)
    return wait_until("it arrives", lambda: next((m.sender for m in sink.messages if recipient in m.recipients), None))


def rcpt(node, path, sender=""):
    with node.smtp("inbound") as client:
        client.mail(sender)
        return client.rcpt(path)


def report(node, path):
    with node.smtp("inbound") as client:
        client.mail("")
        code, reply = client.rcpt(path)
        return client.data(REPORT) if code == 250 else (code, reply)


@pytest.mark.slow(6)
def test_what_is_forwarded_finds_back(node, sink):
    path = path_of(node, sink, "mia@sender.example", "one@example.com")
    assert path.startswith("SRS0=") and path.endswith("=sender.example=mia@srs.example.org"), path
    # the account's own mail is its own, and nobody else forwards
    assert path_of(node, sink, LIST, "two@example.com") == LIST
    with node.smtp("submission", OTHER) as client:
        assert client.mail("mia@sender.example")[0] == 553
    # forwarded before, by somebody else
    again = path_of(node, sink, "SRS0=AbCd=Ef=a.example=x@first.example", "three@example.com")
    assert again.startswith("SRS1=") and again.endswith("=first.example==AbCd=Ef=a.example=x@srs.example.org"), again

    # back: to the first sender, with the null sender, so that it ends there
    assert report(node, path.lower())[0] == 250
    back = wait_until("it is back", lambda: next((m for m in sink.messages if "mia@sender.example" in m.recipients), None))
    assert back.sender == "" and b"no such user" in back.content
    assert report(node, again)[0] == 250
    wait_until("it is with who forwarded first",
               lambda: any("SRS0=AbCd=Ef=a.example=x@first.example" in m.recipients for m in sink.messages))

    # nothing else: forged, of another domain, letters, and too many
    for wrong, code, status in ((path[:5] + ("A" if path[5] != "A" else "B") + path[6:], 550, b"5.7.1"),
                                (path.replace("mia", "eve"), 550, b"5.7.1"), ("SRS0=@srs.example.org", 550, b"5."),
                                ("x@srs.example.org", 550, b"5.1.1"), (path.replace("srs.", "other."), 550, b"5.7.1")):
        answer = rcpt(node, wrong)
        assert answer[0] == code and answer[1].startswith(status), (wrong, answer)
    answer = rcpt(node, path, "eve@sender.example")
    assert answer[0] == 550 and answer[1].startswith(b"5.7.1 Only reports"), answer
    for _ in range(2):
        assert report(node, path)[0] == 250
    assert report(node, path) == (451, b"4.7.1 Too many reports for this address, try again later")

    # another secret: what the one before made is believed until it is removed
    (old,) = [r["name"] for r in node.api("GET", "/v1/secret")["secrets"] if r["use"] == "srs"]
    json.loads(node.cli("secret", "new", "srs", "--name", "second", "--json").stdout)
    assert path_of(node, sink, "mia@sender.example", "four@example.com").split("=")[1] != path.split("=")[1]
    assert rcpt(node, again)[0] == 250
    node.cli("secret", "remove", "srs", old)
    wait_until("it is believed no more", lambda: rcpt(node, again)[0] == 550)

    # a report of ours about forwarded mail needs no way back
    sink.hooks["rcpt"] = lambda _s, argument: "550 5.1.1 No such user" if "gone@" in argument else None
    node.send("gone@example.com", "From: zoe@sender.example\r\n\r\nhi\r\n", sender="zoe@sender.example", kind="submission",
              login=LIST)
    told = wait_until("it is told", lambda: next((m for m in sink.messages if "zoe@sender.example" in m.recipients), None))
    assert told.sender == "" and b"gone@example.com" in told.content
