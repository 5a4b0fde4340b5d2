"""Real clients and servers on both sides: swaks, nodemailer, Postfix, OpenSMTPD, Exim, aiosmtpd, and a TLS scanner.

Only one mail server can be installed; the others run in a copy of this system that an overlay makes. Where that cannot
be done, as in a container without the right to mount, their tests are skipped and say so.
"""
import os
import shutil
import smtplib
import subprocess
import sys
import time

import pytest

from harness.node import PASSWORD
from harness.npm import npm_modules
from harness.postfix import Postfix
from harness.util import ROOT, free_port, wait_until

sys.path.insert(0, str(ROOT / "test/bench"))
import servers  # noqa: E402

TEXT = "Subject: through\r\n\r\nhello\r\n"


@pytest.mark.skipif(not shutil.which("swaks"), reason="no swaks")
@pytest.mark.parametrize("kind, options", [("submission", ["-tls"]), ("submissions", ["-tlsc"])])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks(node, sink, kind, options, mechanism):
    node.add_account()
    done = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(node.ports[kind]), *options, "--auth",
                           mechanism, "--auth-user", "user@example.com", "--auth-password", PASSWORD, "--from",
                           "user@example.com", "--to", "friend@example.net", "--pipeline"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until("it is delivered", lambda: sink.recipients() == ["friend@example.net"])


NODEMAILER = """
const transport = require('nodemailer').createTransport({
  host: 'localhost', port: %d, secure: %s, requireTLS: true, tls: { rejectUnauthorized: false },
  auth: { user: 'user@example.com', pass: '%s' } });
transport.sendMail({ from: 'user@example.com', to: 'friend@example.net', subject: 'grüße', text: 'häl\\n.\\nlo',
  attachments: [{ filename: 'a.bin', content: Buffer.alloc(100000, 7) }] })
  .then(r => { console.log(r.response); }, e => { console.error(e); process.exit(1); });
"""


@pytest.mark.skipif(not shutil.which("npm"), reason="no npm")
@pytest.mark.parametrize("kind", ["submission", "submissions"])
def test_nodemailer(node, sink, kind):
    modules = npm_modules("nodemailer@6")
    if modules is None:
        pytest.skip("nodemailer cannot be fetched")
    node.add_account()
    script = NODEMAILER % (node.ports[kind], "true" if kind == "submissions" else "false", PASSWORD)
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "NODE_PATH": str(modules)})
    assert done.returncode == 0, done.stderr
    message = wait_until("it is delivered", lambda: sink.messages and sink.messages[0])
    assert len(message.content) > 130000


@pytest.mark.skipif(not shutil.which("sslscan"), reason="no sslscan")
@pytest.mark.parametrize("kind", ["submission", "submissions"])
def test_no_protocol_under_tls_1_2(node, kind):
    starttls = ["--starttls-smtp"] if kind == "submission" else []
    done = subprocess.run(["sslscan", "--no-colour", *starttls, f"127.0.0.1:{node.ports[kind]}"],
                          capture_output=True, text=True, timeout=180)
    rows = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()
            if line.startswith(("SSLv", "TLSv")) and line.split()[1:2] in (["enabled"], ["disabled"])}
    assert rows == {"SSLv2": "disabled", "SSLv3": "disabled", "TLSv1.0": "disabled", "TLSv1.1": "disabled",
                    "TLSv1.2": "enabled", "TLSv1.3": "enabled"}, done.stdout
    assert "vulnerable to heartbleed" not in done.stdout.replace("not vulnerable to heartbleed", "")
    weak = [line for line in done.stdout.splitlines() if "bits" in line and any(
        word in line for word in ("RC4", "DES", "NULL", "EXP", "MD5", "ADH", "AECDH"))]
    assert not weak, weak


# ---- Postfix -----------------------------------------------------------------------------------------------

@pytest.fixture
def make_postfix(folder):
    if not shutil.which("postfix") or os.geteuid() != 0:
        pytest.skip("needs Postfix, and root")
    made = []

    def make(*args):
        one = Postfix(folder, *args)
        one.start()
        made.append(one)
        return one

    yield make
    for one in made:
        one.run("stop")


def test_postfix_as_client(node, sink, make_postfix):
    postfix = make_postfix(f"relayhost = [127.0.0.1]:{node.ports['relay']}\nsmtp_tls_security_level = may")
    with smtplib.SMTP("127.0.0.1", postfix.port) as client:
        for number in range(5):
            client.sendmail("a@example.com", [f"r{number}@example.net", "x@a.example.net"], TEXT)
    wait_until("all are delivered", lambda: len(sink.recipients()) == 10, 30)
    wait_until("it says so", lambda: "status=sent" in postfix.log())


