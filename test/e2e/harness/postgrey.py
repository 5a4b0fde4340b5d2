"""A greylisting server: Postfix that asks a postgrey of the test's own."""
import os
import re
import shutil
import subprocess

from .postfix import Postfix
from .util import free_port, wait_until

REFUSED = re.compile(r"NOQUEUE: reject: RCPT from \S*\[([\d.]+)\]: 450 .*?to=<([^>]+)>")
CLIENT = re.compile(r"smtpd\[\d+\]: ([0-9A-F]+): client=\S*\[([\d.]+)\]")
SENT = re.compile(r": ([0-9A-F]+): to=<([^>]+)>.*status=sent")


def available():
    return os.geteuid() == 0 and shutil.which("postfix") is not None and shutil.which("postgrey") is not None


class Postgrey:
    """`delay` seconds. Its mask of addresses is switched off, and so are its lists of who need not wait."""

    def __init__(self, folder, delay):
        self.port, self.log_path, data = free_port(), folder / "postgrey.log", folder / "postgrey"
        data.mkdir()
        shutil.chown(data, "postgrey", "postgrey")
        os.chmod(folder, 0o755)
        self.process = subprocess.Popen(
            ["postgrey", f"--inet=127.0.0.1:{self.port}", f"--delay={delay}", "--lookup-by-host", f"--dbdir={data}",
             "--auto-whitelist-clients=0", "--whitelist-clients=/dev/null", "--whitelist-recipients=/dev/null",
             "--greylist-text=Greylisted, try again in %s seconds"],
            stdout=open(self.log_path, "wb"), stderr=subprocess.STDOUT)
        self.postfix = Postfix(folder, f"""\
smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:{self.port}, permit
smtpd_relay_restrictions = permit_mynetworks, reject
default_transport = discard:
relay_transport = discard:
""", "discard unix - - n - - discard\n")
        wait_until("postgrey listens", self.listens, 30)
        self.postfix.start()

    def listens(self):
        assert self.process.poll() is None, self.log_path.read_text()
        ports = subprocess.run(["ss", "-Hltn", f"sport = {self.port}"], capture_output=True, text=True).stdout
        return ports.strip() != ""

    def refused(self):
        """(recipient, address that it came from) in the order of the log."""
        return [(rcpt, address) for address, rcpt in REFUSED.findall(self.postfix.log())]

    def taken(self):
        """Addresses by recipient, of those that arrived."""
        log = self.postfix.log()
        clients = dict(CLIENT.findall(log))
        return {rcpt: clients[queue_id] for queue_id, rcpt in SENT.findall(log) if queue_id in clients}

    def stop(self):
        self.postfix.run("stop")
        self.process.terminate()
        self.process.wait(10)
