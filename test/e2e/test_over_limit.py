"""Mail beyond a limit: what its client is told, by class of mail and by what the policy says; senders whom a rule slows."""
import json
import os
import re
import shutil
import smtplib
import subprocess
import time

import pytest

from harness.node import PASSWORD
from harness.npm import npm_modules
from harness.postfix import Postfix
from harness.quota import apply_policy, await_applied, usage
from harness.submit import session, submit_all
from harness.util import wait_until

ANNA = "anna@shop.example"


def started(made, policy, **classes):
    apply_policy(made.nodes[0], policy)
    for name, of in classes.items():
        made.nodes[0].add_account(f"{name}@shop.example", **{"class": of})
    await_applied(made.living())
    return made


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


# ---- a blast: a person account writes to all its contacts, over all nodes. At full size with TURNPIKE_REPLAY=5000.

CONTACTS = int(os.environ.get("TURNPIKE_REPLAY", "60"))
LIMIT = 200 if CONTACTS > 1000 else 20
REASON = f"Limit account-hour of this account reached ({LIMIT} recipients per 1h)"
WORKPLACE = "127.0.7.9" # from where mail comes as hers without a login: of the mail server that she uses
whole = pytest.mark.skipif("TURNPIKE_REPLAY" not in os.environ, reason="a replay: TURNPIKE_REPLAY=5000")


def blast_policy(over, notice):
    return f"""
limits:
  - {{name: account-hour, for: account, count: {LIMIT}, window: 1h, over_limit: {over}}}
classes:
  person: {{max_recipients: 0, over_limit_notice: {notice}}}
  device: {{max_recipients: 0}}
"""


@pytest.fixture
def blast(make_cluster, dns):
    dns.mail_domain("shop.example", "127.0.0.1")

    def make(over, notice="held"):
        made = make_cluster(3, {"smtp": {"max_recipients": 10000, "max_messages_per_connection": 10000}, "relay_clients": [
            {"networks": "127.0.0.0/8", "account": "relay@example.com"}, {"networks": f"{WORKPLACE}/32", "account": ANNA}]})
        return started(made, blast_policy(over, notice), anna="person")
    return make


def about_the_limit(n):
    """Near it not every last token is to be had: docs/ledger.md."""
    return LIMIT * 0.9 <= n <= LIMIT


def friends(sink):
    """To whom it went, each once."""
    found = [r for r in sink.recipients() if r.startswith("friend")]
    assert len(set(found)) == len(found)
    return found


def notices(sink, who=ANNA):
    """What the sender is told by mail, whoever writes it."""
    return [m for m in sink.messages if m.recipients == [who]]


def nodes_used(made):
    """Those that have accepted something of it."""
    return [node.name for node in made.nodes if any(e["account"] == ANNA for e in node.events("received"))]


def report(what, began, **figures):
    print(f"\n{what}: {CONTACTS} contacts, {time.monotonic() - began:.0f} s: {figures}")


# A mail program that goes on to the next node with what one did not take, until all have said no; or takes turns.
NODEMAILER = """
const ports = %s, all = %d, from = '%s', together = %s;
const transports = ports.map(port => require('nodemailer').createTransport({
  host: 'localhost', port, pool: true, maxConnections: 1, maxMessages: Infinity, requireTLS: true,
  tls: { rejectUnauthorized: false }, auth: { user: from, pass: '%s' } }));
const words = {}, went = new Set();
async function send(transport, to) {
  try {
    const r = await transport.sendMail({ from, subject: 'news', text: 'to all of you', envelope: { from, to } });
    r.accepted.forEach(a => went.add(a));
    (r.rejectedErrors || []).forEach(note);
  } catch (e) { (e.rejectedErrors || [e]).forEach(note); }
}
const note = e => { const said = e.response || String(e); words[said] = (words[said] || 0) + 1; };
(async () => {
  let to = Array.from({ length: all }, (_, i) => `friend${i}@example.net`), each = [];
  for (const transport of together ? transports : []) {
    const before = went.size;
    await send(transport, to);
    to = to.filter(a => !went.has(a));
    each.push(went.size - before);
  }
  for (let i = 0; !together && i < all; i++)
    await send(transports[i %% transports.length], [to[i]]);
  transports.forEach(t => t.close());
  console.log(JSON.stringify({ went: went.size, words, each }));
})();
"""


