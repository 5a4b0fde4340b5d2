"""Faults of the network between nodes, made by packet filters in each node's own network. Clients, next hops and operators
are not cut off: what a node does that only its peers have lost is just what is to be seen."""
import re

from .engine import GOSSIP_PORT, RAFT_PORT
from .trouble import Nemesis

class Filtered(Nemesis):
    """It has chains of its own, so that another one that ends does not end it."""

    def drop(self, node, others, incoming=True, *how):
        """The node hears nothing of the others; or, unless incoming, they hear nothing of it."""
        where, which = ("INPUT", "-s") if incoming else ("OUTPUT", "-d")
        chain = f"{self.name}-{where}"
        node.inside("sh", "-c", f"iptables -w -N {chain} 2>/dev/null && iptables -w -I {where} -j {chain} || true")
        for other in others:
            node.inside("iptables", "-w", "-A", chain, which, other.address, *how, "-j", "DROP")

    def mend(self):
        """Takes all its cuts away. How many packets they dropped."""
        dropped = 0
        for node in self.cluster.nodes:
            for where in ("INPUT", "OUTPUT"):
                chain = f"{self.name}-{where}"
                listed = node.inside("sh", "-c", f"iptables -w -L {chain} -nvxZ 2>/dev/null && iptables -w -F {chain} || true")
                dropped += sum(int(number) for number in re.findall(r"(?m)^\s*(\d+)\s+\d+\s+DROP", listed))
        return dropped


class Partition(Filtered):
    def groups(self):
        """Groups that no longer reach each other."""
        raise NotImplementedError

    def begin(self):
        self.cut_off = self.groups()
        total, minority = sum(len(group) for group in self.cut_off), []
        for group in self.cut_off:
            rest = [n for other in self.cut_off if other is not group for n in other]
            for node in group:
                self.drop(node, rest)
            if 2 * len(group) <= total:
                minority += [n.name for n in group]
        self.term = self.watch.term
        return {"targets": minority, "minority": minority,
                "groups": [[n.name for n in group] for group in self.cut_off]}

    def end(self):
        dropped = self.mend()
        return dropped > 0, f"{dropped} packets were dropped; term {self.term} became {self.watch.term}"


class PartitionOne(Partition):
    name = "partition-one"

    def groups(self):
        one = self.rng.choice(self.cluster.members())
        return [[one], self.others(one)]


class PartitionLeader(Partition):
    name = "partition-leader"

    def groups(self):
        one = self.leader() or self.rng.choice(self.cluster.members())
        return [[one], self.others(one)]


class PartitionHalves(Partition):
    """Two parts, or everybody alone, or a ring with one link missing: two who don't reach each other, while both reach
    the rest."""

    name = "partition-halves"

    def groups(self):
        nodes = list(self.cluster.members())
        self.rng.shuffle(nodes)
        half = len(nodes) // 2
        return [nodes[:half], nodes[half:]] if self.rng.random() < 0.6 else [[node] for node in nodes]

    def begin(self):
        if self.rng.random() < 0.7:
            return super().begin()
        a, b = self.rng.sample(self.cluster.members(), 2)
        self.drop(a, [b])
        self.drop(b, [a])
        self.term = self.watch.term
        return {"targets": [a.name, b.name], "unclear": [n.name for n in self.cluster.members()],
                "groups": "one link is gone"}


class PartitionOneway(Filtered):
    """A node that is heard and hears nothing, or the other way round."""

    name = "partition-oneway"

    def begin(self):
        deaf = self.rng.random() < 0.5
        one = self.leader() if self.rng.random() < 0.5 else self.rng.choice(self.cluster.members())
        one = one or self.cluster.members()[0]
        self.drop(one, self.others(one), deaf)
        return {"targets": [one.name], "unclear": [n.name for n in self.cluster.members()],
                "way": "deaf" if deaf else "mute"}

    def end(self):
        dropped = self.mend()
        return dropped > 0, f"{dropped} packets were dropped"


class Loss(Filtered):
    """Packets between nodes are lost at random; or the links are slow and their queues long."""

    name = "loss"
    hold_s = (4.0, 9.0)

    def begin(self):
        self.slow = self.rng.random() < 0.4
        names = [n.name for n in self.cluster.members()]
        if self.slow:
            rate = self.rng.choice((64, 128, 256))
            for node in self.cluster.members():
                self._slow_link(node, rate)
            return {"targets": names, "unclear": names, "kbit": rate}
        share = self.rng.choice((0.05, 0.15, 0.3))
        for node in self.cluster.members():
            self.drop(node, self.others(node), True, "-m", "statistic", "--mode", "random", "--probability", share)
        return {"targets": names, "unclear": names, "share": share}

    def _slow_link(self, node, kbit):
        """Only what goes to peers' ports, or comes from ours, waits in the slow queue."""
        def tc(kind, *arguments):
            node.inside("tc", kind, "add", "dev", "eth0", *arguments)
        tc("qdisc", "root", "handle", "1:", "htb", "default", "10")
        tc("class", "parent", "1:", "classid", "1:10", "htb", "rate", "1gbit")
        tc("class", "parent", "1:", "classid", "1:4", "htb", "rate", f"{kbit}kbit", "burst", "4kb", "quantum", 1600)
        tc("qdisc", "parent", "1:4", "handle", "40:", "bfifo", "limit", kbit * 125 * 6 // 10)
        for port in (RAFT_PORT, GOSSIP_PORT):
            for side in ("dport", "sport"):
                tc("filter", "parent", "1:", "protocol", "ip", "u32", "match", "ip", side, port, "0xffff", "flowid", "1:4")

    def end(self):
        if not getattr(self, "slow", False):
            dropped = self.mend()
            return dropped > 0, f"{dropped} packets were dropped"
        waited = 0
        for node in self.cluster.members():
            shown = node.inside("sh", "-c", "tc -s qdisc show dev eth0; tc qdisc del dev eth0 root || true")
            waited += sum(int(n) for n in re.findall(r"overlimits (\d+)", shown))
        return waited > 0, f"{waited} packets waited for a slow link"


FAULTS = [PartitionOne, PartitionHalves, PartitionOneway, PartitionLeader, Loss]
