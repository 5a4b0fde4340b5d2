/* A TLS report on its way to a web server. The worker's thread; what blocks is on the threads that fetch
 * MTA-STS policies. */
#include "node/core/tlsrpt_post.h"

#include "base/err.h"
#include "node/auth/pool.h"
#include "node/core/node.h"
#include "node/core/sts.h"
#include "node/core/worker.h"
#include "node/net/dns.h"
#include "node/tlspolicy/rpt_post.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tlsrpt_post {
    struct worker_msg msg; /* first; on its way back */
    struct auth_job job;
    struct worker *w;
    struct dns_request *request;
    tlsrpt_post_fn *fn; /* NULL: nobody waits for it any more */
    void *ctx;
    struct rpt_url url;
    char addresses[HTTPS_ADDRESSES_TEXT];
    bool pooled, sent;
    char why[200];
    struct buf report;
};

static void post_free(struct tlsrpt_post *p)
{
    if (p->request != NULL)
        dns_cancel(p->request);
    buf_fini(&p->report);
    free(p);
}

static void post_end(struct tlsrpt_post *p)
{
    if (p->fn != NULL)
        p->fn(p->ctx, p->sent, p->why);
    post_free(p);
}

static void run_answer(struct worker *w, struct worker_msg *msg)
{
    (void)w;
    post_end((struct tlsrpt_post *)msg);
}

static void job_run(struct auth_job *job, int stopping)
{
    struct tlsrpt_post *p = LIST_ITEM(job, struct tlsrpt_post, job);
    if (stopping)
        snprintf(p->why, sizeof p->why, "the node stops");
    else
        p->sent =
            rpt_post(&p->url, p->addresses, sts_stopping(p->w->node->sts), buf_span(&p->report), p->why) == 0;
    p->msg.run = run_answer;
    worker_post_always(p->w, &p->msg);
}

static void found_cb(void *ctx, struct dns_site *found)
{
    struct tlsrpt_post *p = ctx;
    p->request = NULL;
    if (found->status != DNS_OK) {
        snprintf(p->why, sizeof p->why, "%.60s: %.130s", p->url.host, found->reason);
        post_end(p);
        return;
    }
    sts_put_addresses(p->addresses, found);
    p->job.run = job_run;
    p->pooled = true;
    if (sts_push(p->w->node->sts, &p->job) == 0)
        return;
    p->pooled = false;
    snprintf(p->why, sizeof p->why, "too much is being fetched");
    post_end(p);
}

struct tlsrpt_post *tlsrpt_post_start(struct worker *w, struct span url, struct span report,
                                      tlsrpt_post_fn *fn, void *ctx)
{
    struct tlsrpt_post *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->w = w;
    p->fn = fn;
    p->ctx = ctx;
    buf_init(&p->report, report.n);
    if (rpt_url_parse(url, &p->url) == 0 && buf_put_span(&p->report, report) == 0)
        p->request = dns_public_host(w->dns, span_str(p->url.host), p->url.port, found_cb, p);
    if (p->request != NULL)
        return p;
    post_free(p);
    return NULL;
}

void tlsrpt_post_cancel(struct tlsrpt_post *p)
{
    if (p == NULL)
        return;
    p->fn = NULL;
    if (!p->pooled)
        post_free(p);
}
