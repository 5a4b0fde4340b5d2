"""Bounces: addresses that do not exist are not sent to again, on any node."""

import pytest

from harness.quota import apply_policy, await_applied
from harness.util import wait_until

NEWS = "news@shop.example"
GONE = "gone@example.net"
POLICY = "limits: []\n"


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
    # an operator lets it through, from any node
    assert "may be sent to again" in two.cli("suppression", "remove", GONE, "--tenant", "shop.example").stdout
    for node in cluster.nodes:
        wait_until("it is taken again", lambda: rcpt(node, GONE)[0] == 250)
    assert "no address is suppressed" in three.cli("suppression", "list").stderr


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
