"""Fixtures: each test gets a node, a DNS server and next hops of its own."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from harness.cluster import Cluster  # noqa: E402
from harness.dns import Dns  # noqa: E402
from harness.node import Node, Raw  # noqa: E402
from harness.policy import Authority  # noqa: E402
from harness.receiver import SECRET, Receiver  # noqa: E402
from harness.sink import Sink  # noqa: E402
from harness.util import NODE, SANITIZED, free_port  # noqa: E402


def pytest_configure(config):
    if not NODE.exists():
        pytest.exit(f"{NODE} is missing: build it, or set TURNPIKE_BUILD", 3)


def seconds(item):
    """About how long a test takes: what its mark says, or what its clusters do."""
    mark = item.get_closest_marker("slow")
    if mark:
        return mark.args[0] if mark.args else 10
    return 5 if "make_cluster" in item.fixturenames else 0


def pytest_collection_modifyitems(items):
    """The longest tests come first, so that no worker is left alone with one at the end."""
    items.sort(key=seconds, reverse=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests are handed out one by one: most of them wait more than they compute, and xdist's own portions would give
    one worker all that is long."""
    from xdist.scheduler import LoadScheduling

    class OneByOne(LoadScheduling):
        def schedule(self):
            first = self.collection is None and self._check_nodes_have_same_collection()
            if first:
                self.collection = next(iter(self.node2collection.values()))
                self.pending[:] = range(len(self.collection))
            for _ in range(2 if first else 0):
                for node in self.nodes:
                    self._send_tests(node, 1)
            for node in self.nodes:
                self.check_schedule(node)

        def check_schedule(self, node, duration=0):
            """A worker has the test that it runs and the next one, which it must know."""
            if node.shutting_down:
                return
            if self.pending:
                self._send_tests(node, max(0, 2 - len(self.node2pending[node])))
            else:
                node.shutdown()

    return OneByOne(config, log) if config.getvalue("dist") == "load" else None


def make_certificate(folder, name, *alternatives):
    """A self-signed certificate: (certificate file, key file)."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    names = ",".join(f"IP:{a}" if a[0].isdigit() else f"DNS:{a}" for a in alternatives)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "3", "-subj", f"/CN={alternatives[0]}", "-addext", f"subjectAltName={names}",
                    "-out", certificate, "-keyout", key], check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"), "node", "localhost", "relay.example.com", "127.0.0.1")


@pytest.fixture(scope="session")
def sink_certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"), "sink", "sink.test", "mx1.example.net")


@pytest.fixture
def folder(request):
    """Short, since a socket's path has little room; kept when the test fails."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="tp-", dir=os.environ.get("TURNPIKE_E2E_DIR")))
    yield path
    failed = getattr(request.node, "failed", True)
    if failed:
        print(f"kept: {path}", file=sys.stderr)
    else:
        shutil.rmtree(path, ignore_errors=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.failed = outcome.get_result().failed


@pytest.fixture
def dns():
    server = Dns()
    yield server
    server.close()


@pytest.fixture
def mx_port():
    return free_port()


@pytest.fixture
def make_sink(mx_port):
    """Next hops, by default on the port where the node looks for MX hosts."""
    sinks = []

    def make(*addresses, port=None, **more):
        sinks.append(Sink(addresses or ("127.0.0.1",), mx_port if port is None else port, **more))
        return sinks[-1]

    yield make
    for sink in sinks:
        sink.close()


@pytest.fixture
def sink(make_sink, dns):
    """One next hop, the MX of example.net and of its subdomains a to e."""
    one = make_sink()
    for domain in ("example.net", *(f"{c}.example.net" for c in "abcde")):
        dns.mail_domain(domain, "127.0.0.1")
    return one


@pytest.fixture
def make_node(folder, certificate, dns, mx_port):
    nodes = []

    def make(config=None, start=True, wrapper=()):
        where = folder / f"n{len(nodes)}"
        where.mkdir()
        node = Node(where, certificate, dns.port, mx_port, config, wrapper)
        nodes.append(node)
        return node.start() if start else node

    yield make
    for node in nodes:
        try:
            node.stop()
        finally:
            if node.process is not None and node.process.poll() is None:
                node.process.kill()
        node.check_clean()


@pytest.fixture
def node(make_node):
    return make_node()


@pytest.fixture
def raw(node):
    """Clients that send exact bytes."""
    clients = []

    def connect(kind="relay", greeting=True):
        client = Raw(node.ports[kind])
        clients.append(client)
        if greeting:
            assert client.reply().startswith("220 ")
        return client

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def receiver(tmp_path, monkeypatch):
    """Of webhooks, at localhost by a certificate that nodes believe, which were made after it. It does not listen yet."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    made = Receiver(free_port(), SECRET, authority.certificate("hook", "localhost"), make_certificate(tmp_path, "broken", "other.invalid"))
    yield made
    made.shut()


skip_sanitized = pytest.mark.skipif(SANITIZED, reason="measures memory or time, which sanitizers change")


@pytest.fixture
def make_cluster(folder, certificate, dns, mx_port):
    """Clusters of nodes on this machine, formed and healthy unless told otherwise."""
    made = []

    def make(count=3, config=None, form=True):
        where = folder / f"c{len(made)}"
        where.mkdir()
        made.append(Cluster(where, certificate, dns.port, mx_port, count, config))
        return made[-1].form() if form else made[-1]

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture
def cluster(make_cluster):
    return make_cluster()
