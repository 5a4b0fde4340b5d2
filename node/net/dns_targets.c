/* Judges the addresses of a domain's hosts and puts the list of targets together. Asks nobody. One loop's
 * thread. */
#include "node/net/dns_site.h"

#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REFS_STATIC UINT32_MAX

int site_add_addr(struct site_request *q, const struct site_addr *a)
{
    if (q->naddrs >= SITE_ADDRS_MAX)
        return ERR_LIMIT;
    if (q->naddrs == q->addrs_cap) {
        uint32_t cap = q->addrs_cap == 0 ? 4 : q->addrs_cap * 2;
        struct site_addr *addrs = realloc(q->addrs, cap * sizeof *addrs);
        if (addrs == NULL)
            return -ENOMEM;
        q->addrs = addrs;
        q->addrs_cap = cap;
    }
    q->addrs[q->naddrs] = *a;
    q->addrs[q->naddrs++].shuffle = dns_random(q->request.d);
    return 0;
}

/* ---- results ---- */

struct dns_site *dns_site_failed(enum dns_status status, const char *enhanced, const char *reason,
                                 uint32_t ttl_s)
{
    struct dns_site *site = calloc(1, sizeof *site);
    if (site == NULL)
        return NULL;
    site->refs = 1;
    site->status = status;
    site->ttl_s = dns_ttl(status == DNS_TEMPORARY ? 0 : ttl_s, status);
    snprintf(site->enhanced, sizeof site->enhanced, "%s", enhanced);
    snprintf(site->reason, sizeof site->reason, "%s", reason);
    return site;
}

struct dns_site *dns_site_failed_static(void)
{
    static struct dns_site no_memory = { .status = DNS_TEMPORARY,
                                         .enhanced = "4.3.0",
                                         .reason = "out of memory",
                                         .ttl_s = 30,
                                         .refs = REFS_STATIC };
    return &no_memory;
}

void dns_site_hold(struct dns_site *site)
{
    if (site->refs != REFS_STATIC)
        site->refs++;
}

void dns_site_rele(struct dns_site *site)
{
    if (site == NULL || site->refs == REFS_STATIC || --site->refs > 0)
        return;
    for (uint32_t i = 0; i < site->nhosts; i++)
        free(site->hosts[i]);
    for (uint32_t i = 0; site->dane != NULL && i < site->nhosts; i++)
        free(site->dane[i].set);
    free(site->dane);
    free(site->hosts);
    free(site->targets);
    free(site);
}

/* ---- judging ---- */

static bool is_peer(const struct dns *d, const struct ip_addr *addr)
{
    return d->is_peer != NULL && d->is_peer(d->peer_ctx, addr);
}

/* Why an address must not be connected to; NULL: it may be. */
static const char *refusal(const struct dns *d, const struct site_addr *a)
{
    if (ip_set_find(&d->allow, &a->addr, NULL))
        return NULL;
    if (a->mapped)
        return "IPv4-mapped";
    if (ip_set_find(&d->own, &a->addr, NULL))
        return "our own";
    if (is_peer(d, &a->addr))
        return "that of another node of this cluster";
    enum ip_class c = ip_addr_class(&a->addr);
    return ip_class_internal(c) ? ip_class_name(c) : NULL;
}

/* RFC 5321 section 5.1 again: we may be among the hosts by address, under a name that we don't know as ours.
 * The preference from which on hosts are dropped; > UINT16_MAX: none. */
static uint32_t own_preference(const struct site_request *q)
{
    const struct dns *d = q->request.d;
    uint32_t at = UINT32_MAX;
    for (uint32_t i = 0; i < q->naddrs && q->mx; i++) {
        const struct site_addr *a = &q->addrs[i];
        uint16_t preference = q->hosts[a->host].preference;
        bool ours = ip_set_find(&d->own, &a->addr, NULL) || is_peer(d, &a->addr);
        if (preference < at && ours && !ip_set_find(&d->allow, &a->addr, NULL))
            at = preference;
    }
    return at;
}

/* By host, then by family as configured, then at random. */
static int addr_cmp(const void *x, const void *y, void *arg)
{
    const struct site_addr *a = x;
    const struct site_addr *b = y;
    const struct dns *d = arg;
    if (a->host != b->host)
        return a->host < b->host ? -1 : 1;
    if (a->addr.family != b->addr.family)
        return (a->addr.family == 4) == d->prefer_v4 ? -1 : 1;
    return a->shuffle < b->shuffle ? -1 : a->shuffle > b->shuffle;
}

static bool family_wanted(const struct dns *d, const struct ip_addr *a)
{
    return d->family == DNS_FAMILY_BOTH || (d->family == DNS_FAMILY_V4) == (a->family == 4);
}

struct verdict {
    uint32_t kept;
    bool looped; /* hosts were dropped because of us */
    bool other_family;
    const char *why; /* of the first address refused */
    struct ip_addr refused;
};

