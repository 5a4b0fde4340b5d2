/* A load on a spool, and the oracle. */
#include "model.h"

#include "base/ensure.h"
#include "base/err.h"

#include <stdarg.h>
#include <stdlib.h>

enum wait_kind { WAIT_COMMIT, WAIT_UPDATE };

struct waiting {
    struct spool_op op;
    struct model *m;
    struct waiting *next;
    enum wait_kind kind;
    uint32_t msg, rcpt;
    uint16_t version;
    bool answered;
};

static void wrong(struct model *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void wrong(struct model *m, const char *fmt, ...)
{
    if (m->wrong[0] != '\0')
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(m->wrong, sizeof m->wrong, fmt, ap);
    va_end(ap);
}

static uint64_t pick(struct model *m, uint64_t n)
{
    return rng_next(&m->rng) % n;
}

struct model *model_new(uint64_t seed)
{
    struct model *m = calloc(1, sizeof *m);
    ensure(m != NULL);
    m->rng = seed;
    return m;
}

static void forget_waiting(struct model *m)
{
    while (m->waiting != NULL) {
        struct waiting *w = m->waiting;
        m->waiting = w->next;
        free(w);
    }
}

void model_free(struct model *m)
{
    forget_waiting(m);
    free(m->ends);
    free(m);
}

static struct model_msg *by_id(struct model *m, uint64_t id)
{
    for (uint32_t i = 0; i < m->n; i++)
        if (m->msgs[i].id == id)
            return &m->msgs[i];
    return NULL;
}

static void on_failed(void *ctx, int err)
{
    ((struct model *)ctx)->failed = err;
}

static void on_ended(void *ctx, uint64_t id, const struct envelope *env, const struct spool_rcpt_update *u,
                     uint32_t n, uint64_t seq)
{
    struct model *m = ctx;
    if (simdisk_dead(m->sim))
        return;
    if (seq < m->seq_seen)
        wrong(m, "endings told out of order");
    const struct model_msg *msg = by_id(m, id);
    if (m->opening && env == NULL && seq > m->history_done)
        wrong(m, "an ending of %016llx was told without its envelope", (unsigned long long)id);
    if (!m->opening && env != NULL)
        wrong(m, "an envelope was read for nothing");
    if (env != NULL && (msg == NULL || env->id != id || env->nrcpts != msg->nrcpts || env->size != msg->size))
        wrong(m, "an ending of %016llx was told with another envelope", (unsigned long long)id);
    m->seq_seen = seq;
    for (uint32_t i = 0; i < n; i++) {
        if (!rcpt_state_terminal(u[i].to.state))
            wrong(m, "an ending that is none was told");
        if (m->nends == m->ends_cap) {
            m->ends_cap = m->ends_cap * 2 + 64;
            m->ends = realloc(m->ends, m->ends_cap * sizeof *m->ends);
            ensure(m->ends != NULL);
        }
        m->ends[m->nends++] = (struct model_end){ id, seq, u[i].rcpt, u[i].to.state };
    }
}

static int on_found(void *ctx, const struct envelope *env, const struct spool_rcpt *rcpts)
{
    struct model *m = ctx;
    struct model_msg *msg = by_id(m, env->id);
    if (msg == NULL) {
        wrong(m, "a message that nobody sent was found");
        return 0;
    }
    if (msg->found)
        wrong(m, "message %016llx was found twice", (unsigned long long)env->id);
    if (env->nrcpts != msg->nrcpts || env->size != msg->size)
        wrong(m, "message %016llx was found with another envelope", (unsigned long long)env->id);
    msg->found = true;
    for (uint32_t i = 0; i < msg->nrcpts; i++) {
        msg->found_state[i] = rcpts[i].state;
        msg->found_version[i] = rcpts[i].attempts;
    }
    return 0;
}

int model_open(struct model *m, struct simdisk *sim, uint64_t segment_bytes)
{
    m->sim = sim;
    struct spool_config config = { .dir = "sim",
                                   .disk = simdisk_disk(sim),
                                   .segment_bytes = segment_bytes,
                                   .min_free_bytes = 1,
                                   .on_failed = on_failed,
                                   .ctx = m,
                                   .on_ended = on_ended,
                                   .ended_ctx = m };
    for (uint32_t i = 0; i < m->n; i++)
        m->msgs[i].found = false;
    /* what the history had not made durable, a crash took */
    uint32_t kept = 0;
    for (uint32_t i = 0; i < m->nends; i++)
        if (m->ends[i].seq <= m->history_done)
            m->ends[kept++] = m->ends[i];
    m->nends = kept;
    m->seq_seen = 0;
    m->failed = 0;
    m->opening = true;
    int err = spool_open_with(&config, false, on_found, m, &m->s);
    m->opening = false;
    return err;
}

/* ---- load ---------------------------------------------------------------------------------------------- */

static void waiting_done(struct spool_op *op)
{
    struct waiting *w = LIST_ITEM(op, struct waiting, op);
    struct model_msg *msg = &w->m->msgs[w->msg];
    w->answered = true;
    if (simdisk_dead(w->m->sim))
        return;
    if (w->kind == WAIT_COMMIT) {
        if (op->id != msg->id)
            wrong(w->m, "the answer names another message");
        msg->answered = op->status == 0;
        msg->refused = op->status != 0;
        if (msg->answered && msg->closes >= 0)
            w->m->msgs[msg->closes].rcpts[msg->closes_rcpt].terminal_answered = true;
        return;
    }
    struct model_rcpt *r = &msg->rcpts[w->rcpt];
    if (op->status != 0)
        return;
    if (w->version > r->answered)
        r->answered = w->version;
    if (rcpt_state_terminal(r->states[w->version]))
        r->terminal_answered = true;
}

static struct waiting *waiting_new(struct model *m, enum wait_kind kind, uint32_t msg)
{
    struct waiting *w = calloc(1, sizeof *w);
    ensure(w != NULL);
    w->m = m;
    w->kind = kind;
    w->msg = msg;
    w->op.done = waiting_done;
    w->next = m->waiting;
    m->waiting = w;
    return w;
}

/* Feeds part of a message's content; opens it first if need be. */
static void begin_message(struct model *m)
{
    if (m->n == MODEL_MSGS)
        return;
    struct model_msg *msg = &m->msgs[m->n];
    *msg = (struct model_msg){ .closes = -1,
                               .seed = rng_next(&m->rng),
                               .nrcpts = 1 + (uint32_t)pick(m, MODEL_RCPTS) };
    static const size_t most[] = { 10, 600, 3000, 5000, 150000 };
    msg->size = pick(m, most[pick(m, 50) == 0 ? 4 : pick(m, 4)]);
    for (uint32_t i = 0; i < MODEL_RCPTS; i++)
        msg->rcpts[i].close_by = -1;
    if (spool_ingest_open(m->s, &msg->open) != 0) {
        msg->open = NULL;
        return;
    }
    msg->id = spool_ingest_id(msg->open);
    if (msg->id <= m->highest_id)
        wrong(m, "id %016llx was given again", (unsigned long long)msg->id);
    m->highest_id = msg->id;
    m->n++;
    uint8_t *body = malloc(msg->size + 1);
    ensure(body != NULL);
    body_fill(msg->seed, msg->size, body);
    (void)spool_ingest_write(msg->open, body, msg->size);
    free(body);
}

static void end_message(struct model *m, uint32_t i)
{
    struct model_msg *msg = &m->msgs[i];
    struct envelope *e = envelope_make(msg->seed, msg->nrcpts);
    struct envelope_close close;
    struct spool_ingest *in = msg->open;
    msg->open = NULL;
    if (pick(m, 12) == 0) {
        spool_ingest_abort(in);
        return;
    }
    if (pick(m, 4) == 0) {
        /* a report on a recipient that nothing has ended yet */
        uint32_t of = (uint32_t)pick(m, m->n);
        struct model_msg *about = &m->msgs[of];
        uint32_t rcpt = (uint32_t)pick(m, about->nrcpts);
        if (of != i && about->answered && !about->rcpts[rcpt].terminal_tried) {
            about->rcpts[rcpt].terminal_tried = true;
            about->rcpts[rcpt].close_by = (int32_t)i;
            msg->closes = (int32_t)of;
            msg->closes_rcpt = rcpt;
            close = (struct envelope_close){ about->id, rcpt, RCPT_BOUNCED,
                                             SPAN_LIT("550 5.1.1 closed by a report") };
            e->closes = &close;
            e->ncloses = 1;
        }
    }
    msg->handed = true;
    spool_ingest_commit(in, e, &waiting_new(m, WAIT_COMMIT, i)->op);
}

static void update(struct model *m)
{
    uint32_t i = (uint32_t)pick(m, m->n);
    struct model_msg *msg = &m->msgs[i];
    uint32_t k = (uint32_t)pick(m, msg->nrcpts);
    struct model_rcpt *r = &msg->rcpts[k];
    if (!msg->answered || r->version == 60)
        return;
    bool end = pick(m, 2) == 0;
    if (r->close_by >= 0)
        return; /* whoever reports on a recipient does nothing else with it meanwhile */
    struct spool_rcpt_update u = { .rcpt = k };
    uint16_t version = (uint16_t)(r->version + 1);
    u.to.state = end ? (uint8_t)(RCPT_DELIVERED + pick(m, 5)) : (uint8_t)pick(m, 2);
    u.to.attempts = version;
    u.to.next_ms = (int64_t)pick(m, 100000);
    u.to.reply = end ? SPAN_LIT("250 2.0.0 ok") : SPAN_LIT("451 4.2.1 try later");
    struct waiting *w = pick(m, 3) > 0 ? waiting_new(m, WAIT_UPDATE, i) : NULL;
    if (w != NULL) {
        w->rcpt = k;
        w->version = r->terminal_tried ? r->version : version;
    }
    int err = spool_update(m->s, msg->id, &u, 1, w == NULL ? NULL : &w->op);
    if (err == 0 && !r->terminal_tried) {
        r->version = version;
        r->states[version] = u.to.state;
        if (end) {
            r->terminal_tried = true;
            r->terminal = u.to.state;
        }
    }
    if (err != 0 && w != NULL) {
        m->waiting = w->next;
        free(w);
    }
    bool ended = true;
    for (uint32_t j = 0; j < msg->nrcpts; j++)
        ended &= msg->rcpts[j].terminal_tried;
    if (err == ERR_NOT_FOUND && !ended)
        wrong(m, "message %016llx was not there for an update", (unsigned long long)msg->id);
}

/* The history makes durable what it was told, with some delay. */
static void history(struct model *m, uint64_t lag)
{
    if (m->nends <= lag)
        return;
    uint64_t seq = m->ends[m->nends - 1 - lag].seq;
    if (lag > 0 && seq == m->ends[m->nends - lag].seq)
        return; /* not between two endings of one record */
    if (seq > m->history_done) {
        m->history_done = seq;
        spool_history_done(m->s, seq);
    }
}

bool model_step(struct model *m)
{
    uint64_t what = pick(m, 100);
    if (m->failed != 0)
        return false;
    if (what < 30 || m->n == 0) {
        begin_message(m);
    } else if (what < 55) {
        for (uint32_t i = 0; i < m->n; i++)
            if (m->msgs[i].open != NULL && pick(m, 2) == 0) {
                end_message(m, i);
                break;
            }
    } else if (what < 78) {
        update(m);
    } else if (what < 92) {
        (void)spool_writer_step(m->s);
    } else if (what < 96) {
        (void)spool_background_step(m->s);
    } else {
        history(m, pick(m, 6));
    }
    return m->failed == 0;
}

void model_settle(struct model *m)
{
    int idle = 0;
    for (int i = 0; i < 10000 && idle < 2 && m->failed == 0; i++) {
        bool did = spool_writer_step(m->s);
        history(m, 0);
        did |= spool_background_step(m->s);
        idle = did ? 0 : idle + 1;
    }
}

void model_close(struct model *m)
{
    if (m->s == NULL)
        return;
    for (uint32_t i = 0; i < m->n; i++)
        if (m->msgs[i].open != NULL) {
            spool_ingest_abort(m->msgs[i].open);
            m->msgs[i].open = NULL;
        }
    while (spool_writer_step(m->s))
        ;
    spool_close(m->s);
    m->s = NULL;
    forget_waiting(m);
}

/* ---- the oracle ---------------------------------------------------------------------------------------- */

static void check_rcpt(struct model *m, const struct model_msg *msg, uint32_t k)
{
    const struct model_rcpt *r = &msg->rcpts[k];
    uint8_t state = msg->found_state[k];
    uint16_t version = msg->found_version[k];
    const char *what = NULL;
    if (r->close_by >= 0) {
        bool closed = state == RCPT_BOUNCED;
        const struct model_msg *by = &m->msgs[r->close_by];
        if (rcpt_state_terminal(state) && !closed)
            what = "an ending that nobody gave";
        else if (by->answered && !closed)
            what = "a recipient open that an answered report closed";
        else if (by->found != closed && !by->rcpts[0].terminal_tried)
            what = closed ? "a recipient closed without its report" : "a report without its recipient closed";
    } else if (version > r->version) {
        what = "a state that nobody gave";
    } else if (version < r->answered) {
        what = "an answered state lost";
    } else if (version > 0 && state != r->states[version]) {
        what = "a state changed";
    } else if (version == 0 && state != RCPT_QUEUED) {
        what = "a state out of nothing";
    }
    if (what != NULL)
        wrong(m, "message %016llx recipient %u: %s", (unsigned long long)msg->id, k, what);
}

static void check_msg(struct model *m, const struct model_msg *msg)
{
    bool all_tried = true, all_answered = true;
    for (uint32_t k = 0; k < msg->nrcpts; k++) {
        all_tried &= msg->rcpts[k].terminal_tried;
        all_answered &= msg->rcpts[k].terminal_answered;
    }
    unsigned long long id = msg->id;
    if (msg->found && !msg->handed)
        wrong(m, "message %016llx was never committed and is there", id);
    else if (msg->found && msg->refused && !m->after_sync_failure)
        wrong(m, "message %016llx was refused and is there", id);
    else if (msg->found && all_answered)
        wrong(m, "message %016llx ended and is there again", id);
    else if (!msg->found && msg->answered && !all_tried)
        wrong(m, "message %016llx was answered and is lost", id);
    if (!msg->found)
        return;
    if (!has_message(m->s, msg->id, msg->seed, msg->size))
        wrong(m, "message %016llx has not the content that it came with", id);
    for (uint32_t k = 0; k < msg->nrcpts; k++)
        check_rcpt(m, msg, k);
}

bool model_check(struct model *m)
{
    for (uint32_t i = 0; i < m->n; i++)
        check_msg(m, &m->msgs[i]);
    struct spool_stats st;
    spool_stats(m->s, &st);
    if (st.corrupt_records != 0)
        wrong(m, "a crash was taken for damage");
    struct spool_ingest *in;
    if (spool_ingest_open(m->s, &in) == 0) {
        if (spool_ingest_id(in) <= m->highest_id)
            wrong(m, "id %016llx was given again after %016llx, %u", (unsigned long long)spool_ingest_id(in),
                  (unsigned long long)m->highest_id, m->s->nsegments);
        m->highest_id = spool_ingest_id(in);
        spool_ingest_abort(in);
    }
    return m->wrong[0] == '\0';
}

bool model_check_history(struct model *m)
{
    for (uint32_t i = 0; i < m->n; i++)
        for (uint32_t k = 0; k < m->msgs[i].nrcpts; k++) {
            const struct model_rcpt *r = &m->msgs[i].rcpts[k];
            bool told = false;
            for (uint32_t e = 0; e < m->nends; e++)
                if (m->ends[e].id == m->msgs[i].id && m->ends[e].rcpt == k) {
                    told = true;
                    if (m->ends[e].state != (r->close_by >= 0 ? RCPT_BOUNCED : r->terminal))
                        wrong(m, "message %016llx: the history has another ending",
                              (unsigned long long)m->msgs[i].id);
                }
            if (r->terminal_answered && !told)
                wrong(m, "message %016llx: an ending is missing from the history",
                      (unsigned long long)m->msgs[i].id);
        }
    return m->wrong[0] == '\0';
}
