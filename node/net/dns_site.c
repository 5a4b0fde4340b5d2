/* Where a domain's mail goes (RFC 5321 section 5.1): MX hosts by preference, their addresses, and which of
 * those we may connect to. The result is put together in dns_targets.c. One loop's thread.
 *
 *   literal ---------------------------------------------------------------> result
 *   MX -> hosts (or the domain itself) -> A and AAAA of each, all at once ---> result
 *    `-> SERVFAIL -> its CNAMEs one by one (also of a host) -> a circle -----> result
 */
#include "node/net/dns_site.h"

#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void site_due(struct dns_request *r);

static void site_drop(struct dns_request *r)
{
    struct site_request *q = (struct site_request *)r;
    dns_ask_cancel(q->mx_ask);
    dns_walk_cancel(q->walk);
    for (uint32_t i = 0; i < q->nhosts; i++) {
        dns_ask_cancel(q->hosts[i].asks[0].ask);
        dns_ask_cancel(q->hosts[i].asks[1].ask);
        dns_walk_cancel(q->hosts[i].walk);
        dns_dane_cancel(&q->hosts[i]);
    }
    free(q->hosts);
    free(q->addrs);
    dns_request_fini(r);
    free(q);
}

/* Hands the result over and ends the request. */
static void site_finish(struct site_request *q, struct dns_site *site)
{
    dns_request_finish(&q->request);
    q->fn(q->ctx, site);
    dns_site_rele(site);
    site_drop(&q->request);
}

void site_end(struct site_request *q, enum dns_status status, const char *enhanced, const char *fmt, ...)
{
    char reason[sizeof q->reason];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    struct dns_site *site = dns_site_failed(status, enhanced, reason, q->ttl_s);
    if (site == NULL)
        site = dns_site_failed_static();
    site_finish(q, site);
}

/* Later, from the loop: when it turned out at the start. */
static void site_end_soon(struct site_request *q, enum dns_status status, const char *enhanced,
                          const char *reason)
{
    q->soon = true;
    q->soon_status = status;
    snprintf(q->enhanced, sizeof q->enhanced, "%s", enhanced);
    snprintf(q->reason, sizeof q->reason, "%s", reason);
    dns_request_soon(&q->request);
}

static void hosts_done(struct site_request *q)
{
    struct dns_site *site = dns_targets_build(q);
    if (site == NULL)
        site = dns_site_failed_static();
    site_finish(q, site);
}

void site_settled(struct site_request *q)
{
    if (--q->pending == 0)
        hosts_done(q);
}

/* One of a host's addresses is known, or known not to be. */
static void host_settled(struct site_host *h)
{
    if (--h->open == 0)
        dns_dane_start(h);
    site_settled(h->q);
}

/* ---- addresses of the hosts ---- */

static void host_walked(void *ctx, bool loop)
{
    struct site_host *h = ctx;
    h->walk = NULL;
    h->loop = loop;
    host_settled(h);
}

static int add_addr(struct site_request *q, const struct site_host *h, const struct dns_reply *reply,
                    uint32_t i, bool v6)
{
    if (reply->len[i] != (v6 ? 16 : 4))
        return 0;
    struct site_addr a = { .host = (uint16_t)(h - q->hosts), .secure = reply->secure };
    const uint8_t *bytes = (const uint8_t *)reply->data[i];
    a.addr = v6 ? ip_addr_v6(bytes, &a.mapped) : ip_addr_v4(bytes);
    return site_add_addr(q, &a);
}

