"""The address hook: what a node has it do when an address comes and goes, and the one that is shipped."""
import os
import pathlib
import subprocess

import pytest

from harness.util import wait_until
from test_cluster_pools import NEWS, Pools, assert_one_owner_at_a_time, metric, named, waiting_reply

SHIPPED = pathlib.Path(__file__).resolve().parents[2] / "deploy/hooks/address-ip"
ADDRESS = "127.0.0.66"
HOOK = """#!/bin/sh
echo "$1 $2 $TURNPIKE_PREFIX $TURNPIKE_INTERFACE $TURNPIKE_POOL: $TURNPIKE_REASON" >>{folder}/$TURNPIKE_NODE
echo "$TURNPIKE_NODE $TURNPIKE_EVENT" >>{folder}/all
[ -n "$HOME$LANG$TURNPIKE_SECRET" ] && echo "the environment is not clean" >>{folder}/all
[ ! -e {folder}/broken-$TURNPIKE_NODE ] || [ "$1" = remove ] || {{ echo "trying"; echo "no such interface"; exit 3; }}
"""


class Told:
    def __init__(self, folder):
        self.folder, self.hook = folder, folder / "hook"
        self.hook.write_text(HOOK.format(folder=folder))
        self.hook.chmod(0o755)

    def lines(self, node):
        path = self.folder / getattr(node, "name", node)
        return path.read_text().splitlines() if path.exists() else []

    def breaks(self, node, on=True):
        (self.folder / f"broken-{node.name}").touch() if on else (self.folder / f"broken-{node.name}").unlink()


def line(event, reason):
    return f"{event} {ADDRESS} 32 eth7 {NEWS}: {reason}"


@pytest.mark.slow
def test_an_address_follows_its_owner(make_cluster, sink, tmp_path):
    """(!) Its node is killed; the next one's hook fails, is run again and says so, and nothing is sent meanwhile. What was
    killed takes the address off when it is back. A move takes it off here before it is put there."""
    told = Told(tmp_path)
    pools = Pools(named(make_cluster, config={"cluster": {"address_hook": str(told.hook), "address_interface": "eth7"}}), sink)
    a, b = pools.cluster.followers()
    c = pools.cluster.leader()
    pools.nodes = [c, b]
    pools.pool()
    pools.do("pools/float", name=NEWS, mode="automatic", after="1s", nodes=b.name)
    pools.address(ADDRESS, a)
    pools.send(a)
    pools.arrived(1)
    assert told.lines(a) == [line("add", "it is this node's")]

    told.breaks(b)
    a.kill()
    pools.send(b)
    wait_until("it is known to have failed", lambda: pools.row(ADDRESS).get("state") == "failed", 60)
    assert (pools.row(ADDRESS)["node"], pools.row(ADDRESS)["reason"]) == (b.name, "no such interface")
    assert "failed: no such interface" in c.cli("ip", "list").stdout
    wait_until("it is run again", lambda: len(told.lines(b)) >= 2)
    assert f"the address hook (add {ADDRESS}) failed, and is run again: exit code 3: no such interface" in b.log_text()
    assert f"the address hook for {ADDRESS}: trying" in b.log_text()
    assert len(sink.messages) == 1
    why = f"no address of pool news is usable: the address hook has not added {ADDRESS}"
    wait_until("it says why it waits", lambda: any(why in reply for reply in waiting_reply(b)))
    assert metric(b, "turnpike_source_absent", address=ADDRESS, pool=NEWS) == 1
    told.breaks(b, False)
    pools.arrived(2)
    assert metric(b, "turnpike_source_absent", address=ADDRESS, pool=NEWS) == 0
    wait_until("that is known", lambda: pools.row(ADDRESS)["state"] == "assigned")
    assert told.lines(b) == [line("add", "it is this node's")] * len(told.lines(b)) and len(told.lines(b)) >= 3

    a.restart()
    wait_until("it takes mail", a.is_ready)
    wait_until("it has taken it off", lambda: told.lines(a)[1:] == [line("remove", "left by the process before this one")])
    tried = len(told.lines(b))
    pools.do("ips/move", address=ADDRESS, node=c.name)
    wait_until("it has moved", lambda: pools.row(ADDRESS).get("node") == c.name)
    pools.send(c)
    pools.arrived(3)
    assert told.lines(b)[tried:] == [line("remove", f"it goes to {c.name}")]
    assert told.lines("all")[-2:] == [f"{b.name} remove", f"{c.name} add"]
    c.stop()
    assert told.lines(c) == [line("add", "it is this node's"), line("remove", "the node is stopping")]
    assert f"address {ADDRESS} is taken off this machine" in c.log_text()
    assert [m.session.helo for m in sink.messages] == [f"{n.name}.example.com" for n in (a, b, c)]
    assert_one_owner_at_a_time(sink, ADDRESS)
    assert told.lines(a)[2:] == []


