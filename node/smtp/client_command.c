/* The command lines that the SMTP client sends, with their parameters (RFC 5321, 1870, 6152, 6531, 3461,
 * 8689) and encodings. What was not announced is not sent. Runs on the session's thread.
 */
#include "node/smtp/client_impl.h"

#include "base/base64.h"
#include "base/text.h"

bool smtp_client_address_sendable(struct span address)
{
    for (size_t i = 0; i < address.n; i++)
        if ((unsigned char)address.p[i] < 0x20 || address.p[i] == 0x7f)
            return false;
    return true;
}

/* RFC 3461 section 4 */
static void put_xtext(struct buf *out, struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char ch = (unsigned char)s.p[i];
        if (ch < 33 || ch > 126 || ch == '+' || ch == '=')
            buf_printf(out, "+%02X", ch);
        else
            buf_put_char(out, (char)ch);
    }
}

/* Length of an EmbeddedUnicodeChar "\x{2F804}" at s, or 0. */
static size_t embedded_len(struct span s)
{
    if (!span_starts(s, SPAN_LIT("\\x{")))
        return 0;
    size_t i = 3;
    while (i < s.n && i < 9 && ((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'A' && s.p[i] <= 'F')))
        i++;
    return i > 4 && i < s.n && s.p[i] == '}' ? i + 1 : 0;
}

static uint32_t utf8_point(const char *p, size_t len)
{
    const unsigned char *u = (const unsigned char *)p;
    uint32_t point = u[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++)
        point = point << 6 | (u[i] & 0x3fu);
    return point;
}

/* RFC 6533 section 3: utf-8-addr-unitext to a server with SMTPUTF8, else utf-8-addr-xtext. */
static void put_utf8_address(struct buf *out, struct span s, bool raw)
{
    for (size_t i = 0; i < s.n;) {
        unsigned char ch = (unsigned char)s.p[i];
        size_t len = ch < 0x80 ? embedded_len(span_sub(s, i)) : text_utf8_len(s.p + i, s.n - i);
        if (ch < 0x80 && len == 0) {
            if (ch < 33 || ch > 126 || ch == '+' || ch == '=' || ch == '\\')
                buf_printf(out, "\\x{%02X}", ch);
            else
                buf_put_char(out, (char)ch);
            len = 1;
        } else if (ch < 0x80 || (raw && len > 0)) {
            buf_put(out, s.p + i, len);
        } else {
            buf_printf(out, "\\x{%02X}", len == 0 ? 0xfffdu : utf8_point(s.p + i, len));
            len = len == 0 ? 1 : len;
        }
        i += len;
    }
}

static void put_orcpt(struct smtp_client *c, struct span orcpt)
{
    const char *semi = memchr(orcpt.p, ';', orcpt.n);
    if (semi == NULL || semi == orcpt.p)
        return;
    struct span type = span_of(orcpt.p, (size_t)(semi - orcpt.p));
    for (size_t i = 0; i < type.n; i++)
        if (type.p[i] <= ' ' || type.p[i] > 126 || strchr("+=<>()\"", type.p[i]) != NULL)
            return;
    struct span address = span_sub(orcpt, type.n + 1);
    buf_put_str(c->out, " ORCPT=");
    buf_put_span(c->out, type);
    buf_put_char(c->out, ';');
    if (span_eq_nocase(type, SPAN_LIT("utf-8")))
        put_utf8_address(c->out, address, c->utf8);
    else
        put_xtext(c->out, address);
}

void smtp_client_put_mail(struct smtp_client *c)
{
    const struct smtp_client_mail *m = c->mail;
    buf_put_str(c->out, "MAIL FROM:<");
    buf_put_span(c->out, m->from);
    buf_put_char(c->out, '>');
    if ((c->caps.bits & CAP_SIZE) != 0 && m->size > 0)
        buf_printf(c->out, " SIZE=%llu", (unsigned long long)m->size);
    if ((c->caps.bits & CAP_8BITMIME) != 0 && m->content_8bit)
        buf_put_str(c->out, " BODY=8BITMIME");
    if (c->utf8)
        buf_put_str(c->out, " SMTPUTF8");
    if ((c->caps.bits & CAP_REQUIRETLS) != 0 && m->requiretls)
        buf_put_str(c->out, " REQUIRETLS");
    if ((c->caps.bits & CAP_DSN) != 0) {
        if (m->ret != SMTP_CLIENT_RET_ABSENT)
            buf_put_str(c->out, m->ret == SMTP_CLIENT_RET_FULL ? " RET=FULL" : " RET=HDRS");
        if (m->envid.n > 0) {
            buf_put_str(c->out, " ENVID=");
            put_xtext(c->out, m->envid);
        }
    }
    buf_put_str(c->out, "\r\n");
}

static void put_notify(struct buf *out, unsigned notify)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = { { SMTP_CLIENT_NOTIFY_SUCCESS, "SUCCESS" },
                  { SMTP_CLIENT_NOTIFY_FAILURE, "FAILURE" },
                  { SMTP_CLIENT_NOTIFY_DELAY, "DELAY" } };
    const char *before = " NOTIFY=";
    if ((notify & SMTP_CLIENT_NOTIFY_NEVER) != 0) {
        buf_put_str(out, " NOTIFY=NEVER");
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if ((notify & names[i].bit) == 0)
            continue;
        buf_put_str(out, before);
        buf_put_str(out, names[i].name);
        before = ",";
    }
}

void smtp_client_put_rcpt(struct smtp_client *c, const struct smtp_client_rcpt *rcpt)
{
    buf_put_str(c->out, "RCPT TO:<");
    buf_put_span(c->out, rcpt->address);
    buf_put_char(c->out, '>');
    if ((c->caps.bits & CAP_DSN) != 0) {
        put_notify(c->out, rcpt->notify);
        if (rcpt->orcpt.n > 0)
            put_orcpt(c, rcpt->orcpt);
    }
    buf_put_str(c->out, "\r\n");
}

/* RFC 4616: no authorization identity, NUL, user, NUL, password. */
void smtp_client_put_auth_plain(struct smtp_client *c)
{
    struct buf secret;
    size_t n = strlen(c->config.auth_user) + strlen(c->config.auth_password) + 2;
    buf_init(&secret, n);
    buf_reserve(&secret, n); /* at once: growing would leave copies behind */
    buf_put_char(&secret, '\0');
    buf_put_str(&secret, c->config.auth_user);
    buf_put_char(&secret, '\0');
    buf_put_str(&secret, c->config.auth_password);
    buf_put_str(c->out, "AUTH PLAIN ");
    base64_put(c->out, secret.data, secret.len);
    buf_put_str(c->out, "\r\n");
    if (secret.data != NULL)
        explicit_bzero(secret.data, secret.cap);
    buf_fini(&secret);
}
