/* One mail transaction of the SMTP client machine: RSET where something is left over, MAIL, RCPT.., DATA, the
 * dot, and what the replies mean for each recipient. With PIPELINING (RFC 2920) commands go out in groups,
 * with at most SMTP_CLIENT_WINDOW unanswered RCPTs; DATA ends the last group. Runs on the session's thread.
 */
#include "node/smtp/client_impl.h"

#include "base/ensure.h"
#include "base/text.h"

#include <stdlib.h>

/* Arrays of more recipients than this are given back after their transaction. */
enum { KEEP_RCPTS = 16 };

static bool is_class(const struct smtp_client *c, unsigned class)
{
    return c->parser.reply.code / 100 == class;
}

static enum smtp_client_class reply_class(const struct smtp_client *c)
{
    return is_class(c, 5) ? SMTP_CLIENT_PERMANENT : SMTP_CLIENT_TEMPORARY;
}

void smtp_transaction_free(struct smtp_client *c)
{
    free(c->results);
    free(c->steps);
    c->results = NULL;
    c->steps = NULL;
    c->cap = 0;
}

static bool arrays_reserve(struct smtp_client *c, uint32_t n)
{
    if (n > c->cap) {
        uint32_t cap = n < 4 ? 4 : n;
        smtp_transaction_free(c);
        c->results = malloc(cap * sizeof *c->results);
        c->steps = malloc(cap * sizeof *c->steps);
        if (c->results == NULL || c->steps == NULL) {
            smtp_transaction_free(c);
            return false;
        }
        c->cap = cap;
    }
    memset(c->steps, RCPT_UNSENT, n);
    return true;
}

static void settle(struct smtp_client *c, uint32_t i, const struct smtp_client_result *r)
{
    smtp_result_copy(&c->results[i], r);
    c->steps[i] = RCPT_SETTLED;
}

void smtp_transaction_settle(struct smtp_client *c, const struct smtp_client_result *r)
{
    for (uint32_t i = 0; i < c->mail->nrcpts; i++)
        if (c->steps[i] != RCPT_SETTLED)
            settle(c, i, r);
}

static void finish(struct smtp_client *c)
{
    c->state = STATE_RESULT;
    c->want = SMTP_CLIENT_WANT_RESULT;
    c->progress++;
}

/* ---- what this server cannot take
 * ------------------------------------------------------------------------------ */

/* True with the refusal in r. */
static bool refuse_locally(const struct smtp_client *c, struct smtp_client_result *r)
{
    const struct smtp_client_mail *m = c->mail;
    unsigned bits = c->caps.bits;
    unsigned code = 0;
    const char *enhanced = "", *text = "";
    if (!smtp_client_address_sendable(m->from)) {
        code = 553, enhanced = "5.1.7", text = "control character in the sender's address";
    } else if ((m->smtputf8 || !text_ascii(m->from)) && (bits & CAP_SMTPUTF8) == 0) {
        code = 553, enhanced = "5.6.7", text = "the message needs SMTPUTF8, which this server does not offer";
    } else if (m->requiretls && (!c->tls_active || !m->authenticated)) { /* RFC 8689 section 4.2 */
        code = 550, enhanced = "5.7.10",
        text = "the message needs REQUIRETLS, but this server cannot be authenticated by TLS";
    } else if (m->requiretls && (bits & CAP_REQUIRETLS) == 0) {
        code = 550, enhanced = "5.7.30",
        text = "the message needs REQUIRETLS, which this server does not offer";
    } else if (m->content_8bit && (bits & CAP_8BITMIME) == 0 && c->config.eightbit_bounce) {
        code = 554, enhanced = "5.6.3", text = "the message needs 8BITMIME, which this server does not offer";
    } else if (c->caps.size > 0 && m->size > c->caps.size) {
        smtp_result_local(r, SMTP_CLIENT_PERMANENT, SMTP_CLIENT_STAGE_MAIL, 552, "5.3.4",
                          "the message has %llu bytes, this server takes up to %llu",
                          (unsigned long long)m->size, (unsigned long long)c->caps.size);
        return true;
    }
    if (code != 0)
        smtp_result_local(r, SMTP_CLIENT_PERMANENT, SMTP_CLIENT_STAGE_MAIL, code, enhanced, "%s", text);
    return code != 0;
}

static struct span domain_of(struct span address)
{
    const char *at = address.n == 0 ? NULL : memrchr(address.p, '@', address.n);
    return at == NULL ? address : span_sub(address, (size_t)(at - address.p) + 1);
}

