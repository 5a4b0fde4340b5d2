/* What is seen of senders on all nodes, and the rules that act upon it. */
#include "consensus/directory_impl.h"
#include "consensus/facts.h"
#include "consensus/machine_impl.h"
#include "consensus/policy.h"
#include "world.h"

#include <stdio.h>
#include <string.h>

#define HOUR_MS 3600000ull
#define DAY_MS (24 * HOUR_MS)
#define ANNA "anna@example.com"
#define NOON_MS (20000 * (int64_t)DAY_MS + 12 * (int64_t)HOUR_MS)

static struct world *at_level(uint32_t level)
{
    struct world *w = world_at_level(level);
    w->now_ms = 100 * DAY_MS;
    return w;
}

static int rules_are(struct world *w, uint32_t n, const struct sender_rule *rules)
{
    struct policy_compiled p;
    policy_default(&p);
    p.nsender_rules = n;
    memcpy(p.sender_rules, rules, n * sizeof *rules);
    return policy_is(w, &p);
}

static struct sender_facts seen(uint32_t recipients)
{
    struct sender_facts f = { .counts = { .account = str(ANNA) } };
    f.counts.count[RECORD_MESSAGES] = recipients > 0;
    f.counts.count[RECORD_ACCEPTED] = recipients;
    return f;
}

static int look_at(struct world *w, uint64_t node, uint64_t number, int64_t wall_ms,
                   const struct sender_facts *f)
{
    struct buf b;
    buf_init(&b, RECORD_COUNTS_BYTES_MAX);
    assert_int_equal(sender_facts_put(&b, f), 0);
    struct command c = { .type = COMMAND_SENDER_LOOK,
                         .sender_look = { .number = number, .wall_ms = wall_ms, .facts = buf_span(&b) } };
    memset(c.sender_look.process, 'p', sizeof c.sender_look.process);
    int err = tell_as(w, node, c);
    buf_fini(&b);
    return err;
}

static void look(struct world *w, uint64_t node, uint64_t number, const struct sender_facts *f)
{
    assert_int_equal(look_at(w, node, number, NOON_MS, f), 0);
}

static uint32_t value(const struct world *w, enum sender_fact fact, unsigned window)
{
    struct directory_sender s;
    return directory_sender_find(w->m, str(ANNA), &s)
               ? sender_value(&s.values, (uint8_t)fact, (uint8_t)window)
               : 0;
}

static bool frozen(const struct world *w, struct machine_frozen *f)
{
    return machine_frozen_find(w->m, COMMAND_SCOPE_ACCOUNT, str(ANNA), f);
}

static int thaw(struct world *w)
{
    return tell(w, (struct command){ .type = COMMAND_THAW,
                                     .thaw = { .by = { .who = str("root@node-a") },
                                               .scope = COMMAND_SCOPE_ACCOUNT,
                                               .name = str(ANNA) } });
}

static const struct sender_rule many = { .name = "many",
                                         .classes = 1,
                                         .action = SENDER_HOLD,
                                         .for_ms = HOUR_MS,
                                         .repeat = 3,
                                         .repeat_ms = DAY_MS,
                                         .nterms = 1,
                                         .term = { { SENDER_RECIPIENTS, 0, 100 } } };

