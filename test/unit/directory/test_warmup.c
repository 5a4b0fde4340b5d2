/* Addresses that warm up: how much of a day is handed out, to whom, and what a day's end makes of it. */
#include "consensus/machine_impl.h"
#include "world.h"

#include <stdio.h>

#define DAY_MS UINT64_C(86400000)
#define IP "192.0.2.10"

static struct command start(const char *address)
{
    return (struct command){ .type = COMMAND_WARMUP_START,
                             .warmup_start = {
                                 .by = { .who = str("root@node-a"),
                                         .wall_ms = 1700000000000 / (int64_t)DAY_MS * (int64_t)DAY_MS },
                                 .address = str(address),
                                 .first = 50,
                                 .growth_pct = 140,
                                 .days = 5,
                                 .fill_pct = 80,
                                 .deferral_permille = 200,
                                 .complaint_permille = 20,
                                 .step_back = true,
                                 .sites = 3 } };
}

static struct command named(uint8_t type, const char *name)
{
    return (struct command){ .type = type,
                             .name = { .by = { .who = str("root@node-a") }, .name = str(name) } };
}

static struct command step(const char *site, uint32_t n)
{
    return (struct command){ .type = COMMAND_WARMUP_STEP,
                             .warmup_step = { .by = { .who = str("root@node-a") },
                                              .address = str(IP),
                                              .site = str(site),
                                              .step = n } };
}

static struct command reserve(const char *site, uint32_t want)
{
    return (struct command){ .type = COMMAND_WARMUP_RESERVE,
                             .warmup_reserve = { .address = str(IP), .site = str(site), .want = want } };
}

static struct command report(const char *site, uint32_t delivered, uint32_t deferred, uint32_t complaints)
{
    return (struct command){ .type = COMMAND_WARMUP_REPORT,
                             .warmup_report = { .address = str(IP),
                                                .site = str(site),
                                                .delivered = delivered,
                                                .deferred = deferred,
                                                .complaints = complaints } };
}

/* What is given back of a reservation `of`. */
static struct command back(const char *site, const struct machine_result *of, uint32_t unspent)
{
    struct command c = report(site, 0, 0, 0);
    c.warmup_report.plan = of->id;
    c.warmup_report.until_ms = of->free_ms;
    c.warmup_report.unspent = unspent;
    return c;
}

static void new_ip(struct world *w, const char *address, uint64_t node)
{
    assert_int_equal(tell(w, (struct command){ .type = COMMAND_IP_SET,
                                               .ip_set = { .by = { .who = str("root@node-a") },
                                                           .address = str(address),
                                                           .pool = str("good"),
                                                           .node = node,
                                                           .create = true } }),
                     0);
}

/* Nodes 1 to 3, with sessions; the address is node 1's. */
static struct world *at_level(uint32_t level)
{
    struct world *w = world_founded();
    assert_int_equal(join(w, "192.0.2.2"), 2);
    assert_int_equal(join(w, "192.0.2.3"), 3);
    (void)open_session(w, 2);
    (void)open_session(w, 3);
    for (uint64_t node = 1; node <= 3; node++) {
        struct command c = { .type = COMMAND_MEMBER_REPORT };
        c.member_report =
            (struct command_member_report){ .node = node, .version = str("1"), .features = level };
        assert_int_equal(tell_as(w, node, c), 0);
    }
    assert_int_equal(
        tell(w, (struct command){ .type = COMMAND_FEATURE_RAISE, .feature_raise = { .level = level } }), 0);
    assert_int_equal(
        tell(w, (struct command){ .type = COMMAND_POOL_SET,
                                  .pool_set = { .by = { .who = str("root@node-a") }, .name = str("good") } }),
        0);
    new_ip(w, IP, 1);
    return w;
}

static struct world *started(void)
{
    struct world *w = at_level(4);
    assert_int_equal(tell(w, start(IP)), 0);
    assert_true(changed(w, MACHINE_CHANGED_POOLS, IP));
    return w;
}

struct wanted {
    const char *site;
    struct directory_warming_site *out;
};

static int pick(void *arg, const struct directory_warming_site *s)
{
    const struct wanted *wanted = arg;
    if (!span_eq(s->site, str(wanted->site)))
        return 0;
    *wanted->out = *s;
    return 1;
}

