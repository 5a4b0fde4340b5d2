/* Text made safe for logs and JSON, and small conversions. */
#include "base/text.h"

#include "base/err.h"

#include <inttypes.h>
#include <stdio.h>

size_t text_utf8_len(const char *p, size_t n)
{
    const unsigned char *u = (const unsigned char *)p;
    if (u[0] < 0x80)
        return 1;
    size_t len = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
    if (u[0] < 0xc2 || u[0] > 0xf4 || n < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) || (u[0] == 0xf0 && u[1] < 0x90) ||
        (u[0] == 0xf4 && u[1] > 0x8f))
        return 0;
    return len;
}

bool text_utf8_valid(struct span s)
{
    for (size_t i = 0; i < s.n;) {
        size_t len = text_utf8_len(s.p + i, s.n - i);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

bool text_ascii(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return false;
    return true;
}

static bool plain_json(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* U+0080 to U+009F, U+2028 and U+2029: terminals and JavaScript take them for control characters. */
static unsigned hidden_code(const unsigned char *u, size_t len)
{
    if (len == 2 && u[0] == 0xc2 && u[1] < 0xa0)
        return u[1];
    if (len == 3 && u[0] == 0xe2 && u[1] == 0x80 && (u[2] == 0xa8 || u[2] == 0xa9))
        return 0x2000u + (u[2] & 0x3fu);
    return 0;
}

int text_put_json(struct buf *b, struct span s)
{
    buf_put_char(b, '"');
    size_t i = 0;
    while (i < s.n) {
        size_t run = i;
        while (run < s.n && plain_json((unsigned char)s.p[run]))
            run++;
        if (run > i)
            buf_put(b, s.p + i, run - i);
        i = run;
        if (i == s.n)
            break;
        const unsigned char *u = (const unsigned char *)s.p + i;
        size_t len = text_utf8_len(s.p + i, s.n - i);
        if (len == 0) {
            buf_put_str(b, "\\ufffd");
            i++;
        } else if (len > 1) {
            unsigned code = hidden_code(u, len);
            if (code != 0)
                buf_printf(b, "\\u%04x", code);
            else
                buf_put(b, u, len);
            i += len;
        } else {
            if (*u == '"' || *u == '\\')
                buf_printf(b, "\\%c", *u);
            else if (*u == '\n')
                buf_put_str(b, "\\n");
            else if (*u == '\r')
                buf_put_str(b, "\\r");
            else if (*u == '\t')
                buf_put_str(b, "\\t");
            else
                buf_printf(b, "\\u%04x", *u);
            i++;
        }
    }
    return buf_put_char(b, '"');
}

int text_put_log(struct buf *b, struct span s)
{
    for (size_t i = 0; i < s.n;) {
        const unsigned char *u = (const unsigned char *)s.p + i;
        size_t len = text_utf8_len(s.p + i, s.n - i);
        bool hide = len == 0 || (len == 1 && (*u < 0x20 || *u == 0x7f)) || hidden_code(u, len) != 0;
        if (!hide) {
            if (*u == '\\')
                buf_put_char(b, '\\');
            buf_put(b, u, len);
            i += len;
            continue;
        }
        for (size_t k = 0; k < (len == 0 ? 1 : len); k++)
            buf_printf(b, "\\x%02x", u[k]);
        i += len == 0 ? 1 : len;
    }
    return buf_err(b);
}

int text_hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

int text_u64(struct span s, uint64_t *v)
{
    uint64_t sum = 0;
    if (s.n == 0)
        return ERR_BAD;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return ERR_BAD;
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        if (sum > (UINT64_MAX - digit) / 10)
            return ERR_BAD;
        sum = sum * 10 + digit;
    }
    *v = sum;
    return 0;
}

static size_t digits(struct span s)
{
    size_t n = 0;
    while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
        n++;
    return n;
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* A number and one of the units; the first unit is for a bare number. */
static int scaled(struct span s, const struct unit *units, size_t n, uint64_t max, uint64_t *out)
{
    uint64_t v;
    size_t at = digits(s);
    int err = text_u64(span_of(s.p, at), &v);
    if (err != 0)
        return err;
    struct span unit = span_sub(s, at);
    for (size_t i = 0; i < n; i++)
        if (span_eq_nocase(unit, span_str(units[i].name))) {
            if (v > max / units[i].factor)
                return ERR_BAD;
            *out = v * units[i].factor;
            return 0;
        }
    return ERR_BAD;
}

int text_duration_ms(struct span s, int64_t *ms)
{
    static const struct unit units[] = {
        { "", 1000 },      { "s", 1000 },      { "ms", 1 },         { "m", 60000 },
        { "h", 3600000u }, { "d", 86400000u }, { "w", 604800000u },
    };
    uint64_t v;
    int err = scaled(s, units, sizeof units / sizeof units[0], INT64_MAX, &v);
    if (err == 0)
        *ms = (int64_t)v;
    return err;
}

int text_size_bytes(struct span s, uint64_t *bytes)
{
    static const struct unit units[] = {
        { "", 1 },         { "b", 1 },         { "k", 1u << 10 },   { "kb", 1u << 10 }, { "kib", 1u << 10 },
        { "m", 1u << 20 }, { "mb", 1u << 20 }, { "mib", 1u << 20 }, { "g", 1u << 30 },  { "gb", 1u << 30 },
        { "gib", 1u << 30 },
    };
    return scaled(s, units, sizeof units / sizeof units[0], INT64_MAX, bytes);
}

void text_format_duration(int64_t ms, char *out, size_t cap)
{
    if (ms < 0)
        ms = 0;
    int64_t s = ms / 1000;
    if (ms < 1000)
        snprintf(out, cap, "%" PRId64 "ms", ms);
    else if (s < 120)
        snprintf(out, cap, "%" PRId64 "s", s);
    else if (s < 3600)
        snprintf(out, cap, "%" PRId64 "m", s / 60);
    else if (s < 86400 && s / 60 % 60 != 0)
        snprintf(out, cap, "%" PRId64 "h%" PRId64 "m", s / 3600, s / 60 % 60);
    else if (s < 86400)
        snprintf(out, cap, "%" PRId64 "h", s / 3600);
    else if (s / 3600 % 24 != 0)
        snprintf(out, cap, "%" PRId64 "d%" PRId64 "h", s / 86400, s / 3600 % 24);
    else
        snprintf(out, cap, "%" PRId64 "d", s / 86400);
}

const char *text_exact_duration(int64_t ms, char out[32])
{
    static const struct {
        int64_t ms;
        const char *name;
    } units[] = { { 86400000, "d" }, { 3600000, "h" }, { 60000, "m" }, { 1000, "s" }, { 1, "ms" } };
    size_t i = 0;
    while (ms % units[i].ms != 0)
        i++;
    snprintf(out, 32, "%" PRId64 "%s", ms / units[i].ms, ms == 0 ? "" : units[i].name);
    return out;
}

int text_host_port(struct span s, struct span *host, uint16_t *port)
{
    uint64_t v;
    const char *colon = s.n > 0 ? memrchr(s.p, ':', s.n) : NULL;
    if (colon == NULL)
        return ERR_BAD;
    struct span name = span_of(s.p, (size_t)(colon - s.p)), digits = span_sub(s, name.n + 1);
    if (digits.n > 5 || text_u64(digits, &v) != 0 || v == 0 || v > UINT16_MAX)
        return ERR_BAD;
    if (name.n >= 2 && name.p[0] == '[' && name.p[name.n - 1] == ']')
        name = span_of(name.p + 1, name.n - 2);
    else if (memchr(name.p, ':', name.n) != NULL)
        return ERR_BAD;
    if (name.n == 0)
        return ERR_BAD;
    *host = name;
    *port = (uint16_t)v;
    return 0;
}
