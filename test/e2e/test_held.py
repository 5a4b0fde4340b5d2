"""Held mail: listed with its reason and let go from any node, charged as if it came now, or exempted by name; over
crashes, restarts and moves it is neither lost nor sent while it is held, nor sent twice after its release."""
import threading

import pytest

from harness.quota import apply_policy, await_applied
from harness.util import wait_until

ANNA = "anna@shop.example"
POLICY = """
limits:
  - {name: account-hour, for: account, count: 6, window: 1h}
held: {sender_messages: 6, expire: 1d}
"""


def started(made, policy):
    apply_policy(made.nodes[0], policy)
    made.nodes[0].add_account(ANNA, **{"class": "person"})
    await_applied(made.living())
    return made


def freeze(node, mode="hold"):
    node.api("POST", "/v1/freeze", {"account": ANNA, "mode": mode, "reason": "looks stolen"})


def send(node, number, text="hello"):
    return node.send([f"r{number}@example.net", f"s{number}@example.org"],
                     f"Subject: =?utf-8?q?n=C2=B0?= {number}\r\n\r\n{text}\r\n".encode(),
                     sender=ANNA, kind="submission", login=ANNA)


def held(node, query=""):
    return node.api("GET", f"/v1/held?limit=1000{query}")["messages"]


def released(cluster, how):
    return sum(e["recipients"] for node in cluster.nodes for e in node.events("released") if e["rule"] == how)


def each_once(sink, numbers):
    wait_until("all arrive", lambda: len(sink.messages) >= 2 * len(numbers), 30)
    got = sorted(address for m in sink.messages for address in m.recipients)
    assert got == sorted(f"{c}{n}@example.{d}" for n in numbers for c, d in (("r", "net"), ("s", "org"))), got


