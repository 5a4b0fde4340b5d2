/* MIME on a message in memory: see mime.h. Pure; any thread. */
#include "node/bounce/mime.h"

#include "base/base64.h"
#include "base/text.h"

#include <string.h>

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct span trim(struct span s)
{
    while (s.n > 0 && is_blank(s.p[0]))
        s = span_sub(s, 1);
    while (s.n > 0 && (is_blank(s.p[s.n - 1]) || s.p[s.n - 1] == '\r'))
        s.n--;
    return s;
}

bool mime_line(struct span s, size_t *at, struct span *line)
{
    if (*at >= s.n)
        return false;
    const char *p = s.p + *at, *end = memchr(p, '\n', s.n - *at);
    size_t n = end == NULL ? s.n - *at : (size_t)(end - p);
    *at += n + (end == NULL ? 0 : 1);
    *line = span_of(p, n > 0 && p[n - 1] == '\r' ? n - 1 : n);
    return true;
}

/* ---- header ---------------------------------------------------------------------------------------------
 */

static void field_add(struct mime_field *f, struct span line)
{
    line = trim(line);
    if (f->n > 0 && line.n > 0 && f->n < MIME_VALUE_MAX)
        f->value[f->n++] = ' ';
    for (size_t i = 0; i < line.n && f->n < MIME_VALUE_MAX; i++)
        f->value[f->n++] = (unsigned char)line.p[i] < ' ' || line.p[i] == 0x7f ? ' ' : line.p[i];
}

/* The length of a field's name, before its colon; 0: no field. */
static size_t name_length(struct span line)
{
    size_t n = 0;
    while (n < line.n && line.p[n] > ' ' && line.p[n] < 0x7f && line.p[n] != ':')
        n++;
    size_t colon = n;
    while (colon < line.n && is_blank(line.p[colon]))
        colon++;
    return colon < line.n && line.p[colon] == ':' ? n : 0;
}

bool mime_field_next(struct span s, size_t *at, struct mime_field *out)
{
    size_t start = *at;
    struct span line;
    if (!mime_line(s, at, &line))
        return false;
    size_t n = name_length(line);
    if (n == 0) {
        if (line.n != 0)
            *at = start;
        return false;
    }
    out->name = span_of(line.p, n);
    out->n = 0;
    field_add(out, span_sub(line, (size_t)((const char *)memchr(line.p, ':', line.n) - line.p) + 1));
    while (*at < s.n && is_blank(s.p[*at]) && mime_line(s, at, &line))
        field_add(out, line);
    return true;
}

static void copy_lower(char *out, size_t cap, struct span s)
{
    size_t n = s.n < cap - 1 ? s.n : cap - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = lower(s.p[i]);
    out[n] = 0;
}

/* One "; name=value" of a field from *at on; the value without its quotes. */
static bool parameter_next(struct span v, size_t *at, struct span *name, char *value, size_t cap)
{
    const char *semi = *at < v.n ? memchr(v.p + *at, ';', v.n - *at) : NULL;
    if (semi == NULL)
        return false;
    size_t i = (size_t)(semi - v.p) + 1, n = 0;
    const char *equals = memchr(v.p + i, '=', v.n - i);
    *at = i;
    if (equals == NULL)
        return false;
    *name = trim(span_of(v.p + i, (size_t)(equals - v.p) - i));
    i = (size_t)(equals - v.p) + 1;
    while (i < v.n && is_blank(v.p[i]))
        i++;
    bool quoted = i < v.n && v.p[i] == '"';
    for (i += quoted ? 1 : 0; i < v.n; i++) {
        if (quoted ? v.p[i] == '"' : v.p[i] == ';' || is_blank(v.p[i]))
            break;
        if (quoted && v.p[i] == '\\' && i + 1 < v.n)
            i++;
        if (n < cap - 1)
            value[n++] = v.p[i];
    }
    value[n] = 0;
    *at = i;
    return true;
}

