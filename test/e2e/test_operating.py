"""Running it: reload, stop, status and queue commands, metrics, the API's description, configuration errors."""
import json
import os
import shutil
import signal
import smtplib
import subprocess
import threading
import time

import pytest

from conftest import make_certificate
from harness.node import PASSWORD, Raw, UnixConnection
from harness.util import BUILD, NODE, ROOT, wait_until


@pytest.fixture
def hop(make_sink, dns):
    one = make_sink()
    dns.mail_domain("hop.test", "127.0.0.1")
    dns.mail_domain("example.com", "127.0.0.1")
    return one


@pytest.fixture
def deferred(node, hop):
    """A node with five deferred messages of two senders."""
    hop.hooks["rcpt"] = lambda s, a: "451 4.7.1 greylisted, come back"
    node.config["delivery"]["retry"] = ["1h"]
    node.take_config()
    ids = [node.send(f"r{n}@hop.test", sender="a@example.com" if n < 3 else "b@example.com") for n in range(5)]
    wait_until("all are deferred", lambda: sum(r["attempts"] > 0 for r in node.queue()) == 5)
    return ids


# ---- reload and stop ---------------------------------------------------------------------------------------


def test_reload_drops_no_connection(node, sink):
    client = node.smtp()
    client.mail("user@example.com")
    node.config["hostname"] = "renamed.example.com"
    node.write_config()
    node.reload()
    wait_until("new sessions see it", lambda: b"renamed" in Raw(node.ports["relay"]).reply().encode())
    assert client.rcpt("friend@example.net")[0] == 250
    assert client.data("Subject: x\r\n\r\nx\r\n")[0] == 250
    wait_until("it is delivered", lambda: len(sink.messages) == 1)


def test_reload_under_load_loses_nothing(node, sink):
    load = node.bench("--messages", 3000, "--sessions", 10, "--to", "r{n}@example.net")
    while load.poll() is None:
        node.reload()
        time.sleep(0.1)
    result = json.loads(load.communicate()[0])
    assert (result["accepted"], result["refused"], result["lost"]) == (3000, 0, 0)
    wait_until("all are delivered", lambda: len(sink.messages) == 3000, 60)


def test_reload_takes_a_new_certificate(node, folder):
    import ssl
    new = make_certificate(folder, "new", "localhost")
    for source, target in zip(new, node.certificate):
        shutil.copy(target, folder / f"old-{target.name}")
        shutil.copy(source, target)
    try:
        node.reload()
        wanted = ssl.PEM_cert_to_DER_cert(new[0].read_text())

        def served():
            with Raw(node.ports["submissions"]) as client:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                return context.wrap_socket(client.sock).getpeercert(True) == wanted

        wait_until("the new one is served", served)
    finally:
        for target in node.certificate:
            shutil.copy(folder / f"old-{target.name}", target)


def test_bad_configuration_is_refused_on_reload(node, sink):
    good = node.config_path.read_text()
    node.config_path.write_text(good.replace("hostname:", "hostnme:"))
    node.reload()
    wait_until("it says so", lambda: "hostnme" in node.log_text())
    assert ":3:" in node.log_text() or ":2:" in node.log_text(), "the line is not named"
    node.send("r@example.net")
    wait_until("it works as before", lambda: len(sink.messages) == 1)


def test_sigterm_finishes_what_is_in_hand(node, sink, raw):
    client = raw()
    client.command("EHLO c.example.com", "250")
    client.command("MAIL FROM:<user@example.com>", "250")
    client.command("RCPT TO:<friend@example.net>", "250")
    client.command("DATA", "354")
    os.kill(node.pid(), signal.SIGTERM)
    wait_until("it is stopping", lambda: "stopping" in node.log_text())
    client.send("Subject: last\r\n\r\nx\r\n.\r\n")
    assert client.reply().startswith("250")

    def refuses():
        try:
            Raw(node.ports["relay"]).close()
        except OSError:
            return True

    wait_until("nobody else is let in", refuses)
    assert node.process.wait(40) == 0
    node.restart()
    wait_until("it is delivered", lambda: len(sink.find("Subject: last")) == 1)


