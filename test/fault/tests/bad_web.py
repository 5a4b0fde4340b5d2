"""Histories in which a promise about web senders is broken, as in bad.py; and the tale that they are told by."""
from bad import Tale, bad, limit
from world import MS

HOST, FULL = "web@x.test", "full@x.test"
SCRIPTS = [{**limit(6, 5, "script"), "classes": ["bulk"]}, {**limit(40, 5, "host"), "classes": ["device"]}]


def web_tale(limits=SCRIPTS, most=3, full=4):
    """Of two hosts; the one called full has as many scripts as `full` says, whose messages nobody took."""
    tale = Tale("web", limits, (HOST, FULL), web={"class": "bulk", "most_of_host": most})
    for number in range(full):
        tale.send(2 + number / 10, 2.05 + number / 10, FULL, ty="fail", script=f"1:{number}.php", reply="450 4.7.1 Limit script of web sender")
    return tale


def charged(tale, name, whom, t, n=1):
    tale.add(tale.at(104), "collect", "ok", "receipt", "n1", v={"account": whom, "n": n, "id": name, "moment_ns": tale.at(t), "res_ns": MS})


def one(tale, t, script, whom, host=HOST, n=1):
    """A message that was taken, and whom its receipt names; None: there is none."""
    name = tale.send(t, t + 0.1, host, n=n, **({"script": script} if script else {}))
    if whom is not None:
        charged(tale, name, whom, t + 0.05, n)


def listed(tale, t, names, node="n1"):
    tale.op(tale.at(t), tale.at(t + 0.1), "looker", "names", n=node, got={"names": names})


def forgotten(tale, t, name, ty="ok"):
    tale.op(tale.at(t), tale.at(t + 0.1), "room", "forget", ty, n="n2", k=name)


@bad("I1")
def a_script_beyond_its_limit_on_all_nodes():
    tale = web_tale()
    for number in range(7):
        tale.send(10 + number / 2, 10.1 + number / 2, HOST, node=f"n{1 + number % 3}", script="33:Form.php" if number % 2 else "33:form.PHP")
    return tale.history()


@bad("I1")
def a_script_of_a_full_host_beyond_its_limit():
    tale = web_tale()
    for number in range(7):
        one(tale, 10 + number / 2, "1:0.php", f"web:{FULL}/1:0.php", FULL)
    return tale.history()


@bad("I1")
def a_script_beyond_its_own_limit():
    tale = web_tale()
    tale.op(tale.at(5), tale.at(5.1), "op", "limit", k="limit/x/script", v={"limit": "script", "holder": f"web:{HOST}/a", "count": 2})
    for number in range(3):
        tale.send(10 + number, 10.1 + number, HOST, script="a")
    return tale.history()


@bad("I1")
def a_host_whose_scripts_each_keep_to_theirs():
    tale = web_tale([SCRIPTS[0], {**SCRIPTS[1], "count": 16}])
    for number in range(17):
        tale.send(10 + number / 4, 10.1 + number / 4, HOST, **({"script": str(number % 3)} if number % 4 else {}))
    return tale.history()


@bad("I1")
def a_tenant_whose_hosts_scripts_each_keep_to_theirs():
    tale = web_tale([*SCRIPTS, limit(16, 5, "all", "tenant")])
    for number in range(17):
        tale.send(10 + number / 4, 10.1 + number / 4, (HOST, FULL)[number % 2], script=str(number % 4))
    return tale.history()


@bad("I1")
def a_script_that_is_not_charged_though_there_is_room():
    tale = web_tale()
    one(tale, 10, "33:form.php", HOST)
    return tale.history()


@bad("I1")
def a_script_in_anothers_name():
    tale = web_tale()
    one(tale, 10, "33:form.php", f"web:{HOST}/33:order.php")
    return tale.history()


@bad("I1")
def a_script_at_another_host():
    tale = web_tale()
    one(tale, 10, "1:0.php", f"web:{HOST}/1:0.php", FULL)
    return tale.history()


@bad("I1")
def a_host_that_is_charged_as_a_script():
    tale = web_tale()
    one(tale, 10, None, f"web:{HOST}/33:form.php")
    return tale.history()


@bad("I1")
def more_names_are_listed_than_there_may_be():
    tale = web_tale()
    listed(tale, 10, [f"web:{FULL}/1:{number}.php" for number in range(4)])
    return tale.history()


@bad("I1")
def more_names_are_charged_than_there_may_be():
    tale = web_tale()
    for number in range(4):
        one(tale, 10 + 20 * number, f"1:{number}.php", f"web:{FULL}/1:{number}.php", FULL)
    return tale.history()


@bad("I1")
def two_more_names_after_one_was_forgotten():
    tale = web_tale(full=5)
    for number in range(3):
        one(tale, 10 + number, f"1:{number}.php", f"web:{FULL}/1:{number}.php", FULL)
    forgotten(tale, 20, f"web:{FULL}/1:0.php")
    for number in range(1, 5):
        one(tale, 30 + number, f"1:{number}.php", f"web:{FULL}/1:{number}.php", FULL)
    return tale.history()


def frozen(tale, name, begin=20, mode="reject"):
    tale.op(tale.at(begin), tale.at(begin + 0.1), "op", "freeze", n="n1", k=name, v={"mode": mode}, got={"freeze": 1})


@bad("I3")
def a_frozen_script_is_accepted():
    tale = web_tale()
    frozen(tale, f"web:{HOST}/33:form.php")
    tale.send(20.2, 20.3, HOST, script="33:Form.php", node="n3")
    return tale.history()


@bad("I3")
def a_frozen_hosts_script_is_accepted():
    tale = web_tale()
    frozen(tale, HOST, mode="defer")
    tale.send(20.2, 20.3, HOST, script="33:form.php")
    return tale.history()


@bad("I3")
def what_a_frozen_script_has_queued_is_delivered():
    tale = web_tale()
    name = tale.send(19, 19.1, HOST, script="33:form.php", delivered=False)
    frozen(tale, f"web:{HOST}/33:form.php")
    tale.arrive(40, name)
    return tale.history()