/* RFC 9422 section 4.3: recipients of further domains wait for the next transaction. */
static void limit_domains(struct smtp_client *c, const struct smtp_client_result *r)
{
    struct span seen[16];
    uint32_t max = c->caps.rcpt_domain_max, n = 0;
    if (max > sizeof seen / sizeof seen[0])
        max = sizeof seen / sizeof seen[0];
    for (uint32_t i = 0; i < c->mail->nrcpts; i++) {
        struct span domain = domain_of(c->mail->rcpts[i].address);
        uint32_t k = 0;
        if (c->steps[i] == RCPT_SETTLED)
            continue;
        while (k < n && !span_eq_nocase(seen[k], domain))
            k++;
        if (k < n)
            continue;
        if (n < max)
            seen[n++] = domain;
        else
            settle(c, i, r);
    }
}

/* Settles those that cannot be asked for, or not in this transaction. */
static void choose_rcpts(struct smtp_client *c)
{
    struct smtp_client_result r;
    c->utf8 = c->mail->smtputf8 || !text_ascii(c->mail->from);
    for (uint32_t i = 0; i < c->mail->nrcpts; i++) {
        struct span address = c->mail->rcpts[i].address;
        if (!smtp_client_address_sendable(address)) {
            smtp_result_local(&r, SMTP_CLIENT_PERMANENT, SMTP_CLIENT_STAGE_RCPT, 553, "5.1.3",
                              "control character in the address");
            settle(c, i, &r);
        } else if (!text_ascii(address) && (c->caps.bits & CAP_SMTPUTF8) == 0) {
            smtp_result_local(&r, SMTP_CLIENT_PERMANENT, SMTP_CLIENT_STAGE_RCPT, 553, "5.6.7",
                              "the address needs SMTPUTF8, which this server does not offer");
            settle(c, i, &r);
        } else {
            c->utf8 |= !text_ascii(address);
        }
    }
    smtp_result_local(&r, SMTP_CLIENT_NOT_TRIED, SMTP_CLIENT_STAGE_RCPT, 452, "4.5.3",
                      "over the server's limit of one transaction");
    if (c->caps.rcpt_domain_max > 0)
        limit_domains(c, &r);
    uint32_t chosen = 0;
    for (uint32_t i = 0; i < c->mail->nrcpts; i++) {
        if (c->steps[i] == RCPT_SETTLED)
            continue;
        if (c->caps.rcpt_max > 0 && chosen == c->caps.rcpt_max)
            settle(c, i, &r);
        else
            chosen++;
    }
}

static bool all_settled(const struct smtp_client *c)
{
    for (uint32_t i = 0; i < c->mail->nrcpts; i++)
        if (c->steps[i] != RCPT_SETTLED)
            return false;
    return true;
}

/* ---- sending
 * ----------------------------------------------------------------------------------------------------- */

/* Which reply comes next; it is what deadlines and a lost connection refer to. */
static enum smtp_client_stage stage_due(const struct smtp_client *c)
{
    if (c->rset_asked)
        return SMTP_CLIENT_STAGE_RSET;
    if (!c->mail_answered)
        return SMTP_CLIENT_STAGE_MAIL;
    return c->rcpts_asked > 0 ? SMTP_CLIENT_STAGE_RCPT : SMTP_CLIENT_STAGE_DATA;
}

static void command_sent(struct smtp_client *c)
{
    smtp_client_sent(c, STATE_ENVELOPE, stage_due(c));
}

/* Asks for further recipients while there is room in the window, then for DATA. Without PIPELINING there is
 * one command at a time. */
static void pump(struct smtp_client *c)
{
    bool pipelining = (c->caps.bits & CAP_PIPELINING) != 0;
    uint32_t window = pipelining ? SMTP_CLIENT_WINDOW : 1;
    if (c->mail_refused || (!pipelining && c->outstanding > 0))
        return;
    while (c->rcpt_next < c->mail->nrcpts && c->rcpts_asked < window && !c->no_more_rcpts) {
        if (c->out->len > SMTP_CLIENT_OUT_ENOUGH && c->rcpts_asked > 0)
            return; /* long ORCPTs: the rest follows when the first are answered */
        uint32_t i = c->rcpt_next++;
        if (c->steps[i] == RCPT_SETTLED)
            continue;
        c->steps[i] = RCPT_ASKED;
        c->rcpts_asked++;
        smtp_client_put_rcpt(c, &c->mail->rcpts[i]);
        command_sent(c);
    }
    bool asked_all = c->rcpt_next == c->mail->nrcpts || c->no_more_rcpts;
    if (!asked_all || c->data_asked || (!pipelining && c->outstanding > 0))
        return;
    if (c->rcpts_accepted > 0 || c->rcpts_asked > 0) {
        buf_put_str(c->out, "DATA\r\n");
        c->data_asked = true;
        command_sent(c);
    }
}

