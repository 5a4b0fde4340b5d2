"""Mail is signed where it is accepted, and verified by those who are not us: dkimpy, and mailauth where npm can fetch it."""
import base64
import datetime
import json
import os
import re
import smtplib
import subprocess

import dkim
import pytest

from harness.npm import npm_modules
from harness.util import wait_until

TEXT = ("From: User <user@example.com>\r\nTo: friend@example.net\r\nSubject: signed\r\n  and folded\r\n\r\n"
        "Two  blanks \r\n\r\n.a dot\r\n\r\n\r\n")


def make_key(folder, name, kind="rsa"):
    """A key as openssl makes it: (file, DNS record)."""
    path = folder / f"{name}.pem"
    options = ["-pkeyopt", "rsa_keygen_bits:2048"] if kind == "rsa" else []
    subprocess.run(["openssl", "genpkey", "-algorithm", kind, *options, "-out", path], check=True, capture_output=True)
    path.chmod(0o600)
    der = subprocess.run(["openssl", "pkey", "-in", path, "-pubout", "-outform", "DER"], check=True,
                         capture_output=True).stdout
    public = base64.b64encode(der if kind == "rsa" else der[-32:]).decode()
    return path, f"v=DKIM1; k={kind}; p={public}"


class Keys:
    """Keys in the DNS and in the node's configuration."""

    def __init__(self, folder, dns):
        self.folder, self.dns, self.records, self.config = folder, dns, {}, []

    def add(self, domain, selector, kind="rsa", **more):
        path, record = make_key(self.folder, f"{domain}-{selector}", kind)
        name = f"{selector}._domainkey.{domain}"
        self.records[name] = record
        self.dns.add(name, "TXT", " ".join(f'"{record[i:i + 255]}"' for i in range(0, len(record), 255)))
        self.config.append({"domain": domain, "selector": selector, "file": str(path), **more})
        return path

    def find(self, name, timeout=5):
        return self.records[name.decode().rstrip(".")].encode()

    def signers(self, content):
        """Who signed it, the outermost first; each signature must be good."""
        found = []
        for index, field in enumerate(re.findall(rb"^DKIM-Signature:((?:.*\r\n[ \t])*.*\r\n)", content.split(b"\r\n\r\n", 1)[0] + b"\r\n", re.M)):
            tags = dict(re.findall(r"\b([a-z]+)=([^;]*)", re.sub(r"\s", "", field.decode())))
            assert dkim.DKIM(content).verify(idx=index, dnsfunc=self.find), content
            found.append((tags["d"], tags["s"], tags["a"]))
        return found


@pytest.fixture
def keys(folder, dns):
    return Keys(folder, dns)


@pytest.fixture
def signing(make_node, keys):
    def make(config=None, start=True):
        return make_node({"dkim": {"keys": keys.config, **(config or {})}}, start)
    return make


def received(sink, number=0):
    return wait_until("it is delivered", lambda: len(sink.messages) > number and sink.messages[number]).content


def mailauth():
    modules = npm_modules("mailauth@4")
    if modules is None:
        pytest.skip("mailauth cannot be fetched, so not verified by it")
    return modules


MAILAUTH = """
const { dkimVerify } = require('mailauth/lib/dkim/verify');
const records = JSON.parse(process.argv[1]);
const chunks = [];
process.stdin.on('data', c => chunks.push(c)).on('end', () =>
  dkimVerify(Buffer.concat(chunks), { resolver: async (name, type) => [[records[name.replace(/\\.$/, '')]]] })
    .then(r => console.log(JSON.stringify(r.results.map(x => [x.signingDomain, x.selector, x.algo, x.status.result])))));
"""


