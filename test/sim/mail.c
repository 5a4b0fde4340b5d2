/* A process's mail: what the end of the data hands to the spool, the queue that it is delivered from, the
 * transfer between nodes. Spool, queue and transfer are the real ones, with their threads (threads.h); what
 * is here is what node/core does between them, in a few lines: a message's recipients are one item, an
 * attempt takes a drawn time and has a drawn end.
 */
#define SIM_STREAM SIM_STREAM_MAIL
#include "test/sim/mail.h"

#include "node/core/dispatch.h"
#include "node/core/look.h"

#include <stdlib.h>

#define SEGMENT_BYTES (32u << 10)
#define POLLS_MAX 1000
#define SITES 2
#define CONTENT_MAX 4000

struct stored {
    struct spool_op op;
    struct list link;
    struct mail *mail;
};

/* ---- into the queue ------------------------------------------------------------------------------------
 */

/* In node/core it is a message to the workers that own the sites. */
int dispatch_message(struct node *node, struct worker *self, const struct config *config,
                     const struct envelope *env, const struct spool_rcpt *rcpts)
{
    struct mail *m = LIST_ITEM(node, struct mail, node);
    static const char *const sites[SITES] = { "one.example", "two.example" };
    uint32_t picked[MAIL_RCPTS_MAX], n = 0;
    struct queue_item_info info = { .id = env->id,
                                    .site = span_str(sites[spool_id_public(env->id) / 4096 % SITES]),
                                    .sender = env->account,
                                    .tenant = env->tenant,
                                    .arrival_ms = env->arrival_ms,
                                    .rcpts = picked,
                                    .size_kib = 1 };
    (void)self;
    (void)config;
    for (uint32_t i = 0; i < env->nrcpts; i++) {
        uint8_t state = rcpts == NULL ? RCPT_QUEUED : rcpts[i].state;
        if (state != RCPT_QUEUED)
            continue;
        struct sim_server *was = memory_enter(NULL);
        mail_check_queued(m->s, env->id, i);
        (void)memory_enter(was);
        picked[n++] = i;
        info.next_ms = rcpts == NULL ? 0 : rcpts[i].next_ms;
        info.attempts = rcpts == NULL ? 0 : rcpts[i].attempts;
    }
    info.nrcpts = n;
    if (n > 0)
        ensure(queue_add(m->egress.queue, &info, m->s->wall_ns / SIM_MS) != NULL);
    return 0;
}

void egress_kick(struct egress *e)
{
    (void)e; /* it is polled in every turn */
}

/* Its thread stands still meanwhile. */
void worker_call(struct worker *w, void (*fn)(struct worker *w, void *arg), void *arg)
{
    fn(w, arg);
}

