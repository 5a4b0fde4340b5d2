"""Domains that a tenant must prove before his mail may use them: on all nodes, for him alone, and until the record goes."""
import re
import smtplib

import pytest

from harness.quota import apply_policy, await_applied
from harness.util import wait_until

NEWS, EVE = "news@shop.example", "eve@evil.example"
POLICY = "limits: []\ndomains: {prove: %s, recheck: 1s, failures: 2, failing: 0s, valid: 1h}\n"


@pytest.fixture
def cluster(make_cluster):
    made = make_cluster(3)
    for name in (NEWS, EVE):
        made.nodes[0].add_account(name, senders=["*"])
    apply_policy(made.nodes[0], POLICY % "require")
    await_applied(made.nodes)
    return made


def mail(node, sender, login=None):
    with node.smtp("submission" if login else "relay", login) as client:
        return client.mail(sender)


def refused(answer, domain):
    return answer[0] == 550 and answer[1].startswith(b"5.7.1 Domain " + domain.encode() + b" is not proven to be yours")


def asked(node, domain, *options):
    """The record that proves it: its name and what it says."""
    said = node.cli("domain", "prove", domain, *options).stdout
    return re.fullmatch(r'(\S+)\. IN TXT "(turnpike-proof=[a-z2-7]{32})"\n', said).groups()


def state(node, domain, tenant):
    rows = node.api("GET", f"/v1/domains?tenant={tenant}")["domains"]
    return next((row["state"] for row in rows if row["domain"] == domain), None)


@pytest.mark.slow(12)
def test_a_domain_is_proven_before_it_is_used(cluster, dns):
    one, two, three = cluster.nodes
    for node in cluster.nodes:
        assert refused(mail(node, NEWS, NEWS), "shop.example")
        assert refused(mail(node, EVE, EVE), "evil.example")
        assert mail(node, "", NEWS)[0] == 250
    name, value = asked(one, "SHOP.example")
    assert name == "_turnpike-challenge.shop.example" and (name, value) == asked(three, "shop.example")
    theirs = asked(two, "shop.example", "--tenant", "evil.example")
    assert theirs[0] == name and theirs[1] != value
    done = two.cli("domain", "prove", "shop.example", "--check", check=False)
    assert done.returncode == 1 and "not proven: there is no such TXT record" in done.stderr, done.stderr

    dns.add(name, "TXT", '"something else"', f'"{value[:20]}" "{value[20:]}"')
    for node in cluster.nodes:
        wait_until("it is accepted", lambda: mail(node, NEWS, NEWS)[0] == 250)
        assert mail(node, "a@list.shop.example", NEWS)[0] == 250  # and what is below it
        assert refused(mail(node, NEWS, EVE), "shop.example")     # but by nobody else
    # what its resolver was told before is remembered for the zone's negative TTL
    wait_until("it finds it", lambda: two.cli("domain", "prove", "shop.example", "--check", "--json", check=False).returncode == 0)
    done = one.cli("domain", "prove", "shop.example", "--tenant", "evil.example", "--check", check=False)
    assert done.returncode == 1 and "its TXT record says something else" in done.stderr, done.stderr
    assert (state(three, "shop.example", "shop.example"), state(three, "shop.example", "evil.example")) == ("proven", "asked")

    # From likewise
    with two.smtp("submission", NEWS) as client:
        for author, good in ((NEWS, True), ("boss@bank.example", False)):
            try:
                client.sendmail(NEWS, "bob@example.net", f"From: {author}\r\n\r\nhello\r\n")
                assert good
            except smtplib.SMTPDataError as error:
                assert not good and refused((error.smtp_code, error.smtp_error), "bank.example"), error

    # a relay's account has a tenant, too; for whom an operator vouches need not prove it
    tenant = "example.com"
    assert refused(mail(one, NEWS), "shop.example")
    assert "needs no proof" in one.cli("domain", "prove", "shop.example", "--tenant", tenant, "--vouch").stdout
    for node in cluster.nodes:
        wait_until("it is accepted", lambda: mail(node, NEWS)[0] == 250)
    listed = three.cli("domain", "list").stdout
    assert "vouched" in listed and "proven" in listed and "asked" in listed, listed
    assert 'turnpike_domain_unproven_total{verdict="refused"}' in two.metrics()

    # the record goes, and so does the proof
    dns.clear(name)
    living = cluster.nodes
    for node in living:
        wait_until("it is lost", lambda: refused(mail(node, NEWS, NEWS), "shop.example"), 60)
        assert mail(node, NEWS)[0] == 250
    wait_until("it is told", lambda: [e for n in living for e in n.events("domain")
                                      if (e["site"], e["tenant"], e["rule"]) == ("shop.example", "shop.example", "lost")])
    living[0].cli("domain", "forget", "shop.example")
    assert state(living[1], "shop.example", "shop.example") is None
    # off: anything goes
    apply_policy(living[0], POLICY % "warn")
    for node in living:
        wait_until("it is only told", lambda: mail(node, NEWS, NEWS)[0] == 250)
    wait_until("it is told", lambda: "which tenant shop.example has not proven" in "".join(n.log_text() for n in living))
