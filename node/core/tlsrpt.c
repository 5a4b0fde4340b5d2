/* Sending TLS reports: one domain after another, each when its record was looked up. Worker 0's thread. */
#include "node/core/tlsrpt.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/auth/pool.h"
#include "node/core/egress.h"
#include "node/core/local_mail.h"
#include "node/core/node.h"
#include "node/core/sts.h"
#include "node/core/tlsrpt_mail.h"
#include "node/core/tlsrpt_post.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define STEP_MS 50     /* between two domains */
#define LOOK_MS 600000 /* whether there is something to do, at least so often */
#define KEEP_MS 10000  /* between two looks at what is to be written */
#define TEXT_MAX 4096
#define JSON_MAX (4u << 20)

struct tlsrpt {
    struct egress *e;
    struct timer timer, keep_timer;
    struct dns_request *request;
    struct rpt_due due;
    bool have_due, stopping;
    int64_t from_ms;      /* wall: of this day's reports */
    int64_t again_ms;     /* wall: of those that could not be sent; INT64_MAX: there are none */
    struct buf text;      /* the record of due.domain */
    struct rpt_uris uris; /* in it */
    uint32_t at;          /* the address in hand */
    bool missed;          /* one of them could not be reached */
    struct tlsrpt_post *post;
    char file[4096];
};

static int64_t random_ms(int64_t max)
{
    uint64_t v = 0;
    if (max <= 0 || getrandom(&v, sizeof v, 0) != (ssize_t)sizeof v)
        return 0;
    return (int64_t)(v % (uint64_t)max);
}

/* When reports of the days before now are to go: some time from now, or after the next midnight. */
static void plan(struct tlsrpt *t, bool midnight)
{
    int64_t now = clock_wall_ms(), delay = t->e->w->config->tls_reports.delay_ms;
    int64_t from = midnight ? (now / RPT_DAY_MS + 1) * RPT_DAY_MS : now;
    t->from_ms = from + random_ms(delay);
}

static int64_t next_ms(const struct tlsrpt *t)
{
    return t->again_ms < t->from_ms ? t->again_ms : t->from_ms;
}

static void later(struct tlsrpt *t, int64_t ms)
{
    if (!t->stopping)
        timer_set(&t->timer, (uint32_t)(ms < 0 ? 0 : ms > LOOK_MS ? LOOK_MS : ms));
}

static void due_end(struct tlsrpt *t)
{
    buf_fini(&t->due.json);
    buf_fini(&t->text);
    t->have_due = false;
    later(t, STEP_MS);
}

static void due_done(struct tlsrpt *t)
{
    rpt_done(t->e->w->node->rpt, &t->due);
    due_end(t);
}

/* RFC 8460 section 5.4: for a day. */
static void due_later(struct tlsrpt *t, const char *why)
{
    if (!rpt_later(t->e->w->node->rpt, &t->due, clock_wall_ms()))
        log_warn("tls-report", "about %s: given up: %s", t->due.domain, why);
    due_end(t);
}

/* ---- one report ---------------------------------------------------------------------------------------- */

static int store(struct tlsrpt *t, struct span address)
{
    struct worker *w = t->e->w;
    const struct config *c = w->config;
    struct local_mail *mail;
    struct buf text;
    uint32_t header_bytes = 0;
    int err = local_mail_begin(w, "tls-report", span_str(c->tls_reports.from), address, &mail);
    if (err != 0)
        return err;
    struct tlsrpt_mail m = { .from = c->tls_reports.from,
                             .to = local_mail_to(mail),
                             .message_id = local_mail_message_id(mail),
                             .submitter = c->hostname,
                             .domain = t->due.domain,
                             .report_id = t->due.id,
                             .day = t->due.day,
                             .now_ms = clock_wall_ms(),
                             .json = buf_span(&t->due.json) };
    buf_init(&text, 2 * JSON_MAX);
    err = tlsrpt_mail_put(&m, &text, &header_bytes);
    /* RFC 8460 section 3: TLS may be what is wrong there */
    return local_mail_end(mail, err, &text, header_bytes, ENVELOPE_TLS_OPTIONAL);
}

