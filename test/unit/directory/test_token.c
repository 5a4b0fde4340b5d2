/* Tokens: each is good for one node and one request. */
#include "consensus/machine_impl.h"
#include "world.h"

static struct directory_token get(const struct world *w, const char *id)
{
    struct directory_token t;
    assert_true(directory_token_find(w->m, str(id), &t));
    return t;
}

static void test_one_request(void **state)
{
    (void)state;
    struct world *w = world_founded();
    assert_int_equal(token(w, "t", 3600000, ""), 0);
    assert_int_equal(token(w, "t", 3600000, ""), ERR_EXISTS);
    assert_false(get(w, "t").used);
    assert_int_equal(get(w, "t").secret_sha256[0], 7);
    assert_int_equal(join_with(w, "t", 5, "node-b", "b", 1), 0);
    uint64_t node = w->r.id;
    assert_int_equal(node, 2);
    assert_true(get(w, "t").used);
    assert_int_equal(get(w, "t").node, node);
    /* The answer was lost: the same request gets the same node, even much later. */
    assert_int_equal(join_with(w, "t", 5, "node-b", "b", 1), 0);
    assert_int_equal(w->r.id, node);
    w->now_ms += 7200000;
    assert_int_equal(join_with(w, "t", 5, "node-b", "b", 1), 0);
    assert_int_equal(w->r.id, node);
    /* Anybody else who has seen the token gets nothing. */
    assert_int_equal(join_with(w, "t", 6, "node-c", "c", 1), ERR_DENIED);
    assert_words(w, "used already, by node-b (2): make a new one");
    assert_int_equal(join_with(w, "t", 6, "node-b", "b", 1), ERR_DENIED);
    assert_int_equal(member_state(w, node, COMMAND_MEMBER_REMOVED), 0);
    assert_int_equal(join_with(w, "t", 5, "node-b", "b", 1), ERR_DENIED);
    assert_words(w, "was removed");
    world_free(w);
}

static void test_refused(void **state)
{
    (void)state;
    struct world *w = world_founded();
    assert_int_equal(token(w, "t", 0, ""), ERR_BAD);
    assert_int_equal(token(w, "t", UINT64_MAX, ""), ERR_BAD);
    assert_int_equal(token(w, "t 1", 1000, ""), ERR_BAD);
    assert_int_equal(join_with(w, "none", 1, "node-b", "b", 1), ERR_DENIED);
    assert_words(w, "make a new one");
    assert_int_equal(token(w, "old", 1000, ""), 0);
    w->now_ms += 1001;
    assert_int_equal(join_with(w, "old", 1, "node-b", "b", 1), ERR_DENIED);
    assert_words(w, "too old");
    assert_int_equal(token(w, "named", 1000, "node-b"), 0);
    assert_int_equal(join_with(w, "named", 1, "node-c", "c", 1), ERR_DENIED);
    assert_words(w, "for node node-b, not for node-c");
    assert_int_equal(token(w, "t", 100000, ""), 0);
    assert_int_equal(join_with(w, "t", 1, "node-a", "c", 1), ERR_EXISTS);
    assert_words(w, "another name");
    assert_int_equal(join_with(w, "t", 1, "node-c", "192.0.2.1", 1), ERR_EXISTS);
    assert_words(w, "node-a's already");
    assert_int_equal(join_with(w, "t", 1, "node c", "c", 1), ERR_BAD);
    assert_int_equal(join_with(w, "t", 1, "node-c", "c", 0), ERR_DENIED);
    /* None of that used it up. */
    assert_int_equal(join_with(w, "t", 1, "node-c", "c", 1), 0);
    assert_int_equal(join_with(w, "named", 1, "node-b", "b", 1), 0);
    world_free(w);
}

static void test_removed(void **state)
{
    (void)state;
    struct world *w = world_founded();
    assert_int_equal(token(w, "t", 1000, ""), 0);
    struct command c = { .type = COMMAND_TOKEN_REMOVE, .name = { .name = str("t") } };
    /* Tidying, by the leader, leaves alone what is of use. */
    assert_int_equal(tell(w, c), ERR_BUSY);
    w->now_ms += 2000;
    assert_int_equal(tell(w, c), ERR_BUSY);
    /* An operator need not wait. */
    assert_int_equal(tell_as(w, 1, c), 0);
    assert_int_equal(tell_as(w, 1, c), ERR_NOT_FOUND);

    assert_int_equal(token(w, "t", 1000, ""), 0);
    struct buf b;
    buf_init(&b, SIZE_MAX);
    uint32_t n = 0;
    w->now_ms += 86400000;
    assert_int_equal(directory_due(w->m, w->now_ms, &b, &n), 0);
    assert_int_equal(n, 0);
    w->now_ms += 2000;
    assert_int_equal(directory_due(w->m, w->now_ms, &b, &n), 0);
    assert_int_equal(n, 1);
    struct cursor in;
    cursor_init(&in, b.data, b.len);
    struct command due;
    assert_int_equal(command_decode(&in, &due), 0);
    assert_int_equal(tell(w, due), 0);
    struct directory_token t;
    assert_false(directory_token_find(w->m, str("t"), &t));
    buf_fini(&b);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_request),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