static void the_look_that_passes_it_acts(void **state)
{
    (void)state;
    struct world *w = at_level(5);
    uint64_t two = join(w, "node-b");
    struct machine_frozen f;
    assert_true(open_session(w, two) != 0);
    assert_int_equal(rules_are(w, 1, &many), 0);
    struct sender_facts half = seen(50), one = seen(1);
    look(w, 1, 1, &half);
    look(w, two, 1, &half);
    assert_int_equal(value(w, SENDER_RECIPIENTS, 0), 100);
    assert_false(frozen(w, &f));
    look(w, 1, 1, &one); /* a repeat: it counts once */
    assert_false(frozen(w, &f));
    look(w, two, 2, &one);
    assert_int_equal(w->r.id, w->index * 64); /* who acts up to here knows it */
    assert_true(changed(w, MACHINE_CHANGED_FROZEN, ANNA));
    assert_words(w, "rule many: hold of " ANNA ": recipients 101 > 100 in 1h");
    assert_true(frozen(w, &f));
    assert_int_equal(f.mode, COMMAND_FREEZE_HOLD);
    assert_int_equal(f.until_ms, w->now_ms + HOUR_MS);
    assert_true(span_eq(f.who, str("rule many")));
    assert_true(span_eq(f.reason, str("recipients 101 > 100 in 1h")));
    assert_int_equal(thaw(w), 0);
    look(w, 1, 2, &one); /* he was stopped for those before it, and let go */
    assert_false(frozen(w, &f));
    world_free(w);
}

static void what_a_block_dealt_with_counts_no_more(void **state)
{
    (void)state;
    struct world *w = at_level(5);
    struct machine_frozen f;
    assert_int_equal(rules_are(w, 1, &many), 0);
    struct sender_facts lot = seen(101), hundred = seen(100), one = seen(1);
    uint64_t n = 0;
    for (uint32_t block = 1; block <= 3; block++) {
        look(w, 1, ++n, &one);
        assert_false(frozen(w, &f));
        look(w, 1, ++n, &hundred);
        assert_true(frozen(w, &f));
        assert_int_equal(f.until_ms != 0, block < 3); /* the third in a day stays */
        look(w, 1, ++n, &lot);                        /* what is held meanwhile is not held against him */
        assert_int_equal(value(w, SENDER_RECIPIENTS, 0), 0);
        assert_int_equal(thaw(w), 0);
    }
    struct directory_sender s;
    assert_true(directory_sender_find(w->m, str(ANNA), &s));
    assert_int_equal(s.blocks, 3);
    w->now_ms += 2 * DAY_MS;
    look(w, 1, ++n, &hundred);
    assert_int_equal(value(w, SENDER_RECIPIENTS, 0), 100); /* nothing is owed after its window */
    look(w, 1, ++n, &one);
    assert_true(frozen(w, &f));
    assert_true(f.until_ms != 0);
    world_free(w);
}

/* Who goes on steadily after a thaw is caught again, once the mail that he was caught for has left the
 * window. */
static void going_on_steadily(void **state)
{
    (void)state;
    struct world *w = at_level(6);
    struct machine_frozen f;
    uint64_t n = 0, blocks = 0;
    assert_int_equal(rules_are(w, 1, &many), 0);
    struct sender_facts some = seen(20);
    for (int i = 0; i < 24; i++) { /* every ten minutes: 120 to 140 within a window */
        look(w, 1, ++n, &some);
        if (frozen(w, &f)) {
            blocks++;
            assert_int_equal(thaw(w), 0);
        }
        w->now_ms += 10 * 60000;
    }
    assert_int_equal(blocks, 3);
    world_free(w);
}

static void all_terms_and_its_class(void **state)
{
    (void)state;
    struct world *w = at_level(5);
    struct machine_frozen f;
    struct sender_rule r[2] = { many, many };
    r[0].nterms = 2;
    r[0].term[1] = (struct sender_term){ SENDER_NETWORKS, 0, 3 };
    r[0].action = SENDER_FREEZE;
    r[0].for_ms = 0;
    strcpy(r[1].name, "bulk");
    r[1].classes = 4;
    assert_int_equal(rules_are(w, 2, r), 0);
    struct sender_facts in = seen(500);
    facts_sketch_add(&in.sketch[FACTS_NETWORKS], facts_hash(str("192.0.2.0/24")));
    look(w, 1, 1, &in);
    assert_false(frozen(w, &f));
    for (int i = 0; i < 6; i++) {
        char net[32];
        int n = snprintf(net, sizeof net, "198.51.%d.0/24", i);
        facts_sketch_add(&in.sketch[FACTS_NETWORKS], facts_hash(span_of(net, (size_t)n)));
    }
    look(w, 1, 2, &in);
    assert_true(frozen(w, &f));
    assert_int_equal(f.mode, COMMAND_FREEZE_AUTO);
    assert_int_equal(f.until_ms, 0);
    assert_true(span_eq(f.reason,
                        str("recipients 1000 > 100 in 1h and networks 7 > 3 in 1h"))); /* merged, not added */
    assert_int_equal(thaw(w), 0);
    in = seen(101);
    in.class = 2;
    look(w, 1, 3, &in);
    assert_true(frozen(w, &f));
    assert_true(span_eq(f.who, str("rule bulk")));
    world_free(w);
}

