"""People are told of what happens: a webhook that fails in all ways and recovers, mail, syslog. docs/notifications.md."""
import email
import json
import socket
import smtplib

import pytest

from harness.quota import apply_policy, await_applied
from harness.receiver import SECRET
from harness.util import wait_until

RELAY = "relay@example.com"  # the account of the harness's relay clients


def policy(receiver, *more, events="[frozen, received, site_down]"):
    return "\n".join(["limits: []", "notifications:", "  targets:",
                      f"    - {{name: desk, webhook: 'https://localhost:{receiver.port}/hook?key=hidden', secret: desk, timeout: 1s}}",
                      *[line for line in more if line.startswith("    - {name")],
                      "  routes:", f"    - {{to: desk, events: {events}}}",
                      *[line for line in more if not line.startswith("    - {name")], ""])


def target(node, name="desk"):
    return next((t for t in node.api("GET", "/v1/notify?scope=local")["targets"] if t["target"] == name), None)


def send(node, number, recipients=1):
    with smtplib.SMTP("127.0.0.1", node.ports["relay"], timeout=60) as client:
        client.sendmail("user@example.com", [f"r{number}-{i}@example.net" for i in range(recipients)],
                        f"Subject: n\r\nMessage-ID: <n{number}@client.example>\r\n\r\nx\r\n")


def has_failed(nodes, words):
    return lambda: any(words in ((target(n) or {}).get("error") or "") for n in nodes if n.process.poll() is None)


def fails(node, words):
    done = node.cli("notify", "test", "desk", check=False)
    assert done.returncode == 1 and words in done.stderr, done


@pytest.mark.slow(14)
def test_a_webhook_that_fails_and_recovers(make_cluster, sink, receiver):
    """What it did not take is kept, over a node's death too, and nothing is told twice: not even what all nodes know."""
    cluster = make_cluster()
    one = cluster.nodes[0]
    one.api("POST", "/v1/secret/add", {"use": "webhooks", "name": "desk", "secret": SECRET})
    apply_policy(one, policy(receiver, "sender_rules:",
                             "  - {name: many, when: recipients > 7 in 1h, then: 'hold 1h, notify'}"))
    await_applied(cluster.nodes)
    wait_until("all know the target", lambda: all(target(n) for n in cluster.nodes))
    numbers = iter(range(1000))
    sent = []

    def some(nodes):
        for node in nodes:
            sent.append(next(numbers))
            send(node, sent[-1])
    some(cluster.nodes)  # nobody listens
    wait_until("the refused connection is seen", has_failed(cluster.nodes, "Couldn't connect"))
    receiver.mode = "500"
    receiver.open()
    some(cluster.nodes)
    wait_until("the answer is seen", has_failed(cluster.nodes, "it answers 500"))
    receiver.mode = "silent"  # it takes what it is given, and nobody hears of that
    some(cluster.nodes)
    wait_until("they were given to it", lambda: receiver.unheard)
    receiver.mode = "500"
    send(one, next(numbers), 5)  # the rule acts
    wait_until("it is frozen", lambda: one.api("GET", "/v1/frozen")["frozen"])
    leader = cluster.leader()
    leader.kill()
    other, third = cluster.living()
    third.stop()
    third.restart()
    third.wait_ready()
    for mode, words in (("500", "it answers 500"), ("redirect", "a redirect is not followed"), ("slow", "imed out")):
        receiver.mode = mode
        fails(other, words)
    receiver.shut()
    receiver.open(broken=True)
    fails(other, "certificate")
    receiver.shut()
    assert not receiver.taken
    receiver.mode = "ok"
    receiver.open()
    leader.restart()
    for node in cluster.nodes:  # what waited for its next attempt does so no longer
        wait_until("a test is taken", lambda node=node: node.cli("notify", "test", "desk", check=False).returncode == 0)

    def seen():
        return {e["event"].get("message_id") for e in receiver.events("received")}
    wait_until("all has come", lambda: {f"<n{n}@client.example>" for n in sent} <= seen() and receiver.events("frozen"), 60)
    wait_until("nothing waits", lambda: all((target(n) or {"waiting": 1})["waiting"] == 0 for n in cluster.nodes))
    assert not receiver.faults, receiver.faults
    leader = cluster.leader()
    leader.stop()
    leader.restart()  # whoever leads now goes by what was told, and tells what is new
    leader.wait_ready()
    some(cluster.nodes)
    wait_until("all has come", lambda: {f"<n{n}@client.example>" for n in sent} <= seen(), 60)
    wait_until("nothing waits", lambda: all((target(n) or {"waiting": 1})["waiting"] == 0 for n in cluster.nodes))
    assert len(receiver.ids()) == len(set(receiver.ids())), "something was told twice"
    told = {e["id"]: e["event"] for e in receiver.taken}
    assert all(told[e["id"]] == e["event"] for e in receiver.unheard), "the same again, by the same id"
    frozen, = receiver.events("frozen")
    assert frozen["severity"] == "critical" and frozen["event"]["account"] == RELAY and frozen["event"]["rule"] == "many"
    assert "recipients" in frozen["event"]["text"] and "> 7 in 1h" in frozen["event"]["text"], frozen
    assert all("hidden" not in n.log_text() and SECRET not in n.log_text() for n in cluster.nodes)
    metrics = one.http("GET", "/metrics")[1]
    assert 'turnpike_notifications_waiting{target="desk"} 0' in (metrics if isinstance(metrics, str) else metrics.decode())


