"""What must hold before mail is sent: DANE, against a zone that is really signed; MTA-STS, against web servers."""
import datetime
import email
import gzip
import json
import os
import shutil
import subprocess

import pytest

from conftest import make_certificate
from harness.policy import Authority, Policies
from harness.util import wait_until
from harness.zone import SignedZone, tlsa
from test_dkim import Keys

pytestmark = [pytest.mark.sanitizer,
              pytest.mark.skipif(not shutil.which("ldns-signzone") or not os.path.exists("/usr/sbin/nsd"),
                                 reason="no ldnsutils or nsd")]

WRONG = "3 1 1 " + "00" * 32


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """One whose names fit nothing, and one that a CA of its own signed, for mx.ta.signed.test."""
    where = tmp_path_factory.mktemp("tls")
    alone = make_certificate(where, "alone", "whatever.invalid")
    return {"alone": alone, "ta": signed_by_ca(where, "ta", "mx1.ta.signed.test"),
            "ta-other": signed_by_ca(where, "other", "other.invalid")}


def signed_by_ca(where, name, host):
    """(chain file, key file); the CA's certificate is where / "NAME-ca.pem"."""
    ca, ca_key = make_certificate(where, f"{name}-ca", f"{name} CA")
    key, request, leaf = where / f"{name}.key", where / f"{name}.csr", where / f"{name}-leaf.pem"
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                    f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}", "-out", request, "-keyout", key], check=True,
                   capture_output=True)
    subprocess.run(["openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-days", "3", "-copy_extensions",
                    "copy", "-out", leaf], check=True, capture_output=True)
    chain = where / f"{name}-chain.pem"
    chain.write_bytes(leaf.read_bytes() + ca.read_bytes())
    return chain, key, ca


def domain(name, port, *hosts):
    """Lines for a domain below the zone; hosts: (address or alias, TLSA records)."""
    lines = []
    for number, (address, records) in enumerate(hosts, 1):
        kind = "A" if address[0].isdigit() else "CNAME"
        lines += [f"{name} IN MX {number}0 mx{number}.{name}", f"mx{number}.{name} IN {kind} {address}"]
        lines += [f"_{port}._tcp.mx{number}.{name} IN TLSA {r}" for r in records]
    return lines


@pytest.fixture
def signed(folder, dns, make_node):
    """A node that trusts the key of a zone made of the lines."""
    zones = []

    def make(lines, config=None, ended=(), **more):
        zone = SignedZone(folder, "signed.test", lines, ended)
        zones.append(zone.__enter__())
        dns.behind["signed.test"] = zone.port
        config = {"resolver": {"trust_anchor_file": zone.anchor, "timeout": "3s"}, "delivery": {"retry": ["1h"]},
                  **(config or {})}
        return make_node(config, **more)

    yield make
    for zone in zones:
        zone.__exit__()


def deferred(node, recipient, text):
    """The queue says why, and that it is for now."""
    row = wait_until(f"{recipient} waits", lambda: next((r for r in node.queue() if r["recipient"] == recipient and
                                                         r["reply"]), None), 40)
    assert row["reply"].startswith("451 4.7.5 ") and text in row["reply"], row
    return row


def delivered(node, recipient):
    return wait_until(f"{recipient} is delivered", lambda: next((r for r in node.track(recipient=recipient)
                                                                 if r["state"] == "delivered"), None), 40)


