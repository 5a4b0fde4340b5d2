/* The server side of an SMTP session (RFC 5321, 6409, and the extensions it announces), pure: no socket, no
 * clock, no memory beyond a small session and, while a transaction or an AUTH exchange lasts, what that needs
 * (at most SMTP_SERVER_TRANSACTION_MAX).
 *
 * The shell feeds bytes with smtp_server_step. A step consumes input until there is no complete element left
 * or until it wants something done (`want`): then the shell does it, calls the matching smtp_server_on_xxx,
 * and steps again with what was not consumed. Waiting is a state: while a want is out, stepping consumes
 * nothing. So pipelined commands are handled in order whatever takes time between them. Replies gather in
 * `reply`; the shell writes them out when a step consumes no more (so that pipelined replies share a packet).
 *
 * The loop of a shell:
 *
 *     do {
 *         smtp_server_step(s, in, n, &r);     take r.spans; drop r.consumed bytes; act on r.want
 *     } while (r.consumed > 0 || r.want == SMTP_SERVER_WANT_ABORT);   and again after each smtp_server_on_xxx
 *
 * A part of a command line is left unconsumed, up to 12,400 bytes (AUTH) or config->max_line_bytes: the shell
 * keeps it and steps with it again when more came. Content is consumed to the last byte. The shell stops
 * stepping while `reply` holds more than it likes. Deadlines: a new one whenever smtp_server_elements grows,
 * not whenever bytes arrive, so that a byte now and then does not hold the connection; content has its own.
 *
 * What the shell must do besides:
 * - Bytes that arrive before the greeting was written: smtp_server_greet_early instead of smtp_server_greet.
 * - WANT_TLS: write the reply, drop every byte that was read, whether stepped or not, and handshake
 *   (RFC 3207 section 4.2; CVE-2011-0411). The machine has forgotten HELO and AUTH by itself.
 * - AUTH: its own input buffer held the password too, and wants wiping as the machine's memory is.
 * - WANT_CLOSE: write the reply, shut the sending side down and read on for a moment, so that a reset does
 * not overtake the reply. An open transaction is to be forgotten, without an ABORT.
 * - Submission (RFC 6409): check that this account may send as mail->from (section 6.1), complete or refuse
 *   (554 5.1.2 or so) paths that are not `qualified` (section 6), add Date and Message-ID (section 8).
 *   `<postmaster>` without domain is always let through to WANT_RCPT (RFC 5321 section 2.3.5).
 * - Relaying: whose mail may go where is the shell's decision at WANT_MAIL and WANT_RCPT; the machine sees to
 *   the grammar, and that each path has one domain.
 * - The header (Received loops, size of the header, From) is scanned by the shell in the spans;
 *   smtp_server_refuse_content is its verdict.
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

struct smtp_server_config { /* shared by the sessions of a listener; outlives them. A limit of 0 is none */
    enum smtp_listener_kind kind; /* SUBMISSIONS: TLS is up from the start */
    const char *hostname;         /* in the greeting and EHLO; at most 255 bytes */
    uint64_t max_message_bytes;   /* SIZE; over it 552 5.3.4 */
    uint32_t max_rcpts;           /* per transaction: LIMITS RCPTMAX, then 452 4.5.3 */
    uint32_t max_messages;        /* MAIL accepted per connection: LIMITS MAILMAX, then 421 */
    uint32_t
        max_errors; /* that many 5xx are answered, the next is 421 4.7.0; an accepted message starts anew */
    uint32_t
        max_line_bytes; /* command line with CRLF; 2048 if less is given; AUTH has RFC 4954's own limit */
    uint32_t max_header_lines;    /* lines of the header; over it 552 5.3.4 */
    uint32_t max_body_line_bytes; /* longest line of content without CRLF; over it the reply to the dot is
                                     500 5.5.2 */
    bool offer_starttls;
    bool require_tls; /* 530 5.7.0 before all but EHLO, HELO, NOOP, RSET, HELP, QUIT, STARTTLS (RFC 3207) */
    bool offer_auth;
    bool require_auth;      /* 530 5.7.0 before MAIL */
    bool auth_without_tls;  /* old devices only */
    bool normalise_bare_lf; /* old devices only: a bare LF in content becomes CRLF, and never ends it; a
                               command may end with it too */
    bool offer_smtputf8;
    bool offer_requiretls; /* under TLS (RFC 8689): only where it will be honoured on the way out */
    bool allow_unqualified; /* "<joe>" reaches WANT_MAIL and WANT_RCPT, for the shell to complete; else 501 */
};

