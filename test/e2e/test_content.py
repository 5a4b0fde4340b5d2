"""The check of content: what a server says of a message is done before its 250, and counted for its sender; whatever becomes of
servers and clients meanwhile, no message is lost, none is delivered twice, and none is charged that was refused."""
import smtplib
import threading
import time

import pytest

from harness.quota import apply_policy
from harness.rspamd import GTUBE, Fake, Rspamd
from harness.util import wait_until

ANNA = "anna@example.com"
LIMIT = "limits:\n  - {name: account-hour, for: account, count: %d, window: 1h}\n"


@pytest.fixture
def fake():
    server = Fake()
    yield server
    server.shut()


@pytest.fixture
def made(make_cluster, make_sink, dns, fake):
    """A cluster of one whose mail to example.net arrives at `sink`, and a way to give it a policy."""
    node = make_cluster(1).nodes[0]
    node.add_account(ANNA)
    node.sink = make_sink()
    dns.mail_domain("example.net", "127.0.0.1")
    node.policy = lambda more="", servers=(fake.url,), limit=1000, rest="": apply_policy(
        node, LIMIT % limit + "content:\n  servers: [" + ", ".join(servers) + "]\n" +
        "".join(f"  {line}\n" for line in more.split("; ") if line) + rest)
    return node


def submit(node, number, text="hello", header="", sender=ANNA):
    """The reply to the dot."""
    client = node.smtp("submission", ANNA)
    try:
        assert client.mail(sender)[0] == 250 and client.rcpt(f"r{number}@example.net")[0] == 250
        code, reply = client.data(f"Subject: {number}\r\n{header}\r\n{text}\r\n")
        return code, reply.decode()
    finally:
        client.close()


def arrived(node, number):
    return wait_until("it arrives", lambda: [m for m in node.sink.messages if m.recipients == [f"r{number}@example.net"]])[0]


def checks(node):
    return {labels: int(value) for line in node.metrics().splitlines() if line.startswith("turnpike_content_checks_total{")
            for labels, value in [line.split('verdict="')[1].split('"} ')] if float(value)}


def event(node, kind, **fields):
    return wait_until(f"{kind} is told", lambda: [e for e in node.events(kind) if fields.items() <= e.items()])[0]


def left(node, count):
    """So many may still be sent, and no more: what they are called is new each time."""
    replies = [submit(node, f"l{time.monotonic_ns()}")[0] for _ in range(count)]
    with node.smtp("submission", ANNA) as client:
        client.mail(ANNA)
        return replies == [250] * count and client.rcpt("over@example.net")[0] == 450


def spam_seen(node):
    facts = node.api("GET", f"/v1/senders/show?account={ANNA}")["facts"]
    return next(f for f in facts if f["fact"] == "spam")


@pytest.mark.slow(8)
@pytest.mark.sanitizer
def test_what_it_says_is_done(made, fake):
    said = {"clean": ("no action", 0.5), "grey": ("greylist", 5), "spam": ("add header", 8.25), "title": ("rewrite subject", 9),
            "soft": ("soft reject", 1), "bad": ("reject", 20.5), "own": ("quarantine", 3),
            "told": ("reject", 99, {"messages": {"smtp_message": "no\r\n250 such thing"}})}
    fake.verdict = lambda headers, body: said[next(k for k in said if f"Subject: {k}".encode() in body)]
    made.policy()
    forged = "X-Spam: No\r\nX-Spam-Status: No, score=-5\r\nx-spam-level: *\r\nX-Spammer: kept\r\n"
    for name in ("clean", "grey", "own", "spam", "title"):
        code, reply = submit(made, name, header=forged)
        assert code == 250, reply
        header = arrived(made, name).header
        assert "X-Spammer: kept" in header and "score=-5" not in header and "x-spam-level" not in header
        assert (header.count("X-Spam: Yes\r\n") == 1) is (name in ("spam", "title")), header
        assert ("X-Spam-Status: Yes, score=8.25 required=15.00\r\n" in header) is (name == "spam")
    assert submit(made, "bad") == (550, "5.7.1 This message looks like spam")
    assert submit(made, "told") == (550, "5.7.1 no??250 such thing")
    assert submit(made, "soft") == (451, "4.7.1 This message cannot be taken now, try again later")
    assert checks(made) == {"clean": 3, "spam": 2, "reject": 2, "soft": 1}
    assert event(made, "received", subject="spam")["verdict"] == "add header 8.25/15.00 WORDS"
    refused = event(made, "rejected", verdict="reject 20.50/15.00 WORDS")
    assert refused["rule"] == "content" and refused["stage"] == "content" and refused["code"] == 550 and refused["account"] == ANNA
    # what it was told, and that it saw what left
    headers, body = next(q for q in fake.asked if b"Subject: clean" in q[1])
    assert headers["From"] == ANNA and headers["User"] == ANNA and headers["Rcpt"] == "rclean@example.net"
    assert headers["IP"] == "127.0.0.1" and headers["Helo"] == "client.example.com" and headers["Queue-Id"]
    assert body == next(m for m in made.sink.messages if "rclean@example.net" in m.recipients).content
    # four of them count for the sender
    wait_until("it is counted", lambda: spam_seen(made)["1h"] == 4)
    assert "spam" in made.cli("sender", "show", ANNA).stdout
    wait_until("all have gone", lambda: made.queue_length() == 0)
    assert len(made.sink.messages) == 5


