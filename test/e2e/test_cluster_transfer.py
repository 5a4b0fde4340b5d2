"""Mail that moves between nodes: every message arrives once, whoever is killed when, and held mail stays held."""
import collections
import os
import smtplib
import subprocess
import threading
import time

import pytest

from harness.quota import SENDER, apply_policy, await_applied
from harness.util import CLI, SANITIZED, wait_until

DOMAINS = [f"{c}.example.net" for c in "abcde"]
COUNT = 120 if SANITIZED else 330
MANY = int(os.environ.get("TURNPIKE_LEAVE_MESSAGES", 2000))
OTHER, OTHER_SOURCE = "other@example.com", "127.9.0.1"  # a second account of relay clients, and where they come from
TWO_ACCOUNTS = {"relay_clients": [{"networks": "127.0.0.0/8", "account": SENDER},
                                  {"networks": "127.9.0.0/16", "account": OTHER}]}


@pytest.fixture
def dark(dns, mx_port):
    """Next hops that do not answer yet."""
    for domain in DOMAINS:
        dns.mail_domain(domain, "127.0.0.1")


def fill(node, count, start=0, source="127.0.0.1"):
    """Messages to different recipients, which nobody takes yet."""
    sent = []
    with smtplib.SMTP("127.0.0.1", node.ports["relay"], timeout=30, source_address=(source, 0)) as client:
        for i in range(start, start + count):
            recipient = f"u{i}@{DOMAINS[i % len(DOMAINS)]}"
            client.sendmail("user@example.com", [recipient], f"Subject: {i}\r\n\r\n{('x' * 70 + chr(13) + chr(10)) * (i * 37 % 60)}end\r\n")
            sent.append(recipient)
    return sent


def transfers(node):
    return node.api("GET", "/v1/transfers")


def open_batches(node):
    return [t for t in transfers(node)["transfers"] if t["direction"] != "kept"]


def kept(node):
    """Of givers that were removed."""
    return [t for t in transfers(node)["transfers"] if t["direction"] == "kept"]


def messages(node):
    return node.api("GET", "/v1/status?scope=local")["spool"]["messages"]


def move(node, to, **more):
    return node.api("POST", "/v1/queue/move", {"all": True, "to": to.name, **more})


def settled(nodes):
    return all(open_batches(n) == [] and transfers(n)["unclaimed"] == 0 for n in nodes)


def wait_settled(nodes, timeout=60):
    wait_until("nothing is on its way", lambda: settled(nodes), timeout)


def deliver(nodes, make_sink, wanted, timeout=90, interval=0.3):
    """Everything goes out now; each recipient gets it once."""
    sink = make_sink()
    until = time.monotonic() + timeout
    while any(messages(n) for n in nodes) and time.monotonic() < until:
        for node in nodes:
            if messages(node):
                node.api("POST", "/v1/queue/retry", {"all": True})
        time.sleep(interval)
    assert [messages(n) for n in nodes] == [0] * len(nodes)
    got = collections.Counter(r for m in sink.messages for r in m.recipients)
    assert set(got) == set(wanted), f"lost {sorted(set(wanted) - set(got))[:5]}, new {sorted(set(got) - set(wanted))[:5]}"
    assert max(got.values()) == 1, f"twice: {[r for r, n in got.items() if n > 1][:5]}"


def test_a_queue_moves_and_each_message_arrives_once(cluster, dark, make_sink):
    a, b, _ = cluster.nodes
    wanted = fill(a, COUNT)
    assert move(a, b, dry_run=True)["messages"] == COUNT and messages(b) == 0
    assert move(a, b)["messages"] == COUNT
    wait_until("all of it has moved", lambda: messages(a) == 0 and messages(b) == COUNT, 60)
    wait_settled(cluster.nodes)
    assert transfers(a)["moved"] == COUNT
    deliver(cluster.nodes, make_sink, wanted)


