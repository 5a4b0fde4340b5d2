"""Somebody at a node's ports for other nodes who is not what he should be, and somebody in another node's place."""
import socket
import ssl
import struct
import threading

RAFT, JOIN = "turnpike-raft/1", "turnpike-join/1"
ENDS = (ssl.SSLError, ConnectionError, TimeoutError, OSError)


def context(side, identity, alpn):
    made = ssl.SSLContext(side)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if identity:
        made.load_cert_chain(*identity)
    if alpn:
        made.set_alpn_protocols([alpn])
    return made


def of_node(node):
    """The certificate and the key that a member shows to others."""
    own = node.folder / "data/cluster"
    return own / "node.pem", own / "node.key"


def der(identity):
    return ssl.PEM_cert_to_DER_cert(identity[0].read_text())


def hello(identity, node, to, role=1):
    """The first record on a gossip connection; its key is of no use to us."""
    certificate = der(identity)
    body = (b"TPGOSSIP1" + struct.pack("<BQQ", role, node, to) + bytes(range(32)) + bytes(range(32)) +
            struct.pack("<I", len(certificate)) + certificate)
    return struct.pack("<I", len(body)) + body


def intrude(port, identity=None, alpn=None, send=b"", plain=False, then=b"", timeout=40):
    """Connects, says `send`, and `then` after the first answer. Returns all that was answered until the node ended it,
    which it must do in time."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout) as sock:
        try:
            if not plain:
                sock = context(ssl.PROTOCOL_TLS_CLIENT, identity, alpn).wrap_socket(sock)
            sock.sendall(send)
            while piece := sock.recv(65536):
                got += piece
                sock.sendall(then)
                then = b""
        except TimeoutError:
            raise AssertionError("the connection was left open") from None
        except ENDS:
            pass
        finally:
            sock.close()
    return got


class Impostor:
    """Answers at a port with a certificate that is not of the node that is expected there."""

    def __init__(self, port, identity, alpn=None, say=b""):
        self.context = context(ssl.PROTOCOL_TLS_SERVER, identity, alpn)
        self.say = say
        self.handshakes = 0
        self.socket = socket.create_server(("127.0.0.1", port))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                one, _ = self.socket.accept()
            except OSError:
                return
            one.settimeout(5)
            try:
                with self.context.wrap_socket(one, server_side=True) as client:
                    self.handshakes += 1
                    client.sendall(self.say)
                    while client.recv(65536):
                        pass
            except ENDS:
                one.close()

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)  # ends the accept
        self.socket.close()
        self.thread.join(10)
