/* The cluster's policy as operators write it: one YAML document for all nodes, checked whole, with file, line
 * and reason of every fault; compiled for the machine; compared; and a built-in one for a cluster that has
 * none yet. Pure but for policy_load_file. Any thread. The keys: docs/policy.md.
 */
#ifndef NODE_POLICY_POLICY_H
#define NODE_POLICY_POLICY_H

#include "base/buf.h"
#include "base/span.h"
#include "consensus/policy.h"
#include "node/bounce/reputation.h"
#include "node/bounce/token.h"
#include "node/config/client_checks.h"
#include "node/mail/origin.h"
#include "node/policy/notifications.h"
#include "node/shaping/rules.h"
#include "node/shaping/sites.h"

#include <stdbool.h>
#include <stdint.h>

#define POLICY_RETRY_MAX 16

/* Names, in order. */
struct policy_names {
    char **items;
    uint32_t n;
};
bool policy_names_have(const struct policy_names *names, struct span name);

enum policy_prove { POLICY_PROVE_OFF, POLICY_PROVE_WARN, POLICY_PROVE_REQUIRE };

/* Everything in the document; `compiled` is the part that the machine has. Immutable. */
/* Plans of source addresses: docs/warmup.md. */
struct policy_warmup {
    uint32_t first, growth_pct, days, fill_pct, deferral_pct, complaint_permille, sites;
    bool step_back;
};

/* What is done with mail for a site for which every address of its pool rests. */
enum policy_rested {
    POLICY_RESTED_WAIT,
    POLICY_RESTED_REROUTE, /* it goes out over another pool */
    POLICY_RESTED_BOUNCE,
    POLICY_RESTED_USE_ANY, /* it goes out all the same */
};
struct policy_pool {
    char name[POLICY_LIMIT_NAME], to[POLICY_LIMIT_NAME]; /* to: of REROUTE */
    int when_all_disabled;                               /* enum policy_rested */
    int64_t after_ms;                                    /* so long all must have rested */
};

enum policy_reports { POLICY_REPORTS_OFF, POLICY_REPORTS_DAILY, POLICY_REPORTS_WEEKLY };

/* What becomes of mail beyond a limit. */
enum policy_over { POLICY_OVER_DEFER = 1, POLICY_OVER_REJECT, POLICY_OVER_HOLD };
#define POLICY_OVERS 3
/* Whether the sender gets a mail that says so. */
enum policy_notice { POLICY_NOTICE_HELD, POLICY_NOTICE_ALWAYS, POLICY_NOTICE_NEVER };
extern const char *const policy_over_names[POLICY_OVERS + 1]; /* from DEFER on */

/* Mail that is of another class than its account, for where it comes from. The first one that fits counts. */
#define POLICY_STREAMS_MAX 64
struct policy_stream {
    char name[POLICY_LIMIT_NAME];
    uint8_t class; /* of the mail */
    uint8_t of;    /* bits 1 << class of the account */
    struct policy_names listeners, accounts; /* in the document's order; none: all */
    struct ip_net *networks;                 /* of the client; none: all */
    uint32_t nnetworks;
};

/* Shared hosts that are believed to say which script sent a message: docs/web-senders.md. The first one that fits
 * counts. */
#define POLICY_WEB_HOSTS_MAX 256
struct policy_web_host {
    char name[POLICY_LIMIT_NAME];
    uint8_t class;                /* of such mail, but for the host's own limits */
    bool remove;                  /* the headers, before it is sent */
    struct policy_names accounts; /* in the document's order; none: all */
    struct ip_net *networks;      /* of the client; none: all */
    uint32_t nnetworks;
    struct origin_header *headers; /* the first choice first */
    uint32_t nheaders;
};
struct policy_web {
    uint32_t most, most_of_host; /* web senders of the cluster, of one host */
    int64_t expire_ms;           /* not seen for so long: forgotten */
    struct policy_web_host *hosts;
    uint32_t nhosts;
};

/* A list of bad addresses in the DNS. */
#define POLICY_DNSBL_MAX 16
/* Mail that is held: docs/held.md. Counts and bytes are of one node. */
enum policy_held_full { POLICY_HELD_DEFER, POLICY_HELD_REJECT };
struct policy_held {
    int64_t expire_ms;
    int expire_delete; /* 0: what was not released in time is returned to its sender; 1: deleted */
    int when_full;     /* enum policy_held_full: what else is done with mail that would be held */
    uint32_t messages, sender_messages;
    uint64_t bytes, sender_bytes;
};

