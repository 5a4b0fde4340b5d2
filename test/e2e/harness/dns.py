"""A DNS server on loopback, UDP and TCP, whose answers a test sets, bad ones too.

    dns.add("example.com", "MX", "10 mx.example.com")
    dns.add("mx.example.com", "A", "127.0.0.2")
    dns.fail["broken.test"] = "SERVFAIL"     # or NXDOMAIN, REFUSED, timeout, truncate, garbage
"""
import socket
import socketserver
import struct
import threading

import dnslib

from .util import free_port
from .zone import ask


class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        answer = self.server.dns.answer(data, False)
        if answer is not None:
            sock.sendto(answer, self.client_address)


class Tcp(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            head = self.rfile.read(2)
            if len(head) < 2:
                return
            answer = self.server.dns.answer(self.rfile.read(struct.unpack("!H", head)[0]), True)
            if answer is not None:
                self.wfile.write(struct.pack("!H", len(answer)) + answer)


class UdpServer(socketserver.ThreadingUDPServer):
    daemon_threads = True


class TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class Dns:
    def __init__(self, address="127.0.0.1", port=None):
        """On a port that is free, unless it is given."""
        self.records = {}  # (name, type) -> list of record texts
        self.fail = {}     # name -> how
        self.behind = {}   # zone -> port of a server that knows it, but for the records that are here
        self.queries = []  # (name, type) in order
        self.servers = []
        for _ in range(50):
            self.port = port or free_port()
            try:
                self.servers = [UdpServer((address, self.port), Udp), TcpServer((address, self.port), Tcp)]
                break
            except OSError: # the port was free for one of the two only
                if port is not None:
                    raise
        for server in self.servers:
            server.dns = self
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def add(self, name, kind, *texts):
        self.records.setdefault((name.lower(), kind), []).extend(texts)

    def clear(self, name):
        self.records = {key: value for key, value in self.records.items() if key[0] != name.lower()}
        self.fail.pop(name.lower(), None)

    def mail_domain(self, domain, *addresses, preference=10):
        """A domain with one MX host per address, all of the same preference."""
        for number, address in enumerate(addresses, 1):
            host = f"mx{number}.{domain}"
            self.add(domain, "MX", f"{preference} {host}")
            self.add(host, "AAAA" if ":" in address else "A", address)

    def answer(self, data, tcp):
        request = dnslib.DNSRecord.parse(data)
        name = str(request.q.qname).rstrip(".").lower()
        kind = dnslib.QTYPE[request.q.qtype]
        self.queries.append((name, kind))
        reply = request.reply(aa=1, ra=1)
        how = self.fail.get(name)
        if how == "timeout":
            return None
        if how == "garbage":
            return data[:2] + b"\xff" * 20
        if how == "truncate" and not tcp:
            reply.header.tc = 1
            return reply.pack()
        if how in ("SERVFAIL", "NXDOMAIN", "REFUSED"):
            reply.header.rcode = getattr(dnslib.RCODE, how)
            return reply.pack()
        zone = next((z for z in self.behind if name == z or name.endswith("." + z)), None)
        if zone and (name, kind) not in self.records:
            data = bytearray(ask(self.behind[zone], data))
            data[3] |= 0x80  # a resolver's answer, not an authoritative server's
            return bytes(data)
        self.fill(reply, name, kind)
        return reply.pack()

    def fill(self, reply, name, kind):
        for _ in range(8): # a chain of aliases, or a loop of them
            for text in self.records.get((name, kind), []):
                if kind == "AAAA": # dnslib's zone parser does not know all ways to write one
                    octets = tuple(socket.inet_pton(socket.AF_INET6, text))
                    reply.add_answer(dnslib.RR(name, dnslib.QTYPE.AAAA, ttl=1, rdata=dnslib.AAAA(octets)))
                else:
                    reply.add_answer(*dnslib.RR.fromZone(f"{name}. 1 IN {kind} {text}"))
            alias = self.records.get((name, "CNAME"))
            if kind == "CNAME" or not alias:
                break
            reply.add_answer(*dnslib.RR.fromZone(f"{name}. 1 IN CNAME {alias[0]}"))
            name = alias[0].rstrip(".").lower()
        if not reply.rr:
            known = any(key[0] == name or key[0].endswith("." + name) for key in self.records)
            if not known:
                reply.header.rcode = dnslib.RCODE.NXDOMAIN
            reply.add_auth(*dnslib.RR.fromZone(f"{name}. 1 IN SOA ns.test. root.test. 1 1 1 1 1"))

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()


def reachable(port):
    """Whether something answers queries there; for the tests of the harness itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(2)
        s.sendto(dnslib.DNSRecord.question("x.test").pack(), ("127.0.0.1", port))
        return bool(s.recv(512))
