/* What the files of the policy share: the document as the tables read it, before it is compiled. */
#ifndef NODE_POLICY_POLICY_IMPL_H
#define NODE_POLICY_POLICY_IMPL_H

#include "node/config/schema.h"
#include "node/policy/policy.h"

#define POLICY_FILE_MAX (1u << 20) /* bytes of a document */
#define POLICY_IDENTITIES_MAX 10000
#define POLICY_RULES_MAX 1000 /* besides the built-in ones */
#define POLICY_POOLS_MAX 1000
#define POLICY_SITES_MAX 900  /* likewise */
#define POLICY_SUPPRESSED_CLASSES (1u << 2) /* bulk, when none are named; of bounces likewise */

struct policy_doc_limit {
    char *name;
    int scope; /* 0 account, 1 tenant */
    int *classes;
    uint32_t nclasses; /* 0: all */
    uint64_t count;
    int64_t window_ms;
    int over_limit; /* enum policy_over; 0: left out */
};
/* Enumerations that may be left out: the value and one, 0: it was. */
struct policy_doc_rule {
    char *name;
    char **sites;
    uint32_t nsites;
    char *pool, *to;
    int stage;
    char *match, *code;
    struct policy_threshold {
        uint32_t count; /* 0: left out */
        int64_t within_ms;
    } threshold;
    int action;
    int64_t for_ms;
    uint32_t attempts;
};
/* Likewise. */
struct policy_doc_site {
    char *name;
    char **mx, **domains;
    uint32_t nmx, ndomains;
    uint32_t connections, messages_per_connection, recipients;
    struct policy_rate {
        uint32_t count; /* 0: left out */
        int64_t within_ms;
    } rate;
    int64_t *retry;
    uint32_t nretry;
    int tls;
};
struct policy_doc_milter {
    char *name, *socket;
    int64_t timeout_ms;   /* 0: left out, as what follows */
    int when_unreachable; /* 1 accept, 2 defer */
    bool offer_all;
    int *classes;
    uint32_t nclasses;
};
struct policy_doc_sender_rule {
    char *name;
    struct policy_when {
        uint8_t nterms;
        struct sender_term term[SENDER_TERMS_MAX];
    } when;
    int *classes;
    uint32_t nclasses; /* 0: all */
    struct policy_then {
        uint8_t action; /* enum sender_action */
        int64_t for_ms; /* 0: until an operator acts */
        uint32_t slow_count;
        int64_t slow_ms;
        char pool[SENDER_POOL_NAME];
        bool notify;
    } then;
    struct policy_repeat {
        uint32_t count; /* 0: left out */
        int64_t within_ms;
    } repeat;
    bool dry_run;
};
struct policy_doc_pool {
    char *name, *to;
    int when_all_disabled; /* enum policy_rested */
    int64_t after_ms;
};
struct policy_doc_class {
    uint32_t max_rcpts;
    char *pool;
    int over_limit; /* enum policy_over; 0: left out */
    int notice;     /* enum policy_notice and one; 0: left out */
};
#define POLICY_STREAM_LISTENERS_MAX 100
#define POLICY_STREAM_NETWORKS_MAX 1024
#define POLICY_STREAM_ACCOUNTS_MAX 1000
struct policy_doc_stream {
    char *name;
    int class;
    char **listeners, **accounts;
    struct ip_net *networks;
    int *of;
    uint32_t nlisteners, naccounts, nnetworks, nof;
};
struct policy_doc_web_host {
    char *name;
    char **accounts;
    struct ip_net *networks;
    struct origin_header *headers;
    int class;
    bool remove;
    uint32_t nnetworks, naccounts, nheaders;
};
struct policy_doc_web {
    struct policy_doc_web_host *hosts;
    uint32_t nhosts, most, most_of_host;
    int64_t expire_ms;
};
enum policy_defaults { POLICY_DEFAULTS_OFF, POLICY_DEFAULTS_DRY_RUN, POLICY_DEFAULTS_ON };