static void host_reply(void *ctx, const struct dns_reply *reply)
{
    struct site_ask *sa = ctx;
    struct site_host *h = sa->h;
    struct site_request *q = h->q;
    bool v6 = sa == &h->asks[1];
    sa->ask = NULL;
    if (reply->status == DNS_TEMPORARY) {
        h->failed = true;
        q->bogus = q->bogus || reply->bogus;
        snprintf(q->reason, sizeof q->reason, "%.128s: %.120s", h->name, reply->reason);
        if (reply->quick_failure && !h->walked) {
            h->walked = true;
            if (dns_walk(q->request.d, h->name, host_walked, h, &h->walk) == 0)
                return; /* settled when that is known */
        }
    } else {
        h->insecure = h->insecure || !reply->secure;
        if (reply->canon != NULL && reply->n > 0 && dns_name_normalise(span_str(reply->canon), h->canon) != 0)
            h->canon[0] = '\0';
        uint32_t ttl = dns_ttl(reply->ttl_s, DNS_OK);
        q->ttl_s = ttl < q->ttl_s ? ttl : q->ttl_s;
        for (uint32_t i = 0; i < reply->n; i++) {
            if (add_addr(q, h, reply, i, v6) != 0)
                break;
        }
    }
    host_settled(h);
}

static void host_ask(struct site_request *q, struct site_host *h, bool v6)
{
    struct site_ask *sa = &h->asks[v6 ? 1 : 0];
    int err = dns_ask(q->request.d, h->name, v6 ? DNS_TYPE_AAAA : DNS_TYPE_A, host_reply, sa, &sa->ask);
    if (err == 0) {
        q->pending++;
        h->open++;
        return;
    }
    h->failed = true;
    snprintf(q->reason, sizeof q->reason, "%.200s: too many DNS queries", h->name);
}

/* Asks for all of them. `now` tells that we are in the loop, so that the end may come at once. */
static void hosts_ask(struct site_request *q, bool now)
{
    enum dns_family family = q->request.d->family;
    for (uint32_t i = 0; i < q->nhosts; i++) {
        struct site_host *h = &q->hosts[i];
        h->q = q;
        h->asks[0].h = h->asks[1].h = h;
        if (family != DNS_FAMILY_V4)
            host_ask(q, h, true);
        if (family != DNS_FAMILY_V6)
            host_ask(q, h, false);
    }
    if (q->pending > 0)
        return;
    if (now) {
        hosts_done(q);
    } else {
        q->built_soon = true;
        dns_request_soon(&q->request);
    }
}

static void one_host(struct site_request *q, bool now)
{
    q->hosts = calloc(1, sizeof *q->hosts);
    if (q->hosts == NULL) {
        if (now)
            site_end(q, DNS_TEMPORARY, "4.3.0", "out of memory");
        else
            site_end_soon(q, DNS_TEMPORARY, "4.3.0", "out of memory");
        return;
    }
    q->nhosts = 1;
    memcpy(q->hosts[0].name, q->domain, sizeof q->domain);
    hosts_ask(q, now);
}

/* ---- MX ---- */

static int host_cmp(const void *a, const void *b)
{
    const struct site_host *x = a;
    const struct site_host *y = b;
    if (x->preference != y->preference)
        return x->preference < y->preference ? -1 : 1;
    return x->shuffle < y->shuffle ? -1 : x->shuffle > y->shuffle;
}

static bool is_own_name(const struct dns *d, const char *name)
{
    for (size_t i = 0; i < d->nown_names; i++) {
        if (strcmp(d->own_names[i].name, name) == 0)
            return true;
    }
    return false;
}

static bool listed(const struct site_request *q, const char *name)
{
    for (uint32_t i = 0; i < q->nhosts; i++) {
        if (strcmp(q->hosts[i].name, name) == 0)
            return true;
    }
    return false;
}

/* Of n hosts by preference, those to be used: each name once, where it is best; at most mx_max; and when we
 * are among them, only those better than us (RFC 5321 section 5.1). */
static void choose(struct site_request *q, const struct site_host *all, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (is_own_name(q->request.d, all[i].name)) {
            q->cut_at_us = true;
            while (q->nhosts > 0 && q->hosts[q->nhosts - 1].preference == all[i].preference)
                q->nhosts--;
            return;
        }
        if (q->nhosts < q->request.d->mx_max && !listed(q, all[i].name))
            q->hosts[q->nhosts++] = all[i];
    }
}

/* The best of the records, in the order to be tried. -ENOMEM, ERR_NOT_FOUND when none is usable, or 0. `null`
 * tells of
 * "." among them. */
