/* One connection to a next hop: finding an address that answers, the SMTP session, one message after another.
 * What came of them is recorded in outcome.c. The worker's thread.
 */
#include "node/core/conn.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/conn_grey.h"
#include "node/core/egress_rest.h"
#include "node/core/egress_rested.h"
#include "node/core/node.h"
#include "node/core/outcome.h"
#include "node/core/report.h"
#include "node/smtp/reply_parser.h"

#include <errno.h>
#include <stdlib.h>

#define OUT_MAX (512u << 10)
#define PLAIN_AFTER_TLS_FAILURE_MS 3600000
#define BOUNCES_PER_TURN 16

static void conn_drive(struct conn *c);
static bool conn_mail(struct conn *c);
static void conn_bounce(struct conn *c);

/* ---- its end ------------------------------------------------------------------------------------------- */

static void conn_free(struct conn *c)
{
    ensure(c->site == NULL && c->stream == NULL);
    conn_pool_drop(c);
    conn_site_drop(c);
    timer_fini(&c->deadline);
    list_remove(&c->link);
    list_remove(&c->wait);
    c->e->nconns--;
    atomic_fetch_sub(&c->e->w->node->sessions_out, 1);
    if (c->client != NULL)
        smtp_client_free(c->client);
    if (c->found != NULL)
        dns_site_rele(c->found);
    sts_policy_rele(c->sts);
    buf_fini(&c->out);
    config_rele(c->config);
    free(c);
}

static void conn_release_body(struct conn *c)
{
    if (c->reader != NULL)
        spool_reader_close(c->reader);
    c->reader = NULL;
}

/* The queue is told that it is over, and why; then it goes. */
static void conn_over(struct conn *c, struct span trouble)
{
    conn_release_body(c);
    if (trouble.n > 0 && c->share != NULL)
        sites_trouble(c->share, clock_mono_ns());
    if (c->site != NULL) {
        c->site = NULL;
        queue_conn_closed(c->e->queue, &c->qc, trouble, egress_now_ms(c->e));
        egress_kick(c->e);
    }
    conn_let_stream_go(c);
    conn_free(c);
}

static bool site_is_down(const struct conn *c)
{
    struct queue_site_state state;
    queue_site_state(c->e->queue, c->site->qs, &state);
    return state.down;
}

/* No target of the site could be used. */
static void conn_failed(struct conn *c)
{
    struct buf why;
    if (c->moving) {
        conn_grey_lost(c);
        conn_over(c, (struct span){ "", 0 });
        return;
    }
    buf_init(&why, 1024);
    (void)smtp_reply_text_put(&why, &c->trouble);
    if (c->share != NULL)
        sites_trouble(c->share, clock_mono_ns());
    egress_site_forget(c->site); /* ask the DNS again next time */
    bool was_down = site_is_down(c);
    queue_conn_failed(c->e->queue, &c->qc, buf_span(&why), egress_now_ms(c->e));
    if (!was_down && site_is_down(c))
        report_site_down(c, buf_span(&why));
    c->site = NULL;
    buf_fini(&why);
    egress_kick(c->e);
    conn_let_stream_go(c);
    conn_free(c);
}

static void conn_target_failed(struct conn *c, enum smtp_client_stage stage)
{
    conn_policy_failed(c, stage);
    report_target_failed(c, stage);
    conn_pool_failed(c);
}

/* ---- timers -------------------------------------------------------------------------------------------- */

static void conn_bounce_some(struct conn *c);

static void conn_deadline_cb(struct timer *t)
{
    struct conn *c = TIMER_ITEM(t, struct conn, deadline);
    if (c->state == CONN_BOUNCING) {
        conn_bounce_some(c);
        return;
    }
    if (c->state == CONN_IDLE) {
        conn_quit(&c->qc);
        return;
    }
    conn_cut(c, "timed out");
}

void conn_cut(struct conn *c, const char *why)
{
    smtp_client_on_closed(c->client, why);
    conn_drive(c);
}

