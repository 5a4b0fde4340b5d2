/* The policy's way in: pieces, the commit, what is kept of it. */
#include "consensus/machine_impl.h"
#include "world.h"

#include <stdio.h>

static struct policy_compiled compiled_with(uint64_t count)
{
    struct policy_compiled p;
    policy_default(&p);
    p.session_ttl_ms = 4000;
    p.limits[0].count = count;
    return p;
}

static struct command piece(uint8_t upload, uint32_t number, struct span bytes)
{
    return (struct command){ .type = COMMAND_POLICY_CHUNK,
                             .policy_chunk = { .upload = { upload }, .number = number, .bytes = bytes } };
}

static struct command commit(uint8_t upload, uint32_t chunks, uint64_t text_bytes, uint64_t compiled_bytes)
{
    return (struct command){ .type = COMMAND_POLICY_COMMIT,
                             .policy_commit = { .by = { .who = str("root@node-a"), .wall_ms = 99 },
                                                .upload = { upload },
                                                .chunks = chunks,
                                                .text_bytes = text_bytes,
                                                .compiled_bytes = compiled_bytes,
                                                .note = str("why") } };
}

/* In two pieces that do not end where the text does. */
static int apply(struct world *w, uint8_t upload, const char *text, uint64_t count, uint64_t version)
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    struct policy_compiled p = compiled_with(count);
    buf_put_str(&b, text);
    assert_int_equal(policy_encode(&p, &b), 0);
    assert_int_equal(tell(w, piece(upload, 1, span_sub(buf_span(&b), 3))), 0);
    assert_int_equal(tell(w, piece(upload, 0, span_of(b.data, 3))), 0);
    struct command c = commit(upload, 2, strlen(text), b.len - strlen(text));
    c.policy_commit.by.version = version;
    int err = tell(w, c);
    buf_fini(&b);
    return err;
}

static struct directory_policy get(const struct world *w, uint32_t back)
{
    struct directory_policy p;
    assert_true(directory_policy(w->m, back, &p));
    return p;
}

static void test_built_in(void **state)
{
    (void)state;
    struct world *w = world_new(&(struct machine_config){ .session_ttl_ms = 700, .session_margin_ms = 200 });
    struct directory_policy p = get(w, 0);
    assert_int_equal(p.version, 0);
    assert_int_equal(p.text.n, 0);
    assert_int_equal(p.compiled->nlimits, 4);
    assert_int_equal(machine_session_ttl_ms(w->m), 700);
    assert_int_equal(machine_session_margin_ms(w->m), 200);
    assert_false(directory_policy(w->m, 1, &p));
    assert_ptr_equal(directory_policy_compiled(w->m), p.compiled);
    world_free(w);
}

static void test_applied(void **state)
{
    (void)state;
    struct world *w = world_founded();
    assert_int_equal(apply(w, 1, "limits: one", 123, 0), 0);
    assert_true(changed(w, MACHINE_CHANGED_POLICY, ""));
    assert_true(changed(w, MACHINE_CHANGED_LIMITS, ""));
    struct directory_policy p = get(w, 0);
    assert_int_equal(p.version, w->r.id);
    assert_true(span_eq(p.text, str("limits: one")));
    assert_true(span_eq(p.who, str("root@node-a")));
    assert_true(span_eq(p.note, str("why")));
    assert_int_equal(p.wall_ms, 99);
    assert_int_equal(directory_policy_compiled(w->m)->limits[0].count, 123);
    assert_int_equal(machine_session_ttl_ms(w->m), 4000);
    struct directory_policy before = p;
    /* Somebody who saw the first one, after another one was applied. */
    assert_int_equal(apply(w, 2, "limits: two", 456, p.version), 0);
    assert_int_equal(apply(w, 3, "limits: three", 789, before.version), ERR_BUSY);
    assert_words(w, "by root@node-a");
    assert_int_equal(directory_policy_compiled(w->m)->limits[0].count, 456);
    assert_int_equal(get(w, 1).version, before.version);
    world_free(w);
}

static void test_sixteen_are_kept(void **state)
{
    (void)state;
    struct world *w = world_founded();
    for (unsigned i = 0; i < 20; i++) {
        char text[16];
        snprintf(text, sizeof text, "text %u", i);
        assert_int_equal(apply(w, 1, text, i, 0), 0);
    }
    for (uint32_t back = 0; back < DIRECTORY_POLICIES_KEPT; back++)
        assert_int_equal(get(w, back).compiled->limits[0].count, 19 - back);
    struct directory_policy p;
    assert_false(directory_policy(w->m, DIRECTORY_POLICIES_KEPT, &p));
    assert_false(directory_policy(w->m, UINT32_MAX, &p));
    world_free(w);
}

