/* Writing one delivery report into the spool. */
#include "node/core/dsn_job.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/dispatch.h"
#include "node/core/node.h"
#include "node/core/report.h"
#include "node/core/sign.h"
#include "node/mail/status.h"
#include "node/smtp/reply_parser.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define BLOCK_MAX (1u << 20)
#define RETRY_MS 60000 /* of what could not be reported on */

struct dsn_job {
    struct worker_op op;
    struct attempt *a;
    struct dsn_job_rcpt *rcpts;
    uint32_t n;
    char remote_mta[256];
    char message_id[320];
    struct mail_dsn dsn;
    struct mail_dsn_rcpt *dsn_rcpts;
    struct buf diagnostics;
    struct spool_reader *reader;
    struct spool_ingest *in;
    struct envelope about;                 /* the original's, as the report shows it */
    char redacted[ENVELOPE_TEXT_MAX + 32]; /* instead of its header; "": its own */
    bool redacted_read;
    struct envelope env; /* the report's */
    struct envelope_rcpt to;
    struct sign *sign; /* NULL: no key is for it */
    struct buf head;   /* its header so far, for that */
};

static void job_free(struct dsn_job *job)
{
    if (job->reader != NULL)
        spool_reader_close(job->reader);
    if (job->in != NULL)
        spool_ingest_abort(job->in);
    job->a->e->njobs--;
    buf_fini(&job->diagnostics);
    sign_free(job->sign);
    buf_fini(&job->head);
    attempt_free(job->a);
    free(job->dsn_rcpts);
    free(job->rcpts);
    free(job->env.closes);
    free(job);
}

/* No item of the queue has them (an operator took them out): they get one again, held if they were. */
static void queue_again(struct attempt *a, const uint32_t *rcpts, uint32_t n)
{
    const struct envelope *env = &a->info->env;
    struct queue_item_info info = { .id = env->id,
                                    .site = span_str(a->site),
                                    .sender = dispatch_sender(env),
                                    .class = env->class,
                                    .arrival_ms = env->arrival_ms,
                                    .next_ms = egress_now_ms(a->e) + RETRY_MS,
                                    .attempts = a->attempts,
                                    .held = a->info->rcpts[rcpts[0]].state == RCPT_HELD,
                                    .delay_told = a->info->rcpts[rcpts[0]].delay_told != 0,
                                    .nrcpts = n,
                                    .rcpts = rcpts };
    egress_add(a->e, &info);
}

static bool was_taken(const struct dsn_job_rcpt *r)
{
    return r->state == RCPT_DELIVERED || r->state == RCPT_RELAYED;
}

/* What the next hop took has ended, report or not: to try it again would be to send it twice. */
static void end_taken(struct attempt *a, const struct dsn_job_rcpt *rcpts, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!was_taken(&rcpts[i]))
            continue;
        struct buf reply;
        buf_init(&reply, SMTP_REPLY_TEXT_MAX + 64);
        (void)smtp_reply_text_put(&reply, &a->results[rcpts[i].at].reply);
        struct spool_rcpt_update u = { .rcpt = a->rcpts[rcpts[i].at],
                                       .to = { .state = rcpts[i].state,
                                               .attempts = a->attempts,
                                               .changed_ms = clock_wall_ms(),
                                               .reply =
                                                   span_of(reply.data, reply.len > 512 ? 512 : reply.len) } };
        int err = spool_update(a->e->w->node->spool, a->info->env.id, &u, 1, NULL);
        if (err != 0 && err != ERR_NOT_FOUND && atomic_load(&a->e->w->node->spool_error) == 0)
            log_error("spool", "an outcome could not be recorded: %s", err_text(err));
        buf_fini(&reply);
    }
}

/* The others are tried again, and end then, with a report. */
static void try_again(struct attempt *a, const struct dsn_job_rcpt *rcpts, uint32_t n)
{
    struct queue *q = a->e->queue;
    uint32_t left = 0, *indexes = n == 0 ? NULL : calloc(n, sizeof *indexes);
    for (uint32_t i = 0; indexes != NULL && i < n; i++)
        if (!was_taken(&rcpts[i]))
            indexes[left++] = a->rcpts[rcpts[i].at];
    int64_t now = egress_now_ms(a->e);
    if (a->item != NULL && indexes == NULL)
        queue_defer(q, a->item, NULL, 0, now + RETRY_MS, now);
    else if (a->item != NULL && left > 0)
        queue_defer(q, a->item, indexes, left, now + RETRY_MS, now);
    else if (a->item != NULL)
        queue_done(q, a->item);
    else if (left > 0)
        queue_again(a, indexes, left);
    free(indexes);
}

