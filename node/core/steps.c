/* What happened to a recipient before its end: see steps.h. */
#include "node/core/steps.h"

#include "base/clock.h"
#include "node/core/conn_grey.h"
#include "node/core/node.h"
#include "node/core/route.h"

#include <stdio.h>
#include <stdlib.h>

/* "451 4.7.1 the words" */
static struct span reply_format(const struct event *e, char out[1200])
{
    const uint8_t *s = e->enhanced;
    int n = s[0] != 0 ? snprintf(out, 1200, "%u %u.%u.%u %.*s", e->code, s[0], s[1], s[2], (int)e->text.n,
                                 e->text.p)
                      : snprintf(out, 1200, "%u %.*s", e->code, (int)e->text.n, e->text.p);
    return span_of(out, n < 1200 ? (size_t)n : 1199);
}

void steps_deferred(struct worker *w, const struct attempt *a, uint32_t i, const struct conn *c,
                    const struct event *e)
{
    char reply[1200], source[IP_TEXT_MAX];
    struct grey_mark mark;
    if (w->node->history == NULL)
        return;
    const struct envelope *env = &a->info->env;
    struct history_step step = { .rcpt = a->rcpts[i],
                                 .kind = HISTORY_STEP_DEFERRED,
                                 .greylisted =
                                     c != NULL && attempt_grey_mark(a, i, c, &mark, source) && mark.sure,
                                 .attempt = a->attempts,
                                 .at_ms = clock_wall_ms(),
                                 .next_ms = e->next_ms,
                                 .reply = reply_format(e, reply),
                                 .site = e->site,
                                 .mx = e->mx,
                                 .mx_ip = e->mx_ip,
                                 .source_ip = e->source_ip,
                                 .tls = e->tls };
    history_steps(w->node->history, env->id, env->arrival_ms, &step, 1);
}

static void each_recipient(struct node *n, uint64_t id, int64_t arrival_ms, const uint32_t *rcpts,
                           uint32_t nrcpts, const struct history_step *step)
{
    struct history_step *steps = n->history != NULL && nrcpts > 0 ? calloc(nrcpts, sizeof *steps) : NULL;
    for (uint32_t i = 0; steps != NULL && i < nrcpts; i++) {
        steps[i] = *step;
        steps[i].rcpt = rcpts != NULL ? rcpts[i] : i;
        steps[i].at_ms = clock_wall_ms();
    }
    if (steps != NULL)
        history_steps(n->history, id, arrival_ms, steps, nrcpts);
    free(steps);
}

void steps_operator(struct worker *w, const struct queue_item_view *v, enum history_step_kind kind,
                    const char *by, const char *remark)
{
    struct history_step step = {
        .kind = (uint8_t)kind, .attempt = v->attempts, .reply = span_str(remark), .who = span_str(by)
    };
    each_recipient(w->node, v->id, v->arrival_ms, v->rcpts, v->nrcpts, &step);
}

static struct history_verdict verdict_of(const struct content *c)
{
    static const uint8_t done[] = { [POLICY_CONTENT_ACCEPT] = HISTORY_DONE_ACCEPTED,
                                    [POLICY_CONTENT_ADD_HEADER] = HISTORY_DONE_MARKED,
                                    [POLICY_CONTENT_HOLD] = HISTORY_DONE_HELD,
                                    [POLICY_CONTENT_REJECT] = HISTORY_DONE_REJECTED };
    return (struct history_verdict){ .at_ms = clock_wall_ms(),
                                     .done = c->defer ? HISTORY_DONE_DEFERRED : done[c->act],
                                     .text = span_str(c->text) };
}

void steps_checked(struct node *n, uint64_t id, const struct content *c)
{
    struct history_verdict v = verdict_of(c);
    if (n->history != NULL)
        history_checked(n->history, id, &v);
}

void steps_rejected(struct node *n, const struct envelope *env, const struct content *c,
                    const struct smtp_reply *reply)
{
    char text[512];
    struct history_verdict v = verdict_of(c);
    snprintf(text, sizeof text, "%u %s %s", reply->code, reply->enhanced, reply->text);
    if (n->history != NULL && content_was_checked(c))
        history_rejected(n->history, env, &v, span_str(text));
}

void steps_arrived(struct node *n, uint64_t id, const char *from)
{
    struct spool_info *info;
    struct history_step step = { .kind = HISTORY_STEP_ARRIVED, .who = span_str(from) };
    if (n->history == NULL || spool_info(n->spool, id, &info) != 0)
        return;
    each_recipient(n, id, info->env.arrival_ms, NULL, info->env.nrcpts, &step);
    spool_info_free(info);
}

/* ---- for track ---- */

/* A place in the buffer, which may still move. */
static struct span keep(struct buf *b, struct span text)
{
    size_t at = b->len;
    return buf_put_span(b, text) == 0 ? span_of((const char *)at, text.n) : span_of((const char *)at, 0);
}

static void on_step(void *arg, const struct history_step *h)
{
    static const char *const kinds[] = { [HISTORY_STEP_DEFERRED] = "deferred",
                                         [HISTORY_STEP_HELD] = "held",
                                         [HISTORY_STEP_RELEASED] = "released",
                                         [HISTORY_STEP_ARRIVED] = "arrived",
                                         [HISTORY_STEP_CHECKED] = "checked" };
    static const char *const done[] = { [HISTORY_DONE_ACCEPTED] = "accepted",
                                        [HISTORY_DONE_MARKED] = "marked",
                                        [HISTORY_DONE_HELD] = "held",
                                        [HISTORY_DONE_REJECTED] = "rejected",
                                        [HISTORY_DONE_DEFERRED] = "deferred" };
    const bool checked = h->kind == HISTORY_STEP_CHECKED;
    struct steps *s = arg;
    if (s->n == sizeof s->rows / sizeof s->rows[0])
        return;
    s->rows[s->n++] = (struct admin_step){
        .number = h->number,
        .what = h->kind < sizeof kinds / sizeof kinds[0] && kinds[h->kind] != NULL ? kinds[h->kind] : "other",
        .done = span_str(h->done < sizeof done / sizeof done[0] ? done[h->done] : NULL),
        .greylisted = h->greylisted,
        .attempt = h->attempt,
        .at_ms = h->at_ms,
        .next_ms = h->next_ms,
        .reply = keep(&s->texts, checked ? SPAN_LIT("") : h->reply),
        .verdict = keep(&s->texts, checked ? h->reply : SPAN_LIT("")),
        .pool = keep(&s->texts, route_key_pool(h->site)),
        .mx = keep(&s->texts, h->mx),
        .mx_ip = keep(&s->texts, h->mx_ip),
        .source_ip = keep(&s->texts, h->source_ip),
        .tls = keep(&s->texts, h->tls),
        .who = keep(&s->texts, h->who),
    };
}

int steps_read(struct history_reader *r, uint64_t id, uint32_t rcpt, struct steps *out)
{
    out->n = 0;
    buf_init(&out->texts, 1u << 20);
    int err = history_steps_read(r, id, rcpt, on_step, out);
    for (uint32_t i = 0; i < out->n; i++) {
        struct admin_step *s = &out->rows[i];
        struct span *texts[] = { &s->reply, &s->verdict,   &s->pool, &s->mx,
                                 &s->mx_ip, &s->source_ip, &s->tls,  &s->who };
        for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++)
            texts[k]->p = texts[k]->n > 0 ? out->texts.data + (size_t)texts[k]->p : "";
    }
    return err != 0 ? err : buf_err(&out->texts);
}

void steps_fini(struct steps *s)
{
    buf_fini(&s->texts);
}