static struct directory_warming_site of(const struct world *w, const char *site)
{
    struct directory_warming_site s = { 0 };
    assert_int_equal(directory_warming_site_each(w->m, str(IP), pick, &(struct wanted){ site, &s }), 1);
    return s;
}

/* Takes all that there is, in batches. */
static uint32_t drain(struct world *w, uint64_t node, const char *site)
{
    uint32_t n = 0;
    while (tell_as(w, node, reserve(site, 1000)) == 0) {
        assert_true(w->r.count > 0 && w->r.count != COMMAND_WARMUP_UNLIMITED);
        n += w->r.count;
    }
    assert_int_equal(w->r.err, ERR_LIMIT);
    return n;
}

static void a_day_holds(void **state)
{
    (void)state;
    struct world *w = started();
    assert_int_equal(tell_as(w, 1, reserve("example.com", 1000)), 0);
    assert_int_equal(w->r.count, 50 / 8 + 1); /* a part of it at a time */
    assert_true(w->r.free_ms == w->now_ms + DAY_MS);
    assert_int_equal(w->r.life_ms, 600000);
    assert_int_equal(tell_as(w, 1, reserve("example.com", 2)), 0);
    assert_int_equal(w->r.count, 2);
    assert_int_equal(drain(w, 1, "example.com"), 50 - 9);
    assert_words(w, "has sent its 50 messages of today to example.com");
    assert_true(w->r.free_ms == w->now_ms + DAY_MS);
    assert_int_equal(drain(w, 1, "example.org"), 50); /* another site's is its own */
    w->now_ms += DAY_MS - 1;
    assert_int_equal(tell_as(w, 1, reserve("example.com", 1)), ERR_LIMIT);
    w->now_ms += 1;
    assert_int_equal(drain(w, 1, "example.com"), 50); /* nobody reported any of it as delivered: no step */
    assert_int_equal(of(w, "example.com").verdict, DIRECTORY_WARMUP_REPEAT);
    /* the last tokens of a day do not outlive it, by a clock that is a little slow */
    w->now_ms += DAY_MS - 1000;
    assert_int_equal(tell_as(w, 1, reserve("example.net", 1)), 0);
    assert_int_equal(w->r.life_ms, 980);
    world_free(w);
}

/* (!) What was handed out comes back only from who has it, as much as he has, on the same day. */
static void given_back(void **state)
{
    (void)state;
    struct world *w = started();
    assert_int_equal(tell_as(w, 1, reserve("example.com", 5)), 0);
    struct machine_result first = w->r;
    assert_int_equal(tell_as(w, 2, back("example.com", &first, 5)), 0);
    assert_int_equal(w->r.count, 0);
    assert_int_equal(tell_as(w, 1, back("example.com", &first, 2)), 0);
    assert_int_equal(w->r.count, 2);
    assert_int_equal(of(w, "example.com").reserved, 3);
    struct command c = back("example.com", &first, 100); /* one was sent: two are left */
    c.warmup_report.delivered = 1;
    assert_int_equal(tell_as(w, 1, c), 0);
    assert_int_equal(w->r.count, 2);
    assert_int_equal(of(w, "example.com").reserved, 1);
    assert_int_equal(of(w, "example.com").held, 0);
    assert_int_equal(tell_as(w, 1, back("example.com", &first, 1)), 0);
    assert_int_equal(w->r.count, 0);
    /* of another plan, and of yesterday */
    assert_int_equal(tell_as(w, 1, reserve("example.com", 5)), 0);
    struct machine_result second = w->r, wrong = w->r;
    wrong.id++;
    assert_int_equal(tell_as(w, 1, back("example.com", &wrong, 5)), 0);
    assert_int_equal(w->r.count, 0);
    w->now_ms += DAY_MS;
    assert_int_equal(tell_as(w, 1, reserve("example.com", 5)), 0);
    assert_int_equal(tell_as(w, 1, back("example.com", &second, 5)), 0);
    assert_int_equal(w->r.count, 0);
    assert_int_equal(of(w, "example.com").reserved, 5);
    assert_int_equal(tell_as(w, 1, back("example.net", &second, 5)), ERR_NOT_FOUND);
    world_free(w);
}

