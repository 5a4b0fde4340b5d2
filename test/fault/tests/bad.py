"""Histories in which one promise is broken in one place, each in its own way. Every function breaks a good one, or tells a
short story of its own, and is named after the promise and the way."""
from world import MS, NODES, S, START, LIMIT_REPLY, Story, World

BAD = {}


def bad(invariant):
    def register(function):
        BAD.setdefault(invariant, []).append(function)
        return function
    return register


class Tale(Story):
    """A cluster, and nothing that happens by itself."""

    def __init__(self, workload="quota", limits=(), accounts=("a@x.test",), **meta):
        super().__init__()
        self.number = 0
        self.add(START, "run", "ok", "meta", v={
            "version": 1, "workload": workload, "faults": [], "nodes": list(NODES), "ttl_ms": 3000, "limits": list(limits),
            "accounts": {name: {"tenant": name.partition("@")[2], "class": "device"} for name in accounts}, **meta})
        for phase, after in (("load", 1), ("heal", 101), ("drain", 102), ("collect", 103), ("end", 110)):
            self.add(START + after * S, "run", "ok", "phase", v={"phase": phase})
        for node in NODES:
            for what in ("queue", "log"):
                self.add(START + 104 * S, "run", "ok", "collected", node, v={"what": what, "good": True})
            self.add(START + 104 * S, "run", "ok", "digest", node, v={"applied": 9, "digest": "aa"})

    def at(self, seconds):
        return START + int(seconds * S)

    def send(self, t0, t1, account="a@x.test", n=1, ty="ok", node="n1", got=None, reply="250 2.0.0 Ok", delivered=True, **v):
        """Times in seconds. The message's name."""
        self.number += 1
        name = f"m{self.number}"
        rcpts = [f"{name}.{i}@sink.test" for i in range(n)]
        end = {"rcpts": rcpts, **(got or {})} if ty != "fail" else got or {"stage": "mail"}
        self.op(self.at(t0), self.at(t1), f"c{self.number}", "submit", ty, node, account, {"id": name, "rcpts": rcpts, **v}, end,
                reply)
        if ty == "ok" and delivered:
            for rcpt in rcpts:
                self.arrive(t1 + 0.1, name, rcpt, node)
        return name

    def arrive(self, t, name, rcpt=None, node="n1", **v):
        return self.add(self.at(t), "sink", "ok", "deliver", node, v={"id": name, "rcpt": rcpt or f"{name}.0@sink.test",
                                                                      "begin_ns": self.at(t) - MS, **v})

    def moved(self, name, t, giver, taker):
        """What the giver says of it at the end."""
        self.add(self.at(103), "collect", "ok", "moved", giver, v={"id": name, "rcpt": f"{name}.0@sink.test", "to": taker,
                                                                  "moment_ns": self.at(t)})
        self.add(self.at(103), "collect", "ok", "collected", giver, v={"what": "history", "good": True})

    def fault(self, name, begin, end, kind, *nodes, measured=True):
        v = {"fault": name, "targets": list(nodes)}
        self.op(self.at(begin), self.at(begin) + MS, "nemesis", "nemesis", v={**v, "action": "start"}, got={kind: list(nodes)})
        self.op(self.at(end), self.at(end) + MS, "nemesis", "nemesis", v={**v, "action": "stop"},
                got={"effect": {"measured": measured, "how": "counted"}})


def limit(count, window_s, name="quick", of="account"):
    return {"name": name, "for": of, "count": count, "window_ms": int(window_s * 1000)}


# ---- I1

@bad("I1")
def one_more_in_a_full_window():
    tale = Tale(limits=[limit(10, 5)])
    for i in range(11):
        tale.send(10 + i * 0.4, 10.1 + i * 0.4)
    return tale.history()


@bad("I1")
def many_recipients_of_one_message():
    tale = Tale(limits=[limit(10, 5)])
    tale.send(10, 10.1, n=9)
    tale.send(14.7, 14.9, n=2, node="n2")
    return tale.history()


