/* What happens to a message's recipients: new states in memory and as a record. Any thread. */
#include "spool/internal.h"

#include "base/clock.h"
#include "base/err.h"

#include <errno.h>
#include <stdlib.h>

static int check(const struct spool_rcpt_update *u, uint32_t n, const struct msg *m)
{
    for (uint32_t i = 0; i < n; i++)
        if (u[i].rcpt >= m->nrcpts || u[i].to.state >= RCPT_STATES)
            return ERR_BAD;
    return 0;
}

/* Applies what is news and encodes just that: the history must hear of each ending once. Under lock. */
static uint32_t apply(struct spool *s, struct msg *m, const struct spool_rcpt_update *u, uint32_t n,
                      struct rec *r, int64_t now)
{
    uint8_t *p = rec_payload(r) + UPDATES_FIXED_BYTES;
    uint32_t news = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct spool_rcpt_update one = u[i];
        if (one.to.changed_ms == 0)
            one.to.changed_ms = now; /* also what tells a state from that at arrival */
        if (!msg_apply(s, m, &one))
            continue;
        p = update_encode(&one, p);
        r->ended |= rcpt_state_terminal(u[i].to.state);
        news++;
    }
    put_u32(rec_payload(r), m->nrcpts);
    put_u32(rec_payload(r) + 4, news);
    uint32_t len = (uint32_t)(p - rec_payload(r));
    if (news > 0 && msg_all_terminal(m)) {
        r->type = RECORD_TOMBSTONE;
        rec_shorten(r, len + 4);
        rec_checked(r, len);
        index_remove(s, m);
        m->flags |= MSG_ENDED;
    } else {
        if (m->nrcpts == 1)
            r->flags |= RECORD_FULL;
        rec_shorten(r, len);
        rec_checked(r, len);
    }
    r->msg = m;
    return news;
}

int spool_update(struct spool *s, uint64_t id, const struct spool_rcpt_update *u, uint32_t n,
                 struct spool_op *op)
{
    if (s->failed != 0)
        return s->failed;
    if (n > ENVELOPE_RCPTS_MAX)
        return ERR_LIMIT;
    uint32_t bytes = UPDATES_FIXED_BYTES + 4;
    for (uint32_t i = 0; i < n; i++)
        bytes += update_bytes(&u[i]);
    struct rec *r = rec_new(RECORD_STATE, 0, id, bytes);
    if (r == NULL)
        return -ENOMEM;
    int64_t now = clock_wall_ms();
    pthread_mutex_lock(&s->lock);
    struct msg *m = index_living(s, id);
    int err = m == NULL ? ERR_NOT_FOUND : check(u, n, m);
    bool push = err == 0;
    if (push) {
        r->op = op;
        if (op != NULL)
            op->commit_ms = now;
        if (apply(s, m, u, n, r, now) == 0) {
            /* nothing new: what made it so may still be on its way */
            r->bytes = 0;
            r->type = 0;
            r->step = STEP_BARRIER;
            r->msg = NULL;
            push = op != NULL;
        }
        if (push)
            queue_push(s, r);
    }
    pthread_mutex_unlock(&s->lock);
    if (!push)
        free(r);
    return err;
}

struct rec *state_snapshot(struct spool *s, struct msg *m)
{
    char scratch[64];
    struct spool_rcpt_update u;
    uint32_t bytes = UPDATES_FIXED_BYTES;
    uint32_t n = 0;
    for (u.rcpt = 0; u.rcpt < m->nrcpts; u.rcpt++) {
        msg_rcpt_export(s, &m->rcpts[u.rcpt], scratch, &u.to);
        if (u.to.changed_ms == 0)
            continue;
        bytes += update_bytes(&u);
        n++;
    }
    struct rec *r = rec_new(RECORD_STATE, RECORD_COPY | RECORD_FULL, m->id, bytes);
    if (r == NULL)
        return NULL;
    uint8_t *p = rec_payload(r) + UPDATES_FIXED_BYTES;
    for (u.rcpt = 0; u.rcpt < m->nrcpts; u.rcpt++) {
        msg_rcpt_export(s, &m->rcpts[u.rcpt], scratch, &u.to);
        if (u.to.changed_ms != 0)
            p = update_encode(&u, p);
    }
    put_u32(rec_payload(r), m->nrcpts);
    put_u32(rec_payload(r) + 4, n);
    rec_checked(r, r->payload);
    r->msg = m;
    return r;
}
