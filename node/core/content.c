/* One message's check of content: see content.h. */
#include "node/core/content.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "node/core/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

_Static_assert((int)CONTENT_TOO_LARGE + 1 == (int)METRICS_CONTENT_OUTCOMES, "each has a label");

static void run_answered(struct worker *w, struct worker_msg *msg);

struct content *content_new(struct worker *w, struct policy *policy, uint8_t class, int *err)
{
    *err = 0;
    if (policy == NULL || policy->content.servers.n == 0 || (policy->content.classes >> class & 1) == 0)
        return NULL;
    struct content *c = calloc(1, sizeof *c);
    if (c == NULL) {
        *err = -ENOMEM;
        return NULL;
    }
    c->w = w;
    c->policy = policy_hold(policy);
    c->msg.run = run_answered;
    buf_init(&c->copy, (size_t)policy->content.max_size);
    buf_init(&c->about, RSPAMD_ABOUT_MAX);
    return c;
}

/* Without its copy: nobody asks for it any more. */
static void drop_copy(struct content *c)
{
    buf_fini(&c->copy);
    buf_init(&c->copy, 0);
    atomic_fetch_sub(&c->w->node->content_bytes, c->charged);
    c->charged = 0;
}

void content_free(struct content *c)
{
    if (c == NULL)
        return;
    if (c->away) { /* run_answered frees it */
        c->done = NULL;
        return;
    }
    drop_copy(c);
    buf_fini(&c->copy);
    buf_fini(&c->about);
    policy_rele(c->policy);
    free(c);
}

void content_feed(struct content *c, struct span bytes)
{
    if (c->large || c->busy || bytes.n == 0)
        return;
    uint64_t others = atomic_fetch_add(&c->w->node->content_bytes, bytes.n);
    c->charged += bytes.n;
    c->large = c->copy.len + bytes.n > c->policy->content.max_size;
    c->busy = !c->large && (others + bytes.n > CONTENT_BYTES_MAX || buf_put_span(&c->copy, bytes) != 0);
    if (c->large || c->busy)
        drop_copy(c);
}

/* ---- the verdict --------------------------------------------------------------------------------------- */

static enum content_outcome outcome_of(const struct rspamd_answer *a)
{
    switch (a->action) {
    case RSPAMD_ADD_HEADER:
        return CONTENT_SPAM;
    case RSPAMD_SOFT_REJECT:
        return CONTENT_SOFT;
    case RSPAMD_REJECT:
        return CONTENT_REJECTED;
    case RSPAMD_NO_ACTION:
    case RSPAMD_GREYLIST:
    case RSPAMD_OTHER:
        break;
    }
    return CONTENT_CLEAN;
}

bool content_was_checked(const struct content *c)
{
    return c->outcome != CONTENT_UNCHECKED && c->outcome != CONTENT_BUSY && c->outcome != CONTENT_TOO_LARGE;
}

bool content_is_spam(const struct content *c)
{
    return c->outcome == CONTENT_SPAM || c->outcome == CONTENT_REJECTED;
}

static void judge(struct content *c, const struct rspamd_answer *a)
{
    const struct policy_content *p = &c->policy->content;
    c->outcome = outcome_of(a);
    c->act = c->outcome == CONTENT_SPAM       ? (enum policy_content_act)p->on_spam
             : c->outcome == CONTENT_REJECTED ? (enum policy_content_act)p->on_reject
                                              : POLICY_CONTENT_ACCEPT;
    c->defer = c->outcome == CONTENT_SOFT;
    snprintf(c->text, sizeof c->text, "%s %.2f/%.2f%s%s", a->name, a->score, a->required,
             a->symbols[0] != '\0' ? " " : "", a->symbols);
    snprintf(c->refusal, sizeof c->refusal, "%s",
             a->message[0] != '\0' ? a->message
             : c->defer            ? "This message cannot be taken now, try again later"
                                   : "This message looks like spam");
    if (c->act == POLICY_CONTENT_ADD_HEADER)
        snprintf(c->fields, sizeof c->fields,
                 "X-Spam: Yes\r\nX-Spam-Status: Yes, score=%.2f required=%.2f\r\n", a->score, a->required);
}

static void no_verdict(struct content *c, enum content_outcome outcome, const char *why)
{
    c->outcome = outcome;
    c->act = POLICY_CONTENT_ACCEPT;
    c->defer = outcome != CONTENT_TOO_LARGE && c->policy->content.defer;
    snprintf(c->text, sizeof c->text, "unchecked: %s", why);
    snprintf(c->refusal, sizeof c->refusal, "The content cannot be checked just now, try again later");
}

static void count(struct content *c, bool asked)
{
    struct metrics *m = c->w->node->metrics;
    metrics_add(m, c->w->index, METRICS_CONTENT_CHECKS, (uint32_t)c->outcome, 1);
    if (asked)
        metrics_observe_us(m, c->w->index, METRICS_CONTENT_SECONDS, (clock_mono_ns() - c->begun_ns) / 1000);
}

static void run_answered(struct worker *w, struct worker_msg *msg)
{
    (void)w;
    struct content *c = LIST_ITEM(msg, struct content, msg);
    c->away = false;
    if (c->done == NULL) { /* nobody waits any more */
        content_free(c);
        return;
    }
    if (c->job.result == CHECKER_ANSWERED)
        judge(c, &c->job.answer);
    else
        no_verdict(c, CONTENT_UNCHECKED, c->job.why);
    count(c, true);
    drop_copy(c);
    c->done(c->ctx);
}

/* On the checker's thread. */
static void answered_cb(struct checker_job *job)
{
    struct content *c = LIST_ITEM(job, struct content, job);
    worker_post_always(c->w, &c->msg);
}

bool content_ask(struct content *c, const struct rspamd_about *about, void (*done)(void *ctx), void *ctx)
{
    ensure(!c->away);
    c->begun_ns = clock_mono_ns();
    bool ready = !c->large && !c->busy && rspamd_put_about(&c->about, about) == 0;
    if (ready) {
        c->job.conf = &c->policy->content;
        c->job.about = buf_span(&c->about);
        c->job.content = buf_span(&c->copy);
        c->job.done = answered_cb;
        c->done = done;
        c->ctx = ctx;
        c->away = true;
        if (checker_ask(c->w->node->checker, &c->job) == 0)
            return false; /* it is the checker's: nothing of it may be touched */
        c->away = false;
    }
    if (c->large)
        no_verdict(c, CONTENT_TOO_LARGE, "larger than content.max_size");
    else
        no_verdict(c, CONTENT_BUSY, "too much is being checked");
    count(c, false);
    drop_copy(c);
    return true;
}

/* ---- the servers --------------------------------------------------------------------------------------- */

bool content_trouble(struct node *n, const struct policy *p, uint32_t i, char out[400])
{
    uint32_t down = 0;
    for (uint32_t k = 0; p != NULL && k < p->content.servers.n; k++) {
        struct server_told s;
        checker_server(n->checker, p->content.servers.items[k], &s);
        if (!s.down || down++ != i)
            continue;
        snprintf(out, 400, "content check: %s does not answer (%s)", p->content.servers.items[k], s.why);
        return true;
    }
    if (down == 0 || i != down || down < p->content.servers.n)
        return false;
    snprintf(out, 400, "content check: no server answers: mail is %s",
             p->content.defer ? "deferred" : "accepted unchecked");
    return true;
}
