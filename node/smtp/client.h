/* The client side of an SMTP session, pure: no socket, no clock.
 *
 * The shell connects, feeds the server's bytes, writes `out`, and does what is wanted. One transaction at a
 * time; MAIL, RCPT.. and DATA go out together when the server knows PIPELINING. Timeouts are RFC 5321
 * section 4.5.3.2's, given as the present deadline; keeping it is the shell's part.
 *
 * After every call the shell asks smtp_client_want and writes what is in `out`. The rules:
 *  - TLS: write `out`, hand the socket to the TLS library, answer smtp_client_on_tls. Nothing that was read
 * before the handshake may reach smtp_client_input later; bytes fed while TLS is wanted end the session.
 *  - BODY: smtp_stuff_put into the connection's buffer as the socket takes it, smtp_stuff_end, and
 *    smtp_client_body_sent when the end is handed to the socket's last write, before anything more is read. A
 *    reply may end the wish for a body early: look at the want after each input. When writing fails, feed
 * what the server has said before smtp_client_on_closed: it may have told why.
 *  - RESULT: read smtp_client_results, then smtp_client_next (which may end the session: MAILMAX, a 421).
 *  - CLOSE: write what is in `out` if that goes at once (a QUIT may be there), then close. With a transaction
 * in hand smtp_client_results is not NULL; else smtp_client_failure says why the session failed, or NULL
 * after a good end.
 *
 * In stage AUTH `out` holds the password: a trace leaves it out.
 *
 * A failed session (greeting, EHLO, STARTTLS, AUTH) is always TEMPORARY, even after a 5xx: it tells something
 * of this server, nothing of the recipients. The next MX may do better, and rules see code and stage.
 */
#ifndef NODE_SMTP_CLIENT_H
#define NODE_SMTP_CLIENT_H

#include "base/buf.h"
#include "base/span.h"
#include "node/smtp/reply.h"

#include <stdbool.h>
#include <stdint.h>

/* WRAPPED: TLS before the greeting (port 465). */
enum smtp_client_tls {
    SMTP_CLIENT_TLS_NONE,
    SMTP_CLIENT_TLS_OPPORTUNISTIC,
    SMTP_CLIENT_TLS_REQUIRED,
    SMTP_CLIENT_TLS_WRAPPED,
};

/* 0: the default, which is RFC 5321 section 4.5.3.2's where it names one. */
struct smtp_client_timeouts {
    uint32_t banner_ms; /* 5 min */
    uint32_t ehlo_ms;   /* 5 min; STARTTLS, AUTH and RSET too */
    uint32_t tls_ms;    /* handshake: 1 min */
    uint32_t mail_ms;   /* 5 min */
    uint32_t rcpt_ms;   /* 5 min */
    uint32_t data_ms;   /* 2 min, for the 354 */
    uint32_t block_ms;  /* 3 min, for a block of the body to be written */
    uint32_t dot_ms;    /* 10 min */
    uint32_t quit_ms;   /* 5 s, for the reply to QUIT */
};

struct smtp_client_config { /* copied; the strings must outlive the client */
    const char *ehlo_name;
    enum smtp_client_tls tls;
    const char *auth_user, *auth_password; /* NULL: no AUTH; only ever after TLS unless auth_without_tls */
    bool auth_without_tls;
    bool eightbit_bounce; /* next hop without 8BITMIME and 8-bit content: bounce 5.6.3 instead of sending it
                             as it is */
    struct smtp_client_timeouts timeouts;
};

enum smtp_client_stage { /* where a failure happened; for rules, logs and DSNs */
                         SMTP_CLIENT_STAGE_CONNECT,
                         SMTP_CLIENT_STAGE_BANNER,
                         SMTP_CLIENT_STAGE_EHLO,
                         SMTP_CLIENT_STAGE_TLS,
                         SMTP_CLIENT_STAGE_AUTH,
                         SMTP_CLIENT_STAGE_MAIL,
                         SMTP_CLIENT_STAGE_RCPT,
                         SMTP_CLIENT_STAGE_DATA,
                         SMTP_CLIENT_STAGE_DOT, /* a TEMPORARY, local result here is ambiguous: the server may
                                                   have taken the message */
                         SMTP_CLIENT_STAGE_RSET,
                         SMTP_CLIENT_STAGE_QUIT,
};

enum smtp_client_want {
    SMTP_CLIENT_WANT_INPUT,  /* nothing but the server's bytes */
    SMTP_CLIENT_WANT_TLS,    /* drop unread input, handshake: on_tls */
    SMTP_CLIENT_WANT_MAIL,   /* idle and ready: smtp_client_send, or smtp_client_quit */
    SMTP_CLIENT_WANT_BODY,   /* write the content through smtp_stuff, then smtp_client_body_sent */
    SMTP_CLIENT_WANT_RESULT, /* the transaction ended: read smtp_client_results, then smtp_client_next */
    SMTP_CLIENT_WANT_CLOSE,  /* session over: see smtp_client_failure; with a transaction in hand its results
                                are set too */
};

/* The values of enum envelope_notify and enum envelope_ret (spool/envelope.h), which this folder doesn't
 * include. */
enum smtp_client_notify {
    SMTP_CLIENT_NOTIFY_NEVER = 1,
    SMTP_CLIENT_NOTIFY_SUCCESS = 2,
    SMTP_CLIENT_NOTIFY_FAILURE = 4,
    SMTP_CLIENT_NOTIFY_DELAY = 8,
};
enum smtp_client_ret { SMTP_CLIENT_RET_ABSENT, SMTP_CLIENT_RET_FULL, SMTP_CLIENT_RET_HDRS };

