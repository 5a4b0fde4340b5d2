/* The commands of the replicated machine, and their encoding in raft entries. Pure.
 *
 * An entry carries the cluster time at which its proposer made it, and up to 64 commands. Each names its
 * origin: the session of the node that asked and a sequence number of that session, so that a repeat changes
 * nothing (COMMAND_ORIGIN below). Spans are borrowed: from the caller when encoding, from the entry's bytes
 * when decoding. Numbers and layout are on disk and on the wire: a number is never reused, a field is only
 * ever added at the end and only with a new feature level (docs/cluster-format.md).
 */
#ifndef CONSENSUS_COMMAND_H
#define CONSENSUS_COMMAND_H

#include "base/buf.h"
#include "base/cursor.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define COMMAND_ENTRY_MAX 64 /* commands in one entry */
#define COMMAND_ENTRY_BYTES                                                                                  \
    (4u << 10) /* at which an entry is full; one larger command may have one of its own */
#define COMMAND_BYTES_MAX (256u << 10) /* of one command, encoded */
#define COMMAND_NAME_MAX 320           /* account, tenant, limit, pool, node: bytes */
#define COMMAND_TEXT_MAX 1024          /* reason, operator, note, password hash */
#define COMMAND_SENDERS_MAX 16384      /* of an account: bytes */
#define COMMAND_PEM_MAX 16384          /* a certificate, a key: bytes */
#define COMMAND_CLASSES 3              /* person, device, bulk: as enum account_class */
#define COMMAND_STREAM 0x80            /* beside a class: it is the mail's, whatever its account's is */
/* The largest entry: as many commands as fit below COMMAND_ENTRY_BYTES and a large one. */
#define COMMAND_ENTRY_BYTES_MAX (COMMAND_ENTRY_BYTES + COMMAND_BYTES_MAX + 32u)

/* Feature levels: 2: anybody ends the batches of a removed giver; 3: suppressed addresses; 4: floating addresses, sealed secrets, warm-up, senders' records; 5: domains that were proven, floating addresses that nobody has had yet, looks at senders, tenants' contacts and notices to them; 6: tenants' tokens, operators and their logins, tenants' tokens, streams of mail, senders who are slowed or sent from another pool, reasons of held mail, alerts; 7: what the content check says of senders' mail, alerts of what operators freeze, web senders; 8: milters. An entry names the lowest level that can read it, so that older nodes can follow until the
 * level is raised (COMMAND_FEATURE_RAISE). */
#define COMMAND_FEATURES 8        /* highest that this build can do */
#define COMMAND_FEATURES_NEEDED 1 /* by what it writes, but for commands of a higher command_type_level */

