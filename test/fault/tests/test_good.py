"""Histories without a fault are accepted, whatever the seed: a checker that cries wolf is worth nothing."""
import pytest

from fault.check import check, overall
from world import World

WORKLOADS = ("quota", "freeze", "registers", "spool", "addresses")


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("seed", range(8))
def test_a_good_history_is_accepted(workload, seed):
    verdicts = check(World(seed, workload).history())
    assert overall(verdicts) == "pass", [(v.invariant, v.outcome, v.why) for v in verdicts if v.outcome != "pass"]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_without_faults(workload):
    verdicts = check(World(100, workload, seconds=20, faults=False).history())
    assert overall(verdicts) == "pass", [(v.invariant, v.outcome, v.why) for v in verdicts if v.outcome != "pass"]
