"""Filters by the milter protocol: what a real one, of libmilter, says of a message is done before its 250; whatever becomes of filters
and clients meanwhile, no message is lost, none is delivered twice, and none is charged that was refused."""
import threading
import time

import pytest

from harness.milters import Filter
from harness.quota import apply_policy
from harness.rspamd import GTUBE, Fake, Rspamd
from harness.util import wait_until
from test_dkim import keys
from test_content import ANNA, LIMIT, arrived, as_they_were_told, checks, event, four_clients, left, spam_seen, submit

__all__ = ["keys"]
pytestmark = pytest.mark.skipif(not Filter.available(), reason="needs python3-milter")


@pytest.fixture
def filters(tmp_path):
    made = []

    def make(kind="headers", unix=False):
        made.append(Filter(tmp_path / f"filter{len(made)}", kind, unix))
        return made[-1]
    yield make
    for one in made:
        one.kill()


@pytest.fixture
def made(make_cluster, make_sink, dns):
    """A cluster of one whose mail to example.net arrives at `sink`, and a way to have filters asked."""
    node = make_cluster(1).nodes[0]
    node.add_account(ANNA)
    node.sink = make_sink()
    dns.mail_domain("example.net", "127.0.0.1")

    def policy(*milters, content="", limit=1000, rest=""):
        lines = [f"    - {{name: {'abcd'[i]}, socket: '{m.socket}'{', ' + more if more else ''}}}\n" for i, (m, more) in enumerate(milters)]
        apply_policy(node, LIMIT % limit + "content:\n" + "".join(f"  {line}\n" for line in content.split("; ") if line) +
                     "  milters:\n" + "".join(lines) + rest)
    node.policy = policy
    return node


def header_of(node, number):
    return arrived(node, number).header + "\r\n"


@pytest.mark.slow(10)
@pytest.mark.sanitizer
@pytest.mark.parametrize("unix", [False, True])
def test_each_verdict_at_each_stage(made, filters, unix):
    f = filters(unix=unix)
    made.policy((f, ""))
    default = {"reject": (550, "5.7.1 This message is refused"), "discard": (550, "5.7.1 This message is refused"),
               "tempfail": (451, "4.7.1 This message cannot be taken now, try again later")}
    n = 0
    for stage in ("connect", "helo", "mail", "rcpt", "data", "header__Subject", "eoh", "body", "eom"):
        for verdict in ("accept", "reject", "tempfail", "discard"):
            if verdict == "discard" and stage in ("connect", "helo"):
                continue  # libmilter's filters cannot there
            n += 1
            f.order(**{stage: verdict})
            code, reply = submit(made, n)
            if verdict == "accept":
                assert code == 250, (stage, reply)
                arrived(made, n)
            else:
                want = default[verdict]
                text = want[1].replace(" ", f" <r{n}@example.net>: ", 1) if stage == "rcpt" else want[1]
                assert (code, reply) == (want[0], text), (stage, verdict, code, reply)
    # replies in the filter's words
    f.order(eom=[554, "5.7.0", "a virus, 100%%"])
    assert submit(made, "v") == (554, "5.7.0 a virus, 100%")
    f.order(eom=[451, "4.3.5", "two", "lines"])
    assert submit(made, "v") == (451, "4.3.5 two lines")
    f.order(header__Subject=[550, None, "no code"])
    assert submit(made, "v") == (550, "5.7.1 no code")
    f.order(rcpt=[550, "5.1.1", "nobody"])
    assert submit(made, "v") == (550, "5.1.1 <rv@example.net>: nobody")
    assert event(made, "rejected", verdict="a: reject <rv@example.net>: nobody")["enhanced"] == "5.1.1"
    f.order()
    assert submit(made, "last")[0] == 250
    arrived(made, "last")
    wait_until("all have gone", lambda: made.queue_length() == 0)
    assert len(made.sink.messages) == 10
    counted = checks(made)
    assert counted == {"clean": 10, "reject": 9 + 7 + 3, "soft": 9 + 1}, counted
    refused = event(made, "rejected", verdict="a: reject a virus, 100%")
    assert refused["rule"] == "content" and refused["stage"] == "content" and refused["code"] == 554 and refused["account"] == ANNA
    assert event(made, "received", subject="last")["verdict"] == "a: accept"
    wait_until("it is counted", lambda: spam_seen(made)["1h"] == 19)


