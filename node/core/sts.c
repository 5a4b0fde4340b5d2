/* MTA-STS for deliveries. Look-ups are the worker's; fetching is on the pool's threads, which share the
 * store. */
#include "node/core/sts.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/auth/pool.h"
#include "node/core/cluster.h"
#include "node/core/node.h"
#include "node/core/worker.h"
#include "node/net/dns.h"
#include "node/tlspolicy/https.h"
#include "node/tlspolicy/rpt.h"
#include "node/tlspolicy/sts_fetch.h"
#include "node/tlspolicy/sts_share.h"
#include "node/tlspolicy/sts_store.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 4
#define QUEUE_MAX 1024
#define LOOKUP_TIMEOUT_MS 60000 /* as a whole; then what is known counts */
#define SAVE_MS 10000           /* at least between two writings of the file */

struct sts {
    struct sts_store *store;
    struct auth_pool *pool;
    atomic_bool stop;
    atomic_llong saved_ms;
    struct auth_job keep;
    atomic_bool keeping; /* `keep` is the pool's */
};

/* A policy to be fetched. */
struct job {
    struct worker_msg msg; /* first; on its way back */
    struct auth_job job;
    struct sts *sts;
    struct worker *w;
    struct sts_lookup *lookup; /* the worker's thread; NULL: nobody waits for it any more */
    char domain[256], id[STS_ID_MAX + 1];
    uint16_t port;
    bool fetched;
    bool report; /* failures are counted for the domain's TLS report */
    char addresses[HTTPS_ADDRESSES_TEXT];
};

struct sts_lookup {
    struct list link; /* of the worker's */
    struct worker *w;
    struct dns_request *request;
    struct job *job;
    struct timer timer;
    bool timing;
    sts_fn *fn; /* NULL: it was told what is in force, and this only refreshes it */
    void *ctx;
    char domain[256], id[STS_ID_MAX + 1];
};

/* ---- fetching ------------------------------------------------------------------------------------------ */

static void save(struct sts *s, int64_t now_ms, bool at_once)
{
    long long last = atomic_load(&s->saved_ms);
    if (!at_once && now_ms >= last && now_ms - last < SAVE_MS)
        return;
    if (!at_once && !atomic_compare_exchange_strong(&s->saved_ms, &last, (long long)now_ms))
        return; /* another thread does it */
    int err = sts_store_save(s->store);
    if (err != 0)
        log_warn("mta-sts", "the policies cannot be written: %s", err_text(err));
}

static void keep_run(struct auth_job *job, int stopping)
{
    struct sts *s = LIST_ITEM(job, struct sts, keep);
    if (!stopping)
        save(s, clock_wall_ms(), false);
    atomic_store(&s->keeping, false);
}

void sts_keep(struct sts *s)
{
    if (!sts_store_changed(s->store) || atomic_exchange(&s->keeping, true))
        return;
    s->keep.run = keep_run;
    if (auth_pool_push(s->pool, &s->keep) != 0)
        atomic_store(&s->keeping, false);
}

int sts_push(struct sts *s, struct auth_job *job)
{
    return auth_pool_push(s->pool, job);
}

atomic_bool *sts_stopping(struct sts *s)
{
    return &s->stop;
}

struct sts_store *sts_store_of(struct sts *s)
{
    return s->store;
}

static void job_answer(struct worker *w, struct worker_msg *msg);

static void count_failure(const struct job *j, int err, const char *why, int64_t now_ms)
{
    struct rpt_session s = { .domain = j->domain,
                             .policy = RPT_STS,
                             .result = err == ERR_BAD ? RPT_STS_POLICY_INVALID : RPT_STS_POLICY_FETCH_ERROR,
                             .reason = why };
    rpt_count(j->w->node->rpt, now_ms, &s);
}