static void conn_set_deadline(struct conn *c)
{
    uint32_t progress = smtp_client_progress(c->client);
    uint32_t ms = smtp_client_deadline_ms(c->client);
    if (ms == 0) {
        timer_stop(&c->deadline);
    } else if (progress != c->progress || !timer_is_set(&c->deadline) ||
               smtp_client_want(c->client) == SMTP_CLIENT_WANT_BODY) {
        timer_set(&c->deadline, ms);
    }
    c->progress = progress;
}

/* ---- content ------------------------------------------------------------------------------------------- */

static void conn_flush(struct conn *c)
{
    if (c->out.len > 0 && c->stream != NULL) {
        report_dialogue_out(c, buf_span(&c->out));
        if (stream_write(c->stream, c->out.data, c->out.len) < 0)
            smtp_client_on_closed(c->client, "cannot write to the connection");
    }
    buf_reset(&c->out);
}

/* Blocks of content as the socket takes them. False: wait for the socket. */
static bool conn_body(struct conn *c)
{
    conn_flush(c);
    if (c->reader == NULL && !c->body_done) {
        int err = spool_reader_open(c->e->w->node->spool, c->attempt->info->env.id, &c->reader);
        if (err != 0) {
            smtp_client_body_failed(c->client, err_text(err));
            return true;
        }
        c->stuff = (struct smtp_stuff){ .at_line_start = true };
    }
    while (c->reader != NULL) {
        const char *p;
        size_t n;
        int err = spool_reader_next(c->reader, &p, &n);
        if (err == 0)
            err = n > 0 ? smtp_stuff_put(&c->stuff, p, n, &c->out) : smtp_stuff_end(&c->stuff, &c->out);
        if (err != 0) {
            buf_reset(&c->out);
            smtp_client_body_failed(c->client, err_text(err));
            return true;
        }
        if (n == 0)
            conn_release_body(c);
        int full = stream_write(c->stream, c->out.data, c->out.len);
        buf_reset(&c->out);
        if (full < 0) {
            smtp_client_on_closed(c->client, "cannot write to the connection");
            return true;
        }
        if (full == STREAM_FULL && c->reader != NULL) {
            conn_set_deadline(c);
            return false;
        }
    }
    c->body_done = true;
    smtp_client_body_sent(c->client);
    buf_shrink(&c->out, 8192);
    return true;
}

/* ---- transactions -------------------------------------------------------------------------------------- */

/* There is nothing to send: it is kept, unless another destination of the site could use its place. */
static void conn_rest(struct conn *c)
{
    c->state = CONN_IDLE;
    if (conn_site_wanted(c)) {
        conn_quit(&c->qc);
        return;
    }
    conn_site_idle(c, true);
    conn_flush(c);
    timer_set(&c->deadline, c->config->delivery.timeouts.idle_ms);
}

/* The server is ready for mail: the next item, or idle. False: nothing to do now. */
static bool conn_mail(struct conn *c)
{
    struct egress *e = c->e;
    if (c->state == CONN_GREETING) {
        report_ready(c);
        conn_policy_ready(c);
        conn_pool_connected(c);
        if (!conn_policy_suits(c)) { /* another host may (RFC 8689 section 4.2.1) */
            conn_let_stream_go(c);
            conn_next_target(c);
            return false;
        }
        if (c->site != NULL && site_is_down(c))
            report_site_up(c);
        if (!c->moving)
            queue_conn_opened(e->queue, &c->qc, egress_now_ms(e));
        c->moving = false;
    }
    if (c->site == NULL || e->stopping || c->config != e->w->config || !conn_pool_stays(c) ||
        conn_shaping_rests(c) || !conn_site_stays(c) || !conn_rest_take(c) || !conn_warmup_take(c)) {
        conn_rest_untake(c);
        conn_grey_give_back(c);
        conn_quit(&c->qc);
        return false;
    }
    for (;;) {
        bool now = conn_site_paced(c);
        if (!now)
            conn_grey_give_back(c);
        bool kept = conn_grey_arrived(c); /* the item for which it changed its address */
        (void)egress_cut_off(e);          /* then there is nothing to take; likewise if a message may not go now */
        struct queue_item *item = kept ? c->attempt->item : queue_take(e->queue, &c->qc, egress_now_ms(e));
        if (item == NULL) {
            conn_warmup_untake(c);
            conn_rest_untake(c);
            if (now)
                conn_site_unsent(c);
            conn_rest(c);
            return false;
        }
        int err = kept ? 0 : attempt_new(e, item, conn_site_recipients(c), &c->attempt);
        if (err == 0 && !conn_pool_misplaced(c)) {
            if (!kept && conn_grey_moves(c))
                return false;
            if (kept || !conn_grey_hands(c))
                break;
            conn_site_unsent(c);
            continue;
        }
        conn_site_unsent(c);
        if (err == 0 && conn_pool_move(c))
            continue;
        if (err == 0 || err == -ENOMEM) {
            conn_warmup_untake(c);
            conn_rest_untake(c);
            conn_quit(&c->qc);
            return false;
        }
    }
    conn_begin(c);
    return true;
}

