"""Keeps the pages true where a machine can: events and metrics against the program's tables, alert rules against
promtool, links against the files."""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[3])
DOCS = ROOT / "docs"
faults = []


def expect(good, what):
    if not good:
        faults.append(what)


def same(what, documented, real):
    for name in sorted(real - documented):
        faults.append(f"{what} {name} is in the program, but not on the page")
    for name in sorted(documented - real):
        faults.append(f"{what} {name} is on the page, but not in the program")


def section(text, title):
    """What stands below a heading of level two."""
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.M | re.S).group(1)


def rows(text):
    """The names in backquotes of each table row's first column."""
    found = []
    for line in text.splitlines():
        if line.startswith("| `"):
            found.extend(re.findall(r"`([^`]+)`", line.split(" | ")[0]))
    return found


def check_events():
    source = (ROOT / "node/telemetry/events_json.c").read_text()
    fields = set(re.findall(r'(?:KEY|TEXT|NUMBER)\(out, "(\w+)"', source)) | {"ts"}
    kinds = set(re.findall(r'\[EVENT_\w+\] = "(\w+)"', source)) | {"dropped"}
    expect(len(fields) > 30 and len(kinds) > 15, "the tables of events_json.c are not found where they were")
    page = (DOCS / "events.md").read_text()
    same("event", set(rows(section(page, "Events"))[1:]), kinds)  # the first is the column's own head
    same("event field", set(rows(section(page, "Fields"))), fields)
    unwritten = {"held", "released", "delayed", "site_up", "dropped"}
    shown = set()
    for line in re.search(r"```json\n(.*?)```", page, re.S).group(1).splitlines():
        event = json.loads(line)
        shown.add(event["event"])
        for name in event.keys() - fields:
            faults.append(f"an example of {event['event']} has the unknown field {name}")
    for kind in sorted(kinds - shown - unwritten):
        faults.append(f"event {kind} has no example")


def metrics_table():
    source = (ROOT / "node/telemetry/metrics_table.c").read_text()
    kinds = re.findall(r'(COUNTER|GAUGE|HISTOGRAM)\(\s*"(\w+)"', source)
    table = {f"turnpike_{name}": kind for kind, name in kinds}
    # Those whose labels come from the cluster's state are written where that is known.
    for path in (ROOT / "node/core").glob("*.c"):
        for name, kind in re.findall(r"# TYPE (turnpike_\w+) (\w+)", path.read_text()):
            table[name] = kind.upper()
    return table


def check_metrics(table):
    expect(len(table) > 40, "the table of metrics_table.c is not found where it was")
    page = (DOCS / "monitoring.md").read_text()
    named = rows(section(page, "Metrics"))
    same("metric", {name.split("{")[0] for name in named}, set(table))


def check_rules(table):
    rules = ROOT / "deploy/prometheus/turnpike.rules.yaml"
    text = rules.read_text()
    series = set(table)
    for name, kind in table.items():
        if kind == "HISTOGRAM":
            series |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    for expression in re.findall(r"expr: (.*)", text):
        for name in set(re.findall(r"turnpike_\w+", expression)) - series:
            faults.append(f"the rules use {name}, which there is not")
    alerts = set(re.findall(r"alert: (\w+)", text))
    same("alert", set(re.findall(r"`(Turnpike\w+)`", section((DOCS / "monitoring.md").read_text(), "Alerts"))), alerts)
    promtool = shutil.which("promtool")
    if promtool is None:
        print("promtool is not installed: the rules' syntax and sense are not checked")
        return
    with tempfile.TemporaryDirectory() as folder:
        test = pathlib.Path(folder) / "test.yaml"
        test.write_text((pathlib.Path(__file__).parent / "rules_test.yaml").read_text().replace("RULES", str(rules)))
        for arguments in (["check", "rules", rules], ["test", "rules", test]):
            done = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=60)
            expect(done.returncode == 0, f"promtool {arguments[0]}: {done.stdout}{done.stderr}")


def check_grafana(table):
    """Every metric that a panel asks for exists, with whatever the panel adds up by; promtool reads each expression."""
    board = json.loads((ROOT / "deploy/grafana/turnpike.json").read_text())
    series = set(table) | {f"{name}{part}" for name, kind in table.items() if kind == "HISTOGRAM"
                           for part in ("_bucket", "_sum", "_count")}
    expressions = [t["expr"] for p in board["panels"] for t in p.get("targets", [])]
    expect(len(expressions) > 20, "the dashboard for Grafana has no panels")
    expressions.append(next(v["query"]["query"] for v in board["templating"]["list"] if v["name"] == "instance"))
    for name in sorted({n for e in expressions for n in re.findall(r"turnpike_\w+", e)} - series):
        faults.append(f"the dashboard for Grafana uses {name}, which there is not")
    ids = [p["id"] for p in board["panels"]]
    expect(len(ids) == len(set(ids)), "two panels of the dashboard for Grafana have one id")
    page = section((DOCS / "monitoring.md").read_text(), "Metrics")
    for expression in expressions:
        for labels, name in re.findall(r"by \(([\w, ]+)\) \((?:rate\()?(turnpike_\w+)", expression):
            metric = re.sub(r"_(bucket|sum|count)$", "", name)
            known = set(re.findall(rf"`{metric}{{([\w,]+)}}`", page) or [""])
            for label in set(labels.split(", ")) - {"instance", "le"} - {w for k in known for w in k.split(",")}:
                faults.append(f"the dashboard for Grafana adds {metric} up by {label}, which it has not")
    promtool = shutil.which("promtool")
    if promtool is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        rules = pathlib.Path(folder) / "panels.yaml"
        rules.write_text(json.dumps({"groups": [{"name": "panels", "rules": [
            {"record": f"panel:{i}", "expr": e.replace("$__rate_interval", "5m")} for i, e in enumerate(expressions[:-1])]}]}))
        done = subprocess.run([promtool, "check", "rules", rules], capture_output=True, text=True, timeout=60)
        expect(done.returncode == 0, f"promtool check rules: {done.stdout}{done.stderr}")


def anchor(heading):
    """As the usual renderers make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def check_links():
    for page in [*ROOT.glob("*.md"), *DOCS.glob("*.md")]:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, fragment = target.partition("#")
            where = page if path == "" else page.parent / path
            expect(where.exists(), f"{page.name} links to {target}, which is not there")
            if fragment and where.suffix == ".md" and where.exists():
                headings = re.findall(r"^#+ (.*)$", where.read_text(), re.M)
                expect(fragment in {anchor(h) for h in headings}, f"{page.name}: {target} has no such heading")


def check_index():
    index = (DOCS / "README.md").read_text()
    for page in sorted(DOCS.glob("*.md")):
        expect(page.name == "README.md" or f"({page.name})" in index, f"docs/README.md does not list {page.name}")


check_events()
check_metrics(metrics_table())
check_rules(metrics_table())
check_grafana(metrics_table())
check_links()
check_index()
for fault in faults:
    print(fault)
sys.exit(1 if faults else 0)
