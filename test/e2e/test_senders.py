"""Rules about senders: a stolen account is stopped by what it does, on all nodes together, before much has left. At
full size (TURNPIKE_REPLAY=20000) as at the size that CI has time for: docs/senders.md."""
import os
import random

import pytest

from harness.quota import apply_policy, await_applied
from harness.receiver import SECRET
from harness.submit import session, submit_all
from harness.util import wait_until

ANNA, BOB = "anna@shop.example", "bob@shop.example"
MESSAGES = int(os.environ.get("TURNPIKE_REPLAY", "600"))
PLACES = 50 if MESSAGES > 3000 else 15
CREDIT, MOST = 10, 100
POSTMASTER = "postmaster@example.net"
POLICY = f"""
limits:
  - {{name: account-hour, for: account, count: {MESSAGES // 2}, window: 1h}}
sender_credit: {CREDIT}
sender_rules:
  - {{name: tried, when: messages > 5 in 1h, then: hold 1h, dry_run: true}}
  - name: many-places
    when: distinct_recipients > 60 in 1h and networks > 3 in 1h and recipients > {MOST} in 1h
    classes: [person]
    then: hold 4h, notify
    repeat: 3 in 7d
notifications:
  targets:
    - {{name: desk, webhook: 'https://localhost:{{port}}/', secret: desk}}
    - {{name: postmaster, mail: {POSTMASTER}}}
  routes:
    - {{to: [desk, postmaster]}}
"""


def started(made, policy):
    apply_policy(made.nodes[0], policy)
    for name in (ANNA, BOB):
        made.nodes[0].add_account(name, **{"class": "person"})
    await_applied(made.living())
    return made


@pytest.fixture
def cluster(receiver, make_cluster):
    made = make_cluster(3)
    made.nodes[0].api("POST", "/v1/secret/add", {"use": "webhooks", "name": "desk", "secret": SECRET})
    return started(made, POLICY.replace("{port}", str(receiver.open().port)))


def text(number):
    """A message that says the same in words of its own."""
    chance = random.Random(number)
    words = chance.sample("offer prize winner bank money today claim account lottery urgent verify".split(), 6)
    return f"Subject: {words[0]} {number}\r\n\r\n{' '.join(words)} http://x{number}.example/{chance.random()}\r\n"


def blast(cluster, count, login=ANNA):
    """From many places through all nodes at once. How many were accepted."""
    sessions = [lambda node=cluster.nodes[(1 + i) % 3], place=1 + i: session(node, login, f"127.0.{place}.1")
                for i in range(PLACES)]
    return submit_all(sessions, range(count), login, lambda number: (f"v{number}@example.net", text(number)))


def rule(node, name, login=ANNA):
    return next(r for r in node.api("GET", f"/v1/senders/show?account={login}")["rules"] if r["name"] == name)


def told(sink):
    return [m for m in sink.messages if m.recipients == [POSTMASTER]]


@pytest.mark.slow(14)
def test_a_stolen_account_is_stopped(cluster, sink, receiver):
    one, two, three = cluster.nodes
    accepted, failures = blast(cluster, MESSAGES)
    assert not failures, failures[:3]
    assert len(accepted) == MESSAGES
    wait_until("it is frozen", lambda: one.api("GET", "/v1/frozen")["frozen"])
    frozen = one.api("GET", "/v1/frozen")["frozen"][0]
    assert (frozen["name"], frozen["mode"], frozen["who"]) == (ANNA, "hold", "rule many-places"), frozen
    assert f"> {MOST} in 1h" in frozen["reason"], frozen
    # what left: what the rule allows, and at each node what it had on credit
    wait_until("nothing is on its way", lambda: sum(n.queue_length() for n in cluster.nodes) + len(sink.messages) == MESSAGES + 1 and told(sink))
    left = len(sink.messages) - 1
    assert left <= MOST + 3 * CREDIT
    # another sender is not disturbed, and the same one's honest mail waits for the postmaster
    two.send("friend@example.net", "Subject: hello\r\n\r\nfrom Bob\r\n", sender=BOB, kind="submission", login=BOB)
    wait_until("it arrives", lambda: sink.find("from Bob"))
    mine = three.send("friend@example.net", "Subject: hello\r\n\r\nfrom Anna\r\n", sender=ANNA, kind="submission",
                      login=ANNA)
    wait_until("it is held", lambda: [(r["id"], r["state"]) for r in three.api(
        "GET", "/v1/queue?recipient=friend@example.net")["recipients"]] == [(mine, "held")])
    assert not sink.find("from Anna")
    row = one.api("GET", f"/v1/held?ids={mine}")["messages"][0]
    assert (row["node"], row["reason"], row["detail"]) == (three.name, "rule", "many-places"), row
    # every node says the same of it, and why
    for node in cluster.nodes:
        wait_until("it knows", lambda: node.api("GET", f"/v1/senders/show?account={ANNA}")["blocks"] == 1)
        shown = node.cli("sender", "show", ANNA).stdout
        assert "rule many-places: hold" in shown and "networks in 1h:" in shown, shown
        assert not rule(node, "many-places")["met"], "what it was stopped for is dealt with"
    lines = [line["what"] for line in one.api("GET", "/v1/audit")["audit"]]
    assert len([line for line in lines if f"would hold account {ANNA}" in line]) == 1, lines
    assert len([line for line in lines if line.startswith(f"freeze account {ANNA} hold")]) == 1, lines
    # let go, it may send again, and is not caught for what it was caught for
    one.api("POST", "/v1/thaw", {"account": ANNA})
    await_applied(cluster.living())
    done = two.api("POST", "/v1/held/release", {"ids": [mine]})
    assert (done["done"], done["missing"]) == (1, []), done
    wait_until("it arrives", lambda: sink.find("from Anna"))
    two.send("friend@example.net", "Subject: again\r\n\r\nonce more\r\n", sender=ANNA, kind="submission", login=ANNA)
    wait_until("it arrives", lambda: sink.find("once more"))
    for node in cluster.nodes:
        node.api("POST", "/v1/queue/delete", {"account": ANNA, "state": "held"})
    wait_until("the rest is gone", lambda: not any(n.queue_length() for n in cluster.nodes))
    # with what was on its way when it was frozen, and went when it was thawed
    assert 3 < len(sink.messages) <= MOST + 3 * CREDIT + 3 + 1
    # people were told of all that once
    alert, = receiver.taken
    assert (alert["severity"], alert["event"]["event"], alert["event"]["account"]) == ("critical", "frozen", ANNA), alert
    assert alert["event"]["rule"] == "many-places" and f"> {MOST} in 1h" in alert["event"]["text"] and not receiver.faults, alert
    mail, = told(sink)
    assert ANNA in mail.content.decode() and "many-places" in mail.content.decode(), mail.content
    print(f"{MESSAGES} messages from {PLACES} places, {left} left, {len(receiver.taken)} webhook, {len(told(sink))} mail")


