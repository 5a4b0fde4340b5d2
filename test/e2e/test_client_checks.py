"""What clients of relay listeners must show, by the cluster's policy, the same on every node: reverse DNS with a
real resolver that knows the PTR record, knows that there is none, or fails; and names in EHLO. The clients' addresses are
told by PROXY headers."""
import base64
import concurrent.futures
import ipaddress

import pytest

from harness.node import PASSWORD, Raw
from harness.quota import apply_policy, await_applied
from harness.resolver import Resolver
from harness.util import wait_until

NAMED, V6, NONE, V6_NONE = "198.51.100.1", "2001:db8:5::1", "198.51.100.2", "2001:db8:5::2"
ASTRAY, HALF, FAILING, SILENT, EXEMPT = (f"198.51.100.{n}" for n in range(3, 8))
DENIED = ("450 4.7.1 Access temporarily denied. {} requires you to have valid reverse DNS PTR record in order to send "
          "mail from [{}]")
UNKNOWN = "451 4.4.3 The reverse DNS of [{}] cannot be looked up just now, try again later"
POLICY = "limits: []\nclient_checks: {{reverse_dns: defer, exempt: {}, {}}}\n"


def reverse(address):
    return ipaddress.ip_address(address).reverse_pointer


V4_ZONE, V6_ZONE = "100.51.198.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa"


def ptr(address, name):
    return f"{reverse(address)}. PTR {name}.example.org."


@pytest.fixture
def resolver(folder, dns):
    """What unbound finds at nsd: who has a name, and one who comes back to it; who has none; names of servers that are not there."""
    zones = {
        V4_ZONE: [ptr(NAMED, "named"), ptr(ASTRAY, "astray"), ptr(HALF, "half"),
                  f"{reverse(FAILING)}. NS ns.nobody.example.org."],
        V6_ZONE: [ptr(V6, "named")],
        "example.org": ["named A 198.51.100.99", f"named A {NAMED}", f"named AAAA {V6}", "astray A 203.0.113.1",
                        "half NS ns.nobody", "ns.nobody A 127.0.0.99"],
    }
    with Resolver(folder, zones, [reverse(SILENT)], dns.port) as made:
        yield made


@pytest.fixture
def relays(make_cluster, resolver):
    """Three nodes behind a balancer."""
    cluster = make_cluster(form=False, config={"resolver": {"servers": [f"127.0.0.1@{resolver.port}"], "timeout": "2s"}})
    for node in cluster.nodes:
        for listener in node.config["listeners"]:
            listener["proxy_protocol"] = {"from": ["127.0.0.1"]}
        node.config["relay_clients"] += [{"networks": ["198.51.100.0/24", "2001:db8:5::/48"],
                                          "account": "relay@example.com"}]
        node.write_config()
    return cluster.form()


def connect(node, address, kind="relay"):
    client = Raw(node.ports[kind])
    v6 = ":" in address
    client.send(f"PROXY TCP{6 if v6 else 4} {address} {'2001:db8::1' if v6 else '192.0.2.1'} 40000 25\r\n")
    assert client.reply().startswith("220 ")
    return client


def rcpt(node, address, name="client.example.com"):
    with connect(node, address) as client:
        client.command(f"EHLO {name}", "250")
        client.command("MAIL FROM:<user@example.com>", "250")
        return client.command("RCPT TO:<friend@example.net>")


def everywhere(cluster, address, wanted):
    with concurrent.futures.ThreadPoolExecutor(len(cluster.nodes)) as pool:
        replies = list(pool.map(lambda node: rcpt(node, address), cluster.nodes))
    assert replies == [wanted] * len(cluster.nodes), address


def use(cluster, more, exempt=f"[{EXEMPT}]"):
    apply_policy(cluster.nodes[0], POLICY.format(exempt, more))
    await_applied(cluster.nodes)


def logged_in(node, address):
    """The reply to RCPT of a client that logs in."""
    with connect(node, address, "submission") as client:
        client.command("EHLO my_laptop", "250")
        client.starttls(node.certificate)
        client.command("EHLO my_laptop", "250")
        plain = base64.b64encode(f"\0anna@example.com\0{PASSWORD}".encode()).decode()
        client.command(f"AUTH PLAIN {plain}", "235")
        client.command("MAIL FROM:<anna@example.com>", "250")
        return client.command("RCPT TO:<friend@example.net>")[:3]