def test_dane_known_by_its_records(signed, make_sink, certificates, mx_port):
    """DANE-EE whatever its names; DANE-TA by a name below its CA; SNI and name are those at the end of an alias; the
    records may be an alias's end."""
    alone, ta = certificates["alone"], certificates["ta"]
    names = []
    sinks = {"ee": make_sink("127.0.0.1", certificate=alone), "ta": make_sink("127.0.0.2", certificate=ta[:2])}
    for sink in sinks.values():
        sink.context.sni_callback = lambda _socket, name, _context: names.append(name)
    node = signed(domain("ee", mx_port, ("127.0.0.1", [WRONG, tlsa(alone[0]), "1 1 1 " + "ab" * 32])) +
                  domain("ee512", mx_port, ("127.0.0.1", [tlsa(alone[0], 3, 0, 2)])) +
                  domain("full", mx_port, ("127.0.0.1", [tlsa(alone[0], 3, 1, 0)])) +
                  domain("ta", mx_port, ("127.0.0.2", [tlsa(ta[2], 2, 0, 1)])) +
                  domain("alias", mx_port, ("mx1.ta", [])) +
                  domain("alias2", mx_port, ("plain", [tlsa(alone[0])])) + ["plain IN A 127.0.0.1"] +
                  domain("cname", mx_port, ("127.0.0.1", [])) +
                  [f"_{mx_port}._tcp.mx1.cname IN CNAME _dane", f"_dane IN TLSA {tlsa(alone[0])}"])
    expected = {"ee": ("DANE-EE", "mx1.ee"), "ee512": ("DANE-EE", "mx1.ee512"), "full": ("DANE-EE", "mx1.full"),
                "ta": ("DANE-TA", "mx1.ta"), "alias": ("DANE-TA", "mx1.ta"), "alias2": ("DANE-EE", "mx1.alias2"),
                "cname": ("DANE-EE", "mx1.cname")}
    for name, (how, base) in expected.items():
        names.clear()
        node.send(f"r@{name}.signed.test")
        row = delivered(node, f"r@{name}.signed.test")
        assert row["tls"].startswith("TLSv1.3 ") and row["tls"].endswith(f", {how} verified"), row
        assert names == [base + ".signed.test"], name
    metrics = node.http("GET", "/metrics")[1]
    metrics = metrics if isinstance(metrics, str) else metrics.decode()
    assert 'turnpike_tls_policy_total{policy="dane",result="verified"} 7' in metrics


def test_dane_another_server_than_the_records_say(signed, make_sink, certificates, mx_port):
    """A certificate that does not match, one of the right CA for another name, STARTTLS that was stripped or refused:
    nothing is sent; the next host that is as it should be gets it."""
    alone, ta, other = certificates["alone"], certificates["ta"], certificates["ta-other"]
    good = make_sink("127.0.0.1", certificate=alone)
    stripped = make_sink("127.0.0.2")
    refusing = make_sink("127.0.0.3", certificate=alone)
    refusing.hooks["starttls"] = lambda *_: "454 4.7.0 not now"
    wrong_name = make_sink("127.0.0.4", certificate=other[:2])
    node = signed(domain("wrong", mx_port, ("127.0.0.1", [WRONG])) +
                  domain("stripped", mx_port, ("127.0.0.2", [tlsa(alone[0])])) +
                  domain("refusing", mx_port, ("127.0.0.3", [tlsa(alone[0])])) +
                  domain("other-ca", mx_port, ("127.0.0.1", [tlsa(ta[2], 2, 0, 1)])) +
                  domain("other-name", mx_port, ("127.0.0.4", [tlsa(other[2], 2, 0, 1)])) +
                  domain("second", mx_port, ("127.0.0.2", [tlsa(alone[0])]), ("127.0.0.1", [tlsa(alone[0])])))
    cases = {"wrong": "no matching DANE TLSA records", "stripped": "STARTTLS", "refusing": "not now",
             "other-ca": "not trusted", "other-name": "ostname mismatch"}
    for name in cases:
        node.send(f"r@{name}.signed.test")
    for name, text in cases.items():
        deferred(node, f"r@{name}.signed.test", text)
    node.send("r@second.signed.test")
    assert delivered(node, "r@second.signed.test")["mx"] == "mx2.second.signed.test"
    assert good.recipients() == ["r@second.signed.test"]
    assert not stripped.messages and not refusing.messages and not wrong_name.messages
    assert not any(line.upper().startswith(b"MAIL") for s in stripped.sessions + refusing.sessions
                   for side, line in s.transcript if side == "C")


