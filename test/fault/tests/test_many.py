"""What becomes of many runs: which are repeated, and what CI is told of them. The runs themselves are pretended."""
import argparse
import pathlib
import subprocess
import sys

import pytest

from fault import many, matrix
from fault.run import catalogue

LIB = pathlib.Path(__file__).resolve().parents[2] / "lib"


@pytest.fixture
def pretended(monkeypatch, tmp_path):
    """Runs that end as the list says, in turn; (options, what was run)."""
    done = []

    def begin(outcomes):
        outcomes = list(outcomes)

        def attempt(_options, cell, seed, folder):
            outcome, *failed = outcomes.pop(0).split()
            done.append((seed, folder.name))
            cell.tries.append({"seed": seed, "outcome": outcome, "failed": failed, "why": "", "folder": str(folder),
                               "took_s": 1.0})
        monkeypatch.setattr(many, "attempt", attempt)
        return done
    return argparse.Namespace(seconds=1, jobs=1, again=1, out=tmp_path), begin


def run(options, *cells):
    cells = [many.Cell("quota", fault, seed) for seed, fault in enumerate(cells, 1)]
    many.carry_out(options, cells)
    return cells


def counted(path):
    done = subprocess.run([sys.executable, LIB / "junit_count.py", path], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_late_is_repeated_alone_with_its_seed_when_the_others_are_done(pretended):
    options, begin = pretended
    done = begin(["fail I6", "pass", "pass"])
    cells = run(options, "loss", "disk")
    assert done == [(1, "quota-loss-1"), (2, "quota-disk-2"), (1, "quota-loss-1-alone")]
    assert [cell.outcome for cell in cells] == ["pass", "pass"]


def test_late_twice_has_failed(pretended):
    options, begin = pretended
    done = begin(["fail I6", "fail I6"])
    assert run(options, "loss")[0].outcome == "fail" and len(done) == 2


@pytest.mark.parametrize("failed", ["I1", "I2", "I3", "I4", "I5", "I7", "I8", "I6 I1"])
def test_what_else_failed_is_never_repeated(pretended, failed):
    options, begin = pretended
    done = begin(["fail " + failed])
    assert run(options, "loss")[0].outcome == "fail" and len(done) == 1


def test_what_proved_nothing_is_repeated_with_another_seed(pretended):
    options, begin = pretended
    done = begin(["inconclusive", "pass"])
    assert run(options, "loss")[0].outcome == "pass"
    assert [seed for seed, _ in done] == [1, 1001]


def test_ci_counts_what_failed_and_what_proved_nothing(pretended, tmp_path):
    options, begin = pretended
    begin(["pass", "fail I1", "inconclusive", "inconclusive", "died", "died"])
    cells = run(options, "loss", "disk", "clock", "kill-all")
    matrix.write_junit(tmp_path / "x.xml", cells)
    assert counted(tmp_path / "x.xml") == ["1", "2", "1"]


def test_ci_counts_nothing_as_passed_where_nothing_can_run(tmp_path):
    cells = [many.Cell("quota", "loss", 1), many.Cell("spool", "loss", 2)]
    matrix.write_junit(tmp_path / "x.xml", cells, "no network namespaces")
    assert counted(tmp_path / "x.xml") == ["0", "0", "2"]


def test_pairs_are_drawn_from_the_seed_and_differ():
    drawn = matrix.pairs(["quota", "spool"], 60, 7)
    assert drawn == matrix.pairs(["quota", "spool"], 60, 7) != matrix.pairs(["quota", "spool"], 60, 8)
    assert len({fault for _, fault in drawn}) == 60
    for _, fault in drawn:
        one, other = fault.split("+")
        assert one != other and {one, other} <= set(catalogue())


def test_the_short_matrix_and_engines(monkeypatch, tmp_path):
    """Each workload with each of the short faults; addresses and web with one of their own, in the engine that they need."""
    seen = []
    monkeypatch.setattr(matrix, "usable", lambda name: "docker" if name == "auto" else name)
    monkeypatch.setattr(matrix, "carry_out", lambda _options, cells, _tell: seen.extend(cells))
    monkeypatch.setattr(matrix, "say", lambda cells: 0)
    options = argparse.Namespace(workloads="all", faults=matrix.SHORT, pairs=0, seed=1, out=tmp_path, engine="auto", junit=None,
                                 short=True)
    assert matrix.matrix(options) == 0
    assert len(seen) == 18 and [cell.name for cell in seen if cell.workload in ("addresses", "web")] == [
        "addresses x kill-owner", "web x kill-random-loop"]
    assert {cell.workload: cell.engine for cell in seen} == {"addresses": "netns", **dict.fromkeys(
        ("quota", "freeze", "registers", "spool", "web"), "docker")}


def test_what_has_no_engine_is_skipped(monkeypatch, tmp_path):
    def usable(name):
        if name == "netns":
            raise matrix.EngineError("no root")
        return "docker"
    seen = []
    monkeypatch.setattr(matrix, "usable", usable)
    monkeypatch.setattr(matrix, "carry_out", lambda _options, cells, _tell: seen.extend(cells))
    monkeypatch.setattr(matrix, "say", lambda cells: 0)
    monkeypatch.setattr(matrix, "write_junit", lambda path, cells, missing: seen.append((path, len(cells), missing)))
    options = argparse.Namespace(workloads="addresses", faults="clock", pairs=0, seed=1, out=tmp_path, engine="docker", junit="x",
                                 short=False)
    assert matrix.matrix(options) == 0 and seen == [("x", 1, "this machine has no engine for it")]