enum command_type {
    /* sessions and quotas */
    COMMAND_SESSION_OPEN = 1,
    COMMAND_SESSION_RENEW = 2,
    COMMAND_SESSION_EXPIRE = 3,
    COMMAND_SESSION_CLOSE = 4,
    COMMAND_CANCEL = 5,
    COMMAND_GRANT = 6,
    COMMAND_RETURN = 7,
    COMMAND_LIMITS_REOPEN = 8, /* windows that count as full since a new epoch count what is known again */
    /* freeze */
    COMMAND_FREEZE = 16,
    COMMAND_THAW = 17,
    /* senders */
    COMMAND_ACCOUNT_SET = 24,
    COMMAND_ACCOUNT_REMOVE = 25,
    COMMAND_TENANT_SET = 26,
    COMMAND_TENANT_REMOVE = 27,
    COMMAND_OVERRIDE_SET = 28, /* a limit of one account or tenant */
    /* policy */
    COMMAND_POLICY_CHUNK = 32,
    COMMAND_POLICY_COMMIT = 33,
    /* pools and source addresses */
    COMMAND_POOL_SET = 40,
    COMMAND_POOL_REMOVE = 41,
    COMMAND_POOL_ASSIGN = 42, /* of a class, tenant or account to a pool */
    COMMAND_IP_SET = 43,      /* a new address, or its pool, weight, or whether it is used */
    COMMAND_IP_MOVE = 44,     /* revoke: to another node, once released */
    COMMAND_IP_RELEASED = 45,
    COMMAND_IP_REMOVE = 46,
    /* members */
    COMMAND_CLUSTER_INIT = 56,
    COMMAND_TOKEN_ADD = 57,
    COMMAND_MEMBER_JOIN = 58,
    COMMAND_MEMBER_SET = 59,    /* its state: joining, active, draining, removed; its role, addresses */
    COMMAND_MEMBER_REPORT = 60, /* what it runs: version, feature level */
    COMMAND_CERT_ISSUED = 61,
    COMMAND_FEATURE_RAISE = 62,
    COMMAND_TOKEN_REMOVE = 63,
    /* mail that moves between nodes */
    COMMAND_TRANSFER_OWN = 72,    /* the taker owns this batch from now on */
    COMMAND_TRANSFER_END = 73,    /* both know: forget it */
    COMMAND_TRANSFER_CANCEL = 74, /* it stays the giver's, unless it is the taker's already */
    /* secrets of the whole cluster, encrypted */
    COMMAND_SEALING_KEY = 90, /* what they are encrypted with is another key from now on */
    COMMAND_SEALED_SET = 91,
    COMMAND_SEALED_REMOVE = 92,
    /* senders' domains */
    COMMAND_DOMAIN_ASK = 93,    /* a tenant is to prove one, or an operator vouches for it */
    COMMAND_DOMAIN_RESULT = 94, /* of a look into the DNS */
    COMMAND_DOMAIN_FORGET = 95,
    /* addresses that are not sent to */
    COMMAND_SUPPRESS_ADD = 80,
    COMMAND_SUPPRESS_REMOVE = 81,
    /* addresses that move when their node is lost */
    COMMAND_POOL_FLOATING = 84, /* whether a pool's addresses do */
    COMMAND_IP_MOVE_DEAD = 85,  /* an operator's word that its owner's machine is off */
    COMMAND_IP_FLOAT = 86,      /* the leader's: to another node, or back */
    COMMAND_IP_HOOK = 87,       /* what the owner's hook has done */
    /* source addresses that warm up */
    COMMAND_WARMUP_START = 100, /* or other settings of a plan that runs */
    COMMAND_WARMUP_STOP = 101,
    COMMAND_WARMUP_STEP = 102,    /* an operator says where a site stands */
    COMMAND_WARMUP_RESERVE = 103, /* messages of today's plan, before they are sent */
    COMMAND_WARMUP_REPORT = 104,  /* what came of them, and which were not sent */
    /* senders' records */
    COMMAND_RECORD_REPORT = 120, /* a node's counts since its last report */
    COMMAND_RECORD_FORGET = 121,
    COMMAND_STANDING_SET = 122, /* good, neutral or poor */
    COMMAND_STANDING_FORGET = 123, /* as RECORD_FORGET; of one that is neutral, and not pinned */
    COMMAND_SENDER_LOOK = 124, /* as RECORD_REPORT, and more; the answer comes with what rules made of it */
    /* what tenants are told */
    COMMAND_TENANT_CONTACT = 140,
    COMMAND_NOTICE_CLAIM = 141, /* the asking node will tell a tenant of something; nobody else for a while */
    /* tenants' own programs */
    COMMAND_TENANT_TOKEN_ADD = 145, /* with which the admin API shows a tenant what is its own */
    COMMAND_TENANT_TOKEN_REMOVE = 146,
    /* addresses whose traces are erased */
    COMMAND_ERASE_ADD = 147,
    COMMAND_ERASE_DONE = 148, /* the asking node has */
    /* held mail: what an operator did with it is in the audit trail */
    COMMAND_HELD_EXEMPT = 160,
    /* who may log in to the dashboard */
    COMMAND_OPERATOR_SET = 190,
    COMMAND_OPERATOR_REMOVE = 191,
    COMMAND_LOGIN_SET = 192, /* a new one, or one that is used goes on */
    COMMAND_LOGIN_END = 193,
    /* senders whose mail is not as their account's */
    COMMAND_GRANT_STREAM = 170, /* as GRANT, by limits for this class, whatever the account's is */
    COMMAND_SENDER_LIFT = 171,  /* what a rule did to a sender ends: slowed, or sent from another pool */
    COMMAND_SENDER_NOTICE = 172, /* as NOTICE_CLAIM; of an account, which is told of something itself */
    /* what people are told */
    COMMAND_ALERT_DONE = 175, /* a target of notifications has had these alerts */
    /* senders that headers of shared hosts' mail name */
    COMMAND_WEB_CLAIM = 200, /* there is such a sender, and goes on being one for a while */
    COMMAND_WEB_FORGET = 201,
};

