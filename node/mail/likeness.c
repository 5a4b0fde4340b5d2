/* Signatures of messages' text: see likeness.h. */
#include "node/mail/likeness.h"

#include <string.h>

enum kind { KIND_OTHER, KIND_PLAIN, KIND_HTML };
enum encoding { ENCODING_NONE, ENCODING_QP, ENCODING_BASE64 };

#define WORDS_MIN 4
#define NAME_WORDS 3 /* behind a greeting */
#define HASH_START 0xcbf29ce484222325ull
#define SQUASHED 0x9ae16a3b2f90404full /* what numbers, links and names are taken for */

/* Sixteen hash functions of one: random numbers. */
static const uint64_t seeds[LIKENESS_VALUES] = {
    0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0, 0x082efa98ec4e6c89,
    0x452821e638d01377, 0xbe5466cf34e90c6c, 0xc0ac29b7c97c50dd, 0x3f84d5b5b5470917,
    0x9216d5d98979fb1b, 0xd1310ba698dfb5ac, 0x2ffd72dbd01adfb7, 0xb8e1afed6a267e96,
    0xba7c9045f12c7f99, 0x24a19947b3916cf7, 0x0801f2e2858efc16, 0x636920d871574e69,
};

void likeness_init(struct likeness *l)
{
    memset(l, 0, sizeof *l);
    memset(l->least, 0xff, sizeof l->least);
    l->in_header = l->top = l->line_start = true;
    l->kind = KIND_PLAIN; /* RFC 2045 section 5.2 */
    l->hash = HASH_START;
}

/* ---- words --------------------------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) void fold(uint32_t least[LIKENESS_VALUES], uint64_t h)
{
    for (unsigned i = 0; i < LIKENESS_VALUES; i++) {
        uint64_t x = (h ^ seeds[i]) * 0xff51afd7ed558ccd;
        x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53;
        uint32_t v = (uint32_t)(x >> 32);
        least[i] = v < least[i] ? v : least[i];
    }
}

#ifdef __x86_64__
/* The same by instructions that the build is not made for, but many processors have: all sixteen at once. */
__attribute__((target("avx512f,avx512dq,avx512vl"))) static void fold_wide(uint32_t *least, uint64_t h)
{
    fold(least, h);
}
#endif

static void piece(struct likeness *l, uint64_t h)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        fold_wide(l->least, h);
        return;
    }
#endif
    fold(l->least, h);
}

/* By their hashes, which word_end has at hand: it asks for each word. */
static bool greets(uint64_t h)
{
    switch (h) {
    case 0xa5bc106742556ed1: /* dear */
    case 0xa430d84680aabd0b: /* hello */
    case 0x08ba5f07b55ec3da: /* hi */
    case 0x334a25192fe3767d: /* hey */
    case 0x93e0d8693ad79cc7: /* hallo */
    case 0x318a16a9d943df8c: /* liebe */
    case 0x7184809c2e559c9a: /* lieber */
    case 0x26a5d6d8ad431635: /* geehrte */
    case 0xeee2592e68fedaa5: /* geehrter */
    case 0x5773ed002e207a40: /* bonjour */
    case 0xf2957b910b4ed899: /* cher */
    case 0x4029fbcc7e6d3137: /* hola */
    case 0xf9939f910ecc809d: /* ciao */
    case 0xaa519555b48d6615: /* estimado */
        return true;
    default:
        return false;
    }
}

static void word_end(struct likeness *l)
{
    uint64_t h = l->digits || l->link ? SQUASHED : l->hash;
    bool any = l->length > 0;
    l->hash = HASH_START;
    l->length = 0;
    l->digits = l->link = l->slash = false;
    if (!any || l->words >= LIKENESS_WORDS)
        return;
    if (l->greeted > 0) {
        l->greeted--;
        h = SQUASHED;
    } else if (greets(h)) {
        l->greeted = NAME_WORDS;
    }
    if (h == SQUASHED && l->before == SQUASHED)
        return; /* however many of them */
    l->words++;
    if (h != SQUASHED)
        piece(l, h);
    piece(l, l->before * 31 + h);
    l->before = h;
}

/* Without ctype.h's tables, which depend on a locale: this is done for each octet. */
static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : c;
}

static bool is_letter(uint8_t c) /* or digit, or part of one beyond ASCII */
{
    return c >= 0x80 || is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z');
}

