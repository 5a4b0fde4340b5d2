"""The dashboard as a browser has it: a headless Chromium logs in, looks, freezes, thaws, releases and tracks, on whichever
node it gets to. TURNPIKE_SCREENSHOTS=DIR keeps pictures of every view; axe-core looks at each of them, where there is one:
TURNPIKE_AXE=1 has npm fetch it."""
import json
import os
import smtplib
import socket
import ssl
import urllib.error
import urllib.request

import pytest

from harness.browser import Browser, missing
from harness.npm import npm_modules, npm_there
from harness.quota import apply_policy, await_applied
from harness.util import free_port, wait_until

TOKEN = "0123456789abcdef-secret"
PASSWORD = "correct-horse-battery"
HOST = "relay.example.com"
EVIL = "<img src=x onerror=document.title='owned'>"


@pytest.fixture
def two(folder, certificate, make_cluster):
    """Two nodes with the dashboard at a port each, one name for both, and an operator for each role."""
    token = folder / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    cluster = make_cluster(count=2, form=False)
    for node in cluster.nodes:
        node.admin_port = free_port()
        node.config["admin"].update({"listen": f"127.0.0.1:{node.admin_port}", "token_file": str(token), "tls": [
            {"certificate": str(certificate[0]), "key": str(certificate[1])}]})
        node.write_config()
    cluster.form()
    for name, role in (("anna", "admin"), ("paul", "postmaster"), ("vera", "viewer")):
        cluster.nodes[0].cli("operator", "add", name, "--role", role, "--password-stdin", stdin=PASSWORD + "\n")
    return cluster.nodes


@pytest.fixture
def browser():
    """Chromium, where there is one."""
    if missing():
        pytest.skip(missing())
    one = Browser(HOST)
    yield one
    one.close()


def send(node, to, subject="hello", sender="user@example.com", text="hello"):
    with smtplib.SMTP("127.0.0.1", node.ports["relay"], timeout=60) as client:
        client.sendmail(sender, [to], f"Subject: {subject}\r\nMessage-ID: <{to}>\r\n\r\n{text}\r\n")


def url(node, path="/"):
    return f"https://{HOST}:{node.admin_port}{path}"


def mail(nodes):
    """Something of everything: delivered by both, refused with hostile words, and held."""
    for i, node in enumerate(nodes):
        send(node, f"bob{i}@example.net")
    send(nodes[0], "gone@nowhere.test", EVIL)
    nodes[0].api("POST", "/v1/freeze", {"account": "relay@example.com", "mode": "hold", "reason": EVIL})
    send(nodes[0], "held@example.net", EVIL, text="it has text")


VIEWS = ("overview", "queue", "senders", "addresses", "frozen", "held", "events", "track", "operators")


class Look:
    """Each view is looked at as it is come to: a picture of it, and what axe-core finds that keeps people out."""

    def __init__(self, browser):
        self.browser = browser
        modules = npm_modules("axe-core@4") if os.environ.get("TURNPIKE_AXE") else npm_there("axe-core@4")
        assert modules or not os.environ.get("TURNPIKE_AXE"), "axe-core cannot be had: npm is not there, or reaches no registry"
        self.script = (modules / "axe-core" / "axe.min.js").read_text() if modules else None

    def at(self, name):
        self.browser.shot(name)
        width = self.browser.driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], f"{name}: something sticks out"
        if self.script is None:
            return
        self.browser.driver.execute_script(self.script)  # the driver's scripts are not the page's: its policy does not hold for them
        found = self.browser.driver.execute_async_script(
            "axe.run(document, {resultTypes: ['violations']}).then(arguments[arguments.length - 1])")
        assert len(found["passes"]) > 10, "it has looked"
        faults = [(v["impact"], v["id"], [n["html"][:120] for n in v["nodes"]][:3]) for v in found["violations"] if v["impact"] != "minor"]
        assert faults == [], f"{name}: {faults}"


