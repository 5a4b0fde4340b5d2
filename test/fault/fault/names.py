"""A DNS server at the hub: names of next hops, and every failure that a test asks for."""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "e2e"))

import dnslib  # noqa: E402
from harness.dns import Dns  # noqa: E402

from .engine import DNS_PORT  # noqa: E402


class HubDns(Dns):
    def __init__(self, address):
        self.slow, self.wrong = {}, {}  # name to seconds; name to an address that nobody listens at
        super().__init__(address, DNS_PORT)

    def fill(self, reply, name, kind):
        """Each query has a thread of its own, so a slow one keeps no other waiting."""
        domain = name.partition(".")[2] if name.startswith("mx1.") else name
        time.sleep(self.slow.get(domain, 0))
        if kind == "A" and name != domain and domain in self.wrong:
            reply.add_answer(*dnslib.RR.fromZone(f"{name}. 1 IN A {self.wrong[domain]}"))
            return
        super().fill(reply, name, kind)

    def spoil(self, domain, how, nobody):
        """SERVFAIL, timeout, garbage; or slow, wrong."""
        self.heal(domain)
        if how == "slow":
            self.slow[domain] = 0.7
        elif how == "wrong":
            self.wrong[domain] = nobody
        else:
            self.fail[domain] = how

    def heal(self, domain):
        for kind in (self.fail, self.slow, self.wrong):
            kind.pop(domain, None)