def test_postfix_as_next_hop(node, dns, make_postfix, make_node, folder):
    postfix = make_postfix("default_transport = discard:\nrelay_transport = discard:", "discard unix - - n - - discard\n")
    node.config["routes"] = [{"domain": "*", "via": f"[127.0.0.1]:{postfix.port}"}]
    node.take_config()
    for number in range(10):
        node.send([f"r{number}@example.net", f"s{number}@example.org"])
    node.wait_empty()
    assert {r["state"] for n in range(10) for r in node.track(recipient=f"r{n}@example.net")} == {"delivered"}
    wait_until("it took them", lambda: postfix.log().count("status=sent") >= 20)


# ---- OpenSMTPD and Exim, in a root of their own --------------------------------------------------------------
# An installation computes a lot: the seconds of their marks keep them apart.

OVERLAY = """
set -e
mount -t tmpfs tmpfs {root}
mkdir {root}/upper {root}/work {root}/root
mount -t overlay overlay -o lowerdir=/,upperdir={root}/upper,workdir={root}/work {root}/root
mount -t proc proc {root}/root/proc
mount --bind /dev {root}/root/dev
mkdir -p {root}/root{folder}
mount --bind {folder} {root}/root{folder}
printf '#!/bin/sh\nexit 101\n' >{root}/root/usr/sbin/policy-rc.d
chmod 755 {root}/root/usr/sbin/policy-rc.d
chroot {root}/root sh -c 'export DEBIAN_FRONTEND=noninteractive
    apt-get -qq -y --no-install-recommends install {package} ||
    (apt-get -qq update && apt-get -qq -y --no-install-recommends install {package})' >{folder}/install.log 2>&1
echo installed
exec chroot {root}/root {command}
"""


class OtherSystem:
    """A copy of this system, made by an overlay and gone afterwards, with another mail server installed: only one can
    be. It shares our network, and the test's folder."""

    def __init__(self, folder, package, command, port):
        root = folder / "root"
        root.mkdir()
        script = folder / "start.sh"
        script.write_text(OVERLAY.format(root=root, folder=folder, package=package, command=command))
        self.log_path = folder / "other.log"
        self.port = port
        self.process = subprocess.Popen(["unshare", "-m", "sh", script], stdout=open(self.log_path, "wb"),
                                        stderr=subprocess.STDOUT)
        wait_until("it is installed", lambda: self.process.poll() is not None or b"installed" in
                   self.log_path.read_bytes(), 300)
        if self.process.poll() is not None and b"installed" not in self.log_path.read_bytes():
            pytest.skip(f"{package} cannot be installed in a root of its own here")
        try:
            servers.wait_for_port(port)
        except RuntimeError:
            pytest.fail(f"{package} does not start: " + self.log_path.read_text()[-1000:])

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


@pytest.fixture
def other_system(folder):
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("needs root and mount namespaces")
    os.chmod(folder, 0o755)
    made = []

    def make(*args):
        made.append(OtherSystem(folder, *args))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def opensmtpd(other_system, folder):
    def make(actions):
        port = free_port()
        config = folder / "smtpd.conf"
        config.write_text(f"listen on 127.0.0.1 port {port}\n{actions}")
        return other_system("opensmtpd", f"/usr/sbin/smtpd -d -f {config}", port)
    return make


@pytest.mark.slow(20)
def test_opensmtpd_as_next_hop(make_node, opensmtpd, folder):
    mail = folder / "maildir"
    mail.mkdir()
    shutil.chown(mail, "mail", "mail")
    hop = opensmtpd(f'table everybody {{ "@" = "mail" }}\naction keep maildir "{mail}" virtual <everybody>\n'
                    "match from any for any action keep\n")
    node = make_node({"routes": [{"domain": "*", "via": f"[127.0.0.1]:{hop.port}"}]})
    for number in range(5):
        node.send(f"r{number}@example.net", f"Subject: o{number}\r\n\r\n.dot\r\n")
    node.wait_empty()
    wait_until("all are in its mailbox", lambda: len(list((mail / "new").glob("*"))) == 5)
    assert all("\n.dot\n" in path.read_text() for path in (mail / "new").glob("*"))


@pytest.mark.slow(11)
def test_opensmtpd_as_client(node, sink, opensmtpd):
    client = opensmtpd(f"action out relay host smtp://127.0.0.1:{node.ports['relay']}\n"
                       "match from any for any action out\n")
    with smtplib.SMTP("127.0.0.1", client.port) as session:
        session.sendmail("a@example.com", ["r1@example.net", "r2@example.net"], TEXT)
    wait_until("it is delivered", lambda: sorted(sink.recipients()) == ["r1@example.net", "r2@example.net"], 30)