@pytest.mark.parametrize("how", ["SERVFAIL", "timeout", "REFUSED", "bogus", "ended"])
def test_dane_records_that_cannot_be_learnt(signed, make_sink, dns, certificates, mx_port, how):
    """The host is not connected to, not even with TLS; the next one is."""
    alone = certificates["alone"]
    records = [f"_{mx_port}._tcp.mx1.{name}.signed.test" for name in ("dark", "half")]
    sink, second = make_sink("127.0.0.1", certificate=alone), make_sink("127.0.0.2", certificate=alone)
    node = signed(domain("dark", mx_port, ("127.0.0.1", [tlsa(alone[0])])) +
                  domain("half", mx_port, ("127.0.0.1", [tlsa(alone[0])]), ("127.0.0.2", [tlsa(alone[0])])),
                  ended=records if how == "ended" else ())
    for record in records:
        if how == "bogus":
            dns.add(record, "TLSA", WRONG)
        elif how != "ended":
            dns.fail[record] = how
    node.send("r@dark.signed.test")
    node.send("r@half.signed.test")
    deferred(node, "r@dark.signed.test", f"TLSA records of mx1.dark.signed.test: "
             f"{'they fail DNSSEC validation' if how in ('bogus', 'ended') else ''}")
    assert delivered(node, "r@half.signed.test")["mx"] == "mx2.half.signed.test"
    assert not sink.sessions


def test_dane_unusable_and_none(signed, make_sink, dns, certificates, mx_port):
    """Records that we cannot use ask for TLS of whomever; no records, and what is not validated, for nothing."""
    alone = certificates["alone"]
    tls, plain = make_sink("127.0.0.1", certificate=alone), make_sink("127.0.0.2")
    unusable = ["0 0 1 " + "ab" * 32, "1 1 1 " + "cd" * 32, "3 1 1 abcd", "3 1 7 " + "ab" * 32, "3 1 0 30030201ff"]
    node = signed(domain("unusable", mx_port, ("127.0.0.1", unusable)) +
                  domain("stripped", mx_port, ("127.0.0.2", unusable)) +
                  domain("none", mx_port, ("127.0.0.2", [])) +
                  domain("host", mx_port, ("127.0.0.2", [WRONG])))
    dns.add("unsigned.test", "MX", "10 mx1.host.signed.test") # nobody vouches for this MX
    node.send("r@unusable.signed.test")
    row = delivered(node, "r@unusable.signed.test")
    assert row["tls"].startswith("TLSv1.3") and "DANE" not in row["tls"], row
    node.send("r@stripped.signed.test")
    deferred(node, "r@stripped.signed.test", "STARTTLS")
    assert not plain.messages
    for name in ("none.signed.test", "unsigned.test"):
        node.send(f"r@{name}")
        assert not delivered(node, f"r@{name}")["tls"]


def test_dane_only_and_off(signed, make_sink, certificates, mx_port):
    """`only` sends to nobody without usable records; `off` asks for none; a next hop that is named has its own."""
    alone = certificates["alone"]
    sink = make_sink("127.0.0.1", certificate=alone)
    via = f":{mx_port}"
    node = signed(domain("good", mx_port, ("127.0.0.1", [tlsa(alone[0])])) +
                  domain("none", mx_port, ("127.0.0.1", [])) +
                  domain("unusable", mx_port, ("127.0.0.1", ["3 1 1 abcd"])) +
                  domain("off", mx_port, ("127.0.0.1", [WRONG])),
                  {"routes": [{"domain": "off.signed.test", "via": via, "dane": "off"},
                              {"domain": "hop.test", "via": f"mx1.off.signed.test:{mx_port}"},
                              {"domain": "*", "via": via, "dane": "only"}]})
    for name, text in (("none.signed.test", "has no TLSA records"), ("unusable.signed.test", "has no usable TLSA record"),
                       ("hop.test", "no matching DANE TLSA records")):
        node.send(f"r@{name}")
        deferred(node, f"r@{name}", text)
    for name in ("good", "off"):
        node.send(f"r@{name}.signed.test")
        delivered(node, f"r@{name}.signed.test")
    assert sorted(sink.recipients()) == ["r@good.signed.test", "r@off.signed.test"]


