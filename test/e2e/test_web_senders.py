"""Mail of shared web hosts: the script that a header names is a sender of its own, on all nodes together, beside its
host; so many names may come of it; who is not believed names nobody."""
import re
import smtplib
import threading
import urllib.parse

import pytest

from harness.quota import SENDER, apply_policy, await_applied
from harness.util import wait_until

TRUSTED, OTHER = "127.0.7.1", "127.0.8.1"
POLICY = """
limits:
  - {name: host-hour, for: account, classes: [person, device], count: 40, window: 5m}
  - {name: script-hour, for: account, classes: bulk, count: 6, window: 5m%(over)s}
web_senders:
  max_per_host: %(most)d
  hosts:
    - name: shared
      networks: 127.0.7.0/24
      headers: [X-AuthUser, X-PHP-Originating-Script, X-Source-Dir]
      class: bulk
"""


def started(make_cluster, count=3, most=100, over=""):
    cluster = make_cluster(count)
    apply_policy(cluster.nodes[0], POLICY % {"most": most, "over": over})
    await_applied(cluster.living())
    return cluster


def web(origin):
    return f"web:{SENDER}/{origin}"


def php(node, script, client=TRUSTED, header=None, domain="example.net"):
    """As a form's mail() comes: through the host's own mail server. The last reply."""
    field = header if header is not None else f"X-PHP-Originating-Script: {script}\r\n"
    with smtplib.SMTP("127.0.0.1", node.ports["relay"], "web1.example.com", timeout=30,
                      source_address=(client, 0)) as smtp:
        smtp.ehlo()
        code, text = smtp.mail("www-data@web1.example.com")
        if code != 250:
            return f"{code} {text.decode()}"
        code, text = smtp.rcpt(f"r@{domain}")
        if code != 250:
            return f"{code} {text.decode()}"
        code, text = smtp.data(f"{field}Subject: form\r\nX-Mailer: PHP\r\n\r\nhello\r\n")
        return f"{code} {text.decode()}"


def used(node, limit, account):
    rows = node.api("GET", "/v1/limits?account=" + urllib.parse.quote(account))["limits"]
    return next((row["used"] for row in rows if row["limit"] == limit), None) # a web sender's class is known in some seconds


def held(node):
    return node.api("GET", "/v1/held?limit=1000")["messages"]


@pytest.mark.slow(6)
def test_one_broken_form_does_not_stop_its_host(make_cluster, sink):
    cluster = started(make_cluster)
    one, two, three = cluster.nodes
    # the broken form, on all nodes: six in all, and not one more
    replies = [php(cluster.nodes[n % 3], "1001:Contact.php") for n in range(12)]
    assert sum(r.startswith("250") for r in replies) <= 6 and sum(r.startswith("250") for r in replies) >= 5, replies
    refused = [r for r in replies if not r.startswith("250")]
    assert all(r.startswith("450 4.7.1 Limit script-hour of web sender 1001:contact.php reached (6 recipients per 5m), "
                            "try again in ") for r in refused), refused
    # others of the same host go on, and so does the host
    for node in cluster.nodes:
        assert php(node, "1002:order.php").startswith("250")
        assert php(node, None, header="").startswith("250")
        assert php(node, "not a script").startswith("250") # names nobody
    went = sum(r.startswith("250") for r in replies) + 9
    wait_until("all arrive", lambda: len(sink.messages) == went)
    assert not any(b"originating-script" in m.content.lower() for m in sink.messages) # removed
    assert all(b"X-Mailer: PHP" in m.content for m in sink.messages)
    # the host is charged for all of it, each script for its own
    wait_until("tokens that were not spent are back", lambda: used(one, "host-hour", SENDER) == went)
    wait_until("and it for its own", lambda: used(two, "script-hour", web("1001:contact.php")) == went - 9)
    wait_until("likewise", lambda: used(two, "script-hour", web("1002:order.php")) == 3)
    accounts = {e["account"] for node in cluster.nodes for e in node.events("received")}
    assert accounts == {SENDER, web("1001:contact.php"), web("1002:order.php")}
    # a limit of its own, and its record
    one.cli("limit", "set", web("1001:contact.php"), "script-hour", 9)
    await_applied(cluster.living())
    wait_until("it may send again", lambda: php(two, "1001:contact.php").startswith("250"))
    wait_until("it has a record", lambda: re.search(r"(?m)^messages +3", one.cli("sender", "show", web("1002:order.php")).stdout))