#define SMTP_SERVER_TRANSACTION_MAX                                                                          \
    (2u << 20)                          /* bytes of paths and parameters; over it RCPT gets 452 4.5.3 */
#define SMTP_SERVER_AUTH_LINE_MAX 12288 /* octets of base64, RFC 4954 section 4 */

/* What the shell is asked to do. */
enum smtp_server_want {
    SMTP_SERVER_WANT_INPUT,  /* nothing: more bytes */
    SMTP_SERVER_WANT_TLS,    /* write the reply out, drop all unread input, handshake: on_tls */
    SMTP_SERVER_WANT_AUTH,   /* check s->auth: on_auth */
    SMTP_SERVER_WANT_MAIL,   /* may s->mail be sent by this client: on_mail */
    SMTP_SERVER_WANT_RCPT,   /* may mail go to s->rcpt: on_rcpt */
    SMTP_SERVER_WANT_BODY,   /* content is about to come: open the spool: on_body */
    SMTP_SERVER_WANT_COMMIT, /* all content was given: on_commit with the final reply */
    SMTP_SERVER_WANT_ABORT,  /* forget the transaction (RSET, EHLO, failed content): no answer; step again.
                                Only after on_mail said yes, and never for one that ended with on_commit */
    SMTP_SERVER_WANT_CLOSE,  /* write the reply out and close */
};

#define SMTP_SERVER_SPANS 32

/* What one step did. Body spans point into the input (or to constants) and are content in CRLF lines, dots
 * unstuffed, terminator removed: no NUL, no bare CR, no bare LF. They are to be taken before anything else of
 * the step. (A CRLF may be split between two spans.) */
struct smtp_server_result {
    size_t consumed;
    enum smtp_server_want want;
    uint32_t nspans;
    struct span spans[SMTP_SERVER_SPANS];
};

struct smtp_server_auth {
    struct span mechanism; /* "PLAIN" or "LOGIN" */
    /* Valid until on_auth; wiped after it. No NUL inside; authzid and authcid are UTF-8 without control
     * characters and at most 255 bytes; authcid and password are not empty. A thread that checks them works
     * on a copy. */
    struct span authzid, authcid, password;
};

/* RFC 3461 sections 4.1 and 4.3; the numbers are those of the stored envelope. */
enum smtp_notify {
    SMTP_NOTIFY_NEVER = 1,
    SMTP_NOTIFY_SUCCESS = 2,
    SMTP_NOTIFY_FAILURE = 4,
    SMTP_NOTIFY_DELAY = 8
};
enum smtp_ret { SMTP_RET_ABSENT, SMTP_RET_FULL, SMTP_RET_HDRS };

/* The spans of mail and of all its recipients are valid until the transaction ends: until on_commit returns,
 * or until the step after WANT_ABORT. A refused recipient's are valid until its on_rcpt returns. */
struct smtp_server_mail {
    struct smtp_path from; /* empty for <> */
    uint64_t size;         /* 0: not given */
    bool body_8bitmime, smtputf8, requiretls;
    uint8_t ret;       /* enum smtp_ret */
    struct span envid; /* decoded: printable, UTF-8 */
    struct span auth;  /* decoded; "<>" or a mailbox; empty when absent */
};

struct smtp_server_rcpt {
    struct smtp_path to;
    struct span orcpt; /* decoded, "type;address": no control characters, UTF-8 */
    uint8_t notify;    /* enum smtp_notify bits; 0: absent */
};

