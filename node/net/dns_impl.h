/* What the files of DNS share. Nobody else includes it.
 *
 * An ask is one question to libunbound; a request is what a user of dns.h wants and makes asks.
 */
#ifndef NODE_NET_DNS_IMPL_H
#define NODE_NET_DNS_IMPL_H

#include "base/list.h"
#include "node/net/dns.h"

#include <unbound.h>

#define DNS_NAME_MAX 256
#define DNS_QUICK_MS 3000 /* a SERVFAIL sooner than this came from a server, not from a time-out */

struct dns_own_name {
    char name[DNS_NAME_MAX];
};

struct dns {
    uv_loop_t *loop;
    struct timers *timers;
    struct ub_ctx *ub;
    uv_poll_t poll;
    bool closing;
    struct list requests;
    struct list under_way; /* asks that libunbound has, abandoned ones too */
    struct list waiting;   /* asks that it has not */
    uint32_t nunder_way, nwaiting;
    uint32_t under_way_max, waiting_max, mx_max, timeout_ms;
    enum dns_family family;
    bool prefer_v4;
    uint64_t rng;
    struct ip_set allow, own;
    bool (*is_peer)(void *ctx, const struct ip_addr *addr);
    void *peer_ctx;
    struct dns_own_name *own_names;
    size_t nown_names;
    struct dns_hosts *hosts;
    struct dns_stats stats;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* ---- dns.c: requests ---- */

struct dns_request {
    struct dns *d;
    struct list link;
    struct timer timer; /* the deadline; or at once, when there is no need to ask */
    bool done;          /* its callback is being called, or was */
    void (*due)(struct dns_request *r);
    void (*drop)(struct dns_request *r); /* cancels its asks and frees it */
};

/* 0 or -ENOMEM. Sets the deadline. */
int dns_request_init(struct dns_request *r, struct dns *d, void (*due)(struct dns_request *),
                     void (*drop)(struct dns_request *));
/* Calls `due` from the loop as soon as may be. */
void dns_request_soon(struct dns_request *r);
/* Before the callback is called: no deadline, no cancelling any more. */
void dns_request_finish(struct dns_request *r);
/* The common part of `drop`. */
void dns_request_fini(struct dns_request *r);

/* ---- dns.c: asks ---- */

struct dns_reply { /* lives until the callback returns */
    enum dns_status status;
    bool secure, bogus;
    bool quick_failure; /* a server said SERVFAIL */
    uint32_t ttl_s;
    const char *reason; /* when TEMPORARY */
    const char
        *canon; /* the name at the end of the aliases, with a final dot or not; NULL: the one asked for */
    uint32_t n;
    char **data;
    const int *len;
};
typedef void dns_ask_fn(void *ctx, const struct dns_reply *reply);

struct dns_ask;
/* The callback comes once, from the loop. 0, ERR_LIMIT, ERR_CLOSED or -ENOMEM. */
int dns_ask(struct dns *d, const char *name, int type, dns_ask_fn *fn, void *ctx, struct dns_ask **out);
/* NULL is harmless. */
void dns_ask_cancel(struct dns_ask *a);

/* ---- dns_walk.c ---- */

/* Whether a name's CNAMEs go round in a circle, which libunbound only reports as a SERVFAIL. */
typedef void dns_walk_fn(void *ctx, bool loop);
struct dns_walk;
int dns_walk(struct dns *d, const char *name, dns_walk_fn *fn, void *ctx, struct dns_walk **out);
void dns_walk_cancel(struct dns_walk *w);

/* ---- dns_name.c ---- */

/* A domain name in wire format, alone in p, as lower-case text without final dot; "" for the root. ERR_BAD
 * when it is broken or has characters that no host name has. */
int dns_name_from_wire(const char *p, size_t n, char out[DNS_NAME_MAX]);

/* /etc/hosts as it was when read; bounded. */
struct dns_hosts;
struct dns_hosts *dns_hosts_read(const char *file);
void dns_hosts_free(struct dns_hosts *h);
/* Up to max addresses of a name; their number. */
size_t dns_hosts_find(const struct dns_hosts *h, const char *name, struct ip_addr *out, size_t max);

uint64_t dns_random(struct dns *d);
uint32_t dns_ttl(uint32_t ttl_s, enum dns_status status);

#endif
