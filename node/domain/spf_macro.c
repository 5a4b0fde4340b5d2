/* SPF's macros (RFC 7208 section 7). Pure. */
#include "base/err.h"
#include "node/domain/name.h"
#include "node/domain/spf_impl.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#define EXPAND_MAX 4096 /* octets of one expansion: more can be no name, and no explanation that one reads   \
                         */
#define VALUE_MAX 640
#define PARTS_MAX                                                                                            \
    128 /* names have 127 labels at most; of a stranger local part, those at the left are dropped */

struct macro {
    char letter; /* lower case; '%', '_' and '-' for the escapes */
    bool escape; /* it was an upper-case letter */
    bool reverse;
    unsigned keep;      /* rightmost parts; 0: all */
    struct span delims; /* empty: "." */
};

/* The macro at the start of s, which is a "%"; its length, or 0 when it is none. */
static size_t macro_parse(struct span s, bool explain, struct macro *m)
{
    *m = (struct macro){ 0 };
    if (s.n < 2)
        return 0;
    m->letter = s.p[1];
    if (m->letter == '%' || m->letter == '_' || m->letter == '-')
        return 2;
    if (m->letter != '{' || s.n < 4 || !isalpha((unsigned char)s.p[2]))
        return 0;
    m->escape = isupper((unsigned char)s.p[2]) != 0;
    m->letter = (char)tolower((unsigned char)s.p[2]);
    if (strchr(explain ? "slodiphvcrt" : "slodiphv", m->letter) == NULL)
        return 0;
    size_t at = 3;
    bool digits = false;
    for (; at < s.n && isdigit((unsigned char)s.p[at]); at++, digits = true)
        if (m->keep < 1000)
            m->keep = m->keep * 10 + (unsigned)(s.p[at] - '0');
    if (digits && m->keep == 0)
        return 0;
    if (at < s.n && (s.p[at] == 'r' || s.p[at] == 'R')) {
        m->reverse = true;
        at++;
    }
    size_t from = at;
    while (at < s.n && s.p[at] != '\0' && strchr(".-+,/_=", s.p[at]) != NULL)
        at++;
    m->delims = span_of(s.p + from, at - from);
    return at < s.n && s.p[at] == '}' ? at + 1 : 0;
}

bool spf_macro_valid(struct span s, bool explain)
{
    struct macro m;
    while (s.n > 0) {
        size_t n = 1;
        unsigned char c = (unsigned char)s.p[0];
        if (c == '%')
            n = macro_parse(s, explain, &m);
        else if (c >= 0x7f || c < (explain ? 0x20 : 0x21))
            n = 0;
        if (n == 0)
            return false;
        s = span_sub(s, n);
    }
    return true;
}

/* toplabel of section 7.1: letters, digits and inner hyphens, not digits alone */
static bool top_label(struct span s)
{
    bool other = false;
    if (s.n == 0 || s.p[0] == '-' || s.p[s.n - 1] == '-')
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!isalnum((unsigned char)s.p[i]) && s.p[i] != '-')
            return false;
        other = other || !isdigit((unsigned char)s.p[i]);
    }
    return other;
}

bool spf_spec_valid(struct span s)
{
    struct macro m;
    if (s.n == 0 || !spf_macro_valid(s, false))
        return false;
    struct span tail = s; /* what follows the last macro */
    for (struct span at = s; at.n > 0;) {
        bool macro = at.p[0] == '%';
        at = span_sub(at, macro ? macro_parse(at, false, &m) : 1);
        if (macro)
            tail = at;
    }
    if (tail.n == 0)
        return true;
    if (tail.p[tail.n - 1] == '.')
        tail.n--;
    size_t dot = tail.n;
    while (dot > 0 && tail.p[dot - 1] != '.')
        dot--;
    return dot > 0 && top_label(span_sub(tail, dot));
}

bool spf_macro_wants_name(struct span s)
{
    struct macro m;
    while (s.n > 0) {
        bool macro = s.p[0] == '%';
        size_t n = macro ? macro_parse(s, true, &m) : 1;
        if (n == 0)
            return false;
        if (macro && m.letter == 'p')
            return true;
        s = span_sub(s, n);
    }
    return false;
}

static void put_nibbles(const struct ip_addr *ip, char out[VALUE_MAX])
{
    size_t n = 0;
    for (int i = 0; i < 16; i++)
        n += (size_t)snprintf(out + n, VALUE_MAX - n, "%s%x.%x", i == 0 ? "" : ".",
                              (unsigned)ip->bytes[i] >> 4, ip->bytes[i] & 15u);
}

