/* The client side of an SMTP session, pure: no socket, no clock.
 *
 * The shell connects, feeds the server's bytes, writes `out`, and does what is wanted. One transaction at a time;
 * MAIL, RCPT.. and DATA go out together when the server knows PIPELINING. Timeouts are RFC 5321 section 4.5.3.2's,
 * given as the present deadline; keeping it is the shell's part.
 */
#ifndef NODE_SMTP_CLIENT_H
#define NODE_SMTP_CLIENT_H

#include "base/buf.h"
#include "base/span.h"
#include "node/smtp/reply.h"

#include <stdbool.h>
#include <stdint.h>

enum smtp_client_tls { SMTP_CLIENT_TLS_NONE, SMTP_CLIENT_TLS_OPPORTUNISTIC, SMTP_CLIENT_TLS_REQUIRED, SMTP_CLIENT_TLS_WRAPPED };

struct smtp_client_config {
    const char *ehlo_name;
    enum smtp_client_tls tls;
    const char *auth_user, *auth_password; /* NULL: no AUTH; only ever after TLS unless auth_without_tls */
    bool auth_without_tls;
    bool lmtp_never_used; /* reserved: must be false */
    bool eightbit_bounce; /* next hop without 8BITMIME and 8-bit content: bounce 5.6.3 instead of sending it as it is */
};

enum smtp_client_stage { /* where a failure happened; for rules, logs and DSNs */
    SMTP_CLIENT_STAGE_CONNECT, SMTP_CLIENT_STAGE_BANNER, SMTP_CLIENT_STAGE_EHLO, SMTP_CLIENT_STAGE_TLS,
    SMTP_CLIENT_STAGE_AUTH, SMTP_CLIENT_STAGE_MAIL, SMTP_CLIENT_STAGE_RCPT, SMTP_CLIENT_STAGE_DATA,
    SMTP_CLIENT_STAGE_DOT, SMTP_CLIENT_STAGE_RSET, SMTP_CLIENT_STAGE_QUIT,
};

enum smtp_client_want {
    SMTP_CLIENT_WANT_INPUT,   /* nothing but the server's bytes */
    SMTP_CLIENT_WANT_TLS,     /* drop unread input, handshake: on_tls */
    SMTP_CLIENT_WANT_MAIL,    /* idle and ready: smtp_client_send, or smtp_client_quit */
    SMTP_CLIENT_WANT_BODY,    /* write the content through smtp_stuff, then smtp_client_body_sent */
    SMTP_CLIENT_WANT_RESULT,  /* the transaction ended: read smtp_client_results, then smtp_client_next */
    SMTP_CLIENT_WANT_CLOSE,   /* session over: see smtp_client_failure; with a transaction in hand its results are set too */
};

struct smtp_client_rcpt {
    struct span address, orcpt;
    uint8_t notify;
};

struct smtp_client_mail { /* borrowed until its RESULT was read */
    struct span from, envid;
    uint8_t ret;
    uint64_t size;
    bool smtputf8;       /* an address, or the header, needs it */
    bool content_8bit;
    bool requiretls;
    uint32_t nrcpts;
    const struct smtp_client_rcpt *rcpts;
};

enum smtp_client_class { /* what a result means */
    SMTP_CLIENT_OK,        /* accepted */
    SMTP_CLIENT_TEMPORARY, /* 4xx, or the like */
    SMTP_CLIENT_PERMANENT, /* 5xx */
    SMTP_CLIENT_NOT_TRIED, /* to be sent again at once, in another transaction or connection: no attempt was made
                              (452 on the 51st recipient, MAILMAX, connection closed before MAIL was answered) */
};

struct smtp_client_result {
    enum smtp_client_class class;
    enum smtp_client_stage stage;
    bool local;             /* our own words, not the server's */
    struct smtp_reply_text reply;
};

struct smtp_client;

struct smtp_client *smtp_client_new(const struct smtp_client_config *config, struct buf *out);
void smtp_client_free(struct smtp_client *c);

/* Consumes all of it (reply lines are gathered inside, bounded). */
enum smtp_client_want smtp_client_input(struct smtp_client *c, const char *p, size_t n);
enum smtp_client_want smtp_client_want(const struct smtp_client *c);

void smtp_client_on_tls(struct smtp_client *c, bool ok, const char *why);
void smtp_client_send(struct smtp_client *c, const struct smtp_client_mail *mail);
void smtp_client_body_sent(struct smtp_client *c);
/* The content can't be read (our disk): the connection must be dropped; results are temporary. */
void smtp_client_body_failed(struct smtp_client *c, const char *why);
void smtp_client_next(struct smtp_client *c);
void smtp_client_quit(struct smtp_client *c);
/* The connection ended or a deadline passed: sets the results. */
void smtp_client_on_closed(struct smtp_client *c, const char *why);

/* Per recipient of the transaction that ended. */
const struct smtp_client_result *smtp_client_results(const struct smtp_client *c);
/* Why the session failed before or between transactions; NULL if it did not. */
const struct smtp_client_result *smtp_client_failure(const struct smtp_client *c);
uint32_t smtp_client_deadline_ms(const struct smtp_client *c);
enum smtp_client_stage smtp_client_stage(const struct smtp_client *c);
/* The server announced it, after the last EHLO. */
bool smtp_client_has_dsn(const struct smtp_client *c);
bool smtp_client_has_starttls(const struct smtp_client *c);
bool smtp_client_has_chunking(const struct smtp_client *c);
struct span smtp_client_banner(const struct smtp_client *c);

/* Dot-stuffing of content in blocks: `at_line_start` carries over between calls (true at first). Content that
 * does not end with CRLF gets one from smtp_stuff_end, then the dot. */
struct smtp_stuff {
    bool at_line_start;
    bool last_cr;
};
int smtp_stuff_put(struct smtp_stuff *st, const char *p, size_t n, struct buf *out);
int smtp_stuff_end(struct smtp_stuff *st, struct buf *out);

const char *smtp_client_stage_name(enum smtp_client_stage stage);

#endif