static int count_lines(void *arg, const struct directory_audit *a)
{
    uint32_t *n = arg;
    *n += memmem(a->what.p, a->what.n, "would hold account " ANNA ": recipients 200 > 100 in 1h", 56) != NULL;
    return 0;
}

static void tried_out(void **state)
{
    (void)state;
    struct world *w = at_level(5);
    struct machine_frozen f;
    struct sender_rule r = many;
    uint32_t lines = 0;
    r.dry_run = true;
    assert_int_equal(rules_are(w, 1, &r), 0);
    struct sender_facts in = seen(200);
    look(w, 1, 1, &in);
    look(w, 1, 2, &in); /* not said twice within its window */
    assert_false(frozen(w, &f));
    (void)directory_audit_each(w->m, 0, count_lines, &lines);
    assert_int_equal(lines, 1);
    world_free(w);
}

static void groups_of_messages(void **state)
{
    (void)state;
    struct world *w = at_level(6);
    struct sender_facts in = seen(30);
    in.ngroups = 2;
    for (unsigned i = 0; i < FACTS_SIGNATURE; i++) {
        in.group[0].like.value[i] = (uint16_t)(100 + i);
        in.group[1].like.value[i] = (uint16_t)(300 + i);
    }
    in.group[0].recipients = 20;
    in.group[1].recipients = 10;
    look(w, 1, 1, &in);
    for (unsigned i = 0; i < FACTS_SIGNATURE - FACTS_ALIKE; i++)
        in.group[0].like.value[i] = 0; /* half of it is something else */
    look(w, 1, 2, &in);
    assert_int_equal(value(w, SENDER_ALIKE, 0), 40);
    assert_int_equal(value(w, SENDER_UNLIKE, 0), 60 - (40 - 20)); /* and the other one is not large */
    in.ngroups = 1;
    for (uint16_t k = 0; k < 40; k++) { /* many that are not alike do not push out the large ones */
        memset(in.group[0].like.value, 0, sizeof in.group[0].like.value);
        in.group[0].like.value[0] = k;
        for (unsigned i = 1; i < FACTS_SIGNATURE; i++)
            in.group[0].like.value[i] = (uint16_t)(1000 + 100u * k + i);
        in.group[0].recipients = 1;
        look(w, 1, 3u + k, &in);
    }
    assert_int_equal(value(w, SENDER_ALIKE, 0), 40);
    w->now_ms += 80 * 60000;
    in.ngroups = 0;
    look(w, 1, 50, &in);
    assert_int_equal(value(w, SENDER_ALIKE, 0), 0);
    world_free(w);
}

