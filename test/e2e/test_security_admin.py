"""The admin API of a running node, over its unix socket and over TCP, as those meet it who may not use it."""
import http.client
import json
import os
import pathlib
import shutil
import socket
import stat
import tempfile
import threading
import time

import pytest

from harness.node import Node, UnixConnection
from harness.util import STRETCH, free_port, wait_until
from security import log_in, so_far

pytestmark = [pytest.mark.sanitizer, pytest.mark.grammar]

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def tcp(make_node, folder):
    """A node with the API on TCP too; .port is there."""
    (folder / "token").write_text(TOKEN + "\n")
    os.chmod(folder / "token", 0o600)
    port = free_port()
    node = make_node({"admin": {"listen": f"127.0.0.1:{port}", "token_file": str(folder / "token")}})
    node.port = port
    return node


@pytest.fixture(scope="module")
def tcp_shared(tmp_path_factory, certificate):
    """The same, for tests that change nothing."""
    where = pathlib.Path(tempfile.mkdtemp(prefix="tp-", dir=os.environ.get("TURNPIKE_E2E_DIR")))
    (where / "token").write_text(TOKEN + "\n")
    os.chmod(where / "token", 0o600)
    port = free_port()
    node = Node(where, certificate, free_port(), free_port(),
                {"admin": {"listen": f"127.0.0.1:{port}", "token_file": str(where / "token")}})
    node.port = port
    node.start()
    yield node
    node.stop()
    node.check_clean()
    shutil.rmtree(where, ignore_errors=True)


def ask(node, method="GET", path="/v1/status", body=None, token=TOKEN, unix=False, **headers):
    connection = UnixConnection(node.socket) if unix else http.client.HTTPConnection("127.0.0.1", node.port, timeout=30)
    try:
        if token and not unix:
            headers.setdefault("Authorization", f"Bearer {token}")
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def raw(node, data, unix=False, timeout=30):
    """Sends octets and returns all that comes back."""
    if unix:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        sock.connect(str(node.socket))
    else:
        sock = socket.create_connection(("127.0.0.1", node.port), timeout)
    with sock:
        try:
            sock.sendall(data)
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
                if b"\r\n\r\n" in answer and b"Connection: keep-alive" not in answer and answer.endswith(b"}\n"):
                    break
            return answer
        except (ConnectionError, TimeoutError):
            return answer


PATHS = ["/v1/status", "/v1/queue", "/v1/track?sender=a@b.test", "/v1/accounts", "/v1/config", "/metrics", "/v1/openapi.json",
         "/v1/trace?side=server", "/v1/queue/messages/0000000000AA1/content", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Bearer " + TOKEN[:-1],
                                           "Bearer " + TOKEN + "x", "Bearer " + TOKEN.upper(), "Basic " + TOKEN, TOKEN])
def test_without_the_token(tcp_shared, path, authorization):
    headers = {} if authorization is None else {"Authorization": authorization}
    assert ask(tcp_shared, path=path, token=None, **headers)[0] == 401


def test_posts_without_the_token_change_nothing(tcp):
    for token in (None, "wrong-wrong-wrong-wrong"):
        body = json.dumps({"name": "evil@example.com", "password": "long-enough-secret"})
        assert ask(tcp, "POST", "/v1/accounts/add", body, token)[0] == 401
        assert ask(tcp, "POST", "/v1/log", '{"level": "error"}', token)[0] == 401
    assert "evil@example.com" not in ask(tcp, path="/v1/accounts")[1]
    assert ask(tcp)[0] == 200


def test_the_socket_belongs_to_its_owner_and_group(tcp):
    assert stat.S_IMODE(os.stat(tcp.socket).st_mode) == 0o660
    assert ask(tcp, unix=True)[0] == 200


@pytest.mark.parametrize("unix", [False, True])
@pytest.mark.parametrize("path", [
    "/v1/../etc/passwd", "/../../../../etc/passwd", "/v1/queue/messages/../../../etc/passwd", "//etc/passwd",
    "/v1/queue/messages/..%2f..%2f..%2fetc%2fpasswd", "/v1/queue/messages/%2e%2e/content", "/v1/queue/messages/%00",
    "/v1/queue/messages/AA%0d%0aSet-Cookie:%20x", "/v1/queue/messages/" + "A" * 5000, "/v1/status%00", "/v1/status/"])
def test_paths(tcp_shared, path, unix):
    data = raw(tcp_shared, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                           f"Authorization: Bearer {TOKEN}\r\n\r\n".encode(), unix)
    assert data.split(b" ")[1:2][0] in (b"400", b"404", b"414"), data
    assert b"root:" not in data and b"Set-Cookie" not in data