def test_held_mail_stays_held_and_its_attempts_are_kept(cluster, dark, make_sink):
    a, b, _ = cluster.nodes
    wanted = fill(a, 20)
    wait_until("all were tried", lambda: len(a.queue()) == 20 and all(r["attempts"] for r in a.queue()) or
               any(r["reply"] for r in a.queue()))
    a.api("POST", "/v1/queue/hold", {"sender": "user@example.com", "recipient": f"@{DOMAINS[0]}"})
    before = {r["recipient"]: (r["id"], r["state"], r["attempts"]) for r in a.queue()}
    move(a, b)
    wait_until("all of it has moved", lambda: messages(a) == 0 and messages(b) == 20, 30)
    wait_settled(cluster.nodes)
    wait_until("it is in the queues", lambda: len(b.queue()) == 20)
    after = {r["recipient"]: (r["id"], r["state"], r["attempts"]) for r in b.queue()}
    assert {r: (i, s == "held") for r, (i, s, _) in before.items()} == \
        {r: (i, s == "held") for r, (i, s, _) in after.items()}
    assert all(after[r][2] >= before[r][2] for r in before)
    held = [r for r in b.queue() if r["state"] == "held"]
    assert len(held) == 4
    # people know it by the same id; the first node's history says where it went
    assert b.api("GET", f"/v1/queue/messages/{held[0]['id']}")["id"] == held[0]["id"]
    wait_until("the history says so", lambda: any(r["state"] == "moved" and "node-b" in r["reply"]
                                                  for r in a.track(id=held[0]["id"], scope="local")))
    steps = [(s["what"], s["who"]) for r in b.track(id=held[0]["id"], scope="local") for s in r["steps"]]
    assert ("arrived", "node-a") in steps
    b.api("POST", "/v1/queue/release", {"ids": [held[0]["id"]]})
    assert next(r for r in b.queue() if r["id"] == held[0]["id"])["state"] != "held"
    b.api("POST", "/v1/queue/release", {"state": "held"})
    deliver(cluster.nodes, make_sink, wanted)


def erasing(node):
    """Who has not done it yet, of each address that is being erased."""
    return {e["address"]: e["waiting"] for e in node.api("GET", "/v1/privacy/erasures")["erasures"]}


def test_what_is_to_be_erased_stays_so_on_the_node_that_it_moves_to(cluster, dark, make_sink):
    """Also when that node has said long ago that it has done its part."""
    a, b, c = cluster.nodes
    wanted = fill(a, 10)
    address = wanted[3]
    assert a.cli("privacy", "erase", address, "--yes", check=False).returncode == 5
    assert erasing(a) == {address: [a.name]}, "mail of it is in a's queue"
    move(a, b)
    wait_until("all of it has moved", lambda: messages(a) == 0 and messages(b) == 10, 30)
    wait_settled(cluster.nodes)
    wait_until("b has it to do again", lambda: erasing(a) == {address: [b.name]}, 30)
    move(b, c)
    wait_until("all of it has moved", lambda: messages(b) == 0 and messages(c) == 10, 30)
    wait_settled(cluster.nodes)
    wait_until("and then c", lambda: erasing(a) == {address: [c.name]}, 30)
    deliver(cluster.nodes, make_sink, wanted)
    wait_until("it is erased", lambda: erasing(a) == {}, 30)
    for node in cluster.nodes:
        rows = node.track(since="1h", scope="local")
        assert rows and not any(address in str(r) for r in rows), rows
    assert address not in str(a.api("GET", "/v1/audit"))


def when(look, kill):
    """Kills as soon as `look` says so; how often it was asked."""
    asked = 0
    while not look():
        asked += 1
    kill()
    return asked