@pytest.mark.slow(6)
def test_held_and_not_asked(made, fake):
    fake.verdict = lambda headers, body: ("reject" if b"Subject: bad" in body else "add header", 20)
    made.policy("on_reject: hold; on_spam: accept; max_size: 4k")
    assert submit(made, "bad")[0] == 250 and submit(made, "fair")[0] == 250
    assert "X-Spam" not in arrived(made, "fair").header
    row = made.api("GET", "/v1/held")["messages"][0]
    assert row["reason"] == "content" and row["detail"] == "reject 20.00/15.00 WORDS"
    assert event(made, "held", rule="content")["text"] == "reject 20.00/15.00 WORDS"
    made.api("POST", "/v1/held/release", {"ids": [row["id"]]})
    arrived(made, "bad")
    asked = len(fake.asked)
    assert submit(made, "large", ("x" * 70 + "\r\n") * 70)[0] == 250
    arrived(made, "large")
    assert event(made, "received", subject="large")["verdict"].startswith("unchecked: larger than") and len(fake.asked) == asked
    assert checks(made)["too_large"] == 1
    made.policy("classes: bulk")
    assert submit(made, "person", header="X-Spam: mine\r\n")[0] == 250
    assert "X-Spam: mine" in arrived(made, "person").header and len(fake.asked) == asked
    assert "verdict" not in event(made, "received", subject="person")


def tracked(node, wanted=1, **query):
    return wait_until("it is found", lambda: len(rows := node.track(steps="true", **query)) == wanted and rows)