/* Who asks. A machine answers the same (session, seq) once: a repeat gets the first answer again, as long as
 * it is in the session's window of 1024; below `lowest` nothing is remembered, because the asker has all
 * answers. */
struct command_origin {
    uint64_t session; /* 0: none; only SESSION_OPEN, SESSION_EXPIRE and what the leader itself proposes */
    uint64_t seq;     /* from 1 */
    uint64_t lowest;  /* lowest seq that is still unanswered */
};

enum command_scope { COMMAND_SCOPE_ACCOUNT = 1, COMMAND_SCOPE_TENANT = 2 };
/* AUTO: reject; but on relay listeners defer, since a customer's server would return all that it has. */
enum command_freeze_mode {
    COMMAND_FREEZE_REJECT = 1,
    COMMAND_FREEZE_DEFER = 2,
    COMMAND_FREEZE_HOLD = 3,
    COMMAND_FREEZE_AUTO = 4
};

/* Operator's commands carry who, for the audit trail, and the version of what they saw (0: whatever it is).
 */
struct command_by {
    struct span who;  /* "unix:uid=0,pid=77@node-a" */
    int64_t wall_ms;  /* when, by the asking node's clock: for people only */
    uint64_t version; /* index of the last change of the thing, as the operator saw it; else ERR_BUSY */
};

struct command_session_open {
    uint64_t node;
    uint8_t nonce[16]; /* fresh with each process and each attempt to open; a repeat of the same attempt has
                          the same one and gets the same answer */
    uint64_t replaces; /* the session that this node had, as it knows; 0: none. Compare and set */
    bool new_process;  /* the grants of the old one are burned; else they are the node's to settle */
};
struct command_session_renew {
    uint64_t number;    /* of this attempt, ascending */
    uint64_t published; /* every worker of the node acts on the state up to this index */
};
struct command_session_expire {
    uint64_t session, number; /* the renewal that was too long ago: a later one makes this a no-op */
};
struct command_cancel {
    uint64_t seq; /* of the same session: if it has not come yet, it never counts */
};

/* Tokens for one sender. */
struct command_grant {
    struct span account;
    struct span
        tenant; /* empty: none. Both this and the class count only for an account that the state lacks */
    uint8_t class;
    uint32_t need; /* at least so many or a refusal */
    uint32_t want; /* at most so many */
};
/* What is left of grants, to be refunded; what is not refunded was spent. */
struct command_return_item {
    uint64_t grant;
    uint32_t unspent;
    bool last; /* the grant is done with: nothing more will be spent of it */
};
#define COMMAND_RETURN_MAX 64
struct command_return {
    uint32_t n;
    struct command_return_item item[COMMAND_RETURN_MAX];
};

struct command_freeze {
    struct command_by by;
    uint8_t scope; /* enum command_scope */
    struct span name;
    uint8_t mode;
    uint64_t for_ms; /* cluster time; 0: until thawed */
    struct span reason;
};
struct command_thaw {
    struct command_by by;
    uint8_t scope;
    struct span name;
    uint64_t
        freeze; /* its id: a later freeze of the same name stays. 0: whatever freeze there is (an operator) */
};

