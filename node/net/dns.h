/* DNS for one loop, by libunbound, whose own thread does the asking: where to deliver a domain's mail, a
 * client's name, and plain look-ups. libunbound keeps the cache. One loop's thread.
 *
 * Lifetimes: a look-up is started by dns_site, dns_host, dns_client or dns_lookup, which return at once and
 * never call the callback themselves. The callback comes exactly once, from the loop, unless dns_cancel came
 * before; afterwards the request is gone. What the callback is given lives until it returns, but for struct
 * dns_site, which may be held. Any function here may be called inside a callback.
 *
 * Bounds: queries under way at libunbound, then a queue, then a temporary failure at once (ERR_LIMIT).
 */
#ifndef NODE_NET_DNS_H
#define NODE_NET_DNS_H

#include "base/buf.h"
#include "base/span.h"
#include "node/net/ip.h"
#include "node/net/timers.h"
#include "node/tlspolicy/tlsa.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum dns_family { DNS_FAMILY_BOTH, DNS_FAMILY_V4, DNS_FAMILY_V6 };

struct dns_config {               /* copied */
    const char *const *resolvers; /* "192.0.2.53" or "192.0.2.53@5353"; none: those of /etc/resolv.conf */
    size_t nresolvers;
    bool recursive;                /* ask the authoritative servers ourselves; resolvers are not used */
    const char *trust_anchor_file; /* DNSSEC; NULL: answers are never secure */
    const char *hosts_file;        /* for the hosts of routes; NULL: /etc/hosts */
    uint32_t timeout_ms;           /* for one look-up as a whole; 0: 20 s */
    uint32_t under_way_max;        /* 0: 512 */
    uint32_t waiting_max;          /* 0: 16384 */
    uint32_t mx_max;               /* MX hosts used, best first; 0: 20 */
    uint32_t cache_bytes;          /* 0: 16 MiB */
    enum dns_family family;
    bool prefer_v4;             /* IPv6 first otherwise */
    uint64_t seed;              /* of the shuffle within a preference; 0: at random */
    const struct ip_net *allow; /* internal networks that mail may be delivered to */
    size_t nallow;
    const struct ip_addr *own; /* our own addresses: never delivered to unless `allow` has them */
    size_t nown;
    /* Is the address another's that is as good as our own: a node's of our cluster? NULL: nobody's is. */
    bool (*is_peer)(void *ctx, const struct ip_addr *addr);
    void *peer_ctx;
    const char *const *own_names; /* our host names: an MX among them is us */
    size_t nown_names;
};

struct dns;
/* 0, or a negative err with one line in `why`. */
int dns_new(uv_loop_t *loop, struct timers *timers, const struct dns_config *config, struct dns **out,
            struct buf *why);
/* Cancels what is under way; `closed` (may be NULL) runs from the loop when the memory is gone. Waits for
 * libunbound's thread, some milliseconds. */
void dns_close(struct dns *d, void (*closed)(void *ctx), void *ctx);

enum dns_status { DNS_OK, DNS_TEMPORARY, DNS_PERMANENT };

struct dns_target {
    struct ip_addr addr;
    uint16_t port;
    uint16_t preference;
    uint16_t host; /* index in hosts */
    bool secure;   /* the address was validated by DNSSEC */
};

/* What DANE (RFC 7672) asks of a host. */
struct dns_dane {
    enum tlsa_status status;
    struct tlsa_set *set; /* USABLE */
    char base[256];       /* the TLSA base domain: SNI, and a name in the certificate (usage DANE-TA) */
    char why[160];        /* FAILED: one line */
};

/* Where a domain's mail goes, in the order to be tried. */
struct dns_site {
    enum dns_status status;
    char enhanced[8]; /* RFC 3463 status when not OK: "5.1.2", "4.4.3", ... */
    char reason[256]; /* one line when not OK, else empty */
    uint32_t ttl_s;   /* how long this may be used: 30 to 3600 */
    bool mx;          /* hosts came from MX records */
    bool mx_secure;   /* their set (or its absence) was validated */
    uint32_t nhosts;  /* hosts with at least one target, best first */
    char **hosts;     /* lower case, no final dot; for a literal: its brackets */
    struct dns_dane *dane; /* of each host, if it was asked for; else NULL */
    uint32_t ntargets;
    struct dns_target *targets;
    uint32_t refs;
};

