"""Mail that moves between nodes: every message arrives once, whoever is killed when, and held mail stays held."""
import collections
import threading
import time

import pytest

from harness.util import SANITIZED, wait_until

DOMAINS = [f"{c}.example.net" for c in "abcde"]
COUNT = 120 if SANITIZED else 330


@pytest.fixture
def dark(dns, mx_port):
    """Next hops that do not answer yet."""
    for domain in DOMAINS:
        dns.mail_domain(domain, "127.0.0.1")


def fill(node, count, start=0):
    """Messages to different recipients, which nobody takes yet."""
    sent = []
    with node.smtp("relay") as client:
        for i in range(start, start + count):
            recipient = f"u{i}@{DOMAINS[i % len(DOMAINS)]}"
            client.sendmail("user@example.com", [recipient], f"Subject: {i}\r\n\r\n{('x' * 70 + chr(13) + chr(10)) * (i * 37 % 60)}end\r\n")
            sent.append(recipient)
    return sent


def transfers(node):
    return node.api("GET", "/v1/transfers")


def open_batches(node):
    return transfers(node)["transfers"]


def messages(node):
    return node.api("GET", "/v1/status?scope=local")["spool"]["messages"]


def move(node, to, **more):
    return node.api("POST", "/v1/queue/move", {"all": True, "to": to.name, **more})


def settled(nodes):
    return all(open_batches(n) == [] and transfers(n)["unclaimed"] == 0 for n in nodes)


def wait_settled(nodes, timeout=60):
    wait_until("nothing is on its way", lambda: settled(nodes), timeout)


def deliver(nodes, make_sink, wanted, timeout=90):
    """Everything goes out now; each recipient gets it once."""
    sink = make_sink()
    until = time.monotonic() + timeout
    while any(messages(n) for n in nodes) and time.monotonic() < until:
        for node in nodes:
            if messages(node):
                node.api("POST", "/v1/queue/retry", {"all": True})
        time.sleep(0.3)
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
               any(r["reply"] for r in a.queue()), 20)
    a.api("POST", "/v1/queue/hold", {"sender": "user@example.com", "recipient": f"@{DOMAINS[0]}"})
    before = {r["recipient"]: (r["id"], r["state"], r["attempts"]) for r in a.queue()}
    move(a, b)
    wait_until("all of it has moved", lambda: messages(a) == 0 and messages(b) == 20, 30)
    wait_settled(cluster.nodes)
    wait_until("it is in the queues", lambda: len(b.queue()) == 20, 10)
    after = {r["recipient"]: (r["id"], r["state"], r["attempts"]) for r in b.queue()}
    assert {r: (i, s == "held") for r, (i, s, _) in before.items()} == \
        {r: (i, s == "held") for r, (i, s, _) in after.items()}
    assert all(after[r][2] >= before[r][2] for r in before)
    held = [r for r in b.queue() if r["state"] == "held"]
    assert len(held) == 4
    # people know it by the same id; the first node's history says where it went
    assert b.api("GET", f"/v1/queue/messages/{held[0]['id']}")["id"] == held[0]["id"]
    wait_until("the history says so", lambda: any(r["state"] == "moved" and "node-b" in r["reply"]
                                                  for r in a.track(id=held[0]["id"], scope="local")), 10)
    b.api("POST", "/v1/queue/release", {"ids": [held[0]["id"]]})
    assert next(r for r in b.queue() if r["id"] == held[0]["id"])["state"] != "held"
    b.api("POST", "/v1/queue/release", {"state": "held"})
    deliver(cluster.nodes, make_sink, wanted)


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


def test_a_taker_that_is_dead_gives_nothing_up_and_the_giver_gets_it_back(cluster, dark, make_sink):
    a, b, c = cluster.nodes
    wanted = fill(a, 50)
    b.pause()
    move(a, b)
    wait_until("a batch waits for it", lambda: any(t["direction"] == "out" for t in open_batches(a)), 20)
    batch = open_batches(a)[0]
    assert batch["taker"] == "node-b" and batch["messages"] > 0
    a.api("POST", "/v1/transfers/cancel", {"batch": batch["batch"]})
    wait_until("the giver has it again", lambda: open_batches(a) == [] or
               all(t["state"] == "cancelled" for t in open_batches(a)), 40)
    b.go_on()
    wait_settled(cluster.nodes, 60)
    wait_until("it is queued again", lambda: sum(messages(n) for n in cluster.nodes) == 50, 20)
    deliver(cluster.nodes, make_sink, wanted)


def spool_of(node):
    return str(node.folder / "data" / "spool")


def remove(node, victim):
    node.api("POST", "/v1/nodes/remove", {"node": victim.name})
    wait_until("it is forgotten", lambda: node.row(victim.name) is None, 20)


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
        wait_until("only whole ones are left", lambda: all(t["state"] == "stored, undecided" for t in open_batches(b)), 20)
        for batch in open_batches(b):
            b.api("POST", "/v1/transfers/take", {"batch": batch["batch"]})
        wait_settled([a, b])
        assert adopt(a, c)["in_doubt"] == 0
    assert adopt(a, c)["taken"] == 0
    wait_until("every message is somewhere", lambda: messages(a) + messages(b) >= COUNT, 20)
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
    wait_settled([a, b], 60)
    adopt(a, c)
    wait_settled([a, b], 60)
    assert messages(a) == COUNT
    deliver([a, b], make_sink, wanted)


def test_without_a_majority_it_stays_in_doubt_and_nobody_delivers_it(cluster, dark, make_sink):
    a, b, c = cluster.nodes
    wanted = fill(a, 60)
    c.kill()
    b.pause()
    move(a, b)
    wait_until("a batch is marked", lambda: open_batches(a) != [], 20)
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
