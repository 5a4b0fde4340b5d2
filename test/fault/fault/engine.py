"""Where nodes run: machines of their own, with a network that can be cut. An engine starts and stops their processes and
gives a way into each one's network; what is done there is the same for all engines (fault.nemesis).

The harness itself stands at the hub of that network, where clients and next hops are: no fault cuts nodes off from it,
so that it is seen what a node that is cut off from the others answers.
"""
import abc
import os
import pathlib
import signal
import subprocess

from .cleanup import Janitor, folder_of, run_name, sweep_one

SMTP_PORT, RAFT_PORT, GOSSIP_PORT, SINK_PORT, DNS_PORT = 25, 7301, 7302, 2525, 5353


class EngineError(RuntimeError):
    """The machine cannot do what a run needs."""


def call(*command, timeout=60):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise EngineError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Engine(abc.ABC):
    """Everything that it makes carries the name `run`, and is gone after close(), or when the harness is."""

    name = ""
    program = None  # what nodes begin with, if not the program that is tested

    def __init__(self):
        self.run = run_name()
        self.folder = folder_of(self.run)
        self.folder.mkdir(parents=True)
        self.janitor = Janitor(self.run)

    @abc.abstractmethod
    def open(self, senders):
        """Makes the network; the calling thread, and those that it starts, are at its hub. Returns the addresses that
        so many senders connect from."""

    @property
    @abc.abstractmethod
    def hub(self):
        """The address of next hops and DNS servers."""

    @abc.abstractmethod
    def add(self, node):
        """A machine for a node; returns its address."""

    @abc.abstractmethod
    def spawn(self, node, program, arguments, wrapper, log):
        """Starts a program of the build on the node's machine: like a subprocess.Popen (pid, poll, wait, kill)."""

    @abc.abstractmethod
    def inside(self, node, *command):
        """Runs a command of the host in the node's network, and returns what it printed."""

    def pause(self, process):
        os.kill(process.pid, signal.SIGSTOP)

    def go_on(self, process):
        os.kill(process.pid, signal.SIGCONT)

    def small_disk(self, path, mib):
        pathlib.Path(path).mkdir(parents=True, exist_ok=True)
        call("mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0755", f"{self.run}-disk", path)

    def close(self):
        sweep_one(self.run, itself=os.getpid())
        self.janitor.done()


def engine(name):
    if name == "netns":
        from .engine_netns import NetnsEngine
        return NetnsEngine()
    if name == "docker":
        from .engine_docker import DockerEngine
        return DockerEngine()
    raise EngineError(f"there is no engine {name!r}")


def usable(name):
    """The engine's name; with "auto", that of Docker where it answers and has the image, else of network namespaces. Raises
    EngineError where it can't be used."""
    from .engine_docker import missing_of_docker
    from .engine_netns import missing_of_netns
    lacks = {"docker": missing_of_docker, "netns": missing_of_netns}
    if name == "auto":
        name = "netns" if missing_of_docker() else "docker"
    if name not in lacks:
        raise EngineError(f"there is no engine {name!r}: {', '.join(lacks)}")
    missing = lacks[name]()
    if missing:
        raise EngineError(missing)
    return name
