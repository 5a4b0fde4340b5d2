/* A client's name: the PTR record of its address, and whether that name leads back to it. One loop's thread.
 */
#include "node/net/dns_impl.h"

#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 5 /* names of one address that are tried; each costs the client a look-up of ours */

struct client_request {
    struct dns_request request; /* first */
    struct ip_addr addr;
    struct dns_ask *ask;
    dns_client_fn *fn;
    void *ctx;
    bool soon;
    uint32_t n, at; /* names, and the one being asked for */
    char names[NAMES_MAX][DNS_NAME_MAX];
    struct dns_client result;
};

static void client_drop(struct dns_request *r)
{
    struct client_request *q = (struct client_request *)r;
    dns_ask_cancel(q->ask);
    dns_request_fini(r);
    free(q);
}

static void client_finish(struct client_request *q)
{
    dns_request_finish(&q->request);
    q->result.ttl_s = dns_ttl(q->result.ttl_s, q->result.status);
    q->fn(q->ctx, &q->result);
    client_drop(&q->request);
}

/* Out of time, or it was clear from the start. */
static void client_due(struct dns_request *r)
{
    struct client_request *q = (struct client_request *)r;
    if (!q->soon)
        r->d->stats.timed_out++;
    if (q->n == 0)
        q->result.status = DNS_TEMPORARY;
    else
        q->result.confirm_status = DNS_TEMPORARY;
    client_finish(q);
}

static void confirm_reply(void *ctx, const struct dns_reply *reply);

static void confirm_next(struct client_request *q)
{
    for (; q->at < q->n; q->at++) {
        int type = q->addr.family == 4 ? DNS_TYPE_A : DNS_TYPE_AAAA;
        if (dns_ask(q->request.d, q->names[q->at], type, confirm_reply, q, &q->ask) == 0)
            return;
        q->result.confirm_status = DNS_TEMPORARY;
    }
    client_finish(q);
}

static void confirm_reply(void *ctx, const struct dns_reply *reply)
{
    struct client_request *q = ctx;
    q->ask = NULL;
    int want = q->addr.family == 4 ? 4 : 16;
    if (reply->status == DNS_TEMPORARY)
        q->result.confirm_status = DNS_TEMPORARY;
    for (uint32_t i = 0; i < reply->n; i++) {
        if (reply->len[i] == want && memcmp(reply->data[i], q->addr.bytes, (size_t)want) == 0) {
            q->result.confirmed = true;
            q->result.confirm_status = DNS_OK;
            memcpy(q->result.name, q->names[q->at], DNS_NAME_MAX);
            client_finish(q);
            return;
        }
    }
    q->at++;
    confirm_next(q);
}

static void ptr_reply(void *ctx, const struct dns_reply *reply)
{
    struct client_request *q = ctx;
    q->ask = NULL;
    q->result.status = reply->status;
    q->result.ttl_s = reply->ttl_s;
    for (uint32_t i = 0; i < reply->n && q->n < NAMES_MAX; i++) {
        if (dns_name_from_wire(reply->data[i], (size_t)reply->len[i], q->names[q->n]) == 0 &&
            q->names[q->n][0] != '\0')
            q->n++;
    }
    if (q->n == 0) {
        if (reply->status == DNS_OK)
            q->result.status = DNS_PERMANENT;
        client_finish(q);
        return;
    }
    memcpy(q->result.name, q->names[0], DNS_NAME_MAX);
    q->result.confirm_status = DNS_PERMANENT;
    confirm_next(q);
}

struct dns_request *dns_client(struct dns *d, const struct ip_addr *addr, dns_client_fn *fn, void *ctx)
{
    struct client_request *q = calloc(1, sizeof *q);
    if (q == NULL)
        return NULL;
    if (dns_request_init(&q->request, d, client_due, client_drop) != 0) {
        free(q);
        return NULL;
    }
    q->addr = *addr;
    q->fn = fn;
    q->ctx = ctx;
    q->result.confirm_status = DNS_PERMANENT;
    char name[80];
    if (dns_ask(d, ip_reverse_name(addr, name), DNS_TYPE_PTR, ptr_reply, q, &q->ask) != 0) {
        q->soon = true;
        dns_request_soon(&q->request);
    }
    return &q->request;
}