@pytest.mark.sanitizer
def test_both_algorithms(signing, sink, keys):
    keys.add("example.com", "r1")
    keys.add("example.com", "e1", "ed25519")
    node = signing()
    node.add_account()
    node.send("friend@example.net", TEXT, kind="submission", login="user@example.com")
    both = [("example.com", "r1", "rsa-sha256"), ("example.com", "e1", "ed25519-sha256")]
    content = received(sink)
    assert content.startswith(b"DKIM-Signature: ")
    assert keys.signers(content) == both
    # Message-ID and Date, which we added, are signed, and nothing can be added to them, nor to From.
    for name in (b"Message-ID", b"date", b"FROM", b"Reply-To"):
        with pytest.raises(AssertionError):
            keys.signers(content.replace(b"\r\nSubject:", b"\r\n" + name + b": x@example.org\r\nSubject:", 1))
    # A long message is signed before what was written of it long ago; one of null size, too.
    body = "".join(f"line {number:06} {'x' * 60}\r\n" for number in range(20000))
    node.send("long@example.net", TEXT + body, kind="submission", login="user@example.com")
    node.send("short@example.net", "From: user@example.com\r\n", kind="submission", login="user@example.com")
    wait_until("both are delivered", lambda: len(sink.messages) == 3)
    assert [keys.signers(message.content) for message in sink.messages] == [both] * 3
    assert {len(message.content) > 1400000 for message in sink.messages} == {True, False}
    event = wait_until("the events are written", lambda: node.events("received"))[0]
    assert event["dkim"] == "r1._domainkey.example.com e1._domainkey.example.com"
    row = wait_until("it has ended", lambda: [r for r in node.track(id=event["id"]) if r["state"] == "delivered"])[0]
    assert row["dkim"] == event["dkim"] and event["dkim"].split()[0] in node.cli("track", event["id"]).stdout
    metrics = node.metrics()
    assert 'turnpike_dkim_signatures_total{algorithm="rsa"} 3' in metrics
    assert 'turnpike_dkim_signatures_total{algorithm="ed25519"} 3' in metrics
    assert "turnpike_dkim_unsigned_total 0" in metrics


def test_verified_by_mailauth(signing, sink, keys):
    modules = mailauth()
    keys.add("example.com", "r1")
    keys.add("example.com", "e1", "ed25519")
    node = signing()
    node.add_account()
    texts = [TEXT, "From: user@example.com\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\r\n", TEXT + "x" * 990 + " \r\n" * 3000]
    for number, text in enumerate(texts):
        node.send("friend@example.net", text, kind="submission", login="user@example.com")
        done = subprocess.run(["node", "-e", MAILAUTH, json.dumps(keys.records)], input=received(sink, number),
                              capture_output=True, timeout=60, env={**os.environ, "NODE_PATH": str(modules)})
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [["example.com", "r1", "rsa-sha256", "pass"],
                                           ["example.com", "e1", "ed25519-sha256", "pass"]]


def test_whose_key(signing, sink, keys):
    """The From domain's key if the account may use it, else the default domain's, else none."""
    keys.add("example.com", "own")
    keys.add("news.example.org", "sub", "ed25519", subdomains=True)
    keys.add("acme.example", "acme", "ed25519", tenants=["acme"])
    keys.add("default.example", "all", "ed25519")
    config = {"tenants": [{"tenant": "acme", "default_domain": "acme.example"}], "default_domain": "default.example"}
    node = signing(config)
    node.add_account("user@example.com", senders=["@a.news.example.org", "@acme.example"])
    node.add_account("other@acme.example", tenant="acme")
    cases = [("user@example.com", "user@example.com", "own"), ("user@example.com", "x@A.News.example.org", "sub"),
             ("user@example.com", "boss@acme.example", "all"), ("user@example.com", "boss@other.example", "all"),
             ("user@example.com", "x@news.example.org", "all"), ("other@acme.example", "other@acme.example", "acme"),
             ("other@acme.example", "user@example.com", "acme")]
    for number, (login, sender, selector) in enumerate(cases):
        node.send("friend@example.net", f"From: <{sender}>\r\n\r\nx\r\n", sender=login, kind="submission", login=login)
        assert [s[1] for s in keys.signers(received(sink, number))] == [selector], (login, sender)