/* (!) What a process had that died, or a node that no longer has the address, stays handed out. */
static void lost_tokens_count(void **state)
{
    (void)state;
    struct world *w = started();
    assert_int_equal(tell_as(w, 1, reserve("example.com", 7)), 0);
    struct machine_result old = w->r;
    uint64_t dead = w->session[1];
    (void)open_session(w, 1);
    assert_int_equal(tell_as(w, 1, back("example.com", &old, 7)), 0);
    assert_int_equal(w->r.count, 0);
    assert_int_equal(tell_as(w, 1, reserve("example.com", 7)), 0);
    old = w->r;
    assert_int_equal(tell_as(w, 1, back("example.com", &old, 100)), 0);
    assert_int_equal(w->r.count, 7); /* its own, and not what the one before had */
    assert_int_equal(tell_as(w, 1, reserve("example.com", 7)), 0);
    old = w->r;
    /* it moves: neither of the two may take, until it is the other's */
    struct command move = { .type = COMMAND_IP_MOVE,
                            .ip_move = {
                                .by = { .who = str("root@node-a") }, .address = str(IP), .node = 2 } };
    assert_int_equal(tell(w, move), 0);
    uint64_t moved = w->r.id;
    assert_int_equal(tell_as(w, 1, reserve("example.com", 1)), ERR_DENIED);
    assert_int_equal(tell_as(w, 2, reserve("example.com", 1)), ERR_DENIED);
    struct command released = { .type = COMMAND_IP_RELEASED,
                                .ip_released = { .address = str(IP), .moved = moved } };
    assert_int_equal(tell_as(w, 1, released), 0);
    assert_int_equal(expire(w, dead), 0); /* the process that died might have gone on */
    assert_int_equal(tell_as(w, 1, reserve("example.com", 1)), ERR_DENIED);
    assert_int_equal(drain(w, 2, "example.com"), 50 - 14);
    /* too late: the other has begun */
    assert_int_equal(tell_as(w, 1, back("example.com", &old, 7)), 0);
    assert_int_equal(w->r.count, 0);
    world_free(w);
}

/* What a day with these counts leads to, from step 2 (98 messages). */
static uint8_t verdict(uint32_t delivered, uint32_t deferred, uint32_t complaints, uint32_t *step_after,
                       bool step_back)
{
    struct world *w = at_level(4);
    struct command c = start(IP);
    c.warmup_start.step_back = step_back;
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(tell(w, step("example.com", 2)), 0);
    assert_int_equal(of(w, "example.com").volume, 98);
    assert_int_equal(tell_as(w, 1, report("example.com", delivered, deferred, complaints)), 0);
    w->now_ms += DAY_MS;
    assert_int_equal(tell_as(w, 1, reserve("example.com", 1)), 0);
    struct directory_warming_site s = of(w, "example.com");
    assert_int_equal(s.before.delivered, delivered);
    assert_int_equal(s.today.delivered, 0);
    *step_after = s.step;
    world_free(w);
    return s.verdict;
}

static void what_a_day_leads_to(void **state)
{
    (void)state;
    static const struct {
        uint32_t delivered, deferred, complaints;
        bool step_back;
        uint8_t verdict;
        uint32_t step;
    } days[] = {
        { 98, 0, 0, true, DIRECTORY_WARMUP_UP, 3 },
        { 79, 0, 0, true, DIRECTORY_WARMUP_UP, 3 },     /* 80 % of 98 is 78.4 */
        { 78, 0, 0, true, DIRECTORY_WARMUP_REPEAT, 2 }, /* not all went out */
        { 0, 0, 0, true, DIRECTORY_WARMUP_REPEAT, 2 },
        { 80, 20, 0, true, DIRECTORY_WARMUP_UP, 3 }, /* 20 % is not more than 20 % */
        { 80, 21, 0, true, DIRECTORY_WARMUP_BACK, 1 },
        { 80, 21, 0, false, DIRECTORY_WARMUP_REPEAT, 2 },
        { 1, 1, 0, true, DIRECTORY_WARMUP_REPEAT, 2 }, /* one alone is no share */
        { 0, 2, 0, true, DIRECTORY_WARMUP_BACK, 1 },
        { 100, 0, 2, true, DIRECTORY_WARMUP_UP, 3 }, /* 2 % */
        { 99, 0, 2, true, DIRECTORY_WARMUP_BACK, 1 },
        { 99, 0, 2, false, DIRECTORY_WARMUP_REPEAT, 2 },
        { 10, 0, 1, true, DIRECTORY_WARMUP_REPEAT, 2 },
    };
    for (size_t i = 0; i < sizeof days / sizeof days[0]; i++) {
        uint32_t after;
        uint8_t v =
            verdict(days[i].delivered, days[i].deferred, days[i].complaints, &after, days[i].step_back);
        if (v != days[i].verdict || after != days[i].step)
            fail_msg("day %zu: verdict %u, step %u", i, v, after);
    }
}

