/* The state of looking up where mail goes, shared by the file that asks and the one that judges the answers.
 * Nobody else includes it. */
#ifndef NODE_NET_DNS_SITE_H
#define NODE_NET_DNS_SITE_H

#include "node/net/dns_impl.h"

#define SITE_ADDRS_MAX 512 /* of all hosts together */

struct site_host;

struct site_ask {
    struct site_host *h;
    struct dns_ask *ask;
};

struct site_host {
    char name[DNS_NAME_MAX];
    uint16_t preference;
    uint64_t shuffle;
    bool failed; /* some address could not be asked for */
    bool walked; /* its CNAMEs were, or are being, looked at */
    bool loop;
    struct site_request *q;
    struct site_ask asks[2]; /* A, AAAA */
    struct dns_walk *walk;
    uint32_t open;   /* addresses that are still asked for */
    bool insecure;   /* an answer about them was not validated */
    bool dane_known; /* `dane` says what there is */
    struct dns_dane dane;
    struct dns_ask *dane_ask;
    char canon[DNS_NAME_MAX]; /* where its aliases lead; "": it has none */
};

struct site_addr {
    struct ip_addr addr;
    uint16_t host;
    bool mapped; /* came as ::ffff:a.b.c.d in an AAAA record */
    bool secure;
    uint64_t shuffle;
};

struct site_request {
    struct dns_request request; /* first */
    dns_site_fn *fn;
    void *ctx;
    char domain[DNS_NAME_MAX];
    uint16_t port;
    bool operators; /* a next hop that the operator named: no policy */
    uint16_t dane_port; /* 0: TLSA records are not wanted */
    bool mx, mx_secure, bogus;
    bool cut_at_us;
    uint32_t ttl_s;
    struct dns_ask *mx_ask;
    struct dns_walk *walk;
    uint32_t nhosts, pending;
    struct site_host *hosts; /* in the order to be tried */
    uint32_t naddrs, addrs_cap;
    struct site_addr *addrs;
    bool soon, built_soon; /* the result is known already, but not yet told */
    enum dns_status soon_status;
    char enhanced[8];
    char reason[256]; /* the last failure's */
};

/* dns_site.c: one thing that was waited for has come. */
void site_settled(struct site_request *q);

/* dns_dane.c. When the addresses of a host have been answered: TLSA_NONE at once, or asks, and counts as
 * pending. */
void dns_dane_start(struct site_host *h);
void dns_dane_cancel(struct site_host *h);
/* Out of time: what is not known has failed. */
void dns_dane_due(struct site_request *q);

/* dns_site.c; ends the request, from the loop only. */
void site_end(struct site_request *q, enum dns_status status, const char *enhanced, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* dns_targets.c */
int site_add_addr(struct site_request *q, const struct site_addr *a); /* 0, ERR_LIMIT or -ENOMEM */
/* The result of all that was answered; NULL: no memory. */
struct dns_site *dns_targets_build(struct site_request *q);
struct dns_site *dns_site_failed(enum dns_status status, const char *enhanced, const char *reason,
                                 uint32_t ttl_s);
/* For when there is no memory for another one. */
struct dns_site *dns_site_failed_static(void);

#endif
