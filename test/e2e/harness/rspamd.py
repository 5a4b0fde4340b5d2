"""Servers that look at content: rspamd itself with a configuration of the test's own, and one that says what a test wants."""
import http.server
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.request

from .util import free_port, wait_until

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
CONFIG = """
options {{
  pidfile = "{folder}/rspamd.pid"; tempdir = "{folder}"; hs_cache_dir = "{folder}"; filters = "";
  control_socket = "{folder}/control.sock mode=0600";
  url_tld = "{folder}/tld"; # the list of all of them takes half a minute to read
  dns {{ nameserver = ["127.0.0.1:{dns}"]; timeout = 1s; retransmits = 1; }}
}}
logging {{ type = "file"; filename = "{folder}/rspamd.log"; level = "info"; }}
metric {{ name = "default"; actions {{ reject = 15; add_header = 6; }} }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; task_timeout = 20s; }}
"""
PROXY = """
worker "rspamd_proxy" {{
  bind_socket = "127.0.0.1:{port}"; count = 1; milter = yes; timeout = 20s; upstream "local" {{ default = yes; hosts = "127.0.0.1:{behind}"; }}
}}
"""


class Rspamd:
    """The real one, of one worker; it knows no rules but its own test pattern, and asks nobody."""

    @staticmethod
    def available():
        return shutil.which("rspamd") is not None

    def __init__(self, folder, dns_port, milter=False):
        folder.mkdir()
        self.folder, self.port = folder, free_port()
        (folder / "tld").write_text("com\nnet\norg\nexample\n")
        text, milter_port = CONFIG.format(folder=folder, dns=dns_port, port=self.port), free_port()
        (folder / "rspamd.conf").write_text(text + (PROXY.format(port=milter_port, behind=self.port) if milter else ""))
        self.url, self.socket = f"http://127.0.0.1:{self.port}", f"inet:127.0.0.1:{milter_port}"
        self.process = None

    def start(self):
        insecure = ["-i"] if os.geteuid() == 0 else []  # as root
        self.process = subprocess.Popen(["rspamd", *insecure, "-f", "-c", self.folder / "rspamd.conf"],
                                        stdout=open(self.folder / "out.log", "ab"), stderr=subprocess.STDOUT,
                                        start_new_session=True)
        wait_until("rspamd answers", self.answers, 90)
        return self

    def answers(self):
        assert self.process.poll() is None, (self.folder / "out.log").read_text()
        try:
            return urllib.request.urlopen(self.url + "/ping", timeout=5).status == 200
        except OSError:
            return False

    def log(self):
        return (self.folder / "rspamd.log").read_text("utf-8", "replace")

    def kill(self):
        """With its workers, which would go on without it."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class Fake:
    """`verdict(headers, body)` gives the answer: (action, score), bytes as the whole body, or a status number. `asked` has
    (headers, body) of every question; `delay` seconds pass before an answer."""

    def __init__(self, port=None):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.verdict = lambda headers, body: ("no action", 0.5)
        self.asked, self.delay, self.lock, self.server = [], 0, threading.Lock(), None
        self.open()

    def open(self):
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with fake.lock:
                    fake.asked.append((self.headers, body))
                time.sleep(fake.delay)
                said = fake.verdict(self.headers, body)
                status, text = said if isinstance(said, tuple) and isinstance(said[0], int) else (200, said)
                if isinstance(text, tuple):
                    text = json.dumps({"action": text[0], "score": text[1], "required_score": 15.0, "is_skipped": False,
                                       "symbols": {"WORDS": {"name": "WORDS", "score": text[1]}}, **dict(*text[2:])}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 128
            connections = []

            def get_request(self):
                got = super().get_request()
                self.connections.append(got[0])
                return got

            def handle_error(self, *args):
                pass

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.server.connections = []
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def shut(self):
        """As if it had been killed: connections go, too."""
        if self.server is None:
            return
        self.server.shutdown()
        self.server.server_close()
        for connection in self.server.connections:
            try:
                connection.shutdown(2)
            except OSError:
                pass
        self.server = None