# ---- MTA-STS ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """With certificates: `web` for policy hosts below web.test, `mx` for MX hosts below mx.test."""
    ca = Authority(tmp_path_factory.mktemp("ca"))
    ca.web = ca.certificate("web", "mta-sts.good.signed.test", *(f"mta-sts.{n}.web.test" for n in STS_DOMAINS))
    ca.mx = ca.certificate("mx", "a.mx.test", "b.mx.test")
    ca.ended = ca.certificate("ended", "mta-sts.ended.web.test", "ended.mx.test", days=-1)
    return ca


STS_DOMAINS = ("good", "wild", "unlisted", "self", "plain", "testing", "none", "redirect", "html", "huge", "missing", "broken",
               "late")


@pytest.fixture
def policies(authority):
    web = Policies(authority.web)
    yield web
    web.close()


def sts_domain(dns, policies, name, policy, host="a.mx.test", policy_id="1"):
    """name.web.test, with one MX host, a record, and a policy."""
    domain = f"{name}.web.test"
    dns.add(domain, "MX", f"10 {host}")
    dns.add(f"_mta-sts.{domain}", "TXT", f'"v=STSv1; id={policy_id};"')
    dns.add(f"mta-sts.{domain}", "A", "127.0.0.1")
    policies.answers[f"mta-sts.{domain}"] = policy
    return domain


def policy_text(*hosts, mode="enforce"):
    return "".join(f"{line}\r\n" for line in ["version: STSv1", f"mode: {mode}", "max_age: 604800",
                                              *(f"mx: {h}" for h in hosts)])


@pytest.fixture
def sts_node(make_node, authority, policies):
    def make(config=None, **more):
        merged = {"delivery": {"retry": ["1h"], "mta_sts_port": policies.port}, **(config or {})}
        return make_node(merged, wrapper=("env", f"SSL_CERT_FILE={authority.file}"), **more)
    return make


def test_sts_modes(sts_node, make_sink, dns, policies, authority, certificates):
    """enforce: a listed host with a certificate for its name, or nothing is sent; testing and none change nothing."""
    good = make_sink("127.0.0.1", certificate=authority.mx)
    own = make_sink("127.0.0.2", certificate=certificates["alone"])
    plain = make_sink("127.0.0.3")
    late = make_sink("127.0.0.4", certificate=authority.ended)
    for host, address in (("a.mx.test", "127.0.0.1"), ("self.mx.test", "127.0.0.2"), ("plain.mx.test", "127.0.0.3"),
                          ("ended.mx.test", "127.0.0.4")):
        dns.add(host, "A", address)
    node = sts_node()
    fine = [sts_domain(dns, policies, "good", policy_text("other.test", "a.mx.test")),
            sts_domain(dns, policies, "wild", policy_text("*.mx.test"))]
    waiting = {sts_domain(dns, policies, "unlisted", policy_text("*.a.mx.test", "b.mx.test")):
               "a.mx.test is none of the hosts that the MTA-STS policy of unlisted.web.test names",
               sts_domain(dns, policies, "self", policy_text("self.mx.test"), "self.mx.test"): "not trusted",
               sts_domain(dns, policies, "plain", policy_text("plain.mx.test"), "plain.mx.test"): "STARTTLS",
               sts_domain(dns, policies, "late", policy_text("ended.mx.test"), "ended.mx.test"): "expired"}
    free = [sts_domain(dns, policies, "testing", policy_text("b.mx.test", mode="testing"), "plain.mx.test"),
            sts_domain(dns, policies, "none", policy_text(mode="none"), "plain.mx.test")]
    for name in fine + list(waiting) + free:
        node.send(f"r@{name}")
    for name in fine:
        assert delivered(node, f"r@{name}")["tls"].endswith(", MTA-STS verified")
    for name in free:
        assert not delivered(node, f"r@{name}")["tls"]
    for name, text in waiting.items():
        deferred(node, f"r@{name}", text)
    assert sorted(good.recipients()) == sorted(f"r@{n}" for n in fine) and not own.messages + late.messages
    assert sorted(plain.recipients()) == sorted(f"r@{n}" for n in free)
    assert len(policies.requests) == len(set(policies.requests)) == 8
    metrics = node.http("GET", "/metrics")[1]
    metrics = metrics if isinstance(metrics, str) else metrics.decode()
    assert 'turnpike_tls_policy_total{policy="mta_sts",result="verified"} 2' in metrics


