/* The terms of an SPF record (RFC 7208 sections 4.6.1 and 12). Pure. */
#include "base/err.h"
#include "node/domain/spf_impl.h"

#include <arpa/inet.h>
#include <ctype.h>

bool spf_term_next(struct span *rest, struct span *term)
{
    while (rest->n > 0 && rest->p[0] == ' ')
        *rest = span_sub(*rest, 1);
    size_t n = 0;
    while (n < rest->n && rest->p[n] != ' ')
        n++;
    *term = span_of(rest->p, n);
    *rest = span_sub(*rest, n);
    return n > 0;
}

bool spf_bits_match(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, left = bits % 8;
    if (memcmp(a, b, whole) != 0)
        return false;
    return left == 0 || ((a[whole] ^ b[whole]) & (0xff << (8 - left)) & 0xff) == 0;
}

/* Takes "/24" off the end. False: what follows the slash is no length, or too large. */
static bool take_bits(struct span *s, const char *slash, unsigned max, uint8_t *bits)
{
    size_t digits = 0;
    while (digits < s->n && isdigit((unsigned char)s->p[s->n - digits - 1]))
        digits++;
    size_t mark = strlen(slash);
    if (digits == 0 || s->n < digits + mark || memcmp(s->p + s->n - digits - mark, slash, mark) != 0)
        return true; /* it has none */
    struct span text = span_sub(*s, s->n - digits);
    unsigned v = 0;
    if (text.n > 3 || (text.n > 1 && text.p[0] == '0'))
        return false;
    for (size_t i = 0; i < text.n; i++)
        v = v * 10 + (unsigned)(text.p[i] - '0');
    *bits = (uint8_t)v;
    s->n -= digits + mark;
    return v <= max;
}

/* [":" domain-spec] [dual-cidr-length], each part where it is allowed. */
static int parse_where(struct span s, bool cidr, bool needed, struct spf_term *t)
{
    t->bits4 = 32;
    t->bits6 = 128;
    if (cidr && (!take_bits(&s, "//", 128, &t->bits6) || !take_bits(&s, "/", 32, &t->bits4)))
        return ERR_BAD;
    if (s.n == 0)
        return needed ? ERR_BAD : 0;
    if (s.p[0] != ':')
        return ERR_BAD;
    t->spec = span_sub(s, 1);
    return spf_spec_valid(t->spec) ? 0 : ERR_BAD;
}

static int parse_network(struct span s, int family, struct spf_term *t)
{
    unsigned max = family == AF_INET ? 32 : 128;
    uint8_t *bits = family == AF_INET ? &t->bits4 : &t->bits6;
    char text[64];
    *bits = (uint8_t)max;
    if (s.n == 0 || s.p[0] != ':' || !take_bits(&s, "/", max, bits) || s.n > sizeof text)
        return ERR_BAD;
    memcpy(text, s.p + 1, s.n - 1);
    text[s.n - 1] = '\0';
    return strlen(text) == s.n - 1 && inet_pton(family, text, t->net) == 1 ? 0 : ERR_BAD;
}

static int parse_all(struct span s)
{
    return s.n == 0 ? 0 : ERR_BAD;
}

static int parse_mechanism(struct span s, struct spf_term *t)
{
    static const struct {
        struct span name;
        enum spf_kind kind;
    } names[] = {
        { SPAN_LIT("all"), SPF_ALL }, { SPAN_LIT("include"), SPF_INCLUDE }, { SPAN_LIT("a"), SPF_A },
        { SPAN_LIT("mx"), SPF_MX },   { SPAN_LIT("ptr"), SPF_PTR },         { SPAN_LIT("ip4"), SPF_IP4 },
        { SPAN_LIT("ip6"), SPF_IP6 }, { SPAN_LIT("exists"), SPF_EXISTS },
    };
    size_t n = 0;
    while (n < s.n && s.p[n] != ':' && s.p[n] != '/')
        n++;
    struct span name = span_of(s.p, n), rest = span_sub(s, n);
    size_t i = 0;
    while (i < sizeof names / sizeof *names && !span_eq_nocase(names[i].name, name))
        i++;
    if (i == sizeof names / sizeof *names)
        return ERR_BAD;
    t->kind = names[i].kind;
    switch (t->kind) {
    case SPF_ALL:
        return parse_all(rest);
    case SPF_A:
    case SPF_MX:
        return parse_where(rest, true, false, t);
    case SPF_PTR:
        return parse_where(rest, false, false, t);
    case SPF_IP4:
        return parse_network(rest, AF_INET, t);
    case SPF_IP6:
        return parse_network(rest, AF_INET6, t);
    default:
        return parse_where(rest, false, true, t);
    }
}

/* Length of a modifier's name when the term is one, else 0. */
static size_t modifier_name(struct span s)
{
    size_t n = 0;
    if (s.n == 0 || !isalpha((unsigned char)s.p[0]))
        return 0;
    while (n < s.n && (isalnum((unsigned char)s.p[n]) || strchr("-_.", s.p[n]) != NULL) && s.p[n] != '\0')
        n++;
    return n < s.n && s.p[n] == '=' ? n : 0;
}

int spf_term_parse(struct span text, struct spf_term *t)
{
    *t = (struct spf_term){ .text = text, .result = SPF_PASS };
    size_t n = modifier_name(text);
    if (n > 0) {
        struct span name = span_of(text.p, n);
        t->spec = span_sub(text, n + 1);
        t->kind = span_eq_nocase(name, SPAN_LIT("redirect")) ? SPF_REDIRECT
                  : span_eq_nocase(name, SPAN_LIT("exp"))    ? SPF_EXP
                                                             : SPF_OTHER;
        bool good = t->kind == SPF_OTHER ? spf_macro_valid(t->spec, false) : spf_spec_valid(t->spec);
        return good ? 0 : ERR_BAD;
    }
    char q = text.n > 0 ? text.p[0] : '\0';
    t->result = q == '-' ? SPF_FAIL : q == '~' ? SPF_SOFTFAIL : q == '?' ? SPF_NEUTRAL : SPF_PASS;
    if (q == '+' || t->result != SPF_PASS)
        text = span_sub(text, 1);
    return parse_mechanism(text, t);
}
