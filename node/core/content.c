/* One message's check of content: see content.h. */
#include "node/core/content_impl.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "node/core/node.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

_Static_assert((int)CONTENT_QUARANTINED + 1 == (int)METRICS_CONTENT_OUTCOMES, "each has a label");

static void run_answered(struct worker *w, struct worker_msg *msg);

static bool has_filters(const struct policy_content *p, uint8_t class)
{
    uint8_t all = 0;
    for (uint32_t i = 0; i < p->nmilters; i++)
        all |= p->milters[i].classes;
    return (all >> class & 1) != 0;
}

struct content *content_new(struct worker *w, struct policy *policy, uint8_t class, int *err)
{
    *err = 0;
    if (policy == NULL || (policy->content.classes >> class & 1) == 0)
        return NULL;
    bool filters = has_filters(&policy->content, class);
    if (policy->content.servers.n == 0 && !filters)
        return NULL;
    struct content *c = calloc(1, sizeof *c);
    if (c == NULL) {
        *err = -ENOMEM;
        return NULL;
    }
    c->w = w;
    c->policy = policy_hold(policy);
    c->class = class;
    c->filters = filters;
    c->msg.run = run_answered;
    buf_init(&c->copy, (size_t)policy->content.max_size);
    buf_init(&c->about, RSPAMD_ABOUT_MAX);
    buf_init(&c->script, MILTER_SCRIPT_MAX);
    buf_init(&c->head, (size_t)policy->content.max_size);
    return c;
}

/* Without its copy: nobody asks for it any more. */
static void drop_copy(struct content *c)
{
    buf_fini(&c->copy);
    buf_fini(&c->script);
    buf_init(&c->copy, 0);
    buf_init(&c->script, 0);
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
    atomic_fetch_sub(&c->w->node->content_bytes, c->head_charged);
    milter_fields_fini(&c->changing);
    buf_fini(&c->copy);
    buf_fini(&c->about);
    buf_fini(&c->script);
    buf_fini(&c->head);
    policy_rele(c->policy);
    free(c);
}

/* False: it is too much for the node. */
static bool charge(struct content *c, uint64_t *charged, size_t bytes)
{
    *charged += bytes;
    return atomic_fetch_add(&c->w->node->content_bytes, bytes) + bytes <= CONTENT_BYTES_MAX;
}

void content_feed(struct content *c, struct span bytes)
{
    if (c->large || c->busy || bytes.n == 0)
        return;
    bool room = charge(c, &c->charged, bytes.n);
    c->large = c->copy.len + bytes.n > c->policy->content.max_size;
    c->busy = !c->large && (!room || buf_put_span(&c->copy, bytes) != 0);
    if (c->large || c->busy)
        drop_copy(c);
}

bool content_head(struct content *c, struct span header)
{
    content_feed(c, header);
    if (!c->filters || c->large || c->busy)
        return false;
    c->busy = !charge(c, &c->head_charged, header.n) || buf_put_span(&c->head, header) != 0;
    if (c->busy)
        drop_copy(c);
    c->head_bytes = header.n;
    c->kept_back = !c->busy;
    return c->kept_back;
}

struct span content_header(const struct content *c)
{
    return buf_span(&c->head);
}

void content_describe(struct content *c, const struct milter_about *about, const struct envelope_rcpt *rcpts,
                      uint32_t n)
{
    if (c->large || c->busy)
        return;
    int err = milter_script_begin(&c->script, about);
    for (uint32_t i = 0; i < n && err == 0; i++)
        err = milter_script_rcpt(&c->script, rcpts[i].address);
    if (err == 0)
        err = milter_script_end(&c->script);
    c->busy = err != 0 || !charge(c, &c->charged, c->script.len);
}

/* ---- the verdict --------------------------------------------------------------------------------------- */

void content_say(struct content *c, const char *fmt, ...)
{
    size_t n = strlen(c->text);
    va_list ap;
    if (n > 0 && n + 2 < sizeof c->text)
        n += (size_t)snprintf(c->text + n, sizeof c->text - n, "; ");
    va_start(ap, fmt);
    vsnprintf(c->text + n, sizeof c->text - n, fmt, ap);
    va_end(ap);
}

void content_found(struct content *c, enum content_outcome outcome)
{
    static const uint8_t grave[] = {
        [CONTENT_CLEAN] = 0, [CONTENT_TOO_LARGE] = 1, [CONTENT_BUSY] = 2,     [CONTENT_UNCHECKED] = 3,
        [CONTENT_SPAM] = 4,  [CONTENT_QUARANTINED] = 5, [CONTENT_SOFT] = 6, [CONTENT_REJECTED] = 7,
    };
    if (grave[outcome] > grave[c->outcome])
        c->outcome = outcome;
}

bool content_was_checked(const struct content *c)
{
    return !c->unseen;
}

bool content_settled(const struct content *c)
{
    return c->defer || c->act == POLICY_CONTENT_REJECT;
}

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

static void judge(struct content *c, const struct rspamd_answer *a)
{
    const struct policy_content *p = &c->policy->content;
    c->outcome = outcome_of(a);
    c->spam = c->outcome == CONTENT_SPAM || c->outcome == CONTENT_REJECTED;
    c->act = c->outcome == CONTENT_SPAM       ? (enum policy_content_act)p->on_spam
             : c->outcome == CONTENT_REJECTED ? (enum policy_content_act)p->on_reject
                                              : POLICY_CONTENT_ACCEPT;
    c->defer = c->outcome == CONTENT_SOFT;
    content_say(c, "%s %.2f/%.2f%s%s", a->name, a->score, a->required, a->symbols[0] != '\0' ? " " : "",
                a->symbols);
    snprintf(c->refusal, sizeof c->refusal, "%s",
             a->message[0] != '\0' ? a->message
             : c->defer            ? "This message cannot be taken now, try again later"
                                   : "This message looks like spam");
    if (c->act == POLICY_CONTENT_ADD_HEADER)
        snprintf(c->fields, sizeof c->fields,
                 "X-Spam: Yes\r\nX-Spam-Status: Yes, score=%.2f required=%.2f\r\n", a->score, a->required);
}

