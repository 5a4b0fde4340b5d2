"""What is written is read again; what no checker could judge is refused."""
import json
import threading

import pytest

from fault.check import check_path
from fault.history import History, HistoryError, Writer, clock_ns, parse, read

META = {"version": 1, "workload": "quota", "faults": [], "nodes": ["n1"]}


def written(path, *lines):
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


def line(i, f="note", ty="ok", **more):
    return {"i": i, "t": i, "p": "p", "ty": ty, "f": f, "v": {}, **more}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "h.jsonl"
    before = clock_ns()
    with Writer(path) as writer:
        writer.observe("run", "meta", META)
        op = writer.invoke("c", "submit", "n1", "a@x", {"id": "m1", "rcpts": ["ä@x"]})
        writer.ok(op, {"rcpts": ["ä@x"]}, "250 2.0.0 Ok", n="n2")
        lost = writer.invoke("d", "freeze", "n1", "a@x", {"mode": "hold"})
        assert read(path).operations("freeze")[0].outcome == "info", "it is on disk at once, and without an end"
        writer.info(lost, {}, "timed out")
        writer.observe("sink", "deliver", {"id": "m1", "rcpt": "ä@x"}, t=before)
    history = read(path)
    op = history.operations("submit")[0]
    assert (op.outcome, op.n, op.k, op.got, op.end.reply) == ("ok", "n2", "a@x", {"rcpts": ["ä@x"]}, "250 2.0.0 Ok")
    assert before <= op.t0 <= op.t1 <= clock_ns()
    assert history.events[0].f == "deliver" and history.observed("deliver")[0].t == before
    assert history.operations("freeze")[0].t1 is None and not history.truncated and not history.complete


def test_many_threads(tmp_path):
    path = tmp_path / "h.jsonl"
    with Writer(path) as writer:
        writer.observe("run", "meta", META)

        def work(name):
            for number in range(200):
                writer.ok(writer.invoke(name, "read", "n1", "policy"), {"value": number})
        threads = [threading.Thread(target=work, args=(f"p{i}",)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    history = read(path)
    assert [event.t for event in history.events] == sorted(event.t for event in history.events)
    assert [event.i for event in history.events] == list(range(1 + 8 * 400)) and len(history.ops) == 1600


def test_a_last_line_that_was_cut(tmp_path):
    path = written(tmp_path / "h", line(0, "meta", v=META), line(1), '{"i":2,"t":')
    history = read(path)
    assert history.truncated and len(history.events) == 2


BAD_LINES = {
    "not JSON": "{\n", "an array": "[]\n", "no p": {"i": 1, "t": 1, "ty": "ok", "f": "note"}, "unknown f": line(1, "sumbit"),
    "unknown type": line(1, ty="done"), "unknown field": line(1, x=1), "t is a text": line(1, t="1"), "i is negative": line(-1),
    "seen, not done": line(1, "deliver", "invoke", v={"id": "m", "rcpt": "r"}), "no rcpt": line(1, "deliver", v={"id": "m"}),
    "no k": line(1, "read", "invoke"), "no id": line(1, "submit", "invoke", k="a", v={"rcpts": []}),
    "rcpts is a text": line(1, "submit", "invoke", k="a", v={"id": "m", "rcpts": "r"}), "v is a list": line(1, v=[]),
    "unknown phase": line(1, "phase", v={"phase": "tea"}), "no node": line(1, "crash", v={"caused": True}),
    "unknown action": line(1, "nemesis", "invoke", v={"fault": "x", "action": "go", "targets": []}),
    "an end without a begin": line(1, "read", k="policy", v={"value": 1}), "the same i": line(0),
    "a second meta": line(1, "meta", v=META), "another version": line(1, "meta", v={**META, "version": 2}),
}


@pytest.mark.parametrize("what", BAD_LINES)
def test_what_no_checker_could_judge(tmp_path, what):
    path = written(tmp_path / "h", line(0, "meta", v=META), BAD_LINES[what])
    with pytest.raises(HistoryError):
        read(path)
    history, verdicts = check_path(path)
    assert history is None and [v.outcome for v in verdicts] == ["inconclusive"]


def test_a_process_does_one_thing_at_a_time(tmp_path):
    with pytest.raises(HistoryError, match="begins read before"):
        read(written(tmp_path / "h", line(0, "meta", v=META), line(1, "read", "invoke", k="policy"), line(2, "read", "invoke", k="policy")))


def test_no_meta():
    with pytest.raises(HistoryError, match="0 events of meta"):
        History([parse(json.dumps(line(1)))])


def test_the_writer_refuses_too(tmp_path):
    with Writer(tmp_path / "h") as writer, pytest.raises(HistoryError):
        writer.invoke("p", "submit", "n1", "a", {"rcpts": []})