static void hours_against_habit(void **state)
{
    (void)state;
    struct world *w = at_level(5);
    struct sender_facts in = seen(5);
    uint64_t n = 0;
    const int64_t day = (int64_t)DAY_MS;
    assert_int_equal(look_at(w, 1, ++n, NOON_MS - 9 * (int64_t)HOUR_MS, &in), 0); /* nobody knows him yet */
    assert_int_equal(value(w, SENDER_ODD_HOURS, 0), 0);
    for (int i = 0; i < 30; i++)
        assert_int_equal(look_at(w, 1, ++n, NOON_MS + i * day, &in), 0);
    assert_int_equal(value(w, SENDER_ODD_HOURS, 0), 0);
    assert_int_equal(look_at(w, 1, ++n, NOON_MS + 30 * day + (int64_t)HOUR_MS, &in), 0); /* an hour later */
    assert_int_equal(value(w, SENDER_ODD_HOURS, 0), 0);
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(look_at(w, 1, ++n, NOON_MS + 30 * day - 9 * (int64_t)HOUR_MS, &in), 0);
        assert_int_equal(value(w, SENDER_ODD_HOURS, 0),
                         5u * (unsigned)i); /* the same night does not make it a habit */
    }
    world_free(w);
}

static struct sender_facts from_network(uint32_t recipients, const char *network)
{
    struct sender_facts in = seen(recipients);
    facts_sketch_add(&in.sketch[FACTS_NETWORKS], facts_hash(str(network)));
    return in;
}

/* At noon of that day. */
static int look_on(struct world *w, int day, uint64_t number, const struct sender_facts *f)
{
    w->now_ms = (100 + (uint64_t)day) * DAY_MS;
    return look_at(w, 1, number, NOON_MS + day * (int64_t)DAY_MS, f);
}

static void networks_against_habit(void **state)
{
    (void)state;
    for (uint32_t level = 5; level <= 6; level++) {
        struct world *w = at_level(level);
        struct sender_facts office = from_network(3, "192.0.2.0/24"),
                            hotel = from_network(5, "198.51.100.0/24");
        uint64_t n = 0;
        assert_int_equal(look_on(w, 0, ++n, &hotel), 0); /* nobody knows him yet */
        assert_int_equal(value(w, SENDER_NEW_NETWORKS, 0), 0);
        for (int i = 1; i < 30; i++)
            assert_int_equal(look_on(w, i, ++n, &office), 0);
        assert_int_equal(value(w, SENDER_NEW_NETWORKS, 0), 0);
        assert_int_equal(look_on(w, 30, ++n, &hotel), 0); /* a month ago he was there */
        assert_int_equal(value(w, SENDER_NEW_NETWORKS, 0), 0);
        struct sender_facts train = from_network(7, "203.0.113.0/24");
        for (unsigned i = 1; i <= 2; i++) {
            assert_int_equal(look_on(w, 30, ++n, &train), 0);
            assert_int_equal(value(w, SENDER_NEW_NETWORKS, 0), level == 6 ? 7 * i : 0);
        }
        assert_int_equal(look_on(w, 31, ++n, &train), 0); /* and a day later */
        assert_int_equal(value(w, SENDER_NEW_NETWORKS, 0), level == 6 ? 7 : 0);
        assert_int_equal(look_on(w, 35, ++n, &train), 0); /* then it is known */
        assert_int_equal(value(w, SENDER_NEW_NETWORKS, 0), 0);
        for (int i = 36; i < 85; i++)
            assert_int_equal(look_on(w, i, ++n, &office), 0);
        assert_int_equal(look_on(w, 85, ++n, &hotel), 0); /* that was too long ago */
        assert_int_equal(value(w, SENDER_NEW_NETWORKS, 0), level == 6 ? 5 : 0);
        struct sender_facts same = from_network(100, "203.0.113.128/25"); /* one text to a hundred */
        same.ngroups = 1;
        same.group[0] = (struct facts_group){ .like = { { 1, 2, 3 } }, .messages = 1, .recipients = 100 };
        for (unsigned i = 1; i <= 2; i++) {
            assert_int_equal(look_on(w, 85, ++n, &same), 0);
            assert_int_equal(value(w, SENDER_NEW_NETWORKS, 0), level == 6 ? 25 : 0);
        }
        world_free(w);
    }
}

