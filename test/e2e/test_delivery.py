"""Mail goes out: which host is asked, in which order, and where mail must never go."""
import pytest

from harness.dsn import Dsn
from harness.util import wait_until

pytestmark = pytest.mark.sanitizer


def states(node, recipient):
    return [(r["state"], r["reply"] or "") for r in node.track(recipient=recipient)]


def wait_bounced(node, recipient):
    """Waits for the end of a recipient; returns the last reply."""
    return wait_until(f"{recipient} bounces", lambda: next((reply for state, reply in states(node, recipient)
                                                            if state == "bounced"), None))


def wait_deferred(node, recipient):
    return wait_until(f"{recipient} is deferred", lambda: next(
        (r for r in node.queue() if r["recipient"] == recipient and r["reply"]), None), 30)


def test_preference_decides(node, dns, make_sink, mx_port):
    best, other = make_sink("127.0.0.1"), make_sink("127.0.0.2")
    dns.add("example.net", "MX", "20 far.example.net", "10 near.example.net")
    dns.add("near.example.net", "A", "127.0.0.1")
    dns.add("far.example.net", "A", "127.0.0.2")
    for number in range(5):
        node.send(f"r{number}@example.net")
    wait_until("all go to the best host", lambda: len(best.messages) == 5)
    assert not other.sessions


def test_next_mx_when_the_first_is_down(node, dns, make_sink):
    other = make_sink("127.0.0.2")
    dns.add("example.net", "MX", "20 far.example.net", "10 near.example.net")
    dns.add("near.example.net", "A", "127.0.0.1") # nobody listens there
    dns.add("far.example.net", "A", "127.0.0.2")
    node.send("r@example.net")
    wait_until("it is delivered", lambda: len(other.messages) == 1)


def test_equal_preferences_share(node, dns, make_sink):
    sinks = [make_sink(f"127.0.0.{n}") for n in (1, 2, 3)]
    for domain in range(40):
        dns.mail_domain(f"d{domain}.test", "127.0.0.1", "127.0.0.2", "127.0.0.3")
        node.send(f"r@d{domain}.test")
    wait_until("all are delivered", lambda: sum(len(s.messages) for s in sinks) == 40)
    assert all(len(s.messages) >= 3 for s in sinks), [len(s.messages) for s in sinks]


def test_no_mx_means_the_address(node, dns, make_sink):
    sink = make_sink()
    dns.add("plain.test", "A", "127.0.0.1")
    node.send("r@plain.test")
    wait_until("it is delivered", lambda: sink.recipients() == ["r@plain.test"])


def test_cname_as_domain(node, dns, make_sink):
    sink = make_sink()
    dns.add("alias.test", "CNAME", "real.test.")
    dns.mail_domain("real.test", "127.0.0.1")
    node.send("r@alias.test")
    wait_until("it is delivered", lambda: sink.recipients() == ["r@alias.test"])


def test_ipv6(node, dns, make_sink):
    try:
        sink = make_sink("::1")
    except OSError:
        pytest.skip("no IPv6 loopback here")
    dns.mail_domain("six.test", "::1")
    node.send("r@six.test")
    wait_until("it is delivered", lambda: sink.recipients() == ["r@six.test"])


def test_null_mx(node, dns, sink):
    dns.add("null.test", "MX", "0 .")
    dns.add("null.test", "A", "127.0.0.1")
    node.send("r@null.test", sender="sender@example.net")
    assert "5.1.10" in wait_bounced(node, "r@null.test")
    report = Dsn(wait_until("the report", lambda: sink.messages and sink.messages[0]).content)
    assert report.recipients[0]["status"] == "5.1.10"
    assert sink.recipients() == ["sender@example.net"], "no fall-back to A"


def test_unknown_domain_bounces(node, dns):
    node.send("r@nowhere.test", sender="")
    assert wait_bounced(node, "r@nowhere.test").split()[1][0] == "5"


@pytest.mark.parametrize("how", ["SERVFAIL", "timeout", "REFUSED", "garbage"])
def test_dns_trouble_is_temporary(node, dns, sink, how):
    dns.fail["trouble.test"] = how
    node.send("r@trouble.test")
    wait_deferred(node, "r@trouble.test")
    assert not [s for s, _ in states(node, "r@trouble.test") if s == "bounced"]
    dns.clear("trouble.test")
    dns.mail_domain("trouble.test", "127.0.0.1")
    wait_until("it is delivered after all", lambda: "r@trouble.test" in sink.recipients(), 40)


def test_truncated_answer_is_asked_again_by_tcp(node, dns, sink):
    dns.mail_domain("long.test", "127.0.0.1")
    dns.fail["long.test"] = "truncate"
    node.send("r@long.test")
    wait_until("it is delivered", lambda: sink.recipients() == ["r@long.test"])