void smtp_client_send(struct smtp_client *c, const struct smtp_client_mail *mail)
{
    struct smtp_client_result r;
    ensure(c->want == SMTP_CLIENT_WANT_MAIL);
    ensure(mail->nrcpts > 0);
    if (!arrays_reserve(c, mail->nrcpts)) {
        smtp_result_local(&r, SMTP_CLIENT_TEMPORARY, SMTP_CLIENT_STAGE_MAIL, 451, "4.3.0", "out of memory");
        smtp_client_end(c, &r); /* there is no room to say it per recipient */
        return;
    }
    c->mail = mail;
    c->mail_answered = c->mail_refused = c->data_asked = c->no_more_rcpts = false;
    c->rcpt_next = c->rcpt_answer = c->rcpts_asked = c->rcpts_accepted = 0;
    if (smtp_reply_parser_partial(&c->parser)) {
        /* it is saying something already, most likely good-bye; what follows would not be our answers */
        smtp_result_local(&r, SMTP_CLIENT_NOT_TRIED, SMTP_CLIENT_STAGE_MAIL, 451, "4.5.0",
                          "unexpected reply");
        smtp_client_end(c, &r);
        return;
    }
    if (refuse_locally(c, &r))
        smtp_transaction_settle(c, &r);
    else
        choose_rcpts(c);
    if (all_settled(c)) {
        finish(c);
        return;
    }
    c->rset_asked = c->rset_first;
    if (c->rset_first) {
        c->rset_first = false;
        buf_put_str(c->out, "RSET\r\n");
        command_sent(c);
        if ((c->caps.bits & CAP_PIPELINING) == 0)
            return;
    }
    smtp_client_put_mail(c);
    c->transactions++;
    command_sent(c);
    pump(c);
    smtp_client_check_out(c);
}

/* ---- replies
 * ------------------------------------------------------------------------------------------------------ */

/* Nothing was accepted: the transaction ends here. */
static void finish_without_data(struct smtp_client *c)
{
    c->rset_first = true;
    finish(c);
}

static void on_rset(struct smtp_client *c)
{
    c->rset_asked = false;
    if (!is_class(c, 2)) {
        /* MAIL may have begun where something of the last transaction stands: another connection is clean */
        struct smtp_client_result r;
        smtp_result_reply(&r, SMTP_CLIENT_NOT_TRIED, SMTP_CLIENT_STAGE_RSET, &c->parser.reply);
        smtp_client_end(c, &r);
        return;
    }
    c->stage = stage_due(c);
    if (c->outstanding == 0) {
        smtp_client_put_mail(c);
        c->transactions++;
        command_sent(c);
    }
}

static void on_mail(struct smtp_client *c)
{
    c->mail_answered = true;
    c->settled_transactions++;
    if (!is_class(c, 2)) {
        struct smtp_client_result r;
        smtp_result_reply(&r, reply_class(c), SMTP_CLIENT_STAGE_MAIL, &c->parser.reply);
        smtp_transaction_settle(c, &r);
        c->mail_refused = true;
        c->no_more_rcpts = true; /* the answers to what went out with MAIL are still to come */
    }
}

/* "Too many recipients" (RFC 5321 section 4.5.3.1.10), not something about this one: 452 unless its enhanced
 * code names the mailbox or the system, or any refusal with X.5.3. */
static bool is_too_many(const struct smtp_reply_text *r)
{
    if (r->enhanced[0] != 0)
        return r->enhanced[1] == 5 && r->enhanced[2] == 3
                   ? true
                   : r->code == 452 && r->enhanced[1] != 2 && r->enhanced[1] != 3;
    return r->code == 452;
}

static void rcpt_refused(struct smtp_client *c, uint32_t i)
{
    struct smtp_client_result r;
    smtp_result_reply(&r, reply_class(c), SMTP_CLIENT_STAGE_RCPT, &c->parser.reply);
    if (r.reply.code == 552) {
        /* the same section: 552 here means 452 */
        r.class = SMTP_CLIENT_TEMPORARY;
        r.reply.code = 452;
        if (r.reply.enhanced[0] == 5)
            r.reply.enhanced[0] = 4;
    }
    if (c->rcpts_accepted > 0 && is_too_many(&r.reply)) {
        r.class = SMTP_CLIENT_NOT_TRIED;
        c->no_more_rcpts = true;
        for (; c->rcpt_next < c->mail->nrcpts; c->rcpt_next++)
            if (c->steps[c->rcpt_next] != RCPT_SETTLED)
                settle(c, c->rcpt_next, &r);
    }
    settle(c, i, &r);
}

static void on_rcpt(struct smtp_client *c)
{
    c->rcpts_asked--;
    if (c->mail_refused)
        return;
    while (c->steps[c->rcpt_answer] != RCPT_ASKED)
        c->rcpt_answer++;
    uint32_t i = c->rcpt_answer++;
    if (is_class(c, 2)) {
        c->steps[i] = RCPT_ACCEPTED;
        c->rcpts_accepted++;
    } else {
        rcpt_refused(c, i);
    }
}

