"""Nodes that are cut off from the others, and can still be reached by clients: packets between them are dropped by
netfilter. Its own connections are known by a group that only the node's process is in."""
import itertools
import os
import pathlib
import shutil
import subprocess
import warnings

import pytest

_groups = itertools.count(20000 + os.getpid() % 700 * 64)  # other test processes take others


def nft(script):
    return subprocess.run(["nft", "-f", "-"], input=script, capture_output=True, text=True)


def drop(table, rules):
    """A table of its own, which drops what this machine sends and one of the rules matches."""
    lines = "\n".join(f"{rule} counter drop" for rule in rules)
    return nft(f"table inet {table}\ndelete table inet {table}\n"  # what a run that was killed has left
               f"table inet {table} {{\nchain sent {{\ntype filter hook output priority 0;\n{lines}\n}}\n}}\n")


def in_group(group):
    return ["setpriv", "--regid", str(group), "--clear-groups"]


def needs_netfilter():
    """Skips where it cannot be had; a run's summary of warnings says so too."""
    why = None
    if os.geteuid() != 0 or not shutil.which("nft") or not shutil.which("setpriv"):
        why = "cutting nodes off needs root, nft and setpriv"
    else:
        name = f"turnpike_try_{os.getpid()}"
        tried = drop(name, ["meta skgid 1 tcp dport 1"])
        nft(f"delete table inet {name}\n")
        grouped = subprocess.run([*in_group(next(_groups)), "true"], capture_output=True, text=True)
        if tried.returncode != 0 or grouped.returncode != 0:
            why = f"netfilter is not permitted here: {(tried.stderr + grouped.stderr).strip()[:200]}"
    if why:
        warnings.warn(f"NOT TESTED: {why}")
        pytest.skip(why)


def separable(cluster):
    """Before its nodes are started: each of them gets a group of its own."""
    needs_netfilter()
    for node in cluster.nodes:
        node.group = next(_groups)
        node.wrapper = in_group(node.group)
    return cluster


def own_ports(node, ports):
    """Local ports of the node's connections to those ports."""
    inodes = set()
    for fd in pathlib.Path(f"/proc/{node.process.pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes and int(fields[2].split(":")[1], 16) in ports:
            found.add(int(fields[1].split(":")[1], 16))
    return found


class Cut:
    """One node of a separable cluster, cut off from the others while this is open, in both directions and on both of
    the ports that nodes use between them. Clients, DNS and next hops are not touched."""

    def __init__(self, node, others):
        self.node, self.name = node, f"turnpike_cut_{node.group}"
        self.own = {node.raft_port, node.gossip_port}
        self.far = {port for other in others for port in (other.raft_port, other.gossip_port)}

    def __enter__(self):
        def of(ports):
            return "{ " + ", ".join(map(str, sorted(ports))) + " }"
        begun = drop(self.name, [f"meta skgid {self.node.group} tcp dport {of(self.far)}", f"tcp dport {of(self.own)}",
                                 f"tcp sport {of(self.own)}"])
        assert begun.returncode == 0, begun.stderr
        # It opens no further ones: what others send on those that there are is dropped too.
        there = own_ports(self.node, self.far)
        if there:
            more = nft(f"add rule inet {self.name} sent tcp sport {of(self.far)} tcp dport {of(there)} counter drop\n")
            assert more.returncode == 0, more.stderr
        return self

    def dropped(self):
        listed = subprocess.run(["nft", "list", "table", "inet", self.name], capture_output=True, text=True).stdout
        return sum(int(words[words.index("packets") + 1]) for words in map(str.split, listed.splitlines())
                   if "packets" in words)

    def __exit__(self, *_):
        nft(f"delete table inet {self.name}\n")
