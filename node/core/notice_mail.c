/* A notice to a tenant as a message. Pure. */
#include "base/text.h"
#include "node/core/notice.h"
#include "node/mail/date.h"
#include "node/policy/policy.h"

static void put_records(const struct notice_mail *m, const char *ip, struct buf *out)
{
    char reverse[80];
    buf_printf(out, "    %s. PTR mail.your-domain.example.\r\n", ip_reverse_name(&m->client, reverse));
    if (m->forward)
        buf_printf(out, "    mail.your-domain.example. %s %s\r\n", m->client.family == 6 ? "AAAA" : "A", ip);
}

int notice_mail_put(const struct notice_mail *m, struct buf *out, uint32_t *header_bytes)
{
    char date[MAIL_DATE_TEXT], ip[IP_TEXT_MAX];
    size_t from = out->len;
    ip_addr_format(&m->client, ip);
    mail_date_format(m->now_ms, 0, date);
    buf_printf(out, "From: Postmaster <%s>\r\nTo: <%s>\r\nDate: %s\r\nMessage-ID: %s\r\n", m->from, m->to,
               date, m->message_id);
    buf_printf(out,
               "Subject: Mail of your server %s waits: it needs reverse DNS\r\nAuto-Submitted: "
               "auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n",
               ip);
    *header_bytes = (uint32_t)(out->len - from);
    buf_printf(out, "Your mail server at\r\n\r\n    %s\r\n\r\nsends through %s", ip, m->name);
    if (text_ascii(span_str(m->account)))
        buf_printf(out, "\r\nas %s", m->account);
    buf_printf(out,
               ". Its mail is not\r\naccepted just now, but deferred with the reply\r\n\r\n    %s\r\n\r\n"
               "Nothing is lost yet: your server keeps the mail and tries again, usually for\r\nsome days. "
               "Then it returns it to the senders.\r\n\r\n",
               m->reply);
    buf_printf(
        out,
        "What to do: let the address have a name. Whoever gave you the address (mostly\r\nyour internet "
        "provider) can make such a record%s:\r\n\r\n",
        m->forward ? "; the name must lead back to the\r\naddress, which is a record in your own domain"
                   : "");
    put_records(m, ip, out);
    buf_put_str(out, "\r\nThe mail goes through some minutes after the record can be seen. Until then you\r\n"
                     "get this notice at most once a day for each of your servers.\r\n");
    return buf_err(out);
}

int notice_over_put(const struct notice_over_mail *m, struct buf *out, uint32_t *header_bytes)
{
    static const char *const subjects[] = { [POLICY_OVER_DEFER] = "Your mail waits",
                                            [POLICY_OVER_REJECT] = "Your mail is not accepted",
                                            [POLICY_OVER_HOLD] = "Your mail is held" };
    static const char *const words[] = {
        [POLICY_OVER_DEFER] = "What is beyond it is not accepted for now. Mail servers keep such mail and try again by\r\n"
                              "themselves; in a mail program, send it again later.",
        [POLICY_OVER_REJECT] = "What is beyond it is refused, and comes back to you. Send it again later.",
        [POLICY_OVER_HOLD] = "What is beyond it was accepted, and is held: your postmaster looks at it, and lets it go\r\n"
                             "or deletes it. There is no need to send it again.",
    };
    char date[MAIL_DATE_TEXT], wait[32];
    size_t from = out->len;
    mail_date_format(m->now_ms, 0, date);
    text_format_duration(m->retry_ms < 1000 ? 1000 : m->retry_ms, wait, sizeof wait);
    buf_printf(out, "From: Postmaster <%s>\r\nTo: <%s>\r\nDate: %s\r\nMessage-ID: %s\r\n", m->from, m->to,
               date, m->message_id);
    buf_printf(out,
               "Subject: %s: limit %s is reached\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
               "Content-Type: text/plain; charset=us-ascii\r\n\r\n",
               subjects[m->over], m->limit);
    *header_bytes = (uint32_t)(out->len - from);
    buf_put_str(out, "You have sent mail to as many recipients as you may for now");
    if (text_ascii(span_str(m->account)))
        buf_printf(out, ", as\r\n%s", m->account);
    buf_printf(out, ":\r\n\r\n    %s\r\n\r\n%s\r\n", m->words, words[m->over]);
    if (m->held > 0)
        buf_printf(out, "\r\nOf your message %u of %u recipients are held; to the others it is sent.\r\n\r\n",
                   m->held, m->recipients);
    buf_printf(out, "You may send more in about %s.\r\n\r\n", wait);
    buf_printf(out,
               "Is it not you who sends so much? Then somebody else uses your account: change its\r\npassword now, "
               "and tell your postmaster, <%s>.\r\n\r\nYou get this notice once for each limit while it lasts, at most "
               "once an hour.\r\n",
               m->from);
    return buf_err(out);
}
