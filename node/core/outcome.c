/* What came of an attempt is recorded.
 *
 * Recipients go one of five ways: ended without a report (one record in the spool), ended with one (the
 * report's own commit record ends them, dsn_job.c), deferred, not tried, or moved to another pool, where they
 * are tried at once. The queue's item is divided accordingly.
 */
#include "node/core/outcome.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/conn_grey.h"
#include "node/core/dsn_job.h"
#include "node/core/node.h"
#include "node/core/report.h"
#include "node/mail/dsn.h"
#include "node/mail/status.h"
#include "node/shaping/hold_mark.h"
#include "node/smtp/reply_parser.h"

#include <errno.h>
#include <stdlib.h>

enum way { WAY_ENDED, WAY_REPORTED, WAY_DEFERRED, WAY_AGAIN, WAY_MOVED };
#define WAYS 5

struct settling {
    struct attempt *a;
    const struct conn *c;
    struct mail_dsn_decision *decisions; /* by recipient of the attempt */
    uint8_t *ways;
    uint32_t count[WAYS];
    uint32_t *picked; /* room for the recipients of one way */
    struct spool_rcpt_update *updates;
    struct buf replies; /* the updates' replies */
    struct spool_info *now; /* what was recorded meanwhile; NULL: not asked for, or it cannot be read */
};

static void settling_fini(struct settling *s)
{
    free(s->decisions);
    free(s->ways);
    free(s->picked);
    free(s->updates);
    buf_fini(&s->replies);
    if (s->now != NULL)
        spool_info_free(s->now);
}

static int settling_init(struct settling *s, struct attempt *a, const struct conn *c)
{
    uint32_t n = a->nrcpts;
    *s = (struct settling){ .a = a,
                            .c = c,
                            .decisions = calloc(n, sizeof *s->decisions),
                            .ways = calloc(n, 1),
                            .picked = calloc(n, sizeof *s->picked),
                            .updates = calloc(n, sizeof *s->updates) };
    buf_init(&s->replies, (size_t)n * (SMTP_REPLY_TEXT_MAX + 64));
    if (s->decisions != NULL && s->ways != NULL && s->picked != NULL && s->updates != NULL)
        return 0;
    settling_fini(s);
    return -ENOMEM;
}

static struct mail_dsn_decision decide(const struct attempt *a, uint32_t i, enum mail_dsn_event event,
                                       bool next_hop_dsn)
{
    const struct envelope *env = &a->info->env;
    struct mail_dsn_case c = { .event = event,
                               .notify = env->rcpts[a->rcpts[i]].notify,
                               .ret = env->ret,
                               .null_sender = env->mail_from.n == 0,
                               .is_report = (env->flags & ENVELOPE_DSN) != 0,
                               .next_hop_dsn = next_hop_dsn,
                               .default_full = a->e->w->config->bounces.return_full };
    return mail_dsn_due(&c);
}

static void classify(struct settling *s, enum mail_dsn_event failed)
{
    struct attempt *a = s->a;
    struct pool_mark mark;
    for (uint32_t i = 0; i < a->nrcpts; i++) {
        enum way way = WAY_AGAIN;
        switch (a->results[i].class) {
        case SMTP_CLIENT_OK:
            s->decisions[i] =
                decide(a, i, MAIL_DSN_EVENT_ACCEPTED, s->c != NULL && smtp_client_has_dsn(s->c->client));
            way = s->decisions[i].report ? WAY_REPORTED : WAY_ENDED;
            break;
        case SMTP_CLIENT_PERMANENT:
            s->decisions[i] = decide(a, i, failed, false);
            way = s->decisions[i].report ? WAY_REPORTED : WAY_ENDED;
            break;
        case SMTP_CLIENT_TEMPORARY:
            way = reroute_mark(a, i, &mark) ? WAY_MOVED : WAY_DEFERRED;
            break;
        case SMTP_CLIENT_NOT_TRIED:
            break;
        }
        s->ways[i] = (uint8_t)way;
        s->count[way]++;
    }
}