def test_rotation_and_reload(signing, sink, keys):
    """Of keys for a domain the newest that is in force signs; what changes counts from the reload on."""
    today = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)

    def day(days):
        return (today + datetime.timedelta(days)).strftime("%Y-%m-%dT%H:%M:%SZ")

    keys.add("example.com", "past", not_after=day(-1))
    keys.add("example.com", "old", not_before="2020-01-01", not_after=day(1))
    keys.add("example.com", "new", not_before=day(-1))
    keys.add("example.com", "next", not_before=day(1))
    node = signing()
    assert "past of example.com signs nothing any more" in node.log_text()
    node.send("friend@example.net", TEXT)
    assert [s[1] for s in keys.signers(received(sink))] == ["new"]
    node.config["dkim"]["keys"] = [key for key in keys.config if key["selector"] != "new"]
    node.take_config()
    node.send("friend@example.net", TEXT)
    assert [s[1] for s in keys.signers(received(sink, 1))] == ["old"]
    node.config["dkim"]["keys"] = [key for key in keys.config if key["selector"] in ("past", "next")]
    node.take_config()
    node.send("friend@example.net", TEXT)
    assert keys.signers(received(sink, 2)) == []
    assert "turnpike_dkim_unsigned_total 1" in node.metrics()


def test_required(signing, sink, keys):
    keys.add("example.com", "e1", "ed25519")
    node = signing({"required": ["person"]})
    node.add_account(senders=["*"])
    with node.smtp("submission", "user@example.com") as client, pytest.raises(smtplib.SMTPDataError) as refused:
        client.sendmail("user@example.com", "friend@example.net", "From: a@elsewhere.example\r\n\r\nx\r\n")
    assert refused.value.smtp_code == 550 and b"DKIM" in refused.value.smtp_error
    node.send("friend@example.net", TEXT, kind="submission", login="user@example.com")
    assert keys.signers(received(sink)) == [("example.com", "e1", "ed25519-sha256")]


def test_report_is_signed(signing, sink, dns, keys):
    keys.add("example.com", "r1", subdomains=True)
    dns.mail_domain("example.com", "127.0.0.1")
    sink.hooks["rcpt"] = lambda session, argument: "550 5.1.1 unknown" if "nobody" in argument else None
    node = signing()
    node.send("nobody@example.net", TEXT)
    report = wait_until("the report is there", lambda: sink.messages and sink.messages[-1]).content
    assert b"From: Mail Delivery System" in report
    assert keys.signers(report)[0] == ("example.com", "r1", "rsa-sha256")


@pytest.mark.parametrize("fault, reason", [("mode", "holds a secret, but everybody can reach it (mode 0644)"),
                                           ("text", "holds no private key in PEM form"), ("gone", "No such file")])
def test_bad_key_file(signing, keys, fault, reason):
    path = keys.add("example.com", "e1", "ed25519")
    node = signing(start=False)
    if fault == "mode":
        path.chmod(0o644)
    elif fault == "text":
        path.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n")
    else:
        path.unlink()
    said = node.cli("config", "check", node.config_path, check=False)
    assert said.returncode == 1
    assert re.search(r"node\.yaml:\d+: dkim\.keys\[0\]\.file: .*" + re.escape(reason), said.stderr), said.stderr