@pytest.mark.slow(6)
@pytest.mark.sanitizer
def test_what_it_is_shown(made, filters, make_cluster):
    f, quiet = filters(), filters(kind="quiet")
    made.policy((f, ""), (quiet, ""))
    body = "".join(f"{i:070}\r\n" for i in range(3000))
    code, reply = submit(made, "shown", body, header="X-Fold: one\r\n\ttwo\r\nX-Spam: mine\r\n")
    assert code == 250, reply
    assert submit(made, "next")[0] == 250  # on the same connections
    header = header_of(made, "shown")
    first, after = f.seen()
    assert first["sender"] == f"<{ANNA}>" and first["rcpts"] == ["<rshown@example.net>"] and first["helo"] == "client.example.com"
    assert first["connect"][1] == "127.0.0.1"
    assert ["X-Fold", "one\n\ttwo"] in first["headers"] and ["Subject", "shown"] in first["headers"]
    names = [name for name, value in first["headers"]]
    assert "Received" not in names and "X-Spam" not in names and "Date" in names and "Message-ID" in names
    assert first["body"] == len(body) + 2 and after["body"] == 7, (first["body"], after["body"])
    m = first["macros"]
    assert m["i"] in header and m["{auth_authen}"] == ANNA and m["{auth_type}"] == "PLAIN" and m["{mail_addr}"] == ANNA
    assert m["{client_addr}"] == "127.0.0.1" and m["{daemon_name}"].startswith("submission") and m["v"].startswith("Turnpike")
    assert m["{tls_version}"].startswith("TLSv1") and m["{cipher}"] and m["j"]
    assert after["macros"]["i"] != m["i"]
    seen = quiet.seen()
    assert len(seen) == 2 and "helo" not in seen[0] and seen[0]["body"] == first["body"] and seen[0]["rcpts"] == first["rcpts"]
    assert [[n, v.strip()] for n, v in seen[0]["headers"]] == [[n, v.strip()] for n, v in first["headers"]]
    assert event(made, "received", subject="shown")["verdict"] == "a: accept; b: accept"


@pytest.mark.slow(8)
@pytest.mark.sanitizer
def test_changes_of_the_header(made, filters):
    f, after = filters(), filters()
    made.policy((f, ""), (after, ""))
    f.order(do=[["addheader", "X-Last", "z"], ["addheader", "X-First", "a", 0], ["addheader", "X-Third", "c", 2],
                ["chgheader", "X-Two", 2, "two"], ["chgheader", "X-Two", 1, ""], ["chgheader", "Subject", 1, "[checked] changed"],
                ["addheader", "X-Fold", "one\n two"], ["addheader", "X-Smuggle", "x\r\nBcc: eve@example.net\r\n\r\nbody"]])
    assert submit(made, "changed", "the body", header="X-Two: 1\r\nX-Two: 2\r\nX-Two: 3\r\n") [0] == 250
    message = arrived(made, "changed")
    header = message.header + "\r\n"
    lines = header.split("\r\n")
    assert lines[0] == "X-First: a" and lines[1].startswith("Received: from "), lines
    fields = [line for line in lines if line[:1] not in " \t"]
    assert fields[2] == "X-Third: c" and "X-Two: two" in fields and "X-Two: 3" in fields and "X-Two: 1" not in fields
    assert "Subject: [checked] changed" in fields and fields.index("X-Last: z") > fields.index("X-Two: 3")
    assert "X-Fold: one\r\n two\r\n" in header and "X-Smuggle: x\r\n\tBcc: eve@example.net\r\n\tbody" in header
    assert message.content.endswith(b"\r\n\r\nthe body\r\n"), message.content
    shown = after.seen()[0]["headers"]  # what the one before it left
    assert ["Subject", "[checked] changed"] in shown and ["X-First", "a"] in shown and ["X-Two", "1"] not in shown
    # refused: nothing of it stays; large ones are not asked about
    assert submit(made, "big", "x" * 70 + "\r\n" * 5)[0] == 250
    f.order(do=[["addheader", "X-A", "a"]], eom="reject")
    assert submit(made, "refused")[0] == 550
    made.policy((f, ""), content="max_size: 4k")
    f.order(do=[["addheader", "X-A", "a"]])
    assert submit(made, "large", ("x" * 70 + "\r\n") * 700)[0] == 250
    assert "X-A" not in header_of(made, "large")
    assert event(made, "received", subject="large")["verdict"].startswith("unchecked: larger than")
    assert submit(made, "small")[0] == 250
    assert "X-A: a\r\n" in header_of(made, "small")


