/* The words and fields of a delivery report. Written for somebody who sent a mail and knows nothing of mail
 * servers: what happened, to whom, what to do; the server's own words come last. Any thread.
 */
#include "node/mail/dsn_impl.h"

#include "node/mail/date.h"

/* An address type; the longest in use is "unknown". */
enum { TYPE_MAX = 64 };

bool mail_dsn_has(const struct mail_dsn *d, enum mail_dsn_action action)
{
    for (uint32_t i = 0; i < d->nrcpts; i++)
        if (d->rcpts[i].action == action)
            return true;
    return false;
}

const char *mail_dsn_subject(const struct mail_dsn *d)
{
    if (mail_dsn_has(d, MAIL_DSN_FAILED))
        return "Undelivered mail returned to sender";
    if (mail_dsn_has(d, MAIL_DSN_DELAYED))
        return "Delayed mail (still being retried)";
    return "Your mail was passed on";
}

void mail_dsn_put_intro(struct buf *out, const struct mail_dsn *d)
{
    char date[MAIL_DATE_TEXT];
    mail_date_format(d->original->arrival_ms, 0, date);
    buf_put_str(out, "This is the mail system at ");
    mail_dsn_put_plain(out, d->reporting_mta, MAIL_DSN_UTF8);
    buf_put_str(out, ".\r\n\r\nIt is about the message that you sent on\r\n");
    buf_put_str(out, date);
    if (d->original->message_id.n > 0 && d->original->message_id.n < 200) {
        buf_put_str(out, "\r\n(Message-ID ");
        mail_dsn_put_plain(out, d->original->message_id, MAIL_DSN_UTF8);
        buf_put_char(out, ')');
    }
    buf_put_str(out, ".\r\n");
    if (mail_dsn_has(d, MAIL_DSN_FAILED))
        buf_put_str(out, "\r\nIt could NOT be delivered to those marked so below, for the reason given\r\n"
                         "there, and will not be tried again. Please correct what is wrong and send it\r\n"
                         "to them again, or reach them in another way.\r\n");
    if (mail_dsn_has(d, MAIL_DSN_DELAYED))
        buf_put_str(out, "\r\nIt could not YET be delivered to those marked so below. This is a notice\r\n"
                         "only: you need not send it again. It will be tried further, and you will\r\n"
                         "hear again if that fails.\r\n");
    if (mail_dsn_has(d, MAIL_DSN_RELAYED))
        buf_put_str(out, "\r\nYou asked for a confirmation. The message was handed to the next mail\r\n"
                         "server, which sends no confirmations itself; whether it reaches its reader\r\n"
                         "is not known here.\r\n");
    if (mail_dsn_has(d, MAIL_DSN_DELIVERED) || mail_dsn_has(d, MAIL_DSN_EXPANDED))
        buf_put_str(out, "\r\nYou asked for a confirmation: the message was delivered as listed below.\r\n");
    if (d->postmaster.n > 0) {
        buf_put_str(out, "\r\nIf you need help, forward this report to\r\n<");
        mail_dsn_put_plain(out, d->postmaster, MAIL_DSN_UTF8);
        buf_put_str(out, ">.\r\n");
    }
}

/* The reason in plain words, by subject and detail of the status (RFC 3463, RFC 5248). */
static const char *reason(const struct mail_dsn_rcpt *r)
{
    static const struct {
        uint8_t subject, detail;
        const char *text;
    } reasons[] = {
        { 1, 1, "There is no such mailbox. Check the address for typing errors." },
        { 1, 2, "There is no such mail domain. Check the part after the @." },
        { 1, 3, "The address is not written correctly." },
        { 1, 6, "The mailbox has moved and left no new address." },
        { 1, 10, "This domain accepts no mail at all." },
        { 2, 1, "The mailbox is disabled." },
        { 2, 2, "The mailbox is full." },
        { 2, 3, "The message is too big for this mailbox." },
        { 3, 4, "The message is too big for the receiving server." },
        { 4, 1, "The receiving server does not answer." },
        { 4, 2, "The connection to the receiving server broke." },
        { 4, 3, "The domain's name servers do not answer." },
        { 4, 4, "No server could be found that takes mail for this domain." },
        { 4, 6, "The message goes round in a circle between servers." },
        { 4, 7, "It was tried until the time allowed had passed." },
        { 6, 7, "The receiving server does not support international (non-ASCII) addresses." },
        { 7, 1, "The receiving server refuses the message (often: taken for spam, or not allowed)." },
        { 7, 26, "The sender's domain could not be verified by the receiving server." },
    };
    static const char *const subjects[] = {
        "It could not be delivered.",
        "The address was refused.",
        "The mailbox could not take the message.",
        "The receiving server could not take the message.",
        "The receiving server could not be reached.",
        "The receiving server refused the message.",
        "The receiving server refused the message's content.",
        "The receiving server refuses the message for reasons of policy."
    };
    if (r->status[0] == 4 && r->status[1] == 1)
        return "The receiving server does not accept the address at present.";
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].subject == r->status[1] && reasons[i].detail == r->status[2])
            return reasons[i].text;
    return subjects[r->status[1] < 8 ? r->status[1] : 0];
}

