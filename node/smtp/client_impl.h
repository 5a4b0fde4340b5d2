/* What the files of the SMTP client machine share. Nobody else includes it.
 *
 *            BANNER -> EHLO [-> HELO] [-> STARTTLS -> TLS -> EHLO] [-> AUTH..] -> READY
 *   (TLS ->)                                                                       |  ^
 *                                                                    send          v  | next
 *                          [RSET] ENVELOPE (MAIL, RCPT.., DATA) -> BODY -> DOT -> RESULT
 *                                     |                 \-> LONE_DOT ---------------^
 *                                     \--- nothing accepted ------------------------/
 *   READY -> QUIT -> CLOSED; any -> CLOSED
 */
#ifndef NODE_SMTP_CLIENT_IMPL_H
#define NODE_SMTP_CLIENT_IMPL_H

#include "node/smtp/client.h"
#include "node/smtp/reply_parser.h"

enum state {
    STATE_TLS, /* waits for the shell's handshake */
    STATE_BANNER,
    STATE_EHLO,
    STATE_HELO,
    STATE_STARTTLS,
    STATE_AUTH_PLAIN,
    STATE_AUTH_LOGIN,
    STATE_AUTH_USER,
    STATE_AUTH_PASSWORD,
    STATE_READY,
    STATE_ENVELOPE,
    STATE_BODY,
    STATE_DOT,
    STATE_LONE_DOT, /* 354 although no recipient was accepted */
    STATE_RESULT,
    STATE_QUIT,
    STATE_CLOSED,
};

/* What EHLO offered. */
enum capability {
    CAP_PIPELINING = 1,
    CAP_SIZE = 2,
    CAP_8BITMIME = 4,
    CAP_SMTPUTF8 = 8,
    CAP_DSN = 16,
    CAP_STARTTLS = 32,
    CAP_CHUNKING = 64,
    CAP_REQUIRETLS = 128,
    CAP_AUTH_PLAIN = 256,
    CAP_AUTH_LOGIN = 512,
};

struct smtp_capabilities {
    unsigned bits;
    uint64_t size;                                /* 0: no limit known */
    uint32_t rcpt_max, mail_max, rcpt_domain_max; /* RFC 9422; 0: none */
};

/* One line of the reply to EHLO, after the first. */
void smtp_capabilities_line(struct smtp_capabilities *caps, struct span line);

/* Where a recipient stands within the transaction. */
enum rcpt_step { RCPT_UNSENT, RCPT_ASKED, RCPT_ACCEPTED, RCPT_SETTLED };

/* Unanswered RCPT commands at most: bounds what lies in `out`. */
#define SMTP_CLIENT_WINDOW 100
/* and no further one is added to `out` above this */
#define SMTP_CLIENT_OUT_ENOUGH 65536

struct smtp_client {
    struct smtp_client_config config;
    struct buf *out;
    enum state state;
    enum smtp_client_want want;
    enum smtp_client_stage stage;
    uint32_t progress;
    uint32_t outstanding; /* commands without a reply */
    bool early; /* a reply has begun in the same bytes as the last one that was due: nobody asked for it */
    bool tls_active;
    bool starttls_refused;
    bool retry_plain;
    bool failed;     /* `failure` is set */
    bool ending;     /* the server said good-bye while a result waits to be read */
    bool rset_first; /* the last transaction left something to be reset */
    uint32_t transactions;
    uint32_t settled_transactions; /* of them, those whose MAIL was answered */
    struct smtp_capabilities caps;
    struct smtp_reply_parser parser;
    struct smtp_reply_text banner;
    struct smtp_client_result failure;

    /* the transaction in hand */
    const struct smtp_client_mail *mail; /* NULL: none */
    bool utf8;                           /* MAIL needs the SMTPUTF8 parameter */
    bool rset_asked;
    bool mail_answered, mail_refused;
    bool data_asked;
    bool no_more_rcpts;   /* 452: the server wants no more in this transaction */
    uint32_t rcpt_next;   /* first that was not looked at */
    uint32_t rcpt_answer; /* no answer is due to those before it */
    uint32_t rcpts_asked; /* without answer */
    uint32_t rcpts_accepted;
    uint32_t cap; /* of the arrays */
    struct smtp_client_result *results;
    uint8_t *steps; /* enum rcpt_step */
};

/* client_result.c */
void smtp_result_local(struct smtp_client_result *r, enum smtp_client_class class,
                       enum smtp_client_stage stage, unsigned code, const char *enhanced, const char *fmt,
                       ...) __attribute__((format(printf, 6, 7)));
void smtp_result_reply(struct smtp_client_result *r, enum smtp_client_class class,
                       enum smtp_client_stage stage, const struct smtp_reply_text *reply);
void smtp_result_copy(struct smtp_client_result *to, const struct smtp_client_result *from);

/* client_command.c: each appends one command line */
void smtp_client_put_mail(struct smtp_client *c);
void smtp_client_put_rcpt(struct smtp_client *c, const struct smtp_client_rcpt *rcpt);
void smtp_client_put_auth_plain(struct smtp_client *c);
/* No octet that could end a command or a path. */
bool smtp_client_address_sendable(struct span address);

/* client.c */
/* A command or an answer was appended, a reply is due. */
void smtp_client_sent(struct smtp_client *c, enum state state, enum smtp_client_stage stage);
/* Ends the session; what is unsettled of a transaction in hand gets r, else it becomes the failure. */
void smtp_client_end(struct smtp_client *c, const struct smtp_client_result *r);
/* The same after the server broke the protocol. */
void smtp_client_end_protocol(struct smtp_client *c, const char *what);
/* The same after the reply that was just read; says QUIT unless the server has closed. */
void smtp_client_end_reply(struct smtp_client *c);
/* Ends the session when `out` took no more. */
void smtp_client_check_out(struct smtp_client *c);

/* client_session.c: the reply that was due in these states */
void smtp_client_on_banner(struct smtp_client *c);
void smtp_client_on_ehlo(struct smtp_client *c);
void smtp_client_on_starttls(struct smtp_client *c);
void smtp_client_on_auth(struct smtp_client *c);
void smtp_client_on_quit(struct smtp_client *c);

/* client_transaction.c */
void smtp_client_on_envelope(struct smtp_client *c);
void smtp_client_on_dot(struct smtp_client *c);
void smtp_client_on_lone_dot(struct smtp_client *c);
/* A reply while the body goes out. */
void smtp_client_on_early_end(struct smtp_client *c);
/* Gives r to every recipient that is not settled. */
void smtp_transaction_settle(struct smtp_client *c, const struct smtp_client_result *r);
void smtp_transaction_free(struct smtp_client *c);

#endif
