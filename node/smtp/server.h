/* The server side of an SMTP session (RFC 5321, 6409, and the extensions it announces), pure: no socket, no
 * clock, no memory of its own beyond what smtp_server_init allocates.
 *
 * The shell feeds bytes with smtp_server_step. A step consumes input until there is no complete element left or
 * until it wants something done (`want`): then the shell does it, calls the matching smtp_server_on_xxx, and
 * steps again with what was not consumed. Waiting is a state: while a want is out, stepping consumes nothing.
 * So pipelined commands are handled in order whatever takes time between them. Replies gather in `reply`; the
 * shell writes them out when a step consumes no more (so that pipelined replies share a packet).
 */
#ifndef NODE_SMTP_SERVER_H
#define NODE_SMTP_SERVER_H

#include "base/buf.h"
#include "base/span.h"
#include "node/smtp/address.h"
#include "node/smtp/reply.h"

#include <stdbool.h>
#include <stdint.h>

enum smtp_listener_kind { SMTP_LISTENER_SUBMISSION, SMTP_LISTENER_SUBMISSIONS, SMTP_LISTENER_RELAY };

struct smtp_server_config { /* shared by the sessions of a listener; outlives them */
    enum smtp_listener_kind kind;
    const char *hostname;       /* in the greeting and EHLO */
    uint64_t max_message_bytes; /* SIZE */
    uint32_t max_rcpts;         /* per transaction: LIMITS RCPTMAX, then 452 4.5.3 */
    uint32_t max_messages;      /* per connection: LIMITS MAILMAX, then 421 */
    uint32_t max_errors;        /* then 421 4.7.0 */
    uint32_t max_line_bytes;    /* command line with CRLF; at least 2048 */
    uint32_t max_header_lines;  /* accepted lines per header... */
    uint32_t max_body_line_bytes; /* longest line of content; over it 500 5.5.2 reply to the dot */
    bool offer_starttls;
    bool require_tls;           /* 530 5.7.0 before AUTH and MAIL */
    bool offer_auth;
    bool require_auth;          /* 530 5.7.0 before MAIL */
    bool auth_without_tls;      /* old devices only */
    bool normalise_bare_lf;     /* old devices only: a bare LF in content becomes CRLF, and never ends it */
    bool offer_smtputf8;
};

/* What the shell is asked to do. */
enum smtp_server_want {
    SMTP_SERVER_WANT_INPUT,     /* nothing: more bytes */
    SMTP_SERVER_WANT_TLS,       /* write the reply out, drop all unread input, handshake: on_tls */
    SMTP_SERVER_WANT_AUTH,      /* check s->auth: on_auth */
    SMTP_SERVER_WANT_MAIL,      /* may s->mail be sent by this client: on_mail */
    SMTP_SERVER_WANT_RCPT,      /* may mail go to s->rcpt: on_rcpt */
    SMTP_SERVER_WANT_BODY,      /* content is about to come: open the spool: on_body */
    SMTP_SERVER_WANT_COMMIT,    /* all content was given: on_commit with the final reply */
    SMTP_SERVER_WANT_ABORT,     /* forget the transaction (RSET, EHLO, failed content): no answer; step again */
    SMTP_SERVER_WANT_CLOSE,     /* write the reply out and close */
};

#define SMTP_SERVER_SPANS 32

/* What one step did. Body spans point into the input (or to constants) and are content in CRLF lines, dots
 * unstuffed, terminator removed. They are to be taken before anything else of the step. */
struct smtp_server_result {
    size_t consumed;
    enum smtp_server_want want;
    uint32_t nspans;
    struct span spans[SMTP_SERVER_SPANS];
};

struct smtp_server_auth {
    struct span mechanism; /* "PLAIN" or "LOGIN" */
    struct span authzid, authcid, password; /* valid until on_auth; wiped after it */
};

struct smtp_server_mail {
    struct smtp_path from;   /* empty for <> */
    uint64_t size;           /* 0: not given */
    bool body_8bitmime, smtputf8, requiretls;
    uint8_t ret;             /* enum envelope_ret's values */
    struct span envid;       /* decoded */
    struct span auth;        /* decoded; "<>" or a mailbox; empty when absent */
};

struct smtp_server_rcpt {
    struct smtp_path to;
    struct span orcpt;       /* decoded, "type;address" */
    uint8_t notify;          /* enum envelope_notify's bits */
};

struct smtp_server; /* full definition in server.c's own header node/smtp/server_impl.h is not needed by shells */

struct smtp_server *smtp_server_new(const struct smtp_server_config *config, struct buf *reply);
void smtp_server_free(struct smtp_server *s);

/* Connection made (or TLS up, for submissions): the greeting, or with a refusal its 4xx/5xx and CLOSE. */
void smtp_server_greet(struct smtp_server *s, const struct smtp_reply *refusal);

void smtp_server_step(struct smtp_server *s, const char *p, size_t n, struct smtp_server_result *out);

/* Answers. A reply of code 0 means "yes" where there is a choice; else it is sent to the client. */
void smtp_server_on_tls(struct smtp_server *s, bool ok);
void smtp_server_on_auth(struct smtp_server *s, const struct smtp_reply *refusal);
void smtp_server_on_mail(struct smtp_server *s, const struct smtp_reply *refusal);
void smtp_server_on_rcpt(struct smtp_server *s, const struct smtp_reply *refusal);
/* A refusal of the body (452 4.3.1 ...) is the reply to DATA, or to BDAT after its octets are skipped. */
void smtp_server_on_body(struct smtp_server *s, const struct smtp_reply *refusal);
void smtp_server_on_commit(struct smtp_server *s, const struct smtp_reply *final);
/* Content turned out bad while it came (a header, a loop, the spool): the rest is skipped, this is the reply. */
void smtp_server_refuse_content(struct smtp_server *s, const struct smtp_reply *refusal);
/* The shell ends it: time-out, shutdown, too many errors. Appends the reply (421 ...); the next want is CLOSE. */
void smtp_server_quit(struct smtp_server *s, const struct smtp_reply *reply);

/* What is going on, for deadlines and for the log. */
enum smtp_server_phase { SMTP_SERVER_PHASE_COMMAND, SMTP_SERVER_PHASE_AUTH, SMTP_SERVER_PHASE_BODY, SMTP_SERVER_PHASE_WAIT };
enum smtp_server_phase smtp_server_phase(const struct smtp_server *s);
struct span smtp_server_helo(const struct smtp_server *s);
bool smtp_server_esmtp(const struct smtp_server *s);
bool smtp_server_in_transaction(const struct smtp_server *s);
uint32_t smtp_server_rcpts_accepted(const struct smtp_server *s);
const struct smtp_server_auth *smtp_server_auth(const struct smtp_server *s);
const struct smtp_server_mail *smtp_server_mail(const struct smtp_server *s);
const struct smtp_server_rcpt *smtp_server_rcpt(const struct smtp_server *s);

#endif