static void conn_settle(struct conn *c)
{
    struct attempt *a = c->attempt;
    conn_shaping_results(c);
    conn_site_retry(c);
    conn_pool_settled(c);
    conn_warmup_settled(c);
    conn_rest_settled(c);
    c->attempt = NULL;
    conn_release_body(c);
    outcome_settle(a, c);
    egress_kick(c->e);
}

static void conn_result(struct conn *c)
{
    const struct smtp_client_result *results = smtp_client_results(c->client);
    ensure(results != NULL);
    attempt_results(c->attempt, results);
    report_attempt(c->e->w, c->attempt);
    if (c->site != NULL)
        queue_conn_success(c->e->queue, &c->qc, egress_now_ms(c->e));
    if (c->share != NULL)
        sites_success(c->e->w->node->sites, c->share);
    conn_settle(c);
    smtp_client_next(c->client);
}

/* ---- the session's end --------------------------------------------------------------------------------- */

static bool says_trouble(const struct smtp_client_result *r)
{
    return r != NULL && (r->reply.code == 421 || r->local);
}

static void conn_end(struct conn *c)
{
    const struct smtp_client_result *why = smtp_client_failure(c->client);
    const struct smtp_client_result *results = smtp_client_results(c->client);
    if (c->state == CONN_GREETING) {
        if (why != NULL)
            smtp_reply_text_copy(&c->trouble, &why->reply);
        else
            conn_set_trouble(c, 421, "4.4.2", "the server ended the session");
        conn_target_failed(c, why == NULL ? SMTP_CLIENT_STAGE_BANNER : why->stage);
        conn_shaping_refused(c, why);
        if (smtp_client_retry_plain(c->client)) {
            c->plain = true;
            c->tried--;
            c->site->plain_until_ms = timers_now_ms(&c->e->w->timers) + PLAIN_AFTER_TLS_FAILURE_MS;
        }
        conn_let_stream_go(c);
        conn_next_target(c);
        return;
    }
    struct buf trouble;
    buf_init(&trouble, 1024);
    if (c->attempt != NULL) {
        if (results != NULL) {
            attempt_results(c->attempt, results);
            why = &c->attempt->results[0];
        } else {
            attempt_fail_all(c->attempt, SMTP_CLIENT_TEMPORARY, SMTP_CLIENT_STAGE_MAIL, 421, "4.4.2",
                             "the connection was lost");
            why = c->attempt->results;
        }
        if (says_trouble(why) && why->class != SMTP_CLIENT_OK)
            (void)smtp_reply_text_put(&trouble, &why->reply);
        conn_settle(c);
    } else if (c->state == CONN_BUSY && says_trouble(why)) {
        (void)smtp_reply_text_put(&trouble, &why->reply);
    }
    conn_over(c, buf_span(&trouble));
    buf_fini(&trouble);
}