/* Those that `s` begins with, onto the word; how many. */
static size_t letters(struct likeness *l, struct span s)
{
    uint64_t hash = l->hash; /* not through `l` for each octet: that is most of what all this costs */
    bool digits = l->digits;
    size_t n = 0;
    for (; n < s.n && is_letter((uint8_t)s.p[n]); n++) {
        digits |= is_digit((uint8_t)s.p[n]);
        hash = (hash ^ lower((uint8_t)s.p[n])) * 0x100000001b3;
    }
    l->hash = hash;
    l->digits = digits;
    l->length += (uint32_t)n;
    return n;
}

/* What is between words. */
static void between(struct likeness *l, uint8_t c)
{
    if (l->length > 0 && (c == '@' || (c == '/' && l->slash))) {
        l->link = true; /* and what is glued to it belongs to it */
        l->slash = c == '/';
    } else if (l->length > 0 && (c == '/' || c == ':' || c == '\'')) {
        l->slash = c == '/';
        if (c == '\'')
            return;
    } else if (l->link && strchr(".-_%?=&#+~/", c) != NULL && c != '\0') {
        return;
    } else {
        word_end(l);
        if (c == ',' || c == '\n' || c == '!')
            l->greeted = 0;
    }
}

/* Text without transfer encoding or tags. */
static void text(struct likeness *l, struct span s)
{
    while (s.n > 0) {
        s = span_sub(s, letters(l, s));
        if (s.n > 0) {
            between(l, (uint8_t)s.p[0]);
            s = span_sub(s, 1);
        }
    }
}

static void html(struct likeness *l, struct span s)
{
    while (s.n > 0) {
        size_t n = 0;
        while (n < s.n && s.p[n] != '<' && s.p[n] != '>')
            n++;
        if (!l->in_tag)
            text(l, span_of(s.p, n));
        if (n == s.n)
            return;
        l->in_tag = s.p[n] == '<';
        if (l->in_tag)
            text(l, SPAN_LIT(" "));
        s = span_sub(s, n + 1);
    }
}

static void plain(struct likeness *l, struct span s)
{
    while (s.n > 0) {
        const char *nl = memchr(s.p, '\n', s.n);
        size_t n = nl != NULL ? (size_t)(nl - s.p) + 1 : s.n;
        if (l->line_start)
            l->quoted = s.p[0] == '>';
        l->line_start = nl != NULL;
        if (!l->quoted)
            text(l, span_of(s.p, n));
        else if (nl != NULL)
            text(l, SPAN_LIT("\n"));
        s = span_sub(s, n);
    }
}

static void decoded(struct likeness *l, struct span s)
{
    if (l->over)
        return;
    if (l->kind == KIND_HTML)
        html(l, s);
    else
        plain(l, s);
}

/* ---- transfer encodings -------------------------------------------------------------------------------- */

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

static void quoted_printable(struct likeness *l, struct span s, bool end)
{
    while (s.n > 0) {
        const char *escape = memchr(s.p, '=', s.n);
        size_t n = escape != NULL ? (size_t)(escape - s.p) : s.n;
        decoded(l, span_of(s.p, n));
        s = span_sub(s, n);
        if (s.n == 1)
            return; /* a soft line break */
        if (s.n > 2 && hex(s.p[1]) >= 0 && hex(s.p[2]) >= 0) {
            char c = (char)(hex(s.p[1]) * 16 + hex(s.p[2]));
            decoded(l, span_of(&c, 1));
            s = span_sub(s, 3);
        } else if (s.n > 0) {
            s = span_sub(s, 1);
        }
    }
    if (end)
        decoded(l, SPAN_LIT("\n"));
}

static int six_bits(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

static void base64(struct likeness *l, struct span s)
{
    char out[LIKENESS_LINE];
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        int bits = six_bits(s.p[i]);
        if (bits < 0)
            continue;
        l->bits = (l->bits << 6 | (uint32_t)bits) & 0xffff;
        l->nbits += 6;
        if (l->nbits < 8)
            continue;
        l->nbits -= 8;
        out[n] = (char)(uint8_t)(l->bits >> l->nbits);
        n += out[n] != '\r';
    }
    decoded(l, span_of(out, n));
}

/* ---- parts --------------------------------------------------------------------------------------------- */

static bool has(struct span s, const char *word, size_t *behind)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= s.n; i++)
        if (strncasecmp(s.p + i, word, n) == 0) {
            *behind = i + n;
            return true;
        }
    return false;
}