/* The report cannot be written, for want of memory or of room on the disk. */
static void give_up(struct attempt *a, const struct dsn_job_rcpt *rcpts, uint32_t n, bool notice, int err)
{
    char id[SPOOL_ID_TEXT];
    spool_id_format(a->info->env.id, id);
    log_warn("dsn", "no report about %s for now: %s", id, err_text(err));
    if (notice) {
        for (struct queue_item *item = queue_find(a->e->queue, a->info->env.id); item != NULL;
             item = queue_find_next(a->e->queue, item))
            queue_set_delay_told(a->e->queue, item, false);
    } else {
        end_taken(a, rcpts, n);
        try_again(a, rcpts, n);
    }
    egress_kick(a->e);
}

static int read_original(void *ctx, const char **p, size_t *n)
{
    struct dsn_job *job = ctx;
    if (job->redacted[0] == '\0')
        return spool_reader_next(job->reader, p, n);
    *p = job->redacted;
    *n = job->redacted_read ? 0 : strlen(job->redacted);
    job->redacted_read = true;
    return 0;
}

/* RFC 8689 section 5: the way back may be without TLS, so nothing goes there of a message that asked for it.
 */
static void redact(struct dsn_job *job)
{
    struct span id = job->about.message_id;
    snprintf(job->redacted, sizeof job->redacted, "%s%.*s\r\n\r\n",
             id.n > 0 ? "Message-ID: " : "Comments: redacted", (int)id.n, id.n == 0 ? "" : id.p);
    job->about.header_bytes = (uint32_t)strlen(job->redacted);
}

/* Recipients, what was said of them, and the report's own name. */
static int dsn_fill(struct dsn_job *job)
{
    const struct attempt *a = job->a;
    const struct worker *w = a->e->w;
    const struct config *c = w->config;
    job->dsn_rcpts = calloc(job->n, sizeof *job->dsn_rcpts);
    if (job->dsn_rcpts == NULL)
        return -ENOMEM;
    buf_init(&job->diagnostics, (size_t)job->n * (SMTP_REPLY_TEXT_MAX + 64));
    bool full = false;
    for (uint32_t i = 0; i < job->n; i++) {
        const struct dsn_job_rcpt *r = &job->rcpts[i];
        const struct smtp_client_result *result = &a->results[r->at];
        const struct envelope_rcpt *er = &a->info->env.rcpts[a->rcpts[r->at]];
        size_t from = job->diagnostics.len;
        (void)smtp_reply_text_put(&job->diagnostics, &result->reply);
        struct mail_dsn_rcpt *out = &job->dsn_rcpts[i];
        *out = (struct mail_dsn_rcpt){
            .address = er->address,
            .orcpt = er->orcpt,
            .action = r->action,
            .diagnostic = { (const char *)from, job->diagnostics.len - from },
            .diagnostic_local = result->local,
            .remote_mta = result->local ? (struct span){ "", 0 } : span_str(job->remote_mta),
            .last_attempt_ms = a->attempts > 0 ? clock_wall_ms() : 0,
            .retry_until_ms =
                r->action == MAIL_DSN_DELAYED ? a->info->env.arrival_ms + c->delivery.expire_ms : 0,
        };
        memcpy(out->status, result->reply.enhanced, sizeof out->status);
        if (out->status[0] == 0)
            mail_status_derive(result->reply.code, result->stage, out->status);
        full = full || r->full;
    }
    if (buf_err(&job->diagnostics) != 0)
        return buf_err(&job->diagnostics);
    for (uint32_t i = 0; i < job->n; i++)
        job->dsn_rcpts[i].diagnostic.p = job->diagnostics.data + (size_t)job->dsn_rcpts[i].diagnostic.p;
    char id[SPOOL_ID_TEXT];
    spool_id_format(spool_ingest_id(job->in), id);
    snprintf(job->message_id, sizeof job->message_id, "<%s@%s>", id, c->hostname);
    job->about = a->info->env;
    bool requiretls = (job->about.flags & ENVELOPE_REQUIRETLS) != 0;
    if (requiretls)
        redact(job);
    job->dsn = (struct mail_dsn){ .original = &job->about,
                                  .rcpts = job->dsn_rcpts,
                                  .nrcpts = job->n,
                                  .reporting_mta = span_str(c->hostname),
                                  .message_id = span_str(job->message_id),
                                  .postmaster = span_str(c->bounces.postmaster),
                                  .wall_ms = clock_wall_ms(),
                                  .full = full && !requiretls,
                                  .full_max_bytes = c->bounces.max_full_bytes };
    return getrandom(&job->dsn.nonce, sizeof job->dsn.nonce, 0) == (ssize_t)sizeof job->dsn.nonce ? 0
                                                                                                  : -errno;
}