struct smtp_server;

/* NULL without memory. Replies are appended to `reply`, which the shell owns and empties. */
struct smtp_server *smtp_server_new(const struct smtp_server_config *config, struct buf *reply);
void smtp_server_free(struct smtp_server *s);

/* From now on the name in EHLO and HELO has to be one by RFC 5321 section 4.1.1.1; else 501 5.5.2. */
void smtp_server_helo_strict(struct smtp_server *s);
/* Connection made (or TLS up, for submissions): the greeting, or with a refusal its 4xx/5xx and CLOSE. */
void smtp_server_greet(struct smtp_server *s, const struct smtp_reply *refusal);
/* Instead of it when the client spoke first: 554 5.5.0 and CLOSE. */
void smtp_server_greet_early(struct smtp_server *s);

void smtp_server_step(struct smtp_server *s, const char *p, size_t n, struct smtp_server_result *out);

/* Answers. NULL, or a reply of code 0, means "yes" where there is a choice, with the machine's own words; a
 * reply under 400 is "yes" with these words; any other is a refusal that the client gets; after 421 the next
 * want is CLOSE. Once the session is closing (smtp_server_quit) an answer that comes late is ignored. */
void smtp_server_on_tls(struct smtp_server *s, bool ok);
void smtp_server_on_auth(struct smtp_server *s, const struct smtp_reply *refusal);
void smtp_server_on_mail(struct smtp_server *s, const struct smtp_reply *refusal);
void smtp_server_on_rcpt(struct smtp_server *s, const struct smtp_reply *refusal);
/* A refusal of the body (452 4.3.1 ...) is the reply to DATA, or to BDAT after its octets are skipped. */
void smtp_server_on_body(struct smtp_server *s, const struct smtp_reply *refusal);
void smtp_server_on_commit(struct smtp_server *s, const struct smtp_reply *final);
/* Content turned out bad while it came (a header, a loop, the spool): the rest is skipped, this is the reply.
 * Between on_body and WANT_COMMIT; also while WANT_COMMIT is out, when it stands for on_commit. The first one
 * counts. Copied. */
void smtp_server_refuse_content(struct smtp_server *s, const struct smtp_reply *refusal);
/* The shell ends it: time-out, shutdown, too many errors. Appends the reply (421 ...; may be NULL); the next
 * want is CLOSE. */
void smtp_server_quit(struct smtp_server *s, const struct smtp_reply *reply);

/* What is going on, for deadlines and for the log. */
enum smtp_server_phase {
    SMTP_SERVER_PHASE_COMMAND,
    SMTP_SERVER_PHASE_AUTH,
    SMTP_SERVER_PHASE_BODY,
    SMTP_SERVER_PHASE_WAIT, /* a want is out */
};
enum smtp_server_phase smtp_server_phase(const struct smtp_server *s);
/* Command lines, AUTH lines, chunks and messages read to their end so far. */
uint64_t smtp_server_elements(const struct smtp_server *s);
struct span smtp_server_helo(const struct smtp_server *s); /* empty before it; printable ASCII */
bool smtp_server_esmtp(const struct smtp_server *s);
bool smtp_server_tls(const struct smtp_server *s);
bool smtp_server_authenticated(const struct smtp_server *s);
bool smtp_server_in_transaction(const struct smtp_server *s);
uint32_t smtp_server_rcpts_accepted(const struct smtp_server *s);
uint32_t smtp_server_errors(const struct smtp_server *s); /* 5xx since the last accepted message */
/* NULL when there is none: auth while WANT_AUTH is out; mail from WANT_MAIL to the transaction's end; rcpt
 * from the first WANT_RCPT on. */
const struct smtp_server_auth *smtp_server_auth(const struct smtp_server *s);
const struct smtp_server_mail *smtp_server_mail(const struct smtp_server *s);
const struct smtp_server_rcpt *smtp_server_rcpt(const struct smtp_server *s);

#endif
