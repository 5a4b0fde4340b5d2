/* DATA and BDAT: content on its way to the shell, and its end. Pure.
 *
 * Content that was refused is read to its end without being given on, so that what follows is a command
 * again. Only when its end cannot be trusted (bare CR, bare LF, NUL) the session ends instead.
 */
#include "base/ensure.h"
#include "base/text.h"
#include "node/smtp/server_impl.h"

#include <inttypes.h>
#include <stdio.h>

#define BDAT_DIGITS_MAX 20 /* RFC 3030 section 2 */

static const struct smtp_reply no_rcpts = { 554, "5.5.1", "No valid recipients" };
static const struct smtp_reply need_mail = { 503, "5.5.1", "Need MAIL and RCPT first" };
static const struct smtp_reply need_rcpt = { 503, "5.5.1", "Need RCPT first" };

/* What a client sent behind a refused DATA is the content, or was meant to be run as commands: neither may
 * be. */
static void refuse_data(struct smtp_server *s, const struct smtp_reply *reply)
{
    smtpd_error(s, reply);
    if (s->more_behind && s->state != STATE_CLOSED)
        smtpd_close(s, REPLY(421, "4.7.0", "Content sent before the reply to DATA"));
}

void smtpd_data(struct smtp_server *s)
{
    if (s->state == STATE_MAIL)
        refuse_data(s, s->txn->refused > 0 ? &no_rcpts : &need_rcpt);
    else
        s->want = SMTP_SERVER_WANT_BODY;
}

/* "SIZE" or "SIZE LAST"; false if it is neither. A size over 2^64 counts as that. */
static bool bdat_args(struct span args, uint64_t *size, bool *last)
{
    size_t n = 0;
    while (n < args.n && args.p[n] >= '0' && args.p[n] <= '9')
        n++;
    if (n == 0 || n > BDAT_DIGITS_MAX || (n < args.n && args.p[n] != ' ' && args.p[n] != '\t'))
        return false;
    struct span rest = span_sub(args, n);
    while (rest.n > 0 && (rest.p[0] == ' ' || rest.p[0] == '\t'))
        rest = span_sub(rest, 1);
    *last = rest.n > 0;
    if (text_u64(span_of(args.p, n), size) != 0)
        *size = UINT64_MAX;
    return !*last || span_eq_nocase(rest, SPAN_LIT("LAST"));
}

/* The octets come all the same: they are read, then the reply is given. */
static void bdat_skip(struct smtp_server *s, uint64_t size, const struct smtp_reply *reply)
{
    s->skip = size;
    s->skip_reply = reply;
    s->after_skip = s->state;
    s->state = STATE_SKIP;
}

void smtpd_bdat(struct smtp_server *s, struct span args)
{
    uint64_t size;
    bool last;
    if (!bdat_args(args, &size, &last)) {
        /* where its octets end is not known, and they must not be taken for commands */
        smtpd_close(s, REPLY(521, "5.5.4", "Malformed BDAT command"));
        return;
    }
    struct server_transaction *t = s->txn;
    if (s->state != STATE_RCPT && s->state != STATE_BETWEEN) {
        bdat_skip(s, size, s->state != STATE_MAIL ? &need_mail : t->refused > 0 ? &no_rcpts : &need_rcpt);
        return;
    }
    t->chunk_left = size;
    t->last_chunk = last;
    if (s->state == STATE_RCPT) {
        t->chunking = true;
        s->want = SMTP_SERVER_WANT_BODY;
    } else {
        s->state = STATE_CHUNK;
    }
}

/* Keeps the reply that the content gets at its end; the first one counts. */
static void content_refuse(struct smtp_server *s, const struct smtp_reply *reply, bool closes)
{
    struct server_transaction *t = s->txn;
    t->refusal_closes = t->refusal_closes || closes;
    if (t->refusal.code != 0)
        return;
    t->refusal = *reply;
}

/* A copy in the arena; `otherwise` when there is no room, or no text. */
static const char *keep_text(struct smtp_server *s, const char *text, const char *otherwise)
{
    size_t n = text == NULL ? 0 : strlen(text) + 1;
    char *copy = n == 0 ? NULL : arena_alloc(&s->arena, n);
    return copy == NULL ? otherwise : memcpy(copy, text, n);
}

void smtp_server_on_body(struct smtp_server *s, const struct smtp_reply *refusal)
{
    if (!smtpd_answer_due(s, SMTP_SERVER_WANT_BODY))
        return;
    struct server_transaction *t = s->txn;
    if (!t->chunking && smtpd_is_refusal(refusal)) {
        smtpd_transaction_end(s, false);
        refuse_data(s, refusal);
        return;
    }
    smtp_content_init(&t->content, !t->chunking, s->config->normalise_bare_lf);
    if (t->chunking) {
        s->state = STATE_CHUNK;
    } else {
        s->state = STATE_DATA;
        smtpd_reply(s, REPLY(354, NULL, "End data with <CR><LF>.<CR><LF>"));
    }
    if (smtpd_is_refusal(refusal))
        smtp_server_refuse_content(s, refusal);
}

void smtp_server_refuse_content(struct smtp_server *s, const struct smtp_reply *refusal)
{
    ensure(smtpd_is_refusal(refusal));
    if (s->state == STATE_CLOSED || s->txn == NULL || s->txn->refusal.code != 0)
        return;
    if (s->want == SMTP_SERVER_WANT_COMMIT) {
        smtp_server_on_commit(s, refusal);
        return;
    }
    struct smtp_reply kept = { .code = refusal->code,
                               .enhanced = keep_text(s, refusal->enhanced, NULL),
                               .text = keep_text(s, refusal->text, "Refused") };
    content_refuse(s, &kept, false);
}