static void note_boundary(struct likeness *l, struct span s)
{
    size_t at, n = 0;
    if (!has(s, "boundary=", &at) || l->nboundaries == LIKENESS_BOUNDARIES)
        return;
    char *to = l->boundary[l->nboundaries];
    bool quotes = at < s.n && s.p[at] == '"';
    for (at += quotes; at < s.n && n < sizeof l->boundary[0] - 1; at++) {
        if (quotes ? s.p[at] == '"' : s.p[at] == ';' || s.p[at] == ' ')
            break;
        to[n++] = s.p[at];
    }
    to[n] = '\0';
    l->nboundaries += n > 0;
}

static void header_line(struct likeness *l, struct span s)
{
    size_t at;
    bool folded = s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t');
    if (!folded)
        l->in_type = s.n >= 13 && strncasecmp(s.p, "content-type:", 13) == 0;
    if (l->in_type) {
        if (!folded)
            l->kind = has(s, "text/html", &at) ? KIND_HTML : has(s, "text/", &at) ? KIND_PLAIN : KIND_OTHER;
        note_boundary(l, s);
    } else if (s.n >= 26 && strncasecmp(s.p, "content-transfer-encoding:", 26) == 0) {
        l->encoding = has(s, "quoted-printable", &at) ? ENCODING_QP
                      : has(s, "base64", &at)         ? ENCODING_BASE64
                                                      : ENCODING_NONE;
    } else if (l->top && s.n >= 8 && strncasecmp(s.p, "subject:", 8) == 0) {
        text(l, span_sub(s, 8));
        text(l, SPAN_LIT("\n"));
    }
}

static bool is_boundary(const struct likeness *l, struct span s)
{
    if (s.n < 3 || s.p[0] != '-' || s.p[1] != '-')
        return false;
    for (uint32_t i = 0; i < l->nboundaries; i++) {
        size_t n = strlen(l->boundary[i]);
        if (s.n >= 2 + n && memcmp(s.p + 2, l->boundary[i], n) == 0)
            return true;
    }
    return false;
}

static void part_begin(struct likeness *l)
{
    word_end(l);
    l->in_header = l->line_start = true;
    l->top = l->in_type = l->in_tag = l->over = l->quoted = false;
    l->kind = KIND_PLAIN;
    l->encoding = ENCODING_NONE;
    l->greeted = 0;
    l->bits = l->nbits = 0;
}

/* A line, or as much of it as there is room for. */
static void take(struct likeness *l, bool end)
{
    struct span s = span_of(l->line, l->n);
    bool begins = !l->line_long;
    l->n = 0;
    l->line_long = !end;
    if (s.n > 0 && s.p[s.n - 1] == '\r' && end)
        s.n--;
    if (l->in_header) {
        if (s.n > 0 && begins)
            header_line(l, s);
        else if (s.n == 0 && begins && end)
            l->in_header = false;
        return;
    }
    if (begins && is_boundary(l, s)) {
        part_begin(l);
        return;
    }
    if (l->kind == KIND_OTHER || l->words >= LIKENESS_WORDS)
        return;
    if (begins && l->kind == KIND_PLAIN && span_eq(s, SPAN_LIT("-- ")))
        l->over = true;
    if (l->encoding == ENCODING_BASE64) {
        base64(l, s);
    } else if (l->encoding == ENCODING_QP) {
        quoted_printable(l, s, end);
    } else {
        decoded(l, s);
        if (end)
            decoded(l, SPAN_LIT("\n"));
    }
}

void likeness_feed(struct likeness *l, struct span s)
{
    while (s.n > 0 && l->words < LIKENESS_WORDS) {
        size_t room = sizeof l->line - l->n;
        const char *nl = memchr(s.p, '\n', s.n);
        size_t n = nl != NULL ? (size_t)(nl - s.p) : s.n;
        n = n < room ? n : room;
        memcpy(l->line + l->n, s.p, n);
        l->n += (uint32_t)n;
        s = span_sub(s, n);
        if (nl != NULL && s.p == nl) {
            take(l, true);
            s = span_sub(s, 1);
        } else if (l->n == sizeof l->line) {
            take(l, false);
        }
    }
}

bool likeness_end(struct likeness *l, uint16_t out[LIKENESS_VALUES])
{
    if (l->n > 0)
        take(l, true);
    word_end(l);
    for (unsigned i = 0; i < LIKENESS_VALUES; i++)
        out[i] = (uint16_t)(l->least[i] ^ l->least[i] >> 16);
    return l->words >= WORDS_MIN;
}
