/* Snapshots of a state with something of every kind: a damaged one is refused whole, and the machine is empty
 * and of use afterwards.
 */
#include "world.h"

#include <stdio.h>

static void fill(struct world *w)
{
    uint64_t b = join(w, "node-b");
    open_session(w, b);
    assert_int_equal(token(w, "unused", 3600000, "node-c"), 0);
    assert_int_equal(tell(w, (struct command){ .type = COMMAND_POOL_SET,
                                               .pool_set = { .name = str("a"), .note = str("n") } }),
                     0);
    assert_int_equal(tell(w, (struct command){ .type = COMMAND_POOL_ASSIGN,
                                               .pool_assign = { .to = COMMAND_ASSIGN_CLASS,
                                                                .name = str("bulk"),
                                                                .pool = str("a") } }),
                     0);
    assert_int_equal(tell(w, (struct command){ .type = COMMAND_IP_SET,
                                               .ip_set = { .address = str("2001:db8::1"),
                                                           .pool = str("a"),
                                                           .ehlo = str("out.example.org"),
                                                           .node = 1,
                                                           .create = true } }),
                     0);
    assert_int_equal(tell(w, (struct command){ .type = COMMAND_IP_MOVE,
                                               .ip_move = { .address = str("2001:db8::1"), .node = b } }),
                     0);
    assert_int_equal(tell(w, (struct command){ .type = COMMAND_ACCOUNT_SET,
                                               .account_set = { .name = str("anna@example.org"),
                                                                .hash = str("$y$x"),
                                                                .tenant = str("example.org"),
                                                                .senders = str("*"),
                                                                .create = true } }),
                     0);
    assert_int_equal(
        tell(w, (struct command){ .type = COMMAND_TENANT_SET,
                                  .tenant_set = { .name = str("example.org"), .note = str("note") } }),
        0);
    assert_int_equal(tell(w, (struct command){ .type = COMMAND_OVERRIDE_SET,
                                               .override_set = { .scope = COMMAND_SCOPE_ACCOUNT,
                                                                 .name = str("anna@example.org"),
                                                                 .limit = str("account-hour"),
                                                                 .count = 7 } }),
                     0);
    assert_int_equal(
        tell_as(w, 1,
                (struct command){ .type = COMMAND_TRANSFER_OWN,
                                  .transfer_own = { .id = { 1 }, .giver = 1, .taker = b, .messages = 2 } }),
        0);
    assert_int_equal(
        tell_as(w, 1, (struct command){ .type = COMMAND_TRANSFER_CANCEL, .transfer_end = { .id = { 2 } } }),
        0);
    for (uint8_t upload = 1; upload <= 2; upload++) {
        struct buf p;
        struct policy_compiled compiled;
        policy_default(&compiled);
        buf_init(&p, SIZE_MAX);
        assert_int_equal(buf_put_str(&p, "text"), 0);
        assert_int_equal(policy_encode(&compiled, &p), 0);
        assert_int_equal(
            tell(w, (struct command){ .type = COMMAND_POLICY_CHUNK,
                                      .policy_chunk = { .upload = { upload }, .bytes = buf_span(&p) } }),
            0);
        if (upload == 1)
            assert_int_equal(tell(w, (struct command){ .type = COMMAND_POLICY_COMMIT,
                                                       .policy_commit = { .upload = { upload },
                                                                          .chunks = 1,
                                                                          .text_bytes = 4,
                                                                          .compiled_bytes = p.len - 4 } }),
                             0);
        buf_fini(&p);
    }
}

static void snapshot(const struct world *w, struct buf *out)
{
    buf_init(out, SIZE_MAX);
    assert_int_equal(machine_snapshot_begin(w->m), 0);
    while (machine_snapshot_step(w->m, out) == 1)
        ;
    machine_snapshot_end(w->m);
}

static void test_damaged(void **state)
{
    (void)state;
    struct world *w = world_founded();
    fill(w);
    struct buf snap;
    snapshot(w, &snap);
    struct machine *m = machine_new(&w->config);
    assert_non_null(m);
    uint64_t digest = machine_digest(w->m);
    static const uint8_t flips[] = { 1, 0x80, 0xff };
    for (size_t at = 24; at < snap.len; at++) /* behind index and time, any of which is right */
        for (size_t i = 0; i < sizeof flips; i++) {
            snap.data[at] = (char)((uint8_t)snap.data[at] ^ flips[i]);
            int err = machine_restore(m, snap.data, snap.len);
            struct machine_totals t;
            machine_totals(m, &t);
            if (err != 0)
                assert_true(t.accounts == 0 && t.members == 0 && t.audit == 0);
            else /* only the order of arrival: what the records say is what it was */
                assert_true(machine_digest(m) == digest);
            snap.data[at] = (char)((uint8_t)snap.data[at] ^ flips[i]);
        }
    for (size_t n = 0; n < snap.len; n++) {
        void *cut = malloc(n == 0 ? 1 : n);
        assert_non_null(cut);
        memcpy(cut, snap.data, n);
        assert_int_not_equal(machine_restore(m, cut, n), 0);
        free(cut);
    }
    assert_false(machine_founded(m));
    assert_int_equal(machine_restore(m, snap.data, snap.len), 0);
    assert_true(machine_digest(m) == machine_digest(w->m));
    assert_true(machine_founded(m));
    machine_free(m);
    buf_fini(&snap);
    world_free(w);
}

/* What a node does after a snapshot was installed is what it would have done without. */
static void test_goes_on_alike(void **state)
{
    (void)state;
    struct world *w = world_founded();
    fill(w);
    struct buf snap;
    snapshot(w, &snap);
    struct machine *m = machine_new(&w->config);
    assert_non_null(m);
    assert_int_equal(machine_restore(m, snap.data, snap.len), 0);
    buf_fini(&snap);
    size_t from = w->log.len;
    assert_int_equal(expire(w, w->session[1]), 0); /* the address moves */
    join(w, "node-d");
    assert_int_equal(tell(w, (struct command){ .type = COMMAND_ACCOUNT_REMOVE,
                                               .name = { .name = str("anna@example.org") } }),
                     0);
    assert_int_equal(
        tell_as(w, 2, (struct command){ .type = COMMAND_TRANSFER_END, .transfer_end = { .id = { 1 } } }), 0);
    struct machine_effects fx;
    machine_effects_init(&fx);
    struct cursor c;
    cursor_init(&c, w->log.data + from, w->log.len - from);
    while (cursor_left(&c) != 0) {
        struct span entry = cursor_counted(&c);
        assert_int_equal(machine_apply(m, machine_applied(m) + 1, entry.p, entry.n, &fx), 0);
    }
    machine_effects_fini(&fx);
    assert_true(machine_digest(m) == machine_digest(w->m));
    struct buf a, b;
    buf_init(&a, SIZE_MAX);
    buf_init(&b, SIZE_MAX);
    dump(w->m, &a);
    dump(m, &b);
    assert_true(span_eq(buf_span(&a), buf_span(&b)));
    buf_fini(&a);
    buf_fini(&b);
    machine_free(m);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_goes_on_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