def test_sts_policies_that_are_none(sts_node, make_sink, dns, policies, authority):
    """A redirect, another type, too much, nothing, nonsense, a certificate for another name or that has ended: there is no
    policy then."""
    sink = make_sink("127.0.0.3")
    dns.add("plain.mx.test", "A", "127.0.0.3")
    good = policy_text("b.mx.test")
    node = sts_node()
    redirect = f"https://mta-sts.good.web.test:{policies.port}/.well-known/mta-sts.txt"
    policies.answers["mta-sts.good.web.test"] = good
    answers = {"redirect": (302, {"Location": redirect, "Content-Type": "text/plain"}, good.encode()),
               "html": (200, {"Content-Type": "text/html"}, good.encode()),
               "huge": (200, {"Content-Type": "text/plain"}, good.encode() + b"x: y\r\n" * 20000),
               "missing": (404, {"Content-Type": "text/plain"}, good.encode()),
               "broken": good.replace("STSv1", "STSv2")}
    domains = [sts_domain(dns, policies, name, answer, "plain.mx.test") for name, answer in answers.items()]
    dns.add("elsewhere.test", "MX", "10 plain.mx.test")
    dns.add("_mta-sts.elsewhere.test", "TXT", '"v=STSv1; id=1;"')
    dns.add("mta-sts.elsewhere.test", "A", "127.0.0.1")
    policies.answers["mta-sts.elsewhere.test"] = good
    domains.append(sts_domain(dns, policies, "ended", good, "plain.mx.test"))
    policies.use("mta-sts.ended.web.test", authority.ended)
    for name in (*domains, "elsewhere.test"):
        node.send(f"r@{name}")
        delivered(node, f"r@{name}")
    assert len(sink.messages) == 7
    assert "expired" in node.log_text()
    asked = [host for host, _path in policies.requests]
    assert "mta-sts.good.web.test" not in asked and "mta-sts.elsewhere.test" not in asked
    assert "mta-sts.ended.web.test" not in asked


@pytest.mark.parametrize("gone", ["record", "server", "both"])
def test_sts_what_was_learnt_stays(sts_node, make_sink, dns, policies, authority, gone):
    """A policy in force stays so while it cannot be fetched, or its record is gone; over a restart, too."""
    sink = make_sink("127.0.0.1", certificate=authority.mx)
    dns.add("a.mx.test", "A", "127.0.0.1")
    node = sts_node()
    name = sts_domain(dns, policies, "good", policy_text("a.mx.test"))
    node.send(f"r@{name}")
    delivered(node, f"r@{name}")
    sink.extensions.remove("STARTTLS") # somebody takes it out from now on
    dns.clear(f"_mta-sts.{name}")
    if gone == "server":
        dns.add(f"_mta-sts.{name}", "TXT", '"v=STSv1; id=2;"')
    if gone != "record":
        policies.answers[f"mta-sts.{name}"] = (503, {}, b"")
    node.stop()
    node.restart()
    node.send(f"s@{name}")
    deferred(node, f"s@{name}", "STARTTLS")
    assert sink.recipients() == [f"r@{name}"]
    if gone == "server":
        assert len(policies.requests) == 2


def test_sts_another_id(sts_node, make_sink, dns, policies):
    """A new id has the policy fetched anew, though the old one would last, and mail waits for it."""
    sink = make_sink("127.0.0.3")
    dns.add("plain.mx.test", "A", "127.0.0.3")
    name = sts_domain(dns, policies, "good", policy_text(mode="none"), "plain.mx.test")
    node = sts_node()
    node.send(f"r@{name}")
    delivered(node, f"r@{name}")
    dns.clear(f"_mta-sts.{name}")
    dns.add(f"_mta-sts.{name}", "TXT", '"v=STSv1; id=2;"')
    policies.answers[f"mta-sts.{name}"] = policy_text("b.mx.test")
    node.stop()
    node.restart() # its resolver remembers nothing
    node.send(f"s@{name}")
    deferred(node, f"s@{name}", "is none of the hosts")
    assert sink.recipients() == [f"r@{name}"] and len(policies.requests) == 2