/* From the first day to the end of the plan, as it grows. */
static void until_warm(void **state)
{
    (void)state;
    static const uint32_t volumes[] = { 50, 70, 98, 137, 191 };
    struct world *w = started();
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(drain(w, 1, "example.com"), volumes[i]);
        assert_int_equal(tell_as(w, 1, report("example.com", volumes[i], 0, 0)), 0);
        w->now_ms += i == 2 ? 7 * DAY_MS : DAY_MS; /* days without mail change nothing */
    }
    assert_int_equal(tell_as(w, 1, reserve("example.com", 1)), 0);
    assert_true(w->r.count == COMMAND_WARMUP_UNLIMITED);
    assert_true(of(w, "example.com").warm);
    w->now_ms += DAY_MS; /* and stays so */
    assert_int_equal(tell_as(w, 1, report("example.com", 0, 100, 100)), 0);
    w->now_ms += DAY_MS;
    assert_int_equal(tell_as(w, 1, reserve("example.com", 1)), 0);
    assert_true(w->r.count == COMMAND_WARMUP_UNLIMITED);
    assert_int_equal(drain(w, 1, "example.org"), 50); /* which is another matter */
    /* a longer plan goes on where it was; a shorter one ends */
    struct command c = start(IP);
    c.warmup_start.days = 6;
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(of(w, "example.com").volume, 267);
    assert_false(of(w, "example.com").warm);
    c.warmup_start.days = 2;
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(of(w, "example.com").step, 2);
    assert_true(of(w, "example.com").warm);
    assert_int_equal(tell(w, step("example.com", 0)), 0);
    assert_int_equal(drain(w, 1, "example.com"), 50);
    world_free(w);
}

/* A smaller plan does not take back what was handed out. */
static void made_smaller(void **state)
{
    (void)state;
    struct world *w = started();
    assert_int_equal(drain(w, 1, "example.com"), 50);
    struct command c = start(IP);
    c.warmup_start.first = 10;
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(tell_as(w, 1, reserve("example.com", 1)), ERR_LIMIT);
    c.warmup_start.first = 60;
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(drain(w, 1, "example.com"), 10);
    world_free(w);
}

static void sites_are_bounded(void **state)
{
    (void)state;
    struct world *w = started();
    struct directory_warming v;
    assert_int_equal(drain(w, 1, "a.example"), 50);
    assert_int_equal(drain(w, 1, "b.example"), 50);
    assert_int_equal(drain(w, 1, "c.example"), 50);
    assert_int_equal(tell_as(w, 1, reserve("d.example", 7)), 0); /* these share one */
    struct machine_result d = w->r;
    assert_int_equal(tell_as(w, 1, reserve("e.example", 7)), 0);
    assert_int_equal(of(w, "*").reserved, 14);
    assert_int_equal(tell_as(w, 1, back("d.example", &d, 7)), 0);
    assert_int_equal(of(w, "*").reserved, 7);
    assert_int_equal(drain(w, 1, "f.example"), 43);
    assert_words(w, "to *");
    assert_int_equal(tell(w, step("d.example", 1)), ERR_LIMIT);
    assert_int_equal(tell(w, step("*", 1)), 0);
    assert_true(directory_warming_find(w->m, str(IP), &v));
    assert_int_equal(v.sites, 3);
    world_free(w);
}