@pytest.mark.slow(8)
@pytest.mark.sanitizer
def test_tracking_says_what_it_said(made, fake):
    said = {"clean": ("no action", 0.5), "spam": ("add header", 8.25), "bad": ("reject", 20.5), "soft": ("soft reject", 1)}
    fake.verdict = lambda headers, body: said[next(k for k in said if f"Subject: {k}".encode() in body)]
    made.policy()
    assert [submit(made, name, header=f"Message-ID: <{name}@example.com>")[0] for name in said] == [250, 250, 550, 451]
    for name, state, done, verdict in (("clean", "delivered", "accepted", "no action 0.50/15.00 WORDS"),
                                       ("spam", "delivered", "marked", "add header 8.25/15.00 WORDS"),
                                       ("bad", "rejected", "rejected", "reject 20.50/15.00 WORDS"),
                                       ("soft", "rejected", "deferred", "soft reject 1.00/15.00 WORDS")):
        wait_until("it has ended", lambda: tracked(made, message_id=f"<{name}@example.com>")[0]["state"] == state)
        row, = tracked(made, message_id=f"<{name}@example.com>")
        step = row["steps"][0]
        assert (step["number"], step["what"], step["done"], step["verdict"]) == (0, "checked", done, verdict), row
        assert step["reply"] is None and step["at_ms"] >= row["arrival_ms"]
        assert [s["verdict"] for s in row["steps"][1:]] == [None] * (len(row["steps"]) - 1)
        text = made.cli("track", row["id"]).stdout
        assert f"checked ({done}): {verdict}\n" in text, text
        assert f"{state}: {row['reply']}" in text, text
    # whoever asks why a message was refused knows some of this of it; rspamd's log has the id
    row, = tracked(made, message_id="<bad@example.com>")
    assert row["reply"] == "550 5.7.1 This message looks like spam" and row["recipient"] == "rbad@example.net"
    assert row["account"] == ANNA and row["client_ip"] == "127.0.0.1" and row["size"] > 0
    assert row["id"] == next(q for q in fake.asked if b"Subject: bad" in q[1])[0]["Queue-Id"]
    for query in ({"id": row["id"]}, {"recipient": "rbad@example.net"}, {"sender": ANNA, "recipient": "@example.net", "status": "rejected"},
                  {"account": ANNA, "since": row["arrival_ms"], "until": row["arrival_ms"] + 1, "status": "rejected"}):
        assert any(r["id"] == row["id"] for r in tracked(made, 2 if query.get("sender") else 1, **query)), query
    assert {r["id"] for r in tracked(made, 4, sender=ANNA)} > {row["id"]}
    assert "steps" not in made.track(recipient="rbad@example.net")[0]
    assert made.cli("track", "--status", "rejected", "--from", ANNA, "--json").stdout.count("550 5.7.1") == 1
    # while it is held, and once it has gone
    made.policy("on_reject: hold; max_size: 4k")
    assert submit(made, "bad", header="Message-ID: <kept@example.com>")[0] == 250
    row, = tracked(made, message_id="<kept@example.com>")
    assert (row["state"], row["steps"][0]["done"], row["steps"][0]["verdict"]) == ("held", "held", "reject 20.50/15.00 WORDS")
    made.cli("held", "release", row["id"])
    wait_until("it has gone", lambda: tracked(made, id=row["id"])[0]["state"] == "delivered")
    assert [s["what"] for s in tracked(made, id=row["id"])[0]["steps"]][:2] == ["checked", "released"]
    # nobody looked at it, or was to
    assert submit(made, "clean", ("x" * 70 + "\r\n") * 70, header="Message-ID: <large@example.com>")[0] == 250
    step = tracked(made, message_id="<large@example.com>")[0]["steps"][0]
    assert (step["done"], step["verdict"]) == ("accepted", "unchecked: larger than content.max_size")
    made.policy("classes: bulk")
    assert submit(made, "clean", header="Message-ID: <plain@example.com>")[0] == 250
    row, = tracked(made, message_id="<plain@example.com>")
    assert all(s["what"] != "checked" for s in row["steps"])
    # what was told survives the node's end, and can be exported and erased
    made.kill()
    made.restart()
    assert tracked(made, message_id="<bad@example.com>")[0]["steps"][0]["verdict"] == "reject 20.50/15.00 WORDS"
    assert "reject 20.50/15.00 WORDS" in made.cli("privacy", "export", "rbad@example.net", "--json").stdout
    made.cli("privacy", "erase", "rbad@example.net", "--yes")
    assert made.track(recipient="rbad@example.net") == [] and tracked(made, message_id="<bad@example.com>")[0]["recipient"] == "erased"


@pytest.mark.slow(6)
def test_tracking_asks_the_other_node(make_cluster, dns, fake):
    """What one node refused is found from the other; one that is away is named."""
    cluster = make_cluster(2)
    one, two = cluster.nodes
    one.add_account(ANNA)
    fake.verdict = lambda headers, body: ("reject", 20.5)
    apply_policy(one, LIMIT % 1000 + f"content:\n  servers: [{fake.url}]\n")
    wait_until("it is refused", lambda: submit(two, "bad")[0] == 550)
    row, = tracked(one, recipient="rbad@example.net")
    assert row["node"] == two.name and row["steps"][0]["verdict"] == "reject 20.50/15.00 WORDS" and row["state"] == "rejected"
    assert one.track(recipient="rbad@example.net", scope="local") == []


@pytest.mark.slow(6)
def test_what_is_refused_or_held_costs_nothing(made, fake):
    fake.verdict = lambda h, b: ("reject" if b"bad" in b else "soft reject" if b"soft" in b else "add header" if b"kept" in b
                                 else "no action", 20)
    made.policy("on_spam: hold; when_unreachable: defer", limit=5)
    for number in range(6):
        assert submit(made, number, text="bad")[0] == 550
        assert submit(made, number, text="soft")[0] == 451
        assert submit(made, number, text="kept")[0] == 250
    fake.shut()
    for number in range(6):
        assert submit(made, number)[0] == 451
    fake.open()
    wait_until("it is asked again", lambda: submit(made, "first")[0] == 250)
    assert left(made, 4)
    # released ones are charged then
    ids = [m["id"] for m in made.api("GET", "/v1/held")["messages"]]
    assert len(ids) == 6 and made.api("POST", "/v1/held/release", {"ids": ids})["no_quota"] == 6
    assert len(made.sink.messages) <= 5