/* Who robs an account does not become its habit while he is kept from sending. */
static void a_thief_is_no_habit(void **state)
{
    (void)state;
    struct world *w = at_level(6);
    struct machine_frozen f;
    struct sender_rule r = many;
    uint64_t n = 0;
    r.term[0] = (struct sender_term){ SENDER_NEW_ABOVE_USUAL, 1, 20 };
    assert_int_equal(rules_are(w, 1, &r), 0);
    struct sender_facts office = from_network(3, "192.0.2.0/24"), thief = from_network(9, "203.0.113.0/24");
    for (int i = 0; i < 10; i++)
        assert_int_equal(look_on(w, i, ++n, &office), 0);
    for (int i = 0; i < 3; i++) {
        assert_false(frozen(w, &f));
        assert_int_equal(look_on(w, 10, ++n, &thief), 0);
    }
    assert_true(frozen(w, &f));
    assert_true(span_eq(f.reason, str("new_above_usual 24 > 20 in 24h")));
    for (int i = 11; i < 20; i++)
        assert_int_equal(look_on(w, i, ++n, &thief), 0);
    assert_int_equal(thaw(w), 0);
    assert_int_equal(look_on(w, 20, ++n, &thief), 0);
    assert_int_equal(value(w, SENDER_NEW_NETWORKS, 0), 9);
    world_free(w);
}

static void addresses_that_do_not_exist(void **state)
{
    (void)state;
    struct world *w = at_level(6);
    struct sender_facts in = seen(40);
    in.counts.count[RECORD_DELIVERED] = 10;
    in.counts.count[RECORD_HARD] = 5; /* refused for another reason */
    in.counts.count[RECORD_HARD_UNKNOWN_USER] = 4;
    in.counts.count[RECORD_HARD_DNS] = 1;
    look(w, 1, 1, &in);
    assert_int_equal(value(w, SENDER_HARD_BOUNCES, 0), 10);
    assert_int_equal(value(w, SENDER_UNKNOWN_USERS, 0), 5);
    assert_int_equal(value(w, SENDER_UNKNOWN_PERCENT, 2), 25);
    world_free(w);
}

static void a_sender_who_is_new(void **state)
{
    (void)state;
    struct world *w = at_level(6);
    struct sender_facts in = seen(40);
    look(w, 1, 1, &in);
    assert_int_equal(value(w, SENDER_FIRST_DAYS, 1), 40);
    assert_int_equal(look_at(w, 1, 2, NOON_MS + 2 * (int64_t)DAY_MS, &in), 0);
    assert_int_equal(value(w, SENDER_FIRST_DAYS, 1), 80);
    assert_int_equal(look_at(w, 1, 3, NOON_MS + 3 * (int64_t)DAY_MS, &in), 0);
    assert_int_equal(value(w, SENDER_FIRST_DAYS, 1), 0);
    world_free(w);
}

/* More than on any day of the week before; what a block dealt with does not count again. */
static void more_than_usual(void **state)
{
    (void)state;
    struct world *w = at_level(6);
    struct machine_frozen f;
    struct sender_rule r = many;
    uint64_t n = 0;
    r.term[0] = (struct sender_term){ SENDER_ABOVE_USUAL, 1, 100 };
    assert_int_equal(rules_are(w, 1, &r), 0);
    struct sender_facts thirty = seen(30), sixty = seen(60);
    for (int i = 0; i < 6; i++) {
        look(w, 1, ++n, &thirty);
        w->now_ms += DAY_MS;
    }
    w->now_ms += DAY_MS;
    for (int i = 0; i < 2; i++)
        look(w, 1, ++n, &sixty);
    assert_int_equal(value(w, SENDER_RECIPIENTS, 1), 120);
    assert_int_equal(value(w, SENDER_ABOVE_USUAL, 1), 90);
    assert_false(frozen(w, &f));
    look(w, 1, ++n, &thirty);
    assert_true(frozen(w, &f));
    assert_true(span_eq(f.reason, str("above_usual 120 > 100 in 24h")));
    assert_int_equal(thaw(w), 0);
    look(w, 1, ++n, &thirty);
    assert_false(frozen(w, &f));
    assert_int_equal(value(w, SENDER_ABOVE_USUAL, 1), 30);
    w->now_ms += 3 * DAY_MS; /* the day on which he was blocked was no usual one */
    look(w, 1, ++n, &sixty);
    assert_int_equal(value(w, SENDER_ABOVE_USUAL, 1), 30);
    world_free(w);
}

