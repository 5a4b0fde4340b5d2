/* A notification as a mail of the node's own: the notifying thread hands the batch to a worker, which writes
 * it into the spool, with the null sender, so that nothing comes back because of it. */
#include "base/clock.h"
#include "base/err.h"
#include "node/core/local_mail.h"
#include "node/core/notify_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAIL_MAX (3u << 20)

struct mailing {
    struct worker_msg msg;
    struct list link; /* of n->mailed */
    struct notify *n;
    struct notify_target *t; /* its slot, which stays as long as it is busy */
    struct policy *policy;
    const struct policy_target *target; /* of policy */
    struct notify_batch *batch;         /* the target's: not touched meanwhile */
    char to[400];
    uint64_t more;
    int err;
};

static void over(void *ctx, struct worker *w, int err)
{
    (void)w;
    struct mailing *m = ctx;
    struct notify *n = m->n;
    m->err = err;
    pthread_mutex_lock(&n->lock);
    list_push_back(&n->mailed, &m->link);
    pthread_mutex_unlock(&n->lock);
    notify_web_wake(n->web);
}

/* On the worker. */
static int write_mail(struct worker *w, struct mailing *m)
{
    struct local_mail *mail;
    struct buf text;
    uint32_t header_bytes = 0;
    int err = local_mail_begin(w, "notify", span_str(w->config->bounces.postmaster), span_str(m->to), &mail);
    if (err != 0)
        return err;
    struct notify_mail what = { .from = w->config->bounces.postmaster,
                                .to = local_mail_to(mail),
                                .message_id = local_mail_message_id(mail),
                                .name = w->config->hostname,
                                .now_ms = clock_wall_ms(),
                                .target = m->target };
    buf_init(&text, MAIL_MAX);
    err = notify_mail_put(&text, &what, m->batch->told, m->batch->n, m->more, &header_bytes);
    local_mail_on_stored(mail, over, m);
    return local_mail_end(mail, err, &text, header_bytes, 0);
}

static void run_mailing(struct worker *w, struct worker_msg *msg)
{
    struct mailing *m = LIST_ITEM(msg, struct mailing, msg);
    int err = w->stopping == 0 ? write_mail(w, m) : ERR_CLOSED;
    if (err != 0)
        over(m, w, err);
}

int notify_mail_begin(struct notify *n, struct notify_target *t, const char *to, uint64_t more)
{
    struct mailing *m = calloc(1, sizeof *m);
    if (m == NULL)
        return -ENOMEM;
    m->msg.run = run_mailing;
    m->n = n;
    m->t = t;
    m->policy = policy_hold(n->policy);
    m->target = t->p;
    m->batch = t->batch;
    m->more = more;
    snprintf(m->to, sizeof m->to, "%s", to);
    worker_post_always(&n->node->workers[0], &m->msg);
    return 0;
}

void notify_mail_ended(struct notify *n)
{
    for (;;) {
        pthread_mutex_lock(&n->lock);
        struct list *link = list_pop_front(&n->mailed);
        pthread_mutex_unlock(&n->lock);
        if (link == NULL)
            return;
        struct mailing *m = LIST_ITEM(link, struct mailing, link);
        notify_sent(n, m->t, m->err == 0 ? "" : err_text(m->err));
        policy_rele(m->policy);
        free(m);
    }
}