static uint32_t pick(struct settling *s, enum way way)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->a->nrcpts; i++)
        if (s->ways[i] == way)
            s->picked[n++] = s->a->rcpts[i];
    return n;
}

static void change_way(struct settling *s, enum way from, enum way to)
{
    for (uint32_t i = 0; i < s->a->nrcpts; i++)
        if (s->ways[i] == from)
            s->ways[i] = (uint8_t)to;
    s->count[to] += s->count[from];
    s->count[from] = 0;
}

/* Takes the recipients of one way out of the attempt's item. NULL: no memory (they are deferred), or none. */
static struct queue_item *part(struct settling *s, enum way way)
{
    struct egress *e = s->a->e;
    uint32_t n = pick(s, way), left = 0;
    if (n == 0 || s->a->item == NULL)
        return NULL;
    struct queue_item_view v;
    queue_item_view(e->queue, s->a->item, &v);
    left = v.nrcpts;
    struct queue_item *item = s->a->item;
    if (n == left) {
        s->a->item = NULL;
        return item;
    }
    item = queue_split(e->queue, item, s->picked, n);
    if (item == NULL)
        change_way(s, way, WAY_DEFERRED);
    return item;
}

/* With what is kept beside it of recipients that stay. */
static struct span reply_text(struct settling *s, uint32_t i)
{
    char text[GREY_TEXT_MAX], source[IP_TEXT_MAX];
    struct grey_mark mark;
    struct pool_mark pool;
    size_t from = s->replies.len;
    (void)smtp_reply_text_put(&s->replies, &s->a->results[i].reply);
    size_t n = s->replies.len - from;
    bool stays = s->ways[i] == WAY_DEFERRED || s->ways[i] == WAY_MOVED;
    bool grey = s->ways[i] == WAY_DEFERRED && n > 0 && attempt_grey_mark(s->a, i, s->c, &mark, source);
    bool moved = reroute_mark(s->a, i, &pool) || pool.n > 0;
    struct hold_mark hold;
    struct span was;
    char kept[GREY_TEXT_MAX];
    const struct spool_info *info = s->now != NULL ? s->now : s->a->info;
    if (stays && hold_mark_parse(info->rcpts[s->a->rcpts[i]].reply, &hold, &was)) {
        struct span marked = hold_mark_format(&hold, span_of(s->replies.data + from, n), kept);
        s->replies.len = from;
        (void)buf_put_span(&s->replies, marked);
        n = s->replies.len - from;
    }
    if (stays && (grey || moved)) {
        struct span marked = pool_mark_format(moved ? &pool : NULL, grey ? &mark : NULL,
                                              span_of(s->replies.data + from, n), text);
        s->replies.len = from;
        (void)buf_put_span(&s->replies, marked);
        n = s->replies.len - from;
    }
    return span_of((const char *)from, n > 512 ? 512 : n); /* a place: the buffer may still move */
}

/* An item whose recipients stay, and when they are tried again. */
struct stays {
    struct queue_item *item; /* NULL: none */
    int64_t next_ms;
    bool held, delay_told;
};

/* The attempt counts; at: the time, 0: by the schedule. */
static void stay(struct settling *s, struct queue_item *item, enum way way, int64_t at, int64_t now,
                 struct stays *out)
{
    struct attempt *a = s->a;
    struct queue_item_view v;
    uint32_t n = pick(s, way);
    out->item = item;
    out->next_ms = at != 0 ? queue_defer_to(a->e->queue, item, s->picked, n, at, now)
                           : queue_defer(a->e->queue, item, s->picked, n, a->not_before_ms, now);
    queue_item_view(a->e->queue, item, &v);
    out->held = v.state == QUEUE_STATE_HELD;
    out->delay_told = v.delay_told;
}

