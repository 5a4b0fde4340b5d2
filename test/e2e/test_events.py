"""The event log as an operator sees it: of all nodes, as it grows."""
import json
import subprocess

from harness.node import CLI, UnixConnection
from harness.util import wait_until


class Follower:
    """`turnpike events --follow --json`, and the lines that it has printed."""

    def __init__(self, node, *arguments):
        self.process = subprocess.Popen([CLI, "--socket", node.socket, "events", "--follow", "--json", *arguments],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines = []

    def until(self, check):
        """Reads on until a line passes; that line."""
        for text in self.process.stdout:
            self.lines.append(json.loads(text))
            if check(self.lines[-1]):
                return self.lines[-1]
        raise AssertionError(f"it ended: {self.process.stderr.read()}")

    def end(self):
        self.process.terminate()
        return self.process.communicate(timeout=10)[1]


def test_of_all_nodes_as_they_grow(make_cluster, sink):
    a, b, _ = make_cluster(3).nodes
    a.send("r1@example.net")
    wait_until("it is told of", lambda: any(e["event"] == "delivered" for e in a.api("GET", "/v1/events")["events"]))
    follower = Follower(a, "--kind", "received,delivered", "--last", "50")
    try:
        assert follower.until(lambda e: e["event"] == "delivered")["node"] == a.name
        for i in range(3):
            b.send(f"b{i}@example.net")
        for i in range(3):
            event = follower.until(lambda e, i=i: e["event"] == "delivered" and e["recipient"] == f"b{i}@example.net")
            assert (event["node"], event["mx_ip"]) == (b.name, "127.0.0.1")
        b.stop()
        a.send("r2@example.net")
        follower.until(lambda e: e["event"] == "delivered" and e["recipient"] == "r2@example.net")
        b.restart()
        b.wait_ready()
        b.send("b4@example.net")
        follower.until(lambda e: e["event"] == "delivered" and e["recipient"] == "b4@example.net")
    finally:
        said = follower.end()
    assert f"{b.name} did not answer" in said
    assert {e["event"] for e in follower.lines} == {"received", "delivered"}
    told = [(e["event"], e["recipient"]) for e in follower.lines]
    assert len(told) == len(set(told)), "a line twice"


def test_what_is_asked_for(node, sink):
    node.send("one@example.net")
    node.send('r2@example.net', text='Message-ID: <","event":"bounced","a":"@x>\r\nSubject: "event":"bounced"\r\n\r\nhello\r\n')
    node.wait_empty()
    wait_until("both are told of", lambda: len(node.api("GET", "/v1/events?kinds=delivered")["events"]) == 2)
    assert node.api("GET", "/v1/events?kinds=bounced")["events"] == []
    one = node.api("GET", "/v1/events?kinds=received,delivered&recipient=one@example.net")
    # lines of different workers are in order but for a moment
    assert sorted(e["event"] for e in one["events"]) == ["delivered", "received"]
    by_id = node.api("GET", f"/v1/events?id={one['events'][0]['id']}&limit=1")["events"]
    assert by_id == one["events"][1:], "the newest"
    text = node.cli("events", "--kind", "delivered", "--recipient", "one@example.net").stdout
    assert " to one@example.net " in text and " 250 " in text and text.count("\n") == 1
    again = node.api("GET", f"/v1/events?after={one['next']}")
    assert again["events"] == [] and not again["gap"]
    for wrong in ("x", "a.", ".1", "a.xyz", "a.1,,", "a.11111111111111111"):
        assert node.http("GET", f"/v1/events?after={wrong}")[0] == 400, wrong
    node.config["log"] = {"events": "off"}
    node.write_config()
    node.reload()
    wait_until("it is off", lambda: node.http("GET", "/v1/events")[0] == 404)
    assert "set log.events" in node.cli("events", check=False).stderr


class Listener:
    """Server-sent events: (event, data, id) one after another."""

    def __init__(self, node, query, place=None):
        self.connection = UnixConnection(node.socket)
        self.connection.request("GET", f"/v1/events/stream?{query}", headers={"Last-Event-ID": place} if place else {})
        self.answer = self.connection.getresponse()
        assert (self.answer.status, self.answer.getheader("Content-Type")) == (200, "text/event-stream")
        self.place = place

    def next(self):
        got = {}
        while True:
            line = self.answer.readline().decode().rstrip("\n")
            if line == "" and "data" in got:
                self.place = got.get("id", self.place)
                return got["event"], json.loads(got["data"])
            if ": " in line:
                key, value = line.split(": ", 1)
                got[key] = value

    def until(self, recipient):
        while True:
            event, data = self.next()
            if event == "received" and data["recipient"] == recipient:
                return data

    def close(self):
        self.connection.close()


def test_as_server_sent_events(node, sink):
    """What is new comes; who connects again with Last-Event-ID has what came meanwhile, once; so many listen and no more."""
    node.send("old@example.net")
    wait_until("it is in the log", lambda: node.api("GET", "/v1/events?kinds=received")["events"])
    listener = Listener(node, "kinds=received")
    assert listener.next()[0] == "place"
    node.send("one@example.net")
    assert listener.until("one@example.net")["event"] == "received"
    while listener.next()[0] != "place":
        pass
    listener.close()
    node.send("two@example.net")
    node.send("three@example.net")
    again = Listener(node, "kinds=received", listener.place)
    got = []
    while len(got) < 2:
        event, data = again.next()
        got += [data["recipient"]] if event == "received" else []
    assert sorted(got) == ["three@example.net", "two@example.net"] # of two workers, maybe
    assert node.http("GET", "/v1/events/stream?after=nonsense")[0] == 400
    more = [Listener(node, "kinds=none") for _ in range(15)]
    status, text = node.http("GET", "/v1/events/stream")
    assert status == 429 and "16 listen already" in text, (status, text)
    for each in [again, *more]:
        each.close()
    wait_until("there is room again", lambda: listens(node))


def listens(node):
    try:
        Listener(node, "kinds=none").close()
        return True
    except AssertionError:
        return False