/* A block of the report; `end` is where its header ends in it, NULL: not here. */
static void sign_block(struct dsn_job *job, struct span block, bool in_header, const char *end)
{
    if (job->sign == NULL)
        return;
    size_t n = !in_header ? 0 : end == NULL ? block.n : (size_t)(end - block.p) + 4;
    if (n > 0 && buf_put(&job->head, block.p, n) != 0 && job->sign->err == 0)
        job->sign->err = buf_err(&job->head);
    if (in_header && end != NULL && job->sign->err == 0)
        sign_header(job->sign, buf_span(&job->head));
    if (n < block.n)
        sign_body(job->sign, span_sub(block, n));
}

/* The report's text into the spool, block by block. Its size is bounded by bounces.max_full_bytes. */
static int dsn_write(struct dsn_job *job)
{
    struct mail_dsn_builder builder;
    struct buf block;
    bool in_header = true;
    uint32_t header = 0;
    buf_init(&block, BLOCK_MAX);
    mail_dsn_start(&builder, &job->dsn, read_original, job);
    int more;
    do {
        buf_reset(&block);
        more = mail_dsn_next(&builder, &block);
        const char *end = !in_header || block.len == 0 ? NULL : memmem(block.data, block.len, "\r\n\r\n", 4);
        if (in_header)
            header += (uint32_t)(end == NULL ? block.len : (size_t)(end - block.data) + 4);
        sign_block(job, buf_span(&block), in_header, end);
        in_header = in_header && end == NULL;
        int r = more < 0 ? more : spool_ingest_write(job->in, block.data, block.len);
        if (r < 0)
            more = r;
    } while (more == 1);
    buf_fini(&block);
    job->env.header_bytes = header;
    return more;
}

/* The recipients of the original that the report's commit record ends. A delay notice ends none. */
static int close_list(struct dsn_job *job)
{
    struct envelope *env = &job->env;
    env->closes = calloc(job->n, sizeof *env->closes);
    if (env->closes == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < job->n; i++) {
        const struct dsn_job_rcpt *r = &job->rcpts[i];
        if (!rcpt_state_terminal(r->state))
            continue;
        struct span reply = job->dsn_rcpts[i].diagnostic;
        if (reply.n > 512)
            reply.n = 512;
        env->closes[env->ncloses++] = (struct envelope_close){
            .id = job->a->info->env.id, .rcpt = job->a->rcpts[r->at], .state = r->state, .reply = reply
        };
    }
    return 0;
}

static void envelope_fill(struct dsn_job *job)
{
    const struct envelope *about = &job->a->info->env;
    job->to = (struct envelope_rcpt){ .address = about->mail_from, .notify = ENVELOPE_NOTIFY_NEVER };
    job->env.arrival_ms = job->dsn.wall_ms;
    job->env.class = about->class;
    job->env.tenant = about->tenant;
    job->env.protocol = SPAN_LIT("local");
    job->env.message_id = span_str(job->message_id);
    job->env.nrcpts = 1;
    job->env.rcpts = &job->to;
    job->env.flags = ENVELOPE_DSN;
    if (mail_dsn_is_utf8(&job->dsn))
        job->env.flags |= ENVELOPE_SMTPUTF8;
    if (mail_dsn_is_8bit(&job->dsn)) {
        job->env.flags |= ENVELOPE_BODY_IS_8BIT;
        job->env.body = ENVELOPE_BODY_8BITMIME;
    }
}

