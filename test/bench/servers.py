"""Starts the servers that are measured: Debian's Postfix and Turnpike, each with a configuration of its own in
a directory of its own, listening on loopback and handing all mail to the sink. Nothing of the system's is touched.
"""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")
PASSWORD = "correct-horse-battery"

POSTFIX_MAIN = """\
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.bench.test
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
local_transport = error:none
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{sink}
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_recipient_restrictions = permit_mynetworks, permit_sasl_authenticated, reject
message_size_limit = 0
default_process_limit = 100
in_flow_delay = 0
default_destination_concurrency_limit = 50
initial_destination_concurrency = 50
smtpd_client_connection_count_limit = 0
smtp_connection_cache_on_demand = yes
smtp_connection_cache_destinations = [127.0.0.1]:{sink}
smtp_tls_security_level = none
{logging}
{tls}
"""

POSTFIX_LOGGING = "maillog_file = {dir}/maillog\nmaillog_file_prefixes = {dir}\n"

POSTFIX_TLS = """\
smtpd_tls_security_level = encrypt
smtpd_tls_chain_files = {key}, {cert}
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {auth}
"""

POSTFIX_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

TURNPIKE = """\
name: bench
hostname: turnpike.bench.test
data_dir: {dir}/data
listeners:
  - kind: relay
    address: 127.0.0.1:{port}
    max_sessions: 20000
    max_sessions_per_client: 20000
  - kind: submission
    address: 127.0.0.1:{tls_port}
    max_sessions_per_client: 20000
    tls: {{ certificate: {cert}, key: {key} }}
relay_clients:
  - {{ networks: 127.0.0.0/8, account: bench@bench.test }}
accounts: {{ sender_check: off }}
smtp: {{ max_messages_per_connection: 1000000, max_sessions: 20000 }}
delivery: {{ connections_start: {conns}, connections_max: {conns}, messages_per_connection: 10000, tls: none }}
routes:
  - {{ domain: "*", via: "[127.0.0.1]:{sink}", tls: none }}
history: {{ enabled: {history} }}
admin: {{ socket: {dir}/admin.sock }}
log: {{ level: warn, events: {events} }}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, timeout=20):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as s:
                s.settimeout(5)
                if s.recv(3) == b"220":
                    return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing greets on port {port}")


def processes_below(root):
    """The process and all that descend from it, as {pid: fields of /proc/PID/stat after the name}."""
    found, children = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = pathlib.Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            found[int(entry)] = fields
            children.setdefault(int(fields[1]), []).append(int(entry))
    below, todo = {}, [root]
    while todo:
        pid = todo.pop()
        if pid in found:
            below[pid] = found[pid]
            todo += children.get(pid, [])
    return below


def cpu_seconds(root):
    """CPU used by a process, its descendants, and those of them that have ended."""
    return sum(sum(int(f[i]) for i in (11, 12, 13, 14)) for f in processes_below(root).values()) / TICKS


def resident_mib(root):
    """Resident memory of a process and its descendants, pages that they share counted once (PSS)."""
    total = 0
    for pid in processes_below(root):
        try:
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.M).group(1))
    return total / 1024


class AnyoneServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class AnyoneHandler(socketserver.StreamRequestHandler):
    """Dovecot's authentication protocol as Postfix speaks it, with yes as the only answer."""

    def handle(self):
        self.wfile.write(b"VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t0\nDONE\n")
        for line in self.rfile:
            parts = line.rstrip(b"\n").split(b"\t")
            if parts[0] == b"AUTH":
                self.wfile.write(b"OK\t" + parts[1] + b"\tuser=bench\n")


class Postfix:
    name = "Postfix"

    def __init__(self, folder, sink_port, certificate, tls, logging, **_):
        self.folder, self.port, self.auth = pathlib.Path(folder), free_port(), None
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("conf", "queue", "data"):
            (self.folder / name).mkdir(parents=True)
        shutil.chown(self.folder / "data", "postfix")
        values = {"dir": self.folder, "sink": sink_port, "port": self.port, "cert": certificate[0],
                  "key": certificate[1], "auth": self.folder / "auth"}
        tls_lines = POSTFIX_TLS.format(**values) if tls else ""
        log_lines = POSTFIX_LOGGING.format(**values) if logging else ""
        main = POSTFIX_MAIN.format(tls=tls_lines, logging=log_lines, **values)
        (self.folder / "conf/main.cf").write_text(main)
        (self.folder / "conf/master.cf").write_text(POSTFIX_MASTER.format(**values))
        if tls:
            self.auth = AnyoneServer(str(values["auth"]), AnyoneHandler)
            os.chmod(values["auth"], 0o666)
            threading.Thread(target=self.auth.serve_forever, daemon=True).start()
        self.postfix("start")
        wait_for_port(self.port)
        self.pid = int((self.folder / "queue/pid/master.pid").read_text())

    def postfix(self, command):
        done = subprocess.run(["postfix", "-c", self.folder / "conf", command], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"postfix {command}: {done.stderr}")

    def syncs(self):
        return None

    def stop(self):
        self.postfix("stop")
        end = time.monotonic() + 10
        while os.path.exists(f"/proc/{self.pid}") and time.monotonic() < end:
            time.sleep(0.1)
        if self.auth:
            self.auth.shutdown()
        shutil.rmtree(self.folder)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Turnpike:
    name = "Turnpike"

    def __init__(self, folder, sink_port, certificate, tls, logging, build=None, keep=False, **values):
        self.folder = pathlib.Path(folder)
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        plain, secure = free_port(), free_port()
        self.port = secure if tls else plain
        values = {"conns": 50, "history": "true", **values}
        text = TURNPIKE.format(dir=self.folder, sink=sink_port, port=plain, tls_port=secure, cert=certificate[0],
                               key=certificate[1], events=self.folder / "events.json" if logging else "off",
                               **values)
        (self.folder / "node.yaml").write_text(text)
        self.log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen([pathlib.Path(build) / "node/core/turnpiked", "--config",
                                         self.folder / "node.yaml"], stderr=self.log, stdout=self.log)
        self.pid = self.process.pid
        wait_for_port(plain, 120)
        if tls:
            self.call("POST", "/v1/accounts/add", '{"name":"bench@bench.test","password":"%s"}' % PASSWORD)

    def call(self, method, path, body=None):
        connection = UnixConnection(self.folder / "admin.sock")
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {text}")
        return text

    def syncs(self):
        return json.loads(self.call("GET", "/v1/status"))["spool"]["syncs"]

    def stop(self, keep=False):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()
        if not keep:
            shutil.rmtree(self.folder)
