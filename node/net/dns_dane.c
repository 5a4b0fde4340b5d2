/* The TLSA records of a domain's hosts (RFC 7672 section 2.2). Which of them are usable is tlspolicy's. One
 * loop's thread.
 *
 *   all validated: _25._tcp.<where its aliases lead>, then _25._tcp.<the host>
 *   only its alias is: CNAME of the host, then _25._tcp.<the host>
 *   else: none
 */
#include "node/net/dns_site.h"

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void dns_want_dane(struct dns_request *r, uint16_t port)
{
    ((struct site_request *)r)->dane_port = port;
}

void dns_dane_cancel(struct site_host *h)
{
    dns_ask_cancel(h->dane_ask);
    free(h->dane.set);
    h->dane_ask = NULL;
    h->dane.set = NULL;
}

static void dane_set(struct site_host *h, enum tlsa_status status)
{
    h->dane_known = true;
    h->dane.status = status;
}

static void dane_failed(struct site_host *h, const char *base, const char *reason)
{
    dane_set(h, TLSA_FAILED);
    snprintf(h->dane.why, sizeof h->dane.why, "TLSA records of %.64s: %.60s", base, reason);
}

static void dane_ask(struct site_host *h, const char *base);

/* False: another name is asked for. */
static bool dane_take(struct site_host *h, const struct dns_reply *reply)
{
    struct site_request *q = h->q;
    if (reply->status == DNS_TEMPORARY) {
        dane_failed(h, h->dane.base, reply->bogus ? "they fail DNSSEC validation" : reply->reason);
        return true;
    }
    uint32_t ttl = dns_ttl(reply->ttl_s, DNS_OK);
    q->ttl_s = ttl < q->ttl_s ? ttl : q->ttl_s;
    if (reply->secure && reply->n > 0) {
        struct span *rdata = calloc(reply->n, sizeof *rdata);
        for (uint32_t i = 0; rdata != NULL && i < reply->n; i++)
            rdata[i] = span_of(reply->data[i], (size_t)reply->len[i]);
        dane_set(h, rdata == NULL ? TLSA_FAILED : tlsa_select(rdata, reply->n, &h->dane.set));
        if (h->dane.status == TLSA_FAILED)
            dane_failed(h, h->dane.base, "out of memory");
        free(rdata);
        return true;
    }
    if (strcmp(h->dane.base, h->name) == 0) {
        dane_set(h, TLSA_NONE);
        return true;
    }
    dane_ask(h, h->name);
    return h->dane_known;
}

static void dane_reply(void *ctx, const struct dns_reply *reply)
{
    struct site_host *h = ctx;
    h->dane_ask = NULL;
    if (dane_take(h, reply))
        site_settled(h->q);
}

static void dane_ask(struct site_host *h, const char *base)
{
    char name[DNS_NAME_MAX + 16];
    snprintf(h->dane.base, sizeof h->dane.base, "%s", base);
    int n = snprintf(name, sizeof name, "_%u._tcp.%s", h->q->dane_port, base);
    if (n < 0 || n > 253) /* there can be no such name */
        dane_set(h, TLSA_NONE);
    else if (dns_ask(h->q->request.d, name, DNS_TYPE_TLSA, dane_reply, h, &h->dane_ask) != 0)
        dane_failed(h, base, "too many DNS queries");
}

static void cname_reply(void *ctx, const struct dns_reply *reply)
{
    struct site_host *h = ctx;
    h->dane_ask = NULL;
    if (reply->status == DNS_TEMPORARY)
        dane_failed(h, h->name, reply->bogus ? "its alias fails DNSSEC validation" : reply->reason);
    else if (reply->secure && reply->n > 0)
        dane_ask(h, h->name);
    else
        dane_set(h, TLSA_NONE);
    if (h->dane_known)
        site_settled(h->q);
}

static bool has_address(const struct site_host *h)
{
    const struct site_request *q = h->q;
    for (uint32_t i = 0; i < q->naddrs; i++) {
        if (&q->hosts[q->addrs[i].host] == h)
            return true;
    }
    return false;
}

/* Whether there could be a validated answer. Without one for the MX records an attacker names the hosts. */
static bool possible(const struct site_host *h)
{
    const struct site_request *q = h->q;
    return q->dane_port != 0 && (q->operators || q->mx_secure);
}

void dns_dane_start(struct site_host *h)
{
    struct site_request *q = h->q;
    bool alias = h->canon[0] != '\0' && strcmp(h->canon, h->name) != 0;
    if (!possible(h) || !has_address(h) || (h->insecure && !alias)) {
        dane_set(h, TLSA_NONE);
        return;
    }
    if (!h->insecure)
        dane_ask(h, alias ? h->canon : h->name);
    else if (dns_ask(q->request.d, h->name, DNS_TYPE_CNAME, cname_reply, h, &h->dane_ask) != 0)
        dane_failed(h, h->name, "too many DNS queries");
    if (!h->dane_known)
        q->pending++;
}

void dns_dane_due(struct site_request *q)
{
    for (uint32_t i = 0; i < q->nhosts; i++) {
        struct site_host *h = &q->hosts[i];
        if (!h->dane_known && possible(h))
            dane_failed(h, h->dane.base[0] != '\0' ? h->dane.base : h->name, "no answer from DNS in time");
    }
}
