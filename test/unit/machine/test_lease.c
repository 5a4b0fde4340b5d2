/* When a leader may say that a session has expired. */
#include "test/unit/machine/fixture.h"

struct leader {
    struct fix f;
    struct lease *l;
    struct buf out;
    int64_t boot_ms;
};

static void start(struct leader *x)
{
    fix_init(&x->f);
    x->l = lease_new();
    buf_init(&x->out, 1 << 20);
    x->boot_ms = 5000000;
}

static void stop(struct leader *x)
{
    lease_free(x->l);
    buf_fini(&x->out);
    fix_fini(&x->f);
}

/* What is due at that time; *cmd: the first. */
static uint32_t due(struct leader *x, int64_t after_ms, struct command *cmd)
{
    uint32_t n;
    buf_reset(&x->out);
    assert_int_equal(lease_due(x->l, x->f.m, x->boot_ms + after_ms, &x->out, &n), 0);
    struct cursor c;
    cursor_init(&c, x->out.data, x->out.len);
    for (uint32_t i = 0; i < n; i++) {
        struct command one;
        assert_int_equal(command_decode(&c, &one), 0);
        assert_int_equal(one.type, COMMAND_SESSION_EXPIRE);
        if (i == 0 && cmd != NULL)
            *cmd = one;
    }
    assert_int_equal(cursor_left(&c), 0);
    return n;
}

static void applied(struct leader *x, int64_t after_ms)
{
    lease_applied(x->l, x->f.m, &x->f.fx, x->boot_ms + after_ms);
}

static void renew(struct leader *x, uint64_t session, uint64_t number, int64_t after_ms)
{
    struct command cmd = { .type = COMMAND_SESSION_RENEW, .origin.session = session };
    cmd.session_renew.number = number;
    assert_int_equal(fix_apply(&x->f, &cmd)->err, 0);
    applied(x, after_ms);
}

static void counts_from_applying(void **state)
{
    (void)state;
    struct leader x;
    start(&x);
    lease_start(x.l, x.f.m, x.boot_ms);
    uint64_t s = fix_open(&x.f, 1, 0, true, 1);
    applied(&x, 100);
    assert_int_equal(due(&x, 4099, NULL), 0);
    assert_int_equal(lease_left_ms(x.l, s, x.boot_ms + 1100), 3000);
    renew(&x, s, 1, 1000);
    renew(&x, s, 1, 1500); /* a repeat of the attempt is no news of the node */
    assert_int_equal(due(&x, 4999, NULL), 0);
    struct command cmd;
    assert_int_equal(due(&x, 5000, &cmd), 1);
    assert_int_equal(lease_left_ms(x.l, s, x.boot_ms + 6000), 0);
    assert_int_equal(cmd.session_expire.session, s);
    assert_int_equal(cmd.session_expire.number, 1);
    assert_int_equal(due(&x, 5999, NULL), 0); /* asked already */
    assert_int_equal(due(&x, 6000, NULL), 1); /* perhaps it was lost */
    /* (!) Renewed before the expiry is applied: it lives. */
    renew(&x, s, 2, 6100);
    assert_int_equal(fix_apply(&x.f, &cmd)->err, ERR_BUSY);
    applied(&x, 6100);
    assert_int_equal(due(&x, 10000, NULL), 0);
    assert_int_equal(due(&x, 10100, &cmd), 1);
    assert_int_equal(fix_apply(&x.f, &cmd)->err, 0);
    applied(&x, 10200);
    assert_int_equal(due(&x, 99999, NULL), 0);
    assert_int_equal(lease_left_ms(x.l, s, x.boot_ms), -1);
    stop(&x);
}

/* (!) */
static void a_new_leader_counts_afresh(void **state)
{
    (void)state;
    struct leader x;
    start(&x);
    uint64_t first = fix_open(&x.f, 1, 0, true, 1);
    uint64_t second = fix_open(&x.f, 1, first, true, 2);
    applied(&x, 0); /* not leading: nothing is counted */
    assert_int_equal(due(&x, 100000, NULL), 0);
    assert_int_equal(lease_left_ms(x.l, first, x.boot_ms), -1);
    lease_start(x.l, x.f.m, x.boot_ms + 100000);
    assert_int_equal(due(&x, 103999, NULL), 0);
    assert_int_equal(due(&x, 104000, NULL), 2); /* also the one that is only waited for */
    lease_stop(x.l);
    assert_int_equal(due(&x, 200000, NULL), 0);
    lease_start(x.l, x.f.m, x.boot_ms + 200000);
    assert_int_equal(lease_left_ms(x.l, second, x.boot_ms + 200000), 4000);
    assert_int_equal(due(&x, 203999, NULL), 0);
    stop(&x);
}

static void a_superseded_session_keeps_its_own_time(void **state)
{
    (void)state;
    struct leader x;
    start(&x);
    lease_start(x.l, x.f.m, x.boot_ms);
    uint64_t first = fix_open(&x.f, 1, 0, true, 1);
    applied(&x, 0);
    uint64_t second = fix_open(&x.f, 1, first, true, 2);
    applied(&x, 2000);
    struct command cmd;
    assert_int_equal(due(&x, 3999, NULL), 0);
    assert_int_equal(due(&x, 4000, &cmd), 1);
    assert_int_equal(cmd.session_expire.session, first);
    assert_int_equal(due(&x, 5999, NULL), 1);
    assert_int_equal(lease_left_ms(x.l, second, x.boot_ms + 5999), 1);
    stop(&x);
}

static void a_longer_ttl_and_a_short_margin(void **state)
{
    (void)state;
    struct leader x;
    start(&x);
    struct policy_compiled p;
    fix_policy_plain(&p);
    p.session_ttl_ms = 60000;
    p.session_margin_ms = 50;
    fix_policy(&x.f, &p);
    lease_start(x.l, x.f.m, x.boot_ms);
    (void)fix_open(&x.f, 1, 0, true, 1);
    applied(&x, 0);
    /* The node's clock may be slow and this one fast: 2 % of a minute are more than the margin. */
    assert_int_equal(due(&x, 61199, NULL), 0);
    assert_int_equal(due(&x, 61200, NULL), 1);
    stop(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_from_applying),
        cmocka_unit_test(a_new_leader_counts_afresh),
        cmocka_unit_test(a_superseded_session_keeps_its_own_time),
        cmocka_unit_test(a_longer_ttl_and_a_short_margin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
