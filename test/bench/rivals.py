"""More for cluster.py: the same quota by Postfix, rspamd's ratelimit and Redis; and a follower that comes back over a
slow link. Both need root."""
import os
import shutil
import smtplib
import statistics
import subprocess
import sys
import threading
import time

import servers
from nodes import BENCH, FAR, Loaded, Member, await_applied, cpu_seconds, free_port, policy, wait_until

PLUGIN = "/usr/share/rspamd/plugins/ratelimit.lua"
RSPAMD = """\
options {{ pidfile = "{dir}/pid"; filters = ""; tempdir = "{dir}"; rrd = "{dir}/rrd"; history_file = "{dir}/history";
  cache_file = "{dir}/cache"; local_addrs = ["192.0.2.1"];
  dns {{ timeout = 1s; retransmits = 1; nameserver = ["127.0.0.1:53"]; }} }}
logging {{ type = "file"; filename = "{dir}/log"; level = "error"; }}
metric {{ name = "default"; actions {{ reject = 1000; add_header = 900; greylist = null; }} }}
worker "rspamd_proxy" {{ bind_socket = "127.0.0.1:{port}"; milter = yes; timeout = 60s; count = 1;
  upstream "local" {{ default = yes; self_scan = yes; }} }}
redis {{ servers = "127.0.0.1:{redis}"; }}
modules {{ path = "{dir}/plugins/"; }}
ratelimit {{ allow_local = true; rates {{ sender = {{ selector = "from"; bucket = {{ {bucket} }} }} }} }}
"""
SENDER = "bench@bench.test"
MILTER = "smtpd_milters = inet:127.0.0.1:{port}\nmilter_default_action = tempfail\n"
POSTFIX_MAIN = servers.POSTFIX_MAIN


class Rival:
    """Three Postfix with an rspamd each, and one Redis."""

    def __init__(self, bench, bucket):
        self.folder, self.redis_port = bench.folder / "rival", free_port()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.redis = self.run("redis-server", "--port", self.redis_port, "--bind", "127.0.0.1", "--save", "",
                              "--appendonly", "no", "--dir", self.folder)
        self.rspamds, self.postfixes = [], []
        for number in range(3):
            where, port = self.folder / f"r{number}", free_port()
            (where / "plugins").mkdir(parents=True)
            os.symlink(PLUGIN, where / "plugins/ratelimit.lua")
            (where / "conf").write_text(RSPAMD.format(dir=where, port=port, redis=self.redis_port, bucket=bucket))
            self.rspamds.append(self.run("rspamd", "-f", "-i", "-c", where / "conf"))
            wait_until("rspamd listens", lambda port=port: listens(port), 60)
            servers.POSTFIX_MAIN = POSTFIX_MAIN + MILTER.format(port=port)
            self.postfixes.append(servers.Postfix(self.folder / f"p{number}", bench.sink_port, ("", ""), False, False))
        self.ports = [p.port for p in self.postfixes]

    def run(self, *command):
        return subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def cpu(self):
        pids = [p.pid for p in self.postfixes] + [p.pid for p in [*self.rspamds, self.redis] if p.poll() is None]
        return sum(map(servers.cpu_seconds, pids))

    def stop(self):
        for postfix in self.postfixes:
            postfix.stop()
        for process in [*self.rspamds, self.redis]:
            process.terminate()
            process.wait(30)


def listens(port):
    import socket
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Hammer(threading.Thread):
    """One client of one instance: sends all it can, and notes when it got a 250."""

    def __init__(self, port, until):
        super().__init__(daemon=True)
        self.port, self.until, self.accepted, self.refused = port, until, [], 0
        self.start()

    def run(self):
        while time.monotonic() < self.until:
            try:
                with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
                    while time.monotonic() < self.until:
                        self.one(client)
            except (smtplib.SMTPException, OSError):
                self.refused += 1
                time.sleep(0.02)

    def one(self, client):
        try:
            client.sendmail(SENDER, ["rcpt@sink.test"], f"From: {SENDER}\r\nSubject: x\r\n\r\nx\r\n")
            self.accepted.append(time.monotonic())
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError, smtplib.SMTPSenderRefused):
            self.refused += 1
            time.sleep(0.02)


def hammer(ports, seconds, each=4):
    until = time.monotonic() + seconds
    clients = [Hammer(port, until) for port in ports for _ in range(each)]
    for client in clients:
        client.join()
    return sorted(moment for client in clients for moment in client.accepted)


