/* How a message's recipients are grouped into items, and who gets them. The workers are the test's own: what
 * dispatch.c hands over ends in a list.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consensus/command.h"
#include "fixture.h"
#include "node/core/dispatch.h"
#include "node/core/egress.h"
#include "node/core/node.h"
#include "node/core/pools.h"

#include <string.h>

#define ITEMS_MAX 64

struct item {
    char site[100], sender[100];
    struct queue_item_info info;
    uint32_t rcpts[16];
    uint32_t worker;
};

static struct item items[ITEMS_MAX];
static uint32_t nitems, nposted;
static struct egress egresses[4];
static struct worker workers[4];
static struct node node = { .workers = workers, .nworkers = 4 };

void egress_add(struct egress *e, const struct queue_item_info *info)
{
    assert_true(nitems < ITEMS_MAX && info->nrcpts <= 16);
    struct item *it = &items[nitems++];
    it->info = *info;
    it->worker = (uint32_t)(e - egresses);
    snprintf(it->site, sizeof it->site, "%.*s", (int)info->site.n, info->site.p);
    snprintf(it->sender, sizeof it->sender, "%.*s", (int)info->sender.n, info->sender.p);
    memcpy(it->rcpts, info->rcpts, info->nrcpts * sizeof *it->rcpts);
}

void worker_post_always(struct worker *w, struct worker_msg *msg)
{
    nposted++;
    msg->run(w, msg);
}

static int setup(void **state)
{
    *state = fixture_config("routes:\n  - { domain: \"*.via.test\", via: \"hub.test:25\" }\n");
    for (uint32_t i = 0; i < 4; i++)
        workers[i] = (struct worker){ .index = i, .egress = &egresses[i] };
    nitems = nposted = 0;
    return 0;
}

static int teardown(void **state)
{
    config_rele(*state);
    return 0;
}

static const struct item *item_at(const char *site)
{
    const struct item *found = NULL;
    for (uint32_t i = 0; i < nitems; i++)
        if (strcmp(items[i].site, site) == 0) {
            assert_null(found);
            found = &items[i];
        }
    assert_non_null(found);
    return found;
}

static struct envelope_rcpt rcpts[] = {
    { .address = { "a@one.test", 10 } },   { .address = { "b@two.test", 10 } },
    { .address = { "c@ONE.test", 10 } },   { .address = { "d@x.via.test", 12 } },
    { .address = { "e@y.via.test", 12 } }, { .address = { "postmaster", 10 } },
};

static struct envelope message(void)
{
    return (struct envelope){ .id = 77,
                              .size = 1025,
                              .arrival_ms = 5,
                              .class = ENVELOPE_CLASS_BULK,
                              .mail_from = SPAN_LIT("me@example.com"),
                              .account = SPAN_LIT("acc@example.com"),
                              .nrcpts = 6,
                              .rcpts = rcpts };
}

static void test_recipients_of_a_site_share_an_item(void **state)
{
    struct envelope env = message();
    assert_int_equal(dispatch_message(&node, &workers[0], *state, &env, NULL), 0);
    assert_int_equal(nitems, 4);
    const struct item *one = item_at("one.test");
    assert_int_equal(one->info.nrcpts, 2);
    assert_int_equal(one->rcpts[0], 0);
    assert_int_equal(one->rcpts[1], 2);
    assert_int_equal(item_at("via:hub.test:25")->info.nrcpts, 2);
    assert_int_equal(item_at(ROUTE_UNROUTABLE)->rcpts[0], 5);
    for (uint32_t i = 0; i < nitems; i++) {
        assert_int_equal(items[i].info.id, 77);
        assert_int_equal(items[i].info.size_kib, 2);
        assert_int_equal(items[i].info.class, ENVELOPE_CLASS_BULK);
        assert_string_equal(items[i].sender, "acc@example.com");
        assert_ptr_equal(dispatch_owner(&node, span_str(items[i].site)), &workers[items[i].worker]);
    }
}

static void test_others_workers_get_theirs_by_their_inbox(void **state)
{
    struct envelope env = message();
    uint32_t elsewhere = 0;
    assert_int_equal(dispatch_message(&node, &workers[1], *state, &env, NULL), 0);
    for (uint32_t i = 0; i < nitems; i++)
        elsewhere += items[i].worker != 1;
    assert_int_equal(nposted, elsewhere);
    nposted = 0; /* at start nobody runs yet */
    assert_int_equal(dispatch_message(&node, NULL, *state, &env, NULL), 0);
    assert_int_equal(nposted, 0);
}