/* One record for what ended without a report and what stays. */
static void record(struct settling *s, const struct stays *deferred, const struct stays *moved)
{
    struct attempt *a = s->a;
    struct egress *e = a->e;
    uint32_t n = 0;
    /* An operator held some of them while they were on their way: his mark is newer than the attempt. */
    if (deferred->held || moved->held)
        (void)spool_info(e->w->node->spool, a->info->env.id, &s->now);
    for (uint32_t i = 0; i < a->nrcpts; i++) {
        if (s->ways[i] != WAY_ENDED && s->ways[i] != WAY_DEFERRED && s->ways[i] != WAY_MOVED)
            continue;
        bool ended = s->ways[i] == WAY_ENDED;
        const struct stays *st = s->ways[i] == WAY_MOVED ? moved : deferred;
        s->updates[n++] = (struct spool_rcpt_update){
            .rcpt = a->rcpts[i],
            .to = { .state = ended      ? s->decisions[i].state
                             : st->held ? RCPT_HELD /* an operator's, while it was in flight */
                                        : RCPT_QUEUED,
                    .delay_told = st->delay_told,
                    .attempts = a->attempts,
                    .next_ms = ended ? 0 : st->next_ms,
                    .changed_ms = clock_wall_ms(),
                    .reply = reply_text(s, i) },
        };
        report_recipient(e->w, a, i, s->c, ended ? s->decisions[i].state : RCPT_QUEUED, st->next_ms);
    }
    for (uint32_t i = 0; i < n; i++)
        s->updates[i].to.reply.p = s->replies.data + (size_t)s->updates[i].to.reply.p;
    int err = n == 0 ? 0 : spool_update(e->w->node->spool, a->info->env.id, s->updates, n, NULL);
    if (err != 0 && err != ERR_NOT_FOUND && atomic_load(&e->w->node->spool_error) == 0)
        log_error("spool", "an outcome could not be recorded: %s", err_text(err));
}

/* To the queue of its new pool. */
static void move(struct settling *s, struct queue_item *item)
{
    struct attempt *a = s->a;
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->nrcpts; i++) {
        struct pool_mark mark;
        if (s->ways[i] == WAY_MOVED && reroute_mark(a, i, &mark))
            report_reroute(a->e->w, a, i, &mark);
    }
    for (uint32_t i = 0; i < a->nrcpts; i++) { /* as it was recorded, in the same order */
        if (s->ways[i] != WAY_ENDED && s->ways[i] != WAY_DEFERRED && s->ways[i] != WAY_MOVED)
            continue;
        if (s->ways[i] == WAY_MOVED)
            a->info->rcpts[a->rcpts[i]].reply = s->updates[n].to.reply;
        n++;
    }
    (void)reroute_item(a->e, item, a->info);
    for (uint32_t i = 0; i < a->nrcpts; i++)
        if (s->ways[i] == WAY_MOVED)
            a->info->rcpts[a->rcpts[i]].reply = (struct span){ "", 0 };
}

/* Starts the report for its recipients; takes the attempt. */
static void report(struct settling *s, struct queue_item *item)
{
    struct attempt *a = s->a;
    uint32_t n = 0;
    struct dsn_job_rcpt *rcpts = calloc(s->count[WAY_REPORTED], sizeof *rcpts);
    for (uint32_t i = 0; rcpts != NULL && i < a->nrcpts; i++)
        if (s->ways[i] == WAY_REPORTED)
            rcpts[n++] = (struct dsn_job_rcpt){ .at = i,
                                                .action = s->decisions[i].action,
                                                .state = s->decisions[i].state,
                                                .full = s->decisions[i].full };
    a->item = item;
    for (uint32_t i = 0; i < n; i++)
        report_recipient(a->e->w, a, rcpts[i].at, s->c, rcpts[i].state, 0);
    dsn_job_start(a, rcpts, n, s->c == NULL ? "" : s->c->host);
}