/* The check of messages' content: docs/content.md. */
#define POLICY_CONTENT_SERVERS_MAX 8
enum policy_content_act { /* what is done with what a server says */
    POLICY_CONTENT_ACCEPT,
    POLICY_CONTENT_ADD_HEADER,
    POLICY_CONTENT_HOLD,
    POLICY_CONTENT_REJECT,
};
#define POLICY_MILTERS_MAX 4
#define POLICY_MILTER_SOCKET_MAX 200
struct policy_milter {
    char name[64], socket[POLICY_MILTER_SOCKET_MAX + 1];
    int64_t timeout_ms;
    uint8_t classes; /* some of the content's */
    bool defer;      /* what it does not answer for; else that is accepted */
    bool offer_all;  /* also actions that are not done here */
};
/* A milter's socket, taken apart. NULL, or what is wrong with it. The spans are of `text`. */
struct policy_milter_socket {
    struct span host, path; /* path: of a socket on this machine */
    uint16_t port;
};
const char *policy_milter_socket(const char *text, struct policy_milter_socket *out);

struct policy_content {
    struct policy_names servers; /* URLs, in the document's order */
    struct policy_milter milters[POLICY_MILTERS_MAX];
    uint32_t nmilters; /* and no servers: nothing is checked */
    int64_t timeout_ms;          /* from the end of the content to a verdict, whatever it takes */
    uint64_t max_size;           /* bytes; larger messages are not checked */
    uint32_t checks;             /* at a time, on each node */
    uint8_t classes;             /* bits 1 << class of the mail that is checked */
    bool defer;                  /* what no server answered for; else it is accepted */
    uint8_t on_reject, on_spam;  /* enum policy_content_act */
};
static inline bool policy_checks_content(const struct policy_content *c)
{
    return c->servers.n > 0 || c->nmilters > 0;
}

struct policy_dnsbl {
    char zone[254];
    bool rest; /* an address of ours that is listed rests; else it is only said */
};

struct policy {
    struct policy_compiled compiled;
    uint8_t level;         /* feature level that the document's keys need; policy_needs has the rest */
    const char *level_key; /* the one that needs it, static; NULL: level 1 */
    struct {
        char pool[POLICY_LIMIT_NAME]; /* "": any source */
        uint8_t over_limit;           /* enum policy_over; 0: DEFER */
        uint8_t over_limit_notice;    /* enum policy_notice */
    } classes[POLICY_CLASSES];
    uint8_t over_limit[POLICY_LIMITS_MAX]; /* of compiled.limits; 0: as the class has it */
    struct policy_stream *streams;
    uint32_t nstreams;
    struct {
        uint32_t failures_per_account,
            failures_per_network; /* in `window_ms`, over all nodes; then blocked */
        int64_t window_ms, block_ms;
    } auth_guard;
    struct config_client_checks client_checks;
    char late_identity_header[64]; /* of trusted relays: "X-Sender-Account"; "": none */
    char **late_identity_accounts; /* relay accounts that are trusted to name the sender */
    uint32_t nlate_identity_accounts;
    struct {
        uint8_t classes;         /* bits 1 << class; 0: it is off */
        int64_t expire_ms;       /* of what a bounce adds */
        uint32_t max_per_tenant;
    } suppression;
    struct {
        char domain[256];        /* return paths are in it; "": it is off */
        char postmaster[321];    /* who gets what comes for its postmaster and abuse */
        char complaints[65];     /* local part that complaints come to; "": none */
        uint8_t classes;         /* bits 1 << class: mail that gets return paths of ours */
        int64_t life_ms;         /* of a return path */
        bool has_key; /* one of its own, besides the cluster's secrets */
        struct bounce_key key;
    } bounces;
    struct {                     /* what senders must prove: docs/domains.md */
        uint8_t prove;           /* enum policy_prove */
        uint8_t classes;         /* bits 1 << class */
        bool subdomains;         /* who has proven a domain has proven what is below it */
        bool senders;            /* what an account's `senders` name needs no proof */
        char record[64];         /* label of the challenge */
        struct policy_names tenants; /* none: all */
        struct policy_names trusted; /* accounts that need none */
        int64_t valid_ms, recheck_ms, failing_ms;
        uint32_t failures;
    } domains;
    struct {                     /* mail that is forwarded: docs/forwarding.md */
        struct policy_names accounts;
        uint8_t classes;
        char domain[256];        /* of rewritten return paths; "": it is off */
        int64_t life_ms;
        uint32_t returns;        /* to one address, each hour, on each node */
    } forwarding;
    struct policy_warmup warmup; /* of plans that are begun from now on */
    struct {
        bool enabled;
        uint8_t window;                    /* enum directory_record_window */
        char good_pool[POLICY_LIMIT_NAME]; /* in place of the class's; "": that */
        char poor_pool[POLICY_LIMIT_NAME];
        struct reputation_rules rules;
        struct reputation_rest addresses;
    } reputation;
    struct policy_held held;
    struct policy_content content;
    struct policy_web web;
    uint32_t ndefault_sender_rules; /* the last ones of compiled.sender_rules */
    uint32_t sender_credit; /* recipients of a sender that a node lets go before the cluster knows of them */
    struct {
        int64_t every_ms;
        uint32_t nlists;
        struct policy_dnsbl lists[POLICY_DNSBL_MAX];
    } dnsbl;
    enum policy_reports tenant_reports; /* what tenants' contacts are sent */
    struct policy_notifications notifications;
    char hook[256]; /* program that is run when this node starts or stops serving; "": none */
    struct {
        uint32_t connections; /* to a site, from one pool, on each node */
        int64_t interval_ms;  /* between two messages; 0: none */
        int64_t retry_ms[POLICY_RETRY_MAX];
        uint32_t nretry;     /* not sooner than; the last one repeats */
        int64_t for_ms;      /* where a rule doesn't say; of other actions too */
        uint32_t deliveries; /* in a row end it; 0: only time does */
    } backoff;
    struct policy_pool *pools; /* those of which the document says something */
    uint32_t npools;
    struct shaping_sites *sites; /* the operators' and the built-in ones */
    struct shaping_rules *rules; /* about remote servers' replies: the operators' and the built-in ones */
};