static void put_value(char letter, const struct spf_values *v, char out[VALUE_MAX])
{
    char ip[IP_TEXT_MAX];
    struct span s = { "", 0 };
    switch (letter) {
    case 's':
        snprintf(out, VALUE_MAX, "%.*s@%.*s", (int)v->local.n, v->local.p, (int)v->sender_domain.n,
                 v->sender_domain.p);
        return;
    case 'i':
        if (v->ip.family == 6) {
            put_nibbles(&v->ip, out);
            return;
        }
        s = span_str(ip_addr_format(&v->ip, ip));
        break;
    case 'c':
        s = span_str(ip_addr_format(&v->ip, ip));
        break;
    case 't':
        snprintf(out, VALUE_MAX, "%" PRId64, v->now_s);
        return;
    case 'l':
        s = v->local;
        break;
    case 'o':
        s = v->sender_domain;
        break;
    case 'd':
        s = v->domain;
        break;
    case 'p':
        s = v->name.n == 0 ? SPAN_LIT("unknown") : v->name;
        break;
    case 'v':
        s = v->ip.family == 6 ? SPAN_LIT("ip6") : SPAN_LIT("in-addr");
        break;
    case 'h':
        s = v->helo;
        break;
    default:
        s = v->receiver.n == 0 ? SPAN_LIT("unknown") : v->receiver;
        break;
    }
    snprintf(out, VALUE_MAX, "%.*s", (int)s.n, s.p);
}

static void put_part(struct buf *out, struct span part, bool escape)
{
    for (size_t i = 0; i < part.n; i++) {
        unsigned char c = (unsigned char)part.p[i];
        if (!escape || (c < 0x80 && isalnum(c)) || c == '-' || c == '.' || c == '_' || c == '~')
            buf_put_char(out, (char)c);
        else
            buf_printf(out, "%%%02X", c);
    }
}

static void put_macro(const struct macro *m, const struct spf_values *v, struct buf *out)
{
    char value[VALUE_MAX];
    struct span parts[PARTS_MAX];
    size_t n = 0, from = 0;
    struct span delims = m->delims.n > 0 ? m->delims : SPAN_LIT(".");
    put_value(m->letter, v, value);
    size_t len = strlen(value);
    for (size_t i = 0; i <= len; i++) {
        if (i < len && memchr(delims.p, value[i], delims.n) == NULL)
            continue;
        if (n == PARTS_MAX)
            memmove(parts, parts + 1, --n * sizeof *parts);
        parts[n++] = span_of(value + from, i - from);
        from = i + 1;
    }
    size_t keep = m->keep == 0 || m->keep > n ? n : m->keep;
    for (size_t i = n - keep; i < n; i++) {
        /* reversed first, then the rightmost are kept (section 7.3) */
        put_part(out, parts[m->reverse ? n - 1 - i : i], m->escape);
        if (i + 1 < n)
            buf_put_char(out, '.');
    }
}

void spf_macro_expand(struct span s, const struct spf_values *v, struct buf *out)
{
    struct macro m;
    while (s.n > 0 && buf_err(out) == 0) {
        size_t n = s.p[0] == '%' ? macro_parse(s, true, &m) : 0;
        if (n == 0)
            buf_put_char(out, s.p[0]);
        else if (m.letter == '%')
            buf_put_char(out, '%');
        else if (m.letter == '_')
            buf_put_char(out, ' ');
        else if (m.letter == '-')
            buf_put_str(out, "%20");
        else
            put_macro(&m, v, out);
        s = span_sub(s, n == 0 ? 1 : n);
    }
}

int spf_spec_expand(struct span spec, const struct spf_values *v, char out[256])
{
    struct buf text;
    buf_init(&text, EXPAND_MAX);
    spf_macro_expand(spec, v, &text);
    struct span name = buf_span(&text);
    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    while (name.n > 253) { /* section 7.3: labels are taken from the left */
        const char *dot = memchr(name.p, '.', name.n);
        name = dot == NULL ? span_of(name.p, 0) : span_sub(name, (size_t)(dot - name.p) + 1);
    }
    int err = buf_err(&text) == 0 && domain_name_valid(name) ? 0 : ERR_BAD;
    if (err == 0) {
        memcpy(out, name.p, name.n);
        out[name.n] = '\0';
    }
    buf_fini(&text);
    return err;
}
