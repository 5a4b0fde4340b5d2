/* The server session: its life, the step, lines, and the shell's answers. Commands are in server_command.c,
 * AUTH in server_auth.c, content in server_body.c. Pure; runs on the worker that owns the connection.
 */
#include "node/smtp/server.h"

#include "base/ensure.h"
#include "node/smtp/server_impl.h"

#include <stdlib.h>

#define LINE_MAX_LEAST 2048u /* RFC 5321 section 4.5.3.1.4 and what the extensions add to it */
#define AUTH_COMMAND_ROOM 64 /* "AUTH", a mechanism and CRLF around an initial response */

struct smtp_server *smtp_server_new(const struct smtp_server_config *config, struct buf *reply)
{
    ensure(config->hostname != NULL);
    ensure(strlen(config->hostname) <= 255);
    struct smtp_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->config = config;
    s->reply = reply;
    s->tls = config->kind == SMTP_LISTENER_SUBMISSIONS;
    arena_init(&s->arena, SMTP_SERVER_TRANSACTION_MAX);
    return s;
}

void smtp_server_free(struct smtp_server *s)
{
    if (s == NULL)
        return;
    smtpd_auth_end(s);
    arena_reset(&s->arena);
    free(s->helo);
    free(s);
}

void smtpd_reply(struct smtp_server *s, const struct smtp_reply *reply)
{
    smtp_reply_put(s->reply, reply);
}

void smtpd_close(struct smtp_server *s, const struct smtp_reply *reply)
{
    if (reply != NULL)
        smtpd_reply(s, reply);
    s->state = STATE_CLOSED;
    s->want = SMTP_SERVER_WANT_CLOSE;
}

void smtpd_error(struct smtp_server *s, const struct smtp_reply *reply)
{
    if (reply->code >= 500 && ++s->errors > s->config->max_errors && s->config->max_errors != 0)
        smtpd_close(s, REPLY(421, "4.7.0", "Too many errors"));
    else if (reply->code == 421)
        smtpd_close(s, reply);
    else
        smtpd_reply(s, reply);
}

bool smtpd_is_refusal(const struct smtp_reply *reply)
{
    return reply != NULL && reply->code >= 400;
}

void smtpd_transaction_end(struct smtp_server *s, bool told_shell)
{
    if (s->txn == NULL)
        return;
    if (s->state != STATE_CLOSED) {
        s->state = STATE_READY;
        s->want = told_shell ? SMTP_SERVER_WANT_INPUT : SMTP_SERVER_WANT_ABORT;
    }
    s->txn = NULL;
    s->ended = true;
}

bool smtpd_answer_due(struct smtp_server *s, enum smtp_server_want want)
{
    if (s->state == STATE_CLOSED)
        return false;
    ensure(s->want == want);
    s->want = SMTP_SERVER_WANT_INPUT;
    return true;
}

static bool is_auth_command(const char *p, size_t n)
{
    return n >= 5 && span_eq_nocase(span_of(p, 5), SPAN_LIT("AUTH "));
}

/* The longest line that may come now, with its end. */
static size_t line_max(const struct smtp_server *s, const char *p, size_t n)
{
    if (s->state == STATE_AUTH)
        return SMTP_SERVER_AUTH_LINE_MAX + 2;
    if (is_auth_command(p, n))
        return SMTP_SERVER_AUTH_LINE_MAX + AUTH_COMMAND_ROOM;
    return s->config->max_line_bytes < LINE_MAX_LEAST ? LINE_MAX_LEAST : s->config->max_line_bytes;
}

static void line_too_long(struct smtp_server *s, bool auth_command)
{
    s->skipping_line = true;
    if (s->state == STATE_AUTH)
        smtpd_auth_too_long(s);
    else if (auth_command)
        smtpd_error(s, REPLY(500, "5.5.6", "Authentication exchange line is too long"));
    else
        smtpd_error(s, REPLY(500, "5.5.2", "Line too long"));
}

/* One line, or the rest of one that was too long: what it took, 0 if there is no whole one. */
static size_t line_step(struct smtp_server *s, const char *p, size_t n)
{
    size_t max = line_max(s, p, n);
    size_t look = s->skipping_line || n < max ? n : max;
    const char *lf = look == 0 ? NULL : memchr(p, '\n', look);
    if (lf == NULL) {
        if (s->skipping_line)
            return n;
        if (n < max)
            return 0;
        line_too_long(s, is_auth_command(p, n));
        return max;
    }
    size_t used = (size_t)(lf + 1 - p);
    s->elements++;
    if (s->skipping_line) {
        s->skipping_line = false;
        return used;
    }
    bool crlf = lf > p && lf[-1] == '\r';
    struct span line = span_of(p, used - (crlf ? 2 : 1));
    s->more_behind = used < n;
    if (!crlf &&
        !s->config->normalise_bare_lf) /* another reader of this stream may see other commands in it */
        smtpd_close(s, REPLY(550, "5.5.2", "Bare LF received"));
    else if (s->state == STATE_AUTH)
        smtpd_auth_line(s, line);
    else
        smtpd_command(s, line);
    return used;
}

/* One turn; false when nothing more can be done with this input. */
static bool turn(struct smtp_server *s, const char *p, size_t n, struct smtp_server_result *out, size_t *used)
{
    if (s->state == STATE_DATA || s->state == STATE_CHUNK || s->state == STATE_SKIP)
        return smtpd_body_step(s, p, n, out, used);
    *used = line_step(s, p, n);
    return *used > 0;
}

