"""Domains that send our mail where it must not go: addresses of the inside, our own, loops, and DNS that lies."""
import pytest

from harness.util import wait_until
from security import so_far

pytestmark = pytest.mark.sanitizer

INSIDE = ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
          "64:ff9b::127.0.0.1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "fe80::1",
          "fd00::1", "fc00::1", "224.0.0.1", "ff02::1", "255.255.255.255", "100.64.0.1", "0.1.2.3", "240.0.0.1"]


def ended(node, recipient):
    return wait_until("it ends", lambda: next((r["reply"] for r in node.track(recipient=recipient)
                                               if r["state"] == "bounced"), None))


@pytest.fixture
def closed(make_node, make_sink):
    """A node that may not connect to the inside, and something there that would notice."""
    sink = make_sink("127.0.0.1", "127.0.0.2")
    return make_node({"delivery": {"allowed_networks": []}}), sink


@pytest.mark.parametrize("address", INSIDE)
def test_mx_into_the_inside(closed, dns, address):
    node, sink = closed
    dns.mail_domain("abuse.test", address)
    node.send("r@abuse.test", sender="")
    reply = ended(node, "r@abuse.test")
    assert "5.4.4" in reply or "5.4.6" in reply, reply
    assert not sink.sessions


def test_all_ways_to_an_inside_address(closed, dns):
    """Without MX, by an alias of the MX host, by an alias of the domain, as an address literal."""
    node, sink = closed
    dns.add("a-only.test", "A", "127.0.0.1")
    dns.add("host-alias.test", "MX", "10 mx.host-alias.test")
    dns.add("mx.host-alias.test", "CNAME", "inside.test.")
    dns.add("inside.test", "A", "127.0.0.1")
    dns.add("domain-alias.test", "CNAME", "a-only.test.")
    recipients = ["r@a-only.test", "r@host-alias.test", "r@domain-alias.test", "r@[127.0.0.1]", "r@[127.0.0.2]",
                  "r@[169.254.169.254]", "r@[IPv6:::1]", "r@[IPv6:::ffff:127.0.0.1]"]
    for recipient in recipients:
        node.send(recipient, sender="")
        assert "5.4." in ended(node, recipient), recipient
    assert not sink.sessions


def test_only_the_bad_ones_are_left_out(make_node, dns, make_sink):
    """Of several hosts and addresses the allowed ones are used."""
    good, bad = make_sink("127.0.0.2"), make_sink("127.0.0.3")
    node = make_node({"delivery": {"allowed_networks": ["127.0.0.2/32"]}})
    dns.add("mixed.test", "MX", "10 bad.mixed.test", "20 both.mixed.test")
    dns.add("bad.mixed.test", "A", "127.0.0.3")
    dns.add("both.mixed.test", "A", "127.0.0.3", "127.0.0.2")
    node.send("r@mixed.test")
    wait_until("it is delivered", lambda: good.recipients() == ["r@mixed.test"])
    assert not bad.sessions


@pytest.mark.slow(35)
@pytest.mark.waits
def test_an_answer_that_changes(make_node, dns, make_sink):
    """DNS rebinding: what counts is the address that is connected to, at each attempt. An answer is kept for half a
    minute at least."""
    outside, inside = make_sink("127.0.0.2"), make_sink("127.0.0.3")
    node = make_node({"delivery": {"allowed_networks": ["127.0.0.2/32"], "retry": ["1s"],
                                   "messages_per_connection": 1}})
    outside.hooks["rcpt"] = lambda s, a: "450 4.7.1 later"
    dns.add("rebind.test", "MX", "10 mx.rebind.test")
    dns.add("mx.rebind.test", "A", "127.0.0.2")
    node.send("r@rebind.test", sender="")
    wait_until("it was tried", lambda: any(r["attempts"] for r in node.queue()))
    dns.clear("mx.rebind.test")
    dns.add("mx.rebind.test", "A", "127.0.0.3")
    reply = wait_until("it ends", lambda: next((r["reply"] for r in node.track(recipient="r@rebind.test")
                                                if r["state"] == "bounced"), None), 120)
    assert "5.4.4" in reply and not inside.sessions


@pytest.fixture
def listening(make_node, make_sink):
    """A node that listens on 127.0.0.7, where its next hops must not lead it."""
    node = make_node({"delivery": {"allowed_networks": ["127.0.0.2/32"]}}, start=False)
    node.config["listeners"][2]["address"] = f"127.0.0.7:{node.ports['relay']}"
    node.config["routes"] = [{"domain": "*", "via": f":{node.ports['relay']}"}]
    node.write_config()
    return node.start()


def submit_there(node, recipient):
    from harness.node import Raw
    with Raw(node.ports["relay"], "127.0.0.7") as client:
        client.reply()
        client.command("EHLO c.example.com", "250")
        client.command("MAIL FROM:<>", "250")
        client.command(f"RCPT TO:<{recipient}>", "250")
        client.command("DATA", "354")
        client.send("Subject: x\r\n\r\nx\r\n.\r\n")
        assert client.reply().startswith("250")


