/* The event log: what happened to each message and session, one JSON object a line, for programs.
 *
 * A worker writes a line into its own buffer (no allocation once that has grown), and one thread of the event
 * log's carries the buffers out: to a file, standard output or the journal. Nothing here blocks a worker:
 * when a worker's buffer is full its events are dropped and counted, and a line {"event":"dropped",...} tells
 * how many as soon as there is room. Lines of one worker are in order; those of different ones may be up to a
 * fifth of a second apart from it ("ts" is exact).
 *
 * The fields and their names are a format that operators' programs read; docs/events.md lists them. Absent
 * fields are left out. Text is escaped as base/text.h says, so that a peer cannot forge a line, and cut at
 * EVENTS_TEXT_MAX bytes.
 */
#ifndef NODE_TELEMETRY_EVENTS_H
#define NODE_TELEMETRY_EVENTS_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define EVENTS_TEXT_MAX 1024

enum event_kind {
    EVENT_CONNECTION,  /* a client connected, or left (`reason`) */
    EVENT_AUTH,        /* succeeded */
    EVENT_AUTH_FAILED, /* a password, or the mechanism */
    EVENT_AUTH_ATTACK, /* somebody guesses passwords, and is blocked from now on: `rule` says what is counted */
    EVENT_RECEIVED,    /* a message was accepted */
    EVENT_REJECTED,    /* a command or a message was refused; `stage`, `rule` */
    EVENT_DELIVERED,   /* from here on: one event per recipient */
    EVENT_RELAYED,
    EVENT_DEFERRED,
    EVENT_BOUNCED,
    EVENT_EXPIRED,
    EVENT_DELETED,
    EVENT_HELD,
    EVENT_RELEASED,
    EVENT_DELAYED,        /* a delay notice was due */
    EVENT_DSN,            /* a report was queued; `about` is what it reports on */
    EVENT_CONNECT_FAILED, /* an address of a next hop */
    EVENT_SITE_DOWN,
    EVENT_SITE_UP,
    EVENT_RETURNED,  /* a bounce came to a return path of ours: one per recipient; `rule` is its class */
    EVENT_COMPLAINT, /* came back likewise; `rule` is its type */
    EVENT_DOMAIN,   /* a tenant's domain is proven now, or lost; `rule` says which */
    EVENT_SHAPING,  /* a rule about replies: what is in force against a site, or no longer */
    EVENT_NOTICE,   /* a tenant's contact is told: `rule` of what, `id` is the mail */
    EVENT_WEB_SENDERS, /* a shared host has as many web senders as it may: mail of others is charged to it */
    EVENT_FROZEN,   /* the cluster tells people: a sender was stopped by `rule` */
    EVENT_WARNED,   /* likewise: he was not */
    EVENT_OPERATOR_FROZE, /* the cluster tells people: an operator has stopped a sender or a tenant, `text` says how */
    EVENT_OPERATOR_THAWED, /* likewise: has let him go */
    EVENT_TEST,     /* somebody tries whether a target of notifications can be reached */
    EVENT_OPERATOR, /* retry, freeze and the like; `rule` names the verb, `account` who */
    EVENT_KINDS
};

const char *event_kind_name(enum event_kind kind);

/* Start with EVENT_INIT; empty spans, zeros and negative delays are absent. Borrowed until event_put returns.
 */
struct event {
    enum event_kind kind;
    int64_t ts_ms; /* wall clock; 0: now */
    uint64_t id;   /* message */
    uint64_t about;
    uint64_t session;
    struct span client_ip, client_name, helo, listener, protocol;
    struct span account, tenant, class;
    struct span sender; /* reverse-path */
    bool null_sender;   /* it is <> */
    struct span recipient, message_id, subject;
    struct span site, mx, mx_ip, source_ip, ehlo, pool;
    struct span stage; /* connect, banner, ehlo, tls, auth, mail, rcpt, data, dot */
    struct span tls;   /* "TLSv1.3 TLS_AES_256_GCM_SHA384" */
    struct span dkim;  /* "s2026._domainkey.example.com": the keys that signed it */
    struct span verdict; /* on the content: "reject 15.20/15.00 GTUBE" */
    struct span rule;  /* the limit or rule that was hit */
    struct span bounce_class;
    struct span by;      /* the operator */
    uint16_t code;       /* reply */
    uint8_t enhanced[3]; /* 0.0.0: none */
    struct span text;    /* of the reply, or the reason */
    bool local;          /* the words are ours */
    uint32_t attempt;    /* 1 for the first */
    uint32_t recipients;
    uint64_t size;   /* bytes */
    int64_t next_ms; /* wall clock of the next attempt */
    int64_t queue_delay_ms, dns_delay_ms, connect_delay_ms, transfer_delay_ms;
};

#define EVENT_INIT(k)                                                                                        \
    ((struct event){ .kind = (k),                                                                            \
                     .queue_delay_ms = -1,                                                                   \
                     .dns_delay_ms = -1,                                                                     \
                     .connect_delay_ms = -1,                                                                 \
                     .transfer_delay_ms = -1 })

struct events;

enum events_target { EVENTS_OFF, EVENTS_STDOUT, EVENTS_JOURNAL, EVENTS_FILE };

struct events_config {
    enum events_target target;
    const char *path; /* EVENTS_FILE: appended to, made with 0640. EVENTS_JOURNAL: the journal's socket, NULL:
                         the usual one */
    const char *node; /* in every line */
    uint32_t nshards; /* threads that write events, each with an index below this */
    uint64_t max_bytes; /* of all buffers together; 0: 32 MiB */
};

/* 0 or an error (the file cannot be opened). Starts the writer. */
int events_open(const struct events_config *config, struct events **out);
/* Writes what is there, then frees. No thread may put events any more. */
void events_close(struct events *ev);

/* Only the thread that owns the shard. Never blocks for more than the swap of a buffer. */
void events_put(struct events *ev, uint32_t shard, const struct event *e);

/* The file is opened anew (after rotation), within a fifth of a second; lines put from then on go into the
 * new one. If that fails, the old one is kept and the log says so. Any thread. */
void events_reopen(struct events *ev);
/* Another target or path; 0, or an error, and the old one is kept. The main thread. */
int events_retarget(struct events *ev, enum events_target target, const char *path);

/* Waits until everything put before is written. Any thread but the writer; for tests and for stopping. */
void events_flush(struct events *ev);

struct events_tail;
/* The lines of the last while, for those who follow them; it lives as long as `ev`. NULL: none are made, since
 * the target is EVENTS_OFF. Any thread. */
struct events_tail *events_tail(struct events *ev);

struct events_stats {
    uint64_t written, dropped, bytes, errors;
};
void events_stats(struct events *ev, struct events_stats *out);

#endif
