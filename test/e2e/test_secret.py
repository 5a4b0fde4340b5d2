"""Random secrets of the cluster: they come in, and never go out."""
import json

import pytest

from harness.quota import apply_policy, await_applied
from harness.util import free_port, wait_until

NEWS = "news@shop.example"
KEY = "a secret of all nodes"
POLICY = "limits: []\nbounces:\n  domain: bounces.example.org\n  postmaster: postmaster@example.org\n"
OLD = POLICY + f"  key: {KEY}\n"


@pytest.fixture
def node(make_cluster, dns):
    dns.add("example.com", "MX", "10 mx1.example.net")
    made = make_cluster(1, form=False)
    one = made.nodes[0]
    one.ports["inbound"] = free_port()
    one.config["listeners"].append({"kind": "inbound", "address": f"127.0.0.1:{one.ports['inbound']}"})
    one.write_config()
    made.form()
    one.add_account(NEWS, **{"class": "bulk"})
    apply_policy(one, OLD)
    await_applied(made.nodes)
    return one


def path_of(node, sink, recipient):
    node.send(recipient, sender=NEWS, kind="submission", login=NEWS)
    return wait_until("it arrives", lambda: next((m.sender for m in sink.messages if recipient in m.recipients), None))


def taken(node, path):
    with node.smtp("inbound") as client:
        client.mail("")
        return client.rcpt(path)


@pytest.mark.slow(6)
def test_the_policys_key_becomes_the_clusters(node, sink):
    old = path_of(node, sink, "one@example.com")
    assert old.startswith("b=") and taken(node, old)[0] == 250
    shown = node.cli("policy", "show").stdout
    assert KEY not in shown and "hidden" in shown, shown
    assert "leave it out" in node.fail("POST", "/v1/policy/apply", {"name": "p", "text": shown})
    made = json.loads(node.cli("secret", "import", "bounces", "--policy", "--name", "old", "--json").stdout)
    assert made == {"ok": True, "use": "bounces", "name": "old"}
    apply_policy(node, POLICY)
    assert taken(node, old)[0] == 250  # by the cluster's secret now
    node.cli("secret", "new", "bounces")
    rows = node.api("GET", "/v1/secret")["secrets"]
    assert [r["use"] for r in rows] == ["bounces"] * 2 and "old" in node.cli("secret", "list").stdout
    new = path_of(node, sink, "two@example.com")
    assert taken(node, old)[0] == taken(node, new)[0] == 250
    node.cli("secret", "remove", "bounces", "old")
    wait_until("it is believed no more", lambda: taken(node, old) == (550, b"5.1.1 No such address here"))
    assert taken(node, new)[0] == 250
    # the last one: nothing is made, and nothing believed
    (name,) = [r["name"] for r in node.api("GET", "/v1/secret")["secrets"]]
    node.cli("secret", "remove", "bounces", name)
    wait_until("it is believed no more", lambda: taken(node, new)[0] == 550)
    assert path_of(node, sink, "three@example.com") == NEWS
    # a policy that needs one makes one
    apply_policy(node, POLICY + "  life: 20d\n")
    assert path_of(node, sink, "four@example.com").startswith("b=")
    assert KEY not in node.log_text()
