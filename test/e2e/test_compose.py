"""The composition of deploy/docker: three nodes behind one name with three addresses, with one sender's limit over all
of them, Prometheus, and one node killed.

Needs Docker that works; nothing is pulled. Building the images takes minutes of all cores, so it is asked for:
TURNPIKE_IMAGES=build, or TURNPIKE_IMAGES=present for those that there are.
"""
import os
import re
import shutil
import subprocess
import tempfile

import pytest

from harness.util import ROOT, SANITIZED, wait_until

COMPOSE_FILE = ROOT / "deploy/docker/compose.yaml"
PROJECT = "turnpike-test"
BASE = "debian:bookworm-slim"
SUBNET = "172.30.77.0/24"
LIMIT = 30  # that setup.sh gives the account
ACCOUNT = "demo@example.com"

pytestmark = pytest.mark.slow


def call(*command, timeout=60, check=True):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
                          cwd=ROOT)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout[-3000:]}"
    return done


def works(*command, timeout=20):
    try:
        return call(*command, timeout=timeout, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def composer():
    """The command, in the older or the newer form; None: there is none."""
    if works("docker", "compose", "version"):
        return ["docker", "compose"]
    return ["docker-compose"] if works("docker-compose", "version") else None


def make_base():
    """The image that the others are made from, out of the distribution's own packages."""
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        pytest.skip(f"there is no image {BASE}, and making it needs debootstrap and root")
    with tempfile.TemporaryDirectory() as folder:
        call("debootstrap", "--variant=minbase", "bookworm", folder, timeout=300)
        call("sh", "-c", f"tar -C {folder} -c . | docker import - {BASE}", timeout=120)


def build_images():
    if os.environ["TURNPIKE_IMAGES"] == "present":
        return
    if not works("docker", "image", "inspect", BASE):
        make_base()
    for target in ("prometheus", "node", "tools"):
        done = call("docker", "build", "--network", "host", "-f", "deploy/docker/Dockerfile", "--target", target,
                    "-t", f"turnpike-{target}", ".", timeout=900, check=False)
        if "Temporary failure resolving" in done.stdout:
            pytest.skip("packages cannot be fetched while an image is built")
        assert done.returncode == 0, done.stdout[-3000:]


class Composition:
    def __init__(self, command):
        self.command = [*command, "-p", PROJECT, "-f", str(COMPOSE_FILE)]

    def __call__(self, *arguments, timeout=90, check=True):
        return call(*self.command, *arguments, timeout=timeout, check=check)

    def run(self, service, *command, timeout=60, check=True):
        return self("exec", "-T", service, *command, timeout=timeout, check=check)

    def turnpike(self, node, *arguments, check=True):
        return self.run(node, "turnpike", *arguments, check=check)

    def send(self, count, loops=3):
        """Messages to whatever address the name has at the moment; [(node that greeted, last reply)]."""
        script = f"""
            export SWAKS_OPT_auth_password="$(cat /secrets/password)"
            send() {{
                i=0
                while [ $i -lt {count // loops} ]; do
                    i=$((i + 1))
                    swaks --server outbound.example.com --port 465 --tls-on-connect --timeout 10s --auth PLAIN \\
                        --auth-user {ACCOUNT} --auth-hide-password --from {ACCOUNT} --to friend@example.net \\
                        >/tmp/said.$1.$i 2>&1 || true
                done
            }}
            for loop in $(seq {loops}); do send $loop & done
            wait
            for file in /tmp/said.*; do
                node=$(sed -n 's/^<[~-]  220 \\([a-z0-9]*\\)\\..*/\\1/p' $file)
                reply=$(sed -n 's/^<[~*]*-*[*~]* *\\([245][0-9][0-9] .*\\)/\\1/p' $file | grep -v '^221' | tail -n 1)
                echo "said $node|$reply"
            done
            rm -f /tmp/said.*
        """
        said = self.run("client", "sh", "-c", script, timeout=240).stdout
        return [tuple(line[5:].split("|", 1)) for line in said.splitlines() if line.startswith("said ")]

    def query(self, expression):
        """The values of an expression, as Prometheus sees it."""
        return [float(v) for v in re.findall(r"=> (\S+) @", self.said(expression))]

    def said(self, expression):
        return self.run("prometheus", "promtool", "query", "instant", "http://localhost:9090", expression).stdout

    def arrived(self):
        return int(self.run("sink", "sh", "-c", "ls /mail | grep -c eml || true").stdout)


@pytest.fixture
def composition():
    if SANITIZED:
        pytest.skip("the images have a release build of their own")
    if os.environ.get("TURNPIKE_IMAGES") not in ("build", "present"):
        pytest.skip("images take minutes to build: set TURNPIKE_IMAGES=build, or =present for those that there are")
    if not works("docker", "info"):
        pytest.skip("Docker is not usable here: 'docker info' fails")
    command = composer()
    if command is None:
        pytest.skip("there is neither 'docker compose' nor docker-compose")
    composition = Composition(command)
    composition("down", "--volumes", "--timeout", "5")  # what an earlier run may have left
    networks = call("docker", "network", "ls", "--quiet").stdout.split()
    if SUBNET in call("docker", "network", "inspect", *networks).stdout:
        pytest.skip(f"another network has {SUBNET}: is the composition running already?")
    build_images()
    try:
        composition("up", "--detach", "--no-build", timeout=120)
        yield composition
    finally:
        composition("down", "--volumes", "--timeout", "5", timeout=120)


def accepted(replies):
    return [node for node, reply in replies if reply.startswith("250 2.0.0")]


def test_three_nodes_behind_one_name(composition):
    setup = composition("ps", "--quiet", "setup").stdout.strip() or call(
        "docker", "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}",
        "--filter", "label=com.docker.compose.service=setup").stdout.strip()
    status = call("docker", "wait", setup, timeout=150).stdout.strip()
    assert status == "0", call("docker", "logs", setup).stdout
    assert composition.turnpike("node2", "cluster", "status").stdout.startswith("healthy\n")
    assert composition.run("node1", "id", "-u").stdout.strip() != "0"

    # One limit over all nodes, whichever the name leads to.
    replies = composition.send(42)
    took = accepted(replies)
    assert {node for node, _ in replies} >= {"node1", "node2", "node3"}
    assert set(took) == {"node1", "node2", "node3"}, replies
    assert LIMIT - 3 <= len(took) <= LIMIT, (len(took), replies)
    refused = [reply for _, reply in replies if not reply.startswith("250 2.0.0")]
    assert all(reply.startswith("450 4.7.1") and "account-hour" in reply for reply in refused), refused
    wait_until("all that was accepted arrives", lambda: composition.arrived() == len(took), 30)

    wait_until("Prometheus sees three nodes", lambda: composition.query('up{job="turnpike"}') == [1.0] * 3, 30)
    assert composition.query("turnpike_cluster_session_usable") == [1.0] * 3
    assert composition.query('count(ALERTS{alertstate="firing"}) or vector(0)') == [0.0], composition.said("ALERTS")

    # The others go on without the one that is killed.
    composition("kill", "node2")
    wait_until("an operator can act", lambda: composition.turnpike("node1", "limit", "set", ACCOUNT, "account-hour",
                                                                   "1000", check=False).returncode == 0, 30)
    later = accepted(composition.send(12, loops=6))
    assert set(later) == {"node1", "node3"}, later
    wait_until("it all arrives", lambda: composition.arrived() == len(took) + len(later), 30)
    wait_until("Prometheus misses it", lambda: sorted(composition.query('up{job="turnpike"}')) == [0.0, 1.0, 1.0], 30)

    composition("start", "node2")
    wait_until("all is well again", lambda: composition.turnpike("node3", "cluster", "status", "--check",
                                                                 check=False).returncode == 0, 60)
    row = composition.turnpike("node2", "limit", "show", ACCOUNT).stdout.splitlines()[1].split()
    assert row[0] == "account-hour" and int(row[4]) >= len(took) + len(later), row
