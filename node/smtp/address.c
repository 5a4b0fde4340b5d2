/* Paths and mailboxes. See the header. Pure; any thread. */
#include "node/smtp/address.h"

#include "base/err.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <idn2.h>
#include <stdint.h>

#define LABEL_MAX 63

struct scan {
    const char *p;
    const char *end;
    bool utf8;
};

static bool at(const struct scan *s, char c)
{
    return s->p < s->end && *s->p == c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_atext(char c)
{
    return is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* Steps over one character above U+007F. Controls (C1) and the line and paragraph separators are no part of
 * an address for us, though RFC 6531's grammar has them: they only serve to deceive readers of logs. */
static bool utf8_step(struct scan *s)
{
    const unsigned char *u = (const unsigned char *)s->p;
    size_t n = text_utf8_len(s->p, (size_t)(s->end - s->p));
    if (n < 2)
        return false;
    if (u[0] == 0xc2 && u[1] < 0xa0)
        return false;
    if (n == 3 && u[0] == 0xe2 && u[1] == 0x80 && (u[2] == 0xa8 || u[2] == 0xa9))
        return false;
    s->p += n;
    s->utf8 = true;
    return true;
}

static bool is_high(const struct scan *s)
{
    return s->p < s->end && (unsigned char)*s->p >= 0x80;
}

static int quoted_string(struct scan *s)
{
    for (s->p++; s->p < s->end && *s->p != '"';) {
        if (is_high(s)) {
            if (!utf8_step(s))
                return ERR_BAD;
            continue;
        }
        if (*s->p == '\\' && ++s->p == s->end)
            return ERR_BAD;
        if (is_high(s) || *s->p < 0x20 || *s->p == 0x7f)
            return ERR_BAD;
        s->p++;
    }
    if (s->p == s->end)
        return ERR_BAD;
    s->p++;
    return 0;
}

static int local_part(struct scan *s, struct span *out)
{
    const char *from = s->p;
    if (at(s, '"')) {
        if (quoted_string(s) != 0)
            return ERR_BAD;
    } else {
        while (s->p < s->end) {
            if (is_high(s)) {
                if (!utf8_step(s))
                    return ERR_BAD;
            } else if (is_atext(*s->p) || *s->p == '.') {
                s->p++;
            } else {
                break;
            }
        }
    }
    *out = span_of(from, (size_t)(s->p - from));
    return out->n == 0 || out->n > SMTP_LOCAL_MAX ? ERR_BAD : 0;
}

/* Is every label well formed? Labels with U-label characters are left to smtp_domain_ascii. */
static bool labels_ok(struct span d)
{
    bool digits = true;
    size_t len = 0;
    for (size_t i = 0; i <= d.n; i++) {
        if (i == d.n || d.p[i] == '.') {
            if (len == 0 || len > LABEL_MAX || d.p[i - 1] == '-' || d.p[i - len] == '-')
                return false;
            if (i < d.n)
                digits = true;
            len = 0;
            continue;
        }
        len++;
        digits = digits && is_digit(d.p[i]);
    }
    /* a last label of digits only is an IP address that lost its brackets, or a part of one */
    return !digits;
}

static bool is_domain_char(char c)
{
    return is_alnum(c) || c == '-' || c == '_' || c == '.';
}

static int plain_domain(struct scan *s, struct span *out)
{
    const char *from = s->p;
    bool utf8_before = s->utf8;
    s->utf8 = false;
    while (s->p < s->end) {
        if (is_high(s)) {
            if (!utf8_step(s))
                return ERR_BAD;
        } else if (is_domain_char(*s->p)) {
            s->p++;
        } else {
            break;
        }
    }
    *out = span_of(from, (size_t)(s->p - from));
    if (out->n == 0 || out->n > SMTP_DOMAIN_MAX)
        return ERR_BAD;
    char ascii[SMTP_DOMAIN_MAX + 1];
    if (s->utf8 ? smtp_domain_ascii(*out, ascii) != 0 : !labels_ok(*out))
        return ERR_BAD;
    s->utf8 = s->utf8 || utf8_before;
    return 0;
}

/* RFC 5321 section 4.1.3; literals of other kinds than the two that can be connected to are refused. */
static int literal(struct scan *s, struct span *out)
{
    const char *close = memchr(s->p, ']', (size_t)(s->end - s->p));
    if (close == NULL)
        return ERR_BAD;
    *out = span_of(s->p, (size_t)(close + 1 - s->p));
    struct span inner = span_of(s->p + 1, out->n - 2);
    char text[INET6_ADDRSTRLEN + 8];
    if (inner.n == 0 || inner.n >= sizeof text || memchr(inner.p, '\0', inner.n) != NULL)
        return ERR_BAD;
    memcpy(text, inner.p, inner.n);
    text[inner.n] = '\0';
    struct in6_addr addr;
    int ok = strncasecmp(text, "IPv6:", 5) == 0 ? inet_pton(AF_INET6, text + 5, &addr)
                                                : inet_pton(AF_INET, text, &addr);
    if (ok != 1)
        return ERR_BAD;
    s->p = close + 1;
    return 0;
}

bool smtp_helo_valid(struct span name)
{
    struct scan s = { .p = name.p, .end = name.p + name.n };
    struct span all;
    if (at(&s, '['))
        return literal(&s, &all) == 0 && s.p == s.end;
    for (size_t i = 0; i < name.n; i++)
        if (!is_domain_char(name.p[i]) || name.p[i] == '_')
            return false;
    return name.n > 0 && name.n <= SMTP_DOMAIN_MAX && labels_ok(name);
}

static int mailbox(struct scan *s, struct smtp_path *out)
{
    const char *from = s->p;
    if (local_part(s, &out->local) != 0)
        return ERR_BAD;
    if (at(s, '@')) {
        s->p++;
        out->is_literal = at(s, '[');
        if ((out->is_literal ? literal(s, &out->domain) : plain_domain(s, &out->domain)) != 0)
            return ERR_BAD;
    }
    out->text = span_of(from, (size_t)(s->p - from));
    out->utf8 = s->utf8;
    out->qualified =
        out->is_literal || (out->domain.n > 0 && memchr(out->domain.p, '.', out->domain.n) != NULL);
    return 0;
}

/* "@a,@b:" is checked and dropped: RFC 5321 section 3.6.1 has servers ignore it. */
static int source_route(struct scan *s)
{
    do {
        struct span hop;
        if (at(s, ','))
            s->p++;
        if (!at(s, '@'))
            return ERR_BAD;
        s->p++;
        if ((at(s, '[') ? literal(s, &hop) : plain_domain(s, &hop)) != 0)
            return ERR_BAD;
    } while (at(s, ','));
    if (!at(s, ':'))
        return ERR_BAD;
    s->p++;
    s->utf8 = false; /* what was dropped does not count */
    return 0;
}

int smtp_path_parse(struct span in, struct smtp_path *out, size_t *used)
{
    struct scan s = { .p = in.p, .end = in.p + in.n };
    *out = (struct smtp_path){ 0 };
    if (!at(&s, '<'))
        return ERR_BAD;
    s.p++;
    if (at(&s, '>')) {
        out->text = span_of(s.p, 0);
        out->qualified = true;
    } else {
        if (at(&s, '@')) {
            if (source_route(&s) != 0)
                return ERR_BAD;
            out->was_routed = true;
        }
        if (mailbox(&s, out) != 0 || !at(&s, '>'))
            return ERR_BAD;
    }
    *used = (size_t)(s.p + 1 - in.p);
    return 0;
}

int smtp_mailbox_parse(struct span in, struct smtp_path *out)
{
    struct scan s = { .p = in.p, .end = in.p + in.n };
    *out = (struct smtp_path){ 0 };
    return mailbox(&s, out) != 0 || s.p != s.end ? ERR_BAD : 0;
}

static int copy_lower(struct span d, char *out)
{
    if (d.n == 0 || d.n > SMTP_DOMAIN_MAX)
        return ERR_BAD;
    for (size_t i = 0; i < d.n; i++) {
        char c = d.p[i];
        if (!is_domain_char(c))
            return ERR_BAD;
        out[i] = c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
    }
    out[d.n] = '\0';
    return labels_ok(d) ? 0 : ERR_BAD;
}

int smtp_domain_ascii(struct span domain, char out[SMTP_DOMAIN_MAX + 1])
{
    if (text_ascii(domain))
        return copy_lower(domain, out);
    if (domain.n > SMTP_DOMAIN_MAX || !text_utf8_valid(domain) || memchr(domain.p, '\0', domain.n) != NULL)
        return ERR_BAD;
    uint8_t in[SMTP_DOMAIN_MAX + 1];
    memcpy(in, domain.p, domain.n);
    in[domain.n] = 0;
    uint8_t *ascii = NULL;
    if (idn2_lookup_u8(in, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
        return ERR_BAD;
    /* the mapping of UTS 46 may yield any ASCII, such as '/' from U+2100: the result is checked like a plain
     * one */
    int err = copy_lower(span_str((const char *)ascii), out);
    idn2_free(ascii);
    return err;
}
