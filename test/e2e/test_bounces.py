"""Bounces: addresses that do not exist are not sent to again, on any node, whether that is said at once or later."""
import json
import pathlib

import pytest

from harness.quota import apply_policy, await_applied
from harness.util import free_port, wait_until

NEWS = "news@shop.example"
GONE = "gone@example.net"
POLICY = "limits: []\n"
SAMPLES = pathlib.Path(__file__).parent.parent / "unit/bounce/samples"


def refuse(sink, address, reply):
    """The sink answers so to RCPT of the address, and takes all others."""
    def on_rcpt(_session, argument):
        return reply if address in argument.lower() else None
    sink.hooks["rcpt"] = on_rcpt


def rcpt(node, recipient, login=NEWS):
    with node.smtp("submission", login) as client:
        client.mail(login)
        return client.rcpt(recipient)


def suppressed(node):
    return node.api("GET", "/v1/suppression")["suppressed"]


def record(node, window="1h", login=NEWS):
    """What became of the account's mail, as this node knows it."""
    rows = node.api("GET", f"/v1/senders/bounces?account={login}")["windows"]
    return next(row for row in rows if row["window"] == window)


def judged(node, login=NEWS):
    return node.api("GET", f"/v1/senders/bounces?account={login}")


def started(made):
    apply_policy(made.nodes[0], POLICY)
    for name, kind in ((NEWS, "bulk"), ("anna@shop.example", "person"), ("other@mall.example", "bulk")):
        made.nodes[0].add_account(name, **{"class": kind})
    await_applied(made.living())
    return made


@pytest.fixture
def cluster(make_cluster):
    return started(make_cluster(3))


@pytest.fixture
def single(make_cluster):
    return started(make_cluster(1)).nodes[0]


@pytest.mark.slow(8)
def test_what_does_not_exist_is_not_sent_to_again(cluster, sink):
    one, two, three = cluster.nodes
    refuse(sink, GONE, "550 5.1.1 No such user here")
    one.send(["Gone@example.net", "here@example.net"], sender=NEWS, kind="submission", login=NEWS)
    for node in cluster.nodes:
        wait_until(f"{node.name} knows", lambda: [r["address"] for r in suppressed(node)] == [GONE])
    row = suppressed(two)[0]
    assert (row["tenant"], row["class"], row["by"]) == ("shop.example", "unknown_user", "bounce"), row
    assert "No such user here" in row["reason"] and 179 * 86400000 < row["left_ms"] <= 180 * 86400000
    for node in cluster.nodes:
        wait_until("it is refused", lambda: rcpt(node, "GONE@example.net")[0] == 550)
        code, text = rcpt(node, "GONE@example.net")
        assert code == 550 and text.startswith(b"5.1.1 <gone@example.net> is on shop.example's suppression list"), text
        assert b"(unknown user)" in text
        # others may: another address, another stream of this tenant, another tenant
        assert rcpt(node, "here@example.net")[0] == 250
        assert rcpt(node, GONE, "anna@shop.example")[0] == 250
        assert rcpt(node, GONE, "other@mall.example")[0] == 250
    # what is kept about it is on the list, and in the history of the node that was told
    done = wait_until("all answer", lambda: (d := two.cli("privacy", "export", GONE.upper(), "--json", check=False)) and
                      d.returncode == 0 and d)
    kept = json.loads(done.stdout)
    assert [r["tenant"] for r in kept["suppressed"]] == ["shop.example"] and kept["sent"] == []
    assert {(r["recipient"].lower(), r["state"]) for r in kept["received"]} == {(GONE, "bounced")}, kept
    # an operator lets it through, from any node
    assert "may be sent to again" in two.cli("suppression", "remove", GONE, "--tenant", "shop.example").stdout
    for node in cluster.nodes:
        wait_until("it is taken again", lambda: rcpt(node, GONE)[0] == 250)
    assert "no address is suppressed" in three.cli("suppression", "list").stderr
    # what one node saw is counted for the account, and any node tells
    two.send("two@example.net", sender=NEWS, kind="submission", login=NEWS)
    wait_until("the record is whole", lambda: record(three)["delivered"] == 2 and record(three)["bounced"] == 1)
    for window in ("1h", "24h", "7d"):
        assert record(three, window)["classes"] == {"unknown_user": 1}
        assert record(three, window)["complaints"] == record(three, window)["deferred"] == 0
    bounced = wait_until("it is told", lambda: [e for e in one.events("bounced") if e.get("account") == NEWS])
    assert [e["bounce_class"] for e in bounced] == ["unknown_user"]
    assert 'turnpike_bounces_total{class="unknown_user"} 1' in one.metrics()
    shown = three.cli("sender", "bounces", NEWS).stdout
    assert "unknown_user" in shown and "33.3%" in shown, shown
    top = one.cli("sender", "top").stdout
    assert NEWS in top and "anna@shop.example" not in top, top
    # the policy judges by it, and the sender's mail leaves from another pool
    two.cli("pool", "add", "doubtful")
    apply_policy(one, POLICY + "reputation: {enabled: true, minimum: 3, hold: 1s, poor_pool: doubtful}\n")
    for node in cluster.nodes:
        wait_until("he is judged", lambda: judged(node)["tier"] == "poor")
    audit = [line["what"] for line in two.api("GET", "/v1/audit")["audit"]]
    assert any(line.startswith(f"sender {NEWS}: neutral -> poor: 33.3% of 3 bounced") for line in audit), audit
    two.send("three@example.net", sender=NEWS, kind="submission", login=NEWS)
    wait_until("it waits for that pool", lambda: any("doubtful" in row["site"] for row in two.queue()))
    three.cli("sender", "pin", NEWS, "neutral", "--reason", "his list is new")
    wait_until("it left", lambda: two.queue_length() == 0)
    assert judged(one)["pinned"] and "pinned" in one.cli("sender", "bounces", NEWS).stdout