@pytest.mark.parametrize("address", [
    "127.0.0.1", "::1", "0.0.0.0", "::ffff:127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "fe80::1", "fd00::1", "224.0.0.1", "255.255.255.255", "100.64.0.1"])
def test_mx_into_local_networks_is_not_connected(make_node, dns, make_sink, address):
    sink = make_sink()
    node = make_node({"delivery": {"allowed_networks": []}})
    dns.mail_domain("abuse.test", address)
    node.send("r@abuse.test")
    reply = wait_bounced(node, "r@abuse.test")
    assert "5.4.4" in reply or "5.4.6" in reply, reply
    assert not sink.sessions


def test_cname_loop(node, dns):
    dns.add("loop.test", "CNAME", "pool.test.")
    dns.add("pool.test", "CNAME", "loop.test.")
    node.send("r@loop.test")
    wait_until("it was tried, or given up", lambda: states(node, "r@loop.test") and (
        states(node, "r@loop.test")[0][0] == "bounced" or any(r["reply"] for r in node.queue())), 30)


def test_five_hundred_mx(make_node, dns, make_sink):
    node = make_node({"resolver": {"timeout": "20s"}})
    sink = make_sink()
    for number in range(500):
        dns.add("many.test", "MX", f"{number} mx{number}.many.test")
        dns.add(f"mx{number}.many.test", "A", "127.0.0.1")
    node.send("r@many.test")
    wait_until("it is delivered", lambda: sink.recipients() == ["r@many.test"])
    hosts = {name for name, _ in dns.queries if name.startswith("mx")}
    assert len(hosts) <= 100, "the number of hosts looked up is bounded"


def test_route_to_an_address_wins_over_mx(make_node, dns, make_sink):
    special = make_sink("127.0.0.1", port=0)
    ordinary = make_sink("127.0.0.2")
    dns.mail_domain("routed.test", "127.0.0.2")
    dns.mail_domain("sub.routed.test", "127.0.0.2")
    node = make_node(start=False)
    node.config["routes"].insert(0, {"domain": "routed.test", "via": f"[127.0.0.1]:{special.port}"})
    node.write_config()
    node.start()
    node.send(["r@routed.test", "r@sub.routed.test"])
    wait_until("both arrive", lambda: special.messages and ordinary.messages)
    assert special.recipients() == ["r@routed.test"]
    assert ordinary.recipients() == ["r@sub.routed.test"]


def test_smarthost_with_login_and_verified_tls(make_node, make_sink, sink_certificate, folder):
    hop = make_sink("127.0.0.1", port=0, certificate=sink_certificate)
    hop.extensions.append("AUTH PLAIN LOGIN")
    (folder / "password").write_text("hop-password\n")
    (folder / "password").chmod(0o600)
    node = make_node({"routes": [{"domain": "*", "via": f"[127.0.0.1]:{hop.port}", "tls": "required",
                                  "auth": {"user": "relay1", "password_file": str(folder / "password")}}]})
    node.send("r@anywhere.test")
    message = wait_until("it is delivered", lambda: hop.messages and hop.messages[0])
    assert message.session.tls is not None and message.session.auth


def test_opportunistic_tls_is_used_where_offered(node, dns, make_sink, sink_certificate):
    sink = make_sink(certificate=sink_certificate)
    dns.mail_domain("tls.test", "127.0.0.1")
    node.send("r@tls.test")
    message = wait_until("it is delivered", lambda: sink.messages and sink.messages[0])
    assert message.session.tls is not None
    assert message.session.helo == "relay.example.com"


def test_connections_are_reused(node, sink):
    for number in range(60):
        node.send(f"r{number}@example.net")
    wait_until("all are delivered", lambda: len(sink.messages) == 60)
    assert len(sink.sessions) <= 22, "one connection for each message"


def test_recipients_of_a_site_share_a_transaction(node, sink):
    node.send([f"r{n}@{d}.example.net" for d in "ab" for n in range(5)])
    wait_until("all are delivered", lambda: len(sink.recipients()) == 10)
    assert len(sink.messages) == 2


def test_concurrency_grows_with_success(make_node, dns, make_sink):
    sink = make_sink()
    sink.delays["dot"] = 0.05
    dns.mail_domain("grow.test", "127.0.0.1")
    node = make_node({"delivery": {"connections_start": 1, "connections_max": 8}})
    node.bench("--messages", 200, "--to", "r{n}@grow.test", "--sessions", 10).wait(60)
    wait_until("all are delivered", lambda: len(sink.messages) == 200, 60)
    most = max(sum(s.opened <= t.opened < s.closed for s in sink.sessions if hasattr(s, "closed"))
               for t in sink.sessions)
    assert 2 <= len(sink.sessions) and most <= 8
