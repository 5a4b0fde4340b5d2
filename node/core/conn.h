/* One connection to a next hop. See conn.c; outcome.c reads what the log and the history want to know of it.
 */
#ifndef NODE_CORE_CONN_H
#define NODE_CORE_CONN_H

#include "node/core/attempt.h"
#include "node/core/egress.h"
#include "node/core/returned.h"
#include "node/core/warmup.h"
#include "node/smtp/client.h"
#include "node/telemetry/trace.h"
#include "node/tlspolicy/rpt.h"

enum conn_state {
    CONN_RESOLVING,
    CONN_CONNECTING,
    CONN_GREETING, /* until the server is ready for mail the first time */
    CONN_IDLE,
    CONN_BUSY,
    CONN_BOUNCING, /* the site cannot exist: its items are taken and bounced, without a connection */
    CONN_QUITTING,
};

/* What the target in hand must show; see conn_policy.c. */
struct conn_demand {
    const struct dns_dane *dane; /* its TLSA records, in `found`; NULL: none */
    bool sts;                    /* MTA-STS in mode enforce: a certificate for the host's name */
};

struct conn {
    struct queue_conn qc;
    struct list link; /* of egress->conns */
    struct list wait; /* of site->waiting */
    struct egress *e;
    struct egress_site *site; /* NULL once the queue has forgotten the connection */
    enum conn_state state;
    uint64_t id; /* session, in logs and traces */
    struct stream *stream;
    struct smtp_client *client;
    struct buf out;
    struct timer deadline;
    uint32_t progress;      /* smtp_client_progress when the deadline was set */
    struct dns_site *found; /* held while targets are tried */
    struct route_hop hop;   /* of `config`, with the targets */
    uint32_t first, tried;  /* targets */
    uint32_t sources_tried; /* for the target in hand */
    struct ip_addr from;    /* the last of them; family 0: whichever the machine takes */
    bool shares_time;       /* with another address, if it gets no answer */
    struct ip_addr silent;  /* the one before, which got no answer in its share of the time; family 0: none */
    struct sts_policy *sts; /* of the site's domain, held; NULL: none */
    struct conn_demand demand;
    enum route_tls wish;    /* of the site's messages */
    uint32_t lacking;       /* targets that could take mail, but none with that wish */
    int site_tls;           /* enum shaping_tls: what the policy's entry for its site says; -1: nothing */
    bool plain;             /* TLS did not come about with this target: without it */
    uint32_t messages;
    int64_t connecting_ns; /* CLOCK_MONOTONIC; once connected: how long it took */
    const struct config_source *source;
    struct site_share *share;   /* in which it has a place, held; NULL: none */
    uint32_t share_source;
    struct ip_addr share_addr;
    bool share_left, share_idle; /* as sites.h was told */
    bool crowded;                /* a target could not be tried because its site had no place */
    struct pool_meter *meter;   /* of its pool's address, while it counts as that one's; NULL: no pool */
    struct ip_addr source_addr; /* that address */
    struct ip_addr pin;         /* its address is to be this one; family 0: any */
    bool moving;                /* to that address, with an item in hand */
    bool floating;              /* it may be used with a valid session only */
    uint64_t session;           /* this one, when the address was chosen; 0: there was none */
    bool on_trial;              /* the message in hand is one of its address's trial: egress_rest.h */
    bool warming;               /* the message in hand is one of its address's day: token */
    struct warmup_token token;
    int64_t cut_ms;             /* loop time: ends by then, the address was taken away; 0: was not */
    char ehlo[256];             /* of that address; "": the node's */
    struct config *config;      /* in force when it was opened */
    struct ip_addr peer;
    uint16_t port;
    char host[256];               /* MX name */
    struct attempt *attempt;      /* the item in hand */
    char return_path[RETURNED_PATH_MAX]; /* of ours, when `mail` has one */
    struct smtp_client_mail mail; /* the same, for the client */
    struct spool_reader *reader;
    struct smtp_stuff stuff;
    bool body_done;
    struct trace_mark trace;
    struct smtp_reply_text trouble; /* why the last target failed */
    char rested_to[64]; /* CONN_BOUNCING: the pool that what it takes is moved to; "": it bounces */
    bool rested;        /* likewise: since all addresses of its pool rest */
};

/* Gives up one that is not yet open: the queue asks again. */
void conn_cancel(struct conn *c);
/* As if the connection had been lost. Any state but CONN_IDLE, and there is a client. */
void conn_cut(struct conn *c, const char *why);

/* Says goodbye to the stream without waiting for its end. */
void conn_let_stream_go(struct conn *c);
/* Tries the next target; without any the connection is gone. */
void conn_next_target(struct conn *c);

/* conn_policy.c */

/* TLSA records are asked for, and kept to. */
bool conn_policy_wants_dane(const struct config *c, const struct config_route *r);
bool conn_policy_wants_sts(const struct config *c, const struct config_route *r);
/* Takes up the policy of the site's domain. */
void conn_policy_site(struct conn *c);
/* Sets `demand`; false: the target must not be used, and `trouble` says why. */
bool conn_policy_target(struct conn *c, const struct dns_target *t);
enum smtp_client_tls conn_policy_tls(const struct conn *c);
int conn_policy_start_tls(struct conn *c);
/* The target, which is ready for mail, can take what this site has; false: `trouble` says why not. */
bool conn_policy_suits(struct conn *c);
/* Every target was asked, and none can. */
bool conn_policy_hopeless(const struct conn *c);
/* The target did what was demanded, or `trouble` says what it did. */
void conn_policy_ready(struct conn *c);
void conn_policy_failed(struct conn *c, enum smtp_client_stage stage);
/* RFC 8689 section 4.2.1: nobody but the next hop that was meant has the other end of this TLS. */
bool conn_policy_authenticated(const struct conn *c);
/* "TLSv1.3 TLS_AES_256_GCM_SHA384, DANE-EE verified"; empty without TLS. */
const char *conn_policy_tls_text(const struct conn *c, char out[128]);

/* conn_rpt.c: for the domain's TLS report. `ready` and `failed` find out by themselves how it went. */
void conn_rpt(const struct conn *c, enum rpt_result result, const char *reason);
void conn_rpt_ready(const struct conn *c);
void conn_rpt_failed(const struct conn *c);

/* conn_target.c */

/* The item in hand is sent: the client has work. */
void conn_begin(struct conn *c);

/* Why the target could not be used. */
void conn_set_trouble(struct conn *c, unsigned code, const char *enhanced, const char *text);

/* An address of the site's pool, by weight; without a pool the next source address of the family, in turn.
 * False: there are some, but none of the family. */
bool conn_choose_source(struct conn *c, uint8_t family, struct ip_addr *out);
/* Connects from `from`. Where another address could be tried, two share the time for it, a third and what is left: so one
 * from which nothing arrives at the target, which nobody says, holds nothing up for long. An error: nothing will be told. */
int conn_connect(struct conn *c, const struct ip_addr *target, const struct stream_ops *ops);
/* It failed so: true when the same target is to be tried from another address. */
bool conn_source_again(struct conn *c, int err);
/* The next target, or the end of this one's search. */
void conn_target_new(struct conn *c);
/* The i-th target to be tried. Hosts of the best preference share the load: each connection starts with
 * another. */
const struct dns_target *conn_target_at(const struct conn *c, uint32_t i);
/* How the client speaks to this hop. The strings are the configuration's. */
void conn_client_config(const struct conn *c, struct smtp_client_config *out);

#endif