@pytest.mark.parametrize("who", ["giver", "taker"])
@pytest.mark.parametrize("left", [0, 40, 110, 200, 290])
def test_a_kill_in_the_middle_loses_nothing_and_doubles_nothing(cluster, dark, make_sink, who, left):
    """The later, the more has moved: between any two steps, on both sides."""
    a, b, _ = cluster.nodes
    wanted = fill(a, COUNT)
    victim = a if who == "giver" else b
    move(a, b)
    wait_until("it is on its way", lambda: transfers(a)["moved"] >= left * COUNT // 330 or messages(a) == 0, 60, 0.002)
    victim.kill()
    time.sleep(0.2 if left % 20 else 1.5)  # short: back before anybody noticed; long: with a session that ended
    victim.restart()
    victim.wait_ready(60)
    wait_settled(cluster.nodes, 90)
    assert sum(messages(n) for n in cluster.nodes) == COUNT
    deliver(cluster.nodes, make_sink, wanted)


def test_leaving_hands_everything_over_evenly(cluster, dark, make_sink):
    giver = cluster.nodes[0]
    wanted = fill(giver, COUNT)
    giver.api("POST", "/v1/queue/hold", {"recipient": f"@{DOMAINS[1]}"})
    rest = cluster.nodes[1:]
    until = time.monotonic() + 120
    while not giver.api("POST", "/v1/node/leave", {})["left"]:
        assert time.monotonic() < until
    assert messages(giver) == 0
    share = [messages(n) for n in rest]
    assert sum(share) == COUNT and min(share) >= COUNT // 4, share
    wait_settled(rest)
    assert sum(r["state"] == "held" for n in rest for r in n.api("GET", "/v1/queue?limit=1000&scope=local")
               ["recipients"]) == COUNT // 5
    for node in rest:
        node.api("POST", "/v1/queue/release", {"state": "held"})
    deliver(rest, make_sink, wanted)


@pytest.mark.slow(40)
def test_a_node_leaves_while_both_takers_are_killed(cluster, dark, make_sink):
    """One after the other, in the middle, and started again; the operator's command goes on."""
    giver, *takers = cluster.nodes
    apply_policy(giver, "limits: []\n")
    await_applied(cluster.nodes)
    began = time.monotonic()
    loads = [giver.bench("--messages", MANY // 5, "--sessions", 4, "--size", 1024, "--from", "user@example.com", "--to",
                         f"u{{n}}@{domain}") for domain in DOMAINS]
    assert [load.wait(300) for load in loads] == [0] * 5
    wanted = [f"u{n}@{domain}" for n in range(MANY // 5) for domain in DOMAINS]
    assert messages(giver) == MANY
    filled = time.monotonic()
    leaving = subprocess.Popen([CLI, "--socket", giver.socket, "node", "leave", "--yes"], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    killed = []
    for taker, part in ((takers[0], 0.1), (takers[1], 0.4)):
        wait_until("it is on its way", lambda part=part: transfers(giver)["moved"] >= part * MANY, 120, 0.005)
        taker.kill()
        killed.append(transfers(giver)["moved"])
        time.sleep(1)
        taker.restart()
        taker.wait_ready(60)
    said, _ = leaving.communicate(timeout=300)
    assert leaving.returncode == 0, said
    left = time.monotonic()
    assert messages(giver) == 0 and min(killed) < MANY
    share = [messages(n) for n in takers]
    assert sum(share) == MANY, share
    wait_settled(takers)
    deliver(takers, make_sink, wanted, 300, 2)
    print(f"{MANY} messages queued in {filled - began:.1f} s; left in {left - filled:.1f} s, takers killed when "
          f"{killed} had moved; {share} there; each arrived once, in {time.monotonic() - left:.1f} s")


# ---- frozen senders

class Later:
    """A next hop that puts off everything, and notes when it was asked; then takes it."""

    def __init__(self, make_sink):
        self.asked, self.sink = [], make_sink()
        self.sink.hooks["rcpt"] = lambda session, argument: self.asked.append((time.monotonic(), argument)) or "450 4.2.0 later"

    def take(self):
        self.sink.hooks.pop("rcpt")

    def asked_for(self, recipients, since):
        return [a for t, a in list(self.asked) if t > since and any(f"<{r}>" in a for r in recipients)]


def retry(nodes):
    for node in nodes:
        node.api("POST", "/v1/queue/retry", {"all": True})


def freeze(node, account=SENDER):
    return node.api("POST", "/v1/freeze", {"account": account})


def thaw(node, account=SENDER):
    return node.api("POST", "/v1/thaw", {"account": account})


@pytest.mark.slow(15)
def test_frozen_while_it_moves(make_cluster, dns, make_sink):
    """Whoever owns a message when the freeze has returned keeps it; other senders' mail moves and goes out."""
    cluster = make_cluster(config=TWO_ACCOUNTS)
    a, b, c = cluster.nodes
    for domain in DOMAINS:
        dns.mail_domain(domain, "127.0.0.1")
    hop = Later(make_sink)
    frozen, free = fill(a, COUNT), fill(a, COUNT // 3, COUNT, OTHER_SOURCE)
    stop = threading.Event()

    def hurry():
        while not stop.wait(0.2):
            retry(cluster.nodes)
    hurrying = threading.Thread(target=hurry)
    hurrying.start()
    try:
        move(a, b)
        wait_until("it is on its way", lambda: transfers(a)["moved"] >= COUNT // 3, 60, 0.002)
        freeze(c)
        returned, moved = time.monotonic(), transfers(a)["moved"]
        wait_settled(cluster.nodes)
        hop.take()
        wait_until("the other sender's mail arrives", lambda: len(hop.sink.recipients()) >= len(free), 60)
        time.sleep(2)
    finally:
        stop.set()
        hurrying.join()
    print(f"frozen when {moved} of {COUNT + len(free)} had moved; then {messages(a)} on the giver, {messages(b)} on the taker")
    assert sorted(hop.sink.recipients()) == sorted(free)
    begun_before = 0.5  # what was on the wire at that moment is finished
    assert hop.asked_for(free, returned) and not hop.asked_for(frozen, returned + begun_before)
    assert sum(messages(n) for n in cluster.nodes) == COUNT and messages(b) > 0
    wait_until("all of it is there", lambda: messages(b) == COUNT, 60)
    thaw(b)
    wait_until("all arrives", lambda: not retry(cluster.nodes) and messages(b) == 0, 60, 0.3)
    got = collections.Counter(hop.sink.recipients())
    assert set(got) == set(frozen + free) and max(got.values()) == 1


@pytest.mark.slow(15)
def test_a_taker_that_slept_through_the_freeze(make_cluster, dns, make_sink):
    """It learns of it before it makes anything its own that moved afterwards."""
    cluster = make_cluster(config=TWO_ACCOUNTS)
    a, b, c = cluster.nodes
    if cluster.leader() is b:
        b, c = c, b
    for domain in DOMAINS:
        dns.mail_domain(domain, "127.0.0.1")
    hop = Later(make_sink)
    frozen, free = fill(a, 100), fill(a, 30, 100, OTHER_SOURCE)
    b.pause()
    answer = freeze(c)
    assert {row["node"]: row["how"] for row in answer["nodes"]}[b.name] == "expired", answer
    hop.take()
    b.go_on()
    move(a, b)
    wait_until("all of it has moved", lambda: messages(a) == 0, 60)
    wait_settled(cluster.nodes)
    retry(cluster.nodes)
    wait_until("the other sender's mail arrives", lambda: len(hop.sink.recipients()) >= len(free), 60)
    retry(cluster.nodes)
    time.sleep(1)
    assert sorted(hop.sink.recipients()) == sorted(free) and messages(b) == len(frozen)
    thaw(a)
    wait_until("all arrives", lambda: not retry(cluster.nodes) and messages(b) == 0, 60, 0.3)
    got = collections.Counter(hop.sink.recipients())
    assert set(got) == set(frozen + free) and max(got.values()) == 1


@pytest.mark.slow(25)
def test_taken_from_a_dead_giver_while_its_sender_is_frozen(make_cluster, dns, make_sink):
    """All of a batch came, and without a majority nobody could say whose it is; then the giver dies for good."""
    cluster = make_cluster(config=TWO_ACCOUNTS)
    taker = cluster.add().start()  # the fourth stands by: its voice decides nothing
    taker.join(cluster.nodes[0].token())
    taker.wait_ready()
    wait_until("it knows that it is active", lambda: taker.row(taker.name)["state"] == "active", 20)
    giver, *others = cluster.nodes[:3]
    for domain in DOMAINS:
        dns.mail_domain(domain, "127.0.0.1")
    hop = Later(make_sink)
    frozen, free = fill(giver, 40), fill(giver, 20, 40, OTHER_SOURCE)
    for node in others:
        node.kill()
    move(giver, taker)
    batch = wait_until("all of it is there, and undecided", lambda: next(
        (t for t in open_batches(taker) if t["state"] == "stored, undecided"), None))
    assert batch["messages"] == 60 and messages(giver) == 60
    assert "nothing can be decided" in taker.fail("POST", "/v1/transfers/take", {"batch": batch["batch"]})
    hop.take()
    giver.kill()
    for node in others:
        node.restart()
    for node in (*others, taker):
        node.wait_ready()
    assert "is a member" in taker.fail("POST", "/v1/transfers/take", {"batch": batch["batch"]})
    freeze(others[0])
    remove(others[0], giver)
    retry([taker])
    time.sleep(1)
    assert not hop.sink.messages, "it is nobody's yet"
    taker.cli("transfer", "take", batch["batch"])
    wait_settled([taker])
    retry([taker])
    wait_until("the other sender's mail arrives", lambda: len(hop.sink.recipients()) >= len(free), 60)
    retry([taker])
    time.sleep(1)
    assert sorted(hop.sink.recipients()) == sorted(free) and messages(taker) == len(frozen)
    # what is on the dead node's disk is known to be elsewhere, as long as the cluster keeps that
    for node in (*others, taker):
        assert [(t["batch"], t["state"]) for t in kept(node)] == [(batch["batch"], "moved, from a removed node")]
    assert batch["batch"] in taker.cli("transfer", "list").stdout
    assert "is a member" in taker.fail("POST", "/v1/transfers/forget", {"node": taker.name})
    assert "no node nobody" in taker.fail("POST", "/v1/transfers/forget", {"node": "nobody"})
    silent = next(n for n in others if n is not cluster.leader(among=others))
    silent.pause()
    assert f"node {silent.name} does not answer" in taker.fail("POST", "/v1/transfers/forget", {"node": giver.name})
    silent.go_on()
    silent.wait_ready()
    taken = adopt(others[1], giver)
    assert taken["taken"] == 0 and taken["in_doubt"] == 0, taken
    for node in (*others, taker):
        wait_until("nothing is kept any more", lambda n=node: kept(n) == [], 20)
    assert taker.cli("transfer", "forget", giver.name).stdout == "0 batch(es) ended\n"
    thaw(others[1])
    wait_until("all arrives", lambda: not retry([taker]) and messages(taker) == 0, 60, 0.3)
    got = collections.Counter(hop.sink.recipients())
    assert set(got) == set(frozen + free) and max(got.values()) == 1


# ---- takers that are dead

def test_a_taker_that_is_dead_gives_nothing_up_and_the_giver_gets_it_back(cluster, dark, make_sink):
    a, b, c = cluster.nodes
    wanted = fill(a, 50)
    b.pause()
    move(a, b)
    wait_until("a batch waits for it", lambda: any(t["direction"] == "out" for t in open_batches(a)))
    batch = open_batches(a)[0]
    assert batch["taker"] == "node-b" and batch["messages"] > 0
    a.api("POST", "/v1/transfers/cancel", {"batch": batch["batch"]})
    wait_until("the giver has it again", lambda: open_batches(a) == [] or
               all(t["state"] == "cancelled" for t in open_batches(a)), 40)
    b.go_on()
    wait_settled(cluster.nodes, 60)
    wait_until("it is queued again", lambda: sum(messages(n) for n in cluster.nodes) == 50)
    deliver(cluster.nodes, make_sink, wanted)


def spool_of(node):
    return str(node.folder / "data" / "spool")


def remove(node, victim):
    node.api("POST", "/v1/nodes/remove", {"node": victim.name})
    wait_until("it is forgotten", lambda: node.row(victim.name) is None)


def adopt(node, victim):
    return node.api("POST", "/v1/spool/adopt", {"dir": spool_of(victim), "node": victim.name})


def test_a_dead_nodes_disk_is_taken_in_once(cluster, dark, make_sink):
    a, b, c = cluster.nodes
    wanted = fill(c, COUNT)
    c.api("POST", "/v1/queue/hold", {"recipient": f"@{DOMAINS[2]}"})
    assert "member" in a.fail("POST", "/v1/spool/adopt", {"dir": spool_of(c), "node": c.name})
    c.kill()
    assert "member" in a.fail("POST", "/v1/spool/adopt", {"dir": spool_of(c), "node": c.name})
    remove(a, c)
    assert "own" in a.fail("POST", "/v1/spool/adopt", {"dir": spool_of(a), "node": c.name})
    assert "no such folder" in a.fail("POST", "/v1/spool/adopt", {"dir": "/nowhere", "node": c.name})
    taken = adopt(a, c)
    assert taken == {"messages": COUNT, "taken": COUNT, "elsewhere": 0, "in_doubt": 0, "failed": 0}
    assert adopt(b, c) == {"messages": 0, "taken": 0, "elsewhere": 0, "in_doubt": 0, "failed": 0}
    wait_settled([a, b])
    assert messages(a) == COUNT
    assert sum(r["state"] == "held" for r in a.api("GET", "/v1/queue?limit=1000&scope=local")["recipients"]) == COUNT // 5
    a.api("POST", "/v1/queue/release", {"state": "held"})
    deliver([a, b], make_sink, wanted)


@pytest.mark.parametrize("at", [0.02, 0.08, 0.15, 0.3])
def test_a_node_that_died_while_it_gave_is_taken_in_without_doubles(cluster, dark, make_sink, at):
    a, b, c = cluster.nodes
    wanted = fill(c, COUNT)
    move(c, b)
    time.sleep(at)
    c.kill()
    remove(a, c)
    if adopt(a, c)["in_doubt"]:  # a whole batch is at b, and nobody but b can make it its own
        wait_until("only whole ones are left", lambda: all(t["state"] == "stored, undecided" for t in open_batches(b)))
        for batch in open_batches(b):
            b.api("POST", "/v1/transfers/take", {"batch": batch["batch"]})
        wait_settled([a, b])
        assert adopt(a, c)["in_doubt"] == 0
    assert adopt(a, c)["taken"] == 0
    wait_until("every message is somewhere", lambda: messages(a) + messages(b) >= COUNT)
    deliver([a, b], make_sink, wanted)


def test_an_adoption_that_was_killed_goes_on(cluster, dark, make_sink):
    a, b, c = cluster.nodes
    wanted = fill(c, COUNT)
    c.kill()
    remove(a, c)

    def try_it():
        try:
            adopt(a, c)
        except (OSError, AssertionError):
            pass

    run = threading.Thread(target=try_it)
    run.start()
    wait_until("it has begun", lambda: messages(a) > COUNT // 3, 30, 0.002)
    a.kill()
    run.join()
    a.restart()
    a.wait_ready(60)
    adopt(a, c)  # what it was killed in is in doubt until then
    wait_settled([a, b], 60)
    assert messages(a) == COUNT
    deliver([a, b], make_sink, wanted)


def test_without_a_majority_it_stays_in_doubt_and_nobody_delivers_it(cluster, dark, make_sink):
    a, b, c = cluster.nodes
    wanted = fill(a, 60)
    c.kill()
    b.pause()
    move(a, b)
    wait_until("a batch is marked", lambda: open_batches(a) != [])
    batch = open_batches(a)[0]["batch"]
    sink = make_sink()
    a.api("POST", "/v1/transfers/cancel", {"batch": batch})
    wait_until("the taker was given up", lambda: any(t["state"] == "being cancelled" for t in open_batches(a)) or
               open_batches(a) == [], 60)
    if open_batches(a):  # the taker may have something of it: nothing but the log can say no
        time.sleep(3)
        assert any(t["batch"] == batch and t["state"] != "cancelled" for t in open_batches(a))
    b.go_on()
    c.restart()
    for node in cluster.nodes:
        node.wait_ready(60)
    wait_settled(cluster.nodes, 60)

    def all_gone():
        for node in cluster.nodes:
            node.api("POST", "/v1/queue/retry", {"all": True})
        return sum(messages(n) for n in cluster.nodes) == 0
    wait_until("all was delivered", all_gone, 60, 0.3)
    got = collections.Counter(r for m in sink.messages for r in m.recipients)
    assert set(got) == set(wanted) and max(got.values()) == 1