static int take_mx(struct site_request *q, const struct dns_reply *reply, bool *null)
{
    struct site_host *all = calloc(reply->n, sizeof *all);
    if (all == NULL)
        return -ENOMEM;
    uint32_t n = 0;
    for (uint32_t i = 0; i < reply->n; i++) {
        const char *p = reply->data[i];
        size_t len = (size_t)reply->len[i];
        if (len < 3 || dns_name_from_wire(p + 2, len - 2, all[n].name) != 0)
            continue;
        if (all[n].name[0] == '\0') {
            *null = true;
            continue;
        }
        all[n].preference = (uint16_t)((uint8_t)p[0] << 8 | (uint8_t)p[1]);
        all[n].shuffle = dns_random(q->request.d);
        n++;
    }
    qsort(all, n, sizeof *all, host_cmp);
    q->hosts = all;
    choose(q, all, n); /* in place: what is kept never overtakes what is read */
    struct site_host *fit = q->nhosts == 0 ? NULL : realloc(all, q->nhosts * sizeof *all);
    if (fit != NULL)
        q->hosts = fit;
    return n == 0 ? ERR_NOT_FOUND : 0;
}

static void mx_walked(void *ctx, bool loop)
{
    struct site_request *q = ctx;
    q->walk = NULL;
    if (loop)
        site_end(q, DNS_PERMANENT, "5.4.6", "CNAME records of %s go round in a circle", q->domain);
    else
        site_end(q, DNS_TEMPORARY, "4.4.3", "MX of %s: name server failure", q->domain);
}

static void mx_records(struct site_request *q, const struct dns_reply *reply)
{
    bool null = false;
    int err = take_mx(q, reply, &null);
    if (err == -ENOMEM) {
        site_end(q, DNS_TEMPORARY, "4.3.0", "out of memory");
    } else if (err != 0 && null) { /* RFC 7505 section 3; among other records it means nothing */
        site_end(q, DNS_PERMANENT, "5.1.10", "%s takes no mail (null MX)", q->domain);
    } else if (err != 0) {
        site_end(q, DNS_PERMANENT, "5.4.4", "%s: no MX record names a host", q->domain);
    } else if (q->nhosts == 0) {
        site_end(q, DNS_PERMANENT, "5.4.6", "mail for %s loops back to us: we are its best MX", q->domain);
    } else {
        q->mx = true;
        hosts_ask(q, true);
    }
}

static void mx_reply(void *ctx, const struct dns_reply *reply)
{
    struct site_request *q = ctx;
    q->mx_ask = NULL;
    q->mx_secure = reply->secure;
    q->ttl_s = dns_ttl(reply->ttl_s, DNS_OK);
    if (reply->status == DNS_PERMANENT) {
        site_end(q, DNS_PERMANENT, "5.1.2", "no such domain: %s", q->domain);
    } else if (reply->status == DNS_OK && reply->n > 0) {
        mx_records(q, reply);
    } else if (reply->status == DNS_OK) {
        if (is_own_name(q->request.d, q->domain))
            site_end(q, DNS_PERMANENT, "5.4.6", "mail for %s loops back to us", q->domain);
        else
            one_host(q, true); /* RFC 5321 section 5.1: the domain is its own MX, of preference 0 */
    } else if (!reply->quick_failure || dns_walk(q->request.d, q->domain, mx_walked, q, &q->walk) != 0) {
        site_end(q, DNS_TEMPORARY, "4.4.3", "MX of %s: %s", q->domain, reply->reason);
    }
}

/* ---- start ---- */

static void site_due(struct dns_request *r)
{
    struct site_request *q = (struct site_request *)r;
    if (q->soon) {
        char reason[sizeof q->reason];
        memcpy(reason, q->reason, sizeof reason);
        site_end(q, q->soon_status, q->enhanced, "%s", reason);
    } else if (q->built_soon) {
        hosts_done(q);
    } else if (q->naddrs > 0) {
        /* some hosts are known, the rest is slow: go on with what there is */
        for (uint32_t i = 0; i < q->nhosts; i++) {
            struct site_host *h = &q->hosts[i];
            h->failed = h->failed || h->asks[0].ask != NULL || h->asks[1].ask != NULL;
        }
        dns_dane_due(q);
        hosts_done(q);
    } else {
        r->d->stats.timed_out++;
        site_end(q, DNS_TEMPORARY, "4.4.3", "%s: no answer from DNS in time", q->domain);
    }
}

