/* What the machine knows by name: readers of accounts, tenants, policy, pools, source addresses, members, the
 * cluster's own certificate authority, transfers between nodes, and the audit trail. See machine.h for threads: hold
 * machine_read_lock on other threads; rows point into the state.
 */
#ifndef CONSENSUS_DIRECTORY_H
#define CONSENSUS_DIRECTORY_H

#include "consensus/machine.h"
#include "consensus/policy.h"
#include "consensus/record.h"

struct directory_account {
    struct span name, hash, tenant, senders;
    uint8_t class;
    bool disabled;
    uint64_t version; /* id of the command that changed it last */
};
bool directory_account_find(const struct machine *m, struct span name, struct directory_account *out);
typedef int directory_account_fn(void *arg, const struct directory_account *a);
/* In order of name, from the first one after `after` (empty: all); until it returns nonzero. */
int directory_account_each(const struct machine *m, struct span after, directory_account_fn *fn, void *arg);

struct directory_tenant {
    struct span name, note;
    uint64_t version;
};
bool directory_tenant_find(const struct machine *m, struct span name, struct directory_tenant *out);
typedef int directory_tenant_fn(void *arg, const struct directory_tenant *t);
int directory_tenant_each(const struct machine *m, struct span after, directory_tenant_fn *fn, void *arg);

/* Whom a tenant wants to be told of things; false: nobody. */
bool directory_contact_find(const struct machine *m, struct span tenant, struct span *out);
/* He was told of this a while ago (COMMAND_NOTICE_CLAIM). */
bool directory_notice_given(const struct machine *m, struct span tenant, struct span about, uint64_t now_ms);

/* A sender that the header of a shared host's mail named (consensus/web_sender.h); times are the cluster's. */
struct directory_web {
    struct span name;
    uint64_t since_ms, seen_ms, until_ms; /* seen: claimed last */
};
/* False: it was never claimed, or the claim has ended. */
bool directory_web_find(const struct machine *m, struct span name, struct directory_web *out);
/* With those whose claims have ended since the last one. */
uint64_t directory_web_count(const struct machine *m);
typedef int directory_web_fn(void *arg, const struct directory_web *w);
/* In order of name, from the first one after `after` (empty: all); until it returns nonzero. */
int directory_web_each(const struct machine *m, struct span after, directory_web_fn *fn, void *arg);

/* A tenant's token for the admin API. */
struct directory_access {
    struct span id, tenant, who, note;
    uint8_t secret_sha256[32];
    int64_t wall_ms;
    uint64_t version;
};
bool directory_access_find(const struct machine *m, struct span id, struct directory_access *out);
typedef int directory_access_fn(void *arg, const struct directory_access *a);
/* In order of id, behind this one. */
int directory_access_each(const struct machine *m, struct span after, directory_access_fn *fn, void *arg);
/* Who may log in to the dashboard. */
struct directory_operator {
    struct span name, hash;
    uint8_t role;    /* enum command_role */
    int64_t wall_ms; /* of the last change, by the asking node's clock */
    uint64_t version;
};
bool directory_operator_find(const struct machine *m, struct span name, struct directory_operator *out);
typedef int directory_operator_fn(void *arg, const struct directory_operator *o);
/* In order of name, from the first one after `after` (empty: all). */
int directory_operator_each(const struct machine *m, struct span after, directory_operator_fn *fn, void *arg);
/* One that has ended by the wall clock may still be there. */
struct directory_login {
    const uint8_t *id; /* 32 bytes */
    struct span name;  /* of an operator that there is */
    struct span who;   /* from where */
    int64_t wall_ms, until_ms, ends_ms;
};
bool directory_login_find(const struct machine *m, const uint8_t id[32], struct directory_login *out);
typedef int directory_login_fn(void *arg, const struct directory_login *l);
int directory_login_each(const struct machine *m, directory_login_fn *fn, void *arg);
/* What people are told by the policy's notifications (directory_alert.c). */
#define DIRECTORY_ALERTS_MAX 1000
#define DIRECTORY_ALERT_TARGETS_MAX 32
enum directory_alert_severity {
    DIRECTORY_ALERT_INFO,
    DIRECTORY_ALERT_NOTICE,
    DIRECTORY_ALERT_WARNING,
    DIRECTORY_ALERT_CRITICAL
};
struct directory_alert {
    uint64_t seq; /* from 1, without gaps */
    uint64_t at;  /* id of the command that made it */
    int64_t wall_ms;
    uint8_t severity;
    struct span event, account, tenant, rule, text; /* empty: none, but for the event's name */
};
typedef int directory_alert_fn(void *arg, const struct directory_alert *a);
/* Those that are kept, with numbers behind `after`, the oldest first; until it returns nonzero. */
int directory_alerts_each(const struct machine *m, uint64_t after, directory_alert_fn *fn, void *arg);
uint64_t directory_alert_last(const struct machine *m); /* its number; 0: there was none yet */
/* Something was said of this target (COMMAND_ALERT_DONE); it has had that alert, or need not have it. */
bool directory_alert_target(const struct machine *m, struct span name);
bool directory_alert_done(const struct machine *m, struct span name, uint64_t seq);
typedef int directory_alert_target_fn(void *arg, struct span name);
int directory_alert_targets_each(const struct machine *m, directory_alert_target_fn *fn, void *arg);