def test_sts_is_outranked_by_dane(signed, make_sink, dns, policies, authority, certificates, mx_port):
    """Records that match are enough, whatever the policy."""
    alone = certificates["alone"]
    sink = make_sink("127.0.0.1", certificate=alone)
    node = signed(domain("good", mx_port, ("127.0.0.1", [tlsa(alone[0])])) +
                  ["_mta-sts.good IN TXT \"v=STSv1; id=1\"", "mta-sts.good IN A 127.0.0.1"],
                  {"delivery": {"retry": ["1h"], "mta_sts_port": policies.port}},
                  wrapper=("env", f"SSL_CERT_FILE={authority.file}"))
    policies.answers["mta-sts.good.signed.test"] = policy_text("nobody.test")
    node.send("r@good.signed.test")
    assert delivered(node, "r@good.signed.test")["tls"].endswith(", DANE-EE verified")
    assert sink.recipients() == ["r@good.signed.test"] and len(policies.requests) == 1


# ---- REQUIRETLS -------------------------------------------------------------------------------------------


def test_requiretls(signed, make_sink, dns, certificates, mx_port):
    """Only to a server that is known to be the right one and offers it, too; reports show nothing of the message."""
    alone = certificates["alone"]
    good, lacking = make_sink("127.0.0.1", certificate=alone), make_sink("127.0.0.2", certificate=alone)
    good.extensions.append("REQUIRETLS")
    node = signed(domain("good", mx_port, ("127.0.0.1", [tlsa(alone[0])])) +
                  domain("lacking", mx_port, ("127.0.0.2", [tlsa(alone[0])])) +
                  domain("anybody", mx_port, ("127.0.0.1", [])) +
                  domain("second", mx_port, ("127.0.0.2", [tlsa(alone[0])]), ("127.0.0.1", [tlsa(alone[0])])) +
                  domain("half", mx_port, ("127.0.0.2", [tlsa(alone[0])]), ("127.0.0.9", [tlsa(alone[0])])))
    dns.mail_domain("back.test", "127.0.0.1")
    node.add_account()
    recipients = [f"r@{name}.signed.test" for name in ("good", "lacking", "anybody", "second", "half")]
    with node.smtp("submissions", "user@example.com") as client:
        assert client.has_extn("requiretls")
        client.sendmail("user@back.test", recipients, "From: user@back.test\r\nSubject: top secret\r\n"
                        "Message-ID: <it@back.test>\r\n\r\nsecret words\r\n", mail_options=["REQUIRETLS"])
    assert delivered(node, recipients[0])["tls"].endswith("verified")
    for recipient, code in ((recipients[1], "550 5.7.30"), (recipients[2], "550 5.7.10")):
        row = wait_until("it is returned", lambda: next((r for r in node.track(recipient=recipient)
                                                         if r["state"] == "bounced"), None))
        assert row["reply"].startswith(code), row
    assert delivered(node, recipients[3])["mx"] == "mx2.second.signed.test"
    row = wait_until("it waits for the host that cannot be reached", lambda: next((
        r for r in node.queue() if r["recipient"] == recipients[4] and r["reply"]), None))
    assert row["reply"].startswith("4"), row
    wait_until("the reports are there", lambda: sorted(good.recipients()) == [
        "r@good.signed.test", "r@second.signed.test"] + ["user@back.test"] * 2)
    assert not lacking.messages
    for message in good.messages:
        if message.recipients == ["user@back.test"]:
            assert b"secret" not in message.content and b"<it@back.test>" in message.content
            assert "REQUIRETLS" not in message.parameters
        else:
            assert "REQUIRETLS" in message.parameters.split() and b"secret words" in message.content