@whole
@pytest.mark.slow(60)
@pytest.mark.parametrize("notice", ["held", "always"])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_blast_by_a_mail_program_is_deferred(blast, sink, at_once, notice):
    made = blast("defer", notice)
    modules = npm_modules("nodemailer@6")
    if modules is None:
        pytest.skip("nodemailer cannot be fetched")
    began = time.monotonic()
    script = NODEMAILER % ([node.ports["submission"] for node in made.nodes], CONTACTS, ANNA, "true" if at_once else "false", PASSWORD)
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, timeout=900,
                          env={**os.environ, "NODE_PATH": str(modules)})
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert about_the_limit(told["went"]), told
    # what the program shows: one sentence, but for the minutes in it
    said = {re.sub("try again in .*", "", words) for words in told["words"]}
    assert said == {f"450 4.7.1 {REASON}, "}, told
    refused = sum(told["words"].values())
    if at_once: # by the first node; at the others there is next to nothing left to be had
        assert told["each"][0] >= LIMIT * 0.9 and refused == sum(CONTACTS - sum(told["each"][:n + 1]) for n in range(3)), told
    else:
        assert refused == CONTACTS - told["went"] and len(nodes_used(made)) == 3, told
    wait_until("what went arrives", lambda: len(friends(sink)) == told["went"], 60)
    if notice == "always":
        wait_until("she is told by mail too", lambda: notices(sink), 60)
        assert REASON in notices(sink)[0].content.decode()
    assert len(notices(sink)) == (notice == "always")
    assert sum(node.api("GET", "/v1/status")["held_messages"] for node in made.nodes) == 0
    report(f"defer, mail program, {'in one message' if at_once else 'one by one'}", began, left=told["went"], words=told["words"],
           each_node=told["each"], notices=len(notices(sink)))


POSTFIX = """transport_maps = inline:{{ {{anna@shop.example = smtp:[127.0.0.1]:{sink}}} }}, randmap:{{ {ways} }}
smtp_bind_address = {place}
smtpd_recipient_limit = 10000
smtpd_client_connection_count_limit = 0
minimal_backoff_time = 10s
maximal_backoff_time = 10s
queue_run_delay = 5s
delay_warning_time = {warn}"""


def to_postfix(postfix, friend, at_once):
    text = "From: anna@shop.example\r\nSubject: news\r\n\r\nto all\r\n"
    with smtplib.SMTP("127.0.0.1", postfix.port, timeout=120) as client:
        for some in [friend] if at_once else [[one] for one in friend]:
            client.sendmail(ANNA, some, text)


@whole
@pytest.mark.slow(150)
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.skipif(not shutil.which("postfix") or os.geteuid() != 0, reason="no Postfix, or not root")
def test_a_blast_by_way_of_postfix_is_deferred(blast, sink, folder, at_once):
    """Her one explanation: of one message Postfix's own warning; of many, of each of which it would warn her, the node's mail."""
    made = blast("defer", "held" if at_once else "always")
    ways = ", ".join(f"smtp:[127.0.0.1]:{node.ports['relay']}" for node in made.nodes)
    postfix = Postfix(folder, POSTFIX.format(sink=sink.port, ways=ways, place=WORKPLACE, warn="1s" if at_once else "0"))
    postfix.start()
    began = time.monotonic()
    friend = [f"friend{i}@example.net" for i in range(CONTACTS)]
    deferred = re.compile(r"to=<(friend\d+@[^>]+)>.*status=deferred \(host 127\.0\.0\.1\[127\.0\.0\.1\] said: 450 4\.7\.1 "
                          + re.escape(REASON) + ", try again in ")
    try:
        to_postfix(postfix, friend, at_once)
        wait_until("its sender is told", lambda: notices(sink), 180)
        for _ in range(3 if at_once else 1): # and it tries again, which changes nothing
            log = len(deferred.findall(postfix.log()))
            wait_until("it has tried again", lambda: len(deferred.findall(postfix.log())) > log + CONTACTS - LIMIT, 300)
        left = len(friends(sink))
        assert about_the_limit(left), left
        assert len(notices(sink)) == 1
        text = notices(sink)[0].content.decode("utf-8", "replace")
        assert REASON in re.sub(r"\s+", " ", text), text[:3000]
        waiting = set(deferred.findall(postfix.log())) - set(friends(sink))
        assert len(waiting) + left == CONTACTS
        assert "status=bounced" not in postfix.log()
        asked = {int(port) for port in re.findall(r"relay=127\.0\.0\.1\[127\.0\.0\.1\]:(\d+)", postfix.log())}
        assert asked >= {node.ports["relay"] for node in made.nodes}
        report(f"defer, Postfix, {'in one message' if at_once else 'one by one'}", began, left=left, waits=len(waiting),
               attempts=len(deferred.findall(postfix.log())), notices=len(notices(sink)),
               by="Postfix" if "mail system at host postfix.test" in text else "the node")
    finally:
        postfix.run("stop")