@pytest.mark.slow(25)
def test_servers_that_fail(made, fake):
    other = Fake()
    for answer in (lambda h, b: (500, b"oops"), lambda h, b: b"<html>", lambda h, b: b"{" * 5000, lambda h, b: b"x" * 2000000):
        fake.verdict, before = answer, len(other.asked)
        made.policy(servers=(other.url, fake.url))  # they take turns: one of two has to be asked twice
        for number in range(4):
            assert submit(made, f"a{number}")[0] == 250
        assert len(other.asked) == before + 4
        fake.shut()
        fake.verdict = lambda h, b: ("no action", 0)
        fake.open()
        time.sleep(5.2)  # it rests no more
        wait_until("it answers again", lambda: (submit(made, "b"), fake.url not in str(made.cluster()["problems"]))[1])
    # none answers: slow, then gone
    fake.delay = other.delay = 30
    made.policy("timeout: 600ms; when_unreachable: defer", servers=(other.url, fake.url))
    begun = time.monotonic()
    assert submit(made, "late") == (451, "4.7.1 The content cannot be checked just now, try again later")
    assert time.monotonic() - begun >= 0.5
    fake.shut(), other.shut()
    wait_until("they are known to be gone", lambda: "no server answers: mail is deferred" in str((
        submit(made, "gone"), made.cluster()["problems"])[1]))
    begun = time.monotonic()
    made.policy("when_unreachable: accept", servers=(other.url, fake.url))
    wait_until("it is in force", lambda: submit(made, "none")[0] == 250)
    assert time.monotonic() - begun < 20  # nobody waits for servers that rest
    assert event(made, "received", subject="none")["verdict"].startswith("unchecked: ")
    assert "accepted unchecked" in made.cli("cluster", "status", check=False).stdout
    assert made.track(status="rejected") == []  # of what nobody looked at the history keeps nothing


@pytest.mark.slow(6)
@pytest.mark.sanitizer
def test_a_client_that_leaves_and_a_node_that_stops(made, fake):
    made.policy("timeout: 60s", limit=6)
    fake.delay = 2

    def leave(number):
        client = made.smtp("submission", ANNA)
        client.mail(ANNA), client.rcpt(f"r{number}@example.net"), client.docmd("DATA")
        client.sock.sendall(b"Subject: gone\r\n\r\nx\r\n.\r\n")
        wait_until("it is asked", lambda: len(fake.asked) > number)
        client.sock.close()

    for number in range(4):
        leave(number)
    assert [submit(made, f"probe{n}")[0] for n in range(3)] == [250] * 3  # their tokens are there again
    replies = []
    fake.delay, before = 3, len(fake.asked)
    thread = threading.Thread(target=lambda: replies.append(submit(made, "stop")))
    thread.start()
    wait_until("it is asked", lambda: len(fake.asked) > before)
    made.stop()
    thread.join()
    made.start()
    made.wait_ready()
    fake.delay = 0
    if replies and replies[0][0] == 250:
        arrived(made, "stop")
    submit(made, "after")
    arrived(made, "after")
    wait_until("all have gone", lambda: made.queue_length() == 0)
    told = [m.recipients[0] for m in made.sink.messages]
    assert len(told) == len(set(told)) and not any(f"r{n}@example.net" in told for n in range(4)), told
    assert ("rstop@example.net" in told) is bool(replies and replies[0][0] == 250), (replies, told)


def four_clients(node, replies):
    """Two hundred messages from four threads, which are returned; `replies` gets what was said to each."""
    lock = threading.Lock()

    def client(which):
        for i in range(50):
            kind = ("good", "good", "good", "bad", "soft")[i % 5]
            number = f"{kind}{which}x{i}"
            try:
                answer = submit(node, number, text=kind)
            except (smtplib.SMTPException, OSError) as e:
                answer = (0, repr(e))
            with lock:
                replies[number] = answer

    threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    return threads


def as_they_were_told(node, replies):
    """Each of four_clients' that got a 250, and one more, was delivered once, and nothing else was."""
    good = {f"r{n}@example.net" for n, (code, _) in replies.items() if code == 250} | {"rgood-again@example.net"}
    told = [m.recipients[0] for m in node.sink.messages]
    assert len(told) == len(set(told)) and set(told) == good, (set(told) ^ good, len(told))
    assert len(replies) == 200 and all(code in (250, 451, 550) for code, _ in replies.values()), replies
    assert not any(r.startswith(("rbad", "rsoft")) for r in told)
    assert sum(code == 451 and "cannot be checked" in reply for code, reply in replies.values()) > 0
    assert checks(node)["clean"] == len(good)