static void settle(struct attempt *a, const struct conn *c, enum mail_dsn_event failed)
{
    struct egress *e = a->e;
    struct settling s;
    int64_t now = egress_now_ms(e);
    if (settling_init(&s, a, c) != 0) {
        /* nothing can be noted: what was delivered may be sent again, which is better than lost */
        if (a->item != NULL)
            queue_defer(e->queue, a->item, NULL, 0, 0, now);
        attempt_free(a);
        return;
    }
    classify(&s, failed);
    struct queue_item *again = part(&s, WAY_AGAIN);
    struct queue_item *reported = part(&s, WAY_REPORTED);
    struct queue_item *moving = part(&s, WAY_MOVED);
    struct stays deferred = { .item = NULL }, moved = { .item = NULL };
    if (again != NULL)
        queue_requeue(e->queue, again, now);
    if (moving != NULL)
        stay(&s, moving, WAY_MOVED, now, now, &moved);
    if (a->item != NULL && s.count[WAY_DEFERRED] > 0)
        stay(&s, a->item, WAY_DEFERRED, a->retry_at_ms, now, &deferred);
    else if (a->item != NULL)
        queue_done(e->queue, a->item);
    a->item = NULL;
    record(&s, &deferred, &moved);
    if (moving != NULL)
        move(&s, moving);
    if (c != NULL && c->config != e->w->config) { /* the routes may be others by now */
        if (again != NULL)
            (void)reroute_item(e, again, a->info);
        if (deferred.item != NULL)
            (void)reroute_item(e, deferred.item, a->info);
    }
    if (s.count[WAY_REPORTED] > 0)
        report(&s, reported);
    else
        attempt_free(a);
    settling_fini(&s);
    egress_kick(e);
}

void outcome_settle(struct attempt *a, const struct conn *c)
{
    settle(a, c, MAIL_DSN_EVENT_FAILED);
}

/* ---- without a connection -------------------------------------------------------------------------------
 */

/* "451 4.2.1 text" as it was recorded, or nothing. */
static void reply_parse(struct span text, struct smtp_reply_text *out)
{
    *out = (struct smtp_reply_text){ 0 };
    if (text.n >= 3 && text.p[0] >= '2' && text.p[0] <= '5') {
        out->code = (uint16_t)((text.p[0] - '0') * 100 + (text.p[1] - '0') * 10 + (text.p[2] - '0'));
        text = span_sub(text, text.n > 3 ? 4 : 3);
        text = span_sub(text, smtp_enhanced_parse(text, out->enhanced));
    }
    smtp_reply_text_add(out, text);
}

/* The last words that were heard about each recipient, or about its site. */
static void last_words(struct attempt *a, struct span site_error, enum smtp_client_class class)
{
    for (uint32_t i = 0; i < a->nrcpts; i++) {
        struct smtp_client_result *r = &a->results[i];
        struct pool_mark mark;
        struct span said;
        (void)pool_mark_parse(a->info->rcpts[a->rcpts[i]].reply, &mark, &said);
        if (said.n > 0 && (said.p[0] < '2' || said.p[0] > '5'))
            said.n = 0; /* an operator's remark, not a server's reply */
        r->class = class;
        r->stage = SMTP_CLIENT_STAGE_CONNECT;
        r->local = said.n == 0;
        reply_parse(said.n > 0 ? said : site_error, &r->reply);
        if (r->reply.len == 0) {
            r->reply = (struct smtp_reply_text){ .code = 451, .enhanced = { 4, 4, 7 } };
            smtp_reply_text_add(&r->reply, SPAN_LIT("delivery time expired"));
        }
    }
}

static struct span site_error(const struct egress *e, const struct queue_item *item)
{
    struct queue_site_state state;
    queue_site_state(e->queue, queue_item_site(e->queue, item), &state);
    return state.last_error;
}

void outcome_expired(struct egress *e, struct queue_item *item)
{
    struct attempt *a;
    if (attempt_new(e, item, 0, &a) != 0)
        return;
    a->attempts--; /* this is none */
    last_words(a, site_error(e, a->item), SMTP_CLIENT_PERMANENT);
    settle(a, NULL, MAIL_DSN_EVENT_EXPIRED);
}

void outcome_held_expired(struct egress *e, struct queue_item *item, bool drop)
{
    struct attempt *a;
    if (attempt_new(e, item, 0, &a) != 0)
        return;
    a->attempts--; /* this is none */
    attempt_fail_all(a, SMTP_CLIENT_PERMANENT, SMTP_CLIENT_STAGE_CONNECT, 550, "5.7.1",
                     drop ? "held for too long, and deleted" : "held by the postmaster, and not released in time");
    settle(a, NULL, drop ? MAIL_DSN_EVENT_DELETED : MAIL_DSN_EVENT_EXPIRED);
}