static void job_run(struct auth_job *aj, int stopping)
{
    struct job *j = LIST_ITEM(aj, struct job, job);
    struct sts_policy *policy = NULL;
    char why[200];
    if (!stopping) {
        struct sts_fetch f = {
            .domain = j->domain, .port = j->port, .addresses = j->addresses, .stop = &j->sts->stop
        };
        int err = sts_fetch(&f, &policy, why);
        int64_t now = clock_wall_ms();
        if (j->report && (err == ERR_BAD || err == ERR_FAILED) && !atomic_load(&j->sts->stop))
            count_failure(j, err, why, now);
        if (err == 0)
            err = sts_store_put(j->sts->store, j->domain, j->id, policy, now);
        j->fetched = err == 0;
        if (err != 0 && policy == NULL && !atomic_load(&j->sts->stop))
            sts_store_failed(j->sts->store, j->domain, j->id, now);
        if (err == 0)
            log_info("mta-sts", "%s: mode %s for %u s", j->domain, sts_mode_name(policy->mode),
                     policy->max_age_s);
        else if (!atomic_load(&j->sts->stop))
            log_warn("mta-sts", "%s: %s", j->domain, policy != NULL ? err_text(err) : why);
        sts_policy_rele(policy);
        save(j->sts, now, false);
    }
    j->msg.run = job_answer;
    worker_post_always(j->w, &j->msg);
}

/* ---- look-ups: the worker's thread --------------------------------------------------------------------- */

static void lookup_free(struct sts_lookup *l)
{
    if (l->request != NULL)
        dns_cancel(l->request);
    if (l->job != NULL)
        l->job->lookup = NULL;
    if (l->timing)
        timer_fini(&l->timer);
    list_remove(&l->link);
    free(l);
}

void sts_lookup_cancel(struct sts_lookup *l)
{
    if (l != NULL)
        lookup_free(l);
}

void sts_lookup_cancel_all(struct worker *w)
{
    for (struct list *link; (link = list_first(&w->sts_lookups)) != NULL;)
        lookup_free(LIST_ITEM(link, struct sts_lookup, link));
}

/* With what the store says now. */
static void lookup_finish(struct sts_lookup *l)
{
    struct sts_found found;
    sts_store_find(l->w->node->sts->store, l->domain, clock_wall_ms(), &found);
    sts_fn *fn = l->fn;
    void *ctx = l->ctx;
    lookup_free(l);
    if (fn != NULL)
        fn(ctx, found.policy);
    sts_policy_rele(found.policy);
}

static void job_answer(struct worker *w, struct worker_msg *msg)
{
    struct job *j = (struct job *)msg;
    struct sts_lookup *l = j->lookup;
    if (j->fetched && w->node->cluster != NULL && atomic_load(&w->node->state) == NODE_RUNNING)
        cluster_sts_tell(w->node->cluster, j->domain);
    if (l != NULL) {
        l->job = NULL;
        lookup_finish(l);
    }
    free(j);
}

static void lookup_timer_cb(struct timer *t)
{
    struct sts_lookup *l = TIMER_ITEM(t, struct sts_lookup, timer);
    lookup_finish(l);
}

void sts_put_addresses(char *out, const struct dns_site *found)
{
    size_t at = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < found->ntargets && i < HTTPS_ADDRESSES_MAX; i++) {
        char text[IP_TEXT_MAX];
        const struct ip_addr *a = &found->targets[i].addr;
        int n = snprintf(out + at, HTTPS_ADDRESSES_TEXT - at, a->family == 4 ? "%s%s" : "%s[%s]",
                         i == 0 ? "" : ",", ip_addr_format(a, text));
        at += n > 0 ? (size_t)n : 0;
    }
}

static void found_host_cb(void *ctx, struct dns_site *found)
{
    struct sts_lookup *l = ctx;
    struct sts *s = l->w->node->sts;
    l->request = NULL;
    struct job *j = NULL;
    if (found->status != DNS_OK)
        log_warn("mta-sts", "%s: " STS_HOST "%s: %s", l->domain, l->domain, found->reason);
    else
        j = calloc(1, sizeof *j);
    if (j == NULL) {
        if (found->status != DNS_OK)
            sts_store_failed(s->store, l->domain, l->id, clock_wall_ms());
        lookup_finish(l);
        return;
    }
    j->job.run = job_run;
    j->sts = s;
    j->w = l->w;
    j->port = (uint16_t)l->w->config->delivery.mta_sts_port;
    j->report = l->w->config->tls_reports.send;
    memcpy(j->domain, l->domain, sizeof j->domain);
    memcpy(j->id, l->id, sizeof j->id);
    sts_put_addresses(j->addresses, found);
    j->lookup = l;
    l->job = j;
    if (auth_pool_push(s->pool, &j->job) == 0)
        return;
    l->job = NULL;
    free(j);
    log_warn("mta-sts", "%s: too many policies are being fetched", l->domain);
    lookup_finish(l);
}

