"""A run on one page: what was broken when, who led, how long clients waited, what they were answered, and the verdicts.

One HTML file without scripts and without anything from elsewhere, and the same as JSON.
"""
import html
import json
import math
import pathlib
import statistics

from .check import overall
from .check.facts import Facts

WIDTH, LEFT, RIGHT = 1180, 128, 12
BUCKETS = 150
LANE, GAP = 18, 14
MS = 1e6
SLOWEST_S = 20.0
COLOURS = ("#4477aa", "#dd8833", "#775599", "#449999", "#bb5588", "#887733", "#999999")
ANSWERS = {"accepted": "#228833", "limit": "#ccbb44", "frozen": "#66ccee", "4xx": "#ee8866", "5xx": "#aa3377",
           "unknown": "#888888", "broken off": "#444444"}
STYLE = """
:root { color-scheme: light dark }
body { font: 14px/1.45 system-ui, sans-serif; max-width: 1200px; margin: 1.5em auto; padding: 0 1em }
table { border-collapse: collapse; width: 100%; margin: 1em 0 }
td, th { text-align: left; padding: .3em .6em; vertical-align: top }
tr { border-bottom: 1px solid #8884 } code, pre { font: 12px/1.4 ui-monospace, monospace }
pre { overflow-x: auto; background: #8881; padding: .6em }
.pass { color: #228833 } .fail { color: #d22 } .inconclusive { color: #b80 }
b.pass, b.fail, b.inconclusive { text-transform: uppercase }
svg { width: 100%; height: auto } svg text { fill: currentColor; font-size: 11px }
"""


def answer_of(op):
    reply = (op.end.reply or "") if op.end is not None else ""
    if op.outcome == "ok":
        return "accepted"
    if op.outcome == "info":
        return "unknown"
    if reply.startswith("450 4.7.1 Limit"):
        return "limit"
    if reply.startswith(("550 5.7.1", "535 5.7.13", "450 4.7.1")):
        return "frozen"
    return "5xx" if reply.startswith("5") else "4xx" if reply.startswith("4") else "broken off"


def began(op):
    return op.got.get("begin_ns") or op.t0


class Series:
    """What is drawn, in numbers: by buckets of time since the load began."""

    def __init__(self, history):
        self.facts = Facts(history)
        first, last = history.span
        self.begin = min(history.phase_at("load") or first, last)
        # What comes after the queues were drained says nothing about time.
        self.end = max(history.phase_at("collect") or last, self.begin + 1)
        self.step = (self.end - self.begin) / BUCKETS
        self.answers = [dict.fromkeys(ANSWERS, 0) for _ in range(BUCKETS)]
        waited = {}
        for op in history.operations("submit"):
            at = self.bucket(began(op))
            if at is None:
                continue
            self.answers[at][answer_of(op)] += 1
            if op.outcome == "ok":
                waited.setdefault((op.n, at), []).append((op.t1 - began(op)) / MS)
        self.waited = {}
        for (node, at), times in sorted(waited.items(), key=str):
            self.waited.setdefault(node, []).append((at, statistics.median(times), max(times)))
        self.leaders = self._leaders(history)

    def bucket(self, t):
        at = int((t - self.begin) / self.step)
        return at if 0 <= at < BUCKETS else None

    def seconds(self, t):
        return round((min(t, self.end) - self.begin) / 1e9, 3)

    def _leaders(self, history):
        events = history.observed("leader")
        return [(event.t, later, event.v["leader"], event.v.get("term"))
                for event, later in zip(events, [event.t for event in events[1:]] + [self.end])]

    def data(self):
        return {
            "bucket_s": self.step / 1e9,
            "faults": [{"fault": fault.name, "targets": sorted(fault.touched), "from_s": self.seconds(fault.begun),
                        "to_s": self.seconds(fault.lifted), "measured": fault.measured, "how": fault.how,
                        **{kind: sorted(nodes) for kind, nodes in fault.nodes.items() if nodes}}
                       for fault in self.facts.faults],
            "leaders": [{"from_s": self.seconds(begin), "to_s": self.seconds(end), "leader": name, "term": term}
                        for begin, end, name, term in self.leaders],
            "freezes": [{"name": freeze.name, "mode": freeze.mode, "from_s": self.seconds(freeze.since),
                         "to_s": self.seconds(freeze.until)} for freeze in self.facts.freezes],
            "latency_ms": {str(node): [{"bucket": at, "median": round(middle, 2), "max": round(most, 2)}
                                       for at, middle, most in rows] for node, rows in self.waited.items()},
            "answers": [{"bucket": at, **{kind: n for kind, n in counts.items() if n}} for at, counts in enumerate(self.answers)
                        if any(counts.values())],
        }


