"""What is recorded when an operator, a full disk or a restart comes between an attempt and its end."""
import time

import pytest

from harness.util import free_port, wait_until


def test_hold_of_mail_in_flight_outlives_a_restart(make_node, sink):
    sink.hooks["rcpt"] = lambda s, a: "451 4.7.1 later"
    sink.held.add("rcpt")
    node = make_node({"delivery": {"retry": ["1h"]}})
    node.send("x@example.net")
    wait_until("it is under way", lambda: [r for r in node.queue() if r["state"] == "active"])
    node.api("POST", "/v1/queue/hold", {"all": True})
    sink.held.clear()
    wait_until("it is held when it comes back", lambda: [r for r in node.queue() if r["state"] == "held"])
    sink.hooks.clear()
    node.stop()
    node.restart()
    assert [r["state"] for r in node.queue()] == ["held"]
    node.api("POST", "/v1/queue/release", {"all": True})
    wait_until("released, it is delivered", lambda: sink.recipients() == ["x@example.net"])


def test_act_on_all_sites_of_one_message(make_node, dns):
    """More of them than fit into any table of a moment ago."""
    node = make_node({"delivery": {"retry": ["1h"]}, "routes": [{"domain": "*", "via": f":{free_port()}"}]})
    for n in range(300):
        dns.mail_domain(f"d{n}.example.net", "127.0.0.1")
    node.send([f"x@d{n}.example.net" for n in range(300)])
    wait_until("all are queued", lambda: len(node.queue()) == 300)
    wait_until("none is in flight", lambda: all(r["state"] == "queued" for r in node.queue()))
    assert node.api("POST", "/v1/queue/hold", {"all": True})["done"] == 300
    assert {r["state"] for r in node.queue()} == {"held"}
    result = node.api("POST", "/v1/queue/release", {"recipient": "x@d7.example.net"})
    assert result["done"] == 1
    assert sum(r["state"] == "held" for r in node.queue()) == 299


def test_act_on_part_of_what_is_in_flight_leaves_the_rest(make_node, sink):
    sink.held.add("dot")
    node = make_node()
    node.send(["a@example.net", "b@example.net"])
    wait_until("both are under way", lambda: [r["state"] for r in node.queue()] == ["active"] * 2)
    result = node.api("POST", "/v1/queue/hold", {"recipient": "a@example.net"})
    assert (result["done"], result["busy"]) == (0, 1)
    sink.held.clear()
    node.wait_empty()
    assert sorted(sink.recipients()) == ["a@example.net", "b@example.net"]


def test_success_report_that_cannot_be_written_does_not_send_again(make_node, sink, folder):
    """The next hop has it: with the disk full the report is lost, not the sender's good name."""
    sink.shut()
    node = make_node({"delivery": {"retry": ["1s"]}})
    with node.smtp() as client:
        client.mail("user@example.com")
        client.rcpt("x@example.net", ["NOTIFY=SUCCESS,FAILURE"])
        client.rcpt("bad@example.net", ["NOTIFY=SUCCESS,FAILURE"])
        assert client.data("Subject: x\r\n\r\nx\r\n")[0] == 250
    node.stop()
    node.config["spool"] = {"min_free": "1024G"} # more than there is
    node.write_config()
    sink.hooks["rcpt"] = lambda s, a: "550 5.1.1 no such user" if "bad" in a else None
    sink.open()
    node.process = None
    node.start(wait=False)
    wait_until("it is delivered", lambda: sink.recipients() == ["x@example.net"])
    wait_until("the report fails", lambda: "no report about" in node.log_text())
    time.sleep(3)
    assert sink.recipients() == ["x@example.net"]
    left = node.queue()
    assert [r["recipient"] for r in left] == ["bad@example.net"], "what failed waits for its report"
    node.api("POST", "/v1/queue/retry", {"all": True})
    time.sleep(2)
    assert sink.recipients() == ["x@example.net"]
    assert [r["recipient"] for r in node.queue()] == ["bad@example.net"]
