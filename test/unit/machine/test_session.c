/* Sessions: who may hold one, what replaces it, when it has ended, and what a repeated command is told. */
#include "test/unit/machine/fixture.h"

static struct command open_cmd(uint64_t node, uint64_t replaces, uint8_t nonce)
{
    struct command cmd = { .type = COMMAND_SESSION_OPEN };
    cmd.session_open =
        (struct command_session_open){ .node = node, .replaces = replaces, .new_process = true };
    memset(cmd.session_open.nonce, nonce, sizeof cmd.session_open.nonce);
    return cmd;
}

static const struct machine_result *renew(struct fix *f, uint64_t session, uint64_t number,
                                          uint64_t published)
{
    struct command cmd = { .type = COMMAND_SESSION_RENEW, .origin.session = session };
    cmd.session_renew = (struct command_session_renew){ .number = number, .published = published };
    return fix_apply(f, &cmd);
}

static const struct machine_result *expire(struct fix *f, uint64_t session, uint64_t number)
{
    struct command cmd = { .type = COMMAND_SESSION_EXPIRE };
    cmd.session_expire = (struct command_session_expire){ .session = session, .number = number };
    return fix_apply(f, &cmd);
}

static uint32_t waited_for(const struct fix *f)
{
    struct machine_totals t;
    machine_totals(f->m, &t);
    return (uint32_t)t.sessions;
}

static void an_id_is_the_place_in_the_log(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    struct command cmd = open_cmd(1, 0, 7);
    const struct machine_result *r = fix_apply(&f, &cmd);
    assert_int_equal(r->err, 0);
    assert_int_equal(r->id, f.index * 64);
    assert_int_equal(r->life_ms, 3000);
    uint64_t id = r->id;
    struct machine_session s;
    assert_true(machine_session_find(f.m, id, &s));
    assert_true(s.current);
    assert_int_equal(s.node, 1);
    assert_int_equal(s.opened_index, f.index);
    assert_int_equal(s.nonce[15], 7);
    struct machine_effect e;
    assert_int_equal(fix_changes(&f, MACHINE_CHANGED_SESSIONS, &e), 1);
    assert_int_equal(e.id, id);
    /* The same attempt again: the same answer, and nothing new. */
    r = fix_apply(&f, &cmd);
    assert_int_equal(r->err, 0);
    assert_int_equal(r->id, id);
    assert_int_equal(waited_for(&f), 1);
    struct directory_member mb;
    assert_true(directory_member_find(f.m, 1, &mb));
    assert_int_equal(mb.session, id);
    fix_fini(&f);
}

static void only_members_open_sessions(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    struct command cmd = open_cmd(9, 0, 7);
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_DENIED);
    cmd = open_cmd(0, 0, 7);
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_DENIED);
    fix_fini(&f);
}

static void an_open_names_what_it_replaces(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t first = fix_open(&f, 1, 0, true, 1);
    struct command cmd = open_cmd(1, 0, 2);
    const struct machine_result *r = fix_apply(&f, &cmd);
    assert_int_equal(r->err, ERR_BUSY);
    assert_int_equal(r->id, first); /* what it should have named */
    cmd = open_cmd(1, first - 64, 3);
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_BUSY);
    uint64_t second = fix_open(&f, 1, first, true, 2);
    assert_true(second > first);
    /* The late open that lost: it names what is no longer the last one. */
    cmd = open_cmd(1, first, 4);
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_BUSY);
    fix_fini(&f);
}

/* (!) Also when the newer session has ended meanwhile. */
static void a_late_open_does_not_come_back(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t first = fix_open(&f, 1, 0, true, 1);
    uint64_t second = fix_open(&f, 1, first, true, 2);
    assert_int_equal(expire(&f, first, 0)->err, 0);
    assert_int_equal(expire(&f, second, 0)->err, 0);
    assert_int_equal(waited_for(&f), 0);
    struct command cmd = open_cmd(1, first, 3);
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_BUSY);
    cmd = open_cmd(1, first, 2); /* a repeat of the second: its answer, and it stays ended */
    const struct machine_result *r = fix_apply(&f, &cmd);
    assert_int_equal(r->err, 0);
    assert_int_equal(r->id, second);
    assert_int_equal(waited_for(&f), 0);
    assert_true(fix_open(&f, 1, second, false, 5) > second);
    fix_fini(&f);
}