@pytest.mark.sanitizer
@pytest.mark.parametrize("moment", range(12))
def test_stop_at_any_moment_of_a_delivery(make_node, sink, moment):
    """It stops cleanly, and the message is delivered then or after the next start."""
    node = make_node()
    node.send("r@example.net")
    time.sleep(moment * 0.0007)
    node.stop()
    node.check_clean()
    node.restart()
    wait_until("it is delivered", lambda: sink.recipients() == ["r@example.net"])


def test_log_is_reopened(node, sink):
    node.send("r@example.net")
    wait_until("there are events", lambda: node.events("delivered"))
    os.rename(node.events_path, node.events_path.with_suffix(".1"))
    node.reload()
    wait_until("the new file is there", node.events_path.exists)
    node.send("r2@example.net")
    wait_until("the new file has events", lambda: node.events("delivered"))
    assert len(node.events("delivered")) == 1


# ---- events ------------------------------------------------------------------------------------------------


def test_events_tell_the_story(node, sink):
    id = node.send("r@example.net", "Subject: s\r\nMessage-ID: <m@example.com>\r\n\r\nx\r\n")
    event = wait_until("the delivery event", lambda: next(iter(node.events("delivered") + node.events("relayed")), None))
    received = node.events("received")[0]
    for one in (received, event):
        assert one["id"] == id
        assert one["sender"] == "user@example.com"
    assert event["recipient"] == "r@example.net"
    assert event["code"] == 250 and event["mx_ip"].startswith("127.0.0.1") and event["attempt"] == 1
    assert received["client_ip"] == "127.0.0.1" and received["size"] > 0


def test_hostile_input_makes_one_escaped_line(node, raw):
    client = raw()
    for text in (b"HELO x\x1b[31m", "HELO x\u2028y".encode(), b"HELO \xff\xfe", b"MAIL FROM:<\x07@example.com>"):
        client.send(text + b"\r\n")
        client.reply()
    client.close()
    time.sleep(0.5)
    data = node.events_path.read_bytes()
    assert b"\x1b" not in data and b"\x07" not in data and "\u2028".encode() not in data
    for line in data.splitlines():
        json.loads(line)


# ---- queue commands ----------------------------------------------------------------------------------------


def test_queue_commands(node, hop, deferred):
    listed = json.loads(node.cli("queue", "list", "--json").stdout)
    assert len(listed["recipients"]) == 5
    some = json.loads(node.cli("queue", "list", "--json", "--sender", "a@example.com").stdout)
    assert {r["id"] for r in some["recipients"]} == set(deferred[:3])
    assert deferred[0] in node.cli("queue", "list").stdout
    shown = node.cli("queue", "show", deferred[0]).stdout
    assert "r0@hop.test" in shown and "451 4.7.1 greylisted" in shown
    assert "Subject: test" in node.cli("queue", "cat", deferred[0]).stdout
    dry = json.loads(node.cli("queue", "delete", "--sender", "b@example.com", "--dry-run", "--json").stdout)
    assert dry["recipients"] == 2 and len(node.queue()) == 5
    node.cli("queue", "hold", deferred[0])
    assert [r["state"] for r in node.queue() if r["id"] == deferred[0]] == ["held"]
    hop.hooks.clear()
    node.cli("queue", "retry", "--sender", "a@example.com")
    wait_until("two of three are delivered", lambda: sorted(hop.recipients()) == ["r1@hop.test", "r2@hop.test"])
    node.cli("queue", "release", deferred[0])
    wait_until("the held one too", lambda: "r0@hop.test" in hop.recipients())
    node.cli("queue", "delete", deferred[3], "--yes")
    node.cli("queue", "bounce", deferred[4], "--yes")
    wait_until("its sender is told", lambda: any(m.sender == "" and m.recipients == ["b@example.com"]
                                                 for m in hop.messages))
    node.wait_empty()
    wanted = {"r0@hop.test": "delivered", "r1@hop.test": "delivered", "r2@hop.test": "delivered",
              "r3@hop.test": "deleted", "r4@hop.test": "bounced"}
    wait_until("the history has them", lambda: wanted == {
        r["recipient"]: r["state"] for n in range(5) for r in node.track(recipient=f"r{n}@hop.test")})