/* Text of the policy that is in force before any was applied. */
struct span policy_builtin(void);
/* The rules that hold in every policy unless it changes them: a YAML document of its own,
 * deploy/policy/rules.yaml. */
struct span policy_builtin_rules(void);
/* Likewise the sites: deploy/policy/sites.yaml. */
struct span policy_builtin_sites(void);
/* Likewise the rules about senders: deploy/policy/senders.yaml. */
struct span policy_builtin_senders(void);
/* Without the built-in rules about senders, where a cluster of that feature level does not know what they
 * are about: they come with the next policy after it was raised. */
void policy_for_level(struct policy *p, uint32_t level);
/* The feature level that a cluster needs so that all of its nodes can read and obey it, and the key for which it
 * needs it (static; NULL: level 1). */
uint32_t policy_needs(const struct policy *p, const char **key);
/* `name` is what faults call it. ERR_BAD, and `why` has "name:line: reason" lines. */
int policy_parse(const char *name, struct span text, struct policy **out, struct buf *why);
int policy_load_file(const char *path, struct policy **out, struct buf *text, struct buf *why);
struct policy *policy_hold(struct policy *p);
void policy_rele(struct policy *p);

/* Which rule a reply meets ("421 4.7.0 text"), and so what would be done. `mx` and `pool` may be empty. The
 * rule is the policy's; NULL: none. ERR_BAD: the text has no code in front, or it says that all went well. */
int policy_test_reply(const struct policy *p, const struct shaping_reply *about, struct span text,
                      const struct shaping_rule **out);
/* "backoff for 30m", and the conditions; for people. */
void policy_put_rule(struct buf *out, const struct shaping_rule *rule);

/* "recipients > 100 in 1h and networks > 5 in 1h: hold for 1h", for people. */
void policy_put_sender_rule(struct buf *out, const struct sender_rule *rule);

/* "connections 5; mx *.google.com", for people. */
void policy_put_site(struct buf *out, const struct shaping_site *site);

/* The document as people may see it: with POLICY_HIDDEN in place of its secret, bounces.key, which goes to
 * `secret` (unless that is NULL). As it is when there is none. ERR_BAD: no YAML. */
#define POLICY_HIDDEN "(hidden: docs/bounces.md)"
int policy_hide(struct span text, struct buf *out, struct buf *secret);

/* What the policy says of a pool, or NULL. */
const struct policy_pool *policy_pool_find(const struct policy *p, struct span name);

/* Where mail comes from. */
struct policy_source {
    struct span account, listener;
    const struct ip_addr *client;
    uint8_t class; /* the account's */
};
/* The class that it is of. No policy: the account's. */
uint8_t policy_stream_class(const struct policy *p, const struct policy_source *from);
/* Whose mail by this account, from this client, has headers that say which script sent it. NULL: nobody's. */
const struct policy_web_host *policy_web_host(const struct policy *p, struct span account,
                                              const struct ip_addr *client);
/* What becomes of mail of that class beyond the limit of that name: enum policy_over. */
uint8_t policy_over_limit(const struct policy *p, const char *limit, uint8_t class);
/* Is the sender of mail of that class told by mail that this became of it? */
bool policy_over_notice(const struct policy *p, uint8_t over, uint8_t class);

/* What differs, for people: "limits.account-hour.count: 200 -> 100", a line each; empty when nothing does. */
int policy_diff(const struct policy *from, const struct policy *to, struct buf *out);

#endif