static void renewals_ascend(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t id = fix_open(&f, 1, 0, true, 1);
    assert_int_equal(renew(&f, id, 1, 10)->err, 0);
    assert_int_equal(renew(&f, id, 3, 12)->err, 0);
    assert_int_equal(renew(&f, id, 3, 12)->err, 0); /* a repeat of the attempt */
    assert_int_equal(renew(&f, id, 2, 99)->err, ERR_BUSY);
    struct machine_session s;
    assert_true(machine_session_find(f.m, id, &s));
    assert_int_equal(s.number, 3);
    assert_int_equal(s.published, 12);
    fix_fini(&f);
}

/* (!) */
static void an_expiry_names_the_renewal(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t id = fix_open(&f, 1, 0, true, 1);
    assert_int_equal(renew(&f, id, 1, 0)->err, 0);
    assert_int_equal(renew(&f, id, 2, 0)->err, 0);
    assert_int_equal(expire(&f, id, 1)->err, ERR_BUSY); /* it was renewed since */
    assert_int_equal(waited_for(&f), 1);
    assert_int_equal(expire(&f, id, 2)->err, 0);
    assert_int_equal(waited_for(&f), 0);
    /* (!) An expired session is never renewed. */
    const struct machine_result *r = renew(&f, id, 3, 0);
    assert_int_equal(r->err, ERR_NOT_FOUND);
    assert_int_equal(r->why, MACHINE_REFUSED_SESSION);
    assert_int_equal(fix_grant(&f, id, "anna", "", 1, 1)->err, ERR_NOT_FOUND);
    struct directory_member mb;
    assert_true(directory_member_find(f.m, 1, &mb));
    assert_int_equal(mb.session, 0);
    fix_fini(&f);
}

/* (!) */
static void a_superseded_session_is_waited_for(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t first = fix_open(&f, 1, 0, true, 1);
    assert_int_equal(renew(&f, first, 5, 0)->err, 0);
    uint64_t second = fix_open(&f, 1, first, true, 2);
    struct machine_session s;
    assert_true(machine_session_find(f.m, first, &s));
    assert_false(s.current);
    assert_int_equal(waited_for(&f), 2);
    const struct machine_result *r = renew(&f, first, 6, 0);
    assert_int_equal(r->err, ERR_DENIED);
    assert_int_equal(r->why, MACHINE_REFUSED_SESSION);
    f.seq = 0;
    assert_int_equal(fix_grant(&f, first, "anna", "", 1, 1)->err, ERR_DENIED);
    assert_int_equal(expire(&f, first, 4)->err, ERR_BUSY);
    assert_int_equal(waited_for(&f), 2);
    assert_int_equal(expire(&f, first, 5)->err, 0);
    assert_int_equal(waited_for(&f), 1);
    assert_true(machine_session_find(f.m, second, &s));
    assert_true(s.current);
    fix_fini(&f);
}

static void a_superseded_session_may_sign_off(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t first = fix_open(&f, 1, 0, true, 1);
    uint64_t second = fix_open(&f, 1, first, true, 2);
    struct command cmd = { .type = COMMAND_SESSION_CLOSE, .origin.session = first };
    assert_int_equal(fix_apply(&f, &cmd)->err, 0);
    struct machine_session s;
    assert_false(machine_session_find(f.m, first, &s));
    assert_true(machine_session_find(f.m, second, &s));
    cmd.origin.session = second;
    assert_int_equal(fix_apply(&f, &cmd)->err, 0);
    assert_int_equal(waited_for(&f), 0);
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_NOT_FOUND);
    fix_fini(&f);
}