/* A delay notice is remembered, so that a restart does not send another. */
static void record_told(struct dsn_job *job)
{
    const struct attempt *a = job->a;
    struct spool *spool = a->e->w->node->spool;
    struct spool_info *now; /* an attempt may have been recorded while the notice was written */
    struct spool_rcpt_update *u = calloc(job->n, sizeof *u);
    if (u == NULL || spool_info(spool, a->info->env.id, &now) != 0) {
        free(u);
        return;
    }
    for (uint32_t i = 0; i < job->n; i++) {
        uint32_t rcpt = a->rcpts[job->rcpts[i].at];
        u[i] = (struct spool_rcpt_update){ .rcpt = rcpt, .to = now->rcpts[rcpt] };
        u[i].to.delay_told = 1;
    }
    (void)spool_update(spool, a->info->env.id, u, job->n, NULL);
    spool_info_free(now);
    free(u);
}

static void run_reported(struct worker *w, struct worker_op *op)
{
    struct dsn_job *job = LIST_ITEM(op, struct dsn_job, op);
    struct attempt *a = job->a;
    bool notice = !rcpt_state_terminal(job->rcpts[0].state);
    if (op->op.status != 0) {
        give_up(a, job->rcpts, job->n, notice, op->op.status);
        job_free(job);
        return;
    }
    report_dsn(w, &job->env, a->info->env.id, mail_dsn_action_name(job->rcpts[0].action));
    if (notice)
        record_told(job);
    else if (a->item != NULL)
        queue_done(a->e->queue, a->item);
    (void)dispatch_message(w->node, w, w->config, &job->env,
                           NULL); /* an error is in the log; the mail is safe */
    egress_kick(a->e);
    job_free(job);
}

/* Into the spool, behind its signatures. Without them, rather than not at all, if they could not be made. */
static void dsn_signed_cb(void *ctx)
{
    struct dsn_job *job = ctx;
    int err = 0;
    if (job->sign != NULL && job->sign->err == 0) {
        err = spool_ingest_front(job->in, job->sign->fields.data, job->sign->fields.len);
        job->env.header_bytes += (uint32_t)job->sign->fields.len;
    }
    if (err != 0) {
        give_up(job->a, job->rcpts, job->n, !rcpt_state_terminal(job->rcpts[0].state), err);
        job_free(job);
        return;
    }
    worker_op_init(&job->op, job->a->e->w, run_reported);
    struct spool_ingest *in = job->in;
    job->in = NULL;
    spool_ingest_commit(in, &job->env, &job->op.op);
}

static int sign_start_report(struct dsn_job *job)
{
    struct worker *w = job->a->e->w;
    struct sign_who who = { .from = job->dsn.postmaster,
                            .may_use_from = true,
                            .tenant = job->a->info->env.tenant };
    buf_init(&job->head, BLOCK_MAX);
    int err = sign_new(w, w->config, &who, &job->sign);
    return err == ERR_BUSY ? 0 : err; /* without, rather than not at all */
}

void dsn_job_start(struct attempt *a, struct dsn_job_rcpt *rcpts, uint32_t n, const char *remote_mta)
{
    struct egress *e = a->e;
    struct spool *spool = e->w->node->spool;
    bool notice = rcpts != NULL && n > 0 && !rcpt_state_terminal(rcpts[0].state);
    struct dsn_job *job = rcpts == NULL ? NULL : calloc(1, sizeof *job);
    if (job == NULL) {
        give_up(a, rcpts, rcpts == NULL ? 0 : n, notice, -ENOMEM);
        free(rcpts);
        attempt_free(a);
        return;
    }
    job->a = a;
    job->rcpts = rcpts;
    job->n = n;
    snprintf(job->remote_mta, sizeof job->remote_mta, "%s", remote_mta);
    e->njobs++;
    int err = spool_ingest_open(spool, &job->in);
    if (err == 0)
        err = dsn_fill(job);
    if (err == 0)
        err = spool_reader_open(spool, a->info->env.id, &job->reader);
    if (err == 0)
        err = sign_start_report(job);
    if (err == 0)
        err = dsn_write(job);
    if (err == 0)
        err = close_list(job);
    if (err != 0) {
        give_up(a, rcpts, n, notice, err);
        job_free(job);
        return;
    }
    envelope_fill(job);
    spool_reader_close(job->reader);
    job->reader = NULL;
    if (job->sign == NULL || sign_finish(job->sign, dsn_signed_cb, job))
        dsn_signed_cb(job);
}