def test_held_mail_survives_a_restart(node, hop, deferred):
    node.cli("queue", "hold", deferred[0])
    node.kill()
    node.restart()
    assert [r["state"] for r in node.queue() if r["id"] == deferred[0]] == ["held"]


def test_summary_and_status(node, deferred):
    summary = json.loads(node.cli("queue", "summary", "--json").stdout)
    assert summary["total"] == 5 or summary["total"]["recipients"] == 5
    assert "hop.test" in node.cli("queue", "summary").stdout
    assert "running" in node.cli("status").stdout


def test_reply_match_selects(node, deferred):
    rows = json.loads(node.cli("queue", "list", "--json", "--reply-match", "grey.*come").stdout)["recipients"]
    assert len(rows) == 5
    assert json.loads(node.cli("queue", "list", "--json", "--reply-match", "blue").stdout)["recipients"] == []
    assert node.cli("queue", "list", "--reply-match", "(", check=False).returncode != 0


def test_trace_shows_the_dialogue(node, sink):
    lines = []
    trace = subprocess.Popen([str(NODE.parents[2] / "cli/turnpike"), "--socket", str(node.socket), "trace", "server"],
                             stdout=subprocess.PIPE, text=True)
    threading.Thread(target=lambda: lines.extend(trace.stdout), daemon=True).start()
    node.add_account()

    def shown(recipient):
        node.send(recipient)
        return any(f"<{recipient}>" in line for line in lines)
    wait_until("it has begun", lambda: shown("r@example.net"), interval=0.2)
    node.smtp("submissions", "user@example.com").quit()
    wait_until("it shows what came after the login", lambda: shown("last@example.net"), interval=0.2)
    trace.terminate()
    trace.wait(10)
    assert PASSWORD not in "".join(lines)
    import base64
    assert base64.b64encode(f"\0user@example.com\0{PASSWORD}".encode()).decode() not in "".join(lines)


def test_probe_stops_after_rcpt(node, sink):
    done = node.cli("probe", "someone@example.net", check=False)
    assert "250" in done.stdout and "someone@example.net" in done.stdout and done.returncode == 0
    assert sink.messages == []


def test_probe_fails_when_the_answer_is_no(node, sink):
    sink.hooks["rcpt"] = lambda s, a: "550 5.1.1 no such mailbox"
    done = node.cli("probe", "nobody@example.net", check=False)
    assert done.returncode == 1 and "550 5.1.1 no such mailbox" in done.stdout + done.stderr


def test_accounts(node):
    node.cli("account", "add", "new@example.com", "--password-stdin", stdin="secret-enough-1\n", check=False)
    names = [a["name"] for a in node.api("GET", "/v1/accounts")["accounts"]]
    if "new@example.com" not in names:
        node.add_account("new@example.com", "secret-enough-1")
    node.smtp("submissions", "new@example.com", "secret-enough-1").quit()
    node.api("POST", "/v1/accounts/passwd", {"name": "new@example.com", "password": "another-one-2"})
    with pytest.raises(smtplib.SMTPAuthenticationError):
        node.smtp("submissions", "new@example.com", "secret-enough-1")
    node.smtp("submissions", "new@example.com", "another-one-2").quit()
    node.api("POST", "/v1/accounts/remove", {"name": "new@example.com"})
    with pytest.raises(smtplib.SMTPAuthenticationError):
        node.smtp("submissions", "new@example.com", "another-one-2")
    stored = (node.folder / "data/accounts").read_text()
    assert "another-one-2" not in stored


# ---- metrics and the API -----------------------------------------------------------------------------------


def test_promtool_accepts_the_metrics(node, sink):
    node.send("r@example.net")
    node.wait_empty()
    text = node.metrics()
    assert "turnpike_" in text
    if not shutil.which("promtool"):
        pytest.skip("no promtool")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_health(node):
    assert node.http("GET", "/healthz")[0] == 200
    assert node.http("GET", "/readyz")[0] == 200


