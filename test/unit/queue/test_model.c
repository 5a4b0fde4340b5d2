/* Random operations against a plain model of what each item's state should be. After every step the counts
 * agree and the limits hold; at the end every item has been seen to its end, and none was in flight twice.
 * Runs with several seeds (an argument: with so many); a failure names its seed. */
#include "test/unit/queue/fixture.h"

#define ITEMS 400
#define CONNS 24
#define SITES 12
#define SENDERS 6

enum { GONE = -1 };

static uint64_t seeds = 40;

struct model_item {
    struct queue_item *item; /* NULL: not there */
    int state;
    uint32_t site, sender, nrcpts, attempts;
    int64_t arrival, next;
};

struct model_conn {
    struct queue_conn conn;
    enum { FREE, OPENING, READY, BUSY, IDLE } state;
    uint32_t site;
    uint64_t item; /* of BUSY: index + 1 while its outcome is open */
};

struct model {
    struct queue *q;
    struct queue_config config;
    struct model_item items[ITEMS];
    struct model_conn conns[CONNS];
    int64_t now;
    uint64_t random;
    uint64_t added, ended, expired, told;
    uint32_t probing;
    bool frozen[SENDERS];
};

static uint32_t draw(struct model *m, uint32_t n)
{
    m->random = m->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(m->random >> 33) % n;
}

static bool is_frozen_cb(void *ctx, struct span sender, struct span tenant)
{
    const struct model *m = ctx;
    assert_int_equal(sender.p[0], 's');
    assert_int_equal(sender.p[1], tenant.p[1]);
    return m->frozen[sender.p[1] - '0'];
}

static struct queue_site *site_of(struct model *m, uint32_t site)
{
    char key[16];
    snprintf(key, sizeof key, "d%u", site);
    return queue_site_find(m->q, span_str(key));
}

/* The inverse of the above. A key is a span: nothing ends it but its length. */
static uint32_t number_of(const struct queue_site *site)
{
    struct span key = queue_site_key(site);
    uint32_t number = 0;
    assert_in_range(key.n, 2, 3);
    assert_int_equal(key.p[0], 'd');
    for (size_t i = 1; i < key.n; i++) {
        assert_in_range(key.p[i], '0', '9');
        number = number * 10 + (uint32_t)(key.p[i] - '0');
    }
    assert_in_range(number, 0, SITES - 1);
    return number;
}

static void model_add(struct model *m)
{
    uint32_t k = draw(m, ITEMS), rcpts[8], n = 1 + draw(m, 8);
    struct model_item *mi = &m->items[k];
    if (mi->item != NULL)
        return;
    char site[16], sender[16], tenant[16];
    *mi = (struct model_item){ .site = draw(m, SITES), .sender = draw(m, SENDERS), .nrcpts = n };
    snprintf(site, sizeof site, "d%u", mi->site);
    snprintf(sender, sizeof sender, "s%u", mi->sender);
    snprintf(tenant, sizeof tenant, "t%u", mi->sender);
    for (uint32_t i = 0; i < n; i++)
        rcpts[i] = i * 3 + k;
    mi->arrival = m->now;
    mi->next = draw(m, 3) == 0 ? m->now + draw(m, 3600000) : 0;
    bool held = draw(m, 10) == 0;
    struct queue_item_info info = { .id = k,
                                    .site = span_str(site),
                                    .sender = span_str(sender),
                                    .tenant = span_str(tenant),
                                    .class = (uint8_t)draw(m, 3),
                                    .arrival_ms = mi->arrival,
                                    .next_ms = mi->next,
                                    .held = held,
                                    .nrcpts = n,
                                    .rcpts = rcpts };
    mi->item = queue_add(m->q, &info, m->now);
    assert_non_null(mi->item);
    mi->state = held ? QUEUE_STATE_HELD : mi->next > m->now ? QUEUE_STATE_WAITING : QUEUE_STATE_READY;
    m->added++;
}

static struct model_conn *conn_in(struct model *m, int state)
{
    uint32_t from = draw(m, CONNS);
    for (uint32_t i = 0; i < CONNS; i++)
        if ((int)m->conns[(from + i) % CONNS].state == state)
            return &m->conns[(from + i) % CONNS];
    return NULL;
}

static void model_end(struct model *m, struct model_item *mi)
{
    mi->item = NULL;
    mi->state = GONE;
    m->ended++;
}