@bad("I1")
def the_last_nanosecond_of_the_window():
    tale = Tale(limits=[limit(1, 5)])
    tale.send(10, 10.5)
    tale.add(tale.at(14), "c", "invoke", "submit", "n2", "a@x.test", {"id": "m9", "rcpts": ["m9.0@sink.test"]})
    tale.add(tale.at(15) - 1, "c", "ok", "submit", "n2", "a@x.test", {"rcpts": ["m9.0@sink.test"]}, "250 ok")
    return tale.history()


@bad("I1")
def only_the_receipts_show_it():
    tale = Tale(limits=[limit(3, 5)])
    for i in range(4):  # each takes ten seconds, so none lies inside of a window
        name = tale.send(10 + i, 22 + i)
        tale.add(tale.at(104), "collect", "ok", "receipt", "n1", v={
            "account": "a@x.test", "n": 1, "id": name, "moment_ns": tale.at(16 + i), "res_ns": MS})
    return tale.history()


@bad("I1")
def messages_whose_250_was_lost_count():
    tale = Tale(limits=[limit(3, 5)])
    for i in range(4):
        name = tale.send(10 + i, 10.2 + i, ty="info", got={"stage": "dot"}, reply=None)
        tale.arrive(10.3 + i, name)
    return tale.history()


@bad("I1")
def the_longer_of_two_windows():
    tale = Tale(limits=[limit(10, 5), limit(20, 20, "slow")])
    for i in range(21):
        tale.send(10 + i * 0.9, 10.1 + i * 0.9)
    return tale.history()


@bad("I1")
def a_tenant_whose_accounts_each_keep_to_theirs():
    accounts = ("a@x.test", "b@x.test", "c@x.test")
    tale = Tale(limits=[limit(10, 5), limit(20, 5, "all", "tenant")], accounts=accounts)
    for i in range(21):
        tale.send(10 + i * 0.2, 10.1 + i * 0.2, accounts[i % 3], node=NODES[i % 3])
    return tale.history()


@bad("I1")
def a_lowered_limit_is_not_obeyed():
    tale = Tale(limits=[limit(10, 5)])
    tale.op(tale.at(8), tale.at(8.1), "op", "limit", k="limit/a@x.test/quick", v={"limit": "quick", "holder": "a@x.test", "count": 4})
    for i in range(5):  # from one life after the change
        tale.send(10.2 + i * 0.5, 10.3 + i * 0.5)
    return tale.history()


@bad("I1")
def a_limit_that_is_lowered_by_a_policy():
    tale = Tale(limits=[limit(10, 5)])
    tale.op(tale.at(8), tale.at(8.1), "op", "policy", k="policy", v={"value": 2, "limits": [limit(4, 5)]})
    for i in range(5):
        tale.send(10.2 + i * 0.5, 10.3 + i * 0.5)
    return tale.history()


@bad("I1")
def more_than_was_raised_to():
    tale = Tale(limits=[limit(4, 5)])
    tale.op(tale.at(8), tale.at(8.1), "op", "limit", k="limit/a@x.test/quick", v={"limit": "quick", "holder": "a@x.test", "count": 6})
    tale.op(tale.at(30), tale.at(30.1), "op", "limit", k="limit/a@x.test/quick", v={"limit": "quick", "holder": "a@x.test", "count": 99})
    for i in range(7):
        tale.send(10.2 + i * 0.5, 10.3 + i * 0.5)
    return tale.history()


@bad("I1")
def a_good_world_with_a_copied_burst():
    world = World(5, "quota")
    burst = [e for e in world.events if e.f == "submit" and e.ty == "ok" and e.k == "s0@red.test"][:12]
    for number, event in enumerate(burst):
        name = f"x{number}"
        t = burst[0].t + number * MS
        world.op(t - MS, t, f"x{number}", "submit", n="n3", k=event.k, v={"id": name, "rcpts": [f"{name}.0@sink.test"]},
                 got={"rcpts": [f"{name}.0@sink.test"]}, reply="250 ok")
    return world.history()


@bad("I1")
def refused_in_the_end_and_admitted_all_the_same():
    tale = Tale(limits=[limit(3, 5)])
    for i in range(4):
        name = tale.send(10 + i, 10.2 + i, ty="fail", got={"stage": "dot"}, reply="451 4.3.0 cannot be stored")
        tale.add(tale.at(104), "collect", "ok", "receipt", "n1", v={
            "account": "a@x.test", "n": 1, "id": name, "moment_ns": tale.at(10.1 + i), "res_ns": MS})
    return tale.history()