@pytest.mark.parametrize("how", ["MX to our address", "MX to our name", "our name as domain", "literal"])
def test_mail_to_ourselves(listening, dns, how):
    """A loop is seen before the first round of it."""
    recipient = "r@self.test"
    if how == "MX to our address":
        dns.mail_domain("self.test", "127.0.0.7")
    elif how == "MX to our name":
        dns.add("self.test", "MX", "10 relay.example.com")
        dns.add("relay.example.com", "A", "127.0.0.7")
    elif how == "our name as domain":
        dns.add("relay.example.com", "A", "127.0.0.7")
        recipient = "r@relay.example.com"
    else:
        recipient = "r@[127.0.0.7]"
    submit_there(listening, recipient)
    reply = ended(listening, recipient)
    assert "5.4.6" in reply or "5.4.4" in reply, reply
    assert len(so_far(listening, "received", 1)) == 1, "it went round"


def test_cname_loop(make_node, dns, sink):
    """Permanent where it is one; never endless."""
    node = make_node({"resolver": {"timeout": "2s"}})
    dns.add("loop.test", "CNAME", "pool.test.")
    dns.add("pool.test", "CNAME", "loop.test.")
    dns.add("mxloop.test", "MX", "10 loop.test")
    for recipient in ("r@loop.test", "r@mxloop.test"):
        node.send(recipient, sender="")
        wait_until("it was decided", lambda: any(r["state"] == "bounced" and "5.4." in r["reply"]
                                                 for r in node.track(recipient=recipient)) or
                   any(r["recipient"] == recipient and r["reply"] for r in node.queue()), 40)
    assert len(dns.queries) < 1000


@pytest.mark.parametrize("signed", [False, True])
def test_bogus_dnssec_is_temporary(make_node, dns, make_sink, folder, signed):
    """A trust anchor, and answers without signatures, or with a wrong one: nothing is connected to, and it is tried again."""
    sink = make_sink()
    (folder / "anchor").write_text("bogus.test. IN DS 12345 13 2 " + "ab" * 32 + "\n")
    node = make_node({"resolver": {"trust_anchor_file": str(folder / "anchor"), "timeout": "2s"},
                      "delivery": {"retry": ["1h"]}})
    dns.mail_domain("bogus.test", "127.0.0.1")
    dns.mail_domain("other.test", "127.0.0.1")
    if signed:
        key = "257 3 13 " + "mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ=="
        dns.add("bogus.test", "DNSKEY", key)
    node.send("r@bogus.test", sender="")
    row = wait_until("it waits", lambda: next((r for r in node.queue() if r["reply"]), None), 40)
    assert row["recipient"] == "r@bogus.test" and row["reply"].startswith("4"), row
    assert not sink.sessions
    node.send("r@other.test")
    wait_until("others are not concerned", lambda: sink.recipients() == ["r@other.test"])


@pytest.mark.parametrize("how", ["SERVFAIL", "REFUSED", "timeout", "garbage"])
@pytest.mark.parametrize("what", ["domain", "host"])
def test_dns_trouble_of_domain_and_host(make_node, dns, sink, how, what):
    """Whatever cannot be known now is asked again later: never a bounce, never a delivery to the A record instead."""
    node = make_node({"delivery": {"retry": ["1h"]}, "resolver": {"timeout": "1s"}})
    dns.mail_domain("trouble.test", "127.0.0.1")
    dns.add("trouble.test", "A", "127.0.0.1")
    dns.fail["trouble.test" if what == "domain" else "mx1.trouble.test"] = how
    node.send("r@trouble.test", sender="")
    row = wait_until("it waits", lambda: next((r for r in node.queue() if r["reply"]), None), 30)
    assert row["reply"].startswith("4"), row
    assert not sink.sessions and not so_far(node, "bounced")


@pytest.mark.parametrize("null", ["0 .", "10 ."])
def test_null_mx(make_node, dns, sink, null):
    dns.add("null.test", "MX", null)
    dns.add("null.test", "A", "127.0.0.1")
    node = make_node()
    node.send("r@null.test", sender="")
    assert "5.1.10" in ended(node, "r@null.test") or null == "10 ."
    assert not sink.sessions


def test_mail_to_ourselves_where_we_listen_on_all_addresses(make_node, dns, make_sink):
    """0.0.0.0 means the addresses of this machine's interfaces, loopback's too."""
    make_sink("127.0.0.1")
    node = make_node({"delivery": {"allowed_networks": []}}, start=False)
    node.config["listeners"][2]["address"] = f"0.0.0.0:{node.ports['relay']}"
    node.write_config()
    node.start()
    dns.mail_domain("self.test", "127.0.0.1")
    node.send("r@self.test", sender="")
    assert "loops back to us" in ended(node, "r@self.test")