static void conn_start_tls(struct conn *c)
{
    conn_flush(c);
    int err = conn_policy_start_tls(c);
    if (err != 0) {
        smtp_client_on_tls(c->client, false, err_text(err));
        conn_drive(c);
    }
}

/* Does what the session wants until it waits for the server, the socket or the queue. */
static void conn_drive(struct conn *c)
{
    for (;;) {
        switch (smtp_client_want(c->client)) {
        case SMTP_CLIENT_WANT_INPUT:
            conn_flush(c);
            if (smtp_client_want(c->client) != SMTP_CLIENT_WANT_INPUT)
                break; /* the write failed */
            conn_set_deadline(c);
            return;
        case SMTP_CLIENT_WANT_TLS:
            conn_start_tls(c);
            return;
        case SMTP_CLIENT_WANT_MAIL:
            if (!conn_mail(c))
                return;
            break;
        case SMTP_CLIENT_WANT_BODY:
            if (!conn_body(c))
                return;
            break;
        case SMTP_CLIENT_WANT_RESULT:
            conn_result(c);
            break;
        case SMTP_CLIENT_WANT_CLOSE:
            conn_end(c);
            return;
        }
    }
}

/* ---- the stream's callbacks ---------------------------------------------------------------------------- */

static size_t conn_data_cb(void *ctx, const char *p, size_t n)
{
    struct conn *c = ctx;
    report_dialogue_in(c, span_of(p, n));
    (void)smtp_client_input(c->client, p, n);
    conn_drive(c);
    return n;
}

static void conn_writable_cb(void *ctx)
{
    struct conn *c = ctx;
    if (smtp_client_want(c->client) == SMTP_CLIENT_WANT_BODY)
        conn_drive(c);
}

static void conn_tls_cb(void *ctx, bool ok, const char *why)
{
    struct conn *c = ctx;
    report_dialogue_note(c, ok ? "TLS established" : why);
    smtp_client_on_tls(c->client, ok, why);
    conn_drive(c);
}

static void conn_open_cb(void *ctx)
{
    struct conn *c = ctx;
    c->connecting_ns = clock_mono_ns() - c->connecting_ns;
    struct smtp_client_config cc;
    conn_client_config(c, &cc);
    if (c->client != NULL)
        smtp_client_free(c->client);
    c->client = smtp_client_new(&cc, &c->out);
    if (c->client == NULL) {
        conn_set_trouble(c, 451, "4.3.0", "no memory");
        conn_failed(c);
        return;
    }
    c->state = CONN_GREETING;
    if (c->silent.family != 0)
        conn_rest_silent(c, &c->silent);
    conn_target_new(c);
    report_dialogue_note(c, "connected");
    conn_drive(c);
}

static void conn_closed_cb(void *ctx, int err)
{
    struct conn *c = ctx;
    c->stream = NULL;
    if (c->state == CONN_CONNECTING) {
        conn_set_trouble(c, 421, "4.4.1", conn_pool_error(c, err));
        if (!conn_source_again(c, err)) {
            conn_target_failed(c, SMTP_CLIENT_STAGE_CONNECT);
            conn_target_new(c);
        }
        conn_next_target(c);
        return;
    }
    smtp_client_on_closed(c->client, err == UV_EOF ? "the server closed the connection" : err_text(err));
    conn_drive(c);
}

static const struct stream_ops conn_ops = {
    .on_data = conn_data_cb,
    .on_writable = conn_writable_cb,
    .on_open = conn_open_cb,
    .on_tls = conn_tls_cb,
    .on_closed = conn_closed_cb,
};

/* ---- targets ------------------------------------------------------------------------------------------- */

