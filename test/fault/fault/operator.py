"""What operators do to the cluster, on any node, by the API or the command line, written into the history with what is
known of the outcome: an answer that did not come, or a lost majority, says nothing."""
import json
import subprocess

from .nodes import CLI, UnixConnection

REFUSED = (400, 404, 409)


class Operator:
    """One process of the history."""

    def __init__(self, name, run, rng):
        self.name, self.run, self.writer, self.rng = name, run, run.writer, rng

    def node(self):
        return self.rng.choice(self.run.cluster.members())

    def _ask(self, node, method, path, body=None, timeout=60):
        """(status, answer); (0, why) when nobody knows; (-1, why) when it cannot have been heard."""
        connection = UnixConnection(node.socket, timeout)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            return -1, str(error)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
            return answer.status, json.loads(text)
        except Exception as error:
            return 0, repr(error)
        finally:
            connection.close()

    def do(self, f, key, v, path, body, made=lambda answer: {}, node=None, method="POST"):
        """A change, or a look. `made` turns the answer into what the history keeps of it."""
        node = node or self.node()
        op = self.writer.invoke(self.name, f, node.name, key, v)
        status, answer = self._ask(node, method, path, body)
        if status == 200:
            self.writer.ok(op, made(answer))
            return answer
        said = answer if isinstance(answer, str) else json.dumps(answer)
        (self.writer.fail if status == -1 or status in REFUSED or "nothing was changed" in said else self.writer.info)(op, {"status": status}, said[:300])
        return None

    def freeze(self, key, whom, mode, timer=None):
        """Its id; None: it is not known to be in force. `timer` in seconds."""
        body = {**whom, "mode": mode, "reason": "test", **({"for": f"{timer}s"} if timer else {})}
        v = {"mode": mode, **({"for_s": timer} if timer else {})}
        done = self.do("freeze", key, v, "/v1/freeze", body,
                       lambda answer: {"freeze": answer.get("id"), "complete": answer["complete"],
                                       "took_ms": answer.get("took_ms")})
        return None if done is None else done.get("id")

    def thaw(self, key, whom, number=None):
        """`number`: that freeze only."""
        named = {"freeze": number} if number is not None else {}
        return self.do("unfreeze", key, named, "/v1/thaw", {**whom, **named})

    def read(self, key, path, value, node=None, stale=False):
        """`value` finds the register in the answer; it gets None where there is no such thing (404)."""
        node = node or self.node()
        op = self.writer.invoke(self.name, "read", node.name, key, {"stale": True} if stale else {})
        status, answer = self._ask(node, "GET", path, timeout=30)
        if status in (200, 404):
            found = value(answer if status == 200 else None)
            self.writer.ok(op, {"value": found})
            return found
        self.writer.fail(op, {"status": status}, str(answer)[:300])
        return None

    def by_command(self, f, key, v, *arguments, node=None):
        """A change by the command line. Its exit status only tells success; what else it may mean is unknown."""
        node = node or self.node()
        op = self.writer.invoke(self.name, f, node.name, key, v)
        try:
            done = subprocess.run([CLI, "--socket", node.socket, *map(str, arguments)], capture_output=True, text=True,
                                  timeout=60, check=False)
        except subprocess.TimeoutExpired:
            self.writer.info(op, {"status": 0}, "no end")
            return False
        if done.returncode == 0:
            self.writer.ok(op)
            return True
        self.writer.info(op, {"status": done.returncode}, done.stderr[:300])
        return False
