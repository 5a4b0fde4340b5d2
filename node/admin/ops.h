/* The seam between the admin API and the node: what the API can ask, as a table of functions that node/core
 * implements. Core sees no JSON and no HTTP; the admin library sees no worker, queue or spool.
 *
 * Threads. Every function of struct admin_ops is called on an admin thread (one per connection, up to
 * ADMIN_CALLS_MAX at once) and may block up to ADMIN_CALL_MAX_MS; it must not touch what a worker owns, but
 * post to the worker's inbox and wait. Arguments are borrowed until return. Row callbacks run on the calling
 * admin thread, inside the call; what a row points to is needed during the callback only.
 *
 * Errors. 0, or a negative err with its reason in `e` (admin_fail). They reach the client as HTTP statuses:
 * ERR_BAD 400, ERR_DENIED 403, ERR_NOT_FOUND 404, ERR_EXISTS 409, ERR_LIMIT 429, ERR_BUSY and ERR_CLOSED 503,
 * ERR_TIMEOUT 504, anything else 500. A function that is NULL answers 501. Texts are one line for an
 * operator: what failed and what to do.
 *
 * Strings. What clients send was checked before a function is called: valid UTF-8, no control character,
 * within the lengths said here. NULL means "not given". What a row holds may be any bytes: it is escaped on
 * the way out. Times are wall-clock milliseconds since 1970; 0: unknown or none.
 */
#ifndef NODE_ADMIN_OPS_H
#define NODE_ADMIN_OPS_H

#include "base/buf.h"
#include "base/span.h"
#include "node/bounce/class.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#define ADMIN_CALLS_MAX 64
#define ADMIN_CALL_MAX_MS 60000
#define ADMIN_TEXT_MAX 1024   /* bytes of any string argument */
#define ADMIN_IDS_MAX 1000    /* queue ids in one selector */
#define ADMIN_ROWS_MAX 1000   /* rows of one page */
#define ADMIN_BATCH_MAX 500   /* accounts in one import call */
#define ADMIN_WORKERS_MAX 256 /* in a status */
#define ADMIN_LISTENERS_MAX 64

struct admin_error {
    char text[512];
};