static void started_and_stopped(void **state)
{
    (void)state;
    struct world *w = at_level(4);
    struct directory_warming v;
    assert_int_equal(tell_as(w, 1, reserve("example.com", 1)), ERR_NOT_FOUND);
    assert_int_equal(tell_as(w, 1, report("example.com", 1, 0, 0)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, named(COMMAND_WARMUP_STOP, IP)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, step("example.com", 1)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, start("192.0.2.99")), ERR_NOT_FOUND);
    assert_words(w, "there is no address 192.0.2.99");
    struct command wrong[7];
    for (size_t i = 0; i < 7; i++)
        wrong[i] = start(IP);
    wrong[0].warmup_start.first = 0;
    wrong[1].warmup_start.growth_pct = 100;
    wrong[2].warmup_start.days = 0;
    wrong[3].warmup_start.deferral_permille = 1001;
    wrong[4].warmup_start.fill_pct = 101;
    wrong[5].warmup_start.sites = 1001;
    wrong[6].warmup_start.complaint_permille = 1001;
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(tell(w, wrong[i]), ERR_BAD);
    assert_int_equal(tell(w, start(IP)), 0);
    uint64_t plan = w->r.id;
    assert_int_equal(drain(w, 1, "example.com"), 50);
    assert_int_equal(tell_as(w, 1, reserve("two words", 1)), ERR_BAD);
    assert_int_equal(tell_as(w, 1, reserve("example.com", 0)), ERR_BAD);
    assert_int_equal(tell(w, start(IP)), 0); /* the same plan: no day begins anew */
    assert_true(w->r.id == plan);
    assert_int_equal(tell_as(w, 1, reserve("example.com", 1)), ERR_LIMIT);
    assert_true(directory_warming_find(w->m, str(IP), &v));
    struct command stale = start(IP);
    stale.warmup_start.by.version = plan;
    assert_int_equal(tell(w, stale), ERR_BUSY);
    stale.warmup_start.by.version = v.version;
    assert_int_equal(tell(w, stale), 0);
    assert_int_equal(tell(w, named(COMMAND_WARMUP_STOP, IP)), 0);
    assert_true(changed(w, MACHINE_CHANGED_POOLS, IP));
    assert_false(directory_warming_find(w->m, str(IP), &v));
    assert_int_equal(tell(w, start(IP)), 0);
    assert_int_equal(drain(w, 1, "example.com"), 50); /* a new one */
    /* with the address goes its plan, and no neighbour's */
    new_ip(w, "192.0.2.1", 1);
    new_ip(w, "192.0.2.100", 1);
    assert_int_equal(tell(w, start("192.0.2.1")), 0);
    assert_int_equal(tell(w, start("192.0.2.100")), 0);
    struct command c = reserve("example.com", 1);
    c.warmup_reserve.address = str("192.0.2.100");
    assert_int_equal(tell_as(w, 1, c), 0);
    assert_int_equal(tell(w, named(COMMAND_IP_REMOVE, "192.0.2.1")), 0);
    assert_int_equal(expire(w, w->session[1]), 0);
    assert_false(directory_warming_find(w->m, str("192.0.2.1"), &v));
    assert_true(directory_warming_find(w->m, str(IP), &v));
    assert_true(directory_warming_find(w->m, str("192.0.2.100"), &v));
    assert_int_equal(v.sites, 1);
    world_free(w);
}

/* (!) The first day ends with the operator's day, by his wall clock; afterwards no wall clock counts. */
static void days_end_at_midnight(void **state)
{
    (void)state;
    struct world *w = at_level(4);
    struct command c = start(IP);
    c.warmup_start.by.wall_ms += 18 * 3600000; /* at six in the evening */
    assert_int_equal(tell(w, c), 0);
    assert_int_equal(tell_as(w, 1, reserve("example.com", 1)), 0);
    assert_true(w->r.free_ms == w->now_ms + 6 * 3600000);
    w->now_ms += 6 * 3600000 + DAY_MS;
    c.warmup_start.by.wall_ms = 5;
    assert_int_equal(tell(w, c), 0); /* no new beginning */
    assert_int_equal(tell_as(w, 1, reserve("example.com", 1)), 0);
    assert_true(w->r.free_ms == w->now_ms + DAY_MS);
    world_free(w);
}

static void not_before_its_level(void **state)
{
    (void)state;
    struct world *w = at_level(3);
    assert_int_equal(tell(w, start(IP)), ERR_DENIED);
    assert_words(w, "feature level is 3");
    assert_int_equal(tell(w, named(COMMAND_WARMUP_STOP, IP)), ERR_DENIED);
    assert_int_equal(tell(w, step("example.com", 1)), ERR_DENIED);
    assert_int_equal(tell_as(w, 1, reserve("example.com", 1)), ERR_DENIED);
    assert_int_equal(tell_as(w, 1, report("example.com", 1, 0, 0)), ERR_DENIED);
    assert_int_equal(command_type_level(COMMAND_WARMUP_START), 4);
    assert_int_equal(command_type_level(COMMAND_SUPPRESS_REMOVE), 3);
    world_free(w);
}

/* ---- conservation, counted by somebody who knows nothing of the machine's books ---------------------------
 */