@pytest.mark.slow(5)
def test_who_is_believed_and_in_what_order(make_cluster, sink):
    node = started(make_cluster, 1).nodes[0]
    script = "X-PHP-Originating-Script: 33:a.php\r\n"
    cases = [
        (TRUSTED, script + "x-authuser: <Shop@Example.com>\r\n", web("shop@example.com")),
        (TRUSTED, script + "X-Source-Dir: example.com:/x\r\n", web("33:a.php")),
        (TRUSTED, "X-Source-Dir: Example.com:/public_html//./a/../b/\r\n", web("example.com:/public_html/b")),
        (TRUSTED, "X-AuthUser: a\r\nX-AuthUser: b\r\n", web("?several")),
        (TRUSTED, "X-AuthUser: evil\x01\"\\<>,;%$\r\n\tx\r\n", web("evil_________")),
        (TRUSTED, "X-AuthUser: " + 900 * "a" + "\r\n", web(103 * "a" + "~")),
        (OTHER, script + "X-AuthUser: shop\r\n", SENDER), # anybody may write that
    ]
    for client, header, account in cases:
        assert php(node, None, client=client, header=header).startswith("250"), header
        got = wait_until("it is told", lambda: node.events("received")[-1]
                         if len(node.events("received")) == cases.index((client, header, account)) + 1 else None)
        assert got["account"] == account or (account.endswith("~") and got["account"].startswith(account)), (header, got)
        assert len(got["account"]) <= 320 and got["account"].isprintable()
    wait_until("all arrive", lambda: len(sink.messages) == len(cases))
    kept = [m for m in sink.messages if b"X-AuthUser" in m.content]
    assert len(kept) == 1 and b"X-AuthUser: shop\r\n" in kept[0].content # who is not believed is not rewritten either