@pytest.mark.parametrize("headers, status", [
    ({"Origin": "http://evil.test"}, 403), ({"Origin": "null"}, 403), ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403), ({"Content-Type": "text/plain"}, 415),
    ({"Content-Type": "application/x-www-form-urlencoded"}, 415), ({"Content-Type": "multipart/form-data"}, 415),
    ({"Host": "evil.test"}, 421), ({"Host": "127.0.0.1.evil.test"}, 421), ({"Host": "relay.example.com@evil.test"}, 421)])
@pytest.mark.parametrize("token", [None, TOKEN])
def test_requests_of_a_web_page(tcp_shared, headers, status, token):
    """Even with the token, which a page does not have. Nothing is changed."""
    level = json.loads(ask(tcp_shared, path="/v1/log")[1])["level"]
    got, _ = ask(tcp_shared, "POST", "/v1/log", '{"level": "error"}', token, **headers)
    assert got == status or (token is None and got == 401), got
    assert json.loads(ask(tcp_shared, path="/v1/log")[1])["level"] == level


def test_no_answer_is_readable_for_a_page(tcp_shared):
    """No CORS headers, and a preflight is refused."""
    connection = http.client.HTTPConnection("127.0.0.1", tcp_shared.port, timeout=10)
    connection.request("OPTIONS", "/v1/status", headers={"Origin": "http://evil.test",
                                                         "Access-Control-Request-Method": "POST"})
    answer = connection.getresponse()
    assert answer.status in (401, 403, 405)
    assert not [h for h in answer.headers if h.lower().startswith("access-control")]


INJECTED = ["a\r\nX: y", "a\nb", "a\rb", "a\0b", "a\x1b[2Jb", "a\u0085b"]


@pytest.mark.parametrize("value", INJECTED, ids=repr)
def test_line_ends_in_values(tcp, value):
    """Refused in every parameter that is text; nothing of it in a file, a log, a report."""
    node = tcp
    good = {"name": "user@example.com", "password": "long-enough-secret"}
    cases = [("/v1/accounts/add", {**good, "name": value + "@example.com"}), ("/v1/accounts/add", {**good, "tenant": value}),
             ("/v1/accounts/add", {**good, "senders": [value + "@example.com"]}),
             ("/v1/accounts/passwd", {**good, "name": value}), ("/v1/accounts/remove", {"name": value}),
             ("/v1/accounts/import", {"accounts": [{**good, "tenant": value}]}),
             ("/v1/accounts/import", {"accounts": [{"name": "i@example.com", "hash": value}]}),
             ("/v1/queue/bounce", {"all": True, "text": value}), ("/v1/queue/hold", {"all": True, "text": value}),
             ("/v1/queue/retry", {"sender": value}), ("/v1/queue/delete", {"recipient": value}),
             ("/v1/queue/release", {"account": value}), ("/v1/queue/retry", {"site": value}),
             ("/v1/queue/retry", {"ids": [value]}), ("/v1/log", {"level": value}),
             ("/v1/probe", {"recipient": value + "@example.net"}),
             ("/v1/probe", {"recipient": "r@example.net", "sender": value + "@example.com"})]
    for path, body in cases:
        status, text = ask(node, "POST", path, json.dumps(body))
        if path.endswith("import") and status == 200:
            assert json.loads(text).get("added", json.loads(text).get("taken", 0)) == 0, text
            continue
        assert status == 400, (path, body, status, text)
    for path in ("/v1/queue?sender=", "/v1/track?sender=", "/v1/trace?side=server&account="):
        quoted = "".join(f"%{octet:02x}" for octet in value.encode())
        assert ask(node, path=path + quoted)[0] == 400, path
    accounts = node.folder / "data/accounts"
    assert not accounts.exists() or b"X: y" not in accounts.read_bytes()
    assert b"X: y" not in node.log_path.read_bytes()
    assert not [e for e in so_far(node) if "X: y" in str(e)]


def plausible(schema):
    if "enum" in schema:
        return schema["enum"][0]
    return {"integer": schema.get("minimum", 1), "boolean": True, "array": ["x"]}.get(schema["type"], "x")


