"""turnpike domain check: a node asks the DNS about senders' domains."""
import base64
import json
import subprocess

import pytest

KEY = '"v=DKIM1; k=ed25519; " "p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="'
SOURCES = [{"address": "127.0.0.1", "ehlo": "a.relay.test"}, {"address": "127.0.0.2", "ehlo": "b.relay.test"}]

pytestmark = pytest.mark.sanitizer


@pytest.fixture
def sender(make_node, dns):
    """A node with two source addresses, both covered by good.test, whose record leads over an include."""
    dns.mail_domain("good.test", "192.0.2.25")
    dns.add("good.test", "TXT", '"v=spf1 include:spf.relay.test -all"', '"other=1"')
    dns.add("spf.relay.test", "TXT", '"v=spf1 ip4:127.0.0.0/30 ip6:2001:db8::/64 ?all"')
    dns.add("s1._domainkey.good.test", "TXT", KEY)
    dns.add("_dmarc.good.test", "TXT", '"v=DMARC1; p=reject; rua=mailto:d@good.test"')
    return make_node({"sources": SOURCES})


def check(node, *arguments):
    done = node.cli("domain", "check", *arguments, "--json", check=False)
    answer = json.loads(done.stdout)
    assert done.returncode == (0 if answer["ok"] else 1), done.stderr
    return {(f["what"], f["subject"]): f for f in answer["findings"]}, answer["ok"]


def test_a_good_domain(sender):
    found, ok = check(sender, "GOOD.test", "--selector", "s1")
    assert ok
    assert {key: f["result"] for key, f in found.items()} == {
        ("mx", "good.test"): "present", ("spf", "127.0.0.1"): "pass", ("spf", "127.0.0.2"): "pass",
        ("dkim", "s1"): "good", ("dmarc", "good.test"): "reject", ("alignment", "good.test"): "aligned"}
    assert all(f["level"] == "good" for f in found.values())
    done = sender.cli("domain", "check", "good.test")
    assert "include:spf.relay.test" in done.stdout
    # addresses that are only planned
    found, ok = check(sender, "good.test", "--ip", "127.0.0.3", "--ip", "2001:db8::1", "--ip", "192.0.2.9")
    assert not ok
    assert [found["spf", ip]["result"] for ip in ("127.0.0.3", "2001:db8::1", "192.0.2.9")] == ["pass", "pass", "fail"]


def test_troubles_are_named_with_what_to_do(sender, dns):
    found, ok = check(sender, "nothing.test")
    assert not ok
    assert found["spf", "127.0.0.1"]["advice"] == 'publish nothing.test TXT "v=spf1 ip4:127.0.0.1 ~all"'
    assert found["mx", "nothing.test"]["result"] == "none"
    assert found["dmarc", "nothing.test"]["result"] == "none"
    dns.add("part.test", "TXT", '"v=spf1 ip4:127.0.0.1 ~all"')
    found, ok = check(sender, "part.test", "--selector", "nokey")
    assert found["spf", "127.0.0.1"]["level"] == "good"
    assert found["spf", "127.0.0.2"]["advice"] == "add ip4:127.0.0.2 to the SPF record of part.test"
    assert found["dkim", "nokey"]["result"] == "none"
    dns.add("wrong.test", "TXT", '"v=spf1 ipv4:127.0.0.1 ~all"')
    found, ok = check(sender, "wrong.test")
    assert found["spf", "127.0.0.1"]["result"] == "permerror"
    assert "ipv4:127.0.0.1" in found["spf", "127.0.0.1"]["text"]
    # a return path of somebody else's passes SPF, and helps DMARC nothing
    dns.add("_dmarc.from.test", "TXT", '"v=DMARC1; p=none; rua=mailto:d@from.test"')
    found, ok = check(sender, "from.test", "--return-path", "good.test")
    assert found["spf", "127.0.0.1"]["result"] == "pass"
    assert found["alignment", "good.test"]["level"] == "trouble"


def test_a_dns_that_fails(sender, dns):
    dns.fail["down.test"] = "SERVFAIL"
    found, ok = check(sender, "down.test")
    assert not ok
    assert found["spf", "127.0.0.1"]["result"] == "temperror"
    assert found["mx", "down.test"]["result"] == "unknown"
    # a record that leads in a circle ends by its limit, and soon
    dns.add("circle.test", "TXT", '"v=spf1 include:circle.test -all"')
    found, ok = check(sender, "circle.test", "--ip", "192.0.2.1")
    assert found["spf", "192.0.2.1"]["result"] == "permerror"
    assert "more than 10" in found["spf", "192.0.2.1"]["text"]


def test_the_keys_that_sign_here(sender, dns, folder):
    made = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], capture_output=True, text=True, check=True)
    file = folder / "dkim.pem"
    file.write_text(made.stdout)
    file.chmod(0o600)
    sender.config["dkim"] = {"keys": [{"domain": "good.test", "selector": "s1", "file": str(file)}]}
    sender.take_config()
    found, ok = check(sender, "good.test")
    assert not ok and found["dkim", "s1"]["result"] == "differs" # the record is another key's
    public = subprocess.run(["openssl", "pkey", "-pubout", "-outform", "DER"], input=made.stdout.encode(),
                            capture_output=True, check=True).stdout[-32:]
    dns.add("s2._domainkey.good.test", "TXT", f'"v=DKIM1; k=ed25519; p={base64.b64encode(public).decode()}"')
    sender.config["dkim"]["keys"][0]["selector"] = "s2"
    sender.take_config()
    found, ok = check(sender, "good.test")
    assert ok and found["dkim", "s2"]["result"] == "good"


def test_what_cannot_be_checked(sender, make_node):
    for arguments, said in ((["a..test"], "no domain name"), (["good.test", "--ip", "nonsense"], "no IP address"),
                            (["good.test", "--pool", "none"], "no pool none")):
        done = sender.cli("domain", "check", *arguments, check=False)
        assert done.returncode not in (0, 3) and said in done.stderr
    other = make_node()
    done = other.cli("domain", "check", "good.test", check=False)
    assert done.returncode == 4 and "--ip" in done.stderr
