/* Scheduled reports to tenants' contacts (policy: tenant_reports): the leader goes through the tenants, and
 * for each that has not had the day's or the week's report it claims it (COMMAND_NOTICE_CLAIM), has it
 * gathered on the pool for long work, written by a worker, and, once it is on disk, marks it as sent.
 *
 * Exactly one in each period, from the cluster as a whole: the mark is in the replicated state, and named by
 * the period, so that a new leader, or one with another clock, sees it. Who claimed one and was lost before
 * the mark leaves it to others after CLAIM_MS; only if he was lost in between, with the mail on his disk
 * already, does it come twice.
 *
 * One at a time. The cluster thread, but for run_gather (pool) and run_write and stored_cb (a worker).
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/auth/pool.h"
#include "node/core/cluster_impl.h"
#include "node/core/local_mail.h"
#include "node/core/report.h"
#include "node/policy/policy.h"
#include "node/tenant/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 256     /* tenants looked at in one turn */
#define TURN_MS 200  /* between two */
#define REST_MS 5000 /* after the last one */
#define SUBMIT_MS 10000
#define DAY_MS INT64_C(86400000)
#define CLAIM_MS (UINT64_C(10) * 60000)
#define SENT_DAILY_MS (UINT64_C(3) * 86400000)
#define SENT_WEEKLY_MS (UINT64_C(10) * 86400000)

enum step { STEP_FREE, STEP_BUSY, STEP_STORED, STEP_FAILED };

struct cluster_reports {
    struct cluster *c;
    int64_t turn_ms;
    char at[COMMAND_NAME_MAX + 1]; /* the last tenant that was looked at */
    /* The one in hand. */
    atomic_int step;
    bool weekly;
    char claim[64], sent[64]; /* what the notices are about */
    struct auth_job job;
    struct worker_msg msg;
    struct tenant_report report;
    uint64_t id;
};

int cluster_reports_new(struct cluster *c, struct cluster_reports **out)
{
    struct cluster_reports *r = calloc(1, sizeof *r);
    if (r == NULL)
        return -ENOMEM;
    r->c = c;
    *out = r;
    return 0;
}

void cluster_reports_free(struct cluster_reports *r)
{
    free(r);
}

void tenant_report_period(bool weekly, int64_t wall_ms, char out[32])
{
    int64_t day = wall_ms / DAY_MS; /* the first one was a Thursday */
    snprintf(out, 32, "%s %" PRId64, weekly ? "week" : "day", weekly ? (day + 3) / 7 : day);
}

static bool stopping(const struct cluster_reports *r)
{
    return atomic_load(&r->c->node->state) == NODE_STOPPING;
}

/* ---- writing ------------------------------------------------------------------------------------------- */

static void stored_cb(void *ctx, struct worker *w, int err)
{
    struct cluster_reports *r = ctx;
    if (err == 0) {
        struct event e = EVENT_INIT(EVENT_NOTICE);
        e.id = r->id;
        e.rule = SPAN_LIT("report");
        e.tenant = span_str(r->report.tenant);
        e.recipient = span_str(r->report.contact);
        e.null_sender = true;
        report_event(w, &e);
    }
    atomic_store(&r->step, err == 0 ? STEP_STORED : STEP_FAILED);
}

static int write_mail(struct worker *w, struct cluster_reports *r)
{
    struct local_mail *mail;
    struct buf text;
    uint32_t header_bytes = 0;
    const char *from = w->config->bounces.postmaster;
    int err = local_mail_begin(w, "report", span_str(from), span_str(r->report.contact), &mail);
    if (err != 0)
        return err;
    struct tenant_report_mail m = { .from = from,
                                    .to = local_mail_to(mail),
                                    .message_id = local_mail_message_id(mail),
                                    .every = r->weekly ? "week" : "day" };
    buf_init(&text, 2 * TENANT_REPORT_BYTES_MAX);
    err = tenant_report_mail(&r->report, &m, &text, &header_bytes);
    r->id = local_mail_id(mail);
    local_mail_on_stored(mail, stored_cb, r);
    return local_mail_end(mail, err, &text, header_bytes, 0);
}

static void run_write(struct worker *w, struct worker_msg *msg)
{
    struct cluster_reports *r = LIST_ITEM(msg, struct cluster_reports, msg);
    int err = w->stopping != 0 ? ERR_CLOSED : write_mail(w, r);
    if (err == 0)
        return;
    log_warn("report", "to %s: %s", r->report.contact, err_text(err));
    atomic_store(&r->step, STEP_FAILED);
}