def text_parameters(node):
    """All that the API's description says to be text, with what else must be there: (path, other values, name, is a list,
    is in the query)."""
    for path, methods in json.loads(ask(node, path="/v1/openapi.json")[1])["paths"].items():
        for given in methods.get("get", {}).get("parameters", []):
            if given["in"] == "query" and given["schema"]["type"] == "string":
                yield path, {}, given["name"], False, True
        body = methods.get("post", {}).get("requestBody", {}).get("content", {})
        schema = body.get("application/json", {}).get("schema", {})
        for name, one in schema.get("properties", {}).items():
            many = one["type"] == "array" and one["items"]["type"] == "string"
            if (one["type"] == "string" or many) and one.get("maxLength", 0) < 8192: # longer ones are documents, of several lines
                others = {n: plausible(schema["properties"][n]) for n in schema.get("required", []) if n != name}
                yield path, others, name, many, False


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\x1b[2Jb", "a\u0085b"], ids=repr)
def test_line_ends_in_every_value(tcp_shared, value):
    """Of every command, those of the cluster too: by the names that the description has, so that no new one is left out."""
    tried = 0
    for path, others, name, many, query in text_parameters(tcp_shared):
        if query:
            quoted = "".join(f"%{octet:02x}" for octet in value.encode())
            status, text = ask(tcp_shared, path=f"{path.replace('{id}', '0000000000AA1')}?{name}={quoted}")
        else:
            status, text = ask(tcp_shared, "POST", path, json.dumps({**others, name: [value] if many else value}))
        assert status == 400, (path, name, status, text)
        message = json.loads(text)["error"]["message"]
        assert message.startswith(name + " ") and "X: y" not in message, (path, name, message)
        assert name == "ids" or "control character" in message, (path, name, message)
        tried += 1
    assert tried > 100
    assert b"X: y" not in tcp_shared.log_path.read_bytes()


@pytest.mark.parametrize("senders", [["a@b.test,*"], ["*,a"], ["a@b.test:x"], ["a b"], [""], ["@"], ["a@b@c"]])
def test_a_list_is_not_smuggled_into_one_item(node, senders):
    status, _ = node.http("POST", "/v1/accounts/add",
                          {"name": "user@example.com", "password": "long-enough-secret", "senders": senders})
    if status == 200: # then it must mean what it says: nothing of others
        node.config["accounts"]["sender_check"] = "envelope"
        node.take_config()
        with log_in(node, password="long-enough-secret") as client:
            client.command("MAIL FROM:<anybody@elsewhere.test>", "553")
    else:
        assert status == 400


@pytest.mark.parametrize("unix", [False, True])
def test_bodies_that_are_too_large(tcp_shared, unix):
    """A GiB announced, or sent without an announcement: refused before it is read."""
    before = tcp_shared.resident_mib()
    head = f"POST /v1/queue/retry HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
    assert b" 413 " in raw(tcp_shared, f"{head}Content-Length: {1 << 30}\r\n\r\n".encode() + b" " * 100000, unix)[:20]
    assert raw(tcp_shared, f"{head}Content-Length: 99999999999999999999999\r\n\r\n".encode(), unix)[:15].split(b" ")[1:2] in (
        [b"400"], [b"413"])
    answer = raw(tcp_shared, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"10000\r\n" + b" " * 65536, unix)
    assert answer[:13].split(b" ")[1] in (b"411", b"413", b"400")
    assert tcp_shared.resident_mib() - before < 8 * STRETCH
    assert ask(tcp_shared)[0] == 200


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\0\x01\0", b"EHLO x\r\nMAIL FROM:<a>\r\n", b"\0" * 1000, b"GET /v1/status\r\n\r\n",
                                  b"GET " + b"/" * 100000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50000,
                                  b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
                                  b"POST /v1/log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 30\r\n\r\n{}"],
                         ids=range(8))
def test_no_http(tcp_shared, data):
    answer = raw(tcp_shared, data, timeout=25)
    assert b" 200 " not in answer[:20]
    assert ask(tcp_shared)[0] == 200


@pytest.mark.slow(16)
@pytest.mark.waits
def test_slow_requests(tcp):
    """Forty clients that send a request octet by octet hold no place for ever; the unix socket has places of its own."""
    sockets = []
    for _ in range(40):
        sock = socket.create_connection(("127.0.0.1", tcp.port), 10)
        sock.sendall(b"GET /v1/st")
        sockets.append(sock)
    assert ask(tcp, unix=True)[0] == 200
    stop = threading.Event()

    def drip():
        while not stop.is_set():
            for sock in sockets:
                try:
                    sock.sendall(b"a")
                except OSError:
                    pass
            time.sleep(1)

    thread = threading.Thread(target=drip)
    thread.start()

    def served():
        try:
            return ask(tcp)[0] == 200
        except OSError:
            return False

    try:
        wait_until("there is room again", served, 40)
    finally:
        stop.set()
        thread.join()
        for sock in sockets:
            sock.close()