EXIM = """\
primary_hostname = exim.test
spool_directory = {dir}
log_file_path = {dir}/%slog
pid_file_path = {dir}/pid
local_interfaces = <; [127.0.0.1]:{port}
daemon_smtp_ports = {port}
exim_user = {user}
exim_group = {group}
never_users =
host_lookup =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = accept
acl_smtp_data = accept
tls_advertise_hosts =
begin routers
{routers}
begin transports
null:
  driver = appendfile
  file = {dir}/mailbox
  create_directory = false
  user = {user}
hop:
  driver = smtp
  port = {hop}
  hosts_try_prdr =
begin retry
* * F,1h,1s
"""


@pytest.fixture
def exim(other_system, folder):
    def make(router, hop=25):
        port = free_port()
        where = folder / "exim"
        where.mkdir()
        shutil.chown(where, "mail", "mail")
        config = folder / "exim.conf"
        config.write_text(EXIM.format(dir=where, port=port, user="mail", group="mail", routers=router, hop=hop))
        os.chmod(config, 0o644)
        return other_system("exim4-daemon-light", f"/usr/sbin/exim4 -C {config} -bdf -q1s", port)
    return make


@pytest.mark.slow(14)
def test_exim_as_next_hop(make_node, exim, folder):
    hop = exim("all:\n  driver = accept\n  transport = null\n")
    node = make_node({"routes": [{"domain": "*", "via": f"[127.0.0.1]:{hop.port}"}]})
    for number in range(5):
        node.send(f"r{number}@example.net", f"Subject: exim{number}\r\n\r\n.dot\r\n")
    node.wait_empty()
    box = folder / "exim/mailbox"
    wait_until("all are in its mailbox", lambda: box.exists() and box.read_text().count("Subject: exim") == 5)
    assert "\n.dot\n" in box.read_text()


@pytest.mark.slow(8)
def test_exim_as_client(node, sink, exim):
    client = exim("all:\n  driver = manualroute\n  route_list = * 127.0.0.1\n  transport = hop\n  self = send\n",
                  node.ports["relay"])
    with smtplib.SMTP("127.0.0.1", client.port) as session:
        session.sendmail("a@example.com", ["r1@example.net", "r2@example.net"], TEXT)
    wait_until("it is delivered", lambda: sorted(sink.recipients()) == ["r1@example.net", "r2@example.net"], 30)


def test_aiosmtpd_as_next_hop(make_node):
    from aiosmtpd.controller import Controller
    from aiosmtpd.handlers import Message

    got = []

    class Keep(Message):
        def handle_message(self, message):
            got.append(message)

    server = Controller(Keep(), "127.0.0.1", free_port(), enable_SMTPUTF8=True)
    server.start()
    try:
        node = make_node({"routes": [{"domain": "*", "via": f"[127.0.0.1]:{server.port}"}]})
        for number in range(5):
            node.send([f"r{number}@example.net", f"s{number}@example.net"])
        wait_until("all arrive", lambda: len(got) == 5)
    finally:
        server.stop()


# ---- nsd as DNS server ------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("nsd") and not os.path.exists("/usr/sbin/nsd"), reason="no nsd")
def test_mx_through_a_real_dns_server(make_node, make_sink, folder, mx_port):
    sink = make_sink()
    port = free_port()
    where = folder / "nsd"
    where.mkdir()
    (where / "zone").write_text("$ORIGIN real.test.\n$TTL 60\n@ SOA ns root 1 60 60 60 60\n@ NS ns\nns A 127.0.0.1\n"
                                "@ MX 10 mx\nmx A 127.0.0.1\n")
    (where / "nsd.conf").write_text(
        f"server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  zonesdir: \"{where}\"\n  database: \"\"\n"
        f"  pidfile: \"{where}/pid\"\n  xfrdfile: \"{where}/xfrd\"\n  zonelistfile: \"{where}/zones\"\n"
        f"remote-control:\n  control-enable: no\nzone:\n  name: real.test\n  zonefile: zone\n")
    nsd = subprocess.Popen(["/usr/sbin/nsd", "-d", "-c", where / "nsd.conf"], stderr=subprocess.PIPE)
    try:
        time.sleep(0.5)
        assert nsd.poll() is None, nsd.stderr.read()
        node = make_node({"resolver": {"servers": [f"127.0.0.1@{port}"]}})
        node.send("r@real.test")
        wait_until("it is delivered", lambda: sink.recipients() == ["r@real.test"])
    finally:
        nsd.terminate()
        nsd.wait(10)
