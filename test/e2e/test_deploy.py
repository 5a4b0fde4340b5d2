"""The demonstration of deploy/up.sh: three nodes that go on after kill -9, from a path with blanks; down.sh undoes it."""
import os
import pathlib
import shutil
import signal
import smtplib
import ssl
import subprocess

import pytest

from harness.util import NODE, ROOT, SANITIZED, wait_until

BUILD = NODE.resolve().parents[2]
NET = "127.77.5"
ACCOUNT = "demo@example.com"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(SANITIZED, reason="its time-outs are those of a plain build")]


@pytest.fixture
def tree(folder):
    """The folder deploy/ in a path that scripts like to stumble over."""
    root = folder / "some where"
    shutil.copytree(ROOT / "deploy", root / "deploy")
    yield root
    run(root, "down.sh", check=False)


def run(root, script, *arguments, check=True):
    done = subprocess.run(["sh", root / "deploy" / script, *arguments], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "TURNPIKE_BUILD": str(BUILD), "TURNPIKE_NET": NET})
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pid(root, name):
    return int((root / f"run/demo/{name}.pid").read_text())


def runs(process):
    """Not as a zombie that nobody waits for, either."""
    try:
        return pathlib.Path(f"/proc/{process}/cmdline").read_bytes() != b""
    except OSError:
        return False


def submit(root, number):
    """With the password and the certificate that it made, as its words tell to."""
    demo = root / "run/demo"
    trust = ssl.create_default_context(cafile=str(demo / "tls/cert.pem"))
    with smtplib.SMTP_SSL(f"{NET}.{number}", 2465, context=trust, timeout=20) as client:
        client.login(ACCOUNT, (demo / "password").read_text().strip())
        client.sendmail(ACCOUNT, [f"later{number}@example.net"], f"From: {ACCOUNT}\r\nSubject: mine {number}\r\n\r\nx\r\n")


def delivered(root, subject):
    return [p for p in (root / "run/demo/delivered").glob("*.eml") if f"Subject: {subject}" in p.read_text()]


def test_up_again_after_kill_and_down(tree):
    said = run(tree, "up.sh")
    assert said.count("accepted: yes") == 3 and "delivered: yes" in said
    assert "\nhealthy\n" in said and said.count(" voter") >= 3 and "It works." in said
    secrets = [tree / "run/demo/password", tree / "run/demo/tls/key.pem"]
    assert all(p.stat().st_mode & 0o077 == 0 for p in secrets)
    assert not (tree / "run/demo/token").exists()

    # What it says about going on is true: one node may be killed.
    os.kill(pid(tree, "node1"), signal.SIGKILL)
    for number in (2, 3):
        submit(tree, number)
        wait_until("it is delivered", lambda: delivered(tree, f"mine {number}"))
    os.kill(pid(tree, "node3"), signal.SIGKILL)

    again = run(tree, "up.sh")
    assert "a cluster, made by" not in again and "joins it" not in again and "account demo" not in again
    assert "\nhealthy\n" in again and again.count("accepted: yes") == 3
    submit(tree, 1)
    wait_until("it is delivered", lambda: delivered(tree, "mine 1"))

    pids = [pid(tree, name) for name in ("node1", "node2", "node3", "sink")]
    gone = run(tree, "down.sh")
    assert gone.count("stopped:") == 4 and "removed:" in gone
    assert not any(runs(p) for p in pids)
    assert not (tree / "run/demo").exists()
    assert "nothing to undo" in run(tree, "down.sh")