def test_what_is_no_word_on_the_address_adds_nothing(single, sink):
    node = single
    replies = {"full@": "552 5.2.2 Mailbox full", "policy@": "550 5.7.1 Rejected by policy",
               "spam@": "554 5.7.1 Looks like spam", "dead@": "550 5.1.1 User unknown"}
    sink.hooks["rcpt"] = lambda _s, argument: next((r for a, r in replies.items() if a in argument), None)
    node.send([f"{a}example.net" for a in replies], sender="anna@shop.example", kind="submission",
              login="anna@shop.example")
    node.send([f"{a}example.net" for a in replies], sender=NEWS, kind="submission", login=NEWS)
    def answered():
        return {e["recipient"] for kind in ("bounced", "deferred") for e in node.events(kind) if e["sender"] == NEWS}
    wait_until("each was answered", lambda: len(answered()) == len(replies))
    wait_until("the dead one is there", lambda: suppressed(node))
    rows = suppressed(node)
    assert [(r["tenant"], r["address"]) for r in rows] == [("shop.example", "dead@example.net")], rows


def test_an_operator_adds(single):
    node = single
    node.cli("suppression", "add", "Boss@example.net", "--tenant", "shop.example", "--for", "1h", "--reason", "asked us")
    row = suppressed(node)[0]
    assert row["address"] == "boss@example.net" and row["reason"] == "asked us" and row["left_ms"] <= 3600000
    assert rcpt(node, "boss@example.net")[0] == 550
    listed = node.cli("suppression", "list", "--tenant", "shop.example").stdout
    assert "boss@example.net" in listed and "asked us" in listed
    assert "boss" not in node.cli("suppression", "list", "--tenant", "shop").stdout
    assert node.cli("suppression", "remove", "boss@example.net", check=False).returncode != 0  # of no tenant
    # off: nobody is refused, the list stays
    apply_policy(node, POLICY + "suppression: {enabled: false}\n")
    wait_until("it is taken", lambda: rcpt(node, "boss@example.net")[0] == 250)
    assert suppressed(node)


# ---- what comes back later

BOUNCES = POLICY + """
bounces:
  domain: bounces.example.org
  postmaster: postmaster@example.org
  complaints: fbl
"""


@pytest.fixture
def inbound(make_cluster, dns):
    for domain in ("example.com", "example.org", "shop.example"):
        dns.add(domain, "MX", "10 mx1.example.net")
    made = make_cluster(3, form=False)
    for node in made.nodes:
        node.ports["inbound"] = free_port()
        node.config["listeners"].append({"kind": "inbound", "address": f"127.0.0.1:{node.ports['inbound']}"})
        node.write_config()
    started(made.form())
    apply_policy(made.nodes[0], BOUNCES)
    await_applied(made.living())
    return made


def sample(name, **replaced):
    text = (SAMPLES / name).read_text()
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text.replace("\n", "\r\n")


def give(node, recipient, text, sender=""):
    """To the inbound listener; the reply to the dot."""
    with node.smtp("inbound") as client:
        assert client.mail(sender)[0] == 250
        code, reply = client.rcpt(recipient)
        assert code == 250, reply
        return client.data(text)


def sent(sink, recipient):
    return wait_until("it arrives", lambda: next((m for m in sink.messages if recipient in m.recipients), None))