/* An address whose traces are being erased. */
struct directory_erasure {
    uint64_t id;
    int64_t wall_ms;
    struct span address, who;
    const uint64_t *done; /* the nodes that have */
    uint32_t ndone;
};
typedef int directory_erasure_fn(void *arg, const struct directory_erasure *e);
/* In order of address, behind this one. */
int directory_erasure_each(const struct machine *m, struct span after, directory_erasure_fn *fn, void *arg);
bool directory_erasure_done(const struct directory_erasure *e, uint64_t node);

struct directory_override {
    uint8_t scope;
    struct span name, limit;
    uint64_t count, version;
};
typedef int directory_override_fn(void *arg, const struct directory_override *o);
/* Of one sender, or (empty name) of all of the scope (0: of both). */
int directory_override_each(const struct machine *m, uint8_t scope, struct span name, directory_override_fn *fn, void *arg);

struct directory_policy {
    uint64_t version; /* 0: none was applied yet, the built-in one is in force */
    struct span text, who, note;
    int64_t wall_ms;
    const struct policy_compiled *compiled;
};
#define DIRECTORY_POLICIES_KEPT 16
/* 0: the one in force, 1: the one before it, ...; false: no longer kept. */
bool directory_policy(const struct machine *m, uint32_t back, struct directory_policy *out);

struct directory_floating {
    uint8_t mode; /* enum command_floating */
    bool back;
    uint32_t per_node;
    uint64_t after_ms;
    struct span nodes;
};
struct directory_pool {
    struct span name, note;
    uint64_t version;
    struct directory_floating floating;
};
typedef int directory_pool_fn(void *arg, const struct directory_pool *p);
int directory_pool_each(const struct machine *m, directory_pool_fn *fn, void *arg);
struct directory_assignment {
    uint8_t to; /* enum command_assign_to */
    struct span name, pool;
    uint64_t version;
};
typedef int directory_assignment_fn(void *arg, const struct directory_assignment *a);
int directory_assignment_each(const struct machine *m, directory_assignment_fn *fn, void *arg);
/* The pool of a sender: the account's, else the tenant's, else the class's; empty: none. */
struct span directory_pool_of(const struct machine *m, struct span account, struct span tenant, uint8_t class);

