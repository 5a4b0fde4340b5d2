"""Mail programs of others as one sender's clients, all of one account: swaks and nodemailer log in, smtplib and Postfix
come from a network that is the account's. Each message has one recipient, with an address of its own."""
import json
import os
import re
import shutil
import smtplib
import subprocess
import threading

from . import postfix
from .node import PASSWORD
from .npm import npm_modules
from .quota import SENDER, Client

POSTFIX_MORE = """\
transport_maps = inline:{{ {transports} }}
default_destination_rate_delay = 1s
queue_run_delay = 2s
minimal_backoff_time = 2s
maximal_backoff_time = 3s
"""

NODEMAILER = """
const { createTransport } = require('nodemailer');
const [ports, user, pass, pause] = JSON.parse(process.argv[1]);
let over = false;
process.stdin.on('data', () => { over = true; process.stdin.pause(); });
(async () => {
  for (let n = 0; !over; n++) {
    const transport = createTransport({ host: 'localhost', port: ports[n % ports.length], requireTLS: true,
      tls: { rejectUnauthorized: false }, auth: { user, pass }, connectionTimeout: 5000, greetingTimeout: 5000 });
    const to = `nodemailer-${n}@example.net`;
    try {
      await transport.sendMail({ from: user, to, subject: 'x', text: 'x' });
      console.log('250 ' + to);
    } catch (e) {
      console.log((e.responseCode || e.code) + ' ' + (e.response || e.message).replace(/\\s+/g, ' '));
    }
    transport.close();
    await new Promise(go => setTimeout(go, pause));
  }
})();
"""


def missing():
    """What is not here of the three kinds that there must be; None."""
    if not shutil.which("swaks"):
        return "no swaks"
    if os.geteuid() != 0 or not shutil.which("postfix"):
        return "needs Postfix, and root"
    return None


class Swaks(threading.Thread):
    kind = "swaks"

    def __init__(self, nodes, over, pause):
        super().__init__(daemon=True)
        self.nodes, self.over, self.pause, self.accepted, self.refusals = nodes, over, pause, [], {}

    def run(self):
        turn = 0
        while not self.over.wait(self.pause):
            node, to = self.nodes[turn % len(self.nodes)], f"swaks-{id(self)}-{turn}@example.net"
            done = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(node.ports["submission"]), "-tls",
                                   "--timeout", "10", "--auth", "PLAIN", "--auth-user", SENDER, "--auth-password",
                                   PASSWORD, "--from", SENDER, "--to", to], capture_output=True, text=True)
            if done.returncode == 0:
                self.accepted.append(to)
            else:
                last = re.findall(r"^<[~*]\* +([45].*)", done.stdout, re.M)[-1:] or [f"exit {done.returncode}"]
                self.refusals[last[0][:160]] = self.refusals.get(last[0][:160], 0) + 1
            turn += 1

    def end(self):
        self.join()


class Smtplib(threading.Thread):
    kind = "smtplib"

    def __init__(self, nodes, over, pause):
        super().__init__(daemon=True)
        self.client, self.over = Client(nodes, pause=pause), over
        self.refusals = self.client.refusals

    def run(self):
        self.client.hammer(float("inf"), self.over)

    @property
    def accepted(self):
        return [name for name, _, _ in self.client.sent]

    def end(self):
        self.join()


class Nodemailer:
    kind = "nodemailer"

    def __init__(self, nodes, pause):
        arguments = json.dumps([[node.ports["submission"] for node in nodes], SENDER, PASSWORD, pause * 1000])
        self.command = ["node", "-e", NODEMAILER, arguments]
        self.lines = []

    def start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "NODE_PATH": str(npm_modules("nodemailer@6"))})
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self.reader.start()

    def end(self):
        self.process.stdin.write("over\n")
        self.process.stdin.close()
        self.process.wait(60)
        self.reader.join()

    @property
    def accepted(self):
        return [line.split()[1] for line in list(self.lines) if line.startswith("250 ")]

    @property
    def refusals(self):
        return {line.strip()[:160]: 1 for line in list(self.lines) if not line.startswith("250 ")}


class Postfix(postfix.Postfix):
    """It is given all its mail at once, sends one a second to each of three domains, and tries and tries."""
    kind = "Postfix"

    def __init__(self, nodes, folder, count):
        self.count = count
        self.domains = ["a.example.net", "b.example.net", "c.example.net"]
        transports = ", ".join(f"{{ {domain} = smtp:[127.0.0.1]:{nodes[i % len(nodes)].ports['relay']} }}"
                               for i, domain in enumerate(self.domains))
        super().__init__(folder, POSTFIX_MORE.format(transports=transports))

    def start(self):
        super().start()
        with smtplib.SMTP("127.0.0.1", self.port) as smtp:
            for number in range(self.count):
                smtp.sendmail(SENDER, [f"postfix-{number}@{self.domains[number % 3]}"], "Subject: x\r\n\r\nx\r\n")

    def end(self):
        self.run("stop")

    @property
    def accepted(self):
        return re.findall(r"to=<(\S+)>.* status=sent", self.log())

    @property
    def refusals(self):
        return {text[:160]: 1 for text in re.findall(r"status=deferred \((.*)\)", self.log())}