static size_t bytes_of(const struct world *w, uint8_t out[4096])
{
    const struct store_rec *rec = store_find(w->m->store, &directory_sender_type, str(ANNA));
    struct buf b;
    buf_init(&b, 4096);
    directory_sender_type.encode(rec, &b);
    assert_int_equal(buf_err(&b), 0);
    size_t n = b.len;
    memcpy(out, b.data, n);
    buf_fini(&b);
    return n;
}

/* What a block dealt with, of facts that came with level 6: a build that does not know of spam reads it. */
static void bytes_without_spam(void **state)
{
    enum { OF_LEVEL_6 = 7, EACH = 4 * SENDER_WINDOWS };
    (void)state;
    uint8_t bytes[4096], then[4096];
    size_t size = 0, at = 0;
    for (uint32_t level = 7; level >= 6; level--) {
        struct world *w = at_level(level);
        struct machine_frozen f;
        struct sender_facts in = seen(101), spam = seen(0);
        assert_int_equal(rules_are(w, 1, &many), 0);
        look(w, 1, 1, &in);
        assert_true(frozen(w, &f));
        size_t n = bytes_of(w, bytes);
        spam.class = FACTS_CLASS_UNKNOWN;
        spam.counts.count[RECORD_SPAM] = 3;
        assert_int_equal(look_at(w, 1, 2, NOON_MS, &spam), level == 6 ? ERR_BAD : 0);
        size_t now = bytes_of(w, then);
        if (level == 7) {
            size = n;
            while (bytes[at] == then[at])
                at++;
            assert_int_equal(then[at], OF_LEVEL_6 + 1);
        }
        assert_int_equal(n, size);
        assert_int_equal(now, level == 6 ? n : n + EACH);
        assert_int_equal(bytes[at], OF_LEVEL_6);
        world_free(w);
    }
}

static void what_the_content_check_says(void **state)
{
    (void)state;
    struct sender_rule r = many;
    r.term[0] = (struct sender_term){ SENDER_SPAM, 0, 20 };
    struct world *w = at_level(6);
    assert_int_equal(rules_are(w, 1, &r), ERR_BAD);
    r.notify = true; /* which needs level 6 */
    assert_int_equal(rules_are(w, 1, &r), ERR_BAD);
    world_free(w);
    w = at_level(7);
    struct machine_frozen f;
    struct sender_facts in = seen(20);
    assert_int_equal(rules_are(w, 1, &r), 0);
    in.counts.count[RECORD_SPAM] = 20;
    look(w, 1, 1, &in);
    assert_false(frozen(w, &f));
    assert_int_equal(value(w, SENDER_SPAM, 2), 20);
    assert_int_equal(value(w, SENDER_HARD_BOUNCES, 2), 0);
    in.counts.count[RECORD_SPAM] = 1;
    look(w, 1, 2, &in);
    assert_true(frozen(w, &f));
    assert_true(span_eq(f.reason, str("spam 21 > 20 in 1h")));
    world_free(w);
}

static void rules_of_a_later_level(void **state)
{
    (void)state;
    struct world *w = at_level(5);
    struct sender_rule r = many;
    r.term[0] = (struct sender_term){ SENDER_NEW_NETWORKS, 0, 100 };
    assert_int_equal(rules_are(w, 1, &r), ERR_BAD);
    assert_int_equal(rules_are(w, 1, &many), 0);
    world_free(w);
    r.term[0] = (struct sender_term){ SENDER_ABOVE_USUAL, 0, 100 };
    assert_false(sender_rule_ok(&r)); /* it is of the day */
}