#define DIRECTORY_NOBODY UINT64_MAX
struct directory_ip {
    struct span address, pool, ehlo;
    uint64_t node;    /* owner, and it has a session; 0: none at present (released, or its owner has none any more:
                         then `next` gets it with its next session) */
    uint64_t next;    /* whose it will be once released; 0: it stays. While this is set the owner no longer uses
                         it, and says so with COMMAND_IP_RELEASED. DIRECTORY_NOBODY: it is being removed */
    uint64_t move;    /* id of that move */
    uint32_t weight;
    uint8_t use;      /* enum command_use */
    uint64_t version;
    bool floats;           /* its owner stops using it with its session; what follows is of such ones only */
    uint64_t unsure;       /* 0, or the node that may not know that it floats, and may send from it without a session */
    uint64_t home;         /* from where the cluster moved it by itself; 0: it did not */
    uint64_t lost_ms;      /* its owner's session ended then, by cluster time; 0: it has not */
    uint64_t claim;        /* id of the command that gave it to its owner: for COMMAND_IP_HOOK */
    uint8_t hook;          /* enum command_hook_state; 0: nothing is known */
    struct span hook_words;
};
typedef int directory_ip_fn(void *arg, const struct directory_ip *ip);
int directory_ip_each(const struct machine *m, directory_ip_fn *fn, void *arg);

struct directory_member {
    uint64_t id;
    uint8_t slot; /* 1 to 255, of no other present member: goes into queue ids */
    struct span name, raft_address, gossip_address, version;
    uint8_t state, role; /* enums of command.h */
    uint32_t features;
    uint8_t certificates[2][32]; /* SHA-256 of those that are good: the newest first; zeros: none */
    int64_t not_after_ms[2];     /* when they end, by the wall clock */
    uint64_t session;            /* its current one; 0: none */
    uint64_t changed;            /* id of the command that did: by.version of COMMAND_MEMBER_SET */
};
bool directory_member_find(const struct machine *m, uint64_t id, struct directory_member *out);
/* Present ones only. */
bool directory_member_named(const struct machine *m, struct span name, struct directory_member *out);
typedef int directory_member_fn(void *arg, const struct directory_member *mb);
/* Removed ones too, for the audit; in order of id. */
int directory_member_each(const struct machine *m, directory_member_fn *fn, void *arg);
/* Present members whose role it is to vote. */
uint32_t directory_voters(const struct machine *m);

struct directory_cluster {
    uint8_t id[16];
    uint32_t epoch;
    struct span ca_certificate, ca_key;
    uint64_t version; /* for COMMAND_FEATURE_RAISE */
};
bool directory_cluster(const struct machine *m, struct directory_cluster *out);
struct directory_token {
    struct span id, node_name, who;
    uint8_t secret_sha256[32];
    uint64_t until_ms; /* cluster time */
    bool used;
    uint64_t node; /* used: who joined with it */
    uint8_t request_sha256[32];
    uint64_t version;
};
bool directory_token_find(const struct machine *m, struct span id, struct directory_token *out);
typedef int directory_token_fn(void *arg, const struct directory_token *t);
int directory_token_each(const struct machine *m, directory_token_fn *fn, void *arg);

struct directory_transfer {
    uint8_t id[16];
    uint64_t giver, taker;
    uint32_t messages;
    uint8_t sha256[32];
    bool owned;     /* the taker's */
    bool cancelled; /* the giver's for good */
};
bool directory_transfer_find(const struct machine *m, const uint8_t id[16], struct directory_transfer *out);
typedef int directory_transfer_fn(void *arg, const struct directory_transfer *t);
int directory_transfer_each(const struct machine *m, directory_transfer_fn *fn, void *arg);

/* What secrets of the cluster are encrypted with, and those (consensus/command.h). */
struct directory_sealing {
    uint64_t number, old_number; /* old: what the key before has encrypted may be left; 0: there was none */
    uint8_t id[16], old_id[16];
    uint64_t version;
};
/* False: there is no key yet. */
bool directory_sealing(const struct machine *m, struct directory_sealing *out);
struct directory_sealed {
    uint8_t kind; /* enum command_sealed_kind */
    struct span name, selector, sealed, public, tenants, who;
    uint64_t number, not_before_ms, not_after_ms;
    bool subdomains;
    int64_t wall_ms; /* when it was set last */
    uint64_t version;
};
bool directory_sealed_find(const struct machine *m, uint8_t kind, struct span name, struct span selector,
                           struct directory_sealed *out);
