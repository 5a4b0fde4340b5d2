"""A Postfix of a test's own: relays for this machine, with what the test adds to its configuration."""
import os
import shutil
import subprocess
import sys

from .util import ROOT, free_port

sys.path.insert(0, str(ROOT / "test/bench"))
import servers  # noqa: E402

POSTFIX_MAIN = """\
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.test
inet_protocols = ipv4
mydestination =
local_recipient_maps =
alias_maps =
local_transport = error:none
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
maillog_file = {dir}/maillog
maillog_file_prefixes = {dir}
{more}
"""


class Postfix:
    def __init__(self, folder, more, pipe=""):
        self.folder, self.port = folder / "postfix", free_port()
        for name in ("conf", "queue", "data"):
            (self.folder / name).mkdir(parents=True)
        os.chmod(folder, 0o755)
        shutil.chown(self.folder / "data", "postfix")
        (self.folder / "conf/main.cf").write_text(POSTFIX_MAIN.format(dir=self.folder, more=more))
        (self.folder / "conf/master.cf").write_text(servers.POSTFIX_MASTER.format(port=self.port) + pipe)

    def run(self, command):
        done = subprocess.run(["postfix", "-c", self.folder / "conf", command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def start(self):
        self.run("start")
        servers.wait_for_port(self.port)

    def log(self):
        path = self.folder / "maillog"
        return path.read_text("utf-8", "replace") if path.exists() else ""