static void on_data(struct smtp_client *c)
{
    if (is_class(c, 3)) {
        if (c->rcpts_accepted > 0) {
            c->state = STATE_BODY;
            c->stage = SMTP_CLIENT_STAGE_DATA;
            c->want = SMTP_CLIENT_WANT_BODY;
            return;
        }
        /* RFC 2920 section 3.1: it takes a message for nobody; give it an empty one */
        buf_put_str(c->out, ".\r\n");
        smtp_client_sent(c, STATE_LONE_DOT, SMTP_CLIENT_STAGE_DOT);
        return;
    }
    if (is_class(c, 2)) {
        smtp_client_end_protocol(c, "unexpected reply");
        return;
    }
    struct smtp_client_result r;
    smtp_result_reply(&r, reply_class(c), SMTP_CLIENT_STAGE_DATA, &c->parser.reply);
    smtp_transaction_settle(c, &r);
    finish_without_data(c);
}

void smtp_client_on_envelope(struct smtp_client *c)
{
    enum smtp_client_stage due = stage_due(c);
    if (due != SMTP_CLIENT_STAGE_DATA && is_class(c, 3)) {
        smtp_client_end_protocol(c, "unexpected reply");
        return;
    }
    if (due == SMTP_CLIENT_STAGE_RSET) {
        on_rset(c);
        return;
    }
    if (due == SMTP_CLIENT_STAGE_DATA) {
        on_data(c);
        return;
    }
    if (due == SMTP_CLIENT_STAGE_MAIL)
        on_mail(c);
    else
        on_rcpt(c);
    pump(c);
    c->stage = stage_due(c);
    if (c->outstanding == 0)
        finish_without_data(c);
}

void smtp_client_body_sent(struct smtp_client *c)
{
    if (c->want == SMTP_CLIENT_WANT_CLOSE)
        return;
    ensure(c->want == SMTP_CLIENT_WANT_BODY);
    smtp_client_sent(c, STATE_DOT, SMTP_CLIENT_STAGE_DOT);
    if (smtp_reply_parser_partial(&c->parser))
        smtp_client_end_protocol(c, "reply before the end of the message");
}

void smtp_client_body_failed(struct smtp_client *c, const char *why)
{
    struct smtp_client_result r;
    if (c->want == SMTP_CLIENT_WANT_CLOSE)
        return;
    ensure(c->want == SMTP_CLIENT_WANT_BODY);
    smtp_result_local(&r, SMTP_CLIENT_TEMPORARY, SMTP_CLIENT_STAGE_DATA, 451, "4.3.0", "%s", why);
    smtp_client_end(c, &r);
}

/* A server that gives up in the middle may say why. One that says yes has not seen the message. */
void smtp_client_on_early_end(struct smtp_client *c)
{
    struct smtp_client_result r;
    if (is_class(c, 2) || is_class(c, 3)) {
        smtp_client_end_protocol(c, "reply before the end of the message");
        return;
    }
    smtp_result_reply(&r, reply_class(c), SMTP_CLIENT_STAGE_DATA, &c->parser.reply);
    smtp_client_end(c, &r);
}

void smtp_client_on_dot(struct smtp_client *c)
{
    struct smtp_client_result r;
    if (is_class(c, 3)) {
        smtp_client_end_protocol(c, "unexpected reply");
        return;
    }
    enum smtp_client_class class = is_class(c, 2) ? SMTP_CLIENT_OK : reply_class(c);
    smtp_result_reply(&r, class, SMTP_CLIENT_STAGE_DOT, &c->parser.reply);
    smtp_transaction_settle(c, &r);
    finish(c);
}

/* Whatever it says, nobody was to get it. */
void smtp_client_on_lone_dot(struct smtp_client *c)
{
    finish(c);
    c->ending = c->parser.reply.code == 421;
}

void smtp_client_next(struct smtp_client *c)
{
    ensure(c->want == SMTP_CLIENT_WANT_RESULT || c->want == SMTP_CLIENT_WANT_CLOSE);
    c->mail = NULL;
    if (c->cap > KEEP_RCPTS)
        smtp_transaction_free(c);
    c->progress++;
    if (c->want == SMTP_CLIENT_WANT_CLOSE)
        return;
    if (c->ending) {
        c->state = STATE_CLOSED;
        c->want = SMTP_CLIENT_WANT_CLOSE;
        return;
    }
    c->state = STATE_READY;
    c->stage = SMTP_CLIENT_STAGE_MAIL;
    c->want = SMTP_CLIENT_WANT_MAIL;
    if (c->caps.mail_max > 0 && c->transactions >= c->caps.mail_max)
        smtp_client_quit(c);
}
