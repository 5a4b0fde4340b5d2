"""All workloads with all faults, or with pairs of them; a table at the end, and a report as test runners write it."""
import itertools
import json
import random
import sys
import xml.etree.ElementTree as ElementTree

from .engine import EngineError, usable
from .many import Cell, carry_out
from .run import catalogue, clash, workloads

SHORT = "partition-leader,pause-holder,kill-random-loop,disk"  # with 20 s: what every change goes through
SHORT_TOO = [("addresses", "kill-owner"), ("web", "kill-random-loop")]
SIGN = {"pass": ".", "fail": "FAIL", "inconclusive": "?", "not carried out": "!"}


def chosen(text, known, plus=False):
    if text == "all":
        return list(known)
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        for part in name.split("+") if plus else [name]:
            if part not in known and not (plus and part == "none"):
                sys.exit(f"there is no {part!r}: {', '.join(known)}")
    return names


def pairs(kinds, count, seed):
    """So many cells, whose two faults are drawn from the seed; no pair twice before all were."""
    rng = random.Random(f"{seed}/pairs")
    known = [f"{a}+{b}" for a, b in itertools.combinations(catalogue(), 2) if clash([a, b]) is None]
    drawn = []
    while len(drawn) < count:
        rng.shuffle(known)
        drawn += known
    return [(kinds[number % len(kinds)], fault) for number, fault in enumerate(drawn[:count])]


def table(cells):
    columns, rows = (list(dict.fromkeys(getattr(cell, of) for cell in cells)) for of in ("workload", "fault"))
    results = {(cell.workload, cell.fault): SIGN[cell.outcome] for cell in cells}
    wide, first = (max(len(name) for name in names) + 2 for names in (columns, rows))
    print(" " * first + "".join(f"{column:<{wide}}" for column in columns))
    for row in rows:
        print(f"{row:{first}}" + "".join(f"{results.get((column, row), ''):<{wide}}" for column in columns))


def write_junit(path, cells, missing=None):
    """What proved nothing was skipped, not passed; what could not be carried out has failed, unless `missing` says what
    this machine lacks."""
    suite = ElementTree.Element("testsuite", name="fault")
    for cell in cells:
        case = ElementTree.SubElement(suite, "testcase", classname="fault", name=cell.name)
        if not cell.tries:
            ElementTree.SubElement(case, "skipped", message=missing)
            continue
        case.set("time", f"{cell.seconds:.1f}")
        if cell.outcome == "pass":
            continue
        last = cell.tries[-1]
        kind = "skipped" if cell.outcome == "inconclusive" else "failure"
        said = f"{cell.outcome}, seed {last['seed']}: {last['why']}; see {last['folder']}"
        ElementTree.SubElement(case, kind, message=said)
    ElementTree.ElementTree(suite).write(path)


def say(cells):
    table(cells)
    for cell in cells:
        for one in cell.tries:
            if one["outcome"] != "pass":
                print(f"\n{cell.name}, seed {one['seed']}: {one['outcome']}\n  {one['why'][:600]}\n  {one['folder']}")
        if len(cell.tries) > 1 and cell.outcome == "pass":
            print(f"\n{cell.name} passed when it was repeated")
    outcomes = [cell.outcome for cell in cells]
    print(f"\n{len(outcomes)} runs: " + ", ".join(f"{outcomes.count(o)} {o}" for o in SIGN if o in outcomes))
    return 1 if "fail" in outcomes else 2 if set(outcomes) - {"pass"} else 0


def can_be_run(cell, engine):
    """Some workloads need an engine of their own."""
    cell.engine = engine if engine in workloads()[cell.workload].engines else workloads()[cell.workload].engines[0]
    try:
        return cell.engine == engine or bool(usable(cell.engine))
    except EngineError as error:
        print(f"{cell.name} is skipped: {error}")
        return False


def matrix(options):
    kinds = chosen(options.workloads, workloads())
    if options.pairs:
        wanted = pairs(kinds, options.pairs, options.seed)
    else:
        wanted = [(kind, fault) for fault in chosen(options.faults, catalogue(), plus=True) for kind in kinds]
    if options.short:  # of these one does: others' faults say little of addresses that move when a node is lost for good
        wanted = [(kind, fault) for kind, fault in wanted if kind not in dict(SHORT_TOO)]
        wanted = [each for each in SHORT_TOO if each[0] in kinds] + wanted
    cells = [Cell(kind, fault, options.seed + number) for number, (kind, fault) in enumerate(wanted)]
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        options.engine = usable(options.engine)
    except EngineError as error:
        print(f"skipped, {len(cells)} runs: {error}")
        if options.junit is not None:
            write_junit(options.junit, cells, str(error))
        return 3

    todo = [cell for cell in cells if can_be_run(cell, options.engine)]

    def tell(_cell):
        rows = [cell.row() for cell in cells if cell.tries]
        (options.out / "matrix.json").write_text(json.dumps(rows, indent=1) + "\n")

    carry_out(options, todo, tell)
    if options.junit is not None:
        write_junit(options.junit, cells, "this machine has no engine for it")
    return say(todo)