/* What the worker knows of pools decides; at start it knows nothing yet. */
static void test_each_pool_has_its_own_queues(void **state)
{
    struct envelope env = message();
    struct pool_senders *s = pool_senders_new();
    assert_int_equal(
        pool_senders_add(s, COMMAND_ASSIGN_ACCOUNT, SPAN_LIT("acc@example.com"), SPAN_LIT("news")), 0);
    workers[0].pools = pool_view_new(&(struct pool_view_config){ .self = 1, .senders = s });
    pool_senders_rele(s);
    assert_int_equal(dispatch_message(&node, &workers[0], *state, &env, NULL), 0);
    assert_int_equal(nitems, 4);
    assert_int_equal(item_at("news/one.test")->info.nrcpts, 2);
    assert_int_equal(item_at("news/via:hub.test:25")->info.nrcpts, 2);
    assert_int_equal(item_at(ROUTE_UNROUTABLE)->rcpts[0], 5); /* it bounces, whatever the pool */
    nitems = 0;
    env.account = (struct span){ "", 0 };
    assert_int_equal(dispatch_message(&node, &workers[0], *state, &env, NULL), 0);
    assert_int_equal(item_at("one.test")->info.nrcpts, 2);
    nitems = 0;
    env = message();
    assert_int_equal(dispatch_message(&node, NULL, *state, &env, NULL), 0);
    assert_int_equal(item_at("one.test")->info.nrcpts, 2);
    pool_view_rele(workers[0].pools);
}

/* Where it was moved counts, while that pool has an address and the sender's own is one that it has left. */
static void test_a_moved_recipient_keeps_its_pool(void **state)
{
    struct envelope env = message();
    struct spool_rcpt states[6] = {
        { .reply = SPAN_LIT("550 no\x1fpool blocked slow news") },
        { .reply = SPAN_LIT("550 no\x1fpool blocked gone news") },
        { .reply = SPAN_LIT("550 no\x1fpool blocked slow other") },
        { .reply = SPAN_LIT("450 no\x1fpool r last news slow\x1fgrey 1800000000 1 mx 192.0.2.1") },
        { .state = RCPT_DELIVERED },
        { .state = RCPT_DELIVERED }
    };
    struct pool_senders *s = pool_senders_new();
    assert_int_equal(
        pool_senders_add(s, COMMAND_ASSIGN_ACCOUNT, SPAN_LIT("acc@example.com"), SPAN_LIT("news")), 0);
    struct pool_view *v = pool_view_new(&(struct pool_view_config){ .self = 1, .senders = s });
    pool_senders_rele(s);
    struct pool_address slow = { .pool = SPAN_LIT("slow"), .ehlo = SPAN_LIT(""), .node = 2, .weight = 1 },
                        last = { .pool = SPAN_LIT("last"), .ehlo = SPAN_LIT("") };
    assert_int_equal(ip_addr_parse(SPAN_LIT("192.0.2.8"), &slow.addr), 0);
    assert_int_equal(ip_addr_parse(SPAN_LIT("192.0.2.9"), &last.addr), 0);
    assert_int_equal(pool_view_add(v, &slow), 0);
    assert_int_equal(pool_view_add(v, &last), 0);
    pool_view_seal(v);
    workers[0].pools = v;
    assert_int_equal(dispatch_message(&node, &workers[0], *state, &env, states), 0);
    assert_int_equal(nitems, 4);
    assert_int_equal(item_at("slow/one.test")->rcpts[0], 0);
    assert_int_equal(item_at("news/two.test")->rcpts[0], 1);
    assert_int_equal(item_at("news/one.test")->rcpts[0], 2);
    assert_int_equal(item_at("last/via:hub.test:25")->rcpts[0], 3);
    workers[0].pools = NULL;
    nitems = 0;
    assert_int_equal(dispatch_message(&node, &workers[0], *state, &env, states), 0);
    assert_int_equal(item_at("one.test")->info.nrcpts, 2);
    pool_view_rele(v);
}