@pytest.mark.slow(20)
@pytest.mark.sanitizer
def test_nothing_lost_or_doubled_when_servers_die(made, fake):
    """Two hundred messages from four clients while one server, then both, die and come back: each 250 is delivered once,
    and nothing else is."""
    other, replies = Fake(), {}
    fake.verdict = other.verdict = lambda h, b: ("reject", 20) if b"bad" in b else ("soft reject", 1) if b"soft" in b else ("no action", 0)
    fake.delay = other.delay = 0.02
    made.policy("timeout: 2s; when_unreachable: defer", servers=(fake.url, other.url), limit=100000)

    threads = four_clients(made, replies)
    wait_until("it runs", lambda: len(replies) > 30)
    fake.shut()
    wait_until("it runs", lambda: len(replies) > 70)
    other.shut()
    wait_until("it runs", lambda: len(replies) > 100)
    fake.open(), other.open()
    for thread in threads:
        thread.join()
    wait_until("they are asked again", lambda: submit(made, "good-again")[0] == 250)
    wait_until("all have gone", lambda: made.queue_length() == 0)
    as_they_were_told(made, replies)
    other.shut()


@pytest.mark.slow(8)
def test_a_rule_about_spam(made, fake):
    fake.verdict = lambda h, b: ("reject" if b"bad" in b else "no action", 20)
    made.policy(rest="sender_rules:\n  - {name: spammer, when: spam >= 4 in 1h, then: hold 4h}\n")
    assert submit(made, "first")[0] == 250
    arrived(made, "first")
    for number in range(4):
        assert submit(made, number, text="bad")[0] == 550
    wait_until("the rule acts", lambda: [f for f in made.api("GET", "/v1/frozen")["frozen"] if f["name"] == ANNA])
    assert submit(made, "second")[0] == 250
    row = wait_until("it is held", lambda: made.api("GET", "/v1/held")["messages"])[0]
    assert (row["reason"], row["detail"]) == ("rule", "spammer"), row


@pytest.mark.slow(25)
@pytest.mark.skipif(not Rspamd.available(), reason="needs rspamd")
def test_rspamd_itself(made, fake, folder, dns):
    """Debian's rspamd: its test pattern is refused, or held; other mail passes; it dies and comes back under load."""
    real = Rspamd(folder / "rspamd", dns.port).start()
    try:
        made.policy("timeout: 20s", servers=(real.url,))
        code, reply = submit(made, "gtube", GTUBE)
        assert code == 550 and reply.startswith("5.7.1 "), reply
        assert event(made, "rejected", rule="content")["verdict"].startswith("reject ")
        assert submit(made, "ham")[0] == 250
        arrived(made, "ham")
        verdict = event(made, "received", subject="ham")["verdict"]
        assert verdict.startswith("no action "), verdict
        assert ANNA in real.log() and "rham@example.net" in real.log()
        made.policy("timeout: 20s; on_reject: hold", servers=(real.url,))
        assert wait_until("it is held", lambda: submit(made, "kept", GTUBE)[0] == 250)
        row = wait_until("it is held", lambda: made.api("GET", "/v1/held")["messages"])[0]
        assert row["reason"] == "content" and "reject" in row["detail"], row
        made.policy("timeout: 2s; when_unreachable: defer", servers=(real.url,))
        replies = {}

        def client(which):
            for i in range(25):
                replies[f"{which}y{i}"] = submit(made, f"{which}y{i}")[0]

        threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        wait_until("it runs", lambda: len(replies) > 20)
        real.kill()
        for thread in threads:
            thread.join()
        real.start()
        wait_until("it is asked again", lambda: submit(made, "again")[0] == 250, 60)
        wait_until("all but the held one have gone", lambda: made.queue_length() == 1)
        good = {f"r{n}@example.net" for n, code in replies.items() if code == 250} | {"ragain@example.net", "rham@example.net"}
        told = [m.recipients[0] for m in made.sink.messages]
        assert len(told) == len(set(told)) and set(told) == good and 451 in replies.values(), (set(told) ^ good, replies)
    finally:
        real.kill()