struct command_account_set {
    struct command_by by;
    struct span name, hash, tenant, senders; /* as node/auth/accounts.h has them */
    uint8_t class;
    bool disabled;
    bool create; /* ERR_EXISTS when there is one; else ERR_NOT_FOUND when there is none */
    bool upsert; /* either */
    bool keep_hash;
};
struct command_name { /* ACCOUNT_REMOVE, TENANT_REMOVE, POOL_REMOVE, IP_REMOVE, TOKEN_REMOVE, WARMUP_STOP,
                         TENANT_TOKEN_REMOVE, OPERATOR_REMOVE, WEB_FORGET */
    struct command_by by;
    struct span name;
};
struct command_tenant_set {
    struct command_by by;
    struct span name, note;
};
struct command_tenant_contact {
    struct command_by by;
    struct span name, address; /* empty: none any more */
};
#define COMMAND_TENANT_TOKEN_ID_MAX 32
struct command_tenant_token {
    struct command_by by;
    struct span tenant;
    struct span id; /* public part */
    uint8_t secret_sha256[32];
    struct span note;
};
struct command_erase {
    struct command_by by; /* of ADD */
    struct span address;  /* lower case */
    uint64_t id;          /* of DONE: of the ADD that it answers */
};
/* Held mail is released, and its senders' limits are not charged for it. */
struct command_held_exempt {
    struct command_by by;
    struct span operator_name; /* as he gives it; `by` says how he came */
    uint32_t recipients;       /* so many, when he was asked */
    struct span what;          /* which ones */
    struct span reason;
};
#define COMMAND_NOTICE_MAX_MS (31ull * 86400000)
struct command_notice_claim {
    struct span tenant; /* of SENDER_NOTICE: the account */
    struct span about;  /* "reverse-dns 192.0.2.1": printable */
    uint64_t for_ms;           /* so long nobody tells him again */
};
#define COMMAND_ALERTS_DONE_MAX 64
struct command_alert_done {
    struct span target; /* its name in the policy */
    uint64_t upto;      /* all up to this one; 0: none */
    struct span seqs;   /* and these: u64 each, at most COMMAND_ALERTS_DONE_MAX */
    bool forget;        /* there is no such target any more */
};
struct command_web_claim {
    struct span name;      /* consensus/web_sender.h */
    uint32_t most_of_host; /* names of its host, and of all hosts, by the proposer's policy */
    uint32_t most;
    uint64_t for_ms; /* cluster time, to its end unless it is claimed again; at most WEB_SENDER_LIFE_MAX_MS */
};
struct command_override_set {
    struct command_by by;
    uint8_t scope;
    struct span name;
    struct span limit; /* of the policy */
    bool remove;
    uint64_t count; /* instead of the limit's own */
};

/* A new policy: its text and what was compiled from it (consensus/policy.h), in chunks, then one commit. */
#define COMMAND_CHUNK_MAX (64u << 10)
struct command_policy_chunk {
    uint8_t upload[16]; /* names it */
    uint32_t number;    /* from 0 */
    struct span bytes;
};
struct command_policy_commit {
    struct command_by by; /* version: of the policy that it replaces */
    uint8_t upload[16];
    uint32_t chunks;
    uint64_t text_bytes, compiled_bytes; /* in this order */
    struct span note;
};

struct command_pool_set {
    struct command_by by;
    struct span name, note;
};
enum command_assign_to { COMMAND_ASSIGN_CLASS = 1, COMMAND_ASSIGN_TENANT = 2, COMMAND_ASSIGN_ACCOUNT = 3 };
struct command_pool_assign {
    struct command_by by;
    uint8_t to; /* enum command_assign_to */
    struct span name;
    struct span pool; /* empty: no longer */
};
enum command_use {
    COMMAND_USE_ON = 1,
    COMMAND_USE_DRAIN = 2 /* no new connections */,
    COMMAND_USE_DISABLED = 3
};
struct command_ip_set {
    struct command_by by;
    struct span address; /* as inet_ntop writes it */
    struct span pool;    /* empty: keep */
    struct span ehlo;    /* name to greet with; empty: keep, or the node's */
    uint64_t node;       /* of a new address: its owner */
    uint32_t weight;     /* 0: keep, or 100 */
    uint8_t use;         /* enum command_use; 0: keep */
    bool create;
};
struct command_ip_move {
    struct command_by by;
    struct span address;
    uint64_t node;
};
struct command_ip_released {
    struct span address;
    uint64_t moved; /* the id of the move that asked for it */
};
enum command_floating {
    COMMAND_FLOATING_NEVER = 1, /* bound to their machines */
    COMMAND_FLOATING_OPERATOR,
    COMMAND_FLOATING_AUTOMATIC
};
struct command_pool_floating {
    struct command_by by;
    struct span name;
    uint8_t mode;      /* enum command_floating */
    uint64_t after_ms; /* automatic: the owner's session has ended for so long; cluster time */
    uint32_t per_node; /* automatic: no node gets more of the pool's; 0: any number */
    bool back;         /* automatic: it goes back when its node has had a session for after_ms */
    struct span nodes; /* automatic: these are asked first; names with commas between them, or empty */
};
struct command_ip_float {
    struct span address;
    uint64_t lost; /* names what it answers: the loss of its owner, or (back) the claim of its present one */
    uint64_t node; /* where it goes */
};
enum command_hook_state { COMMAND_HOOK_ADDING = 1, COMMAND_HOOK_DONE, COMMAND_HOOK_FAILED };
#define COMMAND_HOOK_WORDS_MAX 200
struct command_ip_hook {
    struct span address;
    uint64_t claim; /* of the ownership that it is about */
    uint8_t state;  /* enum command_hook_state */
    struct span words;
};

