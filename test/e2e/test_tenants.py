"""Tenants: what one sees of itself with its own token, on any node; and what its contact is sent."""
import http.client
import json
import os
import re

import pytest

from harness.quota import apply_policy, await_applied
from harness.util import free_port, wait_until

POLICY = "limits: []\ntenant_reports: {}\n"


@pytest.fixture
def open_cluster(make_cluster):
    """Three nodes with the API on TCP too."""
    cluster = make_cluster(form=False)
    for node in cluster.nodes:
        token = node.folder / "admin.token"
        token.write_text("0123456789abcdef0123456789abcdef\n")
        os.chmod(token, 0o600)
        node.port = free_port()
        node.config["admin"] |= {"listen": f"127.0.0.1:{node.port}", "token_file": str(token)}
        node.write_config()
    return cluster.form()


def ask(node, token, path):
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=30)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def reports(sink):
    return [m for m in sink.messages if "it@example.net" in m.recipients]


def header(mail, name):
    return next(line for line in mail.header.splitlines() if line.startswith(f"{name}: "))


@pytest.mark.slow(8)
def test_what_a_tenant_sees_and_is_sent(open_cluster, sink):
    cluster, (a, b, c) = open_cluster, open_cluster.nodes
    for name in ("own.example", "other.example"):
        a.cli("tenant", "set", name)
    a.add_account("anna@own.example")
    a.add_account("carol@other.example")
    for who, to in (("anna@own.example", "r1@example.net"), ("carol@other.example", "r2@example.net")):
        for node in cluster.nodes:
            node.send(to, sender=who, kind="submission", login=who)
    token = a.cli("tenant", "token", "own.example", "--note", "billing").stdout.strip()
    await_applied(cluster.nodes)
    # The tenant's own, of all nodes, on any node; and nothing of others.
    for node in cluster.nodes:
        def rows(path="/v1/track?since=1h"):
            status, answer = ask(node, token, path)
            assert status == 200 and answer["missing"] == [], answer
            return answer["recipients"]
        wait_until("its history is there", lambda: sum(r["state"] == "delivered" for r in rows()) == 3)
        assert {r["account"] for r in rows()} == {"anna@own.example"}
        other = a.api("GET", "/v1/track?account=carol@other.example")["recipients"][0]
        assert rows(f"/v1/track?id={other['id']}") == []
        assert [t["name"] for t in ask(node, token, "/v1/tenants")[1]["tenants"]] == ["own.example"]
        assert ask(node, token, "/v1/accounts/show?name=carol@other.example")[0] == 404
        assert ask(node, token, "/v1/audit")[0] == ask(node, token, "/v1/status")[0] == 403
        status, answer = ask(node, token, "/v1/events?kinds=delivered")
        assert status == 200 and {e["tenant"] for e in answer["events"]} == {"own.example"}
    # One report in a week, whichever node leads.
    b.cli("tenant", "contact", "own.example", "it@example.net")
    wait_until("the nodes have told what was delivered", lambda: "delivered 3" in a.cli("tenant", "report", "own.example").stdout)
    apply_policy(a, POLICY.format("weekly"))
    wait_until("the report arrives", lambda: reports(sink))
    mail = reports(sink)[0]
    text = mail.content.decode()
    assert mail.sender == "" and header(mail, "Auto-Submitted") == "Auto-Submitted: auto-generated"
    assert header(mail, "Subject") == "Subject: Mail of own.example in the last week"
    assert "anna@own.example" in text and "carol" not in text
    wait_until("it is marked as sent", lambda: [e for n in cluster.nodes for e in n.events("notice")])
    leader = cluster.leader()
    leader.stop()
    rest = [n for n in cluster.nodes if n is not leader]
    cluster.leader(among=rest)
    apply_policy(rest[0], POLICY.format("daily"))
    wait_until("the day's report arrives, from another leader", lambda: len(reports(sink)) == 2)
    apply_policy(rest[0], POLICY.format("weekly"))
    rest[0].cli("tenant", "set", "zz.example")
    rest[0].cli("tenant", "contact", "zz.example", "it@example.net")
    wait_until("the leader has gone through all tenants", lambda: len(reports(sink)) >= 3)
    assert [header(m, "Subject") for m in reports(sink)] == ["Subject: Mail of own.example in the last week",
                                                            "Subject: Mail of own.example in the last day",
                                                            "Subject: Mail of zz.example in the last week"]
    # A token that is taken back opens nothing, on no node.
    token_id = json.loads(rest[0].cli("tenant", "tokens", "--json").stdout)["tokens"][0]["id"]
    rest[0].cli("tenant", "revoke", token_id)
    await_applied(rest)
    assert [ask(node, token, "/v1/tenants")[0] for node in rest] == [401, 401]
    erased(rest, leader)


HOSTS = """
limits:
  - {name: script-hour, for: account, classes: bulk, count: 2, window: 1h, over_limit: hold}
web_senders:
  hosts:
    - {name: hosting, accounts: ['*@own.example', '*@other.example'], headers: X-AuthUser, class: bulk}
"""
HOST_OF = {"own.example": "anna@own.example", "other.example": "carol@other.example"}


