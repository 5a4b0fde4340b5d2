/* A message's way through the policy's filters (milters): see content.h. The worker's thread. */
#include "node/core/content_impl.h"

#include "base/err.h"
#include "node/core/node.h"

#include <stdio.h>

/* On the filters' thread. */
static void answered_cb(struct milter_job *job)
{
    struct content *c = LIST_ITEM(job, struct content, filter);
    worker_post_always(c->w, &c->msg);
}

static const struct policy_milter *asked(const struct content *c)
{
    return &c->policy->content.milters[c->asked - 2];
}

static void unanswered(struct content *c, enum content_outcome outcome, const char *why)
{
    content_found(c, outcome);
    content_say(c, "%s: unchecked: %s", asked(c)->name, why);
    if (!asked(c)->defer)
        return;
    c->defer = c->unseen = true;
    snprintf(c->refusal, sizeof c->refusal, "The content cannot be checked just now, try again later");
}

static bool ask(struct content *c)
{
    if (milter_fields_read(&c->changing, buf_span(&c->head)) != 0) {
        unanswered(c, CONTENT_BUSY, "no memory");
        return false;
    }
    c->filter.conf = asked(c);
    c->filter.checks = c->policy->content.checks;
    c->filter.message = (struct milter_message){ .script = buf_span(&c->script),
                                                 .fields = &c->changing,
                                                 .body = span_sub(buf_span(&c->copy), c->head_bytes) };
    c->filter.done = answered_cb;
    c->away = true;
    if (milters_ask(c->w->node->milters, &c->filter) == 0)
        return true; /* it is the filters': nothing of it may be touched */
    c->away = false;
    milter_fields_fini(&c->changing);
    unanswered(c, CONTENT_BUSY, "too much is being checked");
    return false;
}

bool content_filter_ask(struct content *c)
{
    const struct policy_content *p = &c->policy->content;
    while (c->kept_back && !content_settled(c) && c->asked - 1 < p->nmilters) {
        c->asked++;
        if ((asked(c)->classes >> c->class & 1) != 0 && ask(c))
            return true;
    }
    return false;
}

/* ---- what it said -------------------------------------------------------------------------------------- */

/* The header as the filter left it. */
static int keep_changes(struct content *c)
{
    struct buf head;
    buf_init(&head, c->head.len + MILTER_CHANGED_BYTES);
    int err = milter_fields_put(&c->changing, &head);
    if (err != 0) {
        buf_fini(&head);
        return err;
    }
    atomic_fetch_add(&c->w->node->content_bytes, head.len);
    atomic_fetch_sub(&c->w->node->content_bytes, c->head_charged);
    c->head_charged = head.len;
    buf_fini(&c->head);
    c->head = head;
    c->eight_bit = c->eight_bit || c->changing.eight_bit;
    return 0;
}

/* Between the recipient that it is about, if there is one, and its words. */
static const char *colon(const struct milter_answer *a)
{
    return a->rcpt[0] != '\0' ? ": " : "";
}

/* The reply in its words, if it gave some: to the dot, one for all recipients. */
static void refuse(struct content *c, const struct milter_answer *a)
{
    c->code = a->code == 421 ? 451 : a->code; /* the connection stays: other messages may come on it */
    snprintf(c->enhanced, sizeof c->enhanced, "%s", a->enhanced);
    snprintf(c->refusal, sizeof c->refusal, "%s%s%s", a->rcpt, colon(a),
             a->text[0] != '\0' ? a->text
             : c->defer         ? "This message cannot be taken now, try again later"
                                : "This message is refused");
}

static void obey(struct content *c, const struct milter_answer *a)
{
    const char *blank = a->text[0] != '\0' || a->rcpt[0] != '\0' ? " " : "";
    switch (a->verdict) {
    case MILTER_ACCEPTED:
        content_say(c, "%s: accept", asked(c)->name);
        return;
    case MILTER_REJECTED:
        content_found(c, CONTENT_REJECTED);
        content_say(c, "%s: reject%s%s%s%s", asked(c)->name, blank, a->rcpt, colon(a), a->text);
        c->act = POLICY_CONTENT_REJECT;
        c->spam = true;
        refuse(c, a);
        return;
    case MILTER_DEFERRED:
        content_found(c, CONTENT_SOFT);
        content_say(c, "%s: tempfail%s%s%s%s", asked(c)->name, blank, a->rcpt, colon(a), a->text);
        c->defer = true;
        refuse(c, a);
        return;
    case MILTER_QUARANTINED:
    case MILTER_UNDOABLE:
        content_found(c, CONTENT_QUARANTINED);
        content_say(c, "%s: quarantine%s%s", asked(c)->name, blank, a->text);
        c->act = POLICY_CONTENT_HOLD;
        c->spam = c->spam || a->verdict == MILTER_QUARANTINED;
        return;
    }
}

void content_filter_answered(struct content *c)
{
    int err = 0;
    if (!c->filter.answered)
        unanswered(c, CONTENT_UNCHECKED, c->filter.why);
    else
        obey(c, &c->filter.answer);
    if (c->filter.answered && c->filter.answer.changed && !content_settled(c))
        err = keep_changes(c);
    if (err != 0)
        unanswered(c, CONTENT_BUSY, err_text(err));
    milter_fields_fini(&c->changing);
}