def resolve(document, schema):
    while "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        schema = document["components"]["schemas"][name]
    return schema


def nullable(schema):
    """OpenAPI 3.0's `nullable` in JSON Schema's words, so that jsonschema can check answers."""
    if isinstance(schema, list):
        return [nullable(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    out = {k: nullable(v) for k, v in schema.items() if k != "nullable"}
    if schema.get("nullable") and isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
        if "enum" in out:
            out["enum"] = out["enum"] + [None]
    return out


def test_answers_match_the_openapi_file(node, hop, deferred):
    jsonschema = pytest.importorskip("jsonschema")
    node.config["sources"] = [{"address": "127.0.0.1", "ehlo": "relay.example.com"}]
    node.write_config()
    node.reload()
    wait_until("the source is known", lambda: node.http("GET", "/v1/ip/check")[0] == 200)
    document = json.loads((ROOT / "docs/openapi.json").read_text())
    assert node.api("GET", "/v1/openapi.json") == document
    checked = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            # which go on, want a login, or a message that is held
            if method != "get" or path in ("/v1/trace", "/v1/session", "/v1/held/messages/{id}"):
                continue
            content = operation["responses"]["200"].get("content", {}).get("application/json")
            if content is None:
                continue
            url = path.replace("{id}", deferred[0])
            if path == "/v1/track":
                url += f"?id={deferred[0]}"
            elif path == "/v1/limits":
                url += "?account=relay@example.com"
            elif path == "/v1/tenants/report":
                url += "?tenant=example.com"
            elif any(p["in"] == "query" and p.get("required") for p in operation.get("parameters", [])):
                continue # asked for elsewhere, with names that there are
            status, text = node.http("GET", url)
            if status == 501 and json.loads(text)["error"]["code"] == "not_here":
                continue # of a cluster's node
            assert status == 200, (url, status, text)
            answer = json.loads(text)
            schema = {**content["schema"], "components": document["components"]}
            jsonschema.validate(answer, nullable(schema))
            checked += 1
    assert checked >= 8
    for path in document["paths"]:
        url = path.replace("{id}", deferred[0])
        assert node.http("PATCH", url)[0] == 405, path
    assert node.http("GET", "/v1/no-such-thing")[0] == 404


@pytest.mark.parametrize("path, body, expected", [
    ("/v1/queue/../../etc/passwd", None, 404), ("/v1/queue/messages/..%2f..%2fx", None, (400, 404)),
    ("/v1/queue?limit=99999999999", None, 400), ("/v1/queue?sender=a%0d%0ab", None, (200, 400)),
    ("/v1/accounts/add", {"name": "a\r\nb@example.com", "password": "x" * 12}, 400),
    ("/v1/queue/retry", {"unknown": 1}, 400), ("/v1/queue/retry", {}, 400)])
def test_api_refuses_bad_requests(node, path, body, expected):
    status, _ = node.http("POST" if body is not None else "GET", path, body)
    assert status in (expected if isinstance(expected, tuple) else (expected,))


def test_api_bounds_bodies(node):
    connection = UnixConnection(node.socket)
    connection.putrequest("POST", "/v1/queue/retry")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(1 << 30))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413


def test_api_over_tcp_needs_its_token(make_node, folder):
    import http.client
    from harness.util import free_port
    port = free_port()
    (folder / "token").write_text("0123456789abcdef0123456789abcdef\n")
    os.chmod(folder / "token", 0o600)
    node = make_node({"admin": {"listen": f"127.0.0.1:{port}", "token_file": str(folder / "token")}})

    def status(**headers):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/v1/status", headers=headers)
        return connection.getresponse().status

    assert status() == 401
    assert status(Authorization="Bearer wrong") == 401
    assert status(Authorization="Bearer 0123456789abcdef0123456789abcdef") == 200
    assert status(Authorization="Bearer 0123456789abcdef0123456789abcdef", Host="evil.example") in (400, 403, 421)
    assert node.process.poll() is None


# ---- configuration errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("change, words", [
    (lambda c: c.replace("hostname:", "hostnme:"), ["hostnme", "hostname"]),
    (lambda c: c.replace("kind: relay", "kind: realy"), ["realy"]),
    (lambda c: c.replace("127.0.0.1:", "127.0.0.999:", 1), ["127.0.0.999"]),
    (lambda c: c + "\n  bad: [indent\n", ["node.yaml:"]),
    (lambda c: c.replace("127.0.0.0/8", "0.0.0.0/0", 1), ["open relay"]),
    (lambda c: c.replace("retry:", "retry: soon\n  other:"), ["soon"]),
    (lambda c: "", ["is empty"]),
    (lambda c: c.replace("certificate: ", "certificate: /nonexistent"), ["/nonexistent"]),
])
def test_configuration_errors_name_file_line_and_reason(make_node, change, words):
    node = make_node(start=False)
    node.config_path.write_text(change(node.config_path.read_text()))
    done = subprocess.run([NODE, "--check", node.config_path], capture_output=True, text=True, timeout=30)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "node.yaml:" in said, said
    for word in words:
        assert word in said, said
    started = subprocess.run([NODE, "--config", node.config_path], capture_output=True, text=True, timeout=30)
    assert started.returncode != 0
    assert words[0] in started.stdout + started.stderr