struct policy_doc {
    uint8_t level;         /* feature level that its keys need */
    const char *level_key; /* the one that needs it, static; NULL: level 1 */
    struct policy_doc_limit *limits;
    uint32_t nlimits;
    struct policy_doc_class classes[POLICY_CLASSES];
    struct policy_doc_stream *streams;
    uint32_t nstreams;
    int64_t ttl_ms, margin_ms;
    uint32_t voters;
    bool hold_when_cut_off;
    int freeze_mode; /* of policy_mode_names: enum command_freeze_mode less one */
    uint32_t failures_per_account, failures_per_network;
    int64_t guard_window_ms, guard_block_ms;
    struct config_client_checks client_checks;
    struct {
        char *header;
        char **accounts;
        uint32_t naccounts;
    } late;
    struct {
        bool enabled;
        int *classes;
        uint32_t nclasses; /* 0: bulk */
        int64_t expire_ms;
        uint32_t max_per_tenant;
    } suppression;
    struct {
        char *domain, *key, *postmaster, *complaints;
        int *classes;
        uint32_t nclasses; /* 0: bulk */
        int64_t life_ms;
    } bounces;
    struct {
        int prove;
        int *classes;
        char **tenants, **trusted;
        uint32_t nclasses, ntenants, ntrusted, failures;
        char *record;
        bool subdomains, senders;
        int64_t valid_ms, recheck_ms, failing_ms;
    } domains;
    struct {
        char **accounts;
        int *classes;
        uint32_t naccounts, nclasses, returns;
        char *domain;
        int64_t life_ms;
    } forwarding;
    struct policy_warmup warmup;
    struct {
        bool enabled;
        int window;
        char *good_pool, *poor_pool;
        uint32_t minimum, good_bounces, good_complaints, poor_bounces, poor_complaints;
        int64_t hold_ms;
    } reputation;
    struct {
        struct reputation_rest rules; /* but for the classes */
        int *classes;                 /* of policy_rest_class_names */
        uint32_t nclasses;            /* 0: block, policy */
    } rest;
    struct {
        struct policy_doc_dnsbl {
            char *zone;
            int action; /* 0: only said */
        } *lists;
        uint32_t nlists;
        int64_t every_ms;
    } dnsbl;
    int tenant_reports; /* enum policy_reports */
    char *hook;
    struct policy_doc_sender_rule *sender_rules;
        uint32_t nsender_rules;
    int default_sender_rules; /* enum policy_defaults */
    uint32_t sender_credit;
    struct policy_held held;
    struct {
        char **servers;
        struct policy_doc_milter *milters;
        int *classes;
        uint32_t nservers, nmilters, nclasses, checks; /* no classes: all */
        int64_t timeout_ms;
        uint64_t max_size;
        int when_unreachable; /* 0 accept, 1 defer */
        int on_reject, on_spam; /* enum policy_content_act */
    } content;
    struct policy_doc_web web;
    struct policy_notifications notifications;
    struct policy_doc_pool *pools;
    uint32_t npools;
    struct policy_doc_rule *rules;
    uint32_t nrules;
    bool default_rules;
    struct policy_doc_site *sites;
    uint32_t nsites;
    bool default_sites;
    struct {
        uint32_t connections, deliveries;
        int64_t interval_ms, for_ms;
        int64_t *retry;
        uint32_t nretry;
    } backoff;
};

extern const struct schema_map policy_map;      /* of struct policy_doc */
extern const struct schema_map policy_rule_map; /* of struct policy_doc_rule; rules_table.c */
extern const struct schema_map policy_pool_map; /* of struct policy_doc_pool; pools.c */
extern const struct schema_map policy_site_map; /* of struct policy_doc_site; sites_table.c */
extern const struct schema_map policy_stream_map; /* of struct policy_doc_stream; streams.c */
extern const struct schema_map policy_content_map; /* of struct policy_doc; content.c */
extern const struct schema_map policy_milter_map; /* of struct policy_doc_milter; milters.c */
extern const struct schema_map policy_web_map; /* of struct policy_doc_web; web.c */
extern const struct schema_map policy_sender_rule_map; /* of struct policy_doc_sender_rule; sender_rules.c */
extern const struct schema_map policy_notifications_map; /* of struct policy_notifications; notifications.c */
extern const struct schema_type type_choice; /* int: one of `names`, and one more; 0: was left out */
extern const struct schema_type type_site;   /* char *: of shaping_site_match */
extern const char *const policy_class_names[POLICY_CLASSES + 1];
extern const char *const policy_scope_names[3];
extern const char *const policy_mode_names[5];
extern const char *const policy_notice_names[4];
extern const char *const policy_rest_class_names[6];