static struct site_request *request_new(struct dns *d, dns_site_fn *fn, void *ctx, uint16_t port)
{
    struct site_request *q = calloc(1, sizeof *q);
    if (q == NULL)
        return NULL;
    if (dns_request_init(&q->request, d, site_due, site_drop) != 0) {
        free(q);
        return NULL;
    }
    q->fn = fn;
    q->ctx = ctx;
    q->port = port;
    q->ttl_s = 3600;
    return q;
}

/* A target that needs no asking. */
static void known_addrs(struct site_request *q, const struct ip_addr *addrs, size_t n)
{
    q->hosts = calloc(1, sizeof *q->hosts);
    for (size_t i = 0; i < n && q->hosts != NULL; i++) {
        if (site_add_addr(q, &(struct site_addr){ .addr = addrs[i] }) != 0)
            break;
    }
    if (q->hosts == NULL) {
        site_end_soon(q, DNS_TEMPORARY, "4.3.0", "out of memory");
        return;
    }
    q->nhosts = 1;
    memcpy(q->hosts[0].name, q->domain, sizeof q->domain);
    q->built_soon = true;
    dns_request_soon(&q->request);
}

static void set_domain(struct site_request *q, struct span text)
{
    snprintf(q->domain, sizeof q->domain, "%.*s", (int)(text.n < 255 ? text.n : 255),
             text.n == 0 ? "" : text.p);
}

struct dns_request *dns_site(struct dns *d, struct span domain, dns_site_fn *fn, void *ctx)
{
    enum { PORT_SMTP = 25 };
    struct site_request *q = request_new(d, fn, ctx, PORT_SMTP);
    if (q == NULL)
        return NULL;
    struct ip_addr addr;
    if (domain.n > 0 && domain.p[0] == '[') {
        set_domain(q, domain);
        if (ip_literal_parse(domain, &addr) == 0)
            known_addrs(q, &addr, 1);
        else
            site_end_soon(q, DNS_PERMANENT, "5.1.2", "not an address literal");
        return &q->request;
    }
    if (dns_name_normalise(domain, q->domain) != 0) {
        site_end_soon(q, DNS_PERMANENT, "5.1.2", "not a domain name");
        return &q->request;
    }
    int err = dns_ask(d, q->domain, DNS_TYPE_MX, mx_reply, q, &q->mx_ask);
    if (err != 0)
        site_end_soon(q, DNS_TEMPORARY, "4.4.3", err == ERR_LIMIT ? "too many DNS queries" : err_text(err));
    return &q->request;
}

struct dns_request *dns_host(struct dns *d, struct span host, uint16_t port, dns_site_fn *fn, void *ctx)
{
    struct site_request *q = request_new(d, fn, ctx, port);
    if (q == NULL)
        return NULL;
    q->operators = true;
    struct ip_addr addrs[16];
    if (ip_literal_parse(host, addrs) == 0 || ip_addr_parse(host, addrs) == 0) {
        set_domain(q, host);
        known_addrs(q, addrs, 1);
        return &q->request;
    }
    if (dns_name_normalise(host, q->domain) != 0) {
        set_domain(q, host);
        site_end_soon(q, DNS_TEMPORARY, "4.4.4", "the next hop is not a host name");
        return &q->request;
    }
    size_t n = dns_hosts_find(d->hosts, q->domain, addrs, sizeof addrs / sizeof *addrs);
    if (n > 0)
        known_addrs(q, addrs, n);
    else
        one_host(q, false);
    return &q->request;
}

struct dns_request *dns_public_host(struct dns *d, struct span host, uint16_t port, dns_site_fn *fn,
                                    void *ctx)
{
    struct site_request *q = request_new(d, fn, ctx, port);
    if (q == NULL)
        return NULL;
    if (dns_name_normalise(host, q->domain) != 0)
        site_end_soon(q, DNS_PERMANENT, "5.1.2", "not a host name");
    else
        one_host(q, false);
    return &q->request;
}