/* The content, or this chunk of it, was read to its end and is refused. */
static void content_refused(struct smtp_server *s)
{
    struct smtp_reply refusal = s->txn->refusal;
    bool closes = s->txn->refusal_closes;
    smtpd_transaction_end(s, false);
    smtpd_error(s, &refusal);
    if (closes && s->state != STATE_CLOSED)
        smtpd_close(s, NULL);
}

/* What the scanner found besides the end. True if the session is over. */
static bool content_judge(struct smtp_server *s, enum smtp_content_verdict v)
{
    static const struct smtp_reply bare_cr = { 550, "5.5.2", "Bare CR received" };
    static const struct smtp_reply bare_lf = { 550, "5.5.2", "Bare LF received" };
    static const struct smtp_reply nul = { 550, "5.6.0", "NUL octet in content" };
    static const struct smtp_reply too_big = { 552, "5.3.4", "Message size exceeds the limit" };
    static const struct smtp_reply header = { 552, "5.3.4", "Message header has too many lines" };
    static const struct smtp_reply line = { 500, "5.5.2", "Line too long in content" };
    const struct smtp_content *c = &s->txn->content;
    if (v > SMTP_CONTENT_END) {
        const struct smtp_reply *reply = v == SMTP_CONTENT_NUL       ? &nul
                                         : v == SMTP_CONTENT_BARE_CR ? &bare_cr
                                                                     : &bare_lf;
        s->txn->refusal.code = 0; /* outranks what was found before */
        content_refuse(s, reply, true);
    } else if (c->line_too_long) {
        content_refuse(s, &line, false);
    } else if (c->header_too_long) {
        content_refuse(s, &header, false);
    } else if (c->too_big) {
        content_refuse(s, &too_big, false);
    }
    return v > SMTP_CONTENT_END;
}

static struct smtp_content_limits limits(const struct smtp_server *s)
{
    return (struct smtp_content_limits){ .bytes = s->config->max_message_bytes,
                                         .line_bytes = s->config->max_body_line_bytes,
                                         .header_lines = s->config->max_header_lines };
}

static bool data_step(struct smtp_server *s, const char *p, size_t n, struct smtp_server_result *out,
                      size_t *used)
{
    struct server_transaction *t = s->txn;
    struct smtp_content_limits max = limits(s);
    uint32_t spans = out->nspans;
    enum smtp_content_verdict v = smtp_content_read(&t->content, &max, p, n, out, used);
    bool over = content_judge(s, v);
    if (t->refusal.code != 0)
        out->nspans = spans;
    if (!over && v != SMTP_CONTENT_END)
        return *used > 0;
    s->elements++;
    if (t->refusal.code != 0)
        content_refused(s);
    else
        s->want = SMTP_SERVER_WANT_COMMIT;
    return true;
}

static void chunk_end(struct smtp_server *s)
{
    struct server_transaction *t = s->txn;
    s->elements++;
    if (t->refusal.code != 0) {
        content_refused(s);
    } else if (t->last_chunk) {
        s->want = SMTP_SERVER_WANT_COMMIT;
    } else {
        s->state = STATE_BETWEEN;
        smtpd_reply(s, REPLY(250, "2.0.0", "Ok, chunk received"));
    }
}

static bool chunk_step(struct smtp_server *s, const char *p, size_t n, struct smtp_server_result *out,
                       size_t *used)
{
    struct server_transaction *t = s->txn;
    struct smtp_content_limits max = limits(s);
    size_t take = n < t->chunk_left ? n : (size_t)t->chunk_left;
    uint32_t spans = out->nspans;
    if (spans == SMTP_SERVER_SPANS)
        return false;
    if (t->refusal.code != 0)
        *used = take;
    else if (content_judge(s, smtp_content_read(&t->content, &max, p, take, out, used)))
        *used = take;
    t->chunk_left -= *used;
    bool at_end = t->chunk_left == 0;
    if (at_end && t->last_chunk && t->refusal.code == 0 && out->nspans < SMTP_SERVER_SPANS)
        content_judge(s, smtp_content_finish(&t->content, out));
    else if (at_end && t->last_chunk && t->refusal.code == 0)
        return *used > 0;
    if (t->refusal.code != 0)
        out->nspans = spans;
    if (at_end)
        chunk_end(s);
    return at_end || *used > 0;
}

static bool skip_step(struct smtp_server *s, size_t n, size_t *used)
{
    *used = n < s->skip ? n : (size_t)s->skip;
    s->skip -= *used;
    if (s->skip > 0)
        return *used > 0;
    s->state = s->after_skip;
    s->elements++;
    smtpd_error(s, s->skip_reply);
    return true;
}

bool smtpd_body_step(struct smtp_server *s, const char *p, size_t n, struct smtp_server_result *out,
                     size_t *used)
{
    *used = 0;
    if (s->state == STATE_SKIP)
        return skip_step(s, n, used);
    return s->state == STATE_DATA ? data_step(s, p, n, out, used) : chunk_step(s, p, n, out, used);
}

void smtp_server_on_commit(struct smtp_server *s, const struct smtp_reply *final)
{
    if (!smtpd_answer_due(s, SMTP_SERVER_WANT_COMMIT))
        return;
    bool refused = smtpd_is_refusal(final);
    if (refused) {
        smtpd_error(s, final);
    } else {
        s->errors = s->junk = 0;
        smtpd_reply(s, final != NULL && final->code != 0 ? final : REPLY(250, "2.0.0", "Ok"));
    }
    smtpd_transaction_end(s, true);
}