void conn_next_target(struct conn *c)
{
    timer_stop(&c->deadline); /* it was the last target's, and so is what waited to be sent */
    buf_reset(&c->out);
    while (c->tried < c->found->ntargets) {
        const struct dns_target *t = conn_target_at(c, c->tried++);
        c->peer = t->addr;
        c->port = c->hop.port;
        snprintf(c->host, sizeof c->host, "%s", t->host < c->found->nhosts ? c->found->hosts[t->host] : "");
        if (!conn_policy_target(c, t)) {
            report_target_failed(c, SMTP_CLIENT_STAGE_TLS);
            continue;
        }
        bool chosen = conn_choose_source(c, t->addr.family, &c->from);
        if (!chosen)
            conn_set_trouble(c, 451, "4.4.1", "no source address of the next hop's family");
        if (!chosen || !conn_site_take(c, &c->from)) {
            conn_target_new(c);
            continue;
        }
        int err = conn_connect(c, &t->addr, &conn_ops);
        if (err == 0)
            return;
        if (err == -ENOMEM && c->stream != NULL)
            stream_detach(c->stream);
        c->stream = NULL;
        conn_set_trouble(c, 421, "4.4.1", conn_pool_error(c, err));
        conn_target_failed(c, SMTP_CLIENT_STAGE_CONNECT);
        conn_target_new(c);
    }
    if (c->crowded)
        conn_site_crowded(c);
    else if (!c->moving && conn_policy_hopeless(c))
        conn_bounce(c);
    else
        conn_failed(c);
}

static void conn_bounce(struct conn *c)
{
    c->state = CONN_BOUNCING;
    queue_conn_opened(c->e->queue, &c->qc, egress_now_ms(c->e));
    timer_set(&c->deadline, 0);
}

/* The domain can take no such mail at all: what is queued for it bounces, some at a time. `trouble` says why. */
static void conn_bounce_some(struct conn *c)
{
    struct egress *e = c->e;
    bool over = e->stopping || c->config != e->w->config /* another one may find another next hop */
                || (c->rested && !conn_rested(c));
    for (int i = 0; i < BOUNCES_PER_TURN && !over; i++) {
        (void)egress_cut_off(e);
        struct queue_item *item = queue_take(e->queue, &c->qc, egress_now_ms(e));
        if (item == NULL) {
            conn_over(c, (struct span){ "", 0 });
            return;
        }
        struct attempt *a;
        if (attempt_new(e, item, 0, &a) != 0)
            continue;
        conn_rested_result(c, a);
        queue_conn_success(e->queue, &c->qc, egress_now_ms(e));
        outcome_settle(a, NULL);
    }
    if (over)
        conn_over(c, (struct span){ "", 0 });
    else
        timer_set(&c->deadline, 0);
}

static void conn_start(struct conn *c, struct dns_site *f)
{
    dns_site_hold(f);
    c->found = f;
    conn_policy_site(c);
    (void)route_hop_find(c->config, queue_site_key(c->site->qs), &c->hop); /* the look-up found it, too */
    if (f->status == DNS_PERMANENT) {
        conn_set_trouble(c, 550, f->enhanced, f->reason);
        conn_bounce(c);
        return;
    }
    if (f->status == DNS_TEMPORARY) {
        conn_set_trouble(c, 451, f->enhanced, f->reason);
        conn_target_failed(c, SMTP_CLIENT_STAGE_CONNECT);
        conn_failed(c);
        return;
    }
    egress_sites_join(c->site, &c->hop, f);
    c->site_tls = c->site->entry == NULL ? -1 : c->site->entry->limits.tls;
    if (queue_site_paused(c->site->qs, egress_now_ms(c->e))) {
        conn_cancel(c); /* what is in force for the site that it turned out to be */
        return;
    }
    c->first = c->site->next_target++;
    conn_grey_expect(c);
    conn_next_target(c);
}

