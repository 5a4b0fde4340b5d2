"""What the history knows after the node died before the history was on disk."""
import pytest

from harness.util import wait_until


@pytest.mark.parametrize("life", range(3))
def test_kill_9_right_after_delivery_leaves_whole_rows(make_node, sink, life):
    """The spool has the end, the history's file not yet: the next start tells it with the addresses."""
    node = make_node()
    id = node.send(["first@example.net", "second@example.net"], sender="user@example.com",
                   text="Subject: x\r\nMessage-ID: <history@example.com>\r\n\r\nx\r\n")
    node.wait_empty() # the ends are in the spool, or at worst about to be: it shows them before they are
    wait_until("both arrived", lambda: len(sink.recipients()) >= 2)
    node.kill()
    node.restart()
    node.wait_empty() # if the kill came before the sync they go once more

    def tracked():
        return [r for name in ("first", "second") for r in node.track(recipient=f"{name}@example.net")]
    rows = wait_until("the history has both", lambda: len(r := tracked()) == 2 and r)  # it is a thread of its own
    assert [r["recipient"] for r in rows] == ["first@example.net", "second@example.net"]
    assert {r["state"] for r in rows} == {"delivered"}
    assert {r["id"] for r in rows} == {id}
    assert {r["sender"] for r in rows} == {"user@example.com"}
    assert len(node.track(message_id="<history@example.com>")) == 2
    assert "first@example.net" in node.cli("track", "--recipient", "first@example.net").stdout
    node.stop() # an orderly stop adds nothing to it
    node.restart()
    assert len(node.track(id=id)) == 2


def test_each_step_is_told(make_node, sink):
    """What was said at each attempt, who held it and who let it go, from the first to the last."""
    sink.hooks["rcpt"] = lambda session, argument: "452 4.3.1 the disk is full"
    node = make_node()
    id = node.send("r@example.net", sender="user@example.com")

    def row():
        return next(iter(node.track(id=id)), {"state": "", "steps": []})
    step = wait_until("an attempt is told", lambda: row()["steps"])[0]
    assert (step["number"], step["what"], step["attempt"]) == (1, "deferred", 1)
    assert step["reply"] == "452 4.3.1 the disk is full" and step["mx_ip"] == "127.0.0.1"
    assert step["next_ms"] > step["at_ms"]
    node.cli("queue", "hold", id) # one in flight is held when it comes back
    wait_until("it is held", lambda: row()["state"] == "held")
    del sink.hooks["rcpt"]
    node.cli("queue", "release", id)
    wait_until("it ended", lambda: row()["state"] == "delivered")
    steps = row()["steps"]
    assert [s["what"] for s in steps if s["what"] != "deferred"] == ["held", "released"]
    held, released = (next(s for s in steps if s["what"] == what) for what in ("held", "released"))
    assert held["who"].startswith("unix:uid=") and released["who"].startswith("unix:uid=")
    assert steps[-1] == released and [s["number"] for s in steps] == list(range(1, len(steps) + 1))
    assert "steps" not in node.track(recipient="r@example.net")[0] # unless asked for
    text = node.cli("track", id).stdout
    assert "deferred (attempt 1): 452 4.3.1 the disk is full" in text, text
    assert "released by unix:uid=" in text, text


def test_a_message_that_ends_is_never_out_of_sight(make_node, sink):
    """Between the queue and the history: whoever asks all the time finds it each time."""
    node = make_node()
    for number in range(20):
        id = node.send(f"r{number}@example.net")
        wait_until("it is there", lambda: node.track(id=id))
        wait_until("it ended", lambda: node.track(id=id)[0]["state"] == "delivered")
        assert len(node.track(id=id)) == 1