@pytest.mark.sanitizer
@pytest.mark.slow(9)
def test_what_bounces_later_is_counted_and_suppressed(inbound, sink):
    one, two, three = inbound.nodes
    one.send("bob@example.com", sender=NEWS, kind="submission", login=NEWS)
    one.send("anna2@example.com", sender="anna@shop.example", kind="submission", login="anna@shop.example")
    message = sent(sink, "bob@example.com")
    path = message.sender
    assert path.startswith("b=") and path.endswith("@bounces.example.org") and "shop" not in path, path
    assert len(path.split("@")[0]) <= 64
    assert sent(sink, "anna2@example.com").sender == "anna@shop.example"  # a person's stays as it is
    # the bounce comes to another node; of what it says only the recipient of this message is believed
    code, reply = give(two, path, sample("postfix.eml"))
    assert code == 250, reply
    for node in inbound.nodes:
        wait_until(f"{node.name} knows", lambda: [r["address"] for r in suppressed(node)] == ["bob@example.com"])
        assert suppressed(node)[0]["tenant"] == "shop.example"
        wait_until("it is refused", lambda: rcpt(node, "bob@example.com")[0] == 550)
    wait_until("both are told", lambda: len(two.events("returned")) >= 2)
    events = two.events("returned")
    assert [(e["account"], e["recipient"], e["rule"]) for e in events] == [
        (NEWS, "bob@example.com", "unknown_user"), (NEWS, "carol@example.com", "mailbox_full")], events
    # and it goes on to the sender, as it came
    passed = sent(sink, NEWS)
    assert passed.sender == "" and b"unknown user" in passed.content
    three.cli("suppression", "remove", "bob@example.com", "--tenant", "shop.example")
    for node in inbound.nodes:
        wait_until("it is taken again", lambda: rcpt(node, "bob@example.com")[0] == 250)
    # a complaint that lost the return path: by the field in the message that it quotes
    mark = next(line.split(b":")[1].strip() for line in message.content.split(b"\r\n")
                if line.lower().startswith(b"x-turnpike-ref:")).decode()
    # It counts for the address that it names, which warms up.
    one.api("POST", "/v1/pools/add", {"name": "new"})
    one.api("POST", "/v1/ips/add", {"address": "192.0.2.2", "pool": "new", "node": one.name})
    one.api("POST", "/v1/ips/warm/start", {"address": "192.0.2.2"})
    one.api("POST", "/v1/ips/warm/step", {"address": "192.0.2.2", "site": "*", "step": 0})
    await_applied(inbound.nodes)
    text = sample("complaint.eml", abcdef234567=mark, **{"b=token@bounces.example.net": "bounce@example.net",
                                                         "lena@example.com": "bob@example.com"})
    assert give(three, "fbl@bounces.example.org", text, "abusedesk@example.com")[0] == 250
    events = wait_until("it is told", lambda: three.events("complaint"))
    assert (events[0]["account"], events[0]["rule"], events[0]["recipient"]) == (NEWS, "abuse", "bob@example.com")
    wait_until("all know", lambda: record(one)["complaints"] == 1 and record(one)["bounced"] == 2)
    assert record(one)["classes"] == {"unknown_user": 1, "mailbox_full": 1}
    # once more, where it is known by now whose it is
    assert give(two, path, sample("postfix.eml"))[0] == 250
    wait_until("it counts again", lambda: record(one)["bounced"] == 4)
    most = two.api("GET", "/v1/senders/top?by=complaints&window=7d")["senders"]
    assert [(s["account"], s["complaints"]) for s in most] == [(NEWS, 1)], most
    wait_until("the plan knows", lambda: two.api("GET", "/v1/ips/warm?address=192.0.2.2")["sites"][0]["today"]
               ["complaints"] == 1)
    wait_until("it is counted", lambda: 'turnpike_returned_total{kind="complaint"} 1' in three.metrics())


@pytest.mark.slow(9)
def test_an_inbound_listener_takes_nothing_else(inbound, sink):
    node = inbound.nodes[0]
    node.send("bob@example.com", sender=NEWS, kind="submission", login=NEWS)
    path = sent(sink, "bob@example.com").sender
    forged = path[:5] + ("a" if path[5] != "a" else "c") + path[6:]
    with node.smtp("inbound") as client:
        assert "auth" not in client.esmtp_features
        assert client.docmd("AUTH PLAIN", "AHgAeQ==")[0] in (502, 503, 500)
        client.mail("")
        for address, want in (("bob@example.com", b"5.7.1"), ("x@shop.example", b"5.7.1"), (forged, b"5.1.1"),
                              ("b=@bounces.example.org", b"5.1.1"), ("anybody@bounces.example.org", b"5.1.1")):
            code, reply = client.rcpt(address)
            assert code == 550 and reply.startswith(want), (address, code, reply)
        assert client.rcpt(path.upper())[0] == 250  # some servers change the case
        assert client.rcpt(path)[0] == 452
    # a letter to a return path is no bounce, and not lost: its sender gets it
    assert give(node, path, sample("letter.eml"), "mia@example.com")[0] == 250
    assert b"to my sister" in sent(sink, NEWS).content
    assert not suppressed(node)
    assert give(node, "Postmaster@bounces.example.org", "Subject: help\r\n\r\nwho are you?\r\n", "mia@example.com")[0] == 250
    passed = sent(sink, "postmaster@example.org")
    assert passed.sender == "mia@example.com" and b"who are you?" in passed.content
