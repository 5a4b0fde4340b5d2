"""What breaks no promise about web senders, though it looks like it. bad_web.py has what breaks one."""
from bad import thaw
from bad_web import FULL, HOST, SCRIPTS, charged, forgotten, frozen, listed, one, web_tale
from fault.check import check

def judged(tale, invariant="I1"):
    return next(each for each in check(tale.history()) if each.invariant == invariant)


def worth_something(tale):
    """The limits of all kinds were tried, and the names all used."""
    for number in range(3):
        one(tale, 60 + number / 10, f"1:{number}.php", f"web:{FULL}/1:{number}.php", FULL, n=5)
    for number in range(2):
        one(tale, 70 + number / 10, f"{number}", f"web:{HOST}/{number}", n=5)
    return tale


def passes(tale):
    found = judged(worth_something(tale))
    assert found.outcome == "pass", found.why
    return found


def test_it_is_worth_something():
    found = passes(web_tale())
    assert found.figures["web senders of a host"] == 3
    assert found.figures[f"script web:{FULL}/1:0.php 5000 ms"] == {"most": 5, "share": 0.833}
    assert found.figures[f"script web:{HOST}/0 5000 ms"]["most"] == 5
    assert found.figures[f"host {HOST} 5000 ms"]["most"] == 10


def test_a_full_host_is_charged_for_what_has_no_name():
    tale = web_tale()
    for number in range(20):
        one(tale, 10 + number / 5, "1:3.php", FULL, FULL)
    passes(tale)


def test_without_a_receipt_nobody_knows_whom_a_full_host_charged():
    tale = web_tale()
    for number in range(20):
        one(tale, 10 + number / 5, "1:3.php", None, FULL)
    passes(tale)


def test_hosts_have_scripts_of_the_same_name():
    tale = web_tale()
    for number in range(10):
        tale.send(10 + number / 5, 10.1 + number / 5, (HOST, FULL)[number % 2], script="1:0.php")
    passes(tale)


def test_room_was_made():
    for ty in ("ok", "info"):
        tale = web_tale(full=5)
        for number in range(3):
            one(tale, 10 + number, f"1:{number}.php", f"web:{FULL}/1:{number}.php", FULL)
        forgotten(tale, 20, f"web:{FULL}/1:0.php", ty)
        for number in range(1, 4):
            one(tale, 40 + number, f"1:{number}.php", f"web:{FULL}/1:{number}.php", FULL)
        listed(tale, 50, [f"web:{FULL}/1:{number}.php" for number in (1, 2, 3)])
        forgotten(tale, 52, f"web:{FULL}/1:3.php")
        passes(tale)


def test_a_node_may_have_heard_of_it_late():
    tale = web_tale(full=5)
    for number in range(3):
        one(tale, 10 + number, f"1:{number}.php", f"web:{FULL}/1:{number}.php", FULL)
    forgotten(tale, 20, f"web:{FULL}/1:0.php")
    for number in range(4):
        one(tale, 21 + number / 2, f"1:{number}.php", f"web:{FULL}/1:{number}.php", FULL)
    forgotten(tale, 40, f"web:{FULL}/1:3.php")
    passes(tale)


def test_a_message_that_took_longer_than_room_was_made():
    tale = web_tale(full=5)
    for number in range(3):
        one(tale, 10 + number, f"1:{number}.php", f"web:{FULL}/1:{number}.php", FULL)
    forgotten(tale, 20, f"web:{FULL}/1:0.php")
    name = tale.send(19, 30, FULL, script="1:0.php")
    charged(tale, name, f"web:{FULL}/1:0.php", 29)
    for number in range(1, 4):
        one(tale, 31 + number, f"1:{number}.php", f"web:{FULL}/1:{number}.php", FULL)
    forgotten(tale, 40, f"web:{FULL}/1:3.php")
    passes(tale)


def test_a_limit_of_another_class_is_not_theirs():
    tale = web_tale([*SCRIPTS, {**SCRIPTS[0], "name": "people", "classes": ["person"], "count": 1}])
    assert not any(key.startswith("people") for key in passes(tale).figures)


def test_runs_that_prove_nothing():
    assert "no host had as many web senders" in judged(web_tale(most=4, full=5)).why
    assert "more scripts than it may have names" in judged(web_tale(full=3)).why
    assert "the limits for web senders were not tried" in judged(web_tale()).why


def test_a_frozen_script_stops_nobody_else():
    tale = web_tale()
    frozen(tale, f"web:{HOST}/33:form.php")
    one(tale, 21, "33:order.php", f"web:{HOST}/33:order.php")
    one(tale, 22, None, HOST)
    one(tale, 23, "33:form.php", None, FULL)
    assert judged(tale, "I3").outcome == "pass"
    assert judged(tale, "I3").figures["sent while frozen"] == 0


def test_a_script_is_known_when_its_header_is_read():
    tale = web_tale()
    frozen(tale, f"web:{HOST}/33:form.php")
    tale.send(20.2, 31, HOST, script="33:form.php", got={"mail_ns": tale.at(20.3)}, delivered=False)
    thaw(tale, 30, 30.1, name=f"web:{HOST}/33:form.php")
    assert judged(tale, "I3").outcome == "pass"


def test_refusals_of_a_frozen_script_say_nothing_of_availability():
    for frozen_one, good in ((f"web:{HOST}/a", True), (f"web:{HOST}/b", False)):
        tale = web_tale()
        frozen(tale, frozen_one, 10)
        for number in range(40):
            tale.send(12 + number, 12.1 + number, HOST, script="c")
            tale.send(12.5 + number, 12.6 + number, HOST, script="a", ty="fail",
                      reply="450 4.7.1 Sending is suspended for this account, contact your postmaster")
        assert (judged(tale, "I6").outcome == "pass") == good