def thaw_and_freeze(first, second, browser, look):
    """By another node of the same name, with the same login."""
    browser.open(url(second, "/#frozen"))
    browser.shows("relay@example.com")
    browser.shows(EVIL)
    look.at("frozen")
    browser.press("button", "Thaw")
    browser.one("#ask-yes", "Thaw")
    look.at("thaw")
    browser.press("#ask-yes", "Thaw")
    browser.shows("Nobody is frozen")
    assert first.api("GET", "/v1/frozen")["frozen"] == []
    browser.press("#freeze-new")
    browser.type("#ask-body input[required]", "eve@example.com")
    look.at("freeze")
    browser.press("#ask-yes", "Freeze")
    browser.shows("2 nodes obey")
    frozen, = first.api("GET", "/v1/frozen")["frozen"]
    assert frozen["name"] == "eve@example.com" and frozen["who"].startswith("paul tcp:127.0.0.1:"), frozen


def release(first, browser, look, sink):
    """On the node that has it, after a look at it."""
    browser.open(url(first, "/#held"))
    browser.shows("held@example.net")
    look.at("held")
    browser.press("td a.mono")
    browser.shows("Why, and whose")
    browser.shows("it has text")
    look.at("held-message")
    browser.press("button", "Release")
    browser.one("#ask-yes", "Release")
    look.at("release")
    browser.press("#ask-yes", "Release")
    wait_until("what was released is delivered", lambda: [m for m in sink.messages if m.recipients == ["held@example.net"]])
    browser.go("Held")
    browser.shows("No mail is held")


def track(first, browser, look):
    """Whatever a message says is text."""
    said = first.cli("track", "--to", "gone@nowhere.test")
    link, = [line for line in said.stdout.splitlines() if line.startswith("https://")]
    browser.open(url(first))
    browser.open(link)  # support was sent it
    browser.shows("gone@nowhere.test")
    browser.shows("bounced")
    browser.go("Track")
    browser.type("input[name=recipient]", "gone@nowhere.test")
    browser.enter()
    browser.shows("bounced")
    look.at("track")
    browser.type("input[name=recipient]", "held@example.net")
    browser.enter()
    browser.shows("released")


def events(first, second, browser, look):
    """They come by themselves, also after the node that sends them was away."""
    browser.keys("7")
    browser.shows("As they happen")
    browser.shows("bob1@example.net")
    browser.one("#live", "live")
    send(second, "live@example.net")
    browser.shows("live@example.net")
    look.at("events")
    first.stop()
    browser.one("#live", "connecting")
    first.start()
    first.wait_ready()
    browser.one("#live", "live")
    for number, node in enumerate((first, second)):
        send(node, f"afterwards{number}@example.net")
        browser.shows(f"afterwards{number}@example.net")
    look.at("events-again")


def views(node, browser, names):
    for name in names:
        browser.open(url(node, f"/#{name}"))
        browser.one("#nav a[aria-current]")
        browser.one("#main h1")
        yield name


def everything_as_an_admin(node, browser, look):
    """On a small screen, and dark."""
    browser.size(390, 840)
    browser.emulate("dark")
    browser.open(url(node))
    browser.log_in("anna", PASSWORD)
    browser.one("#main h1")
    for name in views(node, browser, VIEWS):
        look.at(f"{name}-small")
    browser.press("#main button", "New operator")
    look.at("operator-small")
    browser.press("#ask-no")
    browser.press("#help-open")
    look.at("keys-small")
    browser.press("#help button")
    browser.press("#logout")


def looking_as_a_viewer(node, browser):
    browser.size(1400, 1000)
    browser.open(url(node))
    browser.log_in("vera", PASSWORD)
    browser.one("#main h1")
    browser.shows("vera · viewer")
    for name in views(node, browser, VIEWS[:-1]):
        buttons = {b.text for b in browser.all("#main button")} - {""}
        assert buttons <= {"Last hour", "Last day", "Pause", "Track"}, f"{name}: {buttons}"
    assert "Operators" not in browser.text()