void outcome_delayed(struct egress *e, struct queue_item *item)
{
    struct queue_item_view v;
    struct attempt *a;
    queue_item_view(e->queue, item, &v);
    if (attempt_load(e, &v, &a) != 0) {
        queue_set_delay_told(e->queue, item, false);
        return;
    }
    last_words(a, site_error(e, item), SMTP_CLIENT_TEMPORARY);
    struct dsn_job_rcpt *rcpts = calloc(a->nrcpts, sizeof *rcpts);
    uint32_t n = 0;
    for (uint32_t i = 0; rcpts != NULL && i < a->nrcpts; i++) {
        struct mail_dsn_decision d = decide(a, i, MAIL_DSN_EVENT_DELAYED, false);
        if (d.report)
            rcpts[n++] =
                (struct dsn_job_rcpt){ .at = i, .action = d.action, .state = RCPT_QUEUED, .full = d.full };
    }
    if (n == 0) {
        free(rcpts);
        attempt_free(a);
        return;
    }
    dsn_job_start(a, rcpts, n, "");
}

/* What an operator ends: the message of an item that is not in flight, which is no attempt. */
static int operator_load(struct egress *e, struct queue_item *item, struct queue_item_view *v,
                         struct attempt **out)
{
    queue_item_view(e->queue, item, v);
    if (v->state == QUEUE_STATE_IN_FLIGHT)
        return ERR_BUSY;
    int err = attempt_load(e, v, out);
    if (err == ERR_NOT_FOUND)
        (void)queue_remove(e->queue, item);
    if (err == 0)
        (*out)->attempts--;
    return err;
}

int outcome_bounce(struct egress *e, struct queue_item *item, const char *text)
{
    struct queue_item_view v;
    struct attempt *a;
    int err = operator_load(e, item, &v, &a);
    if (err != 0)
        return err;
    struct smtp_client_result result = { .class = SMTP_CLIENT_PERMANENT,
                                         .stage = SMTP_CLIENT_STAGE_CONNECT,
                                         .local = true };
    result.reply.code = 550;
    size_t used = smtp_enhanced_parse(span_str(text), result.reply.enhanced);
    smtp_reply_text_add(&result.reply, span_sub(span_str(text), used));
    attempt_result_all(a, &result);
    (void)queue_remove(e->queue, item);
    settle(a, NULL, MAIL_DSN_EVENT_FAILED);
    return 0;
}

/* A message that cannot be read can still be got rid of; nobody hears of it but the log. */
static int delete_damaged(struct egress *e, struct queue_item *item, const struct queue_item_view *v)
{
    struct spool_rcpt_update *u = calloc(v->nrcpts, sizeof *u);
    if (u == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < v->nrcpts; i++)
        u[i] = (struct spool_rcpt_update){
            .rcpt = v->rcpts[i],
            .to = { .state = RCPT_DELETED,
                    .attempts = v->attempts,
                    .reply = SPAN_LIT("550 5.7.1 deleted by an operator") },
        };
    int err = spool_update(e->w->node->spool, v->id, u, v->nrcpts, NULL);
    free(u);
    if (err == 0 || err == ERR_NOT_FOUND)
        err = queue_remove(e->queue, item);
    return err;
}

int outcome_delete(struct egress *e, struct queue_item *item)
{
    struct queue_item_view v;
    struct attempt *a;
    int err = operator_load(e, item, &v, &a);
    if (err == ERR_CORRUPT)
        return delete_damaged(e, item, &v);
    if (err != 0)
        return err;
    attempt_fail_all(a, SMTP_CLIENT_PERMANENT, SMTP_CLIENT_STAGE_CONNECT, 550, "5.7.1",
                     "deleted by an operator");
    (void)queue_remove(e->queue, item);
    settle(a, NULL, MAIL_DSN_EVENT_DELETED);
    return 0;
}