static void what_is_refused_or_left_out(void **state)
{
    (void)state;
    struct world *w = at_level(4);
    struct machine_totals t;
    struct sender_facts in = seen(1);
    assert_int_equal(look_at(w, 1, 1, NOON_MS, &in), ERR_DENIED);
    assert_int_equal(rules_are(w, 1, &many), ERR_BAD); /* older nodes could not read it */
    world_free(w);
    w = at_level(5);
    assert_int_equal(command_type_level(COMMAND_SENDER_LOOK), 5);
    in.class = 3;
    assert_int_equal(look_at(w, 1, 1, NOON_MS, &in), ERR_BAD);
    in = seen(0);
    in.class = FACTS_CLASS_UNKNOWN;
    in.counts.count[RECORD_FAILED_LOGINS] = 9;
    look(w, 1, 2, &in); /* of somebody who may not exist */
    machine_totals(w->m, &t);
    assert_int_equal(t.records, 0);
    struct sender_facts mail = seen(1);
    look(w, 1, 3, &mail);
    look(w, 1, 4, &in);
    assert_int_equal(value(w, SENDER_FAILED_LOGINS, 1), 9);
    world_free(w);
}

static int count_alerts(void *arg, const struct directory_alert *a)
{
    const char *want = arg;
    assert_string_equal(want, ANNA);
    assert_true(span_eq(a->account, str(ANNA)));
    return 0;
}

/* One freeze, one alert, whatever else is seen of him; and of a warning one in its window. */
static void people_are_told_once(void **state)
{
    (void)state;
    struct world *w = at_level(6);
    struct sender_rule rules[2] = { many, many };
    snprintf(rules[0].name, sizeof rules[0].name, "some");
    rules[0].action = SENDER_WARN;
    rules[0].term[0].more_than = 50;
    rules[0].repeat = 0;
    rules[0].notify = rules[1].notify = true;
    struct sender_facts most = seen(60);
    assert_int_equal(rules_are(w, 2, rules), 0);
    look(w, 1, 1, &most);
    assert_int_equal(directory_alert_last(w->m), 1);
    for (uint64_t i = 2; i < 6; i++)
        look(w, 1, i, &most);
    assert_int_equal(directory_alert_last(w->m), 2);
    look(w, 1, 5, &most); /* a repeat */
    assert_int_equal(directory_alert_last(w->m), 2);
    assert_int_equal(directory_alerts_each(w->m, 0, count_alerts, (void *)(uintptr_t)ANNA), 0);
    struct buf out;
    buf_init(&out, 4096);
    dump(w->m, &out);
    assert_non_null(memmem(out.data, out.len, "hold for 60 min: recipients 120 > 100 in 1h", 43));
    buf_fini(&out);
    world_free(w);
    w = at_level(5); /* a policy that asks for it needs all nodes to know how */
    assert_int_equal(rules_are(w, 2, rules), ERR_BAD);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_look_that_passes_it_acts),
        cmocka_unit_test(what_a_block_dealt_with_counts_no_more),
        cmocka_unit_test(going_on_steadily),
        cmocka_unit_test(all_terms_and_its_class),
        cmocka_unit_test(tried_out),
        cmocka_unit_test(groups_of_messages),
        cmocka_unit_test(hours_against_habit),
        cmocka_unit_test(networks_against_habit),
        cmocka_unit_test(a_thief_is_no_habit),
        cmocka_unit_test(addresses_that_do_not_exist),
        cmocka_unit_test(a_sender_who_is_new),
        cmocka_unit_test(more_than_usual),
        cmocka_unit_test(bytes_without_spam),
        cmocka_unit_test(what_the_content_check_says),
        cmocka_unit_test(rules_of_a_later_level),
        cmocka_unit_test(what_is_refused_or_left_out),
        cmocka_unit_test(people_are_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
