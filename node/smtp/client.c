/* The SMTP client machine: its life, its input, its end, and what it tells. What replies mean is decided in
 * client_session.c (greeting to AUTH, QUIT) and client_transaction.c (MAIL to the dot). It has no socket and
 * no clock; it runs on the thread of its shell.
 */
#include "node/smtp/client_impl.h"

#include "base/ensure.h"

#include <stdlib.h>

struct smtp_client *smtp_client_new(const struct smtp_client_config *config, struct buf *out)
{
    ensure(config->ehlo_name != NULL);
    ensure((config->auth_user == NULL) == (config->auth_password == NULL));
    struct smtp_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->config = *config;
    c->out = out;
    smtp_reply_parser_init(&c->parser);
    if (config->tls == SMTP_CLIENT_TLS_WRAPPED) {
        c->state = STATE_TLS;
        c->stage = SMTP_CLIENT_STAGE_TLS;
        c->want = SMTP_CLIENT_WANT_TLS;
    } else {
        smtp_client_sent(c, STATE_BANNER, SMTP_CLIENT_STAGE_BANNER);
    }
    return c;
}

void smtp_client_free(struct smtp_client *c)
{
    if (c == NULL)
        return;
    smtp_transaction_free(c);
    free(c);
}

void smtp_client_sent(struct smtp_client *c, enum state state, enum smtp_client_stage stage)
{
    c->outstanding++;
    c->state = state;
    c->stage = stage;
    c->want = SMTP_CLIENT_WANT_INPUT;
    c->progress++;
}

/* ---- endings
 * ------------------------------------------------------------------------------------------------- */

void smtp_client_end(struct smtp_client *c, const struct smtp_client_result *r)
{
    if (c->mail != NULL && c->state != STATE_RESULT) {
        smtp_transaction_settle(c, r);
    } else if (!c->failed) {
        c->failed = true;
        smtp_result_copy(&c->failure, r);
    }
    c->progress++;
    if (c->state == STATE_RESULT) {
        c->ending = true;
        return;
    }
    c->state = STATE_CLOSED;
    c->want = SMTP_CLIENT_WANT_CLOSE;
}

void smtp_client_end_protocol(struct smtp_client *c, const char *what)
{
    struct smtp_client_result r;
    struct buf got; /* of what was sent instead, as much as helps */
    buf_init(&got, 1024);
    smtp_reply_text_put(&got, &c->parser.reply);
    bool show = got.len > 0;
    smtp_result_local(&r, SMTP_CLIENT_TEMPORARY, c->stage, 451, "4.5.0", "protocol error: %s%s%.*s%s", what,
                      show ? ": \"" : "", got.len > 100 ? 100 : (int)got.len, show ? got.data : "",
                      show ? "\"" : "");
    buf_fini(&got);
    smtp_client_end(c, &r);
}

void smtp_client_end_reply(struct smtp_client *c)
{
    struct smtp_client_result r;
    smtp_result_reply(&r, SMTP_CLIENT_TEMPORARY, c->stage, &c->parser.reply);
    if (r.reply.code != 421)
        buf_put_str(c->out, "QUIT\r\n");
    smtp_client_end(c, &r);
}

void smtp_client_check_out(struct smtp_client *c)
{
    struct smtp_client_result r;
    if (buf_err(c->out) == 0 || c->want == SMTP_CLIENT_WANT_CLOSE)
        return;
    smtp_result_local(&r, SMTP_CLIENT_TEMPORARY, c->stage, 451, "4.3.0", "no room for output");
    smtp_client_end(c, &r);
}

/* 421 may answer anything (RFC 5321 section 3.8), and come without having been asked for. */
static void on_closing(struct smtp_client *c)
{
    struct smtp_client_result r;
    smtp_result_reply(&r, SMTP_CLIENT_TEMPORARY, c->stage, &c->parser.reply);
    /* a connection that has carried a message: often "too many messages", and another one will do */
    if (c->state == STATE_ENVELOPE && !c->mail_answered && c->settled_transactions > 0)
        r.class = SMTP_CLIENT_NOT_TRIED;
    smtp_client_end(c, &r);
}

/* A reply that no command waits for. */
static void on_unsolicited(struct smtp_client *c)
{
    if (c->parser.reply.code == 421 && c->state != STATE_BODY)
        on_closing(c);
    else if (c->state == STATE_BODY)
        smtp_client_on_early_end(c);
    else
        smtp_client_end_protocol(c, "unexpected reply");
}