@pytest.mark.slow(12)
def test_reverse_dns_on_every_node(relays, resolver, sink):
    cluster = relays
    ok = rcpt(cluster.nodes[0], NONE)
    assert ok.startswith("250 "), "the policy that comes with it asks for nothing"
    cluster.nodes[0].add_account("anna@example.com")
    cluster.nodes[0].cli("tenant", "set", "example.com")
    cluster.nodes[1].cli("tenant", "contact", "example.com", "it@example.net")
    use(cluster, "name: outbound.example.com")
    for address in (NAMED, V6, ASTRAY, HALF, EXEMPT, "127.0.0.9"):
        everywhere(cluster, address, ok)
    for address in (NONE, V6_NONE):
        everywhere(cluster, address, DENIED.format("outbound.example.com", address))
    everywhere(cluster, FAILING, ok)
    assert [logged_in(node, NONE) for node in cluster.nodes] == ["250"] * 3
    # Forward confirmation, and no mercy for who cannot be looked up; the node's own name.
    use(cluster, "forward_confirmed: true, when_unknown: defer, helo: strict", exempt=f"[{EXEMPT}, '{V6_NONE}']")
    for address in (NAMED, V6, EXEMPT, V6_NONE):
        everywhere(cluster, address, ok)
    for address in (NONE, ASTRAY):
        everywhere(cluster, address, DENIED.format("relay.example.com", address))
    for address in (HALF, FAILING, SILENT):
        everywhere(cluster, address, UNKNOWN.format(address))
    assert [logged_in(node, NONE) for node in cluster.nodes] == ["250"] * 3
    # Whoever hammers is looked up once by each worker that he meets.
    for node in cluster.nodes:
        for _ in range(10):
            rcpt(node, NONE)
        assert "turnpike_client_checks_total{result=\"passed\"}" in node.metrics()
    asked = resolver.asked(reverse(NONE), "PTR")
    assert 0 < asked <= 2 * sum(node.config["workers"] for node in cluster.nodes), "some may have been asked twice"
    node = cluster.nodes[1]
    event = wait_until("the event", lambda: [e for e in node.events("rejected") if e["client_ip"] == NONE])[0]
    assert (event["rule"], event["stage"], event["code"], event["account"]) == ("reverse_dns", "rcpt", 450,
                                                                              "relay@example.com")
    # A confirmed client's mail arrives; its name is in Received.
    with connect(node, NAMED) as client:
        client.command("EHLO [192.0.2.1]", "250")
        client.command("MAIL FROM:<user@example.com>", "250")
        client.command("RCPT TO:<friend@example.net>", "250")
        client.command("DATA", "354")
        client.command("Subject: x\r\n\r\nx\r\n.", "250")
    mail = wait_until("it arrives", lambda: [m for m in sink.messages if "friend@example.net" in m.recipients])[0]
    assert "named.example.org" in mail.header
    names(cluster)
    told(cluster, sink)


def names(cluster):
    """helo: strict is in force: what is no name is refused, and another may be tried; whose it is does not matter."""
    for node in cluster.nodes:
        with connect(node, NAMED) as client:
            for bad in ("EHLO my_server.example.org", "HELO 198.51.100.1", "EHLO [198.51.100.400]", "EHLO a..example"):
                client.command(bad, "501 5.5.2")
            for good in ("EHLO server", "HELO somebody-elses.example.net", "EHLO [IPv6:2001:db8::9]"):
                client.command(good, "250")
        assert rcpt(node, EXEMPT, "my_server").startswith("250")


def told(cluster, sink):
    """The tenant's contact heard of each of its servers once, whatever nodes it met."""
    def notices():
        return [m for m in sink.messages if "it@example.net" in m.recipients]
    about = [NONE, V6_NONE, ASTRAY]
    wait_until("the notices arrive", lambda: len(notices()) >= len(about))
    subjects = sorted(next(line for line in m.header.splitlines() if line.startswith("Subject: ")) for m in notices())
    assert subjects == sorted(f"Subject: Mail of your server {a} waits: it needs reverse DNS" for a in about)
    mail = next(m for m in notices() if NONE in m.header)
    assert mail.sender == "" and "Auto-Submitted: auto-generated" in mail.header, mail.header
    assert f"{reverse(NONE)}. PTR mail." in mail.content.decode()
    assert DENIED.format("outbound.example.com", NONE) in mail.content.decode()
    events = [e for node in cluster.nodes for e in node.events("notice")]
    assert sorted(e["client_ip"] for e in events) == sorted(about)
    assert {(e["rule"], e["tenant"], e["recipient"]) for e in events} == {("reverse_dns", "example.com", "it@example.net")}