/* Section 3.1: exactly one of the records must be of MTA-STS, and as it should be. */
static bool find_id(const struct dns_answer *answer, char id[STS_ID_MAX + 1])
{
    uint32_t n = 0;
    bool good = false;
    for (uint32_t i = 0; answer->status == DNS_OK && i < answer->nrecords; i++) {
        struct buf text;
        buf_init(&text, 4096);
        int err = dns_txt_join(answer->records[i], &text);
        if (err == 0)
            err = sts_txt_parse(buf_span(&text), id);
        n += err != ERR_NOT_FOUND;
        good = err == 0;
        buf_fini(&text);
    }
    return n == 1 && good;
}

static void found_txt_cb(void *ctx, const struct dns_answer *answer)
{
    struct sts_lookup *l = ctx;
    struct sts_found known;
    char id[STS_ID_MAX + 1];
    l->request = NULL;
    sts_store_find(l->w->node->sts->store, l->domain, clock_wall_ms(), &known);
    bool record = find_id(answer, id);
    bool same = record && (strcmp(id, known.id) == 0 || strcmp(id, known.former_id) == 0);
    bool wanted = record && !(known.policy != NULL && known.fresh && same) && !(known.failed && same);
    if (known.failed && known.policy != NULL)
        wanted = false;
    if (wanted && known.policy != NULL && same) { /* it is only old: mail need not wait */
        l->fn(l->ctx, known.policy);
        l->fn = NULL;
    }
    sts_policy_rele(known.policy);
    if (wanted) {
        char host[512];
        snprintf(l->id, sizeof l->id, "%s", id);
        snprintf(host, sizeof host, STS_HOST "%s", l->domain);
        l->request = dns_public_host(l->w->dns, span_str(host), (uint16_t)l->w->config->delivery.mta_sts_port,
                                     found_host_cb, l);
    }
    if (l->request == NULL)
        lookup_finish(l);
}

struct sts_lookup *sts_lookup_start(struct worker *w, struct span domain, sts_fn *fn, void *ctx)
{
    char name[512];
    struct sts_lookup *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    list_push_back(&w->sts_lookups, &l->link);
    l->w = w;
    l->fn = fn;
    l->ctx = ctx;
    if (dns_name_normalise(domain, l->domain) != 0 ||
        timer_init(&l->timer, &w->timers, lookup_timer_cb) != 0) {
        lookup_free(l);
        return NULL;
    }
    l->timing = true;
    snprintf(name, sizeof name, STS_TXT "%s", l->domain);
    l->request = dns_lookup(w->dns, span_str(name), DNS_TYPE_TXT, found_txt_cb, l);
    if (l->request == NULL) {
        lookup_free(l);
        return NULL;
    }
    timer_set(&l->timer, LOOKUP_TIMEOUT_MS);
    return l;
}

/* ---- life ---------------------------------------------------------------------------------------------- */

int sts_new(const char *data_dir, struct sts **out)
{
    char file[4096];
    struct sts *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    int err = snprintf(file, sizeof file, "%s/mta-sts", data_dir) >= (int)sizeof file ? ERR_LIMIT : 0;
    if (err == 0 && curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        err = ERR_FAILED;
    if (err == 0)
        err = sts_store_new(file, STS_STORE_ENTRIES_MAX, clock_wall_ms(), &s->store);
    if (err == 0)
        err = auth_pool_start(THREADS, QUEUE_MAX, &s->pool);
    if (err != 0) {
        log_error("mta-sts", "cannot start: %s", err_text(err));
        sts_store_free(s->store);
        free(s);
        return err;
    }
    *out = s;
    return 0;
}

void sts_free(struct sts *s)
{
    if (s == NULL)
        return;
    atomic_store(&s->stop, true);
    auth_pool_stop(s->pool);
    save(s, clock_wall_ms(), true);
    sts_store_free(s->store);
    free(s);
}

uint32_t sts_known(struct sts *s)
{
    return sts_store_count(s->store);
}
