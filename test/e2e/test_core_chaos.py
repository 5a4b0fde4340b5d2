"""Load, next hops that fail in every way, and reloads, stops and kills in the middle: each recipient ends once."""
import random
import re
import time

import pytest

from harness.sink import CLOSE, RESET
from harness.util import wait_until

MESSAGES = 3000


def awkward(seed):
    """Answers of a next hop that has a bad day. Bounces are final for a recipient, so they go by its name."""
    dice = random.Random(seed)

    def rcpt(session, argument):
        number = int(re.search(r"r(\d+)@", argument).group(1)) if "r" in argument and "@example.net" in argument else 0
        if number % 20 == 7:
            return "550 5.1.1 no such user"
        return "451 4.7.1 later" if dice.random() < 0.1 else None

    def sometimes(chance, reply):
        return lambda session, argument: reply if dice.random() < chance else None

    return {"rcpt": rcpt, "banner": sometimes(0.05, "421 4.3.2 busy"), "data": sometimes(0.02, CLOSE),
            "mail": sometimes(0.03, "421 4.3.2 bye"), "ehlo": sometimes(0.02, RESET),
            "dot": sometimes(0.03, "452 4.3.1 no room")}


def ids(message):
    return re.findall(r"(?im)^Message-ID: *(<[^>]+>)", message.content.decode("utf-8", "replace"))


@pytest.mark.slow
@pytest.mark.sanitizer
@pytest.mark.parametrize("how", ["reload", "stop", "kill"])
def test_each_recipient_ends_once(make_node, make_sink, dns, how):
    hop, home = make_sink(), make_sink("127.0.0.2")
    dns.mail_domain("example.net", "127.0.0.1")
    dns.mail_domain("example.com", "127.0.0.2")
    hop.hooks.update(awkward(how))
    node = make_node({"delivery": {"retry": ["1s"]}})
    acks = node.folder / "acks"
    load = node.bench("--messages", MESSAGES, "--sessions", 50, "--size", 3000, "--to", "r{n}@example.net",
                      "--from", "s{n%7}@example.com", "--ack-log", acks, "--give-up", 20)

    def acknowledged():
        return acks.read_text().count("\n") if acks.exists() else 0
    for turn in range(4):
        had = acknowledged()
        wait_until("mail is taken", lambda: acknowledged() >= had + 30 or load.poll() is not None)
        time.sleep(0.3)
        if how == "reload":
            node.reload()
        elif load.poll() is None or turn < 2:
            if how == "stop":
                node.stop()
                node.check_clean()
            else:
                node.kill()
            node.restart()
    load.communicate()
    wait_until("the acknowledged are known", lambda: acks.exists())
    known = set(acks.read_text().split())
    hop.hooks["rcpt"] = lambda s, a: "550 5.1.1 no such user" if int(re.search(r"r(\d+)@", a).group(1)) % 20 == 7 else None
    node.wait_empty(120)
    wait_until("all reports are home", lambda: node.queue_length() == 0)
    delivered = [ids(m)[0] for m in hop.messages]
    failed = [i for m in home.messages if m.sender == "" for i in ids(m)[1:]]  # the first is the report's own
    assert len(known) > 100
    assert not known - set(delivered) - set(failed), "lost"
    assert failed and not set(delivered) & set(failed)
    if how != "kill": # a kill may come between the next hop's 250 and its record
        assert len(delivered) == len(set(delivered)), "sent twice"
        assert len(failed) == len(set(failed)), "reported twice"