def test_tls_required_no(signed, make_sink, dns, policies, authority, certificates, mx_port):
    """RFC 8689 section 5: what says that it needs no TLS goes although the domain's policy cannot be kept to, and only that."""
    alone = certificates["alone"]
    make_sink("127.0.0.1", certificate=alone)
    plain = make_sink("127.0.0.3")
    dns.add("plain.mx.test", "A", "127.0.0.3")
    node = signed(domain("wrong", mx_port, ("127.0.0.1", [WRONG])) +
                  domain("stripped", mx_port, ("127.0.0.3", [tlsa(alone[0])])) +
                  domain("dark", mx_port, ("127.0.0.3", [tlsa(alone[0])])),
                  {"delivery": {"retry": ["1h"], "mta_sts_port": policies.port}},
                  wrapper=("env", f"SSL_CERT_FILE={authority.file}"))
    sts = sts_domain(dns, policies, "plain", policy_text("plain.mx.test"), "plain.mx.test")
    dns.fail[f"_{mx_port}._tcp.mx1.dark.signed.test"] = "SERVFAIL"
    text = "Subject: it may be read\r\nTLS-Required: No\r\n\r\nno secret\r\n"
    for name in ("stripped.signed.test", "dark.signed.test", sts):
        node.send(f"r@{name}", text=text)
        assert delivered(node, f"r@{name}")["tls"] == "none, TLS-Required: No"
    node.send("r@wrong.signed.test", text=text)
    row = delivered(node, "r@wrong.signed.test")
    assert row["tls"].startswith("TLSv1.3 ") and row["tls"].endswith(", TLS-Required: No"), row
    assert len(plain.messages) == 3 and all(b"\r\nTLS-Required: No\r\n" in m.content for m in plain.messages)
    node.add_account()
    with node.smtp("submissions", "user@example.com") as client: # REQUIRETLS outdoes it
        client.sendmail("user@example.com", ["q@stripped.signed.test"], text, mail_options=["REQUIRETLS"])
    node.send("s@stripped.signed.test")
    node.send("t@stripped.signed.test", text=text.replace("No", "Maybe"))
    for recipient in ("q", "s", "t"):
        deferred(node, f"{recipient}@stripped.signed.test", "STARTTLS")
    node.config["smtp"] = {**node.config.get("smtp", {}), "tls_required_no": False}
    node.take_config()
    node.send("u@stripped.signed.test", text=text)
    deferred(node, "u@stripped.signed.test", "STARTTLS")
    assert len(plain.messages) == 3


# ---- TLS reports ------------------------------------------------------------------------------------------