def most_within(moments, window):
    best = begin = 0
    for at, moment in enumerate(moments):
        while moments[begin] <= moment - window:
            begin += 1
        best = max(best, at - begin + 1)
    return best


def throughput(bench, ports, messages, cpu):
    sink, before, begin = bench.sink(messages * 3), cpu(), time.monotonic()
    loads = [subprocess.Popen([BENCH, "send", f"127.0.0.1:{port}", "--json", "--messages", str(messages), "--sessions",
                               "16", "--size", "4096", "--incompressible", "--from", SENDER, "--to",
                               "rcpt{n%1000}@sink.test"], stdout=subprocess.PIPE, text=True) for port in ports]
    bad = [text for load in loads for text in load.communicate()[:1] if load.returncode != 0]
    if bad:
        sink.kill()
        print(f"not counted: {bad}", file=sys.stderr)
        return None
    assert sink.wait(300) == 0
    took = time.monotonic() - begin
    return messages * 3 / took, (cpu() - before) / messages / 3 * 1e6


def redis(bench):
    missing = [what for what in ("postfix", "rspamd", "redis-server") if shutil.which(what) is None]
    if missing or os.geteuid() != 0:
        return f"needs root and {', '.join(missing) or 'nothing else'}"
    cluster = bench.cluster(Member).form()
    nodes = cluster.nodes
    ports = [n.ports["relay"] for n in nodes]
    speeds, costs = {"ours": [], "theirs": []}, {"ours": [], "theirs": []}
    rival = Rival(bench, 'burst = 1000000000; rate = "1000000000 / 1h";')
    try:
        policy(cluster, FAR)
        for _ in range(3):
            for who, args in (("theirs", (rival.ports, 300, rival.cpu)),
                              ("ours", (ports, 4000, lambda: sum(map(cpu_seconds, nodes))))):
                result = throughput(bench, *args)
                print(who, result, file=sys.stderr)
                if result is not None:
                    speeds[who].append(result[0])
                    costs[who].append(result[1])
    finally:
        rival.stop()
    sink = bench.sink(10**9)
    over, stopped = {}, {}
    try:
        for name, bucket in (("burst 200, 200 / 20 s", 'burst = 200; rate = "200 / 20s";'),
                             ("burst 100, 100 / 20 s", 'burst = 100; rate = "100 / 20s";')):
            rival = Rival(bench, bucket)
            try:
                over[name] = most_within(hammer(rival.ports, 32), 20)
            finally:
                rival.stop()
        rival = Rival(bench, 'burst = 200; rate = "200 / 1h";')
        try:
            first = len(hammer(rival.ports, 8))
            rival.redis.kill()
            rival.redis.wait()
            stopped["theirs"] = first, len(hammer(rival.ports, 10))
        finally:
            rival.stop()
        policy(cluster, "limits: [{name: few, for: account, count: 200, window: 20s}]\n")
        over["Turnpike"] = most_within(hammer(ports, 32), 20)
        policy(cluster, "limits: [{name: few, for: account, count: 200, window: 1h}]\n")
        first = len(hammer(ports, 8))
        cluster.leader().kill()
        stopped["ours"] = first, len(hammer(ports, 10))
    finally:
        sink.kill()
    print(over, stopped, file=sys.stderr)

    def rate(who):
        return f"{statistics.median(speeds[who]):,.0f} messages/s, {statistics.median(costs[who]):,.0f} µs CPU per message"
    return [["Postfix + rspamd + Redis, three instances, limit far away", rate("theirs"), ""],
            ["Turnpike, three nodes, limits far away", rate("ours"),
             f"{statistics.median(a / b for a, b in zip(speeds['ours'], speeds['theirs'])):.1f} x"],
            *[[f"200 per 20 s, 12 clients on three instances: most in any 20 s, rspamd with {name}", f"{over[name]}", "200"]
              for name in over if name != "Turnpike"],
            ["the same, Turnpike", f"{over['Turnpike']}", "200"],
            ["200 per hour used up, Redis killed: accepted in the next 10 s (before)",
             f"{stopped['theirs'][1]} ({stopped['theirs'][0]})", ""],
            ["200 per hour used up, Turnpike's leader killed: accepted in the next 10 s (before)",
             f"{stopped['ours'][1]} ({stopped['ours'][0]})", "0"]]