/* (!) */
static void a_removed_nodes_session_is_waited_for(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t node = fix_join(&f);
    uint64_t id = fix_open(&f, node, 0, true, 1);
    assert_int_equal(fix_take(&f, id, "anna", 10), 10);
    struct command cmd = { .type = COMMAND_MEMBER_SET };
    cmd.member_set = (struct command_member_set){ .by.who = SPAN_LIT("test"),
                                                  .node = node,
                                                  .state = COMMAND_MEMBER_REMOVED };
    assert_int_equal(fix_apply(&f, &cmd)->err, 0);
    struct machine_session s;
    assert_true(machine_session_find(f.m, id, &s));
    assert_false(s.current);
    assert_int_equal(fix_grant(&f, id, "anna", "", 1, 1)->err, ERR_DENIED);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").burned, 10);
    cmd = open_cmd(node, id, 2);
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_DENIED);
    assert_int_equal(expire(&f, id, 0)->err, 0);
    assert_int_equal(waited_for(&f), 0);
    fix_fini(&f);
}

static void too_many_sessions_of_one_node(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t last = 0;
    for (uint8_t i = 1; i <= 64; i++)
        last = fix_open(&f, 1, last, true, i);
    struct command cmd = open_cmd(1, last, 200);
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_LIMIT);
    assert_int_equal(waited_for(&f), 64);
    fix_fini(&f);
}

/* ---- repeated commands ----------------------------------------------------------------------------------
 */

static struct command grant_cmd(uint64_t session, uint64_t seq, uint64_t lowest)
{
    struct command cmd = { .type = COMMAND_GRANT, .origin = { session, seq, lowest } };
    cmd.grant = (struct command_grant){ .account = SPAN_LIT("anna"), .need = 1, .want = 1 };
    return cmd;
}

static void a_repeat_changes_nothing(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t id = fix_open(&f, 1, 0, true, 1);
    struct command cmd = grant_cmd(id, 1, 1);
    struct machine_result first = *fix_apply(&f, &cmd);
    assert_int_equal(first.count, 1);
    f.now_ms += 500;
    struct machine_result again = *fix_apply(&f, &cmd);
    assert_int_equal(again.id, first.id);
    assert_int_equal(again.count, 1);
    assert_int_equal(again.now_ms, first.now_ms);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").used, 1);
    /* A refusal is an answer too, word for word. */
    struct command big = grant_cmd(id, 2, 1);
    big.grant.need = 500;
    first = *fix_apply(&f, &big);
    assert_int_equal(first.err, ERR_LIMIT);
    f.now_ms += 500;
    again = *fix_apply(&f, &big);
    assert_memory_equal(&first, &again, sizeof first);
    /* Also when the session was superseded meanwhile: the asker learns what became of it. */
    (void)fix_open(&f, 1, id, false, 2);
    assert_int_equal(fix_apply(&f, &cmd)->count, 1);
    struct command never = grant_cmd(id, 3, 1);
    assert_int_equal(fix_apply(&f, &never)->err, ERR_DENIED);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").used, 1);
    fix_fini(&f);
}

static void the_window_moves_with_the_lowest(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t id = fix_open(&f, 1, 0, true, 1);
    struct command cmd = grant_cmd(id, 1024, 1);
    assert_int_equal(fix_apply(&f, &cmd)->err, 0);
    cmd = grant_cmd(id, 1025, 1);
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_BAD);
    cmd = grant_cmd(id, 0, 0);
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_BAD);
    cmd = grant_cmd(id, 5, 6);
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_BAD);
    cmd = grant_cmd(id, 1025, 1000);
    assert_int_equal(fix_apply(&f, &cmd)->err, 0);
    /* A duplicate from before: its asker has the answer, so it does nothing. */
    cmd = grant_cmd(id, 7, 1);
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_CLOSED);
    cmd = grant_cmd(id, 1024, 1);
    assert_int_equal(fix_apply(&f, &cmd)->err, 0);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").used, 2);
    cmd = grant_cmd(id, 1u << 30, 1u << 30);
    assert_int_equal(fix_apply(&f, &cmd)->err, 0);
    cmd = grant_cmd(id, 1025, 1000);
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_CLOSED);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").used, 3);
    fix_fini(&f);
}

