/* What sites answer to our source addresses: see egress_rest.h. */
#include "node/core/egress_rest.h"

#include "base/clock.h"
#include "node/core/conn.h"
#include "node/core/egress.h"
#include "node/core/node.h"
#include "node/core/route.h"

#include <errno.h>
#include <stdlib.h>

#define ROWS_MIN 256 /* of a worker, however many there are */

struct source_rest {
    uint32_t n;
    struct source_records *records[]; /* of each worker */
};

int egress_rest_node_init(struct node *n)
{
    uint32_t rows = SOURCE_RECORD_ROWS_MAX / n->nworkers;
    struct source_rest *r = calloc(1, sizeof *r + n->nworkers * sizeof r->records[0]);
    n->rest = r;
    if (r == NULL)
        return -ENOMEM;
    r->n = n->nworkers;
    for (uint32_t i = 0; i < n->rest->n; i++)
        if ((r->records[i] = source_records_new(rows > ROWS_MIN ? rows : ROWS_MIN)) == NULL)
            return -ENOMEM; /* the rest is freed with the node */
    return 0;
}

void egress_rest_node_fini(struct node *n)
{
    for (uint32_t i = 0; n->rest != NULL && i < n->rest->n; i++)
        source_records_free(n->rest->records[i]);
    free(n->rest);
    n->rest = NULL;
}

/* ---- one connection ------------------------------------------------------------------------------------ */

/* Of the site that the queue has joined; else the destination's own. */
static struct span site_of(const struct conn *c)
{
    if (c->site == NULL)
        return route_key_site(span_str(c->attempt->site));
    struct span key = egress_sites_key(c->site);
    return route_key_site(key.n > 0 ? key : queue_site_key(c->site->qs));
}

static bool source_of(const struct conn *c, struct ip_addr *out)
{
    *out = (struct ip_addr){ 0 };
    if (c->meter != NULL)
        *out = c->source_addr;
    else if (c->stream != NULL)
        stream_local(c->stream, out, NULL);
    else if (c->attempt != NULL)
        *out = c->attempt->from;
    return out->family != 0;
}

static void answered(const struct smtp_client_result *r, struct source_answer *out)
{
    struct bounce_reply reply;
    bounce_reply_read(span_of(r->reply.text, r->reply.len), &reply);
    reply.code = r->reply.code;
    memcpy(reply.status, r->reply.enhanced, sizeof reply.status);
    *out = (struct source_answer){ .outcome = r->reply.code < 500 ? SOURCE_DEFERRED : SOURCE_REFUSED,
                                   .class = bounce_classify(&reply),
                                   .n = 1 };
}

static void count(struct conn *c, const struct ip_addr *addr, struct span site,
                  const struct smtp_client_result *r)
{
    struct source_answer a;
    struct buf text;
    answered(r, &a);
    buf_init(&text, SMTP_REPLY_TEXT_MAX + 64);
    (void)smtp_reply_text_put(&text, &r->reply);
    a.reply = buf_span(&text);
    source_record_add(c->e->w->node->rest->records[c->e->w->index], addr, site, &a, NULL, clock_wall_ms());
    buf_fini(&text);
}

void conn_rest_settled(struct conn *c)
{
    const struct attempt *a = c->attempt;
    struct source_answer good = { .outcome = SOURCE_DELIVERED };
    struct ip_addr addr;
    if (!source_of(c, &addr))
        return;
    struct span site = site_of(c);
    for (uint32_t i = 0; i < a->nrcpts; i++) {
        const struct smtp_client_result *r = &a->results[i];
        good.n += r->class == SMTP_CLIENT_OK;
        if (!r->local && (r->class == SMTP_CLIENT_TEMPORARY || r->class == SMTP_CLIENT_PERMANENT))
            count(c, &addr, site, r);
    }
    if (good.n > 0)
        source_record_add(c->e->w->node->rest->records[c->e->w->index], &addr, site, &good, NULL,
                          clock_wall_ms());
}

void conn_rest_refused(struct conn *c, const struct smtp_client_result *why)
{
    struct ip_addr addr;
    if (why != NULL && !why->local && why->reply.code >= 400 && c->site != NULL && source_of(c, &addr))
        count(c, &addr, site_of(c), why);
}

/* ---- looking ------------------------------------------------------------------------------------------- */

void egress_rest_each(struct node *n, const struct ip_addr *addr, source_row_fn *fn, void *ctx)
{
    for (uint32_t i = 0; i < n->rest->n; i++)
        source_record_each(n->rest->records[i], addr, clock_wall_ms(), fn, ctx);
}

int egress_rest_metrics(struct node *n, struct buf *out)
{
    uint64_t rows = 0, forgotten = 0;
    for (uint32_t i = 0; i < n->rest->n; i++) {
        rows += source_records_count(n->rest->records[i]);
        forgotten += source_records_forgotten(n->rest->records[i]);
    }
    return buf_printf(
        out,
        "# HELP turnpike_source_records Pairs of source address and site whose answers are counted.\n"
        "# TYPE turnpike_source_records gauge\n"
        "turnpike_source_records %llu\n"
        "# HELP turnpike_source_records_forgotten_total Such pairs that went for newer ones.\n"
        "# TYPE turnpike_source_records_forgotten_total counter\n"
        "turnpike_source_records_forgotten_total %llu\n",
        (unsigned long long)rows, (unsigned long long)forgotten);
}