enum command_member_state {
    COMMAND_MEMBER_JOINING = 1,
    COMMAND_MEMBER_ACTIVE,
    COMMAND_MEMBER_DRAINING,
    COMMAND_MEMBER_REMOVED
};
enum command_member_role { COMMAND_ROLE_STANDBY = 1, COMMAND_ROLE_VOTER = 2 };

struct command_cluster_init { /* the first command of a cluster, and of an epoch */
    uint8_t cluster[16];
    uint32_t epoch;
    struct span ca_certificate, ca_key;             /* PEM; the key encrypted */
    struct span name, raft_address, gossip_address; /* of the first member, whose id is 1 */
    struct span certificate_sha256;
    struct span version;
    uint32_t features;
};
struct command_token_add {
    struct command_by by;
    struct span id; /* public part */
    uint8_t secret_sha256[32];
    uint64_t for_ms;
    struct span node_name; /* empty: any */
};
struct command_member_join {
    struct span token; /* its public part; the proposer has checked the secret */
    uint8_t
        request_sha256[32]; /* a repeat of the same request gets the same answer; another one is refused */
    struct span name, raft_address, gossip_address, version;
    uint32_t features;
};
struct command_member_set {
    struct command_by by;
    uint64_t node;
    uint8_t state;                            /* 0: keep */
    uint8_t role;                             /* 0: keep */
    struct span raft_address, gossip_address; /* empty: keep */
};
struct command_member_report {
    uint64_t node;
    struct span version;
    uint32_t features; /* highest level that it can do */
};
struct command_cert_issued {
    uint64_t node;
    uint8_t sha256[32];   /* of the certificate; the one before it stays good for a while */
    int64_t not_after_ms; /* wall clock, in the certificate */
};
/* Only an operator may say that nothing unknown was admitted: see quota_fill. */
struct command_limits_reopen {
    struct command_by by;
};
struct command_feature_raise {
    struct command_by by;
    uint32_t level;
};

struct command_transfer_own {
    uint8_t id[16]; /* of the batch */
    uint64_t giver, taker;
    uint32_t messages;
    uint8_t sha256[32]; /* over the batch's message ids and hops: what both hold */
};
struct command_transfer_end {
    uint8_t id[16];
};

/* Secrets are encrypted by a key that the log never has: each node keeps it in a file (node/cluster/seal.h). */
#define COMMAND_SEALED_MAX 8192
#define COMMAND_SEALED_PUBLIC_MAX 2048
enum command_sealed_kind {
    COMMAND_SEALED_DKIM = 1,
    COMMAND_SEALED_SECRET = 2 /* random; the name says what for, the selector tells several apart */
};
struct command_sealing_key {
    struct command_by by;
    uint64_t number; /* one more than that of the key in force */
    uint8_t id[16];  /* of its hash */
    bool lost;       /* nobody has the one before: what it encrypted stays closed. Else nothing may be left of it but
                        what this one's forerunner encrypted */
};
struct command_sealed_set {
    struct command_by by;
    uint8_t kind;               /* enum command_sealed_kind */
    struct span name, selector; /* DKIM: domain and selector, lower case */
    bool create;                /* ERR_EXISTS when there is one; else ERR_NOT_FOUND when there is none */
    uint64_t number;            /* of the key that encrypted it */
    struct span sealed;         /* empty: as it is, and so are number and public */
    struct span public;         /* what anybody may know of it */
    uint64_t not_before_ms, not_after_ms; /* by the wall clock; 0: no bound */
    bool subdomains;
    struct span tenants; /* with blanks between; empty: any */
};
struct command_sealed_remove {
    struct command_by by;
    uint8_t kind;
    struct span name, selector;
};