@pytest.mark.slow(6)
def test_whose_web_senders_are(open_cluster, sink):
    """Its host's tenant's: a script may call itself by anybody's address."""
    cluster, (a, b, c) = open_cluster, open_cluster.nodes
    tokens = {}
    for tenant, host in HOST_OF.items():
        a.cli("tenant", "set", tenant)
        a.add_account(host)
        tokens[tenant] = a.cli("tenant", "token", tenant, "--note", "x").stdout.strip()
    apply_policy(a, HOSTS)
    await_applied(cluster.nodes)
    scripts = {"own.example": "info@other.example", "other.example": "anna@own.example"}
    names = {tenant: f"web:{host}/{scripts[tenant]}" for tenant, host in HOST_OF.items()}
    for tenant, host in HOST_OF.items():
        for number in range(3): # two leave, one is held
            cluster.nodes[number].send(f"{tenant}@example.net", f"X-AuthUser: {scripts[tenant]}\r\nSubject: form\r\n\r\nx\r\n", sender=host,
                                       kind="submission", login=host)
    wait_until("they arrive", lambda: len(sink.messages) == 4)
    a.cli("freeze", names["own.example"], "--mode", "hold", "--reason", "a broken form")
    wait_until("the log says so", lambda: any(node.events("operator_froze") for node in cluster.nodes))
    for tenant, name in names.items():
        wait_until("the nodes have told", lambda: re.search(r"delivered +2\b", a.cli("tenant", "report", tenant).stdout))
        other = next(n for n in names.values() if n != name)

        def seen(path, node, tenant=tenant):
            status, answer = ask(node, tokens[tenant], path)
            assert status == 200, (path, answer)
            return answer
        for node in cluster.nodes:
            assert [r["account"] for r in seen("/v1/senders/web", node)["senders"]] == [name]
            assert seen(f"/v1/senders/show?account={name}", node)["account"] == name
            assert ask(node, tokens[tenant], f"/v1/senders/show?account={other}")[0] == 404
            assert seen(f"/v1/limits?account={name}", node)["limits"][0]["used"] == 2
            assert ask(node, tokens[tenant], f"/v1/limits?account={other}")[0] == 404
            for path, rows in (("/v1/track?since=1h", "recipients"), ("/v1/held", "messages"), ("/v1/queue?scope=cluster", "recipients"),
                               ("/v1/events?kinds=received,delivered", "events"), ("/v1/senders/top?by=delivered", "senders")):
                accounts = [r["account"] for r in seen(path, node)[rows]]
                assert accounts and set(accounts) == {name}, (path, accounts)
            frozen = [r["name"] for r in seen("/v1/frozen", node)["frozen"]]
            assert frozen == ([name] if tenant == "own.example" else []), frozen
            told = [(e["account"], e["tenant"]) for e in seen("/v1/events?kinds=operator_froze", node)["events"]]
            assert told == ([(name, tenant)] if tenant == "own.example" else []), told
            report = seen("/v1/tenants/report", node)
            assert name in json.dumps(report) and other not in json.dumps(report), report
    assert c.cli("tenant", "report", "own.example").stdout.count(names["own.example"]) >= 2 # busy, and frozen


def erased(nodes, away):
    """An address goes out of all histories, of a node that is away when it is back."""
    kept = nodes[0].api("GET", "/v1/track?recipient=r2@example.net")["recipients"]
    assert len(kept) == 2 and all(r["account"] == "carol@other.example" for r in kept)
    nodes[0].cli("suppression", "add", "r2@example.net", "--tenant", "other.example")
    asked = nodes[0].cli("privacy", "erase", "R2@example.net", "--yes", check=False)
    assert asked.returncode == 5 and f"{away.name} has not done it yet" in asked.stderr, asked
    assert nodes[1].api("GET", "/v1/track?recipient=r2@example.net")["recipients"] == []
    row = nodes[1].api("GET", f"/v1/track?id={kept[0]['id']}")["recipients"][0]
    assert (row["recipient"], row["state"], row["reply"], row["sender"]) == ("erased", "delivered", None,
                                                                           "carol@other.example")
    what = [e["what"] for e in nodes[0].api("GET", "/v1/audit")["audit"]]
    assert not any("r2@example.net" in w for w in what) and any(w.startswith("suppress erased-") for w in what)
    away.restart()
    wait_until("the node that was away has done it", lambda: "nothing is being erased" in
               nodes[0].cli("privacy", "erasures").stderr)
    assert nodes[0].cli("privacy", "export", "r2@example.net", "--json").returncode == 0, "the suppression list has it"
    found = json.loads(nodes[0].cli("privacy", "export", "r2@example.net", "--json").stdout)
    assert found["received"] == found["sent"] == found["missing"] == [] and len(found["suppressed"]) == 1