struct token {
    struct machine_result of;
    uint32_t left;
    uint64_t life_end_ms;
};

static uint32_t dice(uint64_t *seed, uint32_t n)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33) % n;
}

/* Nodes that take, send as late as they may, die, lose the address, and give back more than they have. */
static void never_more_than_the_plan(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct world *w = started();
        struct command c = start(IP);
        c.warmup_start.days = 300;
        assert_int_equal(tell(w, c), 0);
        uint64_t rnd = seed, owner = 1, day = 0, moved = 0, first_end = w->now_ms + DAY_MS;
        uint32_t sent = 0, most = 0;
        struct token t[4] = { 0 };
        for (int i = 0; i < 1500; i++) {
            w->now_ms += dice(&rnd, 8) == 0 ? dice(&rnd, 3600000) : dice(&rnd, 20000);
            uint64_t now_day = w->now_ms < first_end ? 0 : (w->now_ms - first_end) / DAY_MS + 1;
            if (now_day != day) {
                day = now_day;
                sent = 0;
            }
            uint64_t node = 1 + dice(&rnd, 3);
            struct token *mine = &t[node];
            switch (dice(&rnd, 7)) {
            case 0:
            case 1:
                if (tell_as(w, node, reserve("example.com", 1 + dice(&rnd, 40))) == 0) {
                    assert_int_equal(node, owner); /* nobody else is given any */
                    uint32_t old =
                        mine->of.free_ms == w->r.free_ms ? mine->left : 0; /* another day's are over */
                    *mine = (struct token){ w->r, old + w->r.count, w->now_ms + w->r.life_ms };
                } else if (node == owner && moved == 0) {
                    assert_int_equal(w->r.err, ERR_LIMIT);
                }
                break;
            case 2:
            case 3:
            case 4: { /* also by one that has lost the address meanwhile: its tokens are its own */
                uint32_t n = w->now_ms < mine->life_end_ms ? dice(&rnd, mine->left + 1) : 0;
                if (n == 0)
                    break;
                mine->left -= n;
                sent += n;
                most = of(w, "example.com").volume;
                if (sent > most)
                    fail_msg("seed %llu: %u sent on a day of %u", (unsigned long long)seed, sent, most);
                struct command r = back("example.com", &mine->of, 0);
                r.warmup_report.delivered = n;
                assert_int_equal(tell_as(w, node, r), 0);
                break;
            }
            case 5:
                if (mine->left > 0) {
                    uint32_t n = dice(&rnd, mine->left + 1);
                    mine->left -= n; /* first it is out of hand, then it is given back */
                    assert_int_equal(tell_as(w, node, back("example.com", &mine->of, n)), 0);
                    assert_true(w->r.count <= n);
                }
                break;
            default:
                if (dice(&rnd, 6) == 0 && node != owner && moved == 0) {
                    struct command m = { .type = COMMAND_IP_MOVE };
                    m.ip_move = (struct command_ip_move){ .by = { .who = str("root") },
                                                          .address = str(IP),
                                                          .node = node };
                    assert_int_equal(tell(w, m), 0);
                    struct command rel = { .type = COMMAND_IP_RELEASED };
                    rel.ip_released = (struct command_ip_released){ .address = str(IP), .moved = w->r.id };
                    assert_int_equal(tell_as(w, owner, rel), 0);
                    owner = node;
                } else if (dice(&rnd, 6) == 0) { /* a new process, which knows of no token */
                    uint64_t before = w->session[node];
                    (void)open_session(w, node);
                    assert_int_equal(expire(w, before), 0);
                    *mine = (struct token){ 0 };
                }
            }
            struct directory_warming_site s;
            if (directory_warming_site_each(w->m, str(IP), pick, &(struct wanted){ "example.com", &s }) !=
                0) {
                assert_true(s.reserved <= s.volume);
                assert_true(s.held <= s.reserved);
            }
        }
        assert_true(day > 2);
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_day_holds),
        cmocka_unit_test(given_back),
        cmocka_unit_test(lost_tokens_count),
        cmocka_unit_test(what_a_day_leads_to),
        cmocka_unit_test(until_warm),
        cmocka_unit_test(made_smaller),
        cmocka_unit_test(sites_are_bounded),
        cmocka_unit_test(started_and_stopped),
        cmocka_unit_test(days_end_at_midnight),
        cmocka_unit_test(not_before_its_level),
        cmocka_unit_test(never_more_than_the_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