def waiting(node, who=ANNA):
    return node.api("GET", f"/v1/held?account={who}&limit=1000")["messages"]


@pytest.mark.slow(8)
def test_a_blast_is_held(blast, sink):
    made = blast("hold")
    one, last = made.nodes[0], made.nodes[-1]
    one.add_account("bob@shop.example", **{"class": "person"})
    await_applied(made.nodes)
    began = time.monotonic()

    def held():
        return sum(node.api("GET", "/v1/status")["held_messages"] for node in made.nodes)
    # in as many messages as there are contacts: what the limit allows leaves, the rest waits
    sessions = [lambda node=made.nodes[i % len(made.nodes)]: session(node, ANNA) for i in range(6)]
    _, failures = submit_all(sessions, range(CONTACTS), ANNA,
                             lambda number: (f"friend{number}@example.net", f"Subject: news\r\n\r\nhello {number}\r\n"))
    assert not failures, failures[:3]
    wait_until("what may leave has left", lambda: len(friends(sink)) + held() == CONTACTS and notices(sink), 60)
    left = len(friends(sink))
    report("hold, one by one", began, left=left, held=held(), notices=len(notices(sink)))
    assert about_the_limit(left)
    row = last.api("GET", f"/v1/held?account={ANNA}&limit=1")["messages"][0]
    assert (row["reason"], row["detail"]) == ("over_limit", "account-hour"), row
    assert usage(one, "account-hour", ANNA)["used"] <= LIMIT
    wait_until("all have told of it", lambda: len(nodes_used(made)) == 3)
    # in one: likewise
    began = time.monotonic()
    friend = [f"friend{number}.bob@example.net" for number in range(CONTACTS)]
    last.send(friend, sender="bob@shop.example", kind="submission", login="bob@shop.example")
    assert held() == CONTACTS - left + 1
    row = wait_until("it is listed", lambda: waiting(one, "bob@shop.example"))[0]
    bobs = CONTACTS - row["held"]
    assert about_the_limit(bobs) and (row["reason"], row["detail"]) == ("over_limit", "account-hour"), row
    wait_until("what may leave has left", lambda: len(friends(sink)) == left + bobs, 60)
    assert bobs <= usage(one, "account-hour", "bob@shop.example")["used"] <= LIMIT
    wait_until("he is told too", lambda: notices(sink, "bob@shop.example"))
    assert f"{CONTACTS - bobs} of {CONTACTS} recipients are held" in notices(sink, "bob@shop.example")[0].content.decode()
    report("hold, in one message", began, left=bobs, held=row["held"], notices=len(notices(sink, "bob@shop.example")))
    done = one.api("POST", "/v1/held/release", {"account": "bob@shop.example"})
    assert (done["done"], done["no_quota"]) == (0, CONTACTS - bobs), done
    last.cli("held", "release", "--all-of", "bob@shop.example", "--exempt", "--operator", "eva", "--text", "club's invitation")
    wait_until("all of it leaves", lambda: len(friends(sink)) == left + CONTACTS, 60)
    # and nothing else has: each sender told once
    assert len(set(friends(sink)) - set(friend)) == left
    for who in (ANNA, "bob@shop.example"):
        assert len(notices(sink, who)) == 1
        text = notices(sink, who)[0].content.decode()
        assert REASON in text, text
        assert "Subject: Your mail is held: limit account-hour is reached" in text, text
    assert held() == CONTACTS - left