void conn_open(struct egress_site *site)
{
    struct egress *e = site->e;
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL || timer_init(&c->deadline, &e->w->timers, conn_deadline_cb) != 0) {
        free(c); /* the queue asks again */
        return;
    }
    c->e = e;
    c->site = site;
    c->config = config_hold(e->w->config);
    c->site_tls = -1;
    c->id = atomic_fetch_add(&e->w->node->next_session, 1);
    buf_init(&c->out, OUT_MAX);
    list_push_back(&e->conns, &c->link);
    e->nconns++;
    atomic_fetch_add(&e->w->node->sessions_out, 1);
    queue_conn_init(e->queue, site->qs, &c->qc);
    char why[QUEUE_ERROR_MAX];
    c->rested = conn_rested(c);
    if (c->rested) {
        conn_bounce(c);
        return;
    }
    if (!egress_pools_ready(site, why, sizeof why)) {
        conn_set_trouble(c, 451, "4.4.4", why);
        conn_failed(c);
        return;
    }
    int err = egress_site_resolve(site);
    if (err == 0) {
        conn_start(c, site->found);
    } else if (err == ERR_BUSY) {
        c->state = CONN_RESOLVING;
        list_push_back(&site->waiting, &c->wait);
    } else if (err == ERR_NOT_FOUND) {
        conn_set_trouble(c, 451, "4.4.0", "the route to this next hop has gone: its mail is routed anew");
        conn_failed(c);
        reroute_start(&e->reroute);
    } else {
        conn_set_trouble(c, 451, "4.3.0", "no memory");
        conn_failed(c);
    }
}

void conn_resolved(struct egress_site *site)
{
    struct list waiting;
    list_init(&waiting);
    list_splice(&waiting, &site->waiting);
    struct dns_site *found = site->found; /* the first that fails has the site forget it */
    dns_site_hold(found);
    for (struct list *link; (link = list_pop_front(&waiting)) != NULL;)
        conn_start(LIST_ITEM(link, struct conn, wait), found);
    dns_site_rele(found);
}

void conn_cancel(struct conn *c)
{
    conn_grey_give_back(c);
    c->site = NULL;
    if (c->moving)
        queue_conn_closed(c->e->queue, &c->qc, (struct span){ "", 0 }, egress_now_ms(c->e));
    else
        queue_conn_cancelled(c->e->queue, &c->qc, egress_now_ms(c->e));
    if (c->stream != NULL)
        stream_detach(c->stream);
    c->stream = NULL;
    conn_free(c);
}

void conn_cancel_waiting(struct egress_site *site)
{
    for (struct list *link; (link = list_pop_front(&site->waiting)) != NULL;)
        conn_cancel(LIST_ITEM(link, struct conn, wait));
}

void conn_use(struct queue_conn *qc)
{
    struct conn *c = LIST_ITEM(qc, struct conn, qc);
    ensure(c->state == CONN_IDLE);
    conn_site_idle(c, false);
    if (conn_mail(c))
        conn_drive(c);
}

void conn_quit(struct queue_conn *qc)
{
    struct conn *c = LIST_ITEM(qc, struct conn, qc);
    conn_site_idle(c, false);
    if (c->site != NULL) {
        c->site = NULL;
        queue_conn_closed(c->e->queue, qc, (struct span){ "", 0 }, egress_now_ms(c->e));
        egress_kick(c->e);
    }
    c->state = CONN_QUITTING;
    smtp_client_quit(c->client);
    conn_flush(c);
    if (smtp_client_want(c->client) == SMTP_CLIENT_WANT_CLOSE)
        timer_set(&c->deadline, 0); /* the write failed: ends from the loop */
    else
        conn_set_deadline(c);
}

/* ---- reload and stop ----------------------------------------------------------------------------------- */

void conn_drop_all(struct egress *e)
{
    LIST_EACH_SAFE(link, &e->conns)
    {
        struct conn *c = LIST_ITEM(link, struct conn, link);
        conn_release_body(c);
        conn_grey_give_back(c); /* its states on disk say "queued": the next start tries it */
        if (c->stream != NULL)
            stream_detach(c->stream);
        c->stream = NULL;
        if (c->site != NULL) {
            c->site = NULL;
            if (c->state == CONN_BUSY || c->state == CONN_IDLE || c->state == CONN_BOUNCING || c->moving)
                queue_conn_closed(e->queue, &c->qc, (struct span){ "", 0 }, egress_now_ms(e));
            else
                queue_conn_cancelled(e->queue, &c->qc, egress_now_ms(e));
        }
        conn_free(c);
    }
}