uint64_t directory_sealed_count(const struct machine *m);
typedef int directory_sealed_fn(void *arg, const struct directory_sealed *s);
/* In order of kind, name, 0, selector: from the first one behind these bytes on (empty: all). */
int directory_sealed_each(const struct machine *m, struct span after, directory_sealed_fn *fn, void *arg);

/* A domain that a tenant has proven to be his, or is asked to: docs/domains.md. Times are wall clocks'. */
enum directory_proof_state {
    DIRECTORY_PROOF_ASKED = 1,
    DIRECTORY_PROOF_PROVEN,
    DIRECTORY_PROOF_LOST,   /* it was proven */
    DIRECTORY_PROOF_VOUCHED /* by an operator */
};
struct directory_proof {
    struct span tenant, domain, who, words; /* words: why the last look failed */
    uint8_t state;                          /* enum directory_proof_state */
    int64_t asked_ms, proven_ms, checked_ms /* 0: not yet */, until_ms, failing_ms /* since; 0: it is there */;
    uint32_t fails; /* in a row */
    uint64_t version;
};
const char *directory_proof_name(uint8_t state);
/* He may use it. */
bool directory_proof_good(const struct directory_proof *p);
bool directory_proof_find(const struct machine *m, struct span tenant, struct span domain,
                          struct directory_proof *out);
typedef int directory_proof_fn(void *arg, const struct directory_proof *p);
/* In order of tenant, 0, domain: from the first one behind these bytes on (empty: all). */
int directory_proof_each(const struct machine *m, struct span after, directory_proof_fn *fn, void *arg);

struct directory_suppressed {
    struct span tenant, address, reason, who;
    uint8_t class;     /* enum bounce_class, of node/bounce */
    int64_t wall_ms;   /* since when, by the clock of the node that said so */
    uint64_t until_ms; /* cluster time; 0: for good */
    uint64_t version;
};
bool directory_suppressed_find(const struct machine *m, struct span tenant, struct span address,
                               struct directory_suppressed *out);
uint64_t directory_suppressed_count(const struct machine *m);
typedef int directory_suppressed_fn(void *arg, const struct directory_suppressed *s);
/* In order of tenant, 0, address: from the first one behind these bytes on (empty: all). */
int directory_suppressed_each(const struct machine *m, struct span after, directory_suppressed_fn *fn, void *arg);

/* Source addresses that warm up: docs/warmup.md. */
#define DIRECTORY_WARMUP_REST "*" /* the site of all those without a plan of their own */
#define DIRECTORY_WARMUP_FIRST_MAX 1000000u
#define DIRECTORY_WARMUP_GROWTH_MAX 1000u
#define DIRECTORY_WARMUP_DAYS_MAX 365u
#define DIRECTORY_WARMUP_SITES_MAX 1000u
struct directory_warmup_settings { /* as in command_warmup_start */
    uint32_t first, growth_pct, days, fill_pct, deferral_permille, complaint_permille, sites;
    bool step_back;
};
struct directory_warmup_counts {
    uint32_t delivered, deferred, refused, complaints;
};
struct directory_warming {
    struct span address, who;
    int64_t wall_ms;        /* of the last START, by the asking node's clock */
    uint64_t begun_ms;      /* cluster time */
    uint64_t plan, version; /* ids of the first and the last START */
    uint32_t sites;         /* with a record of their own */
    struct directory_warmup_settings set;
};
bool directory_warming_find(const struct machine *m, struct span address, struct directory_warming *out);
typedef int directory_warming_fn(void *arg, const struct directory_warming *w);
/* In order of address. */
int directory_warming_each(const struct machine *m, directory_warming_fn *fn, void *arg);
enum directory_warmup_verdict {
    DIRECTORY_WARMUP_NEW, /* it has not seen a day's end */
    DIRECTORY_WARMUP_UP,
    DIRECTORY_WARMUP_REPEAT,
    DIRECTORY_WARMUP_BACK
};
struct directory_warming_site {
    struct span address, site;
    uint32_t step;           /* from 0 */
    bool warm;               /* it has come through: no limit any more */
    uint32_t volume;         /* messages of today */
    uint32_t reserved, held; /* handed out today; of it, not known to be sent */
    uint64_t until_ms;       /* cluster time: the day's end */
    struct directory_warmup_counts today, before;
    uint8_t verdict; /* of the day before */
};
typedef int directory_warming_site_fn(void *arg, const struct directory_warming_site *s);
/* Of one address, in order of site. */
int directory_warming_site_each(const struct machine *m, struct span address, directory_warming_site_fn *fn, void *arg);
/* What became of a sender's mail within at least the last hour, day and week; at most 10 minutes, 2 or 12 hours more. */
enum directory_record_window {
    DIRECTORY_RECORD_HOUR,
    DIRECTORY_RECORD_DAY,
    DIRECTORY_RECORD_WEEK,
    DIRECTORY_RECORD_WINDOWS
};
struct directory_record {
    struct span account;
    uint64_t counts[DIRECTORY_RECORD_WINDOWS][RECORD_KINDS];
    uint64_t version;
};
bool directory_record_find(const struct machine *m, struct span account, struct directory_record *out);
typedef int directory_record_fn(void *arg, const struct directory_record *r);
/* In order of name, from the first one after `after` (empty: all); until it returns nonzero. */
int directory_record_each(const struct machine *m, struct span after, directory_record_fn *fn, void *arg);
/* Of the kinds from `from` up to, not including, `to`. */
uint64_t directory_record_sum(const struct directory_record *r, enum directory_record_window w, uint8_t from,
                              uint8_t to);

