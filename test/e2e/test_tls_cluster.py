"""What one node learns of how a domain wants its mail, the others keep to."""
import pytest

from harness.util import wait_until
from test_tls_policy import authority, deferred, delivered, policies, policy_text, sts_domain # noqa: F401


def known(node):
    text = node.http("GET", "/metrics")[1]
    text = text if isinstance(text, str) else text.decode()
    return int(text.split("\nturnpike_mta_sts_policies ")[1].split()[0])


@pytest.mark.slow(8)
def test_policies_are_shared(make_cluster, make_sink, dns, policies, authority): # noqa: F811
    """A policy that one node fetched holds on all, also on one that joins later, when its record, its web server and the
    host's TLS are gone; nobody else fetched it."""
    sink = make_sink("127.0.0.1", certificate=authority.mx)
    dns.add("a.mx.test", "A", "127.0.0.1")
    name = sts_domain(dns, policies, "good", policy_text("a.mx.test"))
    cluster = make_cluster(2, {"delivery": {"retry": ["1h"], "mta_sts_port": policies.port}}, form=False)
    wrapper = ["env", f"SSL_CERT_FILE={authority.file}"]
    for node in cluster.nodes:
        node.wrapper = wrapper
    first, second = cluster.form().nodes
    first.send(f"r@{name}")
    assert delivered(first, f"r@{name}")["tls"].endswith(", MTA-STS verified")
    wait_until("the second node knows it", lambda: known(second) == 1, 30)
    third = cluster.add()
    third.wrapper = wrapper
    third.start().join(first.token())
    third.wait_ready()
    wait_until("the third node knows it", lambda: known(third) == 1, 30)
    sink.extensions.remove("STARTTLS")
    dns.clear(f"_mta-sts.{name}")
    policies.answers[f"mta-sts.{name}"] = (503, {}, b"")
    for node in (second, third):
        node.send(f"{node.name}@{name}")
        deferred(node, f"{node.name}@{name}", "STARTTLS")
    assert sink.recipients() == [f"r@{name}"]
    assert len(policies.requests) == 1
