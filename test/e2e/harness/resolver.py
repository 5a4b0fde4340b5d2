"""A resolver of others, unbound, with zones that nsd serves to it. A name in one of them may be delegated to a server that is not
there; one in `silent` belongs to a server that hears and says nothing. All else it asks the harness's server.

    with Resolver(folder, {"example.org": ["named A 192.0.2.1", "half NS ns.nobody"]}, ["slow.example.org"], dns.port) as resolver:
        ... "resolver": {"servers": [f"127.0.0.1@{resolver.port}"]} ...
        resolver.asked("named.example.org", "A")   # by the nodes, so often
"""
import pathlib
import socket
import subprocess

from .util import free_port, wait_until
from .zone import ask

NSD = """server:
  ip-address: 127.0.0.1@{port}
  username: ""
  chroot: ""
  zonesdir: "{where}"
  pidfile: ""
  database: ""
  xfrdfile: "{where}/xfrd"
  zonelistfile: "{where}/zones"
  server-count: 1
remote-control:
  control-enable: no
"""
UNBOUND = """server:
  interface: 127.0.0.1@{port}
  access-control: 127.0.0.0/8 allow
  username: ""
  chroot: ""
  directory: "{where}"
  pidfile: ""
  use-syslog: no
  logfile: "{where}/unbound.log"
  log-queries: yes
  do-not-query-localhost: no
  do-ip6: no
  module-config: "iterator"
  num-threads: 1
  {nodefault}
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@{rest}
"""
STUB = """stub-zone:
  name: "{name}"
  stub-addr: 127.0.0.1@{port}
"""


def question(name, kind):
    encoded = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + encoded + b"\x00" + kind.to_bytes(2, "big") + b"\x00\x01"


class Resolver:
    def __init__(self, folder, zones, silent, rest):
        self.where = pathlib.Path(folder) / "resolver"
        self.where.mkdir()
        self.zones, self.silent, self.rest = zones, silent, rest
        self.port, self.nsd_port = free_port(), free_port()
        self.hears = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.hears.bind(("127.0.0.1", 0))
        self.programs = []

    def run(self, *command):
        with open(self.where / f"{pathlib.Path(command[0]).name}.out", "wb") as log:
            self.programs.append(subprocess.Popen(command, stdout=log, stderr=log))

    def __enter__(self):
        nsd = NSD.format(port=self.nsd_port, where=self.where)
        unbound = UNBOUND.format(port=self.port, where=self.where, rest=self.rest, nodefault="\n  ".join(
            f'local-zone: "{name}." nodefault' for name in self.zones))
        for name, lines in self.zones.items():
            (self.where / f"{name}.zone").write_text("\n".join([
                f"$ORIGIN {name}.", "$TTL 60", "@ SOA ns hostmaster 1 3600 600 86400 60", "@ NS ns", "ns A 127.0.0.1", *lines]) + "\n")
            nsd += f"zone:\n  name: {name}\n  zonefile: {name}.zone\n"
            unbound += STUB.format(name=name, port=self.nsd_port)
        for name in self.silent:
            unbound += STUB.format(name=name, port=self.hears.getsockname()[1])
        (self.where / "nsd.conf").write_text(nsd)
        (self.where / "unbound.conf").write_text(unbound)
        self.run("/usr/sbin/nsd", "-d", "-c", self.where / "nsd.conf")
        self.run("/usr/sbin/unbound", "-d", "-c", self.where / "unbound.conf")
        for port, name in ((self.nsd_port, "nsd"), (self.port, "unbound")):
            wait_until(f"{name} answers", lambda port=port: self.answers(port))
        return self

    def answers(self, port):
        assert all(p.poll() is None for p in self.programs), [p.read_text() for p in self.where.glob("*.[ol][uo][tg]")]
        try:
            return all(ask(port, question(name, 6), 0.5)[3] & 15 == 0 for name in self.zones)
        except OSError:
            return False

    def asked(self, name, kind):
        return (self.where / "unbound.log").read_text().count(f" {name}. {kind} IN")

    def __exit__(self, *_):
        for program in self.programs:
            program.terminate()
        for program in self.programs:
            program.wait(20)
        self.hears.close()