# ---- the one that is shipped, in a network of its own

SETTING = """set -e
ip link set lo up
ip link add out0 type bridge
ip link add out1 type bridge
ip link set out0 up
ip link set out1 up
ip address add 192.0.2.10/24 dev out0
ip address add 198.51.100.10/24 dev out1
ip -6 address add 2001:db8::10/64 dev out1 nodad
ip route add default via 192.0.2.1
hook() { env -i PATH="$PATH" $VARS """ + str(SHIPPED) + """ "$@"; }
on() { ip -o address show dev "$1" | awk '{ print $4 }' | grep -v '^fe80' | sort | tr '\\n' ' '; echo; }
"""


@pytest.fixture
def network(tmp_path):
    def run(script, **more):
        return subprocess.run(["unshare", "--net", "sh", "-c", SETTING + script], capture_output=True, text=True, timeout=30,
                              check=False, env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **more})
    if os.geteuid() != 0 or run("true").returncode != 0:
        pytest.skip("networks of one's own need root")
    for program in ("arping", "ndptool"):
        (tmp_path / program).write_text(f'#!/bin/sh\necho "{program} $*" >>{tmp_path}/said\n')
        (tmp_path / program).chmod(0o755)
    return run


def test_added_and_removed_any_number_of_times(network, tmp_path):
    done = network("""
        hook add 192.0.2.77; hook add 192.0.2.77; on out0
        hook add 198.51.100.77; hook add 2001:db8::77; on out1
        hook remove 192.0.2.77; hook remove 192.0.2.77; on out0
        hook remove 198.51.100.77; hook remove 2001:db8::77; hook remove 2001:db8::77; on out1""")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "192.0.2.10/24 192.0.2.77/32 ", "198.51.100.10/24 198.51.100.77/32 2001:db8::10/64 2001:db8::77/128 ",
        "192.0.2.10/24 ", "198.51.100.10/24 2001:db8::10/64 "]
    wanted = {"arping -q -c 2 -U -I out0 -s 192.0.2.77 192.0.2.77", "arping -q -c 1 -A -I out1 -s 198.51.100.77 198.51.100.77",
              "ndptool -t na -U -i out1 -T 2001:db8::77 send"}
    wait_until("it was announced", lambda: wanted <= set((tmp_path / "said").read_text().splitlines()))


def test_where_it_is_told_to(network):
    done = network("hook add 192.0.2.77; on out1; on out0; VARS=; hook add 203.0.113.9; on out0; hook remove 192.0.2.77; on out1",
                   VARS="TURNPIKE_INTERFACE=out1 TURNPIKE_PREFIX=28")
    assert (done.returncode, done.stdout.splitlines()) == (0, [
        "192.0.2.77/28 198.51.100.10/24 2001:db8::10/64 ", "192.0.2.10/24 ", "192.0.2.10/24 203.0.113.9/32 ",
        "198.51.100.10/24 2001:db8::10/64 "])


@pytest.mark.parametrize("arguments,words", [
    ("add 203.0.113.9", "no interface has a network with 203.0.113.9: set cluster.address_interface"),
    ("add 192.0.2.777", "192.0.2.777 is no address"), ("add $(id)", "usage:"), ("add 'out0;id'", "is no address"),
    ("add", "usage:"), ("add ''", "usage:"), ("move 192.0.2.77", "usage:")])
def test_what_it_cannot_do(network, arguments, words):
    done = network(f"ip route del default; set +e; hook {arguments}; code=$?; on out0; exit $code")
    assert done.returncode == 1
    assert words in done.stdout and done.stdout.splitlines()[-1] == "192.0.2.10/24 "


def test_without_a_program_that_announces(network, tmp_path):
    for program in ("arping", "ndptool"):
        (tmp_path / program).unlink()
    done = network("PATH=/usr/sbin:/usr/bin:/sbin:/bin; command -v arping ndptool && exit 77; hook add 192.0.2.77; on out0")
    if done.returncode == 77:
        pytest.skip("this machine has one")
    assert done.stdout.splitlines() == ["added, and not announced: there is no program for that here",
                                        "192.0.2.10/24 192.0.2.77/32 "]