/* (!) */
static void a_cancelled_command_never_counts(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t id = fix_open(&f, 1, 0, true, 1);
    struct command cancel = { .type = COMMAND_CANCEL, .origin = { id, 2, 1 } };
    cancel.cancel.seq = 1;
    const struct machine_result *r = fix_apply(&f, &cancel);
    assert_int_equal(r->err, 0);
    assert_int_equal(r->count, 1);
    struct command late = grant_cmd(id, 1, 1);
    assert_int_equal(fix_apply(&f, &late)->err, ERR_CLOSED);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").used, 0);
    /* It came first: the canceller is told, by 0, that there is an answer. */
    struct command early = grant_cmd(id, 3, 1);
    assert_int_equal(fix_apply(&f, &early)->count, 1);
    cancel.origin.seq = 4;
    cancel.cancel.seq = 3;
    assert_int_equal(fix_apply(&f, &cancel)->count, 0);
    assert_int_equal(fix_apply(&f, &early)->count, 1);
    assert_int_equal(fix_usage(&f, "anna", "", "hour").used, 1);
    cancel.origin.seq = 5;
    cancel.cancel.seq = 5000;
    assert_int_equal(fix_apply(&f, &cancel)->err, ERR_BAD);
    fix_fini(&f);
}

static void operators_commands_need_no_session(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    struct command cmd = grant_cmd(0, 1, 1);
    assert_int_equal(fix_apply(&f, &cmd)->err, ERR_BAD);
    assert_int_equal(fix_freeze(&f, COMMAND_SCOPE_ACCOUNT, "anna", COMMAND_FREEZE_REJECT, 0)->err, 0);
    /* With one they are repeated without harm. */
    uint64_t id = fix_open(&f, 1, 0, true, 1);
    struct command thaw = { .type = COMMAND_THAW, .origin = { id, 1, 1 } };
    thaw.thaw = (struct command_thaw){ .by.who = SPAN_LIT("t"), .scope = 1, .name = SPAN_LIT("anna") };
    assert_int_equal(fix_apply(&f, &thaw)->err, 0);
    assert_int_equal(fix_apply(&f, &thaw)->err, 0);
    thaw.origin.seq = 2;
    assert_int_equal(fix_apply(&f, &thaw)->err, ERR_NOT_FOUND);
    fix_fini(&f);
}

/* What a node counts and what the cluster waits for follow the longer of two policies. */
static void a_shorter_ttl_waits_for_the_longer(void **state)
{
    (void)state;
    struct fix f;
    fix_init(&f);
    uint64_t id = fix_open(&f, 1, 0, true, 1);
    struct policy_compiled p;
    fix_policy_plain(&p);
    p.session_ttl_ms = 1000;
    fix_policy(&f, &p);
    assert_int_equal(machine_session_ttl_ms(f.m), 1000);
    struct machine_session s;
    assert_true(machine_session_find(f.m, id, &s));
    assert_int_equal(s.ttl_ms, 3000);
    assert_int_equal(renew(&f, id, 1, 0)->life_ms, 1000);
    assert_true(machine_session_find(f.m, id, &s));
    assert_int_equal(s.ttl_ms, 3000); /* the node may not have seen it yet */
    assert_int_equal(renew(&f, id, 2, 0)->life_ms, 1000);
    assert_true(machine_session_find(f.m, id, &s));
    assert_int_equal(s.ttl_ms, 1000);
    fix_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_the_place_in_the_log),
        cmocka_unit_test(only_members_open_sessions),
        cmocka_unit_test(an_open_names_what_it_replaces),
        cmocka_unit_test(a_late_open_does_not_come_back),
        cmocka_unit_test(renewals_ascend),
        cmocka_unit_test(an_expiry_names_the_renewal),
        cmocka_unit_test(a_superseded_session_is_waited_for),
        cmocka_unit_test(a_superseded_session_may_sign_off),
        cmocka_unit_test(a_removed_nodes_session_is_waited_for),
        cmocka_unit_test(too_many_sessions_of_one_node),
        cmocka_unit_test(a_repeat_changes_nothing),
        cmocka_unit_test(the_window_moves_with_the_lowest),
        cmocka_unit_test(a_cancelled_command_never_counts),
        cmocka_unit_test(operators_commands_need_no_session),
        cmocka_unit_test(a_shorter_ttl_waits_for_the_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