void mail_dsn_put_person(struct buf *out, const struct mail_dsn_rcpt *r)
{
    static const char *const done[] = { "NOT delivered", "not YET delivered", "delivered", "handed on",
                                        "expanded" };
    char date[MAIL_DATE_TEXT];
    bool trouble = r->action == MAIL_DSN_FAILED || r->action == MAIL_DSN_DELAYED;
    buf_put_str(out, "\r\n<");
    mail_dsn_put_plain(out, r->address, MAIL_DSN_UTF8);
    buf_put_str(out, ">: ");
    buf_put_str(out, done[r->action]);
    buf_put_str(out, "\r\n");
    if (trouble) {
        buf_put_str(out, "    ");
        mail_dsn_put_folded(out, span_str(reason(r)), MAIL_DSN_UTF8, 4, "    ");
        buf_put_str(out, "\r\n");
    }
    if (r->action == MAIL_DSN_DELAYED && r->retry_until_ms > 0) {
        mail_date_format(r->retry_until_ms, 0, date);
        buf_put_str(out, "    It will be tried until ");
        buf_put_str(out, date);
        buf_put_str(out, ".\r\n");
    }
    if (r->diagnostic.n == 0)
        return;
    buf_put_str(out, "    ");
    if (r->diagnostic_local || r->remote_mta.n == 0) {
        buf_put_str(out, "In detail:");
    } else {
        buf_put_str(out, "The server ");
        mail_dsn_put_plain(out, r->remote_mta, MAIL_DSN_UTF8);
        buf_put_str(out, " said:");
    }
    buf_put_str(out, "\r\n        ");
    mail_dsn_put_folded(out, r->diagnostic, MAIL_DSN_UTF8, 8, "        ");
    buf_put_str(out, "\r\n");
}

static void put_date_field(struct buf *out, const char *name, int64_t ms)
{
    char date[MAIL_DATE_TEXT];
    if (ms <= 0)
        return;
    mail_date_format(ms, 0, date);
    buf_put_str(out, name);
    buf_put_str(out, date);
    buf_put_str(out, "\r\n");
}

static void put_field(struct buf *out, const char *name, struct span value, enum mail_dsn_form form)
{
    if (value.n == 0)
        return;
    buf_put_str(out, name);
    mail_dsn_put_folded(out, value, form, strlen(name), "    ");
    buf_put_str(out, "\r\n");
}

void mail_dsn_put_message_fields(struct buf *out, const struct mail_dsn *d, enum mail_dsn_form form)
{
    buf_put_str(out, "\r\n");
    put_field(out, "Original-Envelope-Id: ", d->original->envid, form);
    put_field(out, "Reporting-MTA: dns; ", d->reporting_mta, form);
    put_date_field(out, "Arrival-Date: ", d->original->arrival_ms);
    put_field(out, "X-Turnpike-Queue-ID: ", d->queue_id, form);
}

/* RFC 6533 section 3: what is in UTF-8 is of the type utf-8, also where an ORCPT called it rfc822; between
 * fields in ASCII such an address is a utf-8-addr-xtext. */
static void put_address_field(struct buf *out, const char *name, struct span type, struct span address,
                              enum mail_dsn_form form)
{
    if (span_eq_nocase(type, SPAN_LIT("rfc822")) && mail_dsn_text_utf8(address))
        type = SPAN_LIT("utf-8");
    if (type.n > TYPE_MAX)
        type.n = TYPE_MAX;
    if (form == MAIL_DSN_ESCAPED && span_eq_nocase(type, SPAN_LIT("utf-8")))
        form = MAIL_DSN_XTEXT;
    buf_put_str(out, name);
    mail_dsn_put_plain(out, type, MAIL_DSN_ASCII);
    buf_put_str(out, "; ");
    mail_dsn_put_plain(out, address, form);
    buf_put_str(out, "\r\n");
}

void mail_dsn_put_rcpt_fields(struct buf *out, const struct mail_dsn_rcpt *r, enum mail_dsn_form form)
{
    buf_put_str(out, "\r\n");
    const char *semi = r->orcpt.n == 0 ? NULL : memchr(r->orcpt.p, ';', r->orcpt.n);
    if (semi != NULL) {
        size_t n = (size_t)(semi - r->orcpt.p);
        put_address_field(out, "Original-Recipient: ", span_of(r->orcpt.p, n), span_sub(r->orcpt, n + 1),
                          form);
    }
    put_address_field(out, "Final-Recipient: ", SPAN_LIT("rfc822"), r->address, form);
    buf_printf(out, "Action: %s\r\nStatus: %u.%u.%u\r\n", mail_dsn_action_name(r->action), r->status[0],
               r->status[1], r->status[2]);
    put_field(out, "Remote-MTA: dns; ", r->remote_mta, form);
    put_field(out, r->diagnostic_local ? "Diagnostic-Code: X-Turnpike; " : "Diagnostic-Code: smtp; ",
              r->diagnostic, form);
    put_date_field(out, "Last-Attempt-Date: ", r->last_attempt_ms);
    if (r->action == MAIL_DSN_DELAYED)
        put_date_field(out, "Will-Retry-Until: ", r->retry_until_ms);
}