@pytest.mark.slow(9)
def test_held_and_released(make_cluster, make_sink, dns):
    cluster = started(make_cluster(3), POLICY)
    one, two, three = cluster.nodes
    sink = make_sink()
    for domain in ("example.net", "example.org"):
        dns.mail_domain(domain, "127.0.0.1")
    freeze(two)
    ids = {n: send(cluster.nodes[n % 3], n, f"body {n} \x1b[2J\u202e") for n in range(7)}
    # twelve recipients and more, with a limit of six: they were not charged
    assert one.api("GET", f"/v1/limits?account={ANNA}")["limits"][0]["used"] == 0
    rows = wait_until("all nodes tell of them", lambda: len(held(three)) == 7 and held(three))
    assert {(r["id"], r["node"], r["reason"], r["detail"], r["held"]) for r in rows} == \
        {(ids[n], cluster.nodes[n % 3].name, "frozen", "looks stolen", 2) for n in ids}
    assert [r["id"] for r in held(one, "&reason=over_limit")] == [] and len(held(one, "&tenant=shop.example")) == 7
    # looked at from another node: harmless
    shown = two.api("GET", f"/v1/held/messages/{ids[0]}")
    assert shown["node"] == one.name and shown["text"] == "body 0 \\x1B[2J\\u{202E}\n", shown
    assert {"name": "Subject", "value": "n\u00b0 0"} in shown["header"], shown
    assert "body 0" in two.cli("held", "show", ids[0]).stdout
    # over a crash and a move the reason stays
    one.kill()
    one.restart()
    one.wait_ready()
    wait_until("they are there", lambda: len(held(two)) == 7)
    three.api("POST", "/v1/queue/move", {"ids": [ids[2]], "to": one.name})
    wait_until("it has moved", lambda: [(r["node"], r["reason"], r["detail"]) for r in held(two, f"&ids={ids[2]}")] ==
               [(one.name, "frozen", "looks stolen")])
    assert not sink.messages
    # a release while frozen is charged, and waits for the thaw
    sink.hooks["rcpt"] = lambda s, a: "450 4.2.0 later"
    done = three.api("POST", "/v1/held/release", {"ids": [ids[0], ids[1]]})
    assert (done["done"], done["frozen"], done["no_quota"], done["missing"]) == (4, 4, 0, []), done
    wait_until("it is told", lambda: released(cluster, "charged") == 4)
    one.api("POST", "/v1/thaw", {"account": ANNA})
    # two at once: nobody is charged twice, and what finds no quota stays
    answers = []

    def release(node):
        answers.append(node.api("POST", "/v1/held/release", {"account": ANNA}))
    both = [threading.Thread(target=release, args=(node,)) for node in (one, three)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    def none_left():
        done = two.api("POST", "/v1/held/release", {"account": ANNA})
        return done["done"] == 0 and done["no_quota"] > 0 and "limit account-hour" in done["why"] and not done["missing"]
    wait_until("no quota is left", none_left)
    assert two.cli("held", "release", "--all-of", ANNA, check=False).returncode == 1
    stay = sum(r["held"] for r in held(one))
    charged = wait_until("it is told", lambda: released(cluster, "charged") == 14 - stay and 14 - stay)
    assert 5 <= charged <= 6, charged  # a token may be in the hands of another node
    # released is on disk: a node that is killed before the mail was delivered goes on with it
    for node in cluster.nodes:
        node.kill()
    for node in cluster.nodes:
        node.restart()
    for node in cluster.nodes:
        node.wait_ready()
    wait_until("all answer each other", lambda: not any(n.api("GET", "/v1/held?limit=1")["missing"] for n in cluster.nodes))
    wait_until("all is as it was", lambda: sum(r["held"] for r in held(one)) == stay)
    sink.hooks.pop("rcpt")
    for node in cluster.nodes:
        node.api("POST", "/v1/queue/retry", {"all": True})
    wait_until("what was released arrives", lambda: len(sink.messages) == charged, 30)
    # exempted: by name, in the audit trail, and charged to nobody
    refused = one.http("POST", "/v1/held/release", {"account": ANNA, "exempt": True})
    assert refused[0] == 400, refused
    left = held(one)
    said = two.cli("held", "release", left[0]["id"], "--exempt", "--operator", "bob", "--text", "invoices").stdout
    assert said.startswith(f"{left[0]['held']} recipient(s) of 1 message(s) released"), said
    lines = [line["what"] for line in one.api("GET", "/v1/audit")["audit"]]
    assert f"bob releases held mail of 1 messages from {left[0]['id']} on, {left[0]['held']} recipients, exempt from " \
        "limits: invoices" in lines, lines
    # let go while it moves, and while a node dies: nothing is lost, and nothing is sent twice
    sink.hooks["rcpt"] = lambda s, a: "450 4.2.0 later"
    moves = [threading.Thread(target=node.http, args=("POST", "/v1/queue/move", {"state": "held", "to": three.name}))
             for node in (one, two)]
    for thread in moves:
        thread.start()

    def all_go():
        one.http("POST", "/v1/held/release", {"all": True, "exempt": True, "operator": "bob"})
        return not held(one)
    all_go()
    three.kill()
    for thread in moves:
        thread.join()
    three.restart()
    wait_until("nothing is held", all_go, 30)
    sink.hooks.pop("rcpt")

    def arrived():
        all_go()  # what was on its way comes held
        for node in cluster.nodes:
            node.http("POST", "/v1/queue/retry", {"all": True})
        return len(sink.messages) >= 14
    wait_until("all arrive", arrived, 60)
    each_once(sink, range(7))


def test_what_is_held_on_its_way_says_by_whom(make_cluster, make_sink, dns):
    """The attempt fails after an operator held it: his words stay, and the server's are there, too."""
    cluster = started(make_cluster(1), POLICY)
    node, sink = cluster.nodes[0], make_sink()
    for domain in ("example.net", "example.org"):
        dns.mail_domain(domain, "127.0.0.1")
    asked = []
    sink.hooks["rcpt"] = lambda s, a: asked.append(a) or "450 4.2.0 later"
    sink.held.add("rcpt")
    first = send(node, 1)
    wait_until("both attempts are under way", lambda: len(asked) == 2)
    node.api("POST", "/v1/queue/hold", {"ids": [first], "text": "odd"})
    sink.held.discard("rcpt")
    wait_until("both have failed", lambda: sum(e["id"] == first for e in node.events("deferred")) == 2)
    row, = held(node)
    assert (row["id"], row["held"], row["reason"]) == (first, 2, "operator") and (row["detail"] or "").endswith(": odd"), row
    node.kill()
    node.restart()
    node.wait_ready()
    row, = wait_until("it is there", lambda: held(node))
    assert row["held"] == 2 and (row["detail"] or "").endswith(": odd"), row


def test_bounds_and_expiry(make_cluster, make_sink, dns):
    """What finds no room is deferred; what is held too long is returned; an operator's hold is one too, and free."""
    cluster = started(make_cluster(1), POLICY.replace("sender_messages: 6", "sender_messages: 2"))
    node, sink = cluster.nodes[0], make_sink()
    for domain in ("example.net", "example.org", "shop.example"):
        dns.mail_domain(domain, "127.0.0.1")
    freeze(node)
    first, second = send(node, 1), send(node, 2)
    with pytest.raises(Exception, match="no more of it can be"):
        send(node, 3)
    status = node.api("GET", "/v1/status")
    assert (status["held_messages"], status["held_refused"]) == (2, 1), status
    assert "NO ROOM for 1" in node.cli("status").stdout
    assert "\nturnpike_held_refused_total 1\n" in node.metrics()
    assert node.http("GET", "/v1/held/act?verb=delete&account=" + ANNA)[0] == 404
    # an operator's is in the list with who holds it, and its release is free
    node.api("POST", "/v1/held/delete", {"ids": [second]})
    node.api("POST", "/v1/thaw", {"account": ANNA})
    sink.hooks["rcpt"] = lambda s, a: "450 4.2.0 later" if "@shop.example" not in a else None
    third = send(node, 4)
    node.api("POST", "/v1/queue/hold", {"ids": [third], "text": "odd"})
    row = wait_until("it is held", lambda: next((r for r in held(node, "&reason=operator") if r["held"] == 2), None))
    assert row["id"] == third and row["detail"].endswith(": odd"), row
    assert node.api("POST", "/v1/held/release", {"ids": [third]})["done"] == 2
    wait_until("it is told", lambda: released(cluster, "free") == 2)
    # the rest comes to its end, and its sender hears of it
    apply_policy(node, POLICY.replace("expire: 1d", "expire: 1s"))
    wait_until("it is gone", lambda: not held(node), 30)
    wait_until("its sender hears of it", lambda: sink.find("not released in time"), 30)
    wait_until("it is told", lambda: {e["id"] for e in node.events("expired")} == {first})
    assert node.events("held")[0]["rule"] == "frozen"