static void no_verdict(struct content *c, enum content_outcome outcome, bool defer, const char *why)
{
    content_found(c, outcome);
    c->defer = c->unseen = defer;
    content_say(c, "unchecked: %s", why);
    snprintf(c->refusal, sizeof c->refusal, "The content cannot be checked just now, try again later");
}

static void count(struct content *c, bool asked)
{
    struct metrics *m = c->w->node->metrics;
    metrics_add(m, c->w->index, METRICS_CONTENT_CHECKS, (uint32_t)c->outcome, 1);
    if (asked)
        metrics_observe_us(m, c->w->index, METRICS_CONTENT_SECONDS, (clock_mono_ns() - c->begun_ns) / 1000);
}

/* On the checker's thread. */
static void answered_cb(struct checker_job *job)
{
    struct content *c = LIST_ITEM(job, struct content, job);
    worker_post_always(c->w, &c->msg);
}

/* True: they are asked. */
static bool ask_servers(struct content *c)
{
    c->asked = 1;
    if (c->policy->content.servers.n == 0)
        return false;
    c->job.conf = &c->policy->content;
    c->job.about = buf_span(&c->about);
    c->job.content = buf_span(&c->copy);
    c->job.done = answered_cb;
    c->away = true;
    if (checker_ask(c->w->node->checker, &c->job) == 0)
        return true; /* it is the checker's: nothing of it may be touched */
    c->away = false;
    no_verdict(c, CONTENT_BUSY, c->policy->content.defer, "too much is being checked");
    return false;
}

/* The next one. False: all have spoken, or the rest need not. */
static bool ask_next(struct content *c)
{
    return (c->asked == 0 && ask_servers(c)) || content_filter_ask(c);
}

/* What it comes to. */
static void settle(struct content *c, bool asked)
{
    if (c->code == 0)
        c->code = c->defer ? 451 : 550;
    if (c->enhanced[0] == '\0')
        snprintf(c->enhanced, sizeof c->enhanced, c->code < 500 ? "4.7.1" : "5.7.1");
    count(c, asked);
    drop_copy(c);
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
    if (c->asked > 1)
        content_filter_answered(c);
    else if (c->job.result == CHECKER_ANSWERED)
        judge(c, &c->job.answer);
    else
        no_verdict(c, CONTENT_UNCHECKED, c->policy->content.defer, c->job.why);
    if (ask_next(c))
        return;
    settle(c, true);
    c->done(c->ctx);
}

/* Somebody who is not asked would rather have it deferred. */
static bool any_defers(const struct content *c)
{
    const struct policy_content *p = &c->policy->content;
    bool defers = p->servers.n > 0 && p->defer;
    for (uint32_t i = 0; i < p->nmilters; i++)
        defers = defers || (p->milters[i].defer && (p->milters[i].classes >> c->class & 1) != 0);
    return defers;
}

bool content_ask(struct content *c, const struct rspamd_about *about, void (*done)(void *ctx), void *ctx)
{
    ensure(!c->away && c->asked == 0);
    c->begun_ns = clock_mono_ns();
    c->done = done;
    c->ctx = ctx;
    c->busy = c->busy || (!c->large && rspamd_put_about(&c->about, about) != 0);
    if (c->large)
        no_verdict(c, CONTENT_TOO_LARGE, false, "larger than content.max_size");
    else if (c->busy)
        no_verdict(c, CONTENT_BUSY, any_defers(c), "too much is being checked");
    else if (ask_next(c))
        return false;
    settle(c, false);
    return true;
}

/* ---- servers and filters ------------------------------------------------------------------------------- */

static bool server_trouble(struct node *n, const struct policy *p, uint32_t *i, char out[400])
{
    uint32_t down = 0;
    for (uint32_t k = 0; k < p->content.servers.n; k++) {
        struct server_told s;
        checker_server(n->checker, p->content.servers.items[k], &s);
        if (!s.down || down++ != *i)
            continue;
        snprintf(out, 400, "content check: %s does not answer (%s)", p->content.servers.items[k], s.why);
        return true;
    }
    bool all = down > 0 && down == p->content.servers.n;
    if (all && *i == down) {
        snprintf(out, 400, "content check: no server answers: mail is %s",
                 p->content.defer ? "deferred" : "accepted unchecked");
        return true;
    }
    *i -= down + all;
    return false;
}

bool content_trouble(struct node *n, const struct policy *p, uint32_t i, char out[400])
{
    if (p == NULL || server_trouble(n, p, &i, out))
        return p != NULL;
    for (uint32_t k = 0; k < p->content.nmilters; k++) {
        const struct policy_milter *m = &p->content.milters[k];
        struct server_told s;
        milters_tell(n->milters, m->socket, &s);
        if (!s.down || i-- > 0)
            continue;
        snprintf(out, 400, "content check: milter %s at %.120s does not answer: mail is %s (%.100s)", m->name, m->socket,
                 m->defer ? "deferred" : "accepted unchecked", s.why);
        return true;
    }
    return false;
}