static void look_cb(void *ctx, struct queue_item *item)
{
    struct look_ids *l = ctx;
    if (l->n < l->cap)
        l->ids[l->n++] = queue_item_id(item);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int look_ids(struct node *n, const struct admin_selector *sel, uint64_t after, struct look_ids *out)
{
    struct mail *m = LIST_ITEM(n, struct mail, node);
    struct queue_totals all;
    uint64_t cursor = 0;
    (void)sel;
    (void)after;
    queue_totals(m->egress.queue, &all);
    *out = (struct look_ids){ 0 };
    for (int i = 0; i < QUEUE_STATES; i++)
        out->cap += all.state[i];
    out->ids = calloc(out->cap + 1, sizeof *out->ids);
    while (queue_walk(m->egress.queue, &cursor, 1000, look_cb, out))
        ;
    qsort(out->ids, out->n, sizeof *out->ids, ascending);
    return 0;
}

static uint32_t account_of(struct span name)
{
    uint32_t k = 0;
    while (k < SIM_ACCOUNTS && !span_eq(name, span_str(sim_accounts[k])))
        k++;
    return k;
}

static bool is_frozen(void *ctx, struct span sender, struct span tenant)
{
    const struct mail *m = ctx;
    uint32_t account = account_of(sender);
    (void)tenant;
    return account < SIM_ACCOUNTS && (m->s->workers[0].view.frozen >> account & 1) != 0;
}

void mail_frozen(struct sim_server *s)
{
    struct sim_server *was = memory_enter(s);
    queue_frozen_changed(s->mail->egress.queue, s->wall_ns / SIM_MS);
    (void)memory_enter(was);
}

/* ---- begin and end -------------------------------------------------------------------------------------
 */

static int found_cb(void *ctx, const struct envelope *env, const struct spool_rcpt *rcpts)
{
    struct mail *m = ctx;
    int err = transfer_found(m->node.transfer, env, rcpts);
    return err != 0 ? err : dispatch_message(&m->node, NULL, NULL, env, rcpts);
}

/* On the writer's thread; at the opening, of what segments still hold. */
static void ended_cb(void *ctx, uint64_t id, const struct envelope *env, const struct spool_rcpt_update *u,
                     uint32_t n, uint64_t seq)
{
    struct mail *m = ctx;
    (void)env;
    for (uint32_t i = 0; i < n; i++)
        if (u[i].to.state == RCPT_DELIVERED)
            mail_check_recorded(m->s, id, u[i].rcpt);
    m->ended_seq = seq;
}

static void failed_cb(void *ctx, int err)
{
    (void)ctx;
    check_fault("the spool fails: %s", err_text(err));
}

/* The main thread, as node/core/node.c begins. */
static void main_thread(void *arg)
{
    struct mail *m = arg;
    struct spool_config config = { .dir = "/spool",
                                   .disk = mail_disk(m->s),
                                   .segment_bytes = SEGMENT_BYTES,
                                   .min_free_bytes = 1,
                                   .id_node = (uint32_t)server_id(m->s),
                                   .on_failed = failed_cb,
                                   .on_ended = ended_cb,
                                   .ended_ctx = m };
    ensure(transfer_new(&m->node, &m->node.transfer) == 0);
    int err = spool_open(&config, found_cb, m, &m->node.spool);
    if (err != 0) {
        check_fault("node %u cannot open its spool: %s", m->s->i + 1, err_text(err));
        return;
    }
    ensure(transfer_start(m->node.transfer) == 0);
    m->open = true;
    mail_check_opened(m->s);
}

void mail_begin(struct sim_server *s)
{
    struct queue_config config;
    struct sim_server *was = memory_enter(s);
    struct mail *m = s->mail = calloc(1, sizeof *m);
    m->s = s;
    m->node.cluster = (struct cluster *)s;
    m->node.workers = &m->worker;
    m->node.nworkers = 1;
    m->worker.node = &m->node;
    m->worker.egress = &m->egress;
    list_init(&m->stored);
    queue_config_default(&config);
    config.nretry = 2;
    config.retry_ms[0] = 300;
    config.retry_ms[1] = 1500;
    config.conns_start = config.conns_max = MAIL_CONNS / SITES;
    config.conns_total_max = MAIL_CONNS;
    config.seed = sim_random(UINT32_MAX);
    m->egress.queue = queue_new(&config, s->wall_ns / SIM_MS);
    queue_on_frozen(m->egress.queue, is_frozen, m);
    (void)memory_enter(was);
    threads_begin(s, main_thread, m);
}

void mail_kill(struct sim_server *s)
{
    if (s->mail == NULL)
        return;
    mail_check_killed(s);
    mail_pending_drop(s);
    threads_drop(s);
    memory_drop(s);
    s->mail = NULL;
    static const enum simdisk_survival hows[] = { SIMDISK_EVERYTHING, SIMDISK_SYNCED_ONLY, SIMDISK_PREFIX,
                                                  SIMDISK_SUBSET };
    struct simdisk *after = simdisk_after(s->spool_disk, hows[sim_random(4)], sim_random(UINT32_MAX));
    simdisk_free(s->spool_disk);
    s->spool_disk = after;
}

bool mail_open(const struct sim_server *s)
{
    return s->mail != NULL && s->mail->open;
}

/* ---- messages come -------------------------------------------------------------------------------------
 */

/* On the writer's thread: now the client may be told. */
static void stored_cb(struct spool_op *op)
{
    struct stored *t = LIST_ITEM(op, struct stored, op);
    if (op->status != 0) {
        check_fault("a message is refused by the spool: %s", err_text(op->status));
        return;
    }
    struct sim_server *was = memory_enter(NULL);
    mail_check_accepted(t->mail->s, op->id);
    (void)memory_enter(was);
    list_push_back(&t->mail->stored, &t->link);
}

/* The content says whose it is. */
static int write_content(struct spool_ingest *in)
{
    char content[CONTENT_MAX];
    size_t n = 100 + sim_random(sim_random(8) == 0 ? CONTENT_MAX - 100 : 400);
    uint64_t word = spool_ingest_id(in);
    for (size_t i = 0; i < n; i++)
        content[i] = (char)('a' + (word >> (i * 7 % 61)) % 26);
    return spool_ingest_write(in, content, n);
}

void mail_hand_over(struct sim_server *s, uint32_t account, uint32_t nrcpts)
{
    struct mail *m = s->mail;
    struct spool_ingest *in;
    struct envelope_rcpt rcpts[MAIL_RCPTS_MAX];
    ensure(nrcpts <= MAIL_RCPTS_MAX);
    for (uint32_t i = 0; i < nrcpts; i++)
        rcpts[i] = (struct envelope_rcpt){ .address = SPAN_LIT("somebody@one.example") };
    struct sim_server *was = memory_enter(s);
    int err = spool_ingest_open(m->node.spool, &in);
    if (err == 0) {
        struct stored *t = calloc(1, sizeof *t);
        t->mail = m;
        t->op.done = stored_cb;
        struct envelope e = { .arrival_ms = s->wall_ns / SIM_MS,
                              .mail_from = SPAN_LIT("sender@example.org"),
                              .account = span_str(sim_accounts[account]),
                              .tenant = span_str(sim_tenants[account]),
                              .nrcpts = nrcpts,
                              .rcpts = rcpts };
        ensure(write_content(in) == 0);
        (void)memory_enter(NULL);
        mail_check_handed(spool_ingest_id(in), nrcpts);
        (void)memory_enter(s);
        spool_ingest_commit(in, &e, &t->op);
    }
    (void)memory_enter(was);
    if (err != 0)
        check_fault("no message can be stored: %s", err_text(err));
}

static void take_stored(struct mail *m)
{
    for (struct list *link; (link = list_pop_front(&m->stored)) != NULL;) {
        struct stored *t = LIST_ITEM(link, struct stored, link);
        struct spool_info *info;
        sim_step(SIM_STEP_MAIL, m->s->i, t->op.id);
        int err = spool_info(m->node.spool, t->op.id, &info);
        if (err == 0) {
            ensure(dispatch_message(&m->node, &m->worker, NULL, &info->env, NULL) == 0);
            spool_info_free(info);
        } else {
            check_fault("a message that was just accepted cannot be read: %s", err_text(err));
        }
        free(t);
    }
}

/* ---- and go --------------------------------------------------------------------------------------------
 */

static void attempt_begin(struct mail *m, struct mail_attempt *a)
{
    struct queue_item_view v;
    a->item = queue_take(m->egress.queue, &a->conn, m->s->wall_ns / SIM_MS);
    if (a->item == NULL)
        return;
    queue_item_view(m->egress.queue, a->item, &v);
    check_attempt(m->s, account_of(v.sender));
    a->id = v.id;
    a->attempts = v.attempts;
    a->nrcpts = v.nrcpts;
    memcpy(a->rcpts, v.rcpts, v.nrcpts * sizeof a->rcpts[0]);
    a->due_ns = sim.now_ns + (sim.quiet ? sim_ms(20) : sim_ms((uint64_t)sim.sink_ms));
    sim_step(SIM_STEP_MAIL, m->s->i, a->id);
}

static void attempt_end(struct mail *m, struct mail_attempt *a)
{
    struct spool_rcpt_update u[MAIL_RCPTS_MAX];
    int64_t now_ms = m->s->wall_ns / SIM_MS;
    struct queue *q = m->egress.queue;
    bool later = !sim.quiet && sim_random(3) == 0; /* 4xx */
    sim_step(SIM_STEP_MAIL, m->s->i, a->id + later);
    for (uint32_t i = 0; i < a->nrcpts; i++)
        u[i] = (struct spool_rcpt_update){ .rcpt = a->rcpts[i],
                                           .to = { .state = later ? RCPT_QUEUED : RCPT_DELIVERED,
                                                   .attempts = (uint16_t)(a->attempts + 1),
                                                   .next_ms = later ? now_ms + 300 : 0,
                                                   .changed_ms = now_ms,
                                                   .reply = SPAN_LIT("250 2.0.0 or 451 4.0.0") } };
    for (uint32_t i = 0; i < a->nrcpts && !later; i++)
        mail_check_delivered(m->s, a->id, a->rcpts[i]);
    int err = spool_update(m->node.spool, a->id, u, a->nrcpts, NULL);
    if (err != 0)
        check_fault("node %u delivered what its spool does not have: %s", m->s->i + 1, err_text(err));
    queue_conn_success(q, &a->conn, now_ms);
    if (later)
        (void)queue_defer(q, a->item, NULL, 0, 0, now_ms);
    else
        queue_done(q, a->item);
    attempt_begin(m, a);
}

static void open_connection(struct mail *m, struct queue_site *site)
{
    int64_t now_ms = m->s->wall_ns / SIM_MS;
    for (int i = 0; i < MAIL_CONNS; i++) {
        struct mail_attempt *a = &m->attempts[i];
        if (a->busy)
            continue;
        *a = (struct mail_attempt){ .busy = true };
        queue_conn_init(m->egress.queue, site, &a->conn);
        queue_conn_opened(m->egress.queue, &a->conn, now_ms);
        attempt_begin(m, a);
        return;
    }
    ensure_failed("no more connections than are allowed", __FILE__, __LINE__);
}

static void act(struct mail *m, const struct queue_action *action)
{
    struct mail_attempt *a = action->conn == NULL ? NULL : LIST_ITEM(action->conn, struct mail_attempt, conn);
    switch (action->kind) {
    case QUEUE_ACTION_OPEN_CONNECTION:
        open_connection(m, action->site);
        break;
    case QUEUE_ACTION_USE_CONNECTION:
        attempt_begin(m, a);
        break;
    case QUEUE_ACTION_CLOSE_CONNECTION:
        queue_conn_closed(m->egress.queue, &a->conn, SPAN_LIT(""), m->s->wall_ns / SIM_MS);
        a->busy = false;
        break;
    default:
        ensure_failed("nothing is so old", __FILE__, __LINE__);
    }
}

static void deliver(struct mail *m)
{
    struct queue_action action;
    for (int i = 0; i < MAIL_CONNS; i++) {
        struct mail_attempt *a = &m->attempts[i];
        if (a->busy && a->item != NULL && a->due_ns <= sim.now_ns)
            attempt_end(m, a);
    }
    for (int i = 0; i < POLLS_MAX && queue_poll(m->egress.queue, m->s->wall_ns / SIM_MS, &action); i++)
        act(m, &action);
}

bool mail_turn(struct sim_server *s)
{
    bool any = threads_run(s);
    struct mail *m = s->mail;
    if (!m->open)
        return any;
    struct sim_server *was = memory_enter(s);
    take_stored(m);
    /* Nothing is delivered before it is known who is frozen. */
    if (s->workers[0].view.due_ns != 0 && s->workers[0].stalled_until_ns <= sim.now_ns)
        deliver(m);
    if (sim_random(16) == 0) /* the history has it */
        spool_history_done(m->node.spool, m->ended_seq);
    (void)memory_enter(was);
    return any;
}

/* ---- operators move mail -------------------------------------------------------------------------------
 */

#define MOVE_OF 25 /* turns */
#define MOVE_MAX 6

static int cancel_cb(void *arg, const struct transfer_row *row)
{
    char hex[TRANSFER_HEX];
    struct admin_error e;
    transfer_hex(row->batch, hex);
    if (row->giving)
        (void)transfer_cancel(arg, span_str(hex), &e);
    return 0;
}

void mail_move_some(void)
{
    if (sim.quiet || sim_random(MOVE_OF) > 0)
        return;
    struct sim_server *s = server_at((uint32_t)sim_random(sim.n));
    uint64_t to = 1 + sim_random(sim.n);
    if (!server_up(s) || !mail_open(s) || to == server_id(s))
        return;
    struct look_ids ids;
    struct sim_server *was = memory_enter(s);
    if (sim_random(10) == 0)
        (void)transfer_list(&s->mail->node, cancel_cb, &s->mail->node);
    (void)look_ids(&s->mail->node, NULL, 0, &ids);
    size_t k = ids.n == 0 ? 0 : sim_random(ids.n);
    for (size_t i = 0; i < MOVE_MAX && k + i < ids.n; i++) {
        mail_check_moves(ids.ids[k + i]);
        (void)transfer_request(&s->mail->node, ids.ids[k + i], to);
    }
    if (ids.n > 0)
        sim_step(SIM_STEP_OPERATE, s->i, to);
    free(ids.ids);
    (void)memory_enter(was);
}

void mail_drains(struct sim_server *s)
{
    s->drained = true;
    mail_check_moves_all(s);
}
