"""A turnpiked of a test's own: configuration, start and stop, the admin API, the command line, events."""
import http.client
import json
import os
import pathlib
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import time

import yaml

from .util import BENCH, CLI, NODE, free_port, wait_until

PASSWORD = "correct-horse-battery"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=30):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def merge(into, more):
    """Mappings are merged key by key; anything else, None too, replaces what was there."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        elif value is None:
            into.pop(key, None)
        else:
            into[key] = value
    return into


class Node:
    def __init__(self, folder, certificate, dns_port, mx_port, config=None, wrapper=()):
        self.folder = pathlib.Path(folder)
        self.certificate = certificate
        self.ports = {kind: free_port() for kind in ("submission", "submissions", "relay")}
        self.socket = self.folder / "admin.sock"
        self.events_path = self.folder / "events.json"
        self.log_path = self.folder / "node.log"
        self.config = merge(self.base_config(dns_port, mx_port), config or {})
        self.wrapper = list(wrapper)
        self.process = None
        self.expected_exit = 0
        self.write_config()

    def base_config(self, dns_port, mx_port):
        tls = {"certificate": str(self.certificate[0]), "key": str(self.certificate[1])}
        return {
            "name": "test",
            "hostname": "relay.example.com",
            "data_dir": str(self.folder / "data"),
            "workers": 2,
            "listeners": [
                {"kind": "submission", "address": f"127.0.0.1:{self.ports['submission']}", "tls": [tls]},
                {"kind": "submissions", "address": f"127.0.0.1:{self.ports['submissions']}", "tls": [tls]},
                {"kind": "relay", "address": f"127.0.0.1:{self.ports['relay']}", "tls": [tls], "require_tls": False},
            ],
            "relay_clients": [{"networks": "127.0.0.0/8", "account": "relay@example.com"}],
            "accounts": {"sender_check": "off"},
            "delivery": {"retry": ["1s", "1s", "2s"], "jitter": 0, "allowed_networks": ["127.0.0.0/8", "::1/128"]},
            "routes": [{"domain": "*", "via": f":{mx_port}"}],
            "resolver": {"servers": [f"127.0.0.1@{dns_port}"], "timeout": "2s"},
            "admin": {"socket": str(self.socket)},
            "log": {"level": "debug", "events": str(self.events_path), "hide_subject": False},
        }

    def write_config(self):
        self.config_path = self.folder / "node.yaml"
        self.config_path.write_text(yaml.safe_dump(self.config, sort_keys=False))

    # ---- life

    def start(self, wait=True):
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen([*self.wrapper, NODE, "--config", self.config_path], stdout=self.log,
                                        stderr=self.log, cwd=self.folder)
        if wait:
            wait_until("the node is ready", self.is_ready, 30)
        return self

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"turnpiked ended with {self.process.returncode}:\n{self.log_text()[-4000:]}")
        try:
            return self.http("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def pid(self):
        """The node's own process, below a wrapper such as strace."""
        if not self.wrapper:
            return self.process.pid
        return self.api("GET", "/v1/status")["pid"]

    def stop(self, timeout=60):
        if self.process is None or self.process.poll() is not None:
            return
        os.kill(self.pid(), signal.SIGTERM)
        self.process.wait(timeout)
        self.log.close()

    def kill(self):
        self.process.kill()
        self.process.wait(10)
        self.expected_exit = -signal.SIGKILL
        self.log.close()

    def restart(self):
        self.expected_exit = 0
        return self.start()

    def reload(self):
        os.kill(self.pid(), signal.SIGHUP)

    def take_config(self):
        """What self.config says is in force when it returns."""
        before = self.log_text().count("is in force")
        self.write_config()
        self.reload()
        wait_until("the configuration is in force", lambda: self.log_text().count("is in force") > before)

    def check_clean(self):
        """After a test: it must not have crashed, whatever was sent to it."""
        text = self.log_text()
        for bad in ("broken invariant", "Sanitizer:", "runtime error:", "double free", "stack smashing"):
            assert bad not in text, text[-6000:]
        if self.process is not None and self.process.poll() is not None:
            assert self.process.returncode == self.expected_exit, f"exit {self.process.returncode}:\n{text[-4000:]}"

    def log_text(self):
        return self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""

    def resident_mib(self):
        status = pathlib.Path(f"/proc/{self.pid()}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024

    def cpu_ms(self):
        """What its threads have computed; other than the clock it does not tell how busy the machine is."""
        tasks = pathlib.Path(f"/proc/{self.pid()}/task").glob("*/schedstat")
        return sum(int(path.read_text().split()[0]) for path in tasks) / 1e6

    # ---- operating it

    def http(self, method, path, body=None, headers=None):
        connection = UnixConnection(self.socket)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {**({"Content-Type": "application/json"} if data else {}),
                                                    **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def api(self, method, path, body=None):
        status, text = self.http(method, path, body)
        assert status == 200, f"{method} {path}: {status} {text}"
        return json.loads(text)

    def metrics(self):
        status, text = self.http("GET", "/metrics")
        assert status == 200
        return text

    def cli(self, *arguments, check=True, stdin=None):
        done = subprocess.run([CLI, "--socket", self.socket, *map(str, arguments)], capture_output=True, text=True,
                              timeout=60, input=stdin)
        if check:
            assert done.returncode == 0, f"turnpike {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def add_account(self, name="user@example.com", password=PASSWORD, **more):
        self.api("POST", "/v1/accounts/add", {"name": name, "password": password, **more})
        return name

    def queue(self):
        return self.api("GET", "/v1/queue?limit=1000")["recipients"]

    def queue_length(self):
        return self.api("GET", "/v1/status")["queue"]["recipients"]

    def wait_empty(self, timeout=30):
        wait_until("the queue is empty", lambda: self.queue_length() == 0, timeout)

    def events(self, kind=None):
        if not self.events_path.exists():
            return []
        lines = self.events_path.read_text("utf-8", "replace").split("\n")[:-1]  # the last one may still be written
        events = [json.loads(line) for line in lines]
        return [e for e in events if kind is None or e.get("event") == kind]

    # ---- clients

    def smtp(self, kind="relay", login=None, password=PASSWORD, timeout=30):
        """A session of Python's smtplib, logged in where the listener needs it."""
        context = ssl.create_default_context(cafile=str(self.certificate[0]))
        if kind == "submissions":
            client = smtplib.SMTP_SSL("localhost", self.ports[kind], timeout=timeout, context=context)
        else:
            client = smtplib.SMTP("127.0.0.1", self.ports[kind], timeout=timeout)
        client.ehlo("client.example.com")
        if kind == "submission":
            client._host = "localhost"
            client.starttls(context=context)
            client.ehlo("client.example.com")
        if login:
            client.login(login, password)
        return client

    def send(self, recipients, text="Subject: test\r\n\r\nhello\r\n", sender="user@example.com", kind="relay",
             login=None, mail_options=(), rcpt_options=()):
        """Submits a message and returns its queue id."""
        recipients = [recipients] if isinstance(recipients, str) else recipients
        with self.smtp(kind, login) as client:
            client.ehlo_or_helo_if_needed()
            code, reply = client.mail(sender, list(mail_options))
            assert code == 250, (code, reply)
            for recipient in recipients:
                code, reply = client.rcpt(recipient, list(rcpt_options))
                assert code == 250, (code, reply)
            code, reply = client.data(text)
            assert code == 250, (code, reply)
        match = re.search(rb"queued as (\S+)|id=(\S+)|(\S+)$", reply)
        return next(g for g in match.groups() if g).decode()

    def bench(self, *arguments, port=None, timeout=300):
        """Starts the load generator; the caller waits for it."""
        return subprocess.Popen([BENCH, "send", f"127.0.0.1:{port or self.ports['relay']}", "--json",
                                 *map(str, arguments)], stdout=subprocess.PIPE, text=True)

    def track(self, **query):
        pairs = "&".join(f"{k}={v}" for k, v in query.items())
        return self.api("GET", f"/v1/track?{pairs}")["recipients"]


class Raw:
    """A client of single bytes: sends exactly what it is told and reads whole replies."""

    def __init__(self, port, address="127.0.0.1", timeout=30):
        self.sock = socket.create_connection((address, port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def line(self):
        while b"\r\n" not in self.pending:
            piece = self.sock.recv(65536)
            if not piece:
                raise EOFError(self.pending)
            self.pending += piece
        line, self.pending = self.pending.split(b"\r\n", 1)
        return line.decode("utf-8", "replace")

    def reply(self):
        """All lines of a reply, joined with newlines."""
        lines = [self.line()]
        while lines[-1][3:4] == "-":
            lines.append(self.line())
        return "\n".join(lines)

    def command(self, line, expect=None):
        self.send(line + "\r\n")
        reply = self.reply()
        if expect:
            assert reply.startswith(expect), f"{line}: {reply}, not {expect}"
        return reply

    def starttls(self, certificate):
        self.command("STARTTLS", "220")
        self.wrap(certificate)

    def wrap(self, certificate):
        context = ssl.create_default_context(cafile=str(certificate[0]))
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost")

    def rest(self, timeout=30):
        """Everything until the server closes, which it must do in time."""
        self.sock.settimeout(timeout)
        data = self.pending
        try:
            while True:
                piece = self.sock.recv(65536)
                if not piece:
                    return data
                data += piece
        except (ConnectionResetError, ssl.SSLEOFError):
            return data

    def closed(self, timeout=30):
        try:
            self.rest(timeout)
            return True
        except (socket.timeout, TimeoutError):
            return False

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def now_ms():
    return int(time.time() * 1000)
