"""The web servers of domains with an MTA-STS policy, behind one port, and an authority for their certificates."""
import http.server
import ssl
import subprocess
import threading

from .util import free_port


class Authority:
    """A CA whose certificate is `file`."""

    def __init__(self, folder):
        self.folder = folder
        self.file, self.key = folder / "ca.pem", folder / "ca.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3",
                        "-subj", "/CN=test CA", "-out", self.file, "-keyout", self.key], check=True, capture_output=True)

    def certificate(self, name, *names, days=3):
        """(certificate and CA, key) for the names."""
        base = self.folder / name
        key, request, leaf = base.with_suffix(".key"), base.with_suffix(".csr"), base.with_suffix(".leaf")
        subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                        f"/CN={name}", "-addext", "subjectAltName=" + ",".join(f"DNS:{n}" for n in names), "-out", request,
                        "-keyout", key], check=True, capture_output=True)
        subprocess.run(["openssl", "x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.key, "-days", str(days),
                        "-copy_extensions", "copy", "-out", leaf], check=True, capture_output=True)
        chain = base.with_suffix(".pem")
        chain.write_bytes(leaf.read_bytes() + self.file.read_bytes())
        return chain, key


class Policies:
    """answers[host] is a policy's text, or (status, headers, body); requests has (host, path) of each that came.
    What is posted is in posts: (path, type, body); post_answers[path] is (status, headers) if not 201."""

    def __init__(self, certificate):
        self.answers, self.requests = {}, []
        self.post_answers, self.posts = {}, []
        self.contexts = {}
        policies = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                host = self.headers["Host"].split(":")[0]
                policies.requests.append((host, self.path))
                answer = policies.answers.get(host, (404, {}, b"no\n"))
                if isinstance(answer, str):
                    answer = (200, {"Content-Type": "text/plain; charset=utf-8"}, answer.encode())
                status, headers, body = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                policies.posts.append((self.path, self.headers["Content-Type"], body))
                status, headers = policies.post_answers.get(self.path, (201, {}))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_):
                pass

        self.port = free_port()
        self.server = Server(("127.0.0.1", self.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        context.sni_callback = self.choose
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def use(self, host, certificate):
        """Another certificate for this host."""
        self.contexts[host] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.contexts[host].load_cert_chain(*certificate)

    def choose(self, socket, name, _context):
        if name in self.contexts:
            socket.context = self.contexts[name]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
