"""A reload while mail is queued and under way: new routes, old look-ups, connections half made; certificates; systemd."""
import socket
import time

import pytest

from harness.sink import HANG
from harness.util import free_port, wait_until


def reload_with(node, **change):
    node.config.update(change)
    node.take_config()


def sites(node):
    return sorted(r["site"] for r in node.queue())


@pytest.fixture
def other(make_sink):
    """A smarthost."""
    return make_sink(port=0)


@pytest.fixture
def stuck(make_node, dns, mx_port):
    """A node with mail for five domains whose MX hosts do not answer, retried in an hour only."""
    dead = free_port()
    node = make_node({"delivery": {"retry": ["1h"]}, "routes": [{"domain": "*", "via": f":{dead}"}]})
    for c in "abcde":
        dns.mail_domain(f"{c}.example.net", "127.0.0.1")
        for n in range(3):
            node.send([f"x{n}@{c}.example.net", f"y{n}@{c}.example.net"])
    wait_until("all wait for their sites", lambda: all(r["reply"] for r in node.queue()))
    assert len(node.queue()) == 30
    return node


def test_queued_mail_takes_a_new_smarthost(stuck, other):
    reload_with(stuck, routes=[{"domain": "*", "via": f"127.0.0.1:{other.port}", "tls": "none"}])
    wait_until("all is delivered", lambda: len(other.recipients()) == 30)
    assert len(set(other.recipients())) == 30
    stuck.wait_empty()


def test_queued_mail_leaves_a_smarthost_that_went(make_node, sink, mx_port):
    dead = free_port()
    node = make_node({"delivery": {"retry": ["1h"]}, "routes": [
        {"domain": "*", "via": f"127.0.0.1:{dead}", "tls": "none"}]})
    for c in "abcde":
        node.send([f"x@{c}.example.net", "z@example.net"])
    wait_until("all wait", lambda: len(node.queue()) == 10 and all(r["reply"] for r in node.queue()))
    assert set(sites(node)) == {f"via:127.0.0.1:{dead}"}
    reload_with(node, routes=[{"domain": "*", "via": f":{mx_port}"}])
    wait_until("all is delivered", lambda: len(sink.recipients()) == 10)
    node.wait_empty()
    assert not [e for e in node.events("bounced")]


def test_one_smarthost_for_another(make_node, sink, other):
    dead = free_port()
    node = make_node({"delivery": {"retry": ["1h"]}, "routes": [
        {"domain": "*", "via": f"127.0.0.1:{dead}", "tls": "none"}]})
    ids = [node.send([f"x@{c}.example.net" for c in "abcde"]) for _ in range(4)]
    wait_until("all wait", lambda: len(node.queue()) == 20 and all(r["reply"] for r in node.queue()))
    node.api("POST", "/v1/queue/hold", {"ids": ids[:1]})
    reload_with(node, routes=[{"domain": "a.example.net", "via": f"127.0.0.1:{other.port}", "tls": "none"},
                              {"domain": "*", "via": f"127.0.0.1:{dead}", "tls": "none"}])
    wait_until("one domain's is delivered", lambda: len(other.recipients()) == 3)
    time.sleep(0.5)
    held = [r for r in node.queue() if r["state"] == "held"]
    assert len(held) == 5 and {r["id"] for r in held} == set(ids[:1]), "held mail stays held"
    moved = f"via:127.0.0.1:{other.port}"
    assert [r["recipient"] for r in held if r["site"] == moved] == ["x@a.example.net"]
    node.api("POST", "/v1/queue/release", {"ids": ids[:1]})
    wait_until("released, it takes the new route", lambda: len(other.recipients()) == 4)


def test_mail_in_flight_takes_the_new_route_when_it_comes_back(make_node, dns, make_sink, other):
    slow = make_sink(port=0)
    slow.hooks["rcpt"] = lambda s, a: "451 4.7.1 later"
    slow.held.add("rcpt")
    node = make_node({"delivery": {"retry": ["1s"]}, "routes": [
        {"domain": "*", "via": f"127.0.0.1:{slow.port}", "tls": "none"}]})
    node.send("x@example.net")
    wait_until("it is under way", lambda: [r for r in node.queue() if r["state"] == "active"])
    reload_with(node, routes=[{"domain": "*", "via": f"127.0.0.1:{other.port}", "tls": "none"}])
    slow.held.clear()
    wait_until("it is delivered by the new one", lambda: other.recipients() == ["x@example.net"])


def test_reload_while_connections_are_being_made(make_node, dns, make_sink, mx_port):
    """Greetings that never come, hosts that refuse, look-ups that are not answered: whoever waits goes on."""
    hang = make_sink("127.0.0.1", "127.0.0.2", "127.0.0.3")
    hang.hooks["banner"] = lambda s, a: HANG
    for c in "abcde":
        dns.mail_domain(f"{c}.example.net", "127.0.0.9", "127.0.0.1", "127.0.0.2", "127.0.0.3")
    node = make_node({"delivery": {"timeouts": {"greeting": "10s", "connect": "1s"}}})
    for n in range(10):
        node.send([f"x{n}@{c}.example.net" for c in "abcde"] + [f"x{n}@nowhere{n}.example.org"])
    for n in range(8):
        node.config["resolver"]["timeout"] = f"{n + 2}s"  # so that each reload makes another resolver
        reload_with(node, routes=[{"domain": f"other{n}.example.org", "via": f":{mx_port}"},
                                  {"domain": "*", "via": f":{mx_port}"}])
        time.sleep(0.2)
    hang.hooks.clear()
    wait_until("what can be delivered is", lambda: len(hang.recipients()) >= 50, 40)
    assert len(set(hang.recipients())) == 50


def test_certificate_about_to_end_is_told(node):
    assert "ends in 2 days" in node.log_text()
    value = next(float(line.split()[1]) for line in node.metrics().splitlines()
                 if line.startswith("turnpike_tls_certificate_end_seconds "))
    assert 0 < value - time.time() <= 3 * 86400


def test_systemd_is_told(make_node, folder):
    path = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(30)
        node = make_node(start=False, wrapper=["env", f"NOTIFY_SOCKET={path}", "WATCHDOG_USEC=900000"])
        node.start()

        def next_with(text):
            while True:
                message = sock.recv(4096).decode()
                if text in message:
                    return message

        assert next_with("READY=1")
        assert "accepting mail; 0 messages queued" in next_with("STATUS=")
        for _ in range(3):
            assert next_with("WATCHDOG=1")
        node.reload()
        told = next_with("RELOADING=1")
        stamp = int(next(line for line in told.splitlines() if line.startswith("MONOTONIC_USEC=")).split("=")[1])
        assert abs(stamp / 1e6 - time.clock_gettime(time.CLOCK_MONOTONIC)) < 30
        assert next_with("READY=1")
        node.stop()
        assert next_with("STOPPING=1")