SITES = 10


def contacts(number):
    return [f"friend{i}.{number}@{i % SITES}.example.net" for i in range(CONTACTS)]


def later(sink):
    sink.hooks["rcpt"] = lambda s, a: "450 4.2.0 later"


def at_once(made, sink):
    sink.hooks.pop("rcpt", None)
    for node in made.nodes:
        node.api("POST", "/v1/queue/retry", {"all": True})


@pytest.fixture
def sites(dns):
    for i in range(SITES):
        dns.mail_domain(f"{i}.example.net", "127.0.0.1")


@pytest.mark.slow(12)
def test_a_blast_in_one_message_is_held_from_the_limit_on(blast, sites, sink):
    """What leaves of it, and no more, has left after its node was killed right after the 250, after a move, and when the same is sent by
    way of all nodes; the rest is released as the limit allows, and all arrive once."""
    made = blast("hold")
    one, two, three = made.nodes
    later(sink)
    began = time.monotonic()
    told = one.send(contacts(0), sender=ANNA, kind="submission", login=ANNA)
    one.kill()
    one.restart()
    one.wait_ready()
    row = wait_until("it is there", lambda: waiting(two))[0]
    left = CONTACTS - row["held"]
    assert about_the_limit(left) and (row["id"], row["reason"], row["detail"]) == (told, "over_limit", "account-hour"), row
    row = one.track(id=told, recipient="friend0.0@0.example.net")[0]
    assert row["state"] == "queued" and row["held_for"] is None, row
    wait_until("the others are queued", lambda: left == sum(
        q["id"] == told for q in one.api("GET", "/v1/queue?limit=1000&state=queued")["recipients"]))
    # it moves with both
    one.api("POST", "/v1/queue/move", {"ids": [told], "to": three.name})
    wait_until("it has moved", lambda: [(r["node"], r["held"], r["reason"]) for r in waiting(two)] ==
               [(three.name, CONTACTS - left, "over_limit")])
    # by way of all nodes at once: what is left of the quota is a token or two
    for n in (1, 2, 3):
        made.nodes[n - 1].send(contacts(n), sender=ANNA, kind="submission", login=ANNA)
    rows = wait_until("they are listed", lambda: len(waiting(one)) == 4 and waiting(one))
    in_all = 4 * CONTACTS - sum(r["held"] for r in rows)
    assert about_the_limit(in_all), rows
    at_once(made, sink)
    wait_until("what may leave has left", lambda: len(friends(sink)) == in_all, 60)
    assert usage(one, "account-hour", ANNA)["used"] <= LIMIT
    wait_until("it is told", lambda: sorted(e["recipients"] for node in made.nodes for e in node.events("held") if e["id"] != told) ==
               sorted(r["held"] for r in rows if r["id"] != told))
    report("hold, in one message over a crash and a move", began, left=in_all)
    # the postmaster lets go what the limit allows by now
    assert one.api("POST", "/v1/held/release", {"account": ANNA})["done"] == 0
    more = LIMIT + CONTACTS // 2
    one.api("POST", "/v1/limits/set", {"account": ANNA, "limit": "account-hour", "count": more})
    await_applied(made.nodes)
    done = three.api("POST", "/v1/held/release", {"account": ANNA})
    assert 0 < done["done"] <= more - in_all and done["no_quota"] > 0, done
    wait_until("they leave", lambda: len(friends(sink)) == in_all + done["done"], 60)
    assert usage(one, "account-hour", ANNA)["used"] <= more
    three.cli("held", "release", "--all-of", ANNA, "--exempt", "--operator", "eva", "--text", "club's invitation")
    wait_until("all of it leaves", lambda: len(friends(sink)) == 4 * CONTACTS, 60)
    assert sum(node.api("GET", "/v1/status")["held_messages"] for node in made.nodes) == 0
