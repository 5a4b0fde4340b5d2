/* Commands: the table of verbs, and a handler for each but AUTH's exchange (server_auth.c), DATA and BDAT
 * (server_body.c), in the order of a dialogue. Pure.
 */
#include "base/text.h"
#include "node/smtp/param.h"
#include "node/smtp/server_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define HELO_MAX 255
/* NOOP, RSET and the like without an accepted recipient between them; more are errors. */
#define JUNK_MAX 100

typedef void verb_fn(struct smtp_server *s, struct span args);

static verb_fn on_helo, on_ehlo, on_starttls, on_auth, on_mail, on_rcpt, on_data, on_bdat, on_rset, on_noop,
    on_vrfy, on_help, on_quit, on_unimplemented;

enum verb_flag {
    GUARDED = 1,   /* 530 before TLS or AUTH where the listener demands them */
    TLS_FIRST = 2, /* 530 before TLS where the listener demands it */
    HIGH = 4,      /* octets over 127 may be in it; its handler looks after them */
    NO_ARGS = 8,
    JUNK = 16,
};

#define IDLE (AT(HELLO) | AT(READY))
#define OPEN (AT(MAIL) | AT(RCPT) | AT(BETWEEN))

static const struct verb {
    const char *name;
    unsigned allowed; /* AT(states) */
    unsigned flags;
    verb_fn *run;
    const char *otherwise; /* in any other state: 503 */
} verbs[] = {
    { "EHLO", IDLE | OPEN, HIGH | JUNK, on_ehlo, NULL },
    { "HELO", IDLE | OPEN, HIGH | JUNK, on_helo, NULL },
    { "STARTTLS", AT(READY), NO_ARGS, on_starttls, "Send EHLO first, and no transaction open" },
    { "AUTH", AT(READY), TLS_FIRST, on_auth, "AUTH not permitted now" },
    { "MAIL", AT(READY), GUARDED | HIGH, on_mail, "MAIL out of sequence" },
    { "RCPT", AT(MAIL) | AT(RCPT), GUARDED | HIGH, on_rcpt, "Need MAIL first" },
    { "DATA", AT(MAIL) | AT(RCPT), GUARDED | NO_ARGS, on_data, "DATA out of sequence" },
    { "BDAT", IDLE | OPEN, 0, on_bdat, NULL }, /* its octets come whether it is allowed or not */
    { "RSET", IDLE | OPEN, NO_ARGS | JUNK, on_rset, NULL },
    { "NOOP", IDLE | OPEN, JUNK, on_noop, NULL },
    { "VRFY", IDLE | OPEN, GUARDED | HIGH | JUNK, on_vrfy, NULL },
    { "HELP", IDLE | OPEN, JUNK, on_help, NULL },
    { "QUIT", IDLE | OPEN, NO_ARGS, on_quit, NULL },
    { "EXPN", IDLE | OPEN, GUARDED | HIGH, on_unimplemented, NULL },
    { "ETRN", IDLE | OPEN, GUARDED, on_unimplemented, NULL },
    { "TURN", IDLE | OPEN, GUARDED, on_unimplemented, NULL },
    { "SEND", IDLE | OPEN, GUARDED | HIGH, on_unimplemented, NULL },
    { "SOML", IDLE | OPEN, GUARDED | HIGH, on_unimplemented, NULL },
    { "SAML", IDLE | OPEN, GUARDED | HIGH, on_unimplemented, NULL },
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* What no command may hold; NULL if it is clean. A bare CR might be a line's end to somebody else. */
static const struct smtp_reply *bad_octets(struct span line)
{
    static const struct smtp_reply nul = { 500, "5.5.2", "NUL in command" };
    static const struct smtp_reply control = { 501, "5.5.2", "Control character in command" };
    if (line.n > 0 && memchr(line.p, '\0', line.n) != NULL)
        return &nul;
    for (size_t i = 0; i < line.n; i++)
        if (((unsigned char)line.p[i] < 0x20 && line.p[i] != '\t') || line.p[i] == 0x7f)
            return &control;
    return NULL;
}

static const struct verb *verb_find(struct span name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (span_eq_nocase(name, span_str(verbs[i].name)))
            return &verbs[i];
    return NULL;
}

/* NULL if the command may run in this state of the session. */
static const struct smtp_reply *verb_refused(const struct smtp_server *s, const struct verb *v,
                                             struct span args)
{
    static const struct smtp_reply no_tls = { 530, "5.7.0", "Must issue a STARTTLS command first" };
    static const struct smtp_reply no_auth = { 530, "5.7.0", "Authentication required" };
    static const struct smtp_reply args_given = { 501, "5.5.4", "No argument expected" };
    static const struct smtp_reply high = { 500, "5.5.2", "Non-ASCII character in command" };
    static const struct smtp_reply hello_first = { 503, "5.5.1", "Send EHLO or HELO first" };
    const struct smtp_server_config *config = s->config;
    if ((v->flags & HIGH) == 0 && !text_ascii(args))
        return &high;
    if ((v->flags & NO_ARGS) != 0 && args.n > 0)
        return &args_given;
    if ((v->flags & (GUARDED | TLS_FIRST)) != 0 && config->require_tls && !s->tls)
        return &no_tls;
    if ((v->flags & GUARDED) != 0 && config->require_auth && !s->authenticated)
        return &no_auth;
    if ((v->allowed & 1u << s->state) == 0 && s->state == STATE_HELLO)
        return &hello_first;
    return NULL;
}

void smtpd_command(struct smtp_server *s, struct span line)
{
    static const struct smtp_reply unknown = { 500, "5.5.1", "Unknown command" };
    static const struct smtp_reply bad_syntax = { 500, "5.5.2", "Bad syntax" };
    static const struct smtp_reply junk = { 500, "5.5.1", "Too many commands without mail" };
    size_t n = 0;
    while (n < line.n && !is_blank(line.p[n]))
        n++;
    const struct verb *v = verb_find(span_of(line.p, n));
    struct span args = span_trim(span_sub(line, n));
    const struct smtp_reply *bad = bad_octets(line);
    const struct smtp_reply out_of_order = { 503, "5.5.1", v == NULL ? NULL : v->otherwise };
    /* RFC 2920 section 3.1: nothing may be sent ahead before EHLO announced that it may, nor behind an EHLO
     */
    if (s->more_behind && (!s->esmtp || (v != NULL && v->run == on_ehlo)) &&
        (v == NULL || v->run != on_quit)) {
        smtpd_close(s, REPLY(554, "5.5.0", "SMTP protocol synchronization: command sent ahead"));
        return;
    }
    if (bad == NULL && v == NULL)
        bad = text_ascii(line) && n > 0 ? &unknown : &bad_syntax;
    if (bad == NULL)
        bad = verb_refused(s, v, args);
    if (bad == NULL && (v->allowed & 1u << s->state) == 0)
        bad = &out_of_order;
    if (bad == NULL && (v->flags & JUNK) != 0 && ++s->junk > JUNK_MAX)
        bad = &junk;
    if (bad != NULL)
        smtpd_error(s, bad);
    else
        v->run(s, args);
}

/* RFC 5321 section 4.1.4: no reason to refuse a name but its syntax; and real clients give odd ones. Octets
 * over 127, of valid UTF-8, become '?', so that the name fits into a Received field. */
static bool helo_keep(struct smtp_server *s, struct span name)
{
    if (name.n == 0 || name.n > HELO_MAX || memchr(name.p, ' ', name.n) != NULL ||
        memchr(name.p, '\t', name.n) != NULL || !text_utf8_valid(name)) {
        smtpd_error(s, REPLY(501, "5.5.4", "Syntax: EHLO hostname"));
        return false;
    }
    if (s->helo_strict && !smtp_helo_valid(name)) {
        smtpd_error(s, REPLY(501, "5.5.2",
                             "Not a host name or [address] by RFC 5321 section 4.1.1.1: correct your EHLO name"));
        return false;
    }
    char *copy = malloc(name.n + 1);
    if (copy == NULL) {
        smtpd_close(s, REPLY(421, "4.3.0", "Out of memory"));
        return false;
    }
    for (size_t i = 0; i < name.n; i++)
        copy[i] = (unsigned char)name.p[i] < 0x80 ? name.p[i] : '?';
    copy[name.n] = '\0';
    free(s->helo);
    s->helo = copy;
    return true;
}

/* EHLO and HELO are a RSET too. */
static void greeted(struct smtp_server *s, bool esmtp)
{
    s->esmtp = esmtp;
    s->state = STATE_READY;
    smtpd_transaction_end(s, false);
}

static bool offers_auth(const struct smtp_server *s)
{
    return s->config->offer_auth && (s->tls || s->config->auth_without_tls);
}

static bool offers_starttls(const struct smtp_server *s)
{
    return s->config->offer_starttls && !s->tls;
}

/* "LIMITS MAILMAX=100 RCPTMAX=1000" (RFC 9422), as far as there are limits. */
static void put_limits(const struct smtp_server_config *config, char *out, size_t cap)
{
    int n = 0;
    out[0] = '\0';
    if (config->max_messages == 0 && config->max_rcpts == 0)
        return;
    n = snprintf(out, cap, "\nLIMITS");
    if (config->max_messages != 0)
        n += snprintf(out + n, cap - (size_t)n, " MAILMAX=%" PRIu32, config->max_messages);
    if (config->max_rcpts != 0)
        snprintf(out + n, cap - (size_t)n, " RCPTMAX=%" PRIu32, config->max_rcpts);
}

static void on_ehlo(struct smtp_server *s, struct span args)
{
    const struct smtp_server_config *c = s->config;
    char limits[80], size[24] = "", text[700];
    if (!helo_keep(s, args))
        return;
    put_limits(c, limits, sizeof limits);
    if (c->max_message_bytes != 0)
        snprintf(size, sizeof size, " %" PRIu64, c->max_message_bytes);
    snprintf(text, sizeof text,
             "%s\nPIPELINING\nSIZE%s\n8BITMIME%s\nDSN\nENHANCEDSTATUSCODES\nCHUNKING%s%s%s%s", c->hostname,
             size, c->offer_smtputf8 ? "\nSMTPUTF8" : "", offers_starttls(s) ? "\nSTARTTLS" : "",
             offers_auth(s) ? "\nAUTH PLAIN LOGIN" : "", s->tls && c->offer_requiretls ? "\nREQUIRETLS" : "", limits);
    smtpd_reply(s, REPLY(250, NULL, text));
    greeted(s, true);
}

static void on_helo(struct smtp_server *s, struct span args)
{
    if (!helo_keep(s, args))
        return;
    smtpd_reply(s, REPLY(250, NULL, s->config->hostname));
    greeted(s, false);
}

static void on_starttls(struct smtp_server *s, struct span args)
{
    (void)args;
    if (s->tls || !s->esmtp) {
        smtpd_error(s, REPLY(503, "5.5.1", s->tls ? "TLS already active" : "Send EHLO first"));
        return;
    }
    if (!s->config->offer_starttls) {
        smtpd_error(s, REPLY(502, "5.5.1", "STARTTLS not available"));
        return;
    }
    smtpd_reply(s, REPLY(220, "2.0.0", "Ready to start TLS"));
    s->drop_input = true;
    s->want = SMTP_SERVER_WANT_TLS;
}

static void on_auth(struct smtp_server *s, struct span args)
{
    if (!s->config->offer_auth)
        smtpd_error(s, REPLY(502, "5.5.1", "AUTH not available"));
    else if (!offers_auth(s))
        smtpd_error(s, REPLY(530, "5.7.0", "Must issue a STARTTLS command first"));
    else if (!s->esmtp)
        smtpd_error(s, REPLY(503, "5.5.1", "Send EHLO first"));
    else if (s->authenticated)
        smtpd_error(s, REPLY(503, "5.5.1", "Already authenticated"));
    else if (args.n == 0)
        smtpd_error(s, REPLY(501, "5.5.4", "Syntax: AUTH mechanism"));
    else
        smtpd_auth_begin(s, args);
}

static struct smtp_param_offer offer(const struct smtp_server *s)
{
    return (struct smtp_param_offer){
        .smtputf8 = s->config->offer_smtputf8,
        .auth = s->config->offer_auth,
        .requiretls = s->tls && s->config->offer_requiretls,
        .allow_unqualified = s->config->allow_unqualified,
        .max_message_bytes = s->config->max_message_bytes,
    };
}

/* A copy in the transaction's arena, for the parsers to work in; NULL without room. */
static char *keep(struct smtp_server *s, struct span args)
{
    char *copy = arena_alloc(&s->arena, args.n + 1);
    if (copy != NULL)
        memcpy(copy, args.p, args.n);
    return copy;
}

static void on_mail(struct smtp_server *s, struct span args)
{
    if (s->config->max_messages != 0 && s->messages >= s->config->max_messages) {
        smtpd_close(s, REPLY(421, "4.7.0", "Too many messages in this connection"));
        return;
    }
    struct smtp_param_offer o = offer(s);
    struct server_transaction *t = arena_alloc(&s->arena, sizeof *t);
    char *copy = t == NULL ? NULL : keep(s, args);
    const struct smtp_reply *bad = REPLY(452, "4.3.1", "Out of memory");
    if (copy != NULL) {
        *t = (struct server_transaction){ 0 };
        bad = smtp_param_mail(copy, args.n, &o, &t->mail);
    }
    if (bad != NULL) {
        arena_reset(&s->arena);
        smtpd_error(s, bad);
        return;
    }
    s->txn = t;
    s->want = SMTP_SERVER_WANT_MAIL;
}

static void on_rcpt(struct smtp_server *s, struct span args)
{
    struct server_transaction *t = s->txn;
    if (s->config->max_rcpts != 0 && t->accepted >= s->config->max_rcpts) {
        smtpd_error(s, REPLY(452, "4.5.3", "Too many recipients"));
        return;
    }
    struct smtp_param_offer o = offer(s);
    t->rcpt_mark = arena_mark(&s->arena);
    t->has_rcpt = false;
    char *copy = keep(s, args);
    const struct smtp_reply *bad = REPLY(452, "4.5.3", "Too many recipients");
    if (copy != NULL)
        bad = smtp_param_rcpt(copy, args.n, &o, t->mail.smtputf8, &t->rcpt);
    if (bad != NULL) {
        t->refused++;
        arena_rewind(&s->arena, t->rcpt_mark);
        smtpd_error(s, bad);
        return;
    }
    t->has_rcpt = true;
    s->want = SMTP_SERVER_WANT_RCPT;
}

static void on_data(struct smtp_server *s, struct span args)
{
    (void)args;
    smtpd_data(s);
}

static void on_bdat(struct smtp_server *s, struct span args)
{
    smtpd_bdat(s, args);
}

static void on_rset(struct smtp_server *s, struct span args)
{
    (void)args;
    smtpd_reply(s, REPLY(250, "2.0.0", "Ok"));
    smtpd_transaction_end(s, false);
}

static void on_noop(struct smtp_server *s, struct span args)
{
    (void)args;
    smtpd_reply(s, REPLY(250, "2.0.0", "Ok"));
}

/* RFC 5321 section 7.3: a site may keep its users to itself. */
static void on_vrfy(struct smtp_server *s, struct span args)
{
    if (args.n == 0)
        smtpd_error(s, REPLY(501, "5.5.4", "Syntax: VRFY address"));
    else
        smtpd_reply(s, REPLY(252, "2.0.0", "Cannot VRFY user, but will take mail for delivery"));
}

static void on_help(struct smtp_server *s, struct span args)
{
    (void)args;
    smtpd_reply(s,
                REPLY(214, "2.0.0", "EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT"));
}

static void on_quit(struct smtp_server *s, struct span args)
{
    (void)args;
    smtpd_close(s, REPLY(221, "2.0.0", "Bye"));
}

static void on_unimplemented(struct smtp_server *s, struct span args)
{
    (void)args;
    smtpd_error(s, REPLY(502, "5.5.1", "Command not implemented"));
}