static void model_give_back(struct model *m, struct model_item *mi)
{
    assert_int_equal(mi->state, QUEUE_STATE_IN_FLIGHT);
    struct queue_item_view v = view(m->q, mi->item);
    assert_int_equal(v.state, QUEUE_STATE_IN_FLIGHT);
    assert_int_equal(v.nrcpts, mi->nrcpts);
    uint32_t what = draw(m, 5);
    if (what == 0) {
        queue_done(m->q, mi->item);
        model_end(m, mi);
    } else if (what == 1) {
        queue_requeue(m->q, mi->item, m->now);
        mi->state = (int)view(m->q, mi->item).state;
        assert_true(mi->state == QUEUE_STATE_READY || mi->state == QUEUE_STATE_HELD);
    } else if (what == 2 && mi->nrcpts > 1) { /* the first recipient is split off and ends */
        uint32_t first = v.rcpts[0];
        struct queue_item *part = queue_split(m->q, mi->item, &first, 1);
        assert_non_null(part);
        assert_int_equal(view(m->q, part).rcpts[0], first);
        mi->nrcpts--;
        queue_done(m->q, part);
        assert_int_equal(view(m->q, mi->item).nrcpts, mi->nrcpts);
        model_give_back(m, mi);
    } else {
        uint32_t keep = 1 + draw(m, mi->nrcpts), rcpts[8];
        memcpy(rcpts, v.rcpts, v.nrcpts * sizeof *rcpts);
        mi->next = queue_defer(m->q, mi->item, rcpts + (mi->nrcpts - keep), keep, 0, m->now);
        assert_memory_equal(view(m->q, mi->item).rcpts, rcpts + (mi->nrcpts - keep), keep * sizeof *rcpts);
        mi->nrcpts = keep;
        mi->attempts++;
        assert_int_equal(view(m->q, mi->item).attempts, mi->attempts);
        assert_true(mi->next > m->now);
        mi->state = (int)view(m->q, mi->item).state;
        assert_true(mi->state == QUEUE_STATE_WAITING || mi->state == QUEUE_STATE_HELD);
    }
}

static void model_take(struct model *m, struct model_conn *mc)
{
    struct queue_item *item = queue_take(m->q, &mc->conn, m->now);
    if (item == NULL) {
        mc->state = IDLE;
        return;
    }
    struct model_item *mi = &m->items[queue_item_id(item)];
    assert_ptr_equal(mi->item, item);
    assert_int_equal(mi->site, mc->site);
    assert_int_equal(mi->state, QUEUE_STATE_READY); /* neither held, nor early, nor in flight already */
    assert_true(mi->next <= m->now + 100);
    assert_false(m->frozen[mi->sender]);
    mi->state = QUEUE_STATE_IN_FLIGHT;
    mc->state = BUSY;
    mc->item = queue_item_id(item) + 1;
}

/* The model learns which items became ready by time. */
static void model_time_passed(struct model *m)
{
    for (uint32_t k = 0; k < ITEMS; k++) {
        struct model_item *mi = &m->items[k];
        if (mi->item == NULL || mi->state != QUEUE_STATE_WAITING)
            continue;
        if (view(m->q, mi->item).state == QUEUE_STATE_READY) {
            assert_true(mi->next <= m->now);
            mi->state = QUEUE_STATE_READY;
        }
    }
}

static void model_action(struct model *m, const struct queue_action *a)
{
    struct model_conn *mc = conn_in(m, FREE);
    struct model_item *mi = a->item == NULL ? NULL : &m->items[queue_item_id(a->item)];
    switch (a->kind) {
    case QUEUE_ACTION_OPEN_CONNECTION:
        assert_non_null(mc);
        queue_conn_init(m->q, a->site, &mc->conn);
        mc->state = OPENING;
        mc->site = number_of(a->site);
        break;
    case QUEUE_ACTION_USE_CONNECTION:
        mc = (struct model_conn *)((char *)a->conn - offsetof(struct model_conn, conn));
        assert_int_equal(mc->state, IDLE);
        mc->state = READY;
        model_take(m, mc);
        assert_int_equal(mc->state, BUSY); /* it was not woken for nothing */
        break;
    case QUEUE_ACTION_CLOSE_CONNECTION:
        mc = (struct model_conn *)((char *)a->conn - offsetof(struct model_conn, conn));
        assert_int_equal(mc->state, IDLE);
        queue_conn_closed(m->q, &mc->conn, SPAN_LIT(""), m->now);
        mc->state = FREE;
        break;
    case QUEUE_ACTION_EXPIRE:
        assert_ptr_equal(mi->item, a->item);
        assert_true(mi->state == QUEUE_STATE_WAITING || mi->state == QUEUE_STATE_READY);
        assert_true(m->now - mi->arrival >= m->config.expire_ms - 100);
        assert_false(m->frozen[mi->sender]);
        mi->state = QUEUE_STATE_IN_FLIGHT;
        queue_done(m->q, a->item);
        model_end(m, mi);
        m->expired++;
        break;
    case QUEUE_ACTION_DELAY_NOTICE:
        assert_true(m->now - mi->arrival >= m->config.delay_notice_ms - 100);
        assert_false(m->frozen[mi->sender]);
        assert_true(mi->state == QUEUE_STATE_WAITING || mi->state == QUEUE_STATE_READY);
        m->told++;
        break;
    }
}

