"""A receiver of webhooks: a web server that verifies signatures, remembers what it has taken, and fails on demand."""
import hashlib
import hmac
import http.server
import json
import ssl
import threading
import time


SECRET = "a secret of forty characters, more or less"


class Receiver:
    """`mode`: ok, 500, slow (reads the request and does not answer), silent (takes what it has, into `unheard`, and breaks off), redirect. `shut` refuses connections; with `broken` as the
    certificate TLS fails."""

    def __init__(self, port, secret, certificate, broken):
        self.port, self.secret, self.certificate, self.broken = port, secret, certificate, broken
        self.mode, self.taken, self.unheard, self.faults = "ok", [], [], []
        self.lock, self.server = threading.Lock(), None

    def open(self, broken=False):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.post(self, body)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*(self.broken if broken else self.certificate))
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def shut(self):
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def post(self, request, body):
        stamp, signature = request.headers["Turnpike-Timestamp"], request.headers["Turnpike-Signature"]
        right = "v1=" + hmac.new(self.secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        with self.lock:
            if signature != right or abs(int(stamp) - time.time()) > 60:
                self.faults.append(f"{stamp} {signature} for {body[:200]!r}")
            mode = self.mode
            if mode in ("ok", "silent"):
                (self.taken if mode == "ok" else self.unheard).extend(json.loads(body)["events"])
        if mode == "slow":
            time.sleep(4)
        elif mode == "silent":
            request.close_connection = True
        else:
            request.send_response({"ok": 204, "500": 500, "redirect": 307}[mode])
            if mode == "redirect":
                request.send_header("Location", f"https://localhost:{self.port}/elsewhere")
            request.send_header("Content-Length", "0")
            request.end_headers()

    def ids(self):
        with self.lock:
            return [e["id"] for e in self.taken]

    def events(self, name):
        with self.lock:
            return [e for e in self.taken if e["event"]["event"] == name]