#define COMMAND_DOMAIN_WORDS_MAX 160
struct command_domain_ask {
    struct command_by by;
    struct span tenant; /* empty: of accounts without one */
    struct span domain; /* A-labels, lower case */
    bool vouched;       /* by an operator's word: it is never looked up */
};
enum command_domain_outcome {
    COMMAND_DOMAIN_GOOD = 1,
    COMMAND_DOMAIN_BAD = 2, /* not there; counted, and nothing else */
    COMMAND_DOMAIN_LOST = 3 /* not there for too long, by the proposer's policy */
};
struct command_domain_result {
    struct command_by by; /* version: of what was looked at */
    struct span tenant, domain;
    uint8_t outcome;   /* enum command_domain_outcome */
    uint64_t until_ms; /* of GOOD: wall clock; not proven any more from then on */
    struct span words; /* why not */
};
struct command_domain_forget {
    struct command_by by;
    struct span tenant, domain;
};

#define COMMAND_SUPPRESS_REASON_MAX 160
#define COMMAND_SUPPRESS_CLASS_MAX 31
struct command_suppress_add {
    struct command_by by;
    struct span tenant;  /* empty: of accounts without one */
    struct span address; /* lower case */
    uint8_t class;       /* why: enum bounce_class, of node/bounce */
    bool bounced;        /* not an operator's: an entry that is there stays as it is, and nothing is audited */
    uint64_t for_ms;     /* cluster time; 0: for good */
    uint32_t most;       /* entries of this tenant, by the proposer's policy */
    struct span reason;
};
struct command_suppress_remove {
    struct command_by by;
    struct span tenant, address;
    uint64_t entry; /* its id: a later one stays, and none is no fault. 0: whatever there is (an operator) */
};

#define COMMAND_WARMUP_SITE_MAX 255
#define COMMAND_WARMUP_UNLIMITED UINT32_MAX /* of a RESERVE's result: this site has come through its plan */
struct command_warmup_start {
    struct command_by by; /* wall_ms: the plan's days end where that clock's day ends (UTC) */
    struct span address;
    uint32_t first;      /* messages to a site on its first day */
    uint32_t growth_pct; /* of one step: 140 */
    uint32_t days;       /* steps until a site is warm */
    uint32_t fill_pct;   /* of the day's plan that must have been delivered for a step up */
    uint32_t deferral_permille, complaint_permille; /* more of the day's attempts, deliveries: no step up */
    bool step_back;                                 /* but one down */
    uint32_t sites;                                 /* with a plan of their own; the others share one */
};
struct command_warmup_step {
    struct command_by by;
    struct span address, site;
    uint32_t step; /* 0: the first day's */
};
struct command_warmup_reserve {
    struct span address, site;
    uint32_t want;
};
struct command_warmup_report {
    struct span address, site;
    uint64_t plan, until_ms; /* of the RESERVE's result: id, free_ms. 0: nothing is given back */
    uint32_t unspent;
    uint32_t delivered, deferred, refused, complaints;
};

struct command_record_report {
    uint8_t process[16]; /* of the node's process: random */
    uint64_t number;     /* ascending within the process: one that comes again changes nothing */
    struct span counts;  /* consensus/record.h */
};
struct command_sender_look {
    uint8_t process[16]; /* numbered with RECORD_REPORT's */
    uint64_t number;
    int64_t wall_ms;   /* the node's: hours of the day, and for people */
    struct span facts; /* consensus/facts.h */
};
struct command_record_forget {
    struct span account;
    uint64_t entry; /* its version: a later one stays */
};
struct command_sender_lift {
    struct command_by by;
    struct span account;
    struct span rule; /* empty: any (an operator) */
    uint64_t entry;   /* its id: a later one stays, and so does one whose time has not come. 0: whatever there is (an
                         operator) */
};
enum command_tier { COMMAND_TIER_NEUTRAL, COMMAND_TIER_GOOD, COMMAND_TIER_POOR };
#define COMMAND_STANDING_REASON_MAX 160
struct command_standing_set {
    struct command_by by;
    struct span account;
    uint8_t tier; /* enum command_tier */
    bool keep;    /* the tier that there is, whatever `tier` says */
    bool pinned;
    bool judged; /* not an operator's: what is pinned stays */
    struct span reason;
};

