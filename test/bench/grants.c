/* A node of a cluster whose quotas are asked directly: turnpiked with one more worker, which speaks no SMTP
 * but reserves and spends tokens as a session does, as fast as it is told. So the ledger and the cluster
 * below it can be measured beyond what SMTP lets through. It also fills a cluster's state faster than
 * operators could.
 *
 *     turnpike-grants --config FILE        orders on standard input, a line of JSON on standard output for
 * each
 *
 *     run NAME COUNT RATE WAITING SENDERS  COUNT messages of one recipient, from NAME-0@bench.test and so on,
 * SENDERS different ones (0: each another), RATE a second (0: as fast as it goes), at most WAITING
 * unanswered. With a rate, latencies count from when a message was due, whatever the node does accounts N
 * BYTES                     (the leader) N accounts, with a password hash of that length skip MS (the leader)
 * cluster time goes on by so much
 *
 * The extra worker acts on no freeze, though it says that it does. The node's threads, and one of its own.
 */
#include "test/bench/hist.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "consensus/replica_impl.h"
#include "node/core/cluster_impl.h"
#include "node/core/node.h"
#include "node/ledger/ledger.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAITING_MAX 4096
#define TICK_MS 1
#define BATCH_BYTES 3000 /* of commands that are proposed together */

struct place { /* of one message that is under way */
    struct ledger_hold hold;
    struct list link;
    int64_t due_ns;
};

struct load {
    struct node *node;
    uv_loop_t loop;
    uv_thread_t thread;
    uv_timer_t timer;
    uv_poll_t input;
    struct ledger_worker *ledger;
    char line[256];
    size_t nline;
    struct place places[WAITING_MAX];
    struct list idle;

    /* the order that is carried out */
    bool running;
    char name[64];
    uint64_t count, senders, begun, ended, granted, refused, errors;
    double rate;
    uint32_t waiting, waiting_max;
    int64_t start_ns, last_ns, gap_ns, gap_end_ns;
    int64_t start_cpu_ns; /* of this thread */
    struct hist hist;
};

