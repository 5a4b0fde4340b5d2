/* The ledger with its threads: an agent on one loop, where a machine is applied at once, and two workers on
 * theirs, with many clients each. For the thread sanitizer; and no token is spent twice. Also a worker that
 * comes late, and the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "world.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define WORKERS 2
#define CLIENTS 20
#define N 2000 /* of each of the senders */
#define SENDERS 3

static const struct policy_limit limit = { "hour", COMMAND_SCOPE_ACCOUNT, 7, N, 3600000 };
static const char *const accounts[SENDERS] = { "anna", "berta", "carl" };

struct worker;
struct client {
    struct worker *of;
    struct ledger_hold h;
    uint32_t left;
    bool over;
};

struct worker {
    pthread_t thread;
    uv_loop_t loop;
    uv_timer_t timer;
    struct ledger_worker *ledger;
    struct client clients[CLIENTS];
    uint32_t over;
    bool began;
};

static struct world w;
static struct machine *m;
static uv_loop_t loop;
static uv_async_t apply, stop;
static uv_timer_t tick;
static struct agent *agent;
static struct buf pending;
static uint32_t npending;
static uint64_t entries;
static struct machine_effects effects;
static _Atomic uint64_t applied;
static _Atomic uint64_t spent[SENDERS];
static struct worker workers[WORKERS];
static int closed;

static int64_t wall_ms(void)
{
    return clock_boot_ms() + 1700000000000;
}

static void random_bytes(void *p, size_t n)
{
    ensure(getrandom(p, n, 0) == (ssize_t)n);
}

/* ---- the cluster thread -------------------------------------------------------------------------------- */

static void send_cb(void *ctx, struct span commands, uint32_t n)
{
    (void)ctx;
    if (npending + n > COMMAND_ENTRY_MAX)
        return; /* lost: it comes again */
    buf_put_span(&pending, commands);
    npending += n;
    uv_async_send(&apply);
}

static void on_apply(uv_async_t *handle)
{
    (void)handle;
    if (npending == 0)
        return;
    struct buf b;
    buf_init(&b, 1u << 24);
    ensure(command_entry_begin(&b, (uint64_t)clock_boot_ms()) == 0);
    buf_put_span(&b, buf_span(&pending));
    ensure(command_entry_end(&b, npending) == 0);
    buf_reset(&pending);
    npending = 0;
    ensure(machine_apply(m, ++entries, b.data, b.len, &effects) == 0);
    buf_fini(&b);
    agent_on_effects(agent, entries, &effects);
    atomic_store(&applied, entries);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
    agent_tick(agent);
}

static void on_agent_closed(void *ctx)
{
    (void)ctx;
    closed++;
    uv_close((uv_handle_t *)&apply, NULL);
    uv_close((uv_handle_t *)&stop, NULL);
    uv_close((uv_handle_t *)&tick, NULL);
}

static void on_stop(uv_async_t *handle)
{
    (void)handle;
    agent_close(agent, on_agent_closed, NULL);
}

static void *cluster_main(void *arg)
{
    (void)arg;
    uv_run(&loop, UV_RUN_DEFAULT);
    return NULL;
}

/* ---- workers ------------------------------------------------------------------------------------------- */

static void client_go(struct client *c);

static void client_next(struct client *c, enum ledger_answer answer)
{
    if (answer == LEDGER_NO) {
        /* Only the limit ends a client; before the session is there, or when it is late, it tries again. */
        if (c->h.refusal.why == LEDGER_WHY_LIMIT) {
            c->over = true;
            c->of->over++;
        }
        c->left = 0;
        ledger_unreserve(&c->h, c->h.reserved);
    }
}

static void on_answer(struct ledger_hold *h, enum ledger_answer answer)
{
    client_next(h->ctx, answer);
}