void smtp_server_step(struct smtp_server *s, const char *p, size_t n, struct smtp_server_result *out)
{
    ensure(s->state != STATE_START);
    out->consumed = 0;
    out->nspans = 0;
    if (s->ended && s->want != SMTP_SERVER_WANT_ABORT) {
        s->ended = false;
        arena_reset(&s->arena);
    }
    if (p == NULL)
        p = "";
    size_t used;
    while (s->want == SMTP_SERVER_WANT_INPUT && turn(s, p + out->consumed, n - out->consumed, out, &used)) {
        out->consumed += used;
        ensure(out->consumed <= n);
    }
    if (s->drop_input) {
        s->drop_input = false;
        out->consumed = n;
    }
    if (buf_err(s->reply) !=
        0) /* the client reads no replies, or there is no memory: the shell lets go of it */
        smtpd_close(s, NULL);
    out->want = (enum smtp_server_want)s->want;
    if (s->want == SMTP_SERVER_WANT_ABORT)
        s->want = SMTP_SERVER_WANT_INPUT;
}

void smtp_server_helo_strict(struct smtp_server *s)
{
    s->helo_strict = true;
}

void smtp_server_greet(struct smtp_server *s, const struct smtp_reply *refusal)
{
    ensure(s->state == STATE_START);
    s->state = STATE_HELLO;
    if (smtpd_is_refusal(refusal)) {
        smtpd_close(s, refusal);
        return;
    }
    char text[300];
    size_t n = strlen(s->config->hostname);
    memcpy(text, s->config->hostname, n);
    memcpy(text + n, " ESMTP", sizeof " ESMTP");
    smtpd_reply(s, REPLY(220, NULL, text));
}

void smtp_server_greet_early(struct smtp_server *s)
{
    smtp_server_greet(s, REPLY(554, "5.5.0", "SMTP protocol synchronization: you spoke before the greeting"));
}

/* RFC 3207 section 4.2: nothing that was said before counts. */
void smtp_server_on_tls(struct smtp_server *s, bool ok)
{
    if (!smtpd_answer_due(s, SMTP_SERVER_WANT_TLS))
        return;
    if (!ok) {
        smtpd_close(s, NULL);
        return;
    }
    free(s->helo);
    s->helo = NULL;
    s->tls = true;
    s->esmtp = s->authenticated = false;
    s->state = STATE_HELLO;
}

void smtp_server_on_mail(struct smtp_server *s, const struct smtp_reply *refusal)
{
    if (!smtpd_answer_due(s, SMTP_SERVER_WANT_MAIL))
        return;
    if (smtpd_is_refusal(refusal)) {
        smtpd_transaction_end(s, true);
        smtpd_error(s, refusal);
        return;
    }
    s->state = STATE_MAIL;
    s->messages++;
    smtpd_reply(s, refusal != NULL && refusal->code != 0 ? refusal : REPLY(250, "2.1.0", "Ok"));
}

void smtp_server_on_rcpt(struct smtp_server *s, const struct smtp_reply *refusal)
{
    if (!smtpd_answer_due(s, SMTP_SERVER_WANT_RCPT))
        return;
    struct server_transaction *t = s->txn;
    if (smtpd_is_refusal(refusal)) {
        t->refused++;
        smtpd_error(s, refusal);
        t->has_rcpt = false;
        arena_rewind(&s->arena, t->rcpt_mark);
        return;
    }
    t->accepted++;
    s->state = STATE_RCPT;
    s->junk = 0;
    smtpd_reply(s, refusal != NULL && refusal->code != 0 ? refusal : REPLY(250, "2.1.5", "Ok"));
}

void smtp_server_quit(struct smtp_server *s, const struct smtp_reply *reply)
{
    if (s->state != STATE_CLOSED)
        smtpd_close(s, reply);
}

enum smtp_server_phase smtp_server_phase(const struct smtp_server *s)
{
    if (s->want != SMTP_SERVER_WANT_INPUT)
        return SMTP_SERVER_PHASE_WAIT;
    if (s->state == STATE_DATA || s->state == STATE_CHUNK || s->state == STATE_SKIP)
        return SMTP_SERVER_PHASE_BODY;
    return s->state == STATE_AUTH ? SMTP_SERVER_PHASE_AUTH : SMTP_SERVER_PHASE_COMMAND;
}

uint64_t smtp_server_elements(const struct smtp_server *s)
{
    return s->elements;
}

struct span smtp_server_helo(const struct smtp_server *s)
{
    return span_str(s->helo == NULL ? "" : s->helo);
}

bool smtp_server_esmtp(const struct smtp_server *s)
{
    return s->esmtp;
}

bool smtp_server_tls(const struct smtp_server *s)
{
    return s->tls;
}

bool smtp_server_authenticated(const struct smtp_server *s)
{
    return s->authenticated;
}

bool smtp_server_in_transaction(const struct smtp_server *s)
{
    return s->txn != NULL;
}

uint32_t smtp_server_rcpts_accepted(const struct smtp_server *s)
{
    return s->txn == NULL ? 0 : s->txn->accepted;
}

uint32_t smtp_server_errors(const struct smtp_server *s)
{
    return s->errors;
}

const struct smtp_server_auth *smtp_server_auth(const struct smtp_server *s)
{
    return s->auth == NULL ? NULL : &s->auth->fields;
}

const struct smtp_server_mail *smtp_server_mail(const struct smtp_server *s)
{
    return s->txn == NULL ? NULL : &s->txn->mail;
}

const struct smtp_server_rcpt *smtp_server_rcpt(const struct smtp_server *s)
{
    return s->txn == NULL || !s->txn->has_rcpt ? NULL : &s->txn->rcpt;
}
