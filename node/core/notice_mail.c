/* A notice to a tenant as a message. Pure. */
#include "base/text.h"
#include "node/core/notice.h"
#include "node/mail/date.h"

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