def test_commands(make_node, keys, dns, folder):
    """From nothing to a record that matches, and everything that may be wrong with one; no node runs."""
    node = make_node(start=False)
    name = "s1._domainkey.example.com"

    def check(*more):
        said = node.cli("dkim", "check", "example.com", "--config", node.config_path, "--json", *more, check=False)
        answer = json.loads(said.stdout)
        assert answer["ok"] == (said.returncode == 0)
        return {key["name"]: key["state"] for key in answer["keys"]}

    for kind, bits in (("ed25519", 256), ("rsa", 2048)):
        path = folder / f"{kind}.pem"
        made = node.cli("dkim", "generate", "example.com", "--selector", "s1", "--type", kind, "--out", path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert node.cli("dkim", "generate", "example.com", "--selector", "s1", "--out", path, check=False).returncode == 1
        zone = re.fullmatch(r"s1\._domainkey\.example\.com\. IN TXT \( (.*) \)\n", made.stdout).group(1)
        assert node.cli("dkim", "dns", path).stdout == zone + "\n"
        (key,) = json.loads(node.cli("dkim", "dns", path, "--json").stdout)["keys"]
        assert (key["zone"], key["bits"], key["algorithm"]) == (zone, bits, kind)
        assert all(len(part) <= 255 for part in re.findall('"([^"]*)"', zone))
        compare = ("--selector", "s1", "--key", path)
        dns.clear(name)
        assert check(*compare) == {name: "missing"}
        dns.add(name, "TXT", zone)
        assert check(*compare) == {name: "matches"}
        assert check("--selector", "s1") == {name: "valid"}
    for record, state in (("v=DKIM1; p=", "revoked"), ("v=DKIM1; k=ed25519; p=" + "A" * 43 + "=", "differs"),
                          ("v=spf1 -all", "broken")):
        dns.clear(name)
        dns.add(name, "TXT", f'"{record}"')
        assert check(*compare) == {name: state}
    dns.add(name, "TXT", '"v=DKIM1; p="')
    assert check(*compare) == {name: "broken"}  # two of them
    dns.fail[name] = "SERVFAIL"
    assert check(*compare) == {name: "unknown"}
    # The node's own keys.
    keys.add("example.com", "a")
    keys.add("example.com", "b", "ed25519")
    node.config["dkim"] = {"keys": keys.config}
    node.write_config()
    assert check() == {"a._domainkey.example.com": "matches", "b._domainkey.example.com": "matches"}
    dns.clear("b._domainkey.example.com")
    said = node.cli("dkim", "check", "example.com", "--config", node.config_path, check=False)
    assert said.returncode == 1
    assert said.stdout == ("a._domainkey.example.com: matches (rsa, 2048 bits)\n"
                           "b._domainkey.example.com: missing: there is no such name\n")
    lines = node.cli("dkim", "dns", "example.com", "--config", node.config_path).stdout.splitlines()
    assert [line.split(".")[0] for line in lines] == ["a", "b"]
    assert keys.records["b._domainkey.example.com"] in lines[1]


# ---- keys of the cluster

def shared(node, count):
    """The cluster's keys as this node has them, once there are so many."""
    rows = wait_until("the keys are known", lambda: (r := node.api("GET", "/v1/dkim")["keys"]) and len(r) == count and r)
    return {row["selector"]: row for row in rows}


def on_disk(node):
    """Everything that a node has written."""
    return {p: p.read_bytes() for p in [*(node.folder / "data").rglob("*"), node.log_path, node.events_path] if p.is_file()}


@pytest.mark.slow(15)
def test_keys_of_the_cluster(make_cluster, make_sink, dns, keys, folder):
    """Made on one node, they sign on all, also on one that joins later; no file but the sealing keys' opens them."""
    cluster = make_cluster(2)
    first, second = cluster.nodes
    sink = make_sink()
    dns.mail_domain("example.net", "127.0.0.1")
    path, record = make_key(folder, "mine", "rsa")

    def send(node):
        """Deferred while a node has not been given what opens the keys."""
        with node.smtp() as client:
            try:
                return not client.sendmail("user@example.com", "friend@example.net", TEXT)
            except smtplib.SMTPDataError as e:
                assert e.smtp_code == 451, e
        return False

    def signers(node, number):
        wait_until("it is accepted", lambda: send(node))
        return sorted(s[1] for s in keys.signers(received(sink, number)))

    said = first.cli("dkim", "generate", "Example.com", "--selector", "E1", "--type", "ed25519", "--cluster").stdout
    assert said.startswith("E1._domainkey.Example.com. IN TXT ( \"v=DKIM1; k=ed25519; p="), said
    said = second.cli("dkim", "import", "example.com", path, "--selector", "r1").stdout
    assert re.sub(r'" "', "", said).startswith(f'r1._domainkey.example.com. IN TXT ( "{record[:200]}'), said
    assert "already" in first.fail("POST", "/v1/dkim/generate", {"domain": "example.com", "selector": "r1"})
    for row in shared(first, 2).values():
        keys.records[f"{row['selector']}._domainkey.{row['domain']}"] = row["record"]
    assert signers(first, 0) == ["e1", "r1"] and signers(second, 1) == ["e1", "r1"]

    dns_of = second.cli("dkim", "dns", "example.com", "--cluster", "--selector", "E1").stdout
    assert dns_of.startswith('e1._domainkey.example.com. IN TXT ( "v=DKIM1; k=ed25519') and dns_of.count("IN TXT") == 1
    dns.add("e1._domainkey.example.com", "TXT", dns_of[dns_of.index('"'):dns_of.rindex('"') + 1])
    done = second.cli("dkim", "check", "example.com", "--cluster", check=False)
    assert done.returncode == 1 and "e1._domainkey.example.com: good" in done.stdout, done.stdout
    assert "r1._domainkey.example.com: none" in done.stdout, done.stdout
    assert second.cli("dkim", "check", "example.com", "--cluster", "--selector", "e1").returncode == 0
    found = second.api("GET", "/v1/domain/check?domain=example.com&ips=127.0.0.1")["findings"]
    assert {f["subject"] for f in found if f["what"] == "dkim"} == {"e1", "r1"}, found

    # one that joins later; in its name, with the others' keys under another sealing key
    third = cluster.add().start()
    third.join(first.token())
    third.wait_ready()
    assert signers(third, 2) == ["e1", "r1"]
    before = {n.name: (n.folder / "data/cluster/sealing").read_bytes() for n in cluster.nodes}
    assert len(set(before.values())) == 1
    assert json.loads(third.cli("dkim", "rekey", "--json").stdout)["done"] == 2
    wait_until("the sealing key before is gone", lambda: all(
        (n.folder / "data/cluster/sealing").read_bytes().splitlines()[0][:2] == b"2 " for n in cluster.nodes))
    second.kill()
    second.restart()
    second.wait_ready()
    assert signers(second, 3) == ["e1", "r1"]

    # retired and removed
    first.cli("dkim", "retire", "example.com", "--selector", "r1")
    wait_until("it signs no more", lambda: shared(third, 2)["r1"]["not_after_ms"])
    assert signers(third, 4) == ["e1"]
    third.cli("dkim", "remove", "example.com", "--selector", "e1")
    shared(second, 1)
    assert signers(second, 5) == []

    # what is secret is nowhere else: neither the key nor what opens it
    pem = b"".join(path.read_bytes().splitlines()[1:-1])
    der = base64.b64decode(pem)
    secrets = [pem[80:120], path.read_bytes().splitlines()[5], der[200:232], der[600:632]]
    secrets += [line.split()[1] for text in before.values() for line in text.splitlines()]
    secrets += [bytes.fromhex(line.split()[1].decode()) for text in before.values() for line in text.splitlines()]
    for node in cluster.nodes:
        sealing = node.folder / "data/cluster/sealing"
        assert sealing.stat().st_mode & 0o777 == 0o600
        for name, content in on_disk(node).items():
            for secret in secrets:
                assert secret not in content, name
        backup = folder / f"{node.name}.backup"
        node.cli("cluster", "backup", backup)
        assert not any(secret in backup.read_bytes() for secret in secrets)


@pytest.mark.slow(8)
def test_a_sealing_key_that_is_lost(make_cluster, make_sink, dns, keys):
    """What should be signed is deferred, not sent unsigned, and the operator hears what to do."""
    node = make_cluster(1).nodes[0]
    sink = make_sink()
    dns.mail_domain("example.net", "127.0.0.1")
    node.cli("dkim", "generate", "example.com", "--selector", "e1", "--type", "ed25519", "--cluster")
    node.stop()
    (node.folder / "data/cluster/sealing").unlink()
    node.restart()
    node.wait_ready()
    with node.smtp() as client, pytest.raises(smtplib.SMTPDataError) as deferred:
        client.sendmail("user@example.com", "friend@example.net", TEXT)
    assert deferred.value.smtp_code == 451
    wait_until("it is said", lambda: any("sealing key 1" in p for p in node.cluster()["problems"]))
    assert "sealing key 1" in node.fail("POST", "/v1/dkim/generate", {"domain": "example.org", "selector": "e1"})
    assert json.loads(node.cli("dkim", "rekey", "--lost", "--json").stdout) == {"ok": True, "done": 0, "left": 1}
    node.cli("dkim", "remove", "example.com", "--selector", "e1")
    node.cli("dkim", "generate", "example.com", "--selector", "e2", "--type", "ed25519", "--cluster")
    keys.records["e2._domainkey.example.com"] = shared(node, 1)["e2"]["record"]
    wait_until("nothing is wrong", lambda: not any("sealing" in p for p in node.cluster()["problems"]))
    node.send("friend@example.net", TEXT)
    assert [s[1] for s in keys.signers(received(sink))] == ["e2"]