@pytest.mark.slow(4)
def test_what_operators_freeze(make_cluster, receiver):
    """Once from the cluster as a whole, whichever node was told; what ends by itself is no news."""
    cluster = make_cluster(2)
    one, two = cluster.nodes
    one.api("POST", "/v1/secret/add", {"use": "webhooks", "name": "desk", "secret": SECRET})
    apply_policy(one, policy(receiver, events="[operator_froze, operator_thawed]"))
    await_applied(cluster.nodes)
    wait_until("all know the target", lambda: all(target(n) for n in cluster.nodes))
    receiver.open()
    two.cli("freeze", "anna@shop.example", "--reason", "phished")
    one.cli("freeze", "@shop.example", "--for", "2s", "--mode", "hold")
    wait_until("it has come", lambda: len(receiver.events("operator_froze")) == 2)
    wait_until("the second one has ended", lambda: len(one.api("GET", "/v1/frozen")["frozen"]) == 1)
    one.cli("thaw", "anna@shop.example")
    wait_until("it has come", lambda: receiver.events("operator_thawed"))
    wait_until("nothing waits", lambda: all((target(n) or {"waiting": 1})["waiting"] == 0 for n in cluster.nodes))
    account, tenant = sorted((e["event"] for e in receiver.events("operator_froze")), key=lambda e: "account" not in e)
    assert (account["account"], account["tenant"]) == ("anna@shop.example", "shop.example"), account
    assert account["text"].startswith("auto, by ") and account["text"].endswith(f"@{two.name}: phished"), account
    assert "account" not in tenant and tenant["tenant"] == "shop.example", tenant
    assert tenant["text"].startswith("hold for 2s, by "), tenant
    thawed, = receiver.events("operator_thawed")
    assert thawed["severity"] == "notice" and thawed["event"]["account"] == "anna@shop.example", thawed
    assert len(receiver.taken) == 3 and len(set(receiver.ids())) == 3


@pytest.mark.slow(6)
def test_mail_and_syslog(make_cluster, sink, receiver, tmp_path):
    """A mail for what is alike, with the null sender; syslog by a socket; a test says what is wrong with a target."""
    cluster = make_cluster(1)
    node, = cluster.nodes
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind(str(tmp_path / "log"))
    log.settimeout(30)
    node.api("POST", "/v1/tenants/set", {"name": "example.com"})
    node.api("POST", "/v1/tenants/contact", {"name": "example.com", "address": "boss@example.net"})
    apply_policy(node, policy(receiver,
                              "    - {name: pm, mail: pm@example.net, group: 1h, subject: 'look at {account}: {event}'}",
                              "    - {name: contact, mail: tenant, group: 1h, text: ['Stopped: {account}', 'Site: {site}']}",
                              f"    - {{name: siem, syslog: 'unix://{tmp_path}/log'}}",
                              "    - {to: [pm, siem], events: [received]}", "    - {to: [contact, siem]}",
                              "sender_rules:", "  - {name: many, when: recipients > 3 in 1h, then: 'hold 1h, notify'}"))
    await_applied(cluster.nodes)
    wait_until("the node knows the targets", lambda: target(node, "siem"))
    for number in range(5):
        send(node, number)

    def mails(to):
        found = [m for m in sink.messages if m.recipients == [to]]
        for mail in found:
            mail.parsed = email.message_from_bytes(mail.content)
        return found
    wait_until("both have a mail", lambda: mails("pm@example.net") and mails("boss@example.net"))
    logged, = wait_until("it is in the log", lambda: node.api("GET", "/v1/events?kinds=frozen")["events"])
    assert (logged["account"], logged["rule"], logged["node"]) == (RELAY, "many", node.name)
    told, = mails("boss@example.net")
    assert told.sender in ("", "<>") and told.parsed["Auto-Submitted"] == "auto-generated"
    body = told.parsed.get_payload()
    assert f"Stopped: {RELAY}" in body and "Site:" not in body, body
    first, = mails("pm@example.net")
    assert first.parsed["Subject"] == f"look at {RELAY}: received"
    lines = []
    while not any(" frozen " in line for line in lines):
        lines.append(log.recv(65536).decode())
    assert lines[0].startswith("<22>1 20") and " turnpiked - received [turnpike@32473 " in lines[0], lines[0]
    assert json.loads(lines[0].split("] ", 1)[1])["account"] == RELAY
    assert next(line for line in lines if " frozen " in line).startswith("<18>1 ")
    result = node.cli("notify", "test", "siem")
    assert result.returncode == 0 and "has taken it" in result.stdout, result
    assert " turnpiked - test " in log.recv(65536).decode()
    result = node.cli("notify", "test", "desk", check=False)
    assert result.returncode == 1 and "there is no secret desk" in result.stderr, result
    status = json.loads(node.cli("notify", "status", "--json").stdout)["targets"]
    assert {t["target"]: t["sent"] for t in status}["contact"] == 1, status
    log.close()
