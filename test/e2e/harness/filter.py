"""A milter, of libmilter by way of pymilter: it does what orders.json in its folder says, and writes down what it was shown. A program of
its own, since libmilter has one filter in a process: `filter.py FOLDER SOCKET [KIND]`, where KIND is `all`, `headers` or `quiet`.

Orders: a stage's name ("connect" ... "eom") to a verdict, "body" words to verdicts under "words", and what is done at the end under "do"."""
import json
import pathlib
import sys
import time

import Milter
import milter

FOLDER = pathlib.Path(sys.argv[1])
VERDICTS = {"continue": Milter.CONTINUE, "accept": Milter.ACCEPT, "reject": Milter.REJECT, "tempfail": Milter.TEMPFAIL,
            "discard": Milter.DISCARD, "skip": getattr(Milter, "SKIP", Milter.CONTINUE)}
MACROS = ("i", "j", "_", "v", "{daemon_name}", "{client_addr}", "{client_name}", "{auth_type}", "{auth_authen}", "{mail_addr}",
          "{rcpt_addr}", "{tls_version}", "{cipher}")


class Filter(Milter.Base):
    def __init__(self):
        self.orders, self.seen = {}, None

    def obey(self, stage):
        order = self.orders.get(stage, "continue")
        if isinstance(order, list):  # [550, "5.7.1", "text", ...]
            self.setreply(str(order[0]), order[1] or None, *order[2:])
            return Milter.TEMPFAIL if order[0] < 500 else Milter.REJECT
        return VERDICTS[order]

    def connect(self, name, family, address):
        self.orders = json.loads((FOLDER / "orders.json").read_text())
        self.seen = {"connect": [name, address[0] if isinstance(address, tuple) else address], "rcpts": [], "headers": [], "body": 0}
        time.sleep(self.orders.get("sleep", 0))
        return self.obey("connect")

    def hello(self, name):
        self.seen["helo"] = name
        return self.obey("helo")

    def envfrom(self, sender, *args):
        self.seen.update(sender=sender, rcpts=[], headers=[], body=0, text="")
        return self.obey("mail")

    def envrcpt(self, to, *args):
        self.seen["rcpts"].append(to)
        return self.obey(f"rcpt {to}") if f"rcpt {to}" in self.orders else self.obey("rcpt")

    def data(self):
        return self.obey("data")

    def header(self, name, value):
        self.seen["headers"].append([name, value])
        return self.obey(f"header {name}")

    def eoh(self):
        return self.obey("eoh")

    def body(self, chunk):
        self.seen["body"] += len(chunk)
        self.seen["text"] += chunk[:200].decode("latin-1")
        return self.obey("body")

    def eom(self):
        self.seen["macros"] = {m: self.getsymval(m) for m in MACROS if self.getsymval(m)}
        with open(FOLDER / "seen.jsonl", "a") as f:
            f.write(json.dumps(self.seen) + "\n")
        for act, *args in self.orders.get("do", []):
            if act == "wait":
                time.sleep(args[0])
            else:
                getattr(self, act)(*args)
        for word, verdict in self.orders.get("words", {}).items():
            if word in self.seen["text"]:
                return VERDICTS[verdict]
        return self.obey("eom")

    def close(self):
        with open(FOLDER / "closed", "a") as f:
            f.write("closed\n")
        return Milter.CONTINUE


class Insisting(Filter):
    """As libmilter's own filters are, which do not look at what is offered: all that was registered for, or nothing."""

    def negotiate(self, opts):
        return super().negotiate(opts) if opts[0] & WANTED == WANTED else Milter.REJECT


class Quiet(Filter):
    """Answers nothing but the sender, recipients and the end; wants no greeting, and the blank behind the colon."""

    @Milter.noreply
    def connect(self, name, family, address):
        return super().connect(name, family, address)

    @Milter.nocallback
    def hello(self, name):
        pass

    @Milter.nocallback
    def data(self):
        pass

    @Milter.noreply
    def header(self, name, value):
        super().header(name, value)
        return Milter.CONTINUE

    @Milter.noreply
    def eoh(self):
        return Milter.CONTINUE

    @Milter.noreply
    def body(self, chunk):
        super().body(chunk)
        return Milter.CONTINUE


kind = sys.argv[3] if len(sys.argv) > 3 else "headers"
WANTED = milter.ADDHDRS | milter.CHGHDRS | milter.QUARANTINE
if kind == "all":
    WANTED |= milter.CHGBODY | milter.ADDRCPT | milter.DELRCPT | milter.CHGFROM
Milter.factory = {"quiet": Quiet, "all": Insisting, "headers": Filter}[kind]
Milter.set_flags(WANTED)
Milter.runmilter("filter", sys.argv[2], 30)