# ---- a follower comes back over a slow link ----------------------------------------------------------------------------

NET = "10.77.77."


def sh(command):
    return subprocess.run(command.split(), capture_output=True, text=True)


def slow_link():
    """Two network namespaces, 100 Mbit/s between them; None, or why not."""
    sh("ip netns add tpfast"), sh("ip netns add tpslow")
    made = sh("ip link add tpv1 netns tpfast type veth peer name tpv2 netns tpslow")
    for number, name in ((1, "tpfast"), (2, "tpslow")):
        inside = f"ip netns exec {name} "
        sh(inside + "ip link set lo up")
        sh(inside + f"ip addr add {NET}{number}/24 dev tpv{number}")
        sh(inside + f"ip link set tpv{number} up")
        shaped = sh(inside + f"tc qdisc add dev tpv{number} root tbf rate 100mbit burst 128kb latency 100ms")
        if made.returncode != 0 or shaped.returncode != 0:
            return made.stderr or shaped.stderr or "no namespaces"
    return None


class Far(Loaded):
    def __init__(self, *args):
        super().__init__(*args)
        far = self.name == "node-c"
        address = NET + ("2" if far else "1")
        self.config["cluster"] = {"listen": f"{address}:{self.raft_port}", "gossip": f"{address}:{self.gossip_port}"}
        self.wrapper = ["ip", "netns", "exec", "tpslow" if far else "tpfast"]
        self.write_config()

    def pid(self):
        return self.process.pid


def catchup(bench):
    why = "needs root" if os.geteuid() != 0 else slow_link()
    try:
        if why is not None:
            return why
        return come_back(bench)
    finally:
        sh("ip netns del tpfast"), sh("ip netns del tpslow")


def come_back(bench):
    turns = int(os.environ.get("TURNPIKE_TURNS", 3))
    cluster = bench.cluster(Far).form()
    policy(cluster, FAR)
    far = cluster.nodes[2]
    if cluster.leader() is far:
        far.pause()
        time.sleep(5)
        far.go_on()
        cluster.wait_healthy(60)
    leader = cluster.leader()
    count, times, usual, waits, pauses = 400000, [], [], [], []
    leader.do(f"accounts {count} 150")
    await_applied(cluster.nodes)
    for turn in range(turns):
        leader.order(f"run u{turn} 2000 200 1000")
        usual.append(leader.result()["p99_us"] / 1000)
        far.pause()
        paused = cluster.nodes[0].cluster()["applied"]
        bytes_each = 150 + turn % 2
        while True:
            leader.do(f"accounts {count} {bytes_each}")
            lag = leader.do("lag")
            if lag["snapshot_index"] > paused + 20000:  # more entries than the 64 MiB that are kept behind it
                break
        before = lag
        target = leader.cluster()["applied"]
        begin = time.monotonic()
        far.go_on()
        leader.order(f"run c{turn} 2000 200 1000")
        wait_until("it caught up", lambda: far.cluster()["applied"] >= target, 120, 0.1)
        times.append(time.monotonic() - begin)
        got, now, here = leader.result(), leader.do("lag"), far.do("lag")
        assert now["term"] == before["term"], "the leader was disturbed"
        assert here["installed"] > 0, here
        waits.append(got["p99_us"] / 1000)
        pauses.append(now["busiest_ms"])
        print(times[-1], usual[-1], waits[-1], got["max_us"], now, here, file=sys.stderr)
        cluster.wait_healthy(60)
    state = max(f.stat().st_size for f in (leader.folder / "data/cluster/raft").glob("snapshot-*")) / 2**20
    return [[f"a follower paused past the log, a snapshot of {state:.0f} MiB, 100 Mbit/s, {turns} times: to catch up, "
             "median / longest", f"{statistics.median(times):.1f} / {max(times):.1f} s", "60 s"],
            ["meanwhile: the leader's term, and its cluster thread's longest pause by its own work",
             f"unchanged, {max(pauses):.0f} ms", "undisturbed"],
            ["... and grants of new senders on it, 200/s, p99, median (worst) time; before it",
             f"{statistics.median(waits):.0f} ({max(waits):.0f}) ms; {statistics.median(usual):.0f} ({max(usual):.0f}) ms",
             ""]]


MEASUREMENTS = {"redis": redis, "catchup": catchup}