def test_example_configuration_is_valid():
    """Apart from the files that it names, which are an operator's own."""
    done = subprocess.run([NODE, "--check", ROOT / "deploy/turnpike.example.yaml"], capture_output=True, text=True)
    for line in (done.stdout + done.stderr).splitlines():
        assert "unknown key" not in line and "expected" not in line, line


def test_port_in_use_is_said(make_node):
    one = make_node()
    two = make_node(start=False)
    two.config["listeners"][0]["address"] = f"127.0.0.1:{one.ports['submission']}"
    two.write_config()
    two.start(wait=False)
    code = two.process.wait(20)
    two.expected_exit = code
    assert code != 0
    assert str(one.ports["submission"]) in two.log_text()


def test_policy_check_needs_no_node(folder):
    """The example of docs/policy.md is good; every fault of a wrong one is told with its line."""
    command = [BUILD / "cli/turnpike", "policy", "check"]
    example = folder / "example.yaml"
    example.write_text((ROOT / "docs/policy.md").read_text().split("```yaml\n", 1)[1].split("```", 1)[0])
    done = subprocess.run([*command, example], capture_output=True, text=True, timeout=30)
    good, level = done.stderr.splitlines()
    assert (done.returncode, good) == (0, f"{example}: good")
    assert level == f"{example}: rules needs feature level 2: `turnpike cluster status` says what is in force"
    wrong = folder / "wrong.yaml"
    wrong.write_text("limits:\n  - {name: hour, for: account, count: 200, window: 1s}\nvotters: 3\n")
    done = subprocess.run([*command, wrong], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert f"{wrong}:2: limits[0].window" in done.stderr and f'{wrong}:3: unknown key "votters"' in done.stderr
    missing = subprocess.run([*command, folder / "none.yaml"], capture_output=True, text=True, timeout=30)
    assert missing.returncode == 1 and "none.yaml" in missing.stderr


def test_admin_api_for_a_named_host(make_node, folder):
    """A Prometheus elsewhere asks by a name of the configuration and sees the metrics without the token, and no more."""
    import http.client
    from harness.util import free_port
    port = free_port()
    (folder / "token").write_text("0123456789abcdef0123456789abcdef\n")
    os.chmod(folder / "token", 0o600)
    make_node({"admin": {"listen": f"0.0.0.0:{port}", "remote": True, "hosts": ["node.example.com"],
                         "token_file": str(folder / "token"), "open_metrics": True}})

    def ask(path, host):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", path, headers={"Host": f"{host}:{port}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    status, text = ask("/metrics", "node.example.com")
    assert status == 200 and "\nturnpike_cluster_member 0\n" in text
    assert ask("/metrics", "other.example.com")[0] == 421
    assert ask("/v1/status", "node.example.com")[0] == 401