static void on_reply(struct smtp_client *c)
{
    bool due = c->outstanding > 0 && !c->early;
    c->early = false;
    c->progress++;
    if (!due) {
        on_unsolicited(c);
        return;
    }
    c->outstanding--;
    if (c->parser.reply.code == 421 && c->state != STATE_QUIT && c->state != STATE_LONE_DOT) {
        on_closing(c);
        return;
    }
    static void (*const handlers[])(struct smtp_client *) = {
        [STATE_BANNER] = smtp_client_on_banner,     [STATE_EHLO] = smtp_client_on_ehlo,
        [STATE_HELO] = smtp_client_on_ehlo,         [STATE_STARTTLS] = smtp_client_on_starttls,
        [STATE_AUTH_PLAIN] = smtp_client_on_auth,   [STATE_AUTH_LOGIN] = smtp_client_on_auth,
        [STATE_AUTH_USER] = smtp_client_on_auth,    [STATE_AUTH_PASSWORD] = smtp_client_on_auth,
        [STATE_ENVELOPE] = smtp_client_on_envelope, [STATE_DOT] = smtp_client_on_dot,
        [STATE_LONE_DOT] = smtp_client_on_lone_dot, [STATE_QUIT] = smtp_client_on_quit,
    };
    ensure((size_t)c->state < sizeof handlers / sizeof handlers[0]);
    ensure(handlers[c->state] != NULL);
    handlers[c->state](c);
    smtp_client_check_out(c);
}

enum smtp_client_want smtp_client_input(struct smtp_client *c, const char *p, size_t n)
{
    if (n == 0)
        return c->want;
    const char *end = p + n;
    while (p < end && c->want != SMTP_CLIENT_WANT_CLOSE && !c->ending) {
        size_t used;
        if (c->state == STATE_TLS) {
            /* the answer to an injected command must not be taken for an answer within TLS */
            smtp_client_end_protocol(c, "unexpected bytes before TLS");
            break;
        }
        enum smtp_reply_event event = smtp_reply_parser_feed(&c->parser, p, (size_t)(end - p), &used);
        p += used;
        if (event == SMTP_REPLY_MORE)
            break;
        if (event == SMTP_REPLY_BAD) {
            smtp_client_end_protocol(c, c->parser.why);
            break;
        }
        if (c->state == STATE_EHLO && !c->early && c->parser.lines > 1)
            smtp_capabilities_line(&c->caps, c->parser.text);
        if (event != SMTP_REPLY_DONE)
            continue;
        bool last = c->outstanding <= 1;
        on_reply(c);
        c->early = last && p < end;
    }
    return c->want;
}

static const char *doing(const struct smtp_client *c)
{
    static const char *const words[] = {
        [SMTP_CLIENT_STAGE_CONNECT] = "connecting",
        [SMTP_CLIENT_STAGE_BANNER] = "waiting for the greeting",
        [SMTP_CLIENT_STAGE_EHLO] = "sending EHLO",
        [SMTP_CLIENT_STAGE_TLS] = "starting TLS",
        [SMTP_CLIENT_STAGE_AUTH] = "authenticating",
        [SMTP_CLIENT_STAGE_MAIL] = "sending MAIL FROM",
        [SMTP_CLIENT_STAGE_RCPT] = "sending RCPT TO",
        [SMTP_CLIENT_STAGE_DATA] = "sending DATA",
        [SMTP_CLIENT_STAGE_DOT] = "sending the end of the message",
        [SMTP_CLIENT_STAGE_RSET] = "sending RSET",
        [SMTP_CLIENT_STAGE_QUIT] = "sending QUIT",
    };
    if (c->state == STATE_READY)
        return "idle";
    return c->state == STATE_BODY ? "sending the message" : words[c->stage];
}

void smtp_client_on_closed(struct smtp_client *c, const char *why)
{
    struct smtp_client_result r;
    if (c->want == SMTP_CLIENT_WANT_CLOSE)
        return;
    if (c->state == STATE_QUIT) {
        c->state = STATE_CLOSED;
        c->want = SMTP_CLIENT_WANT_CLOSE;
        return;
    }
    if (c->state == STATE_LONE_DOT) {
        smtp_client_on_lone_dot(c);
        c->ending = true;
        return;
    }
    /* in EHLO too: with TLS 1.3 a server learns late that it does not like the handshake */
    if (c->state == STATE_TLS || c->state == STATE_STARTTLS || (c->state == STATE_EHLO && c->tls_active))
        c->retry_plain = c->config.tls == SMTP_CLIENT_TLS_OPPORTUNISTIC;
    smtp_result_local(&r, SMTP_CLIENT_TEMPORARY, c->stage, 421, "4.4.2", "%s while %s", why, doing(c));
    if (c->state == STATE_DOT)
        smtp_reply_text_add(&r.reply, SPAN_LIT("; the server may have taken the message"));
    if (c->state == STATE_ENVELOPE && !c->mail_answered && c->settled_transactions > 0)
        r.class = SMTP_CLIENT_NOT_TRIED;
    smtp_client_end(c, &r);
}

