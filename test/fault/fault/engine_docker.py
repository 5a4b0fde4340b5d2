"""Nodes as containers of the image of deploy/docker, on an internal network: nothing leaves the machine. The harness is at
the network's gateway. A second, idle container of each node holds its network, so that what a fault does to the network
outlives the node's own process.

The image's own program is tested, unless TURNPIKE_BUILD names a build; it is then mounted over the image's.
"""
import os
import pathlib
import shutil
import subprocess
import time

from .cleanup import LABEL
from .engine import Engine, EngineError, call

IMAGE = os.environ.get("TURNPIKE_FAULT_IMAGE", "turnpike-node")
# Mounted where they are on the host: the image has no faults in it.
EXTRAS = ("/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/fiu", "/usr/lib/libfiu.so.0")
SUBNETS = [f"10.98.{n}" for n in range(0, 250, 5)]


def missing_of_docker():
    """What it lacks here; None if nothing."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    for what in (["info"], ["image", "inspect", IMAGE]):
        if subprocess.run(["docker", *what], capture_output=True, check=False, timeout=30).returncode != 0:
            return (f"docker {' '.join(what)} fails; the image is made by: docker build --network host -f "
                    f"deploy/docker/Dockerfile --target node -t {IMAGE} .")
    return None if os.geteuid() == 0 else "faults in containers' networks need root"


class Container:
    """A container in the foreground, as if it were a process of ours."""

    inner_pid = 1

    def __init__(self, name, command, log):
        self.name = name
        self.client = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        self._pid = None

    @property
    def pid(self):
        """On the host; waits until there is one."""
        until = time.monotonic() + 20
        while self._pid is None and self.client.poll() is None and time.monotonic() < until:
            found = subprocess.run(["docker", "inspect", "-f", "{{.State.Pid}}", self.name], capture_output=True, text=True,
                                   check=False).stdout.strip()
            self._pid = int(found) if found.isdigit() and found != "0" else None
            time.sleep(0.02)
        return self._pid

    def poll(self):
        return self.client.poll() if self.client.poll() is None else self.returncode

    @property
    def returncode(self):
        """As subprocess has it: the signal, negative, where a shell would say 128 and the signal."""
        code = self.client.returncode
        return code if code is None or code <= 128 else 128 - code

    def _signal(self, name):
        subprocess.run(["docker", "kill", "--signal", name, self.name], capture_output=True, check=False, timeout=30)

    def kill(self):
        self._signal("KILL")

    def terminate(self):
        self._signal("TERM")

    def wait(self, timeout=None):
        self.client.wait(timeout)
        return self.returncode


class DockerEngine(Engine):
    name = "docker"

    def __init__(self):
        missing = missing_of_docker()
        if missing:
            raise EngineError(missing)
        super().__init__()
        self.labels = ["--label", f"{LABEL}={self.run}"]
        self.machines, self.started, self.subnet = {}, 0, None

    @property
    def hub(self):
        return f"{self.subnet}.1"

    def open(self, senders):
        for subnet in SUBNETS:
            try:
                number = call("docker", "network", "create", "--internal", "--subnet", f"{subnet}.0/24", "--gateway",
                              f"{subnet}.1", *self.labels, self.run).strip()
                break
            except EngineError as error:
                if "overlap" not in str(error).lower():
                    raise
        else:
            raise EngineError("no subnet is free")
        self.subnet = subnet
        bridge = f"br-{number[:12]}"
        addresses = [f"{subnet}.{128 + n}" for n in range(1, senders + 1)]
        for address in addresses:
            call("ip", "address", "add", f"{address}/24", "dev", bridge)
        return addresses

    def add(self, node):
        address = f"{self.subnet}.{len(self.machines) + 2}"
        holder = f"{self.run}-net-{node}"
        call("docker", "run", "-d", "--name", holder, *self.labels, "--network", self.run, "--ip", address, "--entrypoint",
             "sleep", "--no-healthcheck", IMAGE, "infinity")
        pid = call("docker", "inspect", "-f", "{{.State.Pid}}", holder).strip()
        self.machines[node] = (holder, pid)
        return address

    def spawn(self, node, program, arguments, wrapper, log):
        holder, _ = self.machines[node]
        self.started += 1
        name = f"{self.run}-{node}-{self.started}"
        mounts = [str(self.folder), *(path for path in EXTRAS if pathlib.Path(path).exists())]
        inside = "turnpiked"
        if "TURNPIKE_BUILD" in os.environ:
            mounts.append(str(program))
            inside = str(program)
        command = ["docker", "run", "--name", name, *self.labels, "--network", f"container:{holder}", "--user", "0",
                   "--no-healthcheck", "--entrypoint", "env"]
        for path in mounts:
            command += ["-v", f"{path}:{path}" + ("" if path == str(self.folder) else ":ro")]
        return Container(name, [*command, IMAGE, *wrapper[1:], inside, *map(str, arguments)], log)

    def inside(self, node, *command):
        return call("nsenter", "-t", self.machines[node][1], "-n", "--", *command)

    def pause(self, process):
        call("docker", "pause", process.name)

    def go_on(self, process):
        call("docker", "unpause", process.name)