struct smtp_client_rcpt {
    struct span address; /* as it goes into RCPT TO, without < > */
    struct span orcpt;   /* "rfc822;x@y" decoded from xtext, or empty */
    uint8_t notify;      /* enum smtp_client_notify's bits */
};

struct smtp_client_mail { /* borrowed until its RESULT was read */
    struct span from, envid;
    uint8_t ret; /* enum smtp_client_ret */
    uint64_t size;
    bool smtputf8; /* an address, or the header, needs it */
    bool content_8bit;
    bool requiretls;
    bool authenticated; /* the server is known to be the right one: requiretls is only sent on then */
    uint32_t nrcpts; /* at least 1 */
    const struct smtp_client_rcpt *rcpts;
};

enum smtp_client_class {                        /* what a result means */
                         SMTP_CLIENT_OK,        /* accepted */
                         SMTP_CLIENT_TEMPORARY, /* 4xx, or the like */
                         SMTP_CLIENT_PERMANENT, /* 5xx */
                         SMTP_CLIENT_NOT_TRIED, /* to be sent again at once, in another transaction or
                                                   connection: no attempt was made (452 on the 51st recipient,
                                                   RCPTMAX, a reused connection that ended before MAIL was
                                                   answered). Each such transaction either settles a recipient
                                                   or used up a connection that had done work before, so
                                                   sending again comes to an end. */
};

/* Local results carry a code too, as this server would have given: "552 5.3.4 ..." before MAIL, 421 4.4.2 for
 * a lost connection or a time-out, 451 for other failures. A local PERMANENT one tells what this server lacks
 * (SMTPUTF8, SIZE, REQUIRETLS, 8BITMIME); another MX of the same domain may have it. */
struct smtp_client_result {
    enum smtp_client_class class;
    enum smtp_client_stage stage;
    bool local; /* our own words, not the server's */
    struct smtp_reply_text reply;
};

struct smtp_client;

/* NULL: no memory. `out` belongs to the shell; give it room for 256 KiB. */
struct smtp_client *smtp_client_new(const struct smtp_client_config *config, struct buf *out);
void smtp_client_free(struct smtp_client *c);

/* Consumes all of it (reply lines are gathered inside, bounded). */
enum smtp_client_want smtp_client_input(struct smtp_client *c, const char *p, size_t n);
enum smtp_client_want smtp_client_want(const struct smtp_client *c);

/* Not ok, with OPPORTUNISTIC: the session is over and smtp_client_retry_plain is true. */
void smtp_client_on_tls(struct smtp_client *c, bool ok, const char *why);
/* Only when MAIL is wanted. May end at once with RESULT (a message that this server cannot take), or with
 * CLOSE. When memory runs out there are no results, but a failure. */
void smtp_client_send(struct smtp_client *c, const struct smtp_client_mail *mail);
void smtp_client_body_sent(struct smtp_client *c);
/* The content can't be read (our disk): the connection must be dropped; results are temporary. */
void smtp_client_body_failed(struct smtp_client *c, const char *why);
void smtp_client_next(struct smtp_client *c);
/* Only when MAIL is wanted. CLOSE follows the server's answer, or its deadline. */
void smtp_client_quit(struct smtp_client *c);
/* The connection ended or a deadline passed: sets the results. */
void smtp_client_on_closed(struct smtp_client *c, const char *why);

/* Per recipient of the transaction that ended, in order; NULL when there is none. */
const struct smtp_client_result *smtp_client_results(const struct smtp_client *c);
/* Why the session failed before or between transactions; NULL if it did not. */
const struct smtp_client_result *smtp_client_failure(const struct smtp_client *c);
/* TLS was opportunistic and did not come about: connect again with SMTP_CLIENT_TLS_NONE. */
bool smtp_client_retry_plain(const struct smtp_client *c);
/* How long the present wait may last, in all: counted from when smtp_client_progress last changed; in BODY
 * from the last block that the socket took. 0: no limit of ours (MAIL, RESULT, CLOSE). */
uint32_t smtp_client_deadline_ms(const struct smtp_client *c);
/* Changes whenever a reply was complete or something was sent; never by single bytes. */
uint32_t smtp_client_progress(const struct smtp_client *c);
enum smtp_client_stage smtp_client_stage(const struct smtp_client *c);
/* The server announced it, after the last EHLO. */
bool smtp_client_has_dsn(const struct smtp_client *c);
bool smtp_client_has_starttls(const struct smtp_client *c);
bool smtp_client_has_chunking(const struct smtp_client *c);
bool smtp_client_has_pipelining(const struct smtp_client *c);
bool smtp_client_has_requiretls(const struct smtp_client *c);
bool smtp_client_has_smtputf8(const struct smtp_client *c);
bool smtp_client_has_8bitmime(const struct smtp_client *c);
/* 0: not announced, or without limit. */
uint64_t smtp_client_size_limit(const struct smtp_client *c);
/* LIMITS RCPTMAX; 0: not announced. */
uint32_t smtp_client_rcpt_limit(const struct smtp_client *c);
struct span smtp_client_banner(const struct smtp_client *c);
/* Transactions that were begun on this connection. */
uint32_t smtp_client_transactions(const struct smtp_client *c);

/* Dot-stuffing of content in blocks: `at_line_start` carries over between calls (true at first). Content that
 * does not end with CRLF gets one from smtp_stuff_end, then the dot. */
struct smtp_stuff {
    bool at_line_start;
    bool last_cr;
};
int smtp_stuff_put(struct smtp_stuff *st, const char *p, size_t n, struct buf *out);
int smtp_stuff_end(struct smtp_stuff *st, struct buf *out);

/* "mail", "dot" and the like, for logs and rules. */
const char *smtp_client_stage_name(enum smtp_client_stage stage);

#endif