static void run_gather(struct auth_job *job, int is_stopping)
{
    struct cluster_reports *r = LIST_ITEM(job, struct cluster_reports, job);
    char tenant[COMMAND_NAME_MAX + 1];
    memcpy(tenant, r->report.tenant, sizeof tenant);
    int err = is_stopping ? ERR_CLOSED
                          : tenant_report_gather(r->c->m, span_str(tenant),
                                                 r->weekly ? DIRECTORY_RECORD_WEEK : DIRECTORY_RECORD_DAY,
                                                 clock_wall_ms(), &r->report);
    if (err == 0 && r->report.contact[0] == '\0')
        err = ERR_NOT_FOUND;
    r->msg.run = run_write;
    if (err != 0 || worker_post(&r->c->node->workers[0], &r->msg) != 0)
        atomic_store(&r->step, STEP_FAILED);
}

/* ---- claiming and marking ------------------------------------------------------------------------------ */

static int claim(struct cluster_reports *r, const char *about, uint64_t for_ms, agent_cb *cb)
{
    struct command cmd = { .type = COMMAND_NOTICE_CLAIM };
    cmd.notice_claim = (struct command_notice_claim){ .tenant = span_str(r->report.tenant),
                                                      .about = span_str(about),
                                                      .for_ms = for_ms };
    return agent_submit(r->c->agent, &cmd, SUBMIT_MS, cb, r);
}

static void claimed_cb(void *ctx, int err, const struct machine_result *result)
{
    struct cluster_reports *r = ctx;
    r->job.run = run_gather;
    if (err != 0 || result->err != 0 || auth_pool_push(r->c->node->signers, &r->job) != 0)
        atomic_store(&r->step, STEP_FREE);
}

/* Without an answer it is tried again: others wait for CLAIM_MS in any case. */
static void marked_cb(void *ctx, int err, const struct machine_result *result)
{
    struct cluster_reports *r = ctx;
    bool done = err == 0 && (result->err == 0 || result->err == ERR_EXISTS || result->err == ERR_NOT_FOUND);
    atomic_store(&r->step, done ? STEP_FREE : STEP_STORED);
}

static void mark(struct cluster_reports *r)
{
    atomic_store(&r->step, STEP_BUSY);
    if (claim(r, r->sent, r->weekly ? SENT_WEEKLY_MS : SENT_DAILY_MS, marked_cb) != 0)
        atomic_store(&r->step, STEP_STORED);
}

/* ---- whose turn it is ---------------------------------------------------------------------------------- */

struct walk {
    struct cluster_reports *r;
    uint32_t seen;
    bool found;
};

static int on_tenant(void *arg, const struct directory_tenant *t)
{
    struct walk *k = arg;
    struct cluster_reports *r = k->r;
    struct machine *m = r->c->m;
    uint64_t now_ms = machine_now_ms(m);
    struct span contact;
    if (t->name.n > COMMAND_NAME_MAX)
        return 0;
    memcpy(r->at, t->name.p, t->name.n);
    r->at[t->name.n] = '\0';
    k->found = directory_contact_find(m, t->name, &contact) &&
               !directory_notice_given(m, t->name, span_str(r->sent), now_ms) &&
               !directory_notice_given(m, t->name, span_str(r->claim), now_ms);
    return k->found || ++k->seen == PAGE;
}

static void look(struct cluster_reports *r, int64_t now)
{
    char after[sizeof r->at], period[32];
    struct walk k = { .r = r };
    memcpy(after, r->at, sizeof after);
    tenant_report_period(r->weekly, clock_wall_ms(), period);
    snprintf(r->claim, sizeof r->claim, "report %s", period);
    snprintf(r->sent, sizeof r->sent, "report sent %s", period);
    if (directory_tenant_each(r->c->m, span_str(after), on_tenant, &k) == 0) {
        r->at[0] = '\0';
        r->turn_ms = now + REST_MS;
    }
    if (!k.found)
        return;
    memcpy(r->report.tenant, r->at, sizeof r->report.tenant);
    atomic_store(&r->step, STEP_BUSY);
    if (claim(r, r->claim, CLAIM_MS, claimed_cb) != 0)
        atomic_store(&r->step, STEP_FREE);
}

void cluster_reports_tick(struct cluster *c, int64_t now)
{
    struct cluster_reports *r = c->reports;
    int step = atomic_load(&r->step);
    if (now < r->turn_ms || stopping(r) || step == STEP_BUSY ||
        command_type_level(COMMAND_NOTICE_CLAIM) > machine_features(c->m))
        return;
    r->turn_ms = now + TURN_MS;
    if (step == STEP_STORED) {
        mark(r);
        return;
    }
    atomic_store(&r->step, STEP_FREE); /* what failed is claimed for a while yet */
    struct policy *policy = cluster_policy(c);
    if (policy != NULL && policy->tenant_reports != POLICY_REPORTS_OFF) {
        r->weekly = policy->tenant_reports == POLICY_REPORTS_WEEKLY;
        look(r, now);
    }
    policy_rele(policy);
}