enum command_role {
    COMMAND_ROLE_VIEWER = 1,
    COMMAND_ROLE_POSTMASTER = 2,
    COMMAND_ROLE_ADMIN = 3
};
struct command_operator_set {
    struct command_by by;
    struct span name;
    struct span hash; /* empty: as it is; else his logins end */
    uint8_t role;     /* enum command_role; 0: as it is */
    bool create;
};
struct command_login_set {
    struct command_by by;
    uint8_t id[32]; /* hash of what the browser has */
    struct span name;
    uint64_t until_ms, ends_ms; /* wall clock: unless it is used; whatever it does. The latter of a new one only */
    bool open;                  /* a new one */
};
struct command_login_end {
    struct command_by by;
    uint8_t id[32];
    struct span name;
    bool all; /* of that operator, whatever the id says */
};

struct command {
    uint8_t type; /* enum command_type */
    struct command_origin origin;
    union {
        struct command_session_open session_open;
        struct command_session_renew session_renew;
        struct command_session_expire session_expire;
        struct command_cancel cancel;
        struct command_grant grant;
        struct command_return ret;
        struct command_freeze freeze;
        struct command_thaw thaw;
        struct command_account_set account_set;
        struct command_name name;
        struct command_tenant_set tenant_set;
        struct command_tenant_contact tenant_contact;
        struct command_notice_claim notice_claim;
        struct command_tenant_token tenant_token;
        struct command_erase erase;
        struct command_held_exempt held_exempt;
        struct command_alert_done alert_done;
        struct command_web_claim web_claim;
        struct command_override_set override_set;
        struct command_policy_chunk policy_chunk;
        struct command_policy_commit policy_commit;
        struct command_pool_set pool_set;
        struct command_pool_assign pool_assign;
        struct command_ip_set ip_set;
        struct command_ip_move ip_move; /* also MOVE_DEAD */
        struct command_ip_released ip_released;
        struct command_pool_floating pool_floating;
        struct command_ip_float ip_float;
        struct command_ip_hook ip_hook;
        struct command_cluster_init cluster_init;
        struct command_token_add token_add;
        struct command_member_join member_join;
        struct command_member_set member_set;
        struct command_member_report member_report;
        struct command_cert_issued cert_issued;
        struct command_feature_raise feature_raise;
        struct command_limits_reopen limits_reopen;
        struct command_transfer_own transfer_own;
        struct command_transfer_end transfer_end; /* also CANCEL */
        struct command_sealing_key sealing_key;
        struct command_sealed_set sealed_set;
        struct command_sealed_remove sealed_remove;
        struct command_domain_ask domain_ask;
        struct command_domain_result domain_result;
        struct command_domain_forget domain_forget;
        struct command_suppress_add suppress_add;
        struct command_suppress_remove suppress_remove;
        struct command_warmup_start warmup_start;
        struct command_warmup_step warmup_step;
        struct command_warmup_reserve warmup_reserve;
        struct command_warmup_report warmup_report;
        struct command_record_report record_report;
        struct command_sender_look sender_look;
        struct command_sender_lift sender_lift;
        struct command_record_forget record_forget; /* also of STANDING_FORGET */
        struct command_standing_set standing_set;
        struct command_operator_set operator_set;
        struct command_login_set login_set;
        struct command_login_end login_end;
    };
};

/* One command, to be put into an entry, or sent to the leader. ERR_LIMIT: a field is outside its limits (an
 * empty name, a text too long, an enum's number that does not exist); `out` is then as it was. */
int command_encode(const struct command *cmd, struct buf *out);
/* The next command of `c`. ERR_TORN, ERR_CORRUPT (a leader must try this on what another node sends, before
 * it goes into an entry); ERR_NOT_FOUND: of a type that this build does not know. Only what command_encode
 * writes is taken. */
int command_decode(struct cursor *c, struct command *out);

/* An entry: a header with format, feature level and cluster time, encoded commands, zeros to a multiple of 8.
 */
struct command_entry {
    uint64_t now_ms; /* the proposer's cluster time */
    uint32_t n;
};
/* `out` is empty. */
int command_entry_begin(struct buf *out, uint64_t now_ms);
/* After the commands were appended: fills in their number, pads. */
int command_entry_end(struct buf *out, uint32_t n);
/* `c` is over one whole entry; afterwards over its commands alone, to be read by n calls of command_decode
 * that leave nothing. ERR_TORN, ERR_CORRUPT; ERR_NOT_FOUND: of a newer format or feature level. */
int command_entry_decode(struct cursor *c, struct command_entry *out);

const char *command_type_name(uint8_t type);
/* The feature level that must be in force before this may be proposed. An entry that has it says so. */
uint8_t command_type_level(uint8_t type);

#endif