/* The most of a kind that one day of the week before had; neither the last day and a half counts, nor what
 * came from `until_ms` on (cluster time). */
uint64_t directory_record_usual(const struct machine *m, struct span account, uint8_t kind, uint64_t until_ms);

/* What was seen of a sender beside that, for the rules of the policy. */
struct directory_sender {
    uint8_t class;   /* that it sent as last */
    uint32_t blocks; /* by rules, within a week */
    struct sender_values values;
};
bool directory_sender_known(const struct machine *m, struct span account); /* it has sent, not too long ago */
bool directory_sender_find(const struct machine *m, struct span account, struct directory_sender *out);

/* What a rule does to a sender, or did a while ago: directory_measure.c. */
#define DIRECTORY_EVIDENCE_MAX 400
struct directory_measure {
    struct span account, rule, pool, evidence;
    uint8_t action; /* enum sender_action: SLOW or POOL */
    bool in_force;
    uint64_t since_ms, until_ms; /* cluster time; until 0: until an operator lifts it */
    int64_t wall_ms;             /* when it began, by a wall clock */
    uint32_t times;              /* so often, of late */
    uint64_t id;
};
typedef int directory_measure_fn(void *arg, const struct directory_measure *v);
/* Of one sender, or (empty) of all, in order of name. */
int directory_measure_each(const struct machine *m, struct span account, directory_measure_fn *fn, void *arg);
/* This rule slows him. */
bool directory_slowed(const struct machine *m, struct span account, struct span rule);

/* A sender's standing; who has none is neutral. */
struct directory_standing {
    struct span account;
    uint8_t tier; /* enum command_tier */
    bool pinned;
    uint64_t since_ms; /* cluster time */
    int64_t wall_ms;   /* the same by the clock of who said so */
    uint64_t version;
};
const char *directory_tier_name(uint8_t tier);
bool directory_standing_find(const struct machine *m, struct span account, struct directory_standing *out);
typedef int directory_standing_fn(void *arg, const struct directory_standing *s);
int directory_standing_each(const struct machine *m, struct span after, directory_standing_fn *fn, void *arg);

struct directory_audit {
    uint64_t id; /* ascending */
    int64_t wall_ms;
    struct span who, what; /* "freeze account anna@example.org reject for 2h: reason" */
};
typedef int directory_audit_fn(void *arg, const struct directory_audit *a);
/* Newest first, older than `before` (0: all). */
int directory_audit_each(const struct machine *m, uint64_t before, directory_audit_fn *fn, void *arg);

#endif