@pytest.mark.slow(20)
def test_a_postmasters_round(two, sink, browser):
    first, second = two
    look = Look(browser)
    mail(two)
    browser.open(url(first))
    browser.log_in("paul", "wrong-horse-battery")
    browser.shows("name or password are wrong")
    look.at("login")
    browser.log_in("paul", PASSWORD)
    browser.shows("What is wrong")
    browser.shows("two nodes vote")
    browser.shows("node-b")
    assert "Operators" not in browser.text(), "an admin's alone"
    look.at("overview")
    thaw_and_freeze(first, second, browser, look)
    release(first, browser, look, sink)
    track(first, browser, look)
    events(first, second, browser, look)
    assert "owned" not in browser.driver.title
    assert browser.complaints() == []
    browser.press("#logout")
    browser.one("#login-password")
    browser.open(url(second))
    browser.one("#login-password")
    assert "relay@example.com" not in browser.text()
    everything_as_an_admin(first, browser, look)
    looking_as_a_viewer(second, browser)


def ask(node, path, body=None, cookie=None, headers=None):
    """(status, headers, body) over TLS, without a browser."""
    context = ssl.create_default_context(cafile=node.certificate[0])
    context.check_hostname = False
    request = urllib.request.Request(f"https://127.0.0.1:{node.admin_port}{path}",
                                     data=None if body is None else json.dumps(body).encode(), headers=headers or {})
    if body is not None:
        request.add_header("Content-Type", "application/json")
    if cookie:
        request.add_header("Cookie", cookie)
    try:
        with urllib.request.urlopen(request, context=context, timeout=60) as reply:
            return reply.status, reply.headers, reply.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read().decode()


def log_in(node, **who):
    status, headers, text = ask(node, "/v1/login", who)
    assert status == 200, text
    return headers["Set-Cookie"].partition(";")[0], json.loads(text)["csrf"]


@pytest.mark.sanitizer
def test_a_login_holds_on_every_node(two):
    """And so do a logout, another role, another password; guessing at one node blocks at the other."""
    first, second = two
    cookie, csrf = log_in(first, name="paul", password=PASSWORD)
    wait_until("the other node knows", lambda: ask(second, "/v1/session", cookie=cookie)[0] == 200)
    status, _, text = ask(second, "/v1/freeze", {"account": "eve@example.com"}, cookie, {"X-CSRF-Token": csrf})
    assert status == 200, text
    assert ask(second, "/v1/freeze", {"account": "eve@example.com"}, cookie)[0] == 403
    assert ask(second, "/v1/operators", cookie=cookie)[0] == 403
    audit = json.dumps(first.api("GET", "/v1/audit"))
    assert "paul tcp:127.0.0.1:" in audit and "@node-b" in audit and "login of operator paul" in audit
    first.cli("operator", "role", "paul", "admin")
    wait_until("the role is known", lambda: ask(second, "/v1/operators", cookie=cookie)[0] == 200)
    assert ask(second, "/v1/logout", {}, cookie, {"X-CSRF-Token": csrf})[0] == 200
    wait_until("he is out", lambda: ask(first, "/v1/session", cookie=cookie)[0] == 401)
    cookie, csrf = log_in(second, name="vera", password=PASSWORD)
    first.cli("operator", "passwd", "vera", "--password-stdin", stdin="another-horse-battery\n")
    wait_until("the old one's logins are over", lambda: ask(second, "/v1/session", cookie=cookie)[0] == 401)
    assert "vera" in first.cli("operator", "list").stdout
    series = first.api("GET", "/v1/series?window=day")
    assert series["missing"] == [] and len(series["received"]) == 144
    apply_policy(first, "auth_guard: {failures_per_account: 4, block: 1m, window: 10m}\n")
    await_applied(two)
    for _ in range(20):
        if ask(first, "/v1/login", {"name": "anna", "password": "guess"})[0] == 429:
            break
    else:
        pytest.fail("guessing goes on")
    wait_until("the other node blocks, too", lambda: ask(second, "/v1/login", {"name": "anna", "password": PASSWORD})[0] == 429)
    with socket.create_connection(("127.0.0.1", first.admin_port), 30) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP/1.1" not in plain.recv(4096), "nothing is said without TLS"
    for node in two:
        assert PASSWORD not in node.log_text() and cookie.partition("=")[2] not in node.log_text()