@pytest.mark.slow(15)
def test_tls_reports(signed, make_sink, dns, folder, policies, authority, certificates, mx_port):
    """What went well and what did not, by policy, goes the next day to the domains that ask for it, and to no others: by
    mail and to web servers. A crash between loses nothing."""
    alone = certificates["alone"]
    sink, plain = make_sink("127.0.0.1", certificate=alone), make_sink("127.0.0.3")
    dns.add("plain.mx.test", "A", "127.0.0.3")
    keys = Keys(folder, dns)
    keys.add("relay.example.com", "s1", "ed25519")
    node = signed(domain("good", mx_port, ("127.0.0.1", [tlsa(alone[0])])) +
                  domain("wrong", mx_port, ("127.0.0.1", [WRONG])) +
                  domain("silent", mx_port, ("127.0.0.1", [tlsa(alone[0])])) +
                  [f'_smtp._tls.{n} IN TXT "v=TLSRPTv1; rua=mailto:{n}@reports.test,ftp://x.test/"' for n in ("good", "wrong")],
                  {"delivery": {"retry": ["1h"], "mta_sts_port": policies.port},
                   "tls_reports": {"send": "on", "delay": "0", "organization": "Relay Inc."}, "dkim": {"keys": keys.config}},
                  wrapper=("env", f"SSL_CERT_FILE={authority.file}"))
    sts = sts_domain(dns, policies, "testing", policy_text("b.mx.test", mode="testing"), "plain.mx.test")
    web = f"https://mta-sts.good.web.test:{policies.port}"
    dns.add("mta-sts.good.web.test", "A", "127.0.0.1")
    dns.add(f"_smtp._tls.{sts}", "TXT", f'"v=TLSRPTv1;rua=mailto:sts@reports.test,{web}/tlsrpt"')
    dns.add("moved.test", "MX", "10 plain.mx.test")
    dns.add("_smtp._tls.moved.test", "TXT", f'"v=TLSRPTv1;rua={web}/moved,https://127.0.0.1:{policies.port}/x"')
    policies.post_answers["/moved"] = (307, {"Location": f"{web}/elsewhere"})
    dns.mail_domain("reports.test", "127.0.0.3")
    for name in ("good.signed.test", "silent.signed.test", sts, "moved.test"):
        node.send(f"r@{name}")
        delivered(node, f"r@{name}")
    node.send("r@wrong.signed.test")
    deferred(node, "r@wrong.signed.test", "TLSA")
    counted = node.folder / "data/tls-reports"
    wait_until("it is on disk", lambda: counted.exists() and "wrong.signed.test" in counted.read_text(), 30)
    node.kill()
    lines = [json.loads(line) for line in counted.read_text().splitlines()]
    assert len({line["domain"] for line in lines}) == 5
    today = lines[0]["day"]
    counted.write_text("".join(json.dumps({**line, "day": today - 1}) + "\n" for line in lines)) # it was yesterday
    del plain.messages[:]
    node.restart()
    wait_until("the reports come", lambda: len(plain.messages) == 3 and len(policies.posts) == 2)
    reports = {}
    for message in plain.messages:
        mail = email.message_from_bytes(message.content)
        assert keys.signers(message.content) == [("relay.example.com", "s1", "ed25519-sha256")]
        assert message.sender == "" and mail.get_content_type() == "multipart/report"
        assert mail["TLS-Report-Submitter"] == "relay.example.com" and mail["Auto-Submitted"]
        text, attached = mail.get_payload()
        assert attached.get_content_type() == "application/tlsrpt+gzip" and "relay.example.com" in text.get_payload()
        report = json.loads(gzip.decompress(attached.get_payload(decode=True)))
        assert report["organization-name"] == "Relay Inc." and report["contact-info"] == "postmaster@relay.example.com"
        assert mail["TLS-Report-Domain"] == report["policies"][0]["policy"]["policy-domain"]
        start = datetime.datetime.fromisoformat(report["date-range"]["start-datetime"])
        assert start.timestamp() == (today - 1) * 86400
        reports[message.recipients[0]] = report["policies"]
    good, = reports["good@reports.test"]
    assert good["policy"]["policy-type"] == "tlsa" and good["policy"]["policy-string"] == [tlsa(alone[0])]
    assert good["summary"] == {"total-successful-session-count": 1, "total-failure-session-count": 0}
    wrong, = reports["wrong@reports.test"]
    assert wrong["summary"]["total-failure-session-count"] == wrong["failure-details"][0]["failed-session-count"] >= 1
    assert wrong["failure-details"][0]["result-type"] == "validation-failure"
    assert wrong["failure-details"][0]["receiving-mx-hostname"] == "mx1.wrong.signed.test"
    assert wrong["failure-details"][0]["receiving-ip"] == "127.0.0.1"
    testing, = reports["sts@reports.test"]
    assert testing["policy"]["policy-type"] == "sts" and testing["policy"]["mx-host"] == ["b.mx.test"]
    assert "mode: testing" in testing["policy"]["policy-string"]
    assert testing["failure-details"][0]["result-type"] == "starttls-not-supported"
    posts = {path: (kind, json.loads(gzip.decompress(body))) for path, kind, body in policies.posts}
    assert sorted(posts) == ["/moved", "/tlsrpt"]
    kind, report = posts["/tlsrpt"]
    assert kind == "application/tlsrpt+gzip" and report["policies"] == [testing]
    wait_until("the other one is not reached", lambda: "/moved: HTTP status 307" in node.log_text())
    node.stop()
    left = [line["domain"] for line in map(json.loads, counted.read_text().splitlines()) if line["day"] < today]
    assert left == ["moved.test"] # to be tried again
    assert sink.messages
