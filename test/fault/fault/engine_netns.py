"""Nodes as processes, each in a network namespace of its own, all joined by a bridge in one more, where the harness is.
Needs root, and nothing else."""
import ctypes
import os
import subprocess

from .cleanup import run_name
from .engine import Engine, EngineError, call

CLONE_NEWNET = 0x40000000
NETWORK = "10.99"


def enter(path):
    """Moves the calling thread into a namespace; threads and processes that it starts later are there too."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path, "rb") as space:
        if libc.setns(space.fileno(), CLONE_NEWNET) != 0:
            raise EngineError(f"{path}: {os.strerror(ctypes.get_errno())}")


def missing_of_netns():
    """What it lacks here; None if nothing."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    space = f"{run_name()}-try"
    try:
        call("ip", "netns", "add", space)
        try:
            call("ip", "-n", space, "link", "add", "br0", "type", "bridge")
            call("ip", "netns", "exec", space, "iptables", "-w", "-L", "-n")
        finally:
            call("ip", "netns", "del", space)
    except (EngineError, OSError) as error:
        return f"no network namespaces can be used: {error}"
    return None


class NetnsEngine(Engine):
    name = "netns"

    def __init__(self):
        missing = missing_of_netns()
        if missing:
            raise EngineError(missing)
        super().__init__()
        self.machines = {}

    @property
    def hub(self):
        return f"{NETWORK}.0.1"

    def space(self, which):
        return f"{self.run}-{which}"

    def open(self, senders):
        hub = self.space("hub")
        call("ip", "netns", "add", hub)
        enter(f"/run/netns/{hub}")
        addresses = [f"{NETWORK}.1.{number}" for number in range(1, senders + 1)]
        call("ip", "link", "set", "lo", "up")
        # An address of its own: else it changes when a machine is added, and the others send into the void for a while.
        call("ip", "link", "add", "br0", "address", "02:00:00:00:00:01", "type", "bridge")
        for address in (self.hub, *addresses):
            call("ip", "address", "add", f"{address}/16", "dev", "br0")
        call("ip", "link", "set", "br0", "up")
        return addresses

    def add(self, node):
        space, port = self.space(node), f"v{len(self.machines) + 1}"
        address = f"{NETWORK}.2.{len(self.machines) + 1}"
        call("ip", "netns", "add", space)
        call("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
        call("ip", "link", "set", port, "master", "br0", "up")
        self.machines[node] = address
        self.inside(node, "ip", "link", "set", "lo", "up")
        self.inside(node, "ip", "address", "add", f"{address}/16", "dev", "eth0")
        self.inside(node, "ip", "link", "set", "eth0", "up")
        return address

    def _into(self, node):
        return ["nsenter", f"--net=/run/netns/{self.space(node)}", "--"]

    def spawn(self, node, program, arguments, wrapper, log):
        return subprocess.Popen([*self._into(node), *wrapper, program, *arguments], stdout=log, stderr=log,
                                stdin=subprocess.DEVNULL, cwd=self.folder, start_new_session=True)

    def inside(self, node, *command):
        return call(*self._into(node), *command)
