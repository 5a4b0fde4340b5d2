"""The page and the JSON of a run: whole, readable by themselves, and showing what was found."""
import html.parser
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

import bad
from fault import report
from fault.check import INCONCLUSIVE, Verdict, check
from world import World


class Tags(html.parser.HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.broken = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.broken.append(tag)


def picture(page):
    return ElementTree.fromstring(re.search(r"<svg.*</svg>", page, re.S).group())


@pytest.mark.parametrize("workload", ["quota", "freeze"])
def test_a_page_of_a_good_run(tmp_path, workload):
    world = World(3, workload)
    history = world.history()
    verdicts = check(history)
    page = report.write(history, verdicts, tmp_path).read_text("utf-8")
    tags = Tags(page)
    assert not tags.broken and not tags.open
    assert not re.search(r'(?:src|href)=|<script|url\(|@import', page), "it must not need anything else"
    shown = "".join(picture(page).itertext())
    for words in ("kill-random-loop: n2", "partition-one: n3", "leader", "latency of", "answers", "accepted", "heal"):
        assert words in shown
    data = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert data["outcome"] == "pass" and [v["invariant"] for v in data["verdicts"]] == [v.invariant for v in verdicts]
    assert [fault["fault"] for fault in data["faults"]] == ["kill-random-loop", "partition-one"]
    accepted = sum(row.get("accepted", 0) for row in data["answers"])
    assert accepted == sum(op.outcome == "ok" for op in history.operations("submit"))
    assert sum(row.get("limit", 0) for row in data["answers"]) > 50 and data["freezes"] and len(data["leaders"]) > 2
    assert {row["max"] >= row["median"] > 0 for rows in data["latency_ms"].values() for row in rows} == {True}


def test_a_page_of_a_bad_run(tmp_path):
    history = bad.BAD["I3"][0]()
    verdicts = check(history)
    page = report.write(history, verdicts, tmp_path).read_text("utf-8")
    assert 'class="fail">fail' in page and "events</summary>" in page
    lines = [line for line in picture(page).iter("{http://www.w3.org/2000/svg}line") if line.get("stroke") == "#d22"]
    assert lines, "the moment of the violation is marked"
    data = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert next(v for v in data["verdicts"] if v["invariant"] == "I3")["evidence"]


def test_nothing_from_the_history_becomes_markup(tmp_path):
    world = World(3, "quota", seconds=12)
    for event in world.events:
        if event.f == "nemesis":
            event.v["fault"] = "<script>x</script>"
        if event.f == "leader":
            event.v["leader"] = "<b>&"
    world.events[0].v["workload"] = "<img src=x>"
    history = world.history()
    page = report.write(history, [Verdict("I1", "fail", "<i>why", history.events[:3])], tmp_path).read_text("utf-8")
    assert not Tags(page).broken and not {tag for tag, _ in Tags(page).seen} & {"script", "img", "i"}
    picture(page)


def test_a_history_that_cannot_be_read(tmp_path):
    page = report.write(None, [Verdict("run", INCONCLUSIVE, "no")], tmp_path).read_text("utf-8")
    assert "cannot be read" in page and json.loads((tmp_path / "report.json").read_text())["outcome"] == "inconclusive"


def test_an_empty_run():
    history = bad.Tale().history()
    assert "<svg" in report.as_html(history, check(history)) and report.as_data(history, [])["answers"] == []