static void next_address(struct tlsrpt *t);

static void told(struct tlsrpt *t, bool sent, const char *why)
{
    struct span uri = t->uris.uri[t->at];
    if (sent) {
        t->due.sent |= 1u << t->at;
        log_info("tls-report", "about %s to %.*s", t->due.domain, (int)uri.n, uri.p);
    } else {
        t->missed = true;
        log_warn("tls-report", "about %s to %.*s: %s", t->due.domain, (int)uri.n, uri.p, why);
    }
    t->at++;
}

static void posted_cb(void *ctx, bool sent, const char *why)
{
    struct tlsrpt *t = ctx;
    t->post = NULL;
    told(t, sent, why);
    next_address(t);
}

static bool post(struct tlsrpt *t, struct span url)
{
    struct buf gz;
    buf_init(&gz, 2 * JSON_MAX);
    if (tlsrpt_gzip(buf_span(&t->due.json), &gz) == 0)
        t->post = tlsrpt_post_start(t->e->w, url, buf_span(&gz), posted_cb, t);
    buf_fini(&gz);
    return t->post != NULL;
}

/* Those that don't have the report, one after another. */
static void next_address(struct tlsrpt *t)
{
    while (t->at < t->uris.n) {
        struct span uri = t->uris.uri[t->at];
        if ((t->due.sent & (1u << t->at)) != 0) {
            t->at++;
        } else if (span_starts(uri, SPAN_LIT("mailto:"))) {
            int err = store(t, span_sub(uri, sizeof "mailto:" - 1));
            told(t, err == 0, err_text(err));
        } else if (post(t, uri)) {
            return;
        } else {
            log_warn("tls-report", "about %s: %.*s cannot be used", t->due.domain, (int)uri.n, uri.p);
            t->at++;
        }
    }
    if (t->missed)
        due_later(t, "it could not be sent within a day");
    else
        due_done(t);
}

static void txt_cb(void *ctx, const struct dns_answer *answer)
{
    struct tlsrpt *t = ctx;
    t->request = NULL;
    t->uris = (struct rpt_uris){ 0 };
    t->at = 0;
    t->missed = false;
    for (uint32_t i = 0; answer->status == DNS_OK && i < answer->nrecords && t->uris.n == 0; i++) {
        buf_reset(&t->text); /* section 3: there should be one record; the first that is good counts */
        if (dns_txt_join(answer->records[i], &t->text) != 0 ||
            rpt_txt_parse(buf_span(&t->text), &t->uris) != 0)
            t->uris.n = 0;
    }
    if (answer->status == DNS_TEMPORARY)
        due_later(t, "its record cannot be looked up");
    else
        next_address(t);
}

/* ---- what is counted, on disk ---- */

/* It may outlast the worker. */
struct keep {
    struct auth_job job;
    struct rpt *rpt;
    char file[4096];
};

static void keep_run(struct auth_job *job, int stopping)
{
    struct keep *k = LIST_ITEM(job, struct keep, job);
    int err = stopping ? 0 : rpt_keep(k->rpt, k->file); /* the end of the process writes all of it */
    if (err != 0)
        log_warn("tls-report", "what is counted is not written: %s", err_text(err));
    free(k);
}

static void keep(const struct tlsrpt *t)
{
    struct node *n = t->e->w->node;
    struct keep *k = calloc(1, sizeof *k);
    if (k == NULL)
        return;
    k->job.run = keep_run;
    k->rpt = n->rpt;
    memcpy(k->file, t->file, sizeof k->file);
    if (sts_push(n->sts, &k->job) != 0)
        free(k);
}

static void keep_timer_cb(struct timer *timer)
{
    struct tlsrpt *t = TIMER_ITEM(timer, struct tlsrpt, keep_timer);
    if (t->stopping)
        return;
    sts_keep(t->e->w->node->sts);
    keep(t);
    timer_set(timer, KEEP_MS);
}