static int64_t cpu_ns(void)
{
    struct timespec t;
    ensure(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* ---- messages ------------------------------------------------------------------------------------------ */

static void load_report(struct load *l)
{
    double seconds = (double)(clock_mono_ns() - l->start_ns) / 1e9;
    l->running = false;
    printf("{\"granted\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"errors\":%" PRIu64
           ",\"seconds\":%.6f,\"cpu_seconds\":%.6f,"
           "\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,\"gap_ms\":%.3f,\"gap_end_s\":%."
           "6f}\n",
           l->granted, l->refused, l->errors, seconds, (double)(cpu_ns() - l->start_cpu_ns) / 1e9,
           (double)hist_quantile(&l->hist, 0.5) / 1e3, (double)hist_quantile(&l->hist, 0.99) / 1e3,
           (double)hist_quantile(&l->hist, 0.999) / 1e3, (double)l->hist.max_ns / 1e3,
           (double)l->gap_ns / 1e6, (double)l->gap_end_ns / 1e9);
    fflush(stdout);
}

static void place_end(struct load *l, struct place *p, enum ledger_answer answer)
{
    int64_t now = clock_mono_ns();
    if (answer == LEDGER_YES && ledger_ready(&p->hold) == LEDGER_YES) {
        ledger_spend(&p->hold);
        l->granted++;
        hist_add(&l->hist, now - p->due_ns);
        if (now - l->last_ns > l->gap_ns) {
            l->gap_ns = now - l->last_ns;
            l->gap_end_ns = now;
        }
        l->last_ns = now;
    } else if (p->hold.refusal.why == LEDGER_WHY_LIMIT) {
        l->refused++;
    } else {
        l->errors++;
    }
    ledger_hold_fini(&p->hold);
    list_push_back(&l->idle, &p->link);
    l->waiting--;
    l->ended++;
}

static void load_step(struct load *l);

static void place_answer_cb(struct ledger_hold *h, enum ledger_answer answer)
{
    struct place *p = LIST_ITEM(h, struct place, hold);
    place_end(h->ctx, p, answer);
}

static void place_begin(struct load *l, int64_t due_ns)
{
    char account[96];
    uint64_t i = l->begun++;
    int n = snprintf(account, sizeof account, "%s-%" PRIu64 "@bench.test", l->name,
                     l->senders == 0 ? i : i % l->senders);
    struct ledger_sender sender = { span_of(account, (size_t)n), SPAN_LIT("bench.test"), 0 };
    struct place *p = LIST_ITEM(list_pop_front(&l->idle), struct place, link);
    p->due_ns = due_ns;
    l->waiting++;
    int err = ledger_hold_init(&p->hold, l->ledger, &sender, place_answer_cb, l);
    if (err != 0) {
        list_push_back(&l->idle, &p->link);
        l->waiting--;
        l->ended++;
        l->errors++;
        return;
    }
    enum ledger_answer answer = ledger_reserve(&p->hold, 1);
    if (answer != LEDGER_WAIT)
        place_end(l, p, answer);
}

/* Begins what is due. Runs each turn of the loop, so after answers too. */
static void load_step(struct load *l)
{
    if (!l->running)
        return;
    for (uint32_t turn = 0; turn < 1024 && l->begun < l->count && l->waiting < l->waiting_max; turn++) {
        int64_t now = clock_mono_ns(), due = now;
        if (l->rate > 0) {
            due = l->start_ns + (int64_t)((double)l->begun / l->rate * 1e9);
            if (due > now)
                break;
        }
        place_begin(l, due);
    }
    if (l->ended == l->count)
        load_report(l);
}

static void load_prepare_cb(uv_check_t *check)
{
    load_step(check->data);
}

static void load_timer_cb(uv_timer_t *timer)
{
    struct load *l = timer->data;
    struct cluster *c = l->node->cluster;
    if (l->ledger == NULL && cluster_agent(c) != NULL) {
        struct ledger_worker_config config = {
            .agent = cluster_agent(c), .loop = &l->loop, .boot_ns = clock_boot_ns, .wall_ms = clock_wall_ms
        };
        ensure(ledger_worker_new(&config, &l->ledger) == 0);
    }
    if (l->ledger == NULL)
        return;
    machine_read_lock(cluster_machine(c));
    uint64_t applied = machine_applied(cluster_machine(c));
    machine_read_unlock(cluster_machine(c));
    ledger_worker_publish(l->ledger, applied);
}

/* ---- what is done on the cluster thread ---------------------------------------------------------------- */

struct lag {
    uv_timer_t timer;
    bool started;
    int64_t last_ns, longest_ns;
    int64_t waited_ns;         /* of this thread, for a processor, ever */
    int64_t longest_waited_ns; /* in the longest pause */
    int64_t busiest_ns;        /* the longest pause, less what it waited in it */
};
static struct lag lag;

/* How long this thread could have run and others did: by the kernel's account. */
static int64_t waited_ns(void)
{
    static int fd = -1;
    char line[96];
    if (fd < 0)
        fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pread(fd, line, sizeof line - 1, 0);
    if (n <= 0)
        return 0;
    line[n] = '\0';
    char *end;
    (void)strtoll(line, &end, 10);
    return strtoll(end, NULL, 10);
}

static void lag_timer_cb(uv_timer_t *timer)
{
    struct lag *g = timer->data;
    int64_t now = clock_mono_ns(), pause = now - g->last_ns, waited = waited_ns();
    if (pause > g->longest_ns) {
        g->longest_ns = pause;
        g->longest_waited_ns = waited - g->waited_ns;
    }
    if (pause - (waited - g->waited_ns) > g->busiest_ns)
        g->busiest_ns = pause - (waited - g->waited_ns);
    g->last_ns = now;
    g->waited_ns = waited;
}

static void lag_run(struct cluster *c, struct cluster_call *call)
{
    struct replica_stats stats = { 0 };
    if (!lag.started) {
        ensure(uv_timer_init(&c->loop, &lag.timer) == 0);
        lag.timer.data = &lag;
        uv_timer_start(&lag.timer, lag_timer_cb, 1, 1);
        lag.started = true;
        lag.last_ns = clock_mono_ns();
        lag.waited_ns = waited_ns();
    }
    if (c->replica != NULL)
        replica_stats(c->replica, &stats);
    printf("{\"longest_ms\":%.3f,\"longest_waited_ms\":%.3f,\"busiest_ms\":%.3f,\"taken\":%" PRIu64
           ",\"installed\":%" PRIu64 ",\"term\":%" PRIu64 ",\"applied\":%" PRIu64
           ",\"snapshot_index\":%" PRIu64 ",\"log_bytes\":%" PRIu64 ",\"snapshot_bytes\":%" PRIu64 "}\n",
           (double)lag.longest_ns / 1e6, (double)lag.longest_waited_ns / 1e6, (double)lag.busiest_ns / 1e6,
           stats.snapshots_taken, stats.snapshots_installed, stats.term, stats.applied, stats.snapshot_index,
           stats.log_bytes, stats.snapshot_bytes_on_disk);
    fflush(stdout);
    lag.longest_ns = lag.longest_waited_ns = lag.busiest_ns = 0;
    cluster_call_done(c, call, 0);
}

struct fill {
    struct cluster_call call;
    uint64_t n, done, bytes, skip_ms;
};

static void fill_propose(struct fill *f, struct cluster *c)
{
    static char hash[512];
    memset(hash, 'h', sizeof hash);
    while (f->done < f->n) {
        struct buf out;
        uint32_t n = 0;
        buf_init(&out, COMMAND_BYTES_MAX);
        while (f->done + n < f->n && n < COMMAND_ENTRY_MAX && out.len < BATCH_BYTES) {
            char name[48];
            snprintf(name, sizeof name, "user%" PRIu64 "@example.org", f->done + n);
            struct command cmd = { .type = COMMAND_ACCOUNT_SET };
            cmd.account_set = (struct command_account_set){ .by.who = SPAN_LIT("bench"),
                                                            .name = span_str(name),
                                                            .hash = span_of(hash, (size_t)f->bytes),
                                                            .upsert = true };
            ensure(command_encode(&cmd, &out) == 0);
            n++;
        }
        int err = replica_propose(c->replica, buf_span(&out), n);
        buf_fini(&out);
        if (err != 0)
            return; /* again when something was applied */
        f->done += n;
    }
}

static void fill_poll(struct cluster *c, struct cluster_call *call)
{
    struct fill *f = LIST_ITEM(call, struct fill, call);
    fill_propose(f, c);
    if (f->done == f->n)
        cluster_call_done(c, call, 0);
}

static void fill_run(struct cluster *c, struct cluster_call *call)
{
    struct fill *f = LIST_ITEM(call, struct fill, call);
    if (c->replica == NULL || !c->ready) {
        cluster_call_done(c, call, ERR_CLOSED);
        return;
    }
    c->replica->base_cluster_ms += f->skip_ms;
    fill_propose(f, c);
    if (f->done == f->n)
        cluster_call_done(c, call, 0);
    else
        cluster_call_later(c, call);
}

static void load_fill(struct load *l, uint64_t accounts, uint64_t bytes, uint64_t skip_ms)
{
    struct fill f = { .n = accounts, .bytes = bytes < 500 ? bytes : 500, .skip_ms = skip_ms };
    int64_t begin = clock_mono_ns();
    cluster_call_init(&f.call, fill_run, NULL);
    f.call.poll = fill_poll;
    f.call.timeout_ms = 1800000;
    int err = cluster_call_wait(l->node->cluster, &f.call);
    printf("{\"err\":%d,\"seconds\":%.3f}\n", err, (double)(clock_mono_ns() - begin) / 1e9);
    fflush(stdout);
}

/* ---- orders -------------------------------------------------------------------------------------------- */

static void load_order(struct load *l, const char *line)
{
    uint64_t a = 0, b = 0;
    unsigned waiting = 1;
    if (sscanf(line, "accounts %" SCNu64 " %" SCNu64, &a, &b) == 2) {
        load_fill(l, a, b, 0);
        return;
    }
    if (strcmp(line, "lag") == 0) {
        struct cluster_call call;
        cluster_call_init(&call, lag_run, NULL);
        (void)cluster_call_wait(l->node->cluster, &call);
        return;
    }
    if (sscanf(line, "skip %" SCNu64, &a) == 1) {
        load_fill(l, 0, 0, a);
        return;
    }
    l->senders = 0;
    if (l->running || l->ledger == NULL ||
        sscanf(line, "run %40s %" SCNu64 " %lf %u %" SCNu64, l->name, &l->count, &l->rate, &waiting,
               &l->senders) < 4 ||
        l->count == 0) {
        printf("{\"err\":\"not now, or not understood\"}\n");
        fflush(stdout);
        return;
    }
    l->waiting_max = waiting < 1 ? 1 : waiting > WAITING_MAX ? WAITING_MAX : waiting;
    l->begun = l->ended = l->granted = l->refused = l->errors = 0;
    l->gap_ns = l->gap_end_ns = 0;
    memset(&l->hist, 0, sizeof l->hist);
    l->start_ns = l->last_ns = clock_mono_ns();
    l->start_cpu_ns = cpu_ns();
    l->running = true;
}

static void load_input_cb(uv_poll_t *poll, int status, int events)
{
    struct load *l = poll->data;
    char piece[256];
    (void)events;
    ssize_t n = status == 0 ? read(0, piece, sizeof piece) : 0;
    if (n <= 0) {
        uv_poll_stop(poll);
        kill(getpid(), SIGTERM);
        return;
    }
    for (ssize_t i = 0; i < n; i++) {
        if (piece[i] != '\n') {
            if (l->nline + 1 < sizeof l->line)
                l->line[l->nline++] = piece[i];
            continue;
        }
        l->line[l->nline] = '\0';
        l->nline = 0;
        load_order(l, l->line);
    }
}

static void load_idle_cb(uv_timer_t *timer)
{
    (void)timer; /* a turn of the loop: what is due by the rate begins */
}

static void load_main(void *arg)
{
    struct load *l = arg;
    uv_timer_t pace;
    uv_check_t check;
    uv_loop_init(&l->loop);
    uv_timer_init(&l->loop, &l->timer);
    uv_timer_init(&l->loop, &pace);
    uv_check_init(&l->loop, &check);
    ensure(uv_poll_init(&l->loop, &l->input, 0) == 0);
    l->timer.data = check.data = l->input.data = l;
    uv_timer_start(&l->timer, load_timer_cb, 0, 100);
    uv_timer_start(&pace, load_idle_cb, TICK_MS, TICK_MS);
    uv_check_start(&check, load_prepare_cb);
    uv_poll_start(&l->input, UV_READABLE, load_input_cb);
    list_init(&l->idle);
    for (uint32_t i = 0; i < WAITING_MAX; i++)
        list_push_back(&l->idle, &l->places[i].link);
    uv_run(&l->loop, UV_RUN_DEFAULT);
}

/* ---- the node ------------------------------------------------------------------------------------------ */

static struct node node;
static struct load load;

static void on_term(uv_signal_t *handle, int number)
{
    (void)handle, (void)number;
    _exit(0); /* nothing that it holds is anybody's */
}

static void on_wake(uv_async_t *wake)
{
    (void)wake;
    if (atomic_load(&node.spool_error) != 0 || cluster_failed(node.cluster) != 0)
        _exit(74);
    node_run_requests(&node);
}

int main(int argc, char **argv)
{
    struct config_errors errors;
    struct config *config = NULL;
    uv_signal_t term;
    hash_seed();
    if (argc != 3 || strcmp(argv[1], "--config") != 0) {
        fprintf(stderr, "Usage: turnpike-grants --config FILE\n");
        return 64;
    }
    config_errors_init(&errors);
    if (config_load(argv[2], 0, &config, &errors) != 0) {
        for (uint32_t i = 0; i < errors.n; i++)
            fprintf(stderr, "%s\n", errors.v[i].text);
        return 78;
    }
    config_errors_fini(&errors);
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_LEVEL_INFO);
    int err = node_init(&node, config);
    if (err == 0)
        err = uv_async_init(&node.loop, &node.wake, on_wake);
    if (err == 0)
        err = uv_signal_init(&node.loop, &term);
    if (err == 0)
        err = uv_signal_start(&term, on_term, SIGTERM);
    if (err == 0)
        err = node_start(&node);
    if (err != 0 || node.cluster == NULL) {
        fprintf(stderr, "turnpike-grants: cannot start, or no cluster is configured\n");
        return 69;
    }
    load.node = &node;
    ensure(uv_thread_create(&load.thread, load_main, &load) == 0);
    uv_run(&node.loop, UV_RUN_DEFAULT);
    return 0;
}
