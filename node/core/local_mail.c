/* Mail of the node's own: see local_mail.h. */
#include "node/core/local_mail.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/dispatch.h"
#include "node/core/egress.h"
#include "node/core/node.h"
#include "node/core/sign.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct local_mail {
    struct worker_op op;
    struct worker *w;
    const char *subject;
    struct spool_ingest *in; /* until it is committed */
    struct sign *sign;       /* NULL: no key is for its From */
    struct envelope env;
    struct envelope_rcpt rcpt;
    uint64_t id;
    char from[512], to[512], message_id[320];
    local_mail_fn *stored; /* or NULL */
    void *ctx;
};

int local_mail_begin(struct worker *w, const char *subject, struct span from, struct span to,
                     struct local_mail **out)
{
    struct local_mail *m = calloc(1, sizeof *m);
    if (m == NULL)
        return -ENOMEM;
    int err = from.n < sizeof m->from && to.n < sizeof m->to ? spool_ingest_open(w->node->spool, &m->in)
                                                             : ERR_LIMIT;
    if (err != 0) {
        free(m);
        return err;
    }
    char id[SPOOL_ID_TEXT];
    m->w = w;
    m->subject = subject;
    m->id = spool_ingest_id(m->in);
    spool_id_format(m->id, id);
    snprintf(m->from, sizeof m->from, "%.*s", (int)from.n, from.p);
    snprintf(m->to, sizeof m->to, "%.*s", (int)to.n, to.p);
    snprintf(m->message_id, sizeof m->message_id, "<%s@%s>", id, w->config->hostname);
    *out = m;
    return 0;
}

const char *local_mail_message_id(const struct local_mail *m)
{
    return m->message_id;
}

uint64_t local_mail_id(const struct local_mail *m)
{
    return m->id;
}

const char *local_mail_to(const struct local_mail *m)
{
    return m->to;
}

void local_mail_on_stored(struct local_mail *m, local_mail_fn *fn, void *ctx)
{
    m->stored = fn;
    m->ctx = ctx;
}

static void drop(struct local_mail *m)
{
    if (m->in != NULL)
        spool_ingest_abort(m->in);
    sign_free(m->sign);
    free(m);
}

static void run_stored(struct worker *w, struct worker_op *op)
{
    struct local_mail *m = LIST_ITEM(op, struct local_mail, op);
    if (op->op.status != 0)
        log_warn(m->subject, "for %s: %s", m->to, err_text(op->op.status));
    else
        (void)dispatch_message(w->node, w, w->config, &m->env, NULL);
    if (m->stored != NULL)
        m->stored(m->ctx, w, op->op.status);
    w->egress->njobs--;
    egress_kick(w->egress);
    drop(m);
}

/* Receivers may take what has no signature, though they want one (RFC 8460 section 3). */
static void commit(struct local_mail *m)
{
    int err = m->sign == NULL ? 0 : m->sign->err;
    if (m->sign != NULL && err == 0) {
        err = spool_ingest_front(m->in, m->sign->fields.data, m->sign->fields.len);
        m->env.header_bytes += (uint32_t)m->sign->fields.len;
    }
    struct spool_ingest *in = m->in;
    m->in = NULL;
    worker_op_init(&m->op, m->w, run_stored);
    if (err == 0) {
        spool_ingest_commit(in, &m->env, &m->op.op);
        return;
    }
    spool_ingest_abort(in);
    m->op.op.status = err;
    run_stored(m->w, &m->op);
}

static void signed_cb(void *ctx)
{
    commit(ctx);
}

static int sign(struct local_mail *m, struct span text)
{
    struct worker *w = m->w;
    struct sign_who who = { .from = span_str(m->from), .may_use_from = true };
    int err = sign_new(w, w->config, &who, &m->sign);
    if (err != 0 || m->sign == NULL)
        return err == ERR_BUSY ? 0 : err; /* without, rather than not at all */
    sign_header(m->sign, span_of(text.p, m->env.header_bytes));
    sign_body(m->sign, span_sub(text, m->env.header_bytes));
    return 0;
}

/* Takes m in any case. */
static int store(struct local_mail *m, struct span text, uint32_t header_bytes, uint8_t flags)
{
    m->env.header_bytes = header_bytes;
    int err = spool_ingest_write(m->in, text.p, text.n);
    err = err < 0 ? err : sign(m, text);
    if (err != 0) {
        drop(m);
        return err;
    }
    m->rcpt = (struct envelope_rcpt){ .address = span_str(m->to), .notify = ENVELOPE_NOTIFY_NEVER };
    m->env.arrival_ms = clock_wall_ms();
    m->env.class = ENVELOPE_CLASS_DEVICE;
    m->env.protocol = SPAN_LIT("local");
    m->env.message_id = span_str(m->message_id);
    m->env.nrcpts = 1;
    m->env.rcpts = &m->rcpt;
    m->env.flags = (uint8_t)(ENVELOPE_DSN | flags);
    m->w->egress->njobs++;
    if (m->sign == NULL || sign_finish(m->sign, signed_cb, m))
        commit(m);
    return 0;
}

int local_mail_end(struct local_mail *m, int err, struct buf *text, uint32_t header_bytes, uint8_t flags)
{
    if (err == 0)
        err = store(m, buf_span(text), header_bytes, flags);
    else
        drop(m);
    buf_fini(text);
    return err;
}
