"""Mail beyond a limit: what its client is told, by class of mail and by what the policy says; senders whom a rule slows."""
import smtplib
import ssl

import pytest

from harness.node import PASSWORD
from harness.quota import apply_policy, await_applied
from harness.util import wait_until

ANNA = "anna@shop.example"


def started(made, policy, **classes):
    apply_policy(made.nodes[0], policy)
    for name, of in classes.items():
        made.nodes[0].add_account(f"{name}@shop.example", **{"class": of})
    await_applied(made.living())
    return made


def session(node, login, place="127.0.0.1"):
    """A client at that address."""
    client = smtplib.SMTP("127.0.0.1", node.ports["submission"], timeout=60, source_address=(place, 0))
    client._host = "localhost"
    client.starttls(context=ssl.create_default_context(cafile=str(node.certificate[0])))
    client.ehlo("client.example.com")
    client.login(login, PASSWORD)
    return client


def take(client, login, most=50):
    """Single messages until one is refused: how many went, and the words of the refusal."""
    for number in range(most):
        client.mail(login)
        code, reply = client.rcpt(f"r{number}@example.net")
        if code != 250:
            client.rset()
            return number, f"{code} {reply.decode()}"
        assert client.data("Subject: x\r\n\r\nx\r\n")[0] == 250
    return most, ""


STREAMS = """
limits:
  - {name: person-hour, for: account, classes: person, count: 3, window: 1h, over_limit: reject}
  - {name: device-hour, for: account, classes: device, count: 5, window: 1h}
streams:
  - {name: scanners, class: device, networks: 127.0.7.0/24}
"""


@pytest.mark.slow(4)
def test_each_stream_has_its_limits(make_cluster, sink):
    node = started(make_cluster(1), STREAMS, anna="person").nodes[0]
    with session(node, ANNA) as client:
        went, words = take(client, ANNA)
        assert went == 3 and words.startswith(
            "550 5.7.1 Limit person-hour of this account reached (3 recipients per 1h), not accepted: send it again in "), words
    with session(node, ANNA, "127.0.7.1") as client:
        went, words = take(client, ANNA)
        assert went == 5 and words.startswith(
            "450 4.7.1 Limit device-hour of this account reached (5 recipients per 1h), try again in "), words
    with session(node, ANNA) as client: # nothing of it is to be had by way of the other
        assert take(client, ANNA)[0] == 0
    wait_until("all is told", lambda: sorted(e["class"] for e in node.events("received")) == 5 * ["device"] + 3 * ["person"])
    assert {(e["code"], e["class"]) for e in node.events("rejected")} == {(550, "person"), (450, "device")}


SLOW = """
limits: []
sender_credit: 1
sender_rules:
  - {name: busy, when: recipients > 6 in 1h, then: slow 4 in 10m for 1h}
"""


@pytest.mark.slow(4)
def test_a_rule_slows_and_an_operator_lifts_it(make_cluster, sink):
    node = started(make_cluster(1), SLOW, anna="person").nodes[0]
    with session(node, ANNA) as client:
        went, words = take(client, ANNA)
        # the seventh, or one more on credit, makes the rule act; beside the four that are left, what was in hand may go
        assert 7 + 4 <= went <= 7 + 4 + 10, (went, words)
        assert words.startswith("450 4.7.1 Limit slow.busy of this account reached (4 recipients per 10m), try again in"), words
        shown, row = node.cli("sender", "show", ANNA).stdout, node.api("GET", f"/v1/senders/show?account={ANNA}")["measures"][0]
        assert "slowed by rule busy: since" in shown and row["evidence"] in ("recipients 7 > 6 in 1h", "recipients 8 > 6 in 1h"), shown
        assert row["in_force"] and row["action"] == "slow" and 3500000 < row["left_ms"] <= 3600000, row
        node.cli("sender", "lift", ANNA)
        await_applied([node])
        wait_until("it may go on", lambda: take(client, ANNA, 20)[0] == 20)
    lines = [line["what"] for line in node.api("GET", "/v1/audit")["audit"]]
    assert f"slow account {ANNA} to 4 in 10m for 3600s: {row['evidence']}" in lines, lines
    assert f"lift slow of account {ANNA} by rule busy" in lines, lines
    assert "it has ended" in node.cli("sender", "show", ANNA).stdout