# ---- I2

def a_delivered(world):
    """(deliver event, its submit's end) of some message that was accepted and delivered once."""
    ends = {e.v["id"]: None for e in world.find("submit", "invoke")}
    open_ = {}
    for event in sorted(world.find("submit"), key=lambda e: (e.t, e.i)):
        if event.ty == "invoke":
            open_[event.p] = event.v["id"]
        else:
            ends[open_[event.p]] = event
    copies = {}
    for event in world.find("deliver"):
        copies.setdefault((event.v["id"], event.v["rcpt"]), []).append(event)
    events = [each[0] for each in copies.values() if len(each) == 1 and ends[each[0].v["id"]].ty == "ok"]
    return events[len(events) // 2], ends


@bad("I2")
def a_recipient_is_nowhere():
    world = World(1, "spool")
    event, _ = a_delivered(world)
    world.events = [e for e in world.events if e.f in ("submit", "receipt") or e.v.get("rcpt") != event.v["rcpt"]]
    return world.history()


@bad("I2")
def delivered_says_the_node_and_nobody_has_it():
    world = World(2, "spool")
    event, _ = a_delivered(world)
    world.events = [e for e in world.events if e is not event]
    return world.history()


@bad("I2")
def a_refused_message_arrives():
    world = World(3, "spool")
    begun = {e.p: e for e in world.find("submit", "invoke") if e.k == "s0@red.test"}
    refused = next(e for e in world.find("submit", "fail") if e.reply and e.reply.startswith(LIMIT_REPLY[:12]))
    invoke = max((e for e in world.find("submit", "invoke") if e.p == refused.p and e.t < refused.t), key=lambda e: e.t)
    assert begun
    world.add(refused.t + S, "sink", "ok", "deliver", "n1", v={"id": invoke.v["id"], "rcpt": invoke.v["rcpts"][0]})
    return world.history()


@bad("I2")
def a_message_without_its_end_arrives():
    tale = Tale("spool")
    name = tale.send(10, 11, ty="fail", got={"stage": "data", "error": "closed"}, reply=None)
    tale.arrive(12, name)
    return tale.history()


@bad("I2")
def a_message_without_its_end_is_queued():
    tale = Tale("spool")
    name = tale.send(10, 11, ty="fail", got={"stage": "data", "error": "closed"}, reply=None)
    tale.add(tale.at(104), "collect", "ok", "queued", "n1", v={"id": name, "rcpt": f"{name}.0@sink.test", "state": "queued"})
    return tale.history()


@bad("I2")
def refused_for_good_at_the_end_and_delivered():
    tale = Tale("spool")
    tale.arrive(12, tale.send(10, 11, ty="fail", got={"stage": "dot"}, reply="554 5.6.0 no"))
    return tale.history()


@bad("I2")
def refused_for_want_of_room_and_delivered():
    tale = Tale("spool")
    tale.arrive(12, tale.send(10, 11, ty="fail", got={"stage": "dot"}, reply="452 4.3.1 no room"))
    return tale.history()


@bad("I2")
def other_content_arrives():
    world = World(4, "spool")
    a_delivered(world)[0].v["hash"] = "another"
    return world.history()


@bad("I2")
def a_message_that_nobody_sent():
    tale = Tale("spool")
    tale.send(10, 11)
    tale.arrive(12, "m99")
    return tale.history()


@bad("I2")
def a_recipient_that_was_refused_gets_it():
    tale = Tale("spool")
    name = tale.send(10, 11, n=2, got={"rcpts": ["m1.0@sink.test"]}, delivered=False)
    tale.arrive(12, name)
    tale.arrive(12, name, "m1.1@sink.test")
    return tale.history()


@bad("I2")
def a_report_of_delay_is_no_end():
    tale = Tale("spool")
    name = tale.send(10, 11, delivered=False)
    tale.add(tale.at(20), "sink", "ok", "dsn", "n1", v={"about": name, "rcpts": [f"{name}.0@sink.test"], "action": "delayed"})
    return tale.history()


@bad("I2")
def told_as_relayed_and_nobody_has_it():
    tale = Tale("spool")
    name = tale.send(10, 11, delivered=False)
    tale.add(tale.at(20), "sink", "ok", "dsn", "n1", v={"about": name, "rcpts": [f"{name}.0@sink.test"], "action": "relayed"})
    return tale.history()


@bad("I2")
def bounced_and_never_reported():
    tale = Tale("spool")
    name = tale.send(10, 11, delivered=False)
    tale.add(tale.at(104), "collect", "ok", "ended", "n1", v={"id": name, "rcpt": f"{name}.0@sink.test", "how": "bounced"})
    return tale.history()


@bad("I2")
def lost_with_another_nodes_disk():
    tale = Tale("spool")
    tale.send(10, 11, node="n1", delivered=False)
    tale.fault("membership", 20, 25, "wiped", "n2")
    return tale.history()


@bad("I2")
def lost_after_it_had_left_that_disk():
    tale = Tale("spool")
    name = tale.send(10, 11, node="n2", delivered=False)
    tale.op(tale.at(15), tale.at(18), "op", "leave", n="n2", k="n2")
    tale.moved(name, 17, "n2", "n1")
    tale.moved("m0", 17, "n1", "n2")  # another one
    tale.fault("membership", 20, 25, "wiped", "n2")
    return tale.history()


@bad("I2")
def lost_on_the_new_disk():
    tale = Tale("spool")
    name = tale.send(10, 11, node="n1", delivered=False)
    tale.fault("membership", 15, 18, "wiped", "n2")
    tale.op(tale.at(19), tale.at(25), "op", "leave", n="n1", k="n1")
    tale.moved(name, 24, "n1", "n2")
    tale.moved("m0", 25, "n2", "n3")
    return tale.history()


# ---- I3

def frozen_tale(mode="reject", name="a@x.test", begin=10, returned=10.1, number=1, **more):
    tale = Tale("freeze")
    tale.op(tale.at(begin), tale.at(returned), "op", "freeze", n="n1", k=name, v={"mode": mode, **more}, got={"freeze": number})
    return tale


def thaw(tale, begin, end, ty="ok", name="a@x.test", p="op", **v):
    tale.op(tale.at(begin), tale.at(end), p, "unfreeze", ty, "n2", name, v)


@bad("I3")
def accepted_a_moment_after_the_return():
    tale = frozen_tale()
    tale.send(10.100001, 10.2, node="n3")
    thaw(tale, 20, 20.1)
    return tale.history()


@bad("I3")
def accepted_although_only_deferral_was_asked_for():
    tale = frozen_tale("defer")
    tale.send(15, 15.2)
    return tale.history()


@bad("I3")
def accepted_of_an_account_of_a_frozen_tenant():
    tale = frozen_tale(name="@x.test")
    tale.send(15, 15.2)
    return tale.history()


@bad("I3")
def its_250_was_lost_and_it_was_delivered():
    tale = frozen_tale()
    name = tale.send(15, 15.2, ty="info", got={"stage": "dot"}, reply=None)
    tale.arrive(40, name)
    return tale.history()


@bad("I3")
def a_thaw_of_another_freeze_lifted_it():
    tale = frozen_tale(number=7)
    thaw(tale, 12, 12.1, freeze=6)
    tale.send(15, 15.2)
    return tale.history()


@bad("I3")
def a_failed_thaw_lifted_it():
    tale = frozen_tale()
    thaw(tale, 12, 12.1, "fail")
    tale.send(15, 15.2)
    return tale.history()


@bad("I3")
def a_thaw_that_was_given_up_long_ago():
    tale = frozen_tale(begin=40, returned=40.1)
    tale.fault("partition-one", 10, 20, "minority", "n2")
    thaw(tale, 12, 17, "info", p="other")
    tale.send(42, 42.2)
    return tale.history()


@bad("I3")
def an_old_timer_lifted_a_newer_freeze():
    tale = frozen_tale(for_s=5, number=1)
    tale.op(tale.at(12), tale.at(12.1), "op", "freeze", n="n2", k="a@x.test", v={"mode": "reject"}, got={"freeze": 2})
    tale.send(16, 16.2)
    return tale.history()


@bad("I3")
def a_thaw_of_the_first_of_two_lifted_the_second():
    tale = frozen_tale(number=1)
    tale.op(tale.at(12), tale.at(12.1), "op", "freeze", n="n2", k="a@x.test", v={"mode": "reject", "for_s": 30}, got={"freeze": 2})
    thaw(tale, 13, 13.1, freeze=1)
    tale.send(16, 16.2)
    return tale.history()


@bad("I3")
def a_timer_came_early():
    tale = frozen_tale(for_s=10)
    tale.send(19, 19.2)
    return tale.history()


@bad("I3")
def what_was_held_went_out_before_the_thaw():
    tale = frozen_tale("hold")
    name = tale.send(15, 15.2, delivered=False)
    tale.arrive(18, name)
    thaw(tale, 20, 20.1)
    return tale.history()


@bad("I3")
def queued_mail_is_tried_while_he_is_frozen():
    tale = frozen_tale()
    name = tale.send(9, 9.2, delivered=False)
    tale.arrive(15, name)
    thaw(tale, 20, 20.1)
    return tale.history()


@bad("I3")
def the_node_that_froze_him_by_itself_accepts():
    tale = frozen_tale(local=True)
    tale.send(15, 15.2, node="n1")
    return tale.history()


# ---- I4

def writes(tale, key, *operations):
    """(begin, end, process, kind, value[, expect]); kind w, r, or ? for a write without an answer."""
    f = {"pool": "assign", "limit": "limit", "ip": "ip"}.get(key.split("/")[0], key)
    for begin, end, p, kind, value, *expect in operations:
        if kind == "r":
            tale.op(tale.at(begin), tale.at(end), p, "read", n="n1", k=key, got={"value": value})
            continue
        v = {"value": value, **({"expect": expect[0]} if expect else {})}
        tale.op(tale.at(begin), tale.at(end), p, f, "info" if kind == "?" else "ok", "n1", key, v)
    return tale


@bad("I4")
def a_read_of_what_was_overwritten():
    return writes(Tale("registers"), "pool/class/bulk", (10, 11, "p", "w", "a"), (12, 13, "p", "w", "b"),
                  (14, 15, "q", "r", "a")).history()


@bad("I4")
def two_that_replaced_the_same():
    return writes(Tale("registers"), "policy", (10, 11, "p", "w", 1), (12, 14, "p", "w", 2, 1), (12, 15, "q", "w", 3, 1)).history()


@bad("I4")
def a_read_of_what_nobody_wrote():
    return writes(Tale("registers"), "ip/192.0.2.1", (10, 11, "p", "w", "n1"), (12, 13, "q", "r", "n2")).history()


@bad("I4")
def seen_and_then_not_seen():
    return writes(Tale("registers"), "pool/class/bulk", (10, 11, "p", "w", "a"), (12, 13, "p", "?", "b"), (14, 15, "q", "r", "b"),
                  (16, 17, "q", "r", "a")).history()


@bad("I4")
def an_unanswered_write_takes_effect_before_it_was_made():
    return writes(Tale("registers"), "pool/class/bulk", (10, 11, "p", "w", "a"), (12, 13, "q", "r", "b"),
                  (14, 15, "p", "?", "b")).history()


@bad("I4")
def a_thaw_that_succeeded_on_another_freeze():
    tale = frozen_tale(number=7)
    thaw(tale, 12, 12.1, freeze=6)
    return tale.history()


@bad("I4")
def two_thaws_of_one_freeze():
    tale = frozen_tale(number=7)
    thaw(tale, 12, 13, freeze=7)
    thaw(tale, 12.5, 14, freeze=7, p="other")
    return tale.history()


@bad("I4")
def a_frozen_list_without_who_is_frozen():
    tale = frozen_tale(number=7)
    tale.op(tale.at(12), tale.at(12.1), "op2", "read", n="n2", k="frozen/a@x.test", got={"value": None})
    return tale.history()


@bad("I4")
def a_node_does_not_know_who_is_frozen():
    tale = frozen_tale(number=7)
    tale.op(tale.at(12), tale.at(12.1), "op2", "read", n="n2", k="frozen/a@x.test", v={"stale": True}, got={"value": None})
    thaw(tale, 20, 20.1)
    return tale.history()


@bad("I4")
def a_node_shows_a_freeze_that_was_replaced():
    tale = frozen_tale(number=7)
    tale.op(tale.at(12), tale.at(12.1), "op", "freeze", n="n2", k="a@x.test", v={"mode": "reject"}, got={"freeze": 8})
    tale.op(tale.at(14), tale.at(14.1), "op2", "read", n="n2", k="frozen/a@x.test", v={"stale": True},
            got={"value": {"freeze": 7, "mode": "reject"}})
    return tale.history()


@bad("I4")
def a_node_knows_what_was_never_written():
    tale = writes(Tale("registers", registers={"pool/class/bulk": None}), "pool/class/bulk", (10, 11, "p", "w", "a"))
    tale.op(tale.at(12), tale.at(13), "q", "read", n="n2", k="pool/class/bulk", v={"stale": True}, got={"value": "b"})
    return tale.history()


@bad("I4")
def an_address_that_two_nodes_use():
    tale = writes(Tale("registers"), "ip/192.0.2.1", (10, 11, "p", "w", "n1"), (12, 13, "p", "w", "n2"))
    for node, begin in (("n1", 14), ("n2", 14.5)):
        name = tale.send(9, 9.2, node=node, delivered=False)
        tale.arrive(15, name, node=node, source_ip="192.0.2.1", begin_ns=tale.at(begin))
    return tale.history()


@bad("I4")
def a_good_world_with_one_read_turned_back():
    world = World(6, "registers")
    reads = [e for e in sorted(world.find("read", "ok"), key=lambda e: e.t) if e.k == "policy"]
    reads[-1].v["value"] = reads[len(reads) // 3].v["value"]
    return world.history()


# ---- I5

@bad("I5")
def a_second_copy_for_no_reason():
    world = World(1, "spool")
    event, _ = a_delivered(world)
    world.add(event.t + S // 2, "sink", "ok", "deliver", event.n, v=dict(event.v))
    return world.history() if not world.trouble(event.n, event.t) else None


@bad("I5")
def another_node_crashed():
    tale = Tale("spool")
    name = tale.send(10, 11)
    tale.add(tale.at(11.5), "nemesis", "ok", "crash", "n2", v={"caused": True})
    tale.arrive(12, name)
    return tale.history()


@bad("I5")
def it_crashed_after_the_second_copy():
    tale = Tale("spool")
    name = tale.send(10, 11)
    tale.arrive(12, name)
    tale.add(tale.at(13), "nemesis", "ok", "crash", "n1", v={"caused": True})
    return tale.history()


@bad("I5")
def it_crashed_before_it_began_with_the_first_copy():
    tale = Tale("spool")
    tale.add(tale.at(9), "nemesis", "ok", "crash", "n1", v={"caused": True})
    name = tale.send(10, 11)
    tale.arrive(12, name)
    return tale.history()


@bad("I5")
def a_third_copy_of_which_one_crash_explains_the_second_only():
    tale = Tale("spool")
    name = tale.send(10, 11)
    tale.add(tale.at(11.5), "nemesis", "ok", "crash", "n1", v={"caused": True})
    tale.arrive(30, name)
    tale.arrive(40, name)
    return tale.history()


@bad("I5")
def a_move_made_a_copy():
    tale = Tale("spool")
    name = tale.send(10, 11)
    tale.arrive(12, name, node="n2")
    return tale.history()


@bad("I5")
def an_end_that_was_reported_twice():
    tale = Tale("spool")
    name = tale.send(10, 11, delivered=False)
    for number in (1, 2):
        tale.add(tale.at(12 + number), "sink", "ok", "dsn", "n1", v={"id": f"d{number}", "about": name, "action": "failed",
                                                                    "rcpts": [f"{name}.0@sink.test"]})
    return tale.history()


@bad("I5")
def delivered_and_reported_as_failed():
    tale = Tale("spool")
    name = tale.send(10, 11)
    tale.add(tale.at(12), "sink", "ok", "dsn", "n1", v={"about": name, "rcpts": [f"{name}.0@sink.test"], "action": "failed"})
    return tale.history()


# ---- I6

def steady(tale, begin, end, each=0.1, node=None, but=None):
    """Attempts one after the other, all accepted, but those for which `but` says something else."""
    t, number = begin, 0
    while t < end:
        at = node or NODES[number % 3]
        kind = but(t, at) if but else None
        if kind is None:
            tale.send(t, t + 0.05, node=at)
        elif kind == "slow":
            tale.send(t, t + 2.5, node=at)
        elif kind == "cut":
            tale.send(t, t + 0.05, node=at, ty="fail", got={"stage": "greeting"}, reply="421 4.3.2 try another one")
        else:
            tale.send(t, t + 0.05, node=at, ty="fail", got={"stage": "mail"}, reply=kind)
        t, number = t + each, number + 1
    return tale


@bad("I6")
def one_in_forty_is_refused():
    return steady(Tale("spool"), 5, 60, but=lambda t, at: "451 4.3.2 later" if int(t * 10) % 40 == 0 else None).history()


@bad("I6")
def one_of_fifty_on_nodes_that_were_hardly_asked():
    return steady(Tale("spool"), 10, 60, each=1, but=lambda t, at: "451 4.3.2 later" if t == 30 else None).history()


@bad("I6")
def accepted_too_late():
    return steady(Tale("spool"), 5, 60, but=lambda t, at: "slow" if 30 < t < 32 else None).history()


@bad("I6")
def one_node_takes_nothing_after_healing():
    tale = Tale("spool")
    tale.fault("partition-one", 10, 20, "minority", "n3")
    return steady(tale, 5, 60, but=lambda t, at: "cut" if at == "n3" and 12 < t < 40 else None).history()


@bad("I6")
def the_majority_stops_while_one_is_cut_off():
    tale = Tale("spool")
    tale.fault("partition-one", 10, 40, "minority", "n3")
    return steady(tale, 5, 80, but=lambda t, at: "cut" if (at == "n3" and 12 < t < 45) or 20 < t < 25 else None).history()


@bad("I6")
def a_drained_node_is_no_excuse_for_the_majority():
    tale = Tale("spool")
    tale.fault("partition-one", 10, 60, "minority", "n3")
    tale.fault("drain", 20, 50, "unclear", "n1")
    return steady(tale, 5, 80, but=lambda t, at: "cut" if (at == "n3" and 12 < t < 65) or 30 < t < 40 else None).history()


@bad("I6")
def a_cut_off_node_refuses_for_good():
    tale = Tale("spool")
    tale.fault("partition-one", 10, 30, "minority", "n3")
    return steady(tale, 5, 60, but=lambda t, at: None if at != "n3" or not 12 < t < 35 else
                  "554 5.3.2 no service" if 20 < t < 21 else "cut").history()


@bad("I6")
def a_cut_off_node_goes_on_accepting():
    tale = Tale("spool")
    tale.fault("partition-one", 10, 30, "minority", "n3")
    return steady(tale, 5, 60, but=lambda t, at: "cut" if at == "n3" and 14 < t < 35 else None).history()


@bad("I6")
def frozen_is_said_to_who_is_not():
    return steady(Tale("spool"), 5, 60, but=lambda t, at: "550 5.7.1 disabled for sending" if 30 < t < 32 else None).history()


# ---- I7

@bad("I7")
def states_that_differ_at_the_end():
    world = World(1)
    world.find("digest", node=None)
    next(e for e in world.find("digest") if e.n == "n2").v["digest"] = "bad"
    return world.history()


@bad("I7")
def states_that_differed_in_between():
    tale = Tale()
    for node, digest in (("n1", "x"), ("n3", "y")):
        tale.add(tale.at(30), "run", "ok", "digest", node, v={"applied": 5, "digest": digest})
    return tale.history()


@bad("I7")
def a_node_that_was_fenced():
    tale = Tale()
    tale.add(tale.at(30), "run", "ok", "log", "n2", v={"kind": "fenced", "line": "this node's state differs"})
    return tale.history()


@bad("I7")
def two_leaders_of_one_term():
    tale = Tale()
    for t, node in ((20, "n1"), (25, "n2"), (30, "n1")):
        tale.add(tale.at(t), "watch", "ok", "leader", v={"leader": node, "term": 4})
    return tale.history()


# ---- I8

@bad("I8")
def a_process_that_ended_by_itself():
    world = World(2)
    world.add(world.begin + 15 * S, "watch", "ok", "crash", "n1", v={"caused": False, "how": "signal 6"})
    return world.history()


@bad("I8")
def an_assertion_in_the_log():
    tale = Tale()
    tale.add(tale.at(30), "collect", "ok", "log", "n2", v={"kind": "assertion", "line": "turnpike: broken invariant: x (y.c:1)"})
    return tale.history()


@bad("I8")
def a_core_dump():
    tale = Tale()
    tale.add(tale.at(30), "collect", "ok", "log", "n2", v={"kind": "core", "line": "core.77"})
    return tale.history()


@bad("I8")
def ended_by_the_test_is_not_said():
    tale = Tale()
    tale.fault("kill-leader", 20, 25, "down", "n1")
    tale.add(tale.at(20), "watch", "ok", "crash", "n2", v={"caused": None})
    return tale.history()


# ---- I9

ADDRESS = "198.51.100.1"


class Lodging(Tale):
    """One floating address, which is n1's until it is said to be another's."""

    def __init__(self, **meta):
        super().__init__("addresses", accounts=("a@addr.test",), addresses=[ADDRESS], after_ms=1000, floating=True, **meta)
        self.use("n1", 2, 3)
        for t in (2, 5, 8):
            self.whose(t, "n1", 1)

    def use(self, node, begin, proven):
        return self.add(self.at(proven) + MS, "sink", "ok", "use", node, v={
            "source_ip": ADDRESS, "session": len(self.events), "begin_ns": self.at(begin), "proven_ns": self.at(proven)})

    def whose(self, t, owner, version, following=None):
        self.op(self.at(t), self.at(t) + MS, "owners", "owners", n="n2", got={"owners": {ADDRESS: [owner, following, version]}})


@bad("I9")
def two_nodes_use_it_at_once():
    tale = Lodging()
    tale.use("n1", 9, 12)
    tale.use("n2", 11, 13)
    tale.whose(12.5, "n2", 2)
    return tale.history()


@bad("I9")
def used_after_it_was_given_away():
    tale = Lodging()
    for t in (12, 13, 15):
        tale.whose(t, "n2", 2)
    tale.use("n1", 13.5, 14)
    return tale.history()


@bad("I9")
def a_connection_that_was_never_ended():
    tale = Lodging()
    tale.use("n1", 7, 12.5)
    tale.whose(12, "n2", 2)
    tale.whose(15, "n2", 2)
    tale.use("n2", 14, 15)
    return tale.history()


@bad("I9")
def used_before_it_is_given():
    tale = Lodging()
    tale.use("n2", 6, 7)
    tale.whose(9, "n2", 2)
    return tale.history()


@bad("I9")
def its_new_owner_does_not_use_it():
    tale = Lodging()
    for t in range(12, 30):
        tale.whose(t, "n2", 2)
        tale.send(t + 0.2, t + 0.3, account="a@addr.test", node="n2")
        tale.send(t + 0.5, t + 0.6, account="a@addr.test", node="n2")
    return tale.history()


@bad("I9")
def a_lost_nodes_address_goes_to_nobody():
    tale = Lodging()
    tale.fault("kill-owner", 10, 30, "down", "n1")
    for t in range(11, 30):
        tale.whose(t, "n1" if t < 16 else None, 1)
    return tale.history()


@bad("I9")
def a_good_world_with_one_use_by_another_node():
    world = World(5, "addresses")
    uses = [event for event in world.find("use") if event.v["proven_ns"] - event.v["begin_ns"] > 600 * MS]
    middle = uses[len(uses) // 2]
    middle.n = next(node for node in NODES if node != middle.n)
    return world.history()
