"""A DNS server at the hub: names of next hops, and every failure that a test asks for."""
import pathlib
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "e2e"))

from harness.dns import Dns, Tcp, TcpServer, Udp, UdpServer  # noqa: E402

from .engine import DNS_PORT  # noqa: E402


class HubDns(Dns):
    def __init__(self, address):
        self.records, self.fail, self.queries, self.port = {}, {}, [], DNS_PORT
        self.servers = [UdpServer((address, DNS_PORT), Udp), TcpServer((address, DNS_PORT), Tcp)]
        for server in self.servers:
            server.dns = self
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
