"""Destinations of one site, be it by their MX hosts or by the policy's entry, share connections, rate and back-off."""
import time

import pytest

from harness.quota import apply_policy, await_applied
from harness.util import wait_until


def open_sessions(sink):
    return [s for s in sink.sessions if not s.writer.is_closing() and ("C", b"QUIT\r\n") not in s.transcript]


class Peak:
    """How many sessions a sink has had open at a time."""

    def __init__(self, sink):
        self.sink, self.most = sink, 0
        sink.hooks["mail"] = self.look

    def look(self, session, argument):
        self.most = max(self.most, len(open_sessions(self.sink)))


@pytest.mark.slow(15)
@pytest.mark.sanitizer
def test_destinations_of_one_site_share_it(make_cluster, make_sink, dns):
    shared, partner = make_sink(["127.0.0.2"]), make_sink(["127.0.0.3"])
    for number in range(8):
        dns.add(f"d{number}.test", "MX", "10 mx.shared.test")
        dns.add(f"p{number}.test", "MX", f"10 mx{number}.partner.test")
        dns.add(f"mx{number}.partner.test", "A", "127.0.0.3")
    dns.add("mx.shared.test", "A", "127.0.0.2")
    cluster = make_cluster(1, {"delivery": {"retry": ["1s"], "jitter": 0, "connections_start": 3, "connections_max": 3}})
    node, = cluster.nodes
    apply_policy(node, "limits: []\nbackoff: {interval: 0s, for: 1h, deliveries: 0}\nsites:\n"
                       "  - {name: partner, mx: '*.partner.test', connections: 2, messages_per_connection: 3,\n"
                       "     recipients_per_message: 2, rate: 12/3s}\n"
                       "rules:\n  - {name: crowded, match: 'go away', action: backoff}\n")
    await_applied(cluster.living())

    # One MX host: eight domains, on both workers, have three connections in all, and each gets its turn.
    peak = Peak(shared)
    shared.delays["dot"] = 0.05
    for _ in range(5):
        for number in range(8):
            node.send(f"r@d{number}.test")
    wait_until("all has arrived", lambda: len(shared.messages) == 40, 60)
    assert 2 <= peak.most <= 3, peak.most
    assert all(shared.recipients().count(f"r@d{number}.test") == 5 for number in range(8))

    # What one of them is told, all of them do.
    shared.delays["dot"] = 0.1
    shared.hooks["rcpt"] = lambda s, a: "450 4.7.0 go away for a while" if "r@d0.test" in a and not told else None
    told = []
    node.send("r@d0.test")
    name = f"mx:mx.shared.test:{shared.port}"
    wait_until("it backs off", lambda: [h for h in node.api("GET", "/v1/sites/holds")["holds"]
                                        if h["site"] == name and h["action"] == "backoff"])
    told.append(True)
    wait_until("what is under way has ended", lambda: len(open_sessions(shared)) <= 1)
    peak.most = 0
    for number in range(8):
        node.send(f"s@d{number}.test")
    rows = wait_until("queues have joined the site", lambda: (lambda rows: len(rows) >= 3 and rows)(
        [r for r in node.api("GET", "/v1/sites")["sites"] if r["of"] == name]))
    assert {r["state"] for r in rows} == {"backoff"} and rows[0]["domains"] >= 3, rows
    wait_until("one after the other they come", lambda: len(shared.messages) == 49, 60)
    assert peak.most == 1
    node.cli("site", "resume", name)
    wait_until("it is over", lambda: not node.api("GET", "/v1/sites/holds")["holds"])

    # The policy's entry: its limits, for hosts of any name that it has.
    peak = Peak(partner)
    times = []
    partner.hooks["rcpt"] = lambda s, a: times.append(time.monotonic())
    for number in range(4):
        node.send([f"u{k}@p{number}.test" for k in range(5)])
    wait_until("all has arrived", lambda: len(partner.recipients()) == 20, 60)
    assert peak.most <= 2 and max(s.messages for s in partner.sessions) <= 3
    assert len(partner.messages) == 12 and max(len(m.recipients) for m in partner.messages) == 2
    assert times[-1] - times[0] >= 1.8, "twelve messages in three seconds, evenly"
