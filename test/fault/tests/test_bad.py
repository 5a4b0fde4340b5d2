"""The checkers reject histories in which a promise was broken: at least three ways for each. And what breaks none of them,
though it looks like it, is accepted."""
import pytest

import bad
import bad_web  # noqa: F401: they are listed in BAD
from bad import BAD, Lodging, Tale, frozen_tale, limit, steady, thaw, writes
from fault.check import check, overall
from world import MS, NODES, World

CASES = [(invariant, function) for invariant, functions in BAD.items() for function in functions]


def verdict(history, invariant, files=()):
    return next(each for each in check(history, files) if each.invariant == invariant)


@pytest.mark.parametrize("invariant,function", CASES, ids=[f"{i}-{f.__name__}" for i, f in CASES])
def test_a_bad_history_is_rejected(invariant, function):
    history = function()
    found = verdict(history, invariant)
    assert found.outcome == "fail", found.why
    assert found.why and found.evidence


def test_there_are_enough_for_each():
    assert {invariant: len(functions) >= 3 for invariant, functions in BAD.items()} == {f"I{n}": True for n in range(1, 10)}


OUTPUTS = {
    "assertion": "10:00 info up\nturnpike: broken invariant: n <= max (consensus/quota.c:77)\n",
    "address": "==77==ERROR: AddressSanitizer: heap-use-after-free on address 0x60\n",
    "undefined": "base/buf.c:7:3: runtime error: signed integer overflow\n",
    "thread": "x" * 3_000_000 + "\nWARNING: ThreadSanitizer: data race (pid=7)\n",
    "cut": "turnpike: broken invariant: x (y.c:1)",
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_output_that_tells_of_a_crash(tmp_path, kind):
    good, bad_ = tmp_path / "n1.log", tmp_path / "n2.log"
    good.write_text("listening\nstopped\n")
    bad_.write_text(OUTPUTS[kind])
    history = Tale().history()
    assert verdict(history, "I8", [good]).outcome == "pass"
    assert verdict(history, "I8", [good, bad_]).outcome == "fail"


def test_a_core_file(tmp_path):
    (tmp_path / "core.4711").write_bytes(b"")
    assert verdict(Tale().history(), "I8", [tmp_path / "core.4711"]).outcome == "fail"


def test_output_that_is_missing(tmp_path):
    assert verdict(Tale().history(), "I8", [tmp_path / "none"]).outcome == "inconclusive"


# ---- what is no violation

def passes(history, invariant):
    found = verdict(history, invariant)
    assert found.outcome == "pass", found.why


def test_windows_are_half_open():
    tale = Tale(limits=[limit(1, 5)])
    tale.send(10, 10.5)
    tale.send(14, 15)  # its 250 was read at the very end: it may belong to the next window
    passes(tale.history(), "I1")


def test_an_admission_between_two_windows_is_not_certain():
    tale = Tale(limits=[limit(3, 5)])
    for i in range(6):
        tale.send(10 + i, 22 + i)
    found = verdict(tale.history(), "I1")
    assert found.outcome == "inconclusive", "nothing certain was seen of a limit"


def test_a_lowered_limit_has_a_grants_life():
    tale = Tale(limits=[limit(10, 5)])
    tale.op(tale.at(8), tale.at(8.1), "op", "limit", k="limit/a@x.test/quick", v={"limit": "quick", "holder": "a@x.test", "count": 4})
    for i in range(9):
        tale.send(8.2 + i * 0.2, 8.3 + i * 0.2)
    passes(tale.history(), "I1")


def test_a_limit_that_may_have_been_raised():
    tale = Tale(limits=[limit(4, 5)])
    tale.op(tale.at(8), tale.at(8.1), "op", "limit", "info", k="limit/a@x.test/quick",
            v={"limit": "quick", "holder": "a@x.test", "count": 6})
    for i in range(6):
        tale.send(10.2 + i * 0.5, 10.3 + i * 0.5)
    passes(tale.history(), "I1")


def test_a_limit_of_another_class():
    tale = Tale(limits=[{**limit(2, 5), "classes": ["bulk"]}, limit(9, 5, "other")])
    for i in range(8):
        tale.send(10.2 + i * 0.5, 10.3 + i * 0.5)
    passes(tale.history(), "I1")


def test_a_receipt_that_contradicts_its_client_proves_nothing():
    tale = Tale(limits=[limit(1, 5)])
    for t in (10, 20):
        name = tale.send(t, t + 0.1)
        tale.add(tale.at(104), "collect", "ok", "receipt", "n1", v={"account": "a@x.test", "n": 1, "id": name, "res_ns": MS,
                                                                    "moment_ns": tale.at(30)})
    found = verdict(tale.history(), "I1")
    assert (found.outcome, "clock" in found.why) == ("inconclusive", True)


def test_a_failed_sync_may_keep_the_message():
    tale = Tale("spool")
    tale.send(10, 10.1)
    tale.arrive(12, tale.send(10, 11, ty="fail", got={"stage": "dot"}, reply="451 4.3.0 cannot be stored"))
    passes(tale.history(), "I2")


def test_lost_with_the_disk_that_was_taken_away():
    tale = Tale("spool")
    tale.send(10, 11, node="n2", delivered=False)
    tale.fault("membership", 20, 25, "wiped", "n2")
    passes(tale.history(), "I2")


@pytest.mark.parametrize("how", ["move", "drain", "leave"])
def test_what_may_have_been_moved_to_that_disk(how):
    tale = Tale("spool")
    tale.send(10, 11, node="n1", delivered=False)
    if how == "move":
        tale.add(tale.at(15), "mover", "ok", "note", "n1", v={"move": "n2"})
    elif how == "drain":
        tale.fault("drain", 15, 18, "unclear", "n1")
    else:
        tale.op(tale.at(15), tale.at(18), "op", "leave", n="n1", k="n1")
    tale.fault("membership", 20, 25, "wiped", "n2")
    found = verdict(tale.history(), "I2")
    assert (found.outcome, "were moved" in found.why) == ("inconclusive", True)


def test_lost_with_the_disk_that_it_was_moved_to():
    tale = Tale("spool")
    name = tale.send(10, 11, node="n1", delivered=False)
    tale.op(tale.at(15), tale.at(18), "op", "leave", n="n1", k="n1")
    tale.moved(name, 17, "n1", "n2")
    tale.fault("membership", 20, 25, "wiped", "n2")
    passes(tale.history(), "I2")


def test_missing_while_a_queue_cannot_be_seen():
    tale = Tale("spool")
    tale.send(10, 11, delivered=False)
    tale.find("collected", what="queue")[0].v["good"] = False
    assert verdict(tale.history(), "I2").outcome == "inconclusive"


@pytest.mark.parametrize("story", ["before", "thaw", "concurrent thaw", "unknown thaw", "timer", "incomplete", "hold", "unknown",
                                   "frozen again, and that lifted", "thaw inside",
                                   "frozen again for a second", "late thaw", "other account", "local elsewhere", "on the wire", "cut off"])
def test_what_a_freeze_does_not_promise(story):
    more = {"timer": {"for_s": 3}, "local elsewhere": {"local": True}}.get(story, {})
    tale = frozen_tale("hold" if story == "hold" else "reject", **more)
    if story == "incomplete":
        tale.find("freeze", "ok")[0].v["complete"] = False
    elif story == "unknown":
        tale.find("freeze", "ok")[0].ty = "info"
    elif story == "thaw":
        thaw(tale, 14.9, 15.5)
    elif story == "concurrent thaw":
        thaw(tale, 10.05, 10.2, p="other")
    elif story == "frozen again, and that lifted":
        tale.op(tale.at(11), tale.at(11.1), "op", "freeze", k="a@x.test", v={"mode": "reject", "for_s": 10}, got={"freeze": 2})
        thaw(tale, 14, 14.1, freeze=2)
    elif story == "unknown thaw":
        thaw(tale, 12, 13, "info")
    elif story == "thaw inside":
        thaw(tale, 10.02, 10.08, p="other")
    elif story == "frozen again for a second":  # the call took longer than that, since a node was away
        tale.op(tale.at(11), tale.at(16), "op", "freeze", k="a@x.test", v={"mode": "reject", "for_s": 1}, got={"freeze": 2})
    elif story == "late thaw":  # it was kept by a cut-off node until that was healed
        tale.fault("partition-one", 1, 9.5, "minority", "n2")
        thaw(tale, 2, 7, "info")
    if story == "before":
        tale.send(10.05, 12)
    elif story in ("on the wire", "cut off"):
        if story == "cut off":
            tale.fault("partition-one", 5, 30, "minority", "n1")
        name = tale.send(9, 9.2, delivered=False)
        tale.arrive(12 if story == "on the wire" else 20, name, begin_ns=tale.at(10.3 if story == "on the wire" else 19.9))
    else:
        name = tale.send(15, 15.2, "b@y.test" if story == "other account" else "a@x.test",
                         node="n2" if story == "local elsewhere" else "n1", delivered=False)
        if story == "hold":
            thaw(tale, 20, 20.1)
            tale.arrive(21, name)
    tale.send(10.2, 10.3, ty="fail", reply="550 5.7.1 disabled")
    found = verdict(tale.history(), "I3")
    assert found.outcome == "pass" or (found.outcome == "inconclusive" and "no mail was sent" in found.why), found.why


def test_mail_that_was_sent_before_a_thaw_and_read_after_it():
    for known, outcome in ((False, "pass"), (True, "fail")):
        tale = frozen_tale()
        tale.send(11, 11.1, ty="fail", reply="550 5.7.1 disabled")
        tale.send(14.9, 15.6, got={"mail_ns": tale.at(14.95)} if known else None)
        thaw(tale, 15, 15.1)
        assert verdict(tale.history(), "I3").outcome == outcome


def test_mail_that_was_sent_before_healing_and_read_after_it():
    tale = Tale("spool")
    tale.fault("partition-one", 10, 30, "minority", "n3")
    steady(tale, 5, 60, but=lambda t, at: "cut" if at == "n3" and 12 < t < 35 else None)
    tale.send(29.9, 30.8, node="n3")
    passes(tale.history(), "I6")


def test_unknown_writes_may_or_may_not_have_happened():
    tale = writes(Tale("registers"), "pool/class/bulk", (10, 11, "p", "w", "a"), (12, 13, "p", "?", "b"), (14, 15, "q", "r", "a"),
                  (16, 17, "q", "r", "b"), (18, 19, "p", "?", "c"), (20, 21, "q", "r", "b"), (30, 31, "q", "r", "c"))
    passes(tale.history(), "I4")


def test_a_freeze_whose_answer_was_lost():
    tale = Tale("freeze")
    tale.op(tale.at(10), tale.at(11), "op", "freeze", "info", k="a@x.test", v={"mode": "reject"})
    for t, value in ((12, None), (13, {"freeze": 9, "mode": "reject"})):
        tale.op(tale.at(t), tale.at(t + 0.5), "q", "read", k="frozen/a@x.test", got={"value": value})
    thaw(tale, 15, 16, freeze=9)
    tale.op(tale.at(17), tale.at(18), "q", "read", k="frozen/a@x.test", got={"value": None})
    passes(tale.history(), "I4")


def test_a_frozen_list_of_a_node_that_is_cut_off():
    tale = frozen_tale(number=7)
    tale.fault("partition-one", 9, 30, "minority", "n2")
    tale.op(tale.at(12), tale.at(12.1), "op2", "read", n="n2", k="frozen/a@x.test", v={"stale": True}, got={"value": None})
    tale.op(tale.at(13), tale.at(13.1), "op2", "read", n="n3", k="frozen/a@x.test", v={"stale": True},
            got={"value": {"freeze": 7, "mode": "reject"}})
    passes(tale.history(), "I4")


def test_one_node_uses_its_address_twice_at_once():
    tale = writes(Tale("registers"), "ip/192.0.2.1", (10, 11, "p", "w", "n1"), (12, 13, "p", "w", "n1"), (12, 13, "q", "r", "n1"),
                  (14, 15, "q", "r", "n1"), (16, 17, "q", "r", "n1"))
    for begin in (14, 14.5):
        tale.arrive(15, tale.send(9, 9.2, delivered=False), source_ip="192.0.2.1", begin_ns=tale.at(begin))
    passes(tale.history(), "I4")


def test_a_timer_may_end_a_freeze_at_any_time_from_then_on():
    tale = frozen_tale(for_s=3, number=4)
    for t, value in ((12, {"freeze": 4}), (20, {"freeze": 4}), (25, None)):
        tale.op(tale.at(t), tale.at(t + 0.5), "q", "read", k="frozen/a@x.test", got={"value": value})
    passes(tale.history(), "I4")
    early = frozen_tale(for_s=30, number=4)
    early.op(early.at(25), early.at(26), "q", "read", k="frozen/a@x.test", got={"value": None})
    assert verdict(early.history(), "I4").outcome == "fail"


@pytest.mark.parametrize("reason", ["crash", "crash before the sink had it", "its begin is not known", "lost", "nobody knows"])
def test_duplicates_with_a_reason(reason):
    tale = Tale("spool")
    name = tale.send(10, 11)
    first = tale.find("deliver")[0]
    if reason in ("lost", "nobody knows"):
        first.v["ack"] = False if reason == "lost" else None
    else:
        if reason == "its begin is not known":
            del first.v["begin_ns"]
        tale.add(first.t + {"crash": 1, "crash before the sink had it": -MS}.get(reason, -2000 * MS), "nemesis", "ok", "crash", "n1", v={"caused": True})
    tale.arrive(30, name)
    passes(tale.history(), "I5")


def test_limits_and_slow_clients_are_no_outage():
    tale = Tale("spool")

    def refuse(t, _):
        return "450 4.7.1 Limit quick of this account reached" if 20 < t < 40 else None
    steady(tale, 5, 60, but=refuse)
    tale.send(30, 38, slow_s=7.5)
    tale.send(30, 31, ty="fail", got={"stage": "data"}, reply=None, cut=True)
    passes(tale.history(), "I6")
    for event in tale.find("submit", "invoke"):
        event.v["expect"] = "accept"
    assert verdict(tale.history(), "I6").outcome == "fail"


def test_slow_clients_whose_tokens_ended():
    tale = steady(Tale("quota"), 5, 60)
    for number in range(9):
        tale.send(20 + number, 24 + number, ty="fail", slow_s=4, got={"stage": "dot"},
                  reply="451 4.3.2 Sending limits cannot be checked just now, try again later")
    passes(tale.history(), "I6")


def test_a_node_that_is_drained_concerns_nobody_else():
    tale = Tale("spool")
    for t in range(6, 60, 6):
        tale.fault("drain", t, t + 3, "unclear", NODES[t // 6 % 3])
    steady(tale, 5, 60, but=lambda t, at: "cut" if t >= 6 and NODES[int(t) // 6 % 3] == at and t % 6 < 4.5 else None)
    found = verdict(tale.history(), "I6")
    assert found.outcome == "pass" and found.figures["judged"] > 300, found.why


def test_a_cut_off_node_that_stood_still_read_mail_later():
    tale = Tale("spool")
    tale.fault("partition-one", 10, 30, "minority", "n3")
    tale.fault("pause-leader", 15, 29, "down", "n3")
    steady(tale, 5, 60, but=lambda t, at: "cut" if at == "n3" and 12 < t < 35 else None)
    tale.send(20, 35, node="n3")
    passes(tale.history(), "I6")


@pytest.mark.parametrize("still, outcome", [((29, 33), "pass"), ((24, 26), "pass"), ((10, 24), "fail"), ((33, 40), "fail"),
                                            (None, "fail"), ((0, 70), "inconclusive")])
def test_what_was_late_while_the_machine_stood_still(still, outcome):
    tale = steady(Tale("spool"), 5, 60, but=lambda t, at: "slow" if 30 < t < 30.9 else None)
    if still is not None:
        tale.add(tale.at(60), "canary", "ok", "note", v={"stood_still": [tale.at(t) for t in still]})
    assert verdict(tale.history(), "I6").outcome == outcome


def test_nobody_is_blamed_without_a_majority():
    tale = Tale("spool")
    tale.fault("partition-one", 10, 40, "minority", "n3")
    tale.fault("kill-random-loop", 20, 30, "down", "n2")
    steady(tale, 5, 80, but=lambda t, at: "cut" if 11 < t < 45 and (at == "n3" or t > 20) else None)
    passes(tale.history(), "I6")


# ---- runs that prove nothing

def test_too_little_load():
    tale = steady(Tale("spool"), 10, 11)
    found = verdict(tale.history(), "run")
    assert (found.outcome, "load" in found.why) == ("inconclusive", True)


def test_load_that_is_spread_too_thin():
    tale = steady(Tale("spool"), 2, 98, each=2.5)
    found = verdict(tale.history(), "run")
    assert (found.outcome, "per second" in found.why, "accepted" in found.why) == ("inconclusive", True, False)


def test_a_fault_without_effect():
    for measured, outcome in ((False, "inconclusive"), (True, "pass")):
        tale = steady(Tale("spool"), 1, 101, each=0.3)
        tale.events[0].v["faults"] = ["loss"]
        tale.fault("loss", 20, 30, "unclear", "n1", measured=measured)
        assert verdict(tale.history(), "run").outcome == outcome


def test_a_fault_that_was_never_in_place():
    tale = steady(Tale("spool"), 1, 101, each=0.3)
    tale.events[0].v["faults"] = ["loss"]
    found = verdict(tale.history(), "run")
    assert (found.outcome, found.why) == ("inconclusive", "loss was never in place")


def test_a_history_without_its_end():
    world = World(1)
    world.events = [e for e in world.events if e.f != "phase" or e.v["phase"] != "end"]
    verdicts = {each.invariant: each.outcome for each in check(world.history())}
    assert verdicts["run"] == "inconclusive" and overall(check(world.history())) == "inconclusive"


@pytest.mark.parametrize("workload,invariant", [("quota", "I1"), ("freeze", "I3"), ("registers", "I4"), ("spool", "I5")])
def test_a_workload_that_tried_nothing(workload, invariant):
    tale = Tale(workload, limits=[limit(100, 5)])
    tale.send(10, 10.1, delivered=False)
    assert verdict(tale.history(), invariant).outcome == "inconclusive"


def test_the_names_are_the_promises():
    assert [each.invariant for each in check(bad.Tale().history())] == [f"I{n}" for n in range(1, 10)] + ["run"]


# ---- I9

def moved(tale, since=12, until=15, to="n2", version=2):
    for t in range(since, until + 1):
        tale.whose(t, to, version)


def test_one_after_the_other():
    tale = Lodging()
    tale.use("n1", 9, 11)
    moved(tale)
    tale.use("n2", 11, 14)
    passes(tale.history(), "I9")


def test_a_connection_that_is_noticed_late_proves_nothing():
    tale = Lodging()
    moved(tale)
    tale.use("n2", 12, 14)
    tale.use("n1", 13, 13)  # it may have been opened by n1 long before the next hop looked
    passes(tale.history(), "I9")


def test_whose_it_was_between_two_versions_is_not_known():
    tale = Lodging()
    moved(tale, 12, 13)
    tale.use("n1", 13.5, 14.5)
    moved(tale, 15, 16, version=6)
    passes(tale.history(), "I9")


def test_a_node_in_trouble_need_not_use_it():
    tale = Lodging(faults=["partition-one"])
    tale.fault("partition-one", 14, 22, "minority", "n2")
    for t in range(12, 24):
        tale.whose(t, "n2", 2)
        tale.send(t + 0.2, t + 0.3, account="a@addr.test", node="n2")
        tale.send(t + 0.5, t + 0.6, account="a@addr.test", node="n2")
    passes(tale.history(), "I9")


def test_a_short_loss_moves_nothing():
    tale = Lodging()
    tale.fault("kill-leader", 10, 16, "down", "n1")
    moved(tale, 11, 13, "n1", 1)
    moved(tale, 19, 20)
    passes(tale.history(), "I9")


def test_a_run_in_which_nothing_moved_proves_nothing():
    assert verdict(Lodging().history(), "I9").outcome == "inconclusive"
