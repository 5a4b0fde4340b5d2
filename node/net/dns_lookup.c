/* Plain look-ups of one name and type. One loop's thread. */
#include "node/net/dns_impl.h"

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>

struct lookup {
    struct dns_request request;
    struct dns_ask *ask;
    int failed; /* asking failed at once */
    dns_lookup_fn *fn;
    void *ctx;
};

static void lookup_drop(struct dns_request *r)
{
    struct lookup *l = (struct lookup *)r;
    dns_ask_cancel(l->ask);
    dns_request_fini(r);
    free(l);
}

static void lookup_finish(struct lookup *l, const struct dns_answer *answer)
{
    dns_request_finish(&l->request);
    l->fn(l->ctx, answer);
    lookup_drop(&l->request);
}

static void lookup_due(struct dns_request *r)
{
    struct lookup *l = (struct lookup *)r;
    struct dns_answer answer = { .status = DNS_TEMPORARY, .ttl_s = dns_ttl(0, DNS_TEMPORARY) };
    if (l->failed == 0)
        r->d->stats.timed_out++;
    snprintf(answer.reason, sizeof answer.reason, "%s",
             l->failed == 0 ? "no answer in time" : err_text(l->failed));
    lookup_finish(l, &answer);
}

static void lookup_reply(void *ctx, const struct dns_reply *reply)
{
    struct lookup *l = ctx;
    l->ask = NULL;
    struct dns_answer answer = { .status = reply->status,
                                 .secure = reply->secure,
                                 .bogus = reply->bogus,
                                 .ttl_s = dns_ttl(reply->ttl_s, reply->status) };
    snprintf(answer.reason, sizeof answer.reason, "%s", reply->reason == NULL ? "" : reply->reason);
    struct span *records = reply->n == 0 ? NULL : calloc(reply->n, sizeof *records);
    if (reply->n > 0 && records == NULL) {
        answer.status = DNS_TEMPORARY;
        snprintf(answer.reason, sizeof answer.reason, "out of memory");
    }
    for (uint32_t i = 0; records != NULL && i < reply->n; i++)
        records[i] = span_of(reply->data[i], (size_t)reply->len[i]);
    answer.records = records;
    answer.nrecords = records == NULL ? 0 : reply->n;
    lookup_finish(l, &answer);
    free(records);
}

struct dns_request *dns_lookup(struct dns *d, struct span name, int type, dns_lookup_fn *fn, void *ctx)
{
    struct lookup *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    if (dns_request_init(&l->request, d, lookup_due, lookup_drop) != 0) {
        free(l);
        return NULL;
    }
    l->fn = fn;
    l->ctx = ctx;
    char text[DNS_NAME_MAX];
    l->failed = dns_name_normalise(name, text);
    if (l->failed == 0)
        l->failed = dns_ask(d, text, type, lookup_reply, l, &l->ask);
    if (l->failed != 0)
        dns_request_soon(&l->request);
    return &l->request;
}
