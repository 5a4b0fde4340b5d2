/* One attempt at an item. */
#include "node/core/attempt.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/conn_grey.h"
#include "node/core/node.h"
#include "node/smtp/reply_parser.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void attempt_free(struct attempt *a)
{
    if (a == NULL)
        return;
    if (a->info != NULL)
        spool_info_free(a->info);
    free(a->site);
    free(a->rcpts);
    free(a->client_rcpts);
    free(a->results);
    free(a->grey);
    for (uint32_t i = 0; a->moves != NULL && i < a->nrcpts; i++)
        free(a->moves[i].text);
    free(a->moves);
    free(a);
}

/* The message can't be read: nothing is sent until an operator has looked at it. */
static int hold_damaged(struct egress *e, struct queue_item *item, int err)
{
    char id[SPOOL_ID_TEXT];
    spool_id_format(queue_item_id(item), id);
    log_error("spool", "%s cannot be read and is held: %s", id, err_text(err));
    queue_hold(e->queue, item);
    queue_requeue(e->queue, item, egress_now_ms(e));
    return ERR_CORRUPT;
}

int attempt_load(struct egress *e, const struct queue_item_view *v, struct attempt **out)
{
    struct attempt *a = calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    a->e = e;
    a->taken_ns = clock_mono_ns();
    int err = spool_info(e->w->node->spool, v->id, &a->info);
    if (err != 0) {
        a->info = NULL;
        goto fail;
    }
    uint32_t n = a->nrcpts = v->nrcpts;
    a->attempts = (uint16_t)(v->attempts + (v->attempts < UINT16_MAX));
    struct span key = queue_site_key(v->site);
    a->site = strndup(key.p, key.n);
    a->rcpts = malloc(n * sizeof *a->rcpts);
    a->client_rcpts = malloc(n * sizeof *a->client_rcpts);
    a->results = calloc(n, sizeof *a->results);
    a->grey = calloc(n, sizeof *a->grey);
    err = -ENOMEM;
    if (a->site == NULL || a->rcpts == NULL || a->client_rcpts == NULL || a->results == NULL ||
        a->grey == NULL)
        goto fail;
    memcpy(a->rcpts, v->rcpts, n * sizeof *a->rcpts);
    for (uint32_t i = 0; i < n; i++) {
        ensure(a->rcpts[i] < a->info->env.nrcpts);
        const struct envelope_rcpt *r = &a->info->env.rcpts[a->rcpts[i]];
        a->client_rcpts[i] =
            (struct smtp_client_rcpt){ .address = r->address, .orcpt = r->orcpt, .notify = r->notify };
    }
    (void)grey_pin(a->info, a->rcpts, n, a->attempts, &a->pin, &a->pin_host);
    *out = a;
    return 0;
fail:
    attempt_free(a);
    return err;
}

/* At most `max` recipients stay with the item in hand; the others go back. */
static struct queue_item *cap_recipients(struct egress *e, struct queue_item *item, uint32_t max)
{
    struct queue_item_view v;
    queue_item_view(e->queue, item, &v);
    if (max == 0 || v.nrcpts <= max)
        return item;
    struct queue_item *taken = queue_split(e->queue, item, v.rcpts, max);
    if (taken == NULL)
        return item; /* no memory: all of them at once, then */
    queue_requeue(e->queue, item, egress_now_ms(e));
    return taken;
}

int attempt_new(struct egress *e, struct queue_item *item, uint32_t max, struct attempt **out)
{
    struct queue_item_view v;
    item = cap_recipients(e, item, max);
    queue_item_view(e->queue, item, &v);
    int err = attempt_load(e, &v, out);
    if (err == 0) {
        (*out)->item = item;
        return 0;
    }
    if (err == ERR_NOT_FOUND)
        queue_done(e->queue, item); /* an operator was faster */
    else if (err == -ENOMEM)
        queue_requeue(e->queue, item, egress_now_ms(e));
    else
        return hold_damaged(e, item, err);
    return err;
}

void attempt_results(struct attempt *a, const struct smtp_client_result *results)
{
    for (uint32_t i = 0; i < a->nrcpts; i++) {
        a->results[i].class = results[i].class;
        a->results[i].stage = results[i].stage;
        a->results[i].local = results[i].local;
        smtp_reply_text_copy(&a->results[i].reply, &results[i].reply);
    }
}

void attempt_result_all(struct attempt *a, const struct smtp_client_result *result)
{
    for (uint32_t i = 0; i < a->nrcpts; i++)
        a->results[i] = *result;
}

void attempt_fail_all(struct attempt *a, enum smtp_client_class class, enum smtp_client_stage stage,
                      unsigned code, const char *enhanced, const char *text)
{
    struct smtp_client_result result = { .class = class, .stage = stage, .local = true };
    result.reply.code = (uint16_t)code;
    (void)smtp_enhanced_parse(span_str(enhanced), result.reply.enhanced);
    smtp_reply_text_add(&result.reply, span_str(text));
    attempt_result_all(a, &result);
}

enum bounce_class attempt_meaning(const struct smtp_client_result *r, struct bounce_reply *reply)
{
    bounce_reply_read(span_of(r->reply.text, r->reply.len), reply);
    reply->code = r->reply.code;
    memcpy(reply->status, r->reply.enhanced, sizeof reply->status);
    return bounce_classify(reply);
}
