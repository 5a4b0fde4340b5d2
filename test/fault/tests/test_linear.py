"""The linearizability checker against one that tries every order, and on histories that are known."""
import itertools
import random

import pytest

from fault.linear import ANY, Call, check, frozen, register

HISTORIES = 1000


def brute_force(calls, step, initial):
    """Every subset of the calls without an answer, in every order that keeps to real time."""
    must = [call for call in calls if call.t1 is not None]
    may = [call for call in calls if call.t1 is None]
    for n in range(len(may) + 1):
        for chosen in itertools.combinations(may, n):
            if any(explains(order, step, initial) for order in itertools.permutations(must + list(chosen))):
                return True
    return False


def explains(order, step, initial):
    latest = float("-inf")
    for call in order:
        if call.t1 is not None and call.t1 < latest:
            return False  # it had ended before one that comes earlier had begun
        latest = max(latest, call.t0)
    state = initial
    for call in order:
        state = step(state, call.what)
        if state is None:
            return False
    return True


def a_history(rng, kind):
    """Of up to seven operations, each at its moment, so that it is linearizable."""
    state, calls, times = ("thawed" if kind is frozen else 0), [], itertools.count(10, 10)
    for number in range(rng.randint(2, 7)):
        moment, dice = next(times), rng.random()
        t0, t1 = moment - rng.randint(1, 25), moment + rng.randint(1, 25)
        lost = rng.random() < 0.2
        if kind is register:
            if dice < 0.45:
                what, after = ("read", state), state
            elif dice < 0.8:
                what = ("write", rng.randint(1, 3))
                after = what[1]
            else:
                what = ("swap", state, rng.randint(1, 3))
                after = what[2]
        elif dice < 0.35:
            what, after = ("read", state), state
        elif dice < 0.7 or state == "thawed":
            what, after = ("freeze", str(number)), str(number)
        else:
            what, after = ("thaw", state if rng.random() < 0.7 else None), "thawed"
        if lost and what[0] != "read":
            calls.append(Call(t0, None, what, number))
            state = after if rng.random() < 0.5 else state
        else:
            calls.append(Call(t0, t1, what, number))
            state = after
    return calls


def mutated(rng, calls, kind):
    """One answer is another one, or one operation lies elsewhere in time."""
    at = rng.randrange(len(calls))
    call = calls[at]
    if rng.random() < 0.3:
        shift = rng.choice((-60, -30, 30, 60))
        other = Call(call.t0 + shift, None if call.t1 is None else call.t1 + shift, call.what, call.tag)
    else:
        value = rng.randint(0, 3) if kind is register else rng.choice(["thawed", "0", "1", "2", "3"])
        what = (call.what[0], value, *call.what[2:])
        other = Call(call.t0, call.t1, what, call.tag)
    return [*calls[:at], other, *calls[at + 1:]]


def test_it_agrees_with_brute_force():
    rng = random.Random(4711)
    wrong = 0
    for number in range(HISTORIES):
        kind = register if number % 4 < 2 else frozen
        initial = "thawed" if kind is frozen else ANY if number % 8 == 0 else 0
        calls = a_history(rng, kind)
        if number % 2:
            calls = mutated(rng, calls, kind)
        expected = brute_force(calls, kind, initial)
        answer = check(calls, kind, initial)
        assert answer.outcome == ("pass" if expected else "fail"), (number, calls, answer)
        assert number % 2 or expected, "it was made linearizable"
        wrong += not expected
    assert HISTORIES // 8 < wrong < HISTORIES // 2, "some of the mutated ones must be wrong"


def test_what_is_in_the_way_is_told():
    calls = [Call(0, 1, ("write", 1), "a"), Call(2, 3, ("write", 2), "b"), Call(4, 5, ("read", 1), "c")]
    answer = check(calls, register)
    assert (answer.outcome, answer.stuck) == ("fail", ["c"])


def test_two_hundred_operations_take_no_time():
    rng, calls, state = random.Random(3), [], 0
    for number in range(200):
        t = number * 10
        if rng.random() < 0.5:
            state = number
            calls.append(Call(t - rng.randint(0, 40), t + rng.randint(0, 40), ("write", number), number))
        else:
            calls.append(Call(t - rng.randint(0, 40), t + rng.randint(0, 40), ("read", state), number))
    assert check(calls, register, 0, limit_s=5).outcome == "pass"


def test_many_unknown_writes_take_no_time():
    calls = [Call(n, None, ("write", n), n) for n in range(100)] + [Call(200 + n, 201 + n, ("read", 5), n) for n in range(100)]
    assert check(calls, register, 0).outcome == "pass"


def test_a_search_that_does_not_end_is_inconclusive():
    # Every subset of the writes is another state, and no order explains the read.
    calls = [Call(0, 1000, ("swap", n // 2, n + 100), n) for n in range(2)]
    calls += [Call(0, 1000, ("write", n), n) for n in range(40)] + [Call(0, 1000, ("read", 999), "r")]
    answer = check(calls, register, 0, limit_s=0.3)
    assert answer.outcome == "inconclusive" and "0.3 s" in answer.why


@pytest.mark.parametrize("second,outcome", [((5, 6), "fail"), ((2, 6), "pass")])
def test_real_time_counts(second, outcome):
    calls = [Call(0, 1, ("write", 1)), Call(2, 4, ("write", 2)), Call(*second, ("read", 1))]
    assert check(calls, register).outcome == outcome