void dns_site_hold(struct dns_site *site);
void dns_site_rele(struct dns_site *site);

struct dns_request;
typedef void dns_site_fn(void *ctx, struct dns_site *site);

/* `domain` as in the address: any case, U-labels or A-labels, or an address literal with its brackets.
 *   null MX (RFC 7505): 5.1.10      no such domain: 5.1.2          no address: 5.4.4
 *   only addresses that must not be connected to: 5.4.4            our own MX is the best, or a CNAME
 * loop: 5.4.6 no answer, SERVFAIL, a bogus signature, a full queue: 4.4.3    not a domain name: 5.1.2 NULL:
 * -ENOMEM. */
struct dns_request *dns_site(struct dns *d, struct span domain, dns_site_fn *fn, void *ctx);

/* The next hop that an operator named: addresses of a host, without MX; /etc/hosts first; any address is
 * allowed. A literal may have brackets or not. */
struct dns_request *dns_host(struct dns *d, struct span host, uint16_t port, dns_site_fn *fn, void *ctx);

/* The same for a host that strangers named: its addresses by DNS alone, and only those that dns_site would
 * give. */
struct dns_request *dns_public_host(struct dns *d, struct span host, uint16_t port, dns_site_fn *fn,
                                    void *ctx);

/* Right after dns_site or dns_host: the hosts' TLSA records for this port are wanted, too. They are asked for
 * where all that leads to them is validated, and a host of which they cannot be learnt stays in the list,
 * with TLSA_FAILED. */
void dns_want_dane(struct dns_request *r, uint16_t port);

/* A client's name: PTR, and whether that name has the client's address (forward-confirmed). */
struct dns_client {
    enum dns_status status; /* OK: there is a name; PERMANENT: none; TEMPORARY: unknown for now */
    bool confirmed;
    enum dns_status confirm_status; /* TEMPORARY: it could not be found out whether it is confirmed */
    char name[256]; /* the confirmed one, or else the first; letters, digits, "-", "_" and "." only */
    uint32_t ttl_s;
};
typedef void dns_client_fn(void *ctx, const struct dns_client *client);
struct dns_request *dns_client(struct dns *d, const struct ip_addr *addr, dns_client_fn *fn, void *ctx);

enum {
    DNS_TYPE_A = 1,
    DNS_TYPE_CNAME = 5,
    DNS_TYPE_PTR = 12,
    DNS_TYPE_MX = 15,
    DNS_TYPE_TXT = 16,
    DNS_TYPE_AAAA = 28,
    DNS_TYPE_TLSA = 52
};

struct dns_answer {
    enum dns_status status; /* OK: with or without records; PERMANENT: no such name; TEMPORARY */
    bool secure, bogus;
    char reason[128]; /* when TEMPORARY */
    uint32_t ttl_s;
    uint32_t nrecords;
    const struct span *records; /* rdata in wire format */
};
typedef void dns_lookup_fn(void *ctx, const struct dns_answer *answer);
struct dns_request *dns_lookup(struct dns *d, struct span name, int type, dns_lookup_fn *fn, void *ctx);
/* The text of a TXT record's rdata, its strings joined. 0 or ERR_BAD. */
int dns_txt_join(struct span rdata, struct buf *out);

/* The callback will not come. */
void dns_cancel(struct dns_request *r);

/* No look-up is under way. */
bool dns_idle(const struct dns *d);

struct dns_stats {
    uint32_t under_way, waiting;
    uint64_t asked, answered, failed, timed_out, refused;
};
void dns_stats_get(const struct dns *d, struct dns_stats *out);

/* "Bücher.example." -> "xn--bcher-kva.example": lower case, A-labels, no final dot; ERR_BAD when it can be no
 * domain name. Pure. */
int dns_name_normalise(struct span name, char out[256]);

#endif