static void model_poll(struct model *m)
{
    struct queue_action a;
    do {
        while (queue_poll(m->q, m->now, &a)) {
            model_time_passed(m);
            model_action(m, &a);
        }
        model_time_passed(m);
    } while (queue_next_wake_ms(m->q, m->now) <= m->now);
}

static void model_verb(struct model *m)
{
    struct model_item *mi = &m->items[draw(m, ITEMS)];
    if (mi->item == NULL)
        return;
    switch (draw(m, 7)) {
    case 6:
        m->frozen[mi->sender] = !m->frozen[mi->sender] && draw(m, 2) == 0;
        queue_frozen_changed(m->q, m->now);
        break;
    case 0:
        queue_hold(m->q, mi->item);
        if (mi->state != QUEUE_STATE_IN_FLIGHT)
            mi->state = QUEUE_STATE_HELD;
        break;
    case 1:
    case 2:
        queue_release(m->q, mi->item, m->now);
        if (mi->state == QUEUE_STATE_HELD)
            mi->state = QUEUE_STATE_READY, mi->next = 0, mi->arrival = m->now;
        break;
    case 3:
        queue_retry_now(m->q, mi->item, m->now);
        if (mi->state == QUEUE_STATE_WAITING)
            mi->state = QUEUE_STATE_READY, mi->next = 0;
        break;
    case 4:
        if (queue_remove(m->q, mi->item) == 0) {
            assert_int_not_equal(mi->state, QUEUE_STATE_IN_FLIGHT);
            model_end(m, mi);
        } else {
            assert_int_equal(mi->state, QUEUE_STATE_IN_FLIGHT);
        }
        break;
    default:
        assert_ptr_equal(queue_find(m->q, queue_item_id(mi->item)), mi->item);
        assert_ptr_equal(queue_item_site(m->q, mi->item), site_of(m, mi->site));
    }
}

static void model_conn_event(struct model *m)
{
    static const struct span why[] = { { "421 4.3.2 busy", 14 }, { "", 0 } };
    struct model_conn *mc;
    switch (draw(m, 8)) {
    case 0:
        if ((mc = conn_in(m, OPENING)) != NULL) {
            queue_conn_failed(m->q, &mc->conn, SPAN_LIT("451 4.4.1 refused"), m->now);
            mc->state = FREE;
        }
        break;
    case 1:
        if ((mc = conn_in(m, IDLE)) != NULL && mc->conn.state == 4) {
            queue_conn_closed(m->q, &mc->conn, why[draw(m, 2)], m->now);
            mc->state = FREE;
        }
        break;
    case 2:
    case 3:
        if ((mc = conn_in(m, OPENING)) != NULL) {
            queue_conn_opened(m->q, &mc->conn, m->now);
            mc->state = READY;
            model_take(m, mc);
        }
        break;
    case 4:
        if ((mc = conn_in(m, OPENING)) != NULL && draw(m, 8) == 0) {
            queue_conn_cancelled(m->q, &mc->conn, m->now);
            mc->state = FREE;
        }
        break;
    default:
        if ((mc = conn_in(m, BUSY)) == NULL)
            break;
        if (draw(m, 8) != 0)
            queue_conn_success(m->q, &mc->conn, m->now);
        model_give_back(m, &m->items[mc->item - 1]);
        mc->item = 0;
        if (draw(m, 6) == 0) {
            queue_conn_closed(m->q, &mc->conn, why[draw(m, 2)], m->now);
            mc->state = FREE;
        } else {
            model_take(m, mc);
        }
    }
}