@pytest.mark.slow(18)
def test_so_many_names_and_no_more(make_cluster, sink):
    """Over the cap, on whatever nodes, the host alone is charged."""
    cluster = started(make_cluster, most=5)
    names = [f"33:form{n}.php" for n in range(24)]
    replies = {}

    def run(index):
        for name in names[index::3]:
            replies[name] = php(cluster.nodes[index], name)
    threads = [threading.Thread(target=run, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(r.startswith("250") for r in replies.values()), replies
    wait_until("all are told", lambda: sum(len(node.events("received")) for node in cluster.nodes) == len(names))
    accounts = [e["account"] for node in cluster.nodes for e in node.events("received")]
    assert len({a for a in accounts if a.startswith("web:")}) == 5 and accounts.count(SENDER) == len(names) - 5, accounts
    told = wait_until("the event log says so", lambda: [e for node in cluster.nodes for e in node.events("web_senders")])
    assert told[0]["account"] == SENDER and told[0]["rule"] == "full" and len(told) <= 3, told
    assert told[0]["text"] == f"{SENDER} has 5 web senders, which is the most"
    assert used(cluster.nodes[0], "host-hour", SENDER) >= len(names)
    known = next(a for a in accounts if a.startswith("web:"))
    assert php(cluster.nodes[1], known.split("/")[1]).startswith("250") # those that there are go on
    wait_until("as themselves", lambda: cluster.nodes[1].events("received")[-1]["account"] == known)
    # an operator sees them, and makes room
    rows = cluster.nodes[2].api("GET", "/v1/senders/web")["senders"]
    assert known in [r["account"] for r in rows] and len(rows) == 5 and {r["host"] for r in rows} == {SENDER}, rows
    assert known in cluster.nodes[0].cli("sender", "web").stdout
    cluster.nodes[0].cli("sender", "forget", known)
    await_applied(cluster.living())
    assert len(cluster.nodes[2].api("GET", "/v1/senders/web")["senders"]) == 4
    wait_until("there is room for another one", lambda: php(cluster.nodes[2], "33:another.php").startswith("250") and
               cluster.nodes[2].events("received")[-1]["account"] == web("33:another.php"), interval=2)


@pytest.mark.slow(6)
def test_frozen(make_cluster, sink, dns):
    cluster = started(make_cluster, 2)
    one, two = cluster.nodes
    assert php(one, "33:a.php").startswith("250")
    one.cli("freeze", web("33:a.php"), "--reason", "a broken form")
    assert php(two, "33:a.php").startswith("450 4.7.1 Sending is suspended")
    assert php(two, "33:b.php").startswith("250") and php(two, None, header="").startswith("250")
    one.cli("thaw", web("33:a.php"))
    wait_until("it may send", lambda: php(two, "33:a.php").startswith("250"))
    # a host's freeze stops its scripts' mail too, and what of it is queued
    dns.mail_domain("example.org", "127.0.0.1")
    sink.hooks["rcpt"] = lambda _, address: "450 4.2.0 later" if "@example.org" in address else None
    assert php(two, "33:b.php", domain="example.org").startswith("250")
    wait_until("it was tried", lambda: [row["attempts"] for row in two.queue()] == [1])
    one.cli("freeze", SENDER)
    assert php(two, "33:b.php").startswith("450 4.7.1")
    sink.hooks.clear()
    two.api("POST", "/v1/queue/retry", {"all": True})
    assert not php(one, "33:c.php").startswith("250") and two.queue_length() == 1
    one.cli("thaw", SENDER)
    two.wait_empty()
    assert [m.recipients for m in sink.messages].count(["r@example.org"]) == 1


@pytest.mark.slow(8)
def test_held_and_released_is_charged_to_both(make_cluster, sink):
    cluster = started(make_cluster, 2, over=", over_limit: hold")
    one, two = cluster.nodes
    for n in range(8):
        assert php(cluster.nodes[n % 2], "33:a.php").startswith("250")
    rows = wait_until("the rest is held", lambda: held(one))
    assert 2 <= len(rows) <= 3 and {(r["account"], r["reason"], r["detail"]) for r in rows} == \
        {(web("33:a.php"), "over_limit", "[device] script-hour")}, rows
    wait_until("the others arrive", lambda: len(sink.messages) == 8 - len(rows))
    # what is held has been charged to neither
    wait_until("no tokens are out", lambda: used(one, "host-hour", SENDER) == 8 - len(rows))
    answer = two.api("POST", "/v1/held/release", {"account": web("33:a.php")})
    assert answer["done"] < len(rows) and answer["no_quota"] > 0, answer # there is no quota for all
    one.cli("limit", "set", web("33:a.php"), "script-hour", 20)
    await_applied(cluster.living())
    for node in cluster.nodes:
        node.api("POST", "/v1/held/release", {"account": web("33:a.php")})
    wait_until("all arrive", lambda: len(sink.messages) == 8)
    wait_until("both are charged for all", lambda: used(one, "host-hour", SENDER) == 8 and
               used(one, "script-hour", web("33:a.php")) == 8)


@pytest.mark.slow(12)
def test_clients_that_leave_while_the_cluster_is_asked(make_cluster, sink):
    """The name is not known yet, and the cluster does not answer: whoever waits, resets or leaves, nothing stays
    charged, and nothing goes out that was not answered."""
    cluster = started(make_cluster)
    leader = cluster.leader()
    others = [node for node in cluster.nodes if node is not leader]
    assert php(leader, "33:known.php").startswith("250")
    sent = len(sink.messages) + 1

    def begun():
        """A client whose content is there up to the dot: 354 came while the cluster still answered."""
        client = smtplib.SMTP("127.0.0.1", leader.ports["relay"], "web1.example.com", timeout=60, source_address=(TRUSTED, 0))
        client.ehlo()
        for command in ("MAIL FROM:<a@web1.example.com>", "RCPT TO:<r@example.net>", "DATA"):
            assert client.docmd(command)[0] in (250, 354)
        return client
    left, stayed = [begun() for _ in range(3)], [begun() for _ in range(2)]
    for node in others:
        node.pause()
    for number, client in enumerate(left + stayed):
        client.send(f"X-AuthUser: new{number}\r\nSubject: x\r\n\r\nx\r\n.\r\n".encode())
    for client in left: # before any answer
        client.close()
    for node in others:
        node.go_on()
    replies = [client.getreply()[0] for client in stayed]
    assert set(replies) <= {250, 450, 451}, replies
    went = replies.count(250)
    cluster.wait_healthy()
    wait_until("those that were answered arrive", lambda: len(sink.messages) >= sent + went)
    wait_until("nothing else is charged", lambda: used(leader, "host-hour", SENDER) == len(sink.messages), 90)
    for node in cluster.nodes:
        assert php(node, "33:after.php").startswith("250")


@pytest.mark.slow(6)
def test_frozen_while_its_content_comes(make_cluster, sink):
    """MAIL was read before the freeze, the header after it: it is refused; and tokens of both are free again."""
    cluster = started(make_cluster, 2)
    one, two = cluster.nodes
    assert php(one, "33:a.php").startswith("250")
    client = smtplib.SMTP("127.0.0.1", two.ports["relay"], "web1.example.com", timeout=60, source_address=(TRUSTED, 0))
    client.ehlo()
    for command in ("MAIL FROM:<a@web1.example.com>", "RCPT TO:<r@example.net>", "DATA"):
        client.docmd(command)
    one.cli("freeze", web("33:a.php"))
    client.send(b"X-PHP-Originating-Script: 33:a.php\r\nSubject: x\r\n\r\nx\r\n.\r\n")
    code, text = client.getreply()
    assert code == 450 and b"suspended" in text
    one.cli("freeze", web("33:b.php"), "--mode", "hold") # of a name that has not been seen yet
    for command in ("MAIL FROM:<a@web1.example.com>", "RCPT TO:<r@example.net>", "RSET", "MAIL FROM:<a@web1.example.com>",
                    "RCPT TO:<r@example.net>", "DATA"):
        client.docmd(command)
    client.send(b"X-PHP-Originating-Script: 33:b.php\r\nSubject: x\r\n\r\nx\r\n.\r\n")
    assert client.getreply()[0] == 250
    assert wait_until("it is held", lambda: [(r["account"], r["reason"]) for r in held(two)]) == [(web("33:b.php"), "frozen")]
    wait_until("only what went is charged", lambda: used(one, "host-hour", SENDER) == 1, 60)