static void test_what_has_ended_is_left_out(void **state)
{
    struct envelope env = message();
    struct spool_rcpt states[6] = { { .state = RCPT_DELIVERED }, { .state = RCPT_BOUNCED },
                                    { .state = RCPT_EXPIRED },   { .state = RCPT_RELAYED },
                                    { .state = RCPT_DELETED },   { .state = RCPT_DELIVERED } };
    assert_int_equal(dispatch_message(&node, NULL, *state, &env, states), 0);
    assert_int_equal(nitems, 0);
    states[2].state = RCPT_QUEUED;
    assert_int_equal(dispatch_message(&node, NULL, *state, &env, states), 0);
    assert_int_equal(nitems, 1);
    assert_int_equal(item_at("one.test")->rcpts[0], 2);
}

static void test_recipients_with_another_past_stay_apart(void **state)
{
    struct envelope_rcpt same[5];
    struct spool_rcpt states[5] = { { .attempts = 1, .next_ms = 10 },
                                    { .attempts = 2, .next_ms = 10 },
                                    { .attempts = 1, .next_ms = 10 },
                                    { .state = RCPT_HELD, .attempts = 1, .next_ms = 10 },
                                    { .attempts = 1, .next_ms = 10, .delay_told = 1 } };
    for (int i = 0; i < 5; i++)
        same[i] = rcpts[0];
    struct envelope env = message();
    env.nrcpts = 5;
    env.rcpts = same;
    assert_int_equal(dispatch_message(&node, NULL, *state, &env, states), 0);
    assert_int_equal(nitems, 4);
    uint32_t held = 0, told = 0, pairs = 0;
    for (uint32_t i = 0; i < nitems; i++) {
        held += items[i].info.held;
        told += items[i].info.delay_told;
        pairs += items[i].info.nrcpts == 2 && items[i].info.attempts == 1 && items[i].info.next_ms == 10;
    }
    assert_int_equal(held, 1);
    assert_int_equal(told, 1);
    assert_int_equal(pairs, 1);
}

static void test_born_held(void **state)
{
    struct envelope env = message();
    env.flags = ENVELOPE_HELD;
    assert_int_equal(dispatch_message(&node, NULL, *state, &env, NULL), 0);
    for (uint32_t i = 0; i < nitems; i++)
        assert_true(items[i].info.held);
}

static void test_who_takes_turns(void **state)
{
    (void)state;
    struct envelope env = message();
    assert_true(span_eq(dispatch_sender(&env), SPAN_LIT("acc@example.com")));
    env.account = SPAN_LIT("");
    assert_true(span_eq(dispatch_sender(&env), SPAN_LIT("example.com")));
    env.mail_from = SPAN_LIT("");
    assert_true(span_eq(dispatch_sender(&env), SPAN_LIT("<>")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_recipients_of_a_site_share_an_item, setup, teardown),
        cmocka_unit_test_setup_teardown(test_others_workers_get_theirs_by_their_inbox, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_pool_has_its_own_queues, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_moved_recipient_keeps_its_pool, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_has_ended_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recipients_with_another_past_stay_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_born_held, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_takes_turns, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