class Picture:
    """Rows of an SVG, from top to bottom."""

    def __init__(self, series, verdicts):
        self.series, self.verdicts = series, verdicts
        self.parts, self.y = [], 20
        self.nodes = {node: COLOURS[number % len(COLOURS)] for number, node in enumerate(
            sorted({*series.facts.nodes, *(name for *_, name, _ in series.leaders if name), *map(str, series.waited)}))}

    def x(self, t):
        share = (min(max(t, self.series.begin), self.series.end) - self.series.begin) / (self.series.end - self.series.begin)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def of_bucket(self, at):
        return self.x(self.series.begin + at * self.series.step)

    def text(self, x, y, words, anchor="start"):
        self.parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{html.escape(words)}</text>')

    def box(self, x, y, width, height, colour, title, opacity=1.0):
        self.parts.append(f'<rect x="{x}" y="{y:.1f}" width="{max(width, 0.8):.1f}" height="{height:.1f}" fill="{colour}" '
                          f'fill-opacity="{opacity}"><title>{html.escape(title)}</title></rect>')

    def line(self, x1, y1, x2, y2, colour, width=1.0, dash=""):
        dash = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<line x1="{x1}" y1="{y1:.1f}" x2="{x2}" y2="{y2:.1f}" stroke="{colour}" '
                          f'stroke-width="{width}"{dash}/>')

    def bars(self, title, bars):
        """(begin, end, label, colour, tooltip) in as few lanes as keep them apart."""
        if not bars:
            return
        self.text(4, self.y + 13, title)
        lanes = []
        for begin, end, label, colour, tip in sorted(bars, key=lambda bar: bar[0]):
            lane = next((number for number, busy in enumerate(lanes) if busy <= begin), len(lanes))
            lanes[lane:lane + 1] = [end]
            x, y = self.x(begin), self.y + lane * LANE
            width = self.x(end) - x
            self.box(x, y, width, LANE - 3, colour, tip, 0.55)
            room = int(width // 6)
            if room >= 2:
                self.text(x + 3, y + 12, label if len(label) <= room else label[:room - 1] + "…")
        self.y += len(lanes) * LANE + GAP

    def latency(self):
        height, low = 110, 0.5
        top = self.y

        def at(ms):
            share = math.log10(min(max(ms, low), SLOWEST_S * 1000) / low) / math.log10(SLOWEST_S * 1000 / low)
            return top + height * (1 - share)
        self.text(4, top + 13, "latency of")
        self.text(4, top + 27, "accepted mail")
        for ms, words in ((1, "1 ms"), (10, "10 ms"), (100, "100 ms"), (1000, "1 s"), (10_000, "10 s")):
            self.line(LEFT, at(ms), WIDTH - RIGHT, at(ms), "#888", 0.4)
            self.text(LEFT - 4, at(ms) + 4, words, "end")
        for node, rows in self.series.waited.items():
            colour = self.nodes.get(node, "#888")
            for bucket, middle, most in rows:
                x = self.of_bucket(bucket) + 2
                self.line(x, at(middle), x, at(most), colour, 0.8)
                self.parts.append(f'<circle cx="{x}" cy="{at(middle):.1f}" r="1.8" fill="{colour}"><title>{node}: '
                                  f'median {middle:.1f} ms, at most {most:.1f} ms</title></circle>')
        self.y = top + height + GAP

    def answers(self):
        height, most = 110, max((sum(counts.values()) for counts in self.series.answers), default=0) or 1
        self.text(4, self.y + 13, "answers")
        self.text(LEFT - 4, self.y + 10, f"{most / (self.series.step / 1e9):.0f}/s", "end")
        width = (WIDTH - LEFT - RIGHT) / BUCKETS
        for at, counts in enumerate(self.series.answers):
            foot = self.y + height
            for kind, n in counts.items():
                if n:
                    foot -= height * n / most
                    self.box(self.of_bucket(at), foot, width - 0.6, height * n / most, ANSWERS[kind],
                             f"{self.series.seconds(self.series.begin + at * self.series.step):.1f} s: {n} {kind}")
        self.y += height + GAP

    def axis(self):
        whole = (self.series.end - self.series.begin) / 1e9
        step = next((step for step in (1, 2, 5, 10, 20, 60, 120, 600, 1800) if whole / step <= 14), 3600)
        self.line(LEFT, self.y, WIDTH - RIGHT, self.y, "#888")
        for second in range(0, int(whole) + 1, step):
            x = self.x(self.series.begin + second * 1e9)
            self.line(x, self.y, x, self.y + 4, "#888")
            self.text(x, self.y + 15, f"{second} s", "middle")
        self.y += 24

    def legend(self):
        x = LEFT
        for words, colour in [*self.nodes.items(), *ANSWERS.items()]:
            self.box(x, self.y, 10, 10, colour, words)
            self.text(x + 14, self.y + 9, words)
            x += 26 + 7 * len(words)
        self.y += 18

    def svg(self):
        facts, history = self.series.facts, self.series.facts.history
        self.bars("faults", [(fault.begun, min(fault.lifted, self.series.end),
                              f"{fault.name} {' '.join(sorted(fault.touched))}", "#ee6677" if fault.measured else "#aaaaaa",
                              f"{fault.name}: {', '.join(sorted(fault.touched))}. {fault.how or 'no measured effect'}")
                             for fault in facts.faults if fault.begun < self.series.end])
        self.bars("leader", [(begin, end, name or "none", self.nodes.get(name, "#888"), f"{name or 'none'}, term {term}")
                             for begin, end, name, term in self.series.leaders if end > self.series.begin])
        self.bars("frozen", [(freeze.since, min(freeze.until, self.series.end), f"{freeze.name} {freeze.mode}", "#66ccee",
                              f"{freeze.name}, {freeze.mode}") for freeze in facts.freezes if freeze.since < self.series.end])
        self.latency()
        self.answers()
        foot = self.y
        for phase in ("heal", "drain"):
            t = history.phase_at(phase)
            if t is not None:
                self.line(self.x(t), 4, self.x(t), foot, "#888", 1, "2 3")
                self.text(self.x(t) - 3, foot - 2, phase, "end")
        for verdict in self.verdicts:
            if verdict.outcome == "fail":
                times = sorted({round(self.x(event.t)) for event in verdict.evidence
                                if self.series.begin <= event.t <= self.series.end})
                for x in times:
                    self.line(x, 4, x, foot, "#d22", 1, "4 2")
                if times:
                    self.text(times[0] + 3, 13, verdict.invariant)
        self.axis()
        self.legend()
        return (f'<svg viewBox="0 0 {WIDTH} {self.y}" role="img" aria-label="timeline" xmlns="http://www.w3.org/2000/svg">'
                + "".join(self.parts) + "</svg>")


def as_data(history, verdicts):
    """For programs: everything that the page shows."""
    data = {"outcome": overall(verdicts), "verdicts": [
        {"invariant": verdict.invariant, "outcome": verdict.outcome, "why": verdict.why, "figures": verdict.figures,
         "evidence": [json.loads(event.line()) for event in verdict.evidence]} for verdict in verdicts]}
    if history is not None:
        data |= {"meta": history.meta, "events": len(history.events), "complete": history.complete, **Series(history).data()}
    return data


def as_html(history, verdicts, title="Fault test"):
    outcome = overall(verdicts)
    rows = []
    for verdict in verdicts:
        evidence = "\n".join(html.escape(event.line()) for event in verdict.evidence)
        shown = f"<details><summary>{len(verdict.evidence)} events</summary><pre>{evidence}</pre></details>" if evidence else ""
        rows.append(f"<tr><td><b>{html.escape(verdict.invariant)}</b></td>"
                    f'<td><b class="{verdict.outcome}">{verdict.outcome}</b></td>'
                    f"<td>{html.escape(verdict.why)}{shown}</td></tr>")
    what, picture = "", "<p>The history cannot be read.</p>"
    if history is not None:
        meta = history.meta
        faults = ", ".join(meta["faults"]) or "no faults"
        title = f"{meta['workload']}: {faults}"
        shown = {name: meta[name] for name in ("seed", "seconds", "engine", "build", "nodes") if name in meta}
        what = ", ".join(f"{name} {', '.join(value) if isinstance(value, list) else value}" for name, value in shown.items())
        what = f"<p>{html.escape(what)}; {len(history.events)} events</p>"
        picture = Picture(Series(history), verdicts).svg()
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
            f'<style>{STYLE}</style></head><body>'
            f'<h1>{html.escape(title)} <b class="{outcome}">{outcome}</b></h1>{what}{picture}'
            f'<table><tr><th></th><th>verdict</th><th>why</th></tr>{"".join(rows)}</table></body></html>\n')


def write(history, verdicts, folder, name="report"):
    """Both forms, in the folder. Returns the path of the page."""
    folder = pathlib.Path(folder)
    page = folder / f"{name}.html"
    page.write_text(as_html(history, verdicts), "utf-8")
    (folder / f"{name}.json").write_text(json.dumps(as_data(history, verdicts), indent=1) + "\n", "utf-8")
    return page