/* Nothing that is not whole and right comes into force. */
static void test_not_whole(void **state)
{
    (void)state;
    struct world *w = world_founded();
    struct buf b;
    buf_init(&b, SIZE_MAX);
    struct policy_compiled p = compiled_with(5);
    buf_put_str(&b, "text");
    assert_int_equal(policy_encode(&p, &b), 0);
    uint64_t compiled = b.len - 4;
    assert_int_equal(tell(w, commit(1, 1, 4, compiled)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, piece(1, 0, buf_span(&b))), 0);
    assert_int_equal(tell(w, piece(1, 0, buf_span(&b))), 0); /* a repeat */
    assert_int_equal(tell(w, piece(1, 0, str("other"))), ERR_EXISTS);
    assert_int_equal(tell(w, commit(1, 2, 4, compiled)), ERR_BAD);
    assert_int_equal(tell(w, commit(1, 1, 4, compiled + 1)), ERR_BAD);
    assert_int_equal(tell(w, commit(1, 1, UINT64_MAX, compiled + 5)), ERR_BAD);
    assert_int_equal(tell(w, commit(1, 1, 5, UINT64_MAX)), ERR_BAD);
    assert_int_equal(tell(w, piece(1, 2, str("x"))), 0);
    assert_int_equal(tell(w, commit(1, 2, 4, compiled + 1)), ERR_BAD); /* number 1 is missing */
    assert_int_equal(tell(w, piece(1, 5, str(""))), ERR_BAD);
    assert_int_equal(tell(w, piece(1, UINT32_MAX, str("x"))), ERR_BAD);
    assert_int_equal(get(w, 0).version, 0);

    /* Whole, but the second part is no compiled policy, or has something behind it. */
    assert_int_equal(tell(w, piece(2, 0, buf_span(&b))), 0);
    assert_int_equal(tell(w, commit(2, 1, 5, compiled - 1)), ERR_BAD);
    assert_words(w, "damaged");
    assert_int_equal(tell(w, commit(2, 1, 4, compiled)), ERR_NOT_FOUND); /* it was dropped */
    assert_int_equal(tell(w, piece(3, 0, buf_span(&b))), 0);
    assert_int_equal(tell(w, piece(3, 1, str("x"))), 0);
    assert_int_equal(tell(w, commit(3, 2, 4, compiled + 1)), ERR_BAD);
    assert_int_equal(get(w, 0).version, 0);
    buf_fini(&b);
    world_free(w);
}

static uint32_t due(struct world *w, struct command *out)
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    uint32_t n = 0;
    assert_int_equal(directory_due(w->m, w->now_ms, &b, &n), 0);
    struct cursor c;
    cursor_init(&c, b.data, b.len);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(command_decode(&c, &out[i]), 0);
    assert_int_equal(cursor_left(&c), 0);
    buf_fini(&b);
    return n;
}

static void test_bounds(void **state)
{
    (void)state;
    struct world *w = world_founded();
    static char large[COMMAND_CHUNK_MAX];
    uint32_t n = 0;
    while (tell(w, piece(1, n, span_of(large, sizeof large))) == 0)
        n++;
    assert_int_equal(w->r.err, ERR_LIMIT);
    assert_int_equal(n, (5u << 20) / COMMAND_CHUNK_MAX);
    for (uint8_t i = 2; i <= 8; i++)
        assert_int_equal(tell(w, piece(i, 0, str("x"))), 0);
    assert_int_equal(tell(w, piece(9, 0, str("x"))), ERR_LIMIT);
    assert_words(w, "try again");

    /* Those that stand still are given up; one that goes on is not. */
    struct command cmds[16];
    assert_int_equal(due(w, cmds), 0);
    w->now_ms += 200000;
    assert_int_equal(tell(w, piece(2, 1, str("y"))), 0);
    w->now_ms += 200000;
    assert_int_equal(due(w, cmds), 7);
    for (uint32_t i = 0; i < 7; i++) {
        assert_int_equal(cmds[i].type, COMMAND_POLICY_COMMIT);
        assert_int_equal(tell(w, cmds[i]), 0);
    }
    assert_int_equal(due(w, cmds), 0);
    assert_int_equal(tell(w, commit(1, n, 1, 1)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, piece(9, 0, str("x"))), 0);
    /* What is due by a leader's clock but not by the cluster's is not dropped. */
    assert_int_equal(tell(w, commit(2, 0, 0, 0)), 0);
    assert_int_equal(tell(w, piece(2, 1, str("y"))), 0);
    assert_int_equal(tell(w, piece(2, 1, str("z"))), ERR_EXISTS);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_built_in),         cmocka_unit_test(test_applied),
        cmocka_unit_test(test_sixteen_are_kept), cmocka_unit_test(test_not_whole),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