/* Sets the text, returns err. */
int admin_fail(struct admin_error *e, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Who asks, for the event log and the audit of operators' acts. */
#define ADMIN_TENANT_NAME_MAX 320
struct admin_caller {
    bool local;    /* through the unix socket */
    uid_t uid;     /* local: of the peer process */
    pid_t pid;     /* local */
    bool no_content; /* may not look into people's mail, not even at its header */
    uint8_t role;  /* enum admin_role: what this caller may */
    char text[160]; /* "unix:uid=0,pid=1234", "tcp:127.0.0.1:40312" or "anna tcp:127.0.0.1:40312" */
    struct sockaddr_storage peer; /* not local; AF_UNSPEC: not known */
    char tenant[ADMIN_TENANT_NAME_MAX + 1]; /* a tenant's token, which shows what is his (tenant.h); else empty */
};

/* ---- selecting recipients in the queue ----------------------------------------------------------------- */

enum admin_state { /* of a recipient; the first three are living ones */
                   ADMIN_STATE_QUEUED,
                   ADMIN_STATE_HELD,
                   ADMIN_STATE_ACTIVE, /* in a transaction with the next hop just now */
                   ADMIN_STATE_DELIVERED,
                   ADMIN_STATE_RELAYED,
                   ADMIN_STATE_BOUNCED,
                   ADMIN_STATE_EXPIRED,
                   ADMIN_STATE_DELETED,
                   ADMIN_STATE_MOVED,    /* another node has it */
                   ADMIN_STATE_REJECTED, /* the check of content did not let it in */
                   ADMIN_STATES
};

/* "queued", "held", ... */
const char *admin_state_name(enum admin_state state);

struct admin_regex; /* a compiled pattern; see selector.h */

/* All that are given must match. Empty selector: everything (acts need `all` then). */
struct admin_selector {
    const char **ids; /* queue ids as text, upper case, in strcmp order; any spelling of the alphabet */
    uint32_t nids;
    bool all;                        /* an act on everything is meant */
    const char *sender;              /* reverse-path: whole address, "@domain", or "<>"; without case */
    const char *recipient;           /* whole address or "@domain"; without case */
    const char *site;                /* exact, without case */
    const char *account;             /* exact, without case */
    const char *tenant;              /* exact */
    int64_t arrived_before_ms;       /* older_than, made absolute; 0: not given */
    const char *held_for;            /* why it is held: "frozen", "over_limit", ...; what is not held is not meant */
    int state;                       /* enum admin_state QUEUED..ACTIVE, or -1: any */
    const struct admin_regex *reply; /* matches the last reply; NULL: not given */
};

/* What happened to a recipient before its end. */
struct admin_step {
    uint32_t number;  /* 1 for the first; those in the middle of many are not kept */
    const char *what; /* deferred, held, released, arrived (from another node), checked (its content) */
    struct span verdict; /* of checked: what was said, and what came of it: */
    struct span done;    /* accepted, marked, held, rejected, deferred */
    bool greylisted;
    uint16_t attempt;
    int64_t at_ms, next_ms;
    struct span reply, pool, mx, mx_ip, source_ip, tls;
    struct span who; /* the operator, or the node */
};

/* One recipient of one message. */
struct admin_row {
    const char *id;  /* queue id */
    uint32_t rcpt;   /* index in the message */
    uint32_t nrcpts; /* of the message */
    enum admin_state state;
    struct span sender, recipient, account, tenant, site, class, message_id;
    struct span client_ip, client_name, helo, protocol, listener;
    struct span reply;                /* last reply or reason */
    struct span mx, mx_ip, source_ip; /* of the last attempt; empty when not known */
    struct span tls;                  /* likewise; empty: none, or not known */
    struct span dkim;                 /* keys that signed it, once it has ended; empty: none, or not known */
    uint64_t size;                    /* bytes of the message */
    uint16_t attempts;
    int64_t arrival_ms, next_ms, changed_ms, expires_ms;
    struct span rerouted_from, rerouted_to,
        rerouted_by;       /* pools, and the rule; rerouted_to empty: it was not moved */
    struct span held_for, held_text; /* why it is held, in a word and in more of them; empty: it is not */
    int64_t held_ms;                 /* since when */
    int64_t greylisted_ms; /* since when `mx` has greylisted it, coming from `source_ip` */
    const struct admin_step *steps; /* NULL: not asked for */
    uint32_t nsteps;
};

/* 0: go on; 1: enough. */
typedef int admin_row_fn(void *arg, const struct admin_row *row);

/* Whether the row is selected; any thread. When only some of the fields are at hand, first ask
 * admin_selector_needs, so that the disk is read for those rows only that cheap fields left over. */
bool admin_selector_match(const struct admin_selector *sel, const struct admin_row *row);

enum admin_need { /* fields of a row that a selector looks at */
                  ADMIN_NEED_SENDER = 1,
                  ADMIN_NEED_RECIPIENT = 2,
                  ADMIN_NEED_REPLY = 4,
                  ADMIN_NEED_SITE = 8,
                  ADMIN_NEED_ACCOUNT = 16,
                  ADMIN_NEED_STATE = 32,
                  ADMIN_NEED_ARRIVAL = 64,
                  ADMIN_NEED_TENANT = 128,
                  ADMIN_NEED_HELD = 256,
};
unsigned admin_selector_needs(const struct admin_selector *sel);
/* As admin_selector_match, looking at the ids and the fields named in `have` only: false means surely not. */
bool admin_selector_match_some(const struct admin_selector *sel, const struct admin_row *row, unsigned have);

/* A page: rows in order of (id, rcpt), after the given place. */
struct admin_page {
    const char *after_id; /* NULL: from the start */
    uint32_t after_rcpt;
    uint32_t limit; /* 1..ADMIN_ROWS_MAX; core calls back at most this often */
};

enum admin_act {
    ADMIN_ACT_RETRY,   /* due now; also ends a site's wait for those selected */
    ADMIN_ACT_HOLD,    /* queued -> held; one in a transaction is held if it stays queued */
    ADMIN_ACT_RELEASE, /* held -> queued, due now */
    ADMIN_ACT_BOUNCE,  /* bounced, with a DSN where one is due; reason in `text` */
    ADMIN_ACT_DELETE,  /* deleted, no DSN */
};

struct admin_act_opts {
    enum admin_act act;
    bool dry_run;
    const char
        *text; /* bounce: "5.7.1 reason" or NULL for the default; others: a remark for the log, or NULL */
    uint32_t expected; /* if not 0: ERR_BUSY, changing nothing, when more recipients match than this */
    const struct admin_caller *by;
    bool exempt;      /* release: nothing is charged to a sender's limits */
    int64_t until_ms; /* CLOCK_BOOTTIME: what has not been begun by then is left; 0: no bound */
    const char *after; /* only messages after this id; NULL: all */
};

struct admin_act_result {
    uint64_t messages, recipients; /* selected */
    uint64_t done;                 /* recipients changed (dry run: would be) */
    uint64_t unchanged;            /* already so, or ended meanwhile */
    uint64_t busy;                 /* in a transaction just now: not bounced or deleted */
    uint64_t failed;               /* the spool refused */
    uint64_t no_quota;             /* release: stay held, since their sender may not send so many now */
    uint64_t frozen;               /* release: of `done`, those that wait until their sender is thawed */
    bool more;                     /* not all were begun: see until_ms; */
    char next[33];                 /* the last one that was */
    char why[160];                 /* of no_quota and failed; may be empty */
};

enum admin_group {
    ADMIN_GROUP_SITE,
    ADMIN_GROUP_SENDER,
    ADMIN_GROUP_ACCOUNT,
    ADMIN_GROUP_STATE,
    ADMIN_GROUP_REPLY
};

#define ADMIN_AGES 10 /* as qshape: under 5, 10, 20, 40, 80, 160, 320, 640, 1280 minutes, and older */

struct admin_summary_row {
    struct span key;
    uint64_t recipients, queued, held, active;
    uint64_t bytes; /* 0 when not at hand */
    int64_t oldest_ms, next_ms;
    uint64_t age[ADMIN_AGES];
};
typedef int admin_summary_fn(void *arg, const struct admin_summary_row *row);

/* What this node holds, and how much it may. */
struct admin_held {
    char node[64];
    uint64_t messages, recipients, bytes, refused;
    uint32_t senders;
    bool bounded; /* the rest is of the policy; false: there is no cluster */
    uint64_t messages_max, bytes_max, sender_messages_max, sender_bytes_max;
    int64_t expire_ms;
    const char *when_expired, *when_full;
};

/* ---- tracking ------------------------------------------------------------------------------------------ */

struct admin_track { /* all that are given must match; at least one is given */
    const char *id, *message_id, *sender, *recipient, *account; /* sender, recipient: as in a selector */
    const char *tenant;                                         /* exact */
    int state;                                                  /* enum admin_state, or -1: any */
    int64_t since_ms, until_ms;                                 /* arrival; 0: not given */
    bool steps;                                                 /* rows are to have theirs */
};

/* Lines of the event log, as docs/events.md has them. */
struct admin_events {
    const char *kinds; /* "bounced,expired"; NULL: all. What else is given must be in the line, as a whole. */
    const char *id, *account, *tenant, *sender, *recipient, *site, *client_ip;
    const char *after; /* what follows: "relay1.6a1f,relay2.6a20", for each node how far one has got; a node that is not
                          among them begins with what is new. NULL: the newest `limit` */
    uint32_t limit;
};
/* A target of notifications, as this node sees it. */
#define ADMIN_NOTIFY_TARGETS_MAX 16
struct admin_notify_target {
    char node[64], name[64], where[300], why[200]; /* where: without a URL's path. why: it failed last */
    const char *kind;                    /* webhook, mail, syslog */
    uint64_t waiting, sent, failed, lost;
    uint32_t failures; /* in a row, the last ones */
    int64_t oldest_ms, last_ok_ms, last_failed_ms, next_ms; /* wall clock; 0: none */
};
struct admin_events_info {
    char next[96]; /* this node's part of `after` */
    bool gap;      /* some were no longer in memory */
};

struct admin_track_info {
    bool off;              /* this node keeps no history */
    int64_t kept_since_ms; /* finished mail that arrived from then on is there */
};

/* ---- what goes on -------------------------------------------------------------------------------------- */

struct admin_rate { /* per second, over the last minute, 5 and 15 minutes */
    double m1, m5, m15;
    uint64_t total; /* since start */
};

struct admin_status {
    char node[256];
    char state[16];   /* running, draining, stopping, failed */
    char reason[256]; /* why it is not running; else empty */
    int64_t started_ms, uptime_ms;
    int64_t pid;
    uint64_t memory_bytes; /* resident */
    uint32_t nworkers;
    struct {
        uint64_t sessions_in, sessions_out, queued, held, sites;
    } workers[ADMIN_WORKERS_MAX];
    uint32_t nlisteners;
    struct {
        char name[64], kind[16], address[96];
        uint64_t sessions, accepted;
    } listeners[ADMIN_LISTENERS_MAX];
    uint64_t sessions_in, sessions_in_max, sessions_out, sessions_out_max;
    struct {
        uint64_t messages, recipients, active, deferred, held, sites, sites_down;
        int64_t oldest_ms; /* arrival of the oldest */
    } queue;
    struct {
        uint64_t messages, segments, bytes, live_bytes, free_bytes, appended_bytes;
        uint64_t syncs, committed, updates, compacted_segments, corrupt_records, held_by_history;
        char error[128]; /* what stopped it, or empty */
    } spool;
    struct {
        uint32_t addresses; /* source addresses of this node on lists of bad ones, so many times */
        char example[256];
    } dnsbl;
    struct {
        uint64_t sites, endless; /* that greylist; of these: what they greylist is never taken */
        char example[256];       /* one of the endless ones */
    } greylist;
    uint64_t held_messages, held_bytes, held_refused; /* refused: to be held, and there was no room */
    uint64_t sites_rested; /* for which all addresses of a pool rest */
    struct admin_rate received, rejected, auth_failed, delivered, deferred,
        bounced; /* recipients, except rejected */
    int64_t config_loaded_ms;
    char config_path[256];
};

struct admin_top_row { /* over the last minute, except queued */
    struct span key;   /* account (or reverse-path's domain), or site */
    uint64_t received, delivered, deferred, bounced, bytes;
    uint64_t queued;                      /* now, with held */
    double received_rate, delivered_rate; /* per second */
};
enum admin_top_table { ADMIN_TOP_SENDERS, ADMIN_TOP_SITES };
typedef int admin_top_fn(void *arg, enum admin_top_table table, const struct admin_top_row *row);

struct admin_site_row {
    struct span site;
    struct span state;      /* up, down, backoff */
    struct span last_reply; /* the last failure's words */
    struct span of;         /* the site that it shares limits with others in; empty: not known yet */
    uint32_t domains;       /* of that site, on this node, queued or remembered */
    uint32_t of_conns;      /* that it has */
    uint32_t worker, conns, conns_limit;
    uint64_t queued, active, held, senders;
    int64_t next_ms; /* when a down site is probed, or the first item is due */
    int64_t last_ok_ms, last_fail_ms;
};
typedef int admin_site_fn(void *arg, const struct admin_site_row *row);

/* What is in force against a destination. */
struct admin_site_hold {
    struct span site, action; /* backoff, suspend, disable_source */
    struct span source;       /* the address that rests */
    struct span rule, reply;  /* that brought it about */
    struct span by;           /* an operator, or another node */
    int64_t since_ms, until_ms;
};
typedef int admin_hold_fn(void *arg, const struct admin_site_hold *row);

/* What a site is given on this node, of one pool. */
#define ADMIN_SITE_SOURCES_MAX 256
struct admin_site_source {
    char address[48]; /* empty: the system's choice */
    uint32_t conns;
};
struct admin_site_share {
    struct span site, pool;       /* as it is named, with the pool in front; the pool may be empty */
    uint32_t conns, conns_max;    /* open; allowed now */
    uint32_t conns_each;          /* of each source address; 0: no limit of its own */
    uint32_t rate_count;          /* messages of each source address in rate_ms; 0: no limit */
    int64_t rate_ms;
    bool backoff;
    uint64_t domains, waiting, active, held; /* destinations; recipients */
    const struct admin_site_source *sources;
    uint32_t nsources;
};
/* Non-zero ends. */
typedef int admin_site_share_fn(void *arg, const struct admin_site_share *row);

enum { ADMIN_IP_HOUR, ADMIN_IP_DAY, ADMIN_IP_WINDOWS };
struct admin_ip_counts { /* recipients */
    uint64_t delivered, deferred, refused;
    uint64_t meant[2][BOUNCE_CLASSES]; /* of those that were deferred, and refused: by what the reply meant */
};
/* What one site answered to a source address. */
struct admin_ip_site {
    struct span site;
    struct admin_ip_counts windows[ADMIN_IP_WINDOWS];
    struct span reply; /* the last one that deferred or refused; empty: none did */
    int64_t reply_ms;
};
typedef int admin_ip_site_fn(void *arg, const struct admin_ip_site *row);

struct admin_ip_row {
    struct span ip;          /* source address */
    struct span ehlo;        /* name we greet with */
    struct span ptr;         /* reverse name, or empty */
    struct span addresses;   /* of the EHLO name: "192.0.2.1 2001:db8::1" */
    bool bound;              /* the address is on this machine */
    bool ptr_ok, forward_ok; /* PTR = EHLO; an address of EHLO = ip */
    struct span problem;     /* what to change; empty: fine */
    uint32_t nlists;
    const struct admin_ip_list {
        const char *list, *state; /* "clean", "listed", "broken", "unknown" */
        const char *text;         /* what the list says; why it is not believed */
        int64_t since_ms;
    } *lists; /* of the policy: those that were asked about it */
};
typedef int admin_ip_fn(void *arg, const struct admin_ip_row *row);

struct admin_domain_check { /* NULL: not given */
    const char *domain;      /* of From */
    const char *pool;        /* its addresses; NULL: all that mail leaves from */
    const char *ips;         /* "192.0.2.1,2001:db8::1", instead */
    const char *return_path; /* NULL: the domain */
    const char *selectors;   /* "a,b" */
};

struct admin_domain_row {
    struct span level;   /* "good", "note", "trouble" */
    struct span what;    /* "spf" */
    struct span subject; /* "192.0.2.1" */
    struct span result;  /* "pass" */
    struct span text, advice;
    bool trouble;
};
typedef int admin_domain_fn(void *arg, const struct admin_domain_row *row);

/* ---- streams: live dialogue ---------------------------------------------------------------------------- */

/* A bounded queue of lines from any thread to one admin thread: ADMIN_STREAM_LINES lines; when full, lines
 * are dropped and counted, and the reader is told how many. Shared: every thread that keeps it holds it. */
#define ADMIN_STREAM_LINES 1024
#define ADMIN_STREAM_LINE_MAX 2048 /* bytes; longer lines are cut */

struct admin_stream;

enum admin_dir {
    ADMIN_DIR_IN,   /* from the peer */
    ADMIN_DIR_OUT,  /* from us */
    ADMIN_DIR_NOTE, /* our remark: "connected", "TLS 1.3 ...", "closed" */
};

struct admin_stream_line {
    int64_t at_ms;
    uint64_t session; /* tells sessions apart; 0: none */
    enum admin_dir dir;
    struct span peer; /* "192.0.2.7:25", or empty */
    struct span
        text; /* without CRLF. Never credentials: what follows AUTH and its replies is the caller's to hide */
};

void admin_stream_hold(struct admin_stream *s);
void admin_stream_rele(struct admin_stream *s);
/* Copies. 0; ERR_LIMIT: dropped; ERR_CLOSED: nobody reads any more, let go of it. Never blocks for long. */
int admin_stream_put(struct admin_stream *s, const struct admin_stream_line *line);
/* Nothing follows. `err` 0: it went well; `text` says how it ended (may be NULL). */
void admin_stream_end(struct admin_stream *s, int err, const char *text);
bool admin_stream_closed(struct admin_stream *s);

struct admin_trace {
    bool client;           /* our sessions with next hops; else clients' sessions with us */
    const char *ip;        /* of the peer: address or prefix "192.0.2.0/24", as text; NULL: any */
    const char *account;   /* server side: from AUTH on; client side: the sender's */
    const char *site;      /* client side */
    const char *listener;  /* server side */
    uint32_t sessions_max; /* follow this many, then end; 0: no bound but the stream's time */
};

struct admin_probe {
    const char *recipient; /* one mailbox */
    const char *sender;    /* NULL: <> */
    const char *from_ip;   /* source address; NULL: the one that mail would take */
};

/* ---- who is blocked for failed logins ------------------------------------------------------------------ */

struct admin_auth_block {
    const char *kind;             /* "account"; "network"; "pair": a network for one account only */
    struct span account, network; /* empty: any; "192.0.2.0/24" */
    int64_t left_ms;
    uint32_t times; /* in a row that it came to this */
};
typedef void admin_auth_block_fn(void *arg, const struct admin_auth_block *row);

/* ---- content ------------------------------------------------------------------------------------------- */

struct admin_content; /* core's own: an open reader */

/* ---- accounts ------------------------------------------------------------------------------------------ */

struct admin_account {
    const char *name;     /* canonical user@domain or plain name */
    const char *password; /* wiped by the caller of the op after return; NULL: none given */
    const char *hash;     /* crypt(5) text, for import; NULL: none given */
    const char *class;    /* person, device, bulk; NULL: default */
    const char *tenant;   /* NULL: the domain */
    const char **senders; /* envelope senders besides its own name: addresses, "@domain", "*" */
    uint32_t nsenders;
    bool disabled;
};

struct admin_account_row {
    struct span name, class, tenant;
    const struct span *senders;
    uint32_t nsenders;
    bool disabled, has_password;
    int64_t changed_ms;
};
typedef int admin_account_fn(void *arg, const struct admin_account_row *row);

struct admin_account_change { /* what is not given stays */
    const char *name;
    const char *class, *tenant; /* NULL: stays */
    const char *const *senders;
    uint32_t nsenders;
    bool set_senders;
    int disabled; /* 0, 1; -1: stays */
};

/* index of the entry, 0 or why it was not taken. */
typedef void admin_import_fn(void *arg, uint32_t index, int err, const char *text);

/* ---- the table ----------------------------------------------------------------------------------------- */

struct admin_ops {
    void *ctx;

    int (*status)(void *ctx, struct admin_status *out, struct admin_error *e);
    /* 0: mail is accepted. Else an error with the reason: draining, spool failed, disk full. */
    int (*ready)(void *ctx, struct admin_error *e);
    /* Prometheus text format 0.0.4, appended. */
    int (*metrics)(void *ctx, struct buf *out, struct admin_error *e);

    int (*queue_list)(void *ctx, const struct admin_selector *sel, const struct admin_page *page,
                      admin_row_fn *fn, void *arg, struct admin_error *e);
    /* All recipients of a message, terminal ones too while the message lives; ERR_NOT_FOUND. */
    int (*queue_show)(void *ctx, const char *id, admin_row_fn *fn, void *arg, struct admin_error *e);
    int (*queue_act)(void *ctx, const struct admin_selector *sel, const struct admin_act_opts *opts,
                     struct admin_act_result *out, struct admin_error *e);
    void (*held)(void *ctx, struct admin_held *out);
    /* Largest groups first, at most `limit`; totals over all groups in `total` (its key is empty). */
    int (*queue_summary)(void *ctx, const struct admin_selector *sel, enum admin_group by, uint32_t limit,
                         admin_summary_fn *fn, void *arg, struct admin_summary_row *total,
                         struct admin_error *e);

    /* The content of a living message. `headers_only` ends after the empty line. next: *n 0 at the end. */
    int (*content_open)(void *ctx, const char *id, bool headers_only, const struct admin_caller *by,
                        struct admin_content **out, struct admin_error *e);
    int (*content_next)(void *ctx, struct admin_content *c, const char **p, size_t *n);
    void (*content_close)(void *ctx, struct admin_content *c);

    /* Living and ended recipients, newest arrival first: in order of descending (id, rcpt), page.after
     * likewise. Rows of one (id, rcpt), of a message that left and came back, are not divided: they may be a
     * few more than the limit. */
    int (*track)(void *ctx, const struct admin_track *q, const struct admin_page *page, admin_row_fn *fn,
                 void *arg, struct admin_track_info *info, struct admin_error *e);

    /* Takes an address out of this node's history. `living`: some of its mail is in the queue yet. */
    int (*erase)(void *ctx, const char *address, const struct admin_caller *by, uint64_t *rows, bool *living,
                 struct admin_error *e);

    /* At most ADMIN_NOTIFY_TARGETS_MAX. */
    int (*notify_status)(void *ctx, struct admin_notify_target *out, uint32_t *n, struct admin_error *e);
    /* Waits until it was taken, or was not: ERR_FAILED. */
    int (*notify_test)(void *ctx, const char *target, const struct admin_caller *by, char id[96],
                       struct admin_error *e);
    /* On this node; the last ones that came to be, at most 1024. */
    int (*auth_blocked)(void *ctx, admin_auth_block_fn *fn, void *arg, struct admin_error *e);
    /* Ends it on all nodes that can be told; one of the two is given. `ended`: here. */
    int (*auth_unblock)(void *ctx, const char *account, const char *address, const struct admin_caller *by,
                        uint32_t *ended, struct admin_error *e);

    /* Whole lines into `out`, as many as it takes. ERR_NOT_FOUND: the event log is off. */
    int (*events)(void *ctx, const struct admin_events *q, struct admin_events_info *info, struct buf *out,
                  struct admin_error *e);

    /* Busiest first, at most `limit` of each table. */
    int (*top)(void *ctx, uint32_t limit, admin_top_fn *fn, void *arg, struct admin_error *e);
    /* In order of name after `after` (NULL: start), at most `limit`; `state` NULL: any. */
    int (*site_list)(void *ctx, const char *state, const char *after, uint32_t limit, admin_site_fn *fn,
                     void *arg, struct admin_error *e);
    /* In order of name, at most `limit`; `site` NULL: any. */
    int (*site_holds)(void *ctx, const char *site, uint32_t limit, admin_hold_fn *fn, void *arg,
                      struct admin_error *e);
    /* Of the site, or the destination, in all pools or in the one whose name is in front; in order of name, at most
     * ADMIN_ROWS_MAX. */
    int (*site_shares)(void *ctx, const char *site, admin_site_share_fn *fn, void *arg, struct admin_error *e);
    /* Puts it in force on all nodes that can be told; action "none" ends what is (of one source, if it is given). */
    int (*site_hold)(void *ctx, const struct admin_caller *by, const char *site, const char *action,
                     const char *source, int64_t for_ms, struct admin_error *e);
    /* Each configured source address, or only `ip`. Asks the DNS. */
    int (*ip_check)(void *ctx, const char *ip, admin_ip_fn *fn, void *arg, struct admin_error *e);
    /* In order of site; `site` NULL: all. */
    int (*ip_record)(void *ctx, const char *address, const char *site, admin_ip_site_fn *fn, void *arg,
                     struct admin_error *e);
    /* What the DNS says of a sender's domain. Asks the DNS, for up to a minute. */
    int (*domain_check)(void *ctx, const struct admin_domain_check *q, admin_domain_fn *fn, void *arg,
                        struct admin_error *e);

    /* Lines go to `s` until trace_stop, from any thread that holds it. Bounded by the caller's time limit. */
    int (*trace_start)(void *ctx, const struct admin_trace *t, struct admin_stream *s, struct admin_error *e);
    void (*trace_stop)(void *ctx, struct admin_stream *s);
    /* Starts the dialogue; its lines and its admin_stream_end come later, from any thread that holds `s`.
     * Ends by itself early when admin_stream_closed. */
    int (*probe_start)(void *ctx, const struct admin_probe *p, const struct admin_caller *by,
                       struct admin_stream *s, struct admin_error *e);

    /* SIGHUP's work; waits for its result. A bad file changes nothing: ERR_BAD with file, line and reason. */
    int (*reload)(void *ctx, const struct admin_caller *by, struct admin_error *e);
    /* The configuration in force as YAML, secrets replaced by "(hidden)". */
    int (*config_show)(void *ctx, struct buf *out, struct admin_error *e);
    /* The file on the node's disk, as a reload would read it: 0 if good; ERR_BAD with file, line and reason.
     */
    int (*config_check)(void *ctx, struct admin_error *e);
    /* "error", "warn", "info", "debug" */
    int (*log_level_get)(void *ctx, char level[8], struct admin_error *e);
    int (*log_level_set)(void *ctx, const char *level, const struct admin_caller *by, struct admin_error *e);

    /* Guessing at operators' passwords counts as guessing at accounts' does. `name` empty: only the network counts. How
     * long to wait, in ms; 0: try. */
    int64_t (*login_wait)(void *ctx, const char *name, const struct sockaddr *client);
    void (*login_count)(void *ctx, const char *name, const struct sockaddr *client, bool right);

    /* In order of name after `after` (NULL: start), at most `limit`. */
    int (*account_list)(void *ctx, const char *after, uint32_t limit, admin_account_fn *fn, void *arg,
                        struct admin_error *e);
    int (*account_add)(void *ctx, const struct admin_account *a, const struct admin_caller *by,
                       struct admin_error *e);
    int (*account_passwd)(void *ctx, const char *name, const char *password, const struct admin_caller *by,
                          struct admin_error *e);
    int (*account_remove)(void *ctx, const char *name, const struct admin_caller *by, struct admin_error *e);
    int (*account_set)(void *ctx, const struct admin_account_change *change, const struct admin_caller *by,
                       struct admin_error *e);
    /* All good entries are taken, with one write of the file; `each` is told of every entry. `replace`: those
     * that exist are replaced, else they are ERR_EXISTS. */
    int (*account_import)(void *ctx, const struct admin_account *a, uint32_t n, bool replace,
                          const struct admin_caller *by, admin_import_fn *each, void *arg,
                          struct admin_error *e);
};

#endif