@pytest.mark.slow(6)
@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_signed_after_the_changes(made, filters, keys, kind):
    f = filters()
    made.policy((f, ""))
    made.cli("dkim", "generate", "example.com", "--selector", "s1", "--type", kind, "--cluster")
    for row in wait_until("it has the key", lambda: made.api("GET", "/v1/dkim")["keys"]):
        keys.records[f"{row['selector']}._domainkey.{row['domain']}"] = row["record"]
    f.order(do=[["chgheader", "Subject", 1, "[checked] changed"], ["addheader", "X-First", "a", 0]])
    for number in ("short", "long"):
        text = f"From: {ANNA}\r\n"
        wait_until("it is accepted", lambda: submit(made, number, ("y" * 70 + "\r\n") * (3000 if number == "long" else 1), header=text)[0] == 250)
        message = arrived(made, number)
        assert [s[:2] for s in keys.signers(message.content)] == [("example.com", "s1")]
        assert "X-First: a\r\nReceived: " in message.header and "Subject: [checked] changed" in message.header
    f.order(do=[["addheader", "X-Long" + str(i), ("z" * 900 + "\n ") * 10] for i in range(6)])  # more than goes in front at once
    assert submit(made, "wide", header=f"From: {ANNA}\r\n" + "".join(f"X-W{i}: {'w' * 900}\r\n" for i in range(60)))[0] == 250
    message = arrived(made, "wide")
    assert len(message.header) > 100000 and message.header.count("X-W") == 60 and message.header.count("zzz\r\n z") >= 54
    assert [s[:2] for s in keys.signers(message.content)] == [("example.com", "s1")]


@pytest.mark.slow(20)
@pytest.mark.skipif(not Rspamd.available(), reason="needs rspamd")
def test_rspamd_as_a_milter(made, folder, dns):
    rspamd = Rspamd(folder / "rspamd", dns.port, milter=True).start()
    try:
        made.policy((rspamd, "timeout: 20s, when_unreachable: defer"))
        wait_until("it answers", lambda: submit(made, "clean")[0] == 250)
        arrived(made, "clean")
        code, reply = submit(made, "spam", GTUBE)
        assert code == 550 or code == 554, reply
        assert "tube" in reply and event(made, "rejected", rule="content")["verdict"].startswith("a: reject ")
        for number in range(5):
            assert submit(made, f"more{number}")[0] == 250
            arrived(made, f"more{number}")
        assert f"user: {ANNA}" in rspamd.log() or ANNA in rspamd.log()
    finally:
        rspamd.kill()


