/* Our Received field. Any thread. */
#include "node/mail/received.h"

#include "base/text.h"
#include "node/mail/date.h"

const char *mail_protocol(bool esmtp, bool tls, bool auth, bool smtputf8)
{
    static const char *const names[2][4] = { { "ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA" },
                                             { "UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA" } };
    if (!esmtp)
        return "SMTP";
    return names[smtputf8][(tls ? 1 : 0) + (auth ? 2 : 0)];
}

/* Names and addresses as a client gives them: nothing that ends a line, a comment or the clause. */
static void put_name(struct buf *out, struct span s, bool utf8)
{
    for (size_t i = 0; i < s.n && i < 255;) {
        unsigned char c = (unsigned char)s.p[i];
        size_t len = c < 0x80 ? 1 : utf8 ? text_utf8_len(s.p + i, s.n - i) : 0;
        bool good = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
                    (c >= 0x80 && len > 1) || (c != '\0' && strchr(".-_:[]", (char)c) != NULL);
        buf_put(out, good ? s.p + i : "?", good ? len : 1);
        i += good ? len : 1;
    }
}

static bool is_ipv6(struct span ip)
{
    return ip.n > 0 && memchr(ip.p, ':', ip.n) != NULL;
}

static void put_client(const struct mail_received *r, struct buf *out, bool utf8)
{
    if (r->hide_client) {
        buf_put_str(out, "Received: from hidden.invalid");
        return;
    }
    buf_put_str(out, "Received: from ");
    put_name(out, r->helo.n > 0 ? r->helo : SPAN_LIT("unknown"), utf8);
    buf_put_str(out, " (");
    put_name(out, r->client_name.n > 0 ? r->client_name : SPAN_LIT("unknown"), utf8);
    buf_put_str(out, is_ipv6(r->client_ip) ? " [IPv6:" : " [");
    put_name(out, r->client_ip, false);
    buf_put_str(out, "])");
}

/* A path that cannot be written in a header's line is left out; so is one that would need SMTPUTF8. */
static bool rcpt_fits(struct span rcpt, bool utf8)
{
    if (rcpt.n == 0 || rcpt.n > 320 || (!utf8 && !text_ascii(rcpt)) || !text_utf8_valid(rcpt))
        return false;
    for (size_t i = 0; i < rcpt.n; i++)
        if ((unsigned char)rcpt.p[i] <= ' ' || rcpt.p[i] == 0x7f || strchr("<>(),;", rcpt.p[i]) != NULL)
            return false;
    return true;
}

int mail_received_put(const struct mail_received *r, struct buf *out)
{
    char date[MAIL_DATE_TEXT];
    bool utf8 = span_starts(r->protocol, SPAN_LIT("UTF8"));
    put_client(r, out, utf8);
    if (r->tls.n > 0) {
        buf_put_str(out, "\r\n\t(using ");
        for (size_t i = 0; i < r->tls.n && i < 120; i++) {
            char c = r->tls.p[i];
            buf_put_char(out, c < ' ' || c > '~' || strchr("()\\", c) != NULL ? '?' : c);
        }
        buf_put_char(out, ')');
    }
    buf_put_str(out, "\r\n\tby ");
    put_name(out, r->by, utf8);
    buf_put_str(out, " with ");
    put_name(out, r->protocol, false);
    buf_put_str(out, " id ");
    put_name(out, r->id, false);
    if (rcpt_fits(r->rcpt, utf8)) {
        buf_put_str(out, "\r\n\tfor <");
        buf_put_span(out, r->rcpt);
        buf_put_char(out, '>');
    }
    mail_date_format(r->wall_ms, 0, date);
    buf_put_str(out, ";\r\n\t");
    buf_put_str(out, date);
    return buf_put_str(out, "\r\n");
}
