/* One client's SMTP session: the shell around node/smtp/server.h. See session.c and receive.c. The worker's
 * thread only.
 */
#ifndef NODE_CORE_SESSION_H
#define NODE_CORE_SESSION_H

#include "node/auth/auth.h"
#include "node/core/charge.h"
#include "node/core/client_check.h"
#include "node/core/ingress.h"
#include "node/net/client_names.h"
#include "node/smtp/arena.h"
#include "node/smtp/server.h"
#include "node/telemetry/trace.h"

struct receiving;

struct session {
    struct list link; /* of ingress->sessions */
    struct ingress *in;
    struct listener *l;    /* its set is held */
    struct config *config; /* in force when it began */
    struct stream *stream; /* NULL: the client has gone, an answer is awaited */
    struct smtp_server *smtp;
    struct buf reply;
    struct timer deadline; /* of the present element */
    struct timer lifetime; /* of the session */
    uint64_t id;           /* in logs and traces */
    uint64_t elements;     /* smtp_server_elements when the deadline was set */
    bool proxied;          /* by a load balancer that we know */
    bool proxy_wait;       /* a PROXY header must come first */
    bool counted;          /* among its client's sessions */
    bool greeted;
    bool closing;
    bool partial;       /* part of a command has come */
    bool full;          /* the client takes its replies too slowly: nothing is read from it */
    bool in_content;    /* of a message, or octets that are skipped */
    int64_t content_ms; /* loop time when that began */
    int64_t no_room_ms; /* loop time since when the spool takes no more; 0: it does */
    uint64_t content_bytes;
    struct ip_addr peer; /* the client: behind a load balancer, the balancer's client */
    uint16_t port;
    char peer_text[IP_TEXT_MAX];
    char client_name[256]; /* PTR, forward-confirmed; or empty */
    struct client_found reverse_dns; /* unknown until it was found */
    struct client_names_wait name_wait;
    struct auth_identity *identity; /* who the client is; NULL: nobody yet */
    struct auth_request *auth;      /* a check under way */
    char mechanism[8];              /* of the last one: "PLAIN" */
    struct receiving *rx;           /* the transaction, from MAIL on */
    bool rcpt_waits;                /* for the cluster, which is asked for a token */
    bool rcpt_waits_name;           /* for the client's reverse DNS */
    enum smtp_server_want awaited;  /* what the machine wants is under way; _INPUT: nothing is */
    struct span ahead;              /* read and not consumed, while a want is being performed */
    uint32_t messages;
    struct trace_mark trace;
};

/* admit.c: MAIL and RCPT were read. admit_rcpt false: the answer comes later. */
void admit_mail(struct session *s);
bool admit_rcpt(struct session *s);
void admit_rcpt_answer(struct session *s, enum ledger_answer answer);
/* The client's name was waited for: as admit_rcpt. */
bool admit_rcpt_named(struct session *s);

/* receive.c: one transaction. */

/* MAIL was read and is allowed: starts. -ENOMEM */
int receive_start(struct session *s, const struct smtp_path *from);
/* One more recipient. ERR_LIMIT: no room. */
int receive_rcpt(struct session *s, const struct smtp_server_rcpt *rcpt);
/* The same on an inbound listener. NULL, or why not. */
const struct smtp_reply *receive_returned_rcpt(struct session *s, const struct smtp_server_rcpt *rcpt);
/* What the transaction is charged, and its recipients so far. */
struct charge *receive_charge(const struct session *s);
uint32_t receive_rcpts(const struct session *s);
/* Content is about to come. NULL, or why it can't. */
const struct smtp_reply *receive_open(struct session *s);
/* Content. True: go on; false: no more until session_go_on is called. */
bool receive_content(struct session *s, const struct span *spans, uint32_t n);
/* All of it was given: the reply comes by smtp_server_on_commit, perhaps at once (false: it comes later). */
bool receive_commit(struct session *s);
/* Forgets the transaction. */
void receive_abort(struct session *s);
/* True while a commit is under way: the session's memory must stay. */
bool receive_committing(const struct session *s);

/* Steps on after an answer. */
void session_go_on(struct session *s);
/* The last answer came and the client has gone: frees the session. */
void session_bury(struct session *s);

#endif