@pytest.mark.slow(8)
@pytest.mark.sanitizer
def test_held_and_what_cannot_be_done(made, filters):
    f, all_of_it = filters(), filters(kind="all")
    made.policy((f, ""))
    f.order(do=[["quarantine", "a virus"], ["addheader", "X-Found", "virus"]])
    assert submit(made, "bad")[0] == 250
    row = wait_until("it is held", lambda: made.api("GET", "/v1/held")["messages"])[0]
    assert row["reason"] == "content" and row["detail"] == "a: quarantine a virus"
    assert event(made, "held", rule="content")["text"] == "a: quarantine a virus" and checks(made) == {"quarantine": 1}
    made.api("POST", "/v1/held/release", {"ids": [row["id"]]})
    assert "X-Found: virus" in header_of(made, "bad")
    # one that insists on what is not done: refused when it negotiates, unless it is offered; what it then does is held
    made.policy((all_of_it, "when_unreachable: defer"))
    assert submit(made, "insists")[0] == 451
    wait_until("it is known", lambda: "offer_all" in str((submit(made, "insists"), made.cluster()["problems"])[1]))
    made.policy((all_of_it, "when_unreachable: defer, offer_all: yes"))
    wait_until("it is asked again", lambda: submit(made, "fine")[0] == 250)
    arrived(made, "fine")
    for do, words in ((["addrcpt", "eve@example.net"], "add a recipient"), (["delrcpt", "<rx@example.net>"], "delete a recipient"),
                      (["replacebody", b"new".decode()], "replace the body"), (["chgfrom", "eve@example.net"], "change the sender")):
        all_of_it.order(do=[do])
        assert submit(made, "x")[0] == 250
        held = wait_until("it is held", lambda: made.api("GET", "/v1/held")["messages"])
        assert [m["detail"] for m in held] == [f"a: quarantine it wants to {words}"]
        made.api("POST", "/v1/held/release", {"ids": [held[0]["id"]]})
        wait_until("it is gone", lambda: not made.api("GET", "/v1/held")["messages"])
    wait_until("all have gone", lambda: made.queue_length() == 0)
    told = [r for m in made.sink.messages for r in m.recipients]
    assert sorted(told) == sorted(["rbad@example.net", "rfine@example.net"] + ["rx@example.net"] * 4)


@pytest.mark.slow(6)
def test_what_is_refused_or_held_costs_nothing(made, filters):
    f = filters()
    made.policy((f, "when_unreachable: defer"), limit=5)
    for number in range(4):
        f.order(eom="reject")
        assert submit(made, number)[0] == 550
        f.order(rcpt="tempfail")
        assert submit(made, number)[0] == 451
        f.order(do=[["quarantine", "x"]])
        assert submit(made, number)[0] == 250
    f.kill()
    for number in range(6):
        assert submit(made, number)[0] == 451
    f.order()
    f.start()
    wait_until("it is asked again", lambda: submit(made, "first")[0] == 250)
    assert left(made, 4)


@pytest.mark.slow(25)
def test_filters_that_fail(made, filters):
    f = filters()
    made.policy((f, "timeout: 600ms, when_unreachable: defer"), (f, "classes: bulk"))
    assert submit(made, "well")[0] == 250
    f.pause(True)
    begun = time.monotonic()
    assert submit(made, "late") == (451, "4.7.1 The content cannot be checked just now, try again later")
    assert 0.5 <= time.monotonic() - begun < 10
    wait_until("it is known", lambda: "milter a at" in str((submit(made, "late"), made.cluster()["problems"])[1]))
    begun = time.monotonic()
    assert submit(made, "late")[0] == 451 and time.monotonic() - begun < 0.5  # nobody waits for one that rests
    assert "mail is deferred" in made.cli("cluster", "status", check=False).stdout
    f.pause(False)
    wait_until("it answers again", lambda: submit(made, "again")[0] == 250)
    assert "milter a at" not in str(made.cluster()["problems"])
    f.order(do=[["wait", 0.4], ["progress"], ["wait", 0.4], ["progress"], ["wait", 0.4]])  # longer than its time, and it says so
    assert submit(made, "slow")[0] == 250
    f.kill()
    made.policy((f, "timeout: 600ms, when_unreachable: accept"))
    wait_until("it is in force", lambda: submit(made, "open")[0] == 250)
    assert event(made, "received", subject="open")["verdict"].startswith("a: unchecked: ")