static void client_go(struct client *c)
{
    if (c->over || c->h.asked > 0)
        return;
    for (int i = 0; i < 4 && !c->over; i++) {
        if (c->left == 0 && c->h.reserved == 0)
            c->left = 1 + (uint32_t)(c - c->of->clients) % 2;
        if (c->left > 0) {
            c->left--;
            enum ledger_answer answer = ledger_reserve(&c->h, 1);
            if (answer == LEDGER_WAIT)
                return;
            client_next(c, answer);
        } else if (ledger_ready(&c->h) == LEDGER_YES) {
            size_t sender = (size_t)(c - c->of->clients) % SENDERS;
            atomic_fetch_add(&spent[sender], c->h.reserved);
            ledger_spend(&c->h);
        } else if (c->h.asked > 0) {
            return;
        } else {
            ledger_unreserve(&c->h, c->h.reserved);
        }
    }
}

static void on_worker_timer(uv_timer_t *timer)
{
    struct worker *wk = timer->data;
    ledger_worker_publish(wk->ledger, atomic_load(&applied));
    for (int i = 0; i < CLIENTS; i++)
        client_go(&wk->clients[i]);
    if (wk->over < CLIENTS)
        return;
    for (int i = 0; i < CLIENTS; i++)
        ledger_hold_fini(&wk->clients[i].h);
    ledger_worker_close(wk->ledger);
    uv_close((uv_handle_t *)timer, NULL);
}

static void *worker_main(void *arg)
{
    struct worker *wk = arg;
    ensure(uv_loop_init(&wk->loop) == 0);
    struct ledger_worker_config c = {
        .agent = agent, .loop = &wk->loop, .boot_ns = clock_boot_ns, .wall_ms = wall_ms
    };
    ensure(ledger_worker_new(&c, &wk->ledger) == 0);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct ledger_sender s = { span_str(accounts[i % SENDERS]), SPAN_LIT("t"), 0 };
        wk->clients[i].of = wk;
        ensure(ledger_hold_init(&wk->clients[i].h, wk->ledger, &s, on_answer, &wk->clients[i]) == 0);
    }
    uv_timer_init(&wk->loop, &wk->timer);
    wk->timer.data = wk;
    uv_timer_start(&wk->timer, on_worker_timer, 0, 1);
    uv_run(&wk->loop, UV_RUN_DEFAULT);
    ledger_worker_free(wk->ledger);
    ensure(uv_loop_close(&wk->loop) == 0);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    world_begin(&w, 1, &limit, 1, false);
    world_kill(0);
    m = w.nodes[0].m;
    entries = w.nodes[0].applied;
    atomic_store(&applied, entries);
    machine_effects_init(&effects);
    buf_init(&pending, 1u << 22);
    uv_loop_init(&loop);
    uv_async_init(&loop, &apply, on_apply);
    uv_async_init(&loop, &stop, on_stop);
    uv_timer_init(&loop, &tick);
    struct agent_config config = {
        .loop = &loop,
        .node = 1,
        .machine = m,
        .send = send_cb,
        .boot_ns = clock_boot_ns,
        .wall_ms = wall_ms,
        .random = random_bytes,
    };
    assert_int_equal(agent_new(&config, &agent), 0);
    uv_timer_start(&tick, on_tick, 0, 5);
    pthread_t cluster;
    assert_int_equal(pthread_create(&cluster, NULL, cluster_main, NULL), 0);
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]), 0);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    uv_async_send(&stop);
    pthread_join(cluster, NULL);
    assert_int_equal(closed, 1);
    agent_free(agent);
    assert_int_equal(uv_loop_close(&loop), 0);
    for (int i = 0; i < SENDERS; i++)
        assert_in_range(atomic_load(&spent[i]), N * 99 / 100, N);
    struct machine_totals t;
    machine_totals(m, &t);
    assert_int_equal(t.sessions, 0); /* signed off */
    assert_int_equal(t.burned, 0);
    buf_fini(&pending);
    machine_effects_fini(&effects);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_threads) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