@pytest.mark.slow(5)
def test_one_message_to_many_is_told_before_it_leaves(make_cluster, sink):
    node = started(make_cluster(1), f"sender_credit: {CREDIT}\nlimits: []\nclasses: {{person: {{max_recipients: 1000}}}}\n"
                   "sender_rules:\n  - {name: many, when: recipients > 100 in 1h, then: freeze 1h}\n").nodes[0]
    node.send(["a@example.net"], sender=ANNA, kind="submission", login=ANNA)
    wait_until("it arrives", lambda: len(sink.messages) == 1)
    with node.smtp("submission", ANNA) as client:
        client.mail(ANNA)
        for number in range(150):
            assert client.rcpt(f"r{number}@example.net")[0] == 250
        code, reply = client.data("Subject: all\r\n\r\nhello all\r\n")
    assert code == 550 and b"disabled for sending" in reply, reply
    assert node.queue_length() == 0
    assert len(sink.messages) == 1


POOLS = """
limits: []
sender_credit: 1
sender_rules:
  - {name: risk, when: recipients > 6 in 1h, classes: [person], then: pool risky for 1h}
"""


@pytest.mark.slow(8)
def test_a_rule_sends_from_another_pool(make_cluster, sink):
    """On both nodes, also what waits in a queue; another sender of the same pool stays where he was."""
    made = started(make_cluster(2), POOLS)
    one, two = made.nodes
    good, risky = ["127.0.0.2", "127.0.0.3"], ["127.0.0.4", "127.0.0.5"]
    for pool, addresses in (("good", good), ("risky", risky)):
        one.api("POST", "/v1/pools/add", {"name": pool})
        for node, address in zip(made.nodes, addresses):
            one.api("POST", "/v1/ips/add", {"address": address, "pool": pool, "node": node.name})
    for name in (ANNA, BOB):
        one.api("POST", "/v1/pools/assign", {"pool": "good", "account": name})
    for node in made.nodes:
        wait_until("the addresses have their owners", lambda: {r["address"] for r in node.api("GET", "/v1/ips")["addresses"]
                                                               if r.get("node")} == {*good, *risky})

    def send(node, recipient, login=ANNA):
        return node.send(recipient, sender=login, kind="submission", login=login)

    def arrives_from(recipient, address):
        wait_until(f"{recipient} arrives", lambda: recipient in sink.recipients())
        assert next(m.session.peer[0] for m in sink.messages if recipient in m.recipients) == address, recipient

    def measures(node):
        return [(m["rule"], m["action"], m["in_force"]) for m in
                node.api("GET", f"/v1/senders/show?account={ANNA}")["measures"]]
    for i, node in enumerate(made.nodes):
        send(node, f"before{i}@example.net")
        arrives_from(f"before{i}@example.net", good[i])
    # one waits at the second node, to go out again from where it was tried
    sink.hooks["rcpt"] = lambda session, argument: "450 4.2.0 not now" if "waits@" in argument else None
    waiting = send(two, "waits@example.net")
    wait_until("it was tried", lambda: any(r["id"] == waiting and r["attempts"] == 1 for r in two.queue()))
    # both nodes see some of it, neither sees enough by itself
    for number in range(4):
        send(made.nodes[number % 2], f"more{number}@example.net")
    for node in made.nodes:
        wait_until("it knows", lambda: measures(node) == [("risk", "pool", True)])
    await_applied(made.nodes)
    for i, node in enumerate(made.nodes):
        send(node, f"after{i}@example.net")
        arrives_from(f"after{i}@example.net", risky[i])
        send(node, f"bob{i}@example.net", BOB)
        arrives_from(f"bob{i}@example.net", good[i])
    del sink.hooks["rcpt"]
    two.api("POST", "/v1/queue/retry", {"ids": [waiting]})
    arrives_from("waits@example.net", risky[1])
    one.cli("sender", "lift", ANNA)
    for i, node in enumerate(made.nodes):
        wait_until("it knows", lambda: measures(node) == [("risk", "pool", False)])
        await_applied(made.nodes)
        send(node, f"lifted{i}@example.net")
        arrives_from(f"lifted{i}@example.net", good[i])