@pytest.mark.slow(6)
def test_rspamd_first_then_filters(made, filters):
    f, fake = filters(), Fake()
    fake.verdict = lambda h, b: ("reject", 20) if b"bad" in b else ("add header", 8) if b"spam" in b else ("no action", 0)
    f.order(do=[["addheader", "X-Filter", "yes"]])
    made.policy((f, ""), content=f"servers: ['{fake.url}']")
    assert submit(made, "r1", "bad")[0] == 550 and not f.seen()  # refused: nobody else is asked
    assert submit(made, "r2", "spam")[0] == 250
    header = header_of(made, "r2")
    assert "X-Spam: Yes\r\n" in header and "X-Filter: yes\r\n" in header
    assert event(made, "received", subject="r2")["verdict"] == "add header 8.00/15.00 WORDS; a: accept"
    f.order(eom="reject")
    assert submit(made, "r3", "spam")[0] == 550
    made.policy((f, "classes: bulk"), content=f"servers: ['{fake.url}']")
    assert submit(made, "r4")[0] == 250  # not for this class
    fake.shut()


@pytest.mark.slow(6)
@pytest.mark.sanitizer
def test_a_client_that_leaves_and_a_node_that_stops(made, filters):
    f = filters()
    made.policy((f, "timeout: 60s"), limit=6)
    f.order(do=[["wait", 2]])

    def leave(number):
        client, before = made.smtp("submission", ANNA), len(f.seen())
        client.mail(ANNA), client.rcpt(f"r{number}@example.net"), client.docmd("DATA")
        client.sock.sendall(b"Subject: gone\r\n\r\nx\r\n.\r\n")
        wait_until("it is asked", lambda: len(f.seen()) > before)
        client.sock.close()

    for number in range(4):
        leave(number)
    assert [submit(made, f"probe{n}")[0] for n in range(3)] == [250] * 3  # their tokens are there again
    replies, before = [], len(f.seen())
    thread = threading.Thread(target=lambda: replies.append(submit(made, "stop")))
    thread.start()
    wait_until("it is asked", lambda: len(f.seen()) > before)
    made.stop()
    thread.join()
    made.start()
    made.wait_ready()
    f.order()
    submit(made, "after")
    arrived(made, "after")
    wait_until("all have gone", lambda: made.queue_length() == 0)
    told = [m.recipients[0] for m in made.sink.messages]
    assert len(told) == len(set(told)) and not any(f"r{n}@example.net" in told for n in range(4)), told
    assert ("rstop@example.net" in told) is bool(replies and replies[0][0] == 250), (replies, told)


@pytest.mark.slow(20)
@pytest.mark.sanitizer
def test_nothing_lost_or_doubled_when_a_filter_is_killed(made, filters):
    """Two hundred messages from four clients while the filter is killed again and again: each 250 is delivered once, with what the
    filter does to it, and nothing else is."""
    f, replies = filters(), {}
    f.order(words={"bad": "reject", "soft": "tempfail"}, do=[["addheader", "X-Seen", "once"], ["wait", 0.02]])
    made.policy((f, "timeout: 2s, when_unreachable: defer"), limit=100000)

    threads = four_clients(made, replies)
    for count in (20, 60, 100):
        wait_until("it runs", lambda: len(replies) > count)
        f.kill()
        time.sleep(0.3)
        f.start()
    for thread in threads:
        thread.join()
    wait_until("it is asked again", lambda: submit(made, "good-again")[0] == 250)
    wait_until("all have gone", lambda: made.queue_length() == 0)
    as_they_were_told(made, replies)
    assert all((m.header + "\r\n").count("X-Seen: once\r\n") == 1 for m in made.sink.messages)
