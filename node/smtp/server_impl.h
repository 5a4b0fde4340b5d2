/* The inside of struct smtp_server, for the files server*.c only. */
#ifndef NODE_SMTP_SERVER_IMPL_H
#define NODE_SMTP_SERVER_IMPL_H

#include "node/smtp/arena.h"
#include "node/smtp/content.h"
#include "node/smtp/server.h"

/* The states of a session. While a want is out (s->want), the state is that in which it was asked for.
 *
 *     START --greet--> HELLO --EHLO/HELO--> READY --MAIL--> MAIL --RCPT--> RCPT <-+
 *                        ^                   | ^              |             | |   | RCPT
 *                        +---- STARTTLS -----+ |              |             | +---+
 *                                            | |              |             |
 *                        AUTH <----AUTH------+ +-- RSET, EHLO-+-------------+
 *                          |                   |                            |
 *                          +------------------>+<--"."-- DATA <----DATA-----+
 *                                              |                            |
 *                                              +<-LAST-- CHUNK <---BDAT-----+
 *                                                          | ^
 *                                                          v | BDAT
 *     SKIP: octets of a refused BDAT, then back           BETWEEN
 *     CLOSED: nothing is read any more
 */
enum server_state {
    STATE_START,
    STATE_HELLO,
    STATE_READY,
    STATE_MAIL,    /* MAIL was accepted, no recipient yet */
    STATE_RCPT,    /* there is a recipient */
    STATE_DATA,    /* content up to the dot */
    STATE_CHUNK,   /* content of a BDAT */
    STATE_BETWEEN, /* chunks */
    STATE_SKIP,
    STATE_AUTH, /* a line of the AUTH exchange is due */
    STATE_CLOSED,
};

#define AT(state) (1u << STATE_##state)

/* Lives in the arena. */
struct server_transaction {
    struct smtp_server_mail mail;
    struct smtp_server_rcpt rcpt;
    bool has_rcpt;               /* rcpt was filled in */
    struct arena_mark rcpt_mark; /* before what `rcpt` points to */
    uint32_t accepted;           /* recipients */
    uint32_t refused;
    bool chunking, last_chunk;
    uint64_t chunk_left;
    struct smtp_content content;
    struct smtp_reply refusal; /* of the content; code 0: none. Its texts are in the arena or static */
    bool refusal_closes;
};

/* On the heap while an AUTH exchange lasts; wiped. */
struct server_auth {
    struct smtp_server_auth fields;
    enum { AUTH_PLAIN, AUTH_LOGIN_USER, AUTH_LOGIN_PASSWORD } expect;
    char user[256]; /* LOGIN's first answer */
    char *secret;   /* the decoded line with the password in it, secret_bytes of memory */
    size_t secret_bytes;
};

struct smtp_server {
    const struct smtp_server_config *config;
    struct buf *reply;
    uint8_t state;      /* enum server_state */
    uint8_t want;       /* enum smtp_server_want */
    uint8_t after_skip; /* state to go back to */
    bool tls, esmtp, authenticated, helo_strict;
    bool skipping_line; /* the rest of a line that was too long */
    bool drop_input;    /* STARTTLS: what came with it is void */
    bool more_behind;   /* input followed the command line in hand */
    bool ended;         /* the transaction is over, its memory goes with the next step */
    uint32_t errors, junk, messages;
    uint64_t elements;
    uint64_t skip; /* octets of a refused BDAT */
    const struct smtp_reply *skip_reply;
    char *helo;
    struct server_auth *auth;
    struct server_transaction *txn; /* NULL outside one */
    struct arena arena;
};

#define REPLY(code_, enhanced_, text_) (&(const struct smtp_reply){ (code_), (enhanced_), (text_) })

/* server.c */
void smtpd_reply(struct smtp_server *s, const struct smtp_reply *reply);
/* A reply to something wrong: 5xx count, and over the limit it is 421 and the end. */
void smtpd_error(struct smtp_server *s, const struct smtp_reply *reply);
/* The reply, then CLOSE. */
void smtpd_close(struct smtp_server *s, const struct smtp_reply *reply);
/* Is it a refusal, and not a yes in words of the shell's own? */
bool smtpd_is_refusal(const struct smtp_reply *reply);
/* The transaction, if any, is over. With `told_shell` false the shell is to hear ABORT. */
void smtpd_transaction_end(struct smtp_server *s, bool told_shell);
/* True if the answer to this want is due; clears it. False: the session is closing. */
bool smtpd_answer_due(struct smtp_server *s, enum smtp_server_want want);

/* server_command.c: one line without its CRLF */
void smtpd_command(struct smtp_server *s, struct span line);

/* server_auth.c */
void smtpd_auth_begin(struct smtp_server *s, struct span args);
void smtpd_auth_line(struct smtp_server *s, struct span line);
void smtpd_auth_end(struct smtp_server *s);
void smtpd_auth_too_long(struct smtp_server *s);

/* server_body.c */
void smtpd_data(struct smtp_server *s);
void smtpd_bdat(struct smtp_server *s, struct span args);
/* One turn in DATA, CHUNK or SKIP: true if it got anywhere. */
bool smtpd_body_step(struct smtp_server *s, const char *p, size_t n, struct smtp_server_result *out,
                     size_t *used);

#endif