static void timer_cb(struct timer *timer)
{
    struct tlsrpt *t = TIMER_ITEM(timer, struct tlsrpt, timer);
    struct worker *w = t->e->w;
    const struct config *c = w->config;
    int64_t now = clock_wall_ms();
    if (t->have_due || t->stopping)
        return;
    if (!c->tls_reports.send || now < next_ms(t)) {
        later(t, c->tls_reports.send ? next_ms(t) - now : LOOK_MS);
        return;
    }
    struct rpt_sender sender = { .organization = c->tls_reports.organization,
                                 .contact = c->tls_reports.contact,
                                 .host = c->hostname,
                                 .node = c->name };
    buf_init(&t->due.json, JSON_MAX);
    int err = rpt_next(w->node->rpt, now, &sender, &t->due);
    if (err == ERR_NOT_FOUND) {
        buf_fini(&t->due.json);
        if (now >= t->from_ms)
            plan(t, true);
        t->again_ms = rpt_waits_until(w->node->rpt);
        later(t, next_ms(t) - now);
        return;
    }
    char name[300];
    t->have_due = true;
    buf_init(&t->text, TEXT_MAX);
    snprintf(name, sizeof name, RPT_TXT "%s", t->due.domain);
    if (err == 0)
        t->request = dns_lookup(w->dns, span_str(name), DNS_TYPE_TXT, txt_cb, t);
    if (t->request == NULL) {
        due_later(t, "no memory");
    }
}

static int file_name(const char *data_dir, char out[4096])
{
    return snprintf(out, 4096, "%s/tls-reports", data_dir) >= 4096 ? ERR_LIMIT : 0;
}

/* ---- life ---------------------------------------------------------------------------------------------- */

int tlsrpt_new(struct egress *e, struct tlsrpt **out)
{
    struct tlsrpt *t = calloc(1, sizeof *t);
    if (t == NULL || file_name(e->w->config->data_dir, t->file) != 0) {
        free(t);
        return t == NULL ? -ENOMEM : ERR_LIMIT;
    }
    if (timer_init(&t->timer, &e->w->timers, timer_cb) != 0) {
        free(t);
        return -ENOMEM;
    }
    if (timer_init(&t->keep_timer, &e->w->timers, keep_timer_cb) != 0) {
        timer_fini(&t->timer);
        free(t);
        return -ENOMEM;
    }
    t->e = e;
    timer_set(&t->keep_timer, KEEP_MS);
    t->again_ms = INT64_MAX;
    plan(t, false);
    timer_set(&t->timer, 0);
    *out = t;
    return 0;
}

void tlsrpt_stop(struct tlsrpt *t)
{
    if (t == NULL)
        return;
    t->stopping = true;
    timer_stop(&t->timer);
    timer_stop(&t->keep_timer);
    tlsrpt_post_cancel(t->post);
    t->post = NULL;
    if (t->request != NULL)
        dns_cancel(t->request);
    t->request = NULL;
    if (t->have_due)
        due_end(t);
}

void tlsrpt_free(struct tlsrpt *t)
{
    if (t == NULL)
        return;
    tlsrpt_stop(t);
    timer_fini(&t->timer);
    timer_fini(&t->keep_timer);
    free(t);
}

struct rpt *tlsrpt_open(const char *data_dir)
{
    char file[4096];
    struct rpt *r = rpt_new(RPT_DOMAINS_MAX);
    int err = r == NULL ? -ENOMEM : file_name(data_dir, file);
    if (err == 0)
        err = rpt_load(r, file, clock_wall_ms());
    if (err != 0)
        log_warn("tls-report", "what was counted before is not read: %s", err_text(err));
    return r;
}

void tlsrpt_close(struct rpt *r, const char *data_dir)
{
    char file[4096];
    if (r == NULL)
        return;
    int err = file_name(data_dir, file);
    if (err == 0)
        err = rpt_save(r, file);
    if (err != 0)
        log_warn("tls-report", "what is counted is not written: %s", err_text(err));
    rpt_free(r);
}