static void model_check(struct model *m)
{
    struct queue_totals t;
    uint32_t count[QUEUE_STATES] = { 0 }, of_site[SITES][QUEUE_STATES] = { 0 }, conns[SITES] = { 0 };
    uint32_t of_sender[SENDERS][QUEUE_STATES] = { 0 }, used = 0;
    for (uint32_t k = 0; k < ITEMS; k++) {
        const struct model_item *mi = &m->items[k];
        if (mi->item == NULL)
            continue;
        assert_int_equal(view(m->q, mi->item).state, mi->state);
        assert_int_equal(view(m->q, mi->item).frozen, m->frozen[mi->sender]);
        count[mi->state]++;
        of_site[mi->site][mi->state]++;
        of_sender[mi->sender][mi->state]++;
    }
    for (uint32_t i = 0; i < CONNS; i++)
        if (m->conns[i].state != FREE) {
            conns[m->conns[i].site]++;
            used++;
        }
    queue_totals(m->q, &t);
    assert_memory_equal(t.state, count, sizeof count);
    assert_int_equal(t.conns, used);
    assert_in_range(t.conns, 0, m->config.conns_total_max);
    for (uint32_t i = 0; i < SITES; i++) {
        struct queue_site *site = site_of(m, i);
        struct queue_site_state s;
        if (site == NULL) {
            assert_int_equal(conns[i] + of_site[i][0] + of_site[i][1] + of_site[i][2] + of_site[i][3], 0);
            continue;
        }
        queue_site_state(m->q, site, &s);
        assert_memory_equal(s.counts.state, of_site[i], sizeof of_site[i]);
        assert_int_equal(s.conns + s.conns_opening, conns[i]);
        assert_in_range(s.conns + s.conns_opening, 0, m->config.conns_max);
        assert_in_range(s.conns_limit, 1, m->config.conns_max);
        if (s.down) {
            assert_int_equal(s.conns, 0);
            assert_in_range(s.conns_opening, 0, 1);
        }
    }
    for (uint32_t i = 0; i < SENDERS; i++) {
        char name[16];
        struct queue_counts counts = { { 0 }, 0 };
        snprintf(name, sizeof name, "s%u", i);
        queue_sender_counts(m->q, span_str(name), &counts);
        assert_memory_equal(counts.state, of_sender[i], sizeof of_sender[i]);
    }
}

/* Everything is released and accepted: the queue must run empty by itself. */
static void model_drain(struct model *m)
{
    memset(m->frozen, 0, sizeof m->frozen);
    queue_frozen_changed(m->q, m->now);
    for (uint32_t k = 0; k < ITEMS; k++)
        if (m->items[k].item != NULL && m->items[k].state == QUEUE_STATE_HELD) {
            queue_release(m->q, m->items[k].item, m->now);
            m->items[k].state = QUEUE_STATE_READY;
            m->items[k].next = 0;
            m->items[k].arrival = m->now;
        } else if (m->items[k].item != NULL) {
            queue_release(m->q, m->items[k].item, m->now);
        }
    for (uint32_t turns = 0; m->ended < m->added; turns++) {
        assert_true(turns < 20000);
        model_poll(m);
        for (uint32_t i = 0; i < CONNS; i++) {
            struct model_conn *mc = &m->conns[i];
            if (mc->state == OPENING) {
                queue_conn_opened(m->q, &mc->conn, m->now);
                mc->state = READY;
                model_take(m, mc);
            } else if (mc->state == BUSY) {
                struct model_item *mi = &m->items[mc->item - 1];
                queue_conn_success(m->q, &mc->conn, m->now);
                queue_done(m->q, mi->item);
                model_end(m, mi);
                model_take(m, mc);
            }
        }
        int64_t wake = queue_next_wake_ms(m->q, m->now);
        if (wake != INT64_MAX && wake > m->now && conn_in(m, BUSY) == NULL && conn_in(m, OPENING) == NULL)
            m->now = wake;
    }
    model_check(m);
}

static void run(uint64_t seed)
{
    static struct model m;
    m = (struct model){ .random = seed, .now = T0 };
    m.config = config_plain();
    m.config.retry_jitter_pct = 10;
    m.config.conns_total_max = 16;
    m.config.conns_max = 6;
    m.config.sites_kept_max = 3;
    m.config.seed = seed;
    m.q = queue_new(&m.config, m.now);
    queue_on_frozen(m.q, is_frozen_cb, &m);
    for (int i = 0; i < 6000; i++) {
        switch (draw(&m, 8)) {
        case 0:
        case 1:
        case 2:
            model_add(&m);
            break;
        case 3:
            model_verb(&m);
            break;
        case 4:
            m.now += draw(&m, draw(&m, 20) == 0 ? 3600000 : 10000);
            break;
        default:
            model_conn_event(&m);
        }
        if (draw(&m, 3) == 0)
            model_poll(&m);
        if (i % 7 == 0)
            model_check(&m);
    }
    model_drain(&m);
    assert_true(m.ended > 500);
    queue_free(m.q);
}

static void random_operations(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        print_message("seed %d\n", (int)seed);
        run(seed);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1)
        seeds = strtoull(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = { cmocka_unit_test(random_operations) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