/* Keeps the addresses to be used at the front of q->addrs, in the order to be tried. */
static void judge(struct site_request *q, struct verdict *v)
{
    struct dns *d = q->request.d;
    uint32_t own = own_preference(q);
    *v = (struct verdict){ .looped = q->cut_at_us || own != UINT32_MAX };
    if (q->naddrs > 0)
        qsort_r(q->addrs, q->naddrs, sizeof *q->addrs, addr_cmp, d);
    for (uint32_t i = 0; i < q->naddrs; i++) {
        struct site_addr a = q->addrs[i];
        if (q->mx && q->hosts[a.host].preference >= own)
            continue;
        if (!family_wanted(d, &a.addr)) {
            v->other_family = true;
            continue;
        }
        const char *why = q->operators ? NULL : refusal(d, &a);
        if (why != NULL) {
            if (v->why == NULL)
                v->refused = a.addr;
            v->why = v->why == NULL ? why : v->why;
            continue;
        }
        q->addrs[v->kept++] = a;
    }
}

static struct dns_site *nothing_left(struct site_request *q, const struct verdict *v)
{
    char reason[256];
    bool loop = false;
    bool failed = false;
    for (uint32_t i = 0; i < q->nhosts; i++) {
        loop = loop || q->hosts[i].loop;
        failed = failed || (q->hosts[i].failed && !q->hosts[i].loop);
    }
    if (failed)
        return dns_site_failed(DNS_TEMPORARY, "4.4.3", q->reason, q->ttl_s);
    if (q->operators) { /* a mistake of ours must not bounce mail */
        snprintf(reason, sizeof reason, "the next hop %.200s has no address", q->domain);
        return dns_site_failed(DNS_TEMPORARY, "4.4.4", reason, q->ttl_s);
    }
    if (v->looped) {
        snprintf(reason, sizeof reason, "mail for %.180s loops back to us: we are its best MX", q->domain);
        return dns_site_failed(DNS_PERMANENT, "5.4.6", reason, q->ttl_s);
    }
    if (v->why != NULL) {
        char text[IP_TEXT_MAX];
        snprintf(reason, sizeof reason, "%.128s has no address that may be connected to: %s is %s", q->domain,
                 ip_addr_format(&v->refused, text), v->why);
        return dns_site_failed(DNS_PERMANENT, "5.4.4", reason, q->ttl_s);
    }
    if (loop) {
        snprintf(reason, sizeof reason, "CNAME records of the hosts of %.180s go round in a circle",
                 q->domain);
        return dns_site_failed(DNS_PERMANENT, "5.4.6", reason, q->ttl_s);
    }
    const char *what = v->other_family ? "addresses of another IP version only"
                       : q->mx         ? "no mail host with an address"
                                       : "neither a mail host nor an address";
    snprintf(reason, sizeof reason, "%.180s has %s", q->domain, what);
    return dns_site_failed(DNS_PERMANENT, "5.4.4", reason, q->ttl_s);
}

/* Copies the hosts that are used and the targets. False: no memory. */
static bool fill(struct dns_site *site, struct site_request *q, uint32_t n)
{
    site->hosts = calloc(n, sizeof *site->hosts);
    site->targets = calloc(n, sizeof *site->targets);
    if (site->hosts == NULL || site->targets == NULL)
        return false;
    if (q->dane_port != 0 && (site->dane = calloc(n, sizeof *site->dane)) == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        const struct site_addr *a = &q->addrs[i];
        if (i == 0 || a->host != q->addrs[i - 1].host) {
            if ((site->hosts[site->nhosts] = strdup(q->hosts[a->host].name)) == NULL)
                return false;
            if (site->dane != NULL) {
                struct dns_dane *dane = &q->hosts[a->host].dane;
                site->dane[site->nhosts] = *dane;
                dane->set = NULL; /* ours now */
            }
            site->nhosts++;
        }
        site->targets[site->ntargets++] = (struct dns_target){ .addr = a->addr,
                                                               .port = q->port,
                                                               .preference = q->hosts[a->host].preference,
                                                               .host = (uint16_t)(site->nhosts - 1),
                                                               .secure = a->secure };
    }
    return true;
}

struct dns_site *dns_targets_build(struct site_request *q)
{
    struct verdict v;
    judge(q, &v);
    if (v.kept == 0)
        return nothing_left(q, &v);
    struct dns_site *site = calloc(1, sizeof *site);
    if (site == NULL)
        return NULL;
    site->refs = 1;
    site->mx = q->mx;
    site->mx_secure = q->mx_secure;
    site->ttl_s = dns_ttl(q->ttl_s, DNS_OK);
    for (uint32_t i = 0; i < q->nhosts; i++) {
        /* an incomplete list should not last */
        if (q->hosts[i].failed || q->hosts[i].dane.status == TLSA_FAILED)
            site->ttl_s = dns_ttl(0, DNS_OK);
    }
    if (!fill(site, q, v.kept)) {
        dns_site_rele(site);
        return NULL;
    }
    return site;
}