static void read_type(struct mime_entity *e, struct span v)
{
    const char *end = memchr(v.p, ';', v.n);
    copy_lower(e->type, sizeof e->type, trim(span_of(v.p, end == NULL ? v.n : (size_t)(end - v.p))));
    struct span name;
    char value[128];
    for (size_t at = 0; parameter_next(v, &at, &name, value, sizeof value);) {
        if (span_eq_nocase(name, SPAN_LIT("boundary")) && strlen(value) < sizeof e->boundary)
            strcpy(e->boundary, value);
        else if (span_eq_nocase(name, SPAN_LIT("report-type")))
            copy_lower(e->report, sizeof e->report, span_str(value));
    }
}

void mime_entity_read(struct span s, struct mime_entity *out)
{
    *out = (struct mime_entity){ .type = "text/plain" };
    struct mime_field f;
    size_t at = 0;
    while (mime_field_next(s, &at, &f)) {
        struct span v = mime_field_value(&f);
        if (span_eq_nocase(f.name, SPAN_LIT("content-type")) && v.n > 0)
            read_type(out, v);
        else if (!span_eq_nocase(f.name, SPAN_LIT("content-transfer-encoding")))
            continue;
        else if (span_eq_nocase(v, SPAN_LIT("quoted-printable")))
            out->encoding = MIME_QUOTED_PRINTABLE;
        else if (span_eq_nocase(v, SPAN_LIT("base64")))
            out->encoding = MIME_BASE64;
    }
    out->header = span_of(s.p, at);
    out->body = span_sub(s, at);
}

/* ---- multipart ------------------------------------------------------------------------------------------
 */

/* 0: no delimiter; 1: one; 2: the last. */
static int delimiter(struct span line, struct span boundary)
{
    line = trim(line);
    if (line.n < boundary.n + 2 || line.p[0] != '-' || line.p[1] != '-' ||
        !span_eq(span_of(line.p + 2, boundary.n), boundary))
        return 0;
    struct span rest = span_sub(line, boundary.n + 2);
    return rest.n == 0 ? 1 : span_eq(rest, SPAN_LIT("--")) ? 2 : 0;
}

bool mime_part_next(const struct mime_entity *e, size_t *at, struct span *part)
{
    struct span boundary = span_str(e->boundary), line;
    if (boundary.n == 0)
        return false;
    int found = 0;
    while (found == 0 && mime_line(e->body, at, &line))
        found = delimiter(line, boundary);
    if (found != 1)
        return false;
    size_t start = *at, end = start, next = start;
    while (mime_line(e->body, &next, &line)) {
        if (delimiter(line, boundary) != 0)
            break;
        end = next;
    }
    *part = span_of(e->body.p + start, end - start);
    *at = end;
    return true;
}

/* ---- transfer encodings ---------------------------------------------------------------------------------
 */

static void quoted_printable(struct span s, struct buf *out)
{
    struct span line;
    for (size_t at = 0; mime_line(s, &at, &line) && buf_err(out) == 0;) {
        while (line.n > 0 && is_blank(line.p[line.n - 1]))
            line.n--;
        bool soft = line.n > 0 && line.p[line.n - 1] == '=';
        line.n -= soft ? 1 : 0;
        for (size_t i = 0; i < line.n; i++) {
            int high = line.p[i] == '=' && i + 2 < line.n ? text_hex_value(line.p[i + 1]) : -1;
            int low = high >= 0 ? text_hex_value(line.p[i + 2]) : -1;
            (void)buf_put_char(out, (char)(low >= 0 ? high << 4 | low : line.p[i]));
            i += low >= 0 ? 2 : 0;
        }
        if (!soft)
            (void)buf_put_str(out, "\r\n");
    }
}

static void base64(struct span s, struct buf *out)
{
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < s.n && s.p[i] != '=' && buf_err(out) == 0; i++) {
        int v = base64_value(s.p[i]);
        if (v < 0)
            continue;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            (void)buf_put_char(out, (char)(bits >> have & 0xff));
        }
    }
}

struct span mime_body(const struct mime_entity *e, struct buf *out)
{
    if (e->encoding == MIME_PLAIN)
        return e->body;
    size_t start = out->len;
    if (e->encoding == MIME_BASE64)
        base64(e->body, out);
    else
        quoted_printable(e->body, out);
    return span_of(out->data + start, out->len - start);
}