/* Reads and checks; faults go to `errors`. On success the caller frees with schema_fini. */
int policy_document_read(const char *name, struct span text, struct policy_doc *out,
                         struct config_errors *errors);

/* The built-in document of that name: by its tables, without faults. */
void policy_builtin_read(const char *name, struct span text, const struct schema_map *map, void *out);

/* Of a document without faults: its level and level_key. */
void policy_document_level(struct schema_load *l, struct policy_doc *doc);

/* What the tables cannot say: rules between keys. */
void policy_check(struct schema_load *l, const struct policy_doc *doc);
void policy_check_notifications(struct schema_load *l, const struct policy_notifications *n);
void policy_diff_notifications(struct buf *out, const struct policy_notifications *from,
                               const struct policy_notifications *to);
void policy_check_rules(struct schema_load *l, const struct policy_doc *doc);
/* The document was checked. Takes late.accounts and client_checks out of it. */
void policy_compile(struct policy_doc *doc, struct policy *out);
/* Its rules, and the built-in ones that it does not replace or switch off. NULL: no memory. */
struct shaping_rules *policy_compile_rules(const struct policy_doc *doc);
/* Entry i of a list has the name of an earlier one, k. `each`: "each limit". */
void policy_fault_named(struct schema_load *l, const char *list, uint32_t i, uint32_t k, const char *name,
                        const char *each);
void policy_check_streams(struct schema_load *l, const struct policy_doc *doc);
/* What of the document is in streams.c; takes lists out of it. False: no memory. */
bool policy_compile_streams(struct policy_doc *doc, struct policy *out);
void policy_streams_free(struct policy *p);
void policy_diff_streams(struct buf *out, const struct policy *from, const struct policy *to);
void policy_check_content(struct schema_load *l, const struct policy_doc *doc);
/* Likewise what is in content.c. */
void policy_compile_content(struct policy_doc *doc, struct policy *out);
void policy_content_free(struct policy *p);
void policy_diff_content(struct buf *out, const struct policy_content *from, const struct policy_content *to);
const char *policy_classes_text(uint8_t bits, char out[64]);
void policy_check_milters(struct schema_load *l, const struct policy_doc *doc);
/* After the rest of `content`, from which they have what they leave out. */
void policy_compile_milters(const struct policy_doc *doc, struct policy_content *out);
void policy_diff_milters(struct buf *out, const struct policy_content *from, const struct policy_content *to);
void policy_check_web(struct schema_load *l, const struct policy_doc *doc);
/* Likewise web.c. */
bool policy_compile_web(struct policy_doc *doc, struct policy *out);
void policy_web_free(struct policy *p);
void policy_diff_web(struct buf *out, const struct policy *from, const struct policy *to);
void policy_check_pools(struct schema_load *l, const struct policy_doc *doc);
/* Likewise its pools; false: no memory. */
bool policy_compile_pools(const struct policy_doc *doc, struct policy *out);
void policy_diff_pools(struct buf *out, const struct policy *from, const struct policy *to);
void policy_check_sites(struct schema_load *l, const struct policy_doc *doc);
/* Likewise its sites. */
struct shaping_sites *policy_compile_sites(const struct policy_doc *doc);
/* A line "PREFIXkey: from -> to" where they differ; empty: "(none)". */
void policy_diff_words(struct buf *out, const char *prefix, const char *key, struct span from,
                       struct span to);
/* The same of one entry of a list, in the words that a person reads; NULL: it was not there, or is there no more. */
typedef void policy_words_fn(struct buf *out, const void *entry);
void policy_diff_entry(struct buf *out, const char *list, const char *name, policy_words_fn *words,
                       const void *from, const void *to);
void policy_check_sender_rules(struct schema_load *l, const struct policy_doc *doc);
/* With the built-in ones behind the document's own. */
void policy_compile_sender_rules(const struct policy_doc *doc, struct policy *out);
void policy_diff_sender_rules(struct buf *out, const struct policy_compiled *from, const struct policy_compiled *to);
void policy_diff_sites(struct buf *out, const struct shaping_sites *from, const struct shaping_sites *to);
void policy_diff_rules(struct buf *out, const struct shaping_rules *from, const struct shaping_rules *to);

#endif
