"""What is gathered after the load: what each node still has, what became of the rest, its receipts, the digest of its
state, and lines of its log that must not be there."""
import datetime
import json
import struct
import threading
import time

from .client import DOMAINS, message_of
from .nodes import UnixConnection

BAD = (("assertion", "broken invariant"), ("sanitizer", "Sanitizer:"), ("sanitizer", "runtime error:"),
       ("assertion", "double free"), ("assertion", "stack smashing"), ("fenced", "differs from the majority"))


def wall_offset_ns():
    """What is to be added to CLOCK_MONOTONIC to get the wall clock's time: the best of a few looks."""
    looks = []
    for _ in range(9):
        a = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        b = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        looks.append((b - a, wall - (a + b) // 2))
    return min(looks)[1]


def backup(node):
    """(index, digest) of the node's state, from the end of a snapshot; None: it has none to give."""
    connection = UnixConnection(node.socket, 10)
    try:
        connection.request("GET", "/v1/cluster/backup")
        answer = connection.getresponse()
        data = answer.read()
    except OSError:
        return None
    finally:
        connection.close()
    if answer.status != 200 or len(data) < 100 or data[:8] != b"TPBACKUP":
        return None
    order = "<" if data[12:16] == b"ttpm" else ">"
    index, = struct.unpack(order + "Q", data[20:28])
    digest, = struct.unpack(order + "Q", data[-48:-40])
    return index, f"{digest:016x}"


class Collector:
    def __init__(self, run):
        self.run, self.writer = run, run.writer

    def pages(self, node, path):
        """Rows of a list that comes in pages."""
        after, joiner = None, "&" if "?" in path else "?"
        while True:
            status, text = node.http("GET", path + (f"{joiner}after={after}" if after else ""), timeout=20)
            if status != 200:
                raise RuntimeError(f"{node.name} {path}: {status} {text[:200]}")
            answer = json.loads(text)
            yield from answer["recipients"]
            after = answer.get("next")
            if not after:
                return

    def queued(self, node):
        for row in self.pages(node, "/v1/queue?limit=1000&scope=local"):
            about = message_of(row["recipient"])
            if about is not None:
                state = "held" if row["state"] == "held" else "queued"
                self.writer.observe("collect", "queued", {"id": about, "rcpt": row["recipient"],
                                                          "state": state}, n=node.name)

    def ended(self, node, clock_ok):
        offset = wall_offset_ns()
        for row in (row for domain in DOMAINS for row in self.pages(
                node, f"/v1/track?limit=1000&scope=local&recipient=@{domain}")):
            about = message_of(row["recipient"])
            if about is not None and row["state"] == "moved":
                self.writer.observe("collect", "moved", {
                    "id": about, "rcpt": row["recipient"], "to": row["reply"].rpartition(" ")[2],
                    "moment_ns": row["changed_ms"] * 1_000_000 - offset if clock_ok else None}, n=node.name)
            elif about is not None and row["state"] in ("delivered", "relayed", "bounced", "expired", "deleted"):
                self.writer.observe("collect", "ended", {"id": about, "rcpt": row["recipient"],
                                                         "how": row["state"]}, n=node.name)

    def receipts(self, node, clock_ok):
        """The moment is cut to a whole millisecond by the node: it was at or after, and before the next one. What the
        wall clock itself was moved by during the run is added to that."""
        drift = abs(wall_offset_ns() - self.run.offset_ns)
        offset = (wall_offset_ns() + self.run.offset_ns) // 2
        if not node.events_path.exists():
            return
        for line in node.events_path.read_text("utf-8", "replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue  # cut by a kill
            about = message_of(event.get("message_id", "").strip("<>").partition("@")[0] + ".0@x")
            if event.get("event") != "received" or about is None:
                continue
            moment = datetime.datetime.fromisoformat(event["ts"].replace("Z", "+00:00"))
            wall_ns = round(moment.timestamp() * 1000) * 1_000_000
            good = clock_ok and drift < 20_000_000
            self.writer.observe("collect", "receipt", {
                "account": event["account"], "n": event["recipients"], "id": about,
                "moment_ns": wall_ns - offset - drift // 2 if good else None, "res_ns": 1_000_000 + drift}, n=node.name)

    def digests(self, nodes):
        """All nodes are asked at once, again and again, until all of those asked have been seen at one index."""
        seen = {}
        for _ in range(40):
            found = [None] * len(nodes)

            def ask(i, node):
                found[i] = backup(node)
            threads = [threading.Thread(target=ask, args=(i, node)) for i, node in enumerate(nodes)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for node, got in zip(nodes, found):
                if got is not None:
                    seen.setdefault(got[0], {})[node.name] = got[1]
            if any(len(at) == len(nodes) for at in seen.values()):
                break
            time.sleep(0.05)
        best = max(seen.items(), key=lambda item: (len(item[1]), item[0]), default=(0, {}))
        for name, digest in best[1].items():
            self.writer.observe("collect", "digest", {"applied": best[0], "digest": digest}, n=name)
        return len(best[1])

    def logs(self, node):
        for line in node.log_text().splitlines():
            for kind, words in BAD:
                if words in line:
                    self.writer.observe("collect", "log", {"kind": kind, "line": line[:500]}, n=node.name)
                    break
        said = node.status() if node.alive() else None
        if said is not None and said["digest_mismatch"]:
            self.writer.observe("collect", "log", {"kind": "fenced", "line": "digest_mismatch"}, n=node.name)
        for core in node.folder.glob("core*"):
            self.writer.observe("collect", "log", {"kind": "core", "line": core.name}, n=node.name)

    def _one(self, what, node, gather, *arguments):
        """A node that cannot be asked is told of: what it has is not missing."""
        try:
            gather(node, *arguments)
            good = True
        except (OSError, RuntimeError) as error:
            good = False
            self.writer.observe("collect", "note", {"error": str(error)[:300]}, n=node.name)
        self.writer.observe("collect", "collected", {"what": what, "good": good}, n=node.name)

    def leaves(self, node):
        """It has left, and is stopped next: nobody can ask it later."""
        self._one("history", node, self.ended, True)

    def all(self, clock_ok):
        for node in self.run.cluster.nodes:
            if node.alive():
                self._one("queue", node, self.queued)
                self._one("history", node, self.ended, clock_ok(node))
            elif not node.member:  # it left, and handed over what it had
                self.writer.observe("collect", "collected", {"what": "queue", "good": True}, n=node.name)
            self._one("events", node, self.receipts, clock_ok(node))
            self._one("log", node, self.logs)
        nodes = [node for node in self.run.cluster.members() if node.alive()]
        same = self.digests(nodes)
        for node in nodes:
            self.writer.observe("collect", "collected", {"what": "digest", "good": same == len(nodes)}, n=node.name)