/* ---- what it tells
 * ------------------------------------------------------------------------------------------- */

enum smtp_client_want smtp_client_want(const struct smtp_client *c)
{
    return c->want;
}

const struct smtp_client_result *smtp_client_results(const struct smtp_client *c)
{
    bool over = c->want == SMTP_CLIENT_WANT_RESULT || c->want == SMTP_CLIENT_WANT_CLOSE;
    return c->mail != NULL && over ? c->results : NULL;
}

const struct smtp_client_result *smtp_client_failure(const struct smtp_client *c)
{
    return c->failed ? &c->failure : NULL;
}

bool smtp_client_retry_plain(const struct smtp_client *c)
{
    return c->retry_plain;
}

static uint32_t or_default(uint32_t ms, uint32_t minutes)
{
    return ms != 0 ? ms : minutes * 60000;
}

uint32_t smtp_client_deadline_ms(const struct smtp_client *c)
{
    const struct smtp_client_timeouts *t = &c->config.timeouts;
    switch (c->state) {
    case STATE_TLS:
        return or_default(t->tls_ms, 1);
    case STATE_BANNER:
        return or_default(t->banner_ms, 5);
    case STATE_EHLO:
    case STATE_HELO:
    case STATE_STARTTLS:
    case STATE_AUTH_PLAIN:
    case STATE_AUTH_LOGIN:
    case STATE_AUTH_USER:
    case STATE_AUTH_PASSWORD:
        return or_default(t->ehlo_ms, 5);
    case STATE_ENVELOPE:
        if (c->stage == SMTP_CLIENT_STAGE_RSET)
            return or_default(t->ehlo_ms, 5);
        if (c->stage == SMTP_CLIENT_STAGE_DATA)
            return or_default(t->data_ms, 2);
        return c->stage == SMTP_CLIENT_STAGE_MAIL ? or_default(t->mail_ms, 5) : or_default(t->rcpt_ms, 5);
    case STATE_BODY:
        return or_default(t->block_ms, 3);
    case STATE_DOT:
    case STATE_LONE_DOT:
        return or_default(t->dot_ms, 10);
    case STATE_QUIT:
        return t->quit_ms != 0 ? t->quit_ms : 5000;
    case STATE_READY:
    case STATE_RESULT:
    case STATE_CLOSED:
        break;
    }
    return 0;
}

uint32_t smtp_client_progress(const struct smtp_client *c)
{
    return c->progress;
}

enum smtp_client_stage smtp_client_stage(const struct smtp_client *c)
{
    return c->stage;
}

uint32_t smtp_client_transactions(const struct smtp_client *c)
{
    return c->transactions;
}

bool smtp_client_has_dsn(const struct smtp_client *c)
{
    return (c->caps.bits & CAP_DSN) != 0;
}

bool smtp_client_has_starttls(const struct smtp_client *c)
{
    return (c->caps.bits & CAP_STARTTLS) != 0;
}

bool smtp_client_has_chunking(const struct smtp_client *c)
{
    return (c->caps.bits & CAP_CHUNKING) != 0;
}

bool smtp_client_has_pipelining(const struct smtp_client *c)
{
    return (c->caps.bits & CAP_PIPELINING) != 0;
}

bool smtp_client_has_requiretls(const struct smtp_client *c)
{
    return (c->caps.bits & CAP_REQUIRETLS) != 0;
}

bool smtp_client_has_smtputf8(const struct smtp_client *c)
{
    return (c->caps.bits & CAP_SMTPUTF8) != 0;
}

bool smtp_client_has_8bitmime(const struct smtp_client *c)
{
    return (c->caps.bits & CAP_8BITMIME) != 0;
}

uint64_t smtp_client_size_limit(const struct smtp_client *c)
{
    return c->caps.size;
}

uint32_t smtp_client_rcpt_limit(const struct smtp_client *c)
{
    return c->caps.rcpt_max;
}

struct span smtp_client_banner(const struct smtp_client *c)
{
    return span_of(c->banner.text, c->banner.len);
}
