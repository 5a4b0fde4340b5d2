/* A message made harmless to look at: see preview.h. */
#include "node/bounce/preview.h"

#include "base/base64.h"
#include "base/text.h"
#include "node/bounce/mime.h"

#include <string.h>

/* ---- characters ---------------------------------------------------------------------------------------- */

static unsigned code_of(const unsigned char *p, size_t n)
{
    static const unsigned char first[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
    unsigned code = p[0] & first[n];
    for (size_t i = 1; i < n; i++)
        code = code << 6 | (p[i] & 0x3f);
    return code;
}

/* Control characters, those that turn the direction of text or take no room, separators of lines, private ones. */
static bool treacherous(unsigned c)
{
    static const struct {
        unsigned from, to;
    } ranges[] = { { 0x7f, 0x9f },     { 0xad, 0xad },     { 0x34f, 0x34f },   { 0x61c, 0x61c },   { 0x115f, 0x1160 },
                   { 0x180b, 0x180e }, { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xd800, 0xf8ff },
                   { 0xfe00, 0xfe0f }, { 0xfeff, 0xfeff }, { 0xfff0, 0xfffb }, { 0xfffe, 0xffff }, { 0xe0000, 0x10ffff } };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (c >= ranges[i].from && c <= ranges[i].to)
            return true;
    return c < 0x20;
}

/* False: there is no room for all of it. */
static bool put_safe(struct buf *out, struct span s, size_t max)
{
    for (size_t i = 0; i < s.n;) {
        const unsigned char *p = (const unsigned char *)s.p + i;
        size_t n = text_utf8_len(s.p + i, s.n - i);
        if (out->len + 12 > max)
            return false;
        if (n == 0)
            buf_printf(out, "\\x%02X", *p);
        else if (*p == '\t')
            buf_put_char(out, ' ');
        else if (treacherous(code_of(p, n)))
            buf_printf(out, n == 1 ? "\\x%02X" : "\\u{%X}", code_of(p, n));
        else
            buf_put(out, p, n);
        i += n == 0 ? 1 : n;
    }
    return true;
}

/* Bytes that are no UTF-8 are most often Latin-1. */
static struct span as_utf8(struct span s, struct buf *room)
{
    if (text_utf8_valid(s))
        return s;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x80)
            buf_put_char(room, (char)(0xc0 | c >> 6));
        buf_put_char(room, (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c));
    }
    return buf_span(room);
}

/* ---- header -------------------------------------------------------------------------------------------- */

static void put_q(struct span text, struct buf *out)
{
    for (size_t i = 0; i < text.n; i++) {
        int high = text.p[i] == '=' && i + 2 < text.n ? text_hex_value(text.p[i + 1]) : -1;
        int low = high >= 0 ? text_hex_value(text.p[i + 2]) : -1;
        if (low >= 0)
            i += 2;
        buf_put_char(out, low >= 0 ? (char)(high * 16 + low) : text.p[i] == '_' ? ' ' : text.p[i]);
    }
}

/* "=?utf-8?q?caf=C3=A9?=" at the start of s: its length, and what it says behind `out`. 0: none. RFC 2047. */
static size_t encoded_word(struct span s, struct buf *out)
{
    struct span rest = span_sub(s, 2);
    if (!span_starts(s, SPAN_LIT("=?")))
        return 0;
    struct span charset = span_cut(&rest, '?'), how = span_cut(&rest, '?'), text = span_cut(&rest, '?');
    if (charset.n == 0 || how.n != 1 || rest.n == 0 || rest.p[0] != '=')
        return 0;
    if (how.p[0] == 'q' || how.p[0] == 'Q') {
        put_q(text, out);
    } else if (how.p[0] == 'b' || how.p[0] == 'B') {
        struct mime_entity e = { .encoding = MIME_BASE64, .body = text };
        struct buf plain;
        buf_init(&plain, MIME_VALUE_MAX);
        buf_put_span(out, mime_body(&e, &plain));
        buf_fini(&plain);
    } else {
        return 0;
    }
    return (size_t)(rest.p + 1 - s.p);
}

static void put_value(struct span value, struct buf *out)
{
    bool after_word = false;
    for (size_t i = 0; i < value.n;) {
        size_t n = encoded_word(span_sub(value, i), out);
        if (n == 0) {
            buf_put_char(out, value.p[i++]);
            after_word = false;
            continue;
        }
        i += n;
        size_t blank = i;
        while (blank < value.n && value.p[blank] == ' ')
            blank++;
        after_word = span_starts(span_sub(value, blank), SPAN_LIT("=?"));
        if (after_word)
            i = blank; /* blanks between two of them say nothing */
    }
}

void preview_fields(struct span message, preview_field_fn *fn, void *arg)
{
    struct mime_field f;
    size_t at = 0;
    for (uint32_t n = 0; n < PREVIEW_FIELDS_MAX && mime_field_next(message, &at, &f); n++) {
        struct buf decoded, latin, safe;
        buf_init(&decoded, 4 * MIME_VALUE_MAX);
        buf_init(&latin, 8 * MIME_VALUE_MAX);
        buf_init(&safe, 8 * MIME_VALUE_MAX);
        put_value(mime_field_value(&f), &decoded);
        (void)put_safe(&safe, as_utf8(buf_span(&decoded), &latin), 2 * MIME_VALUE_MAX);
        fn(arg, span_of(f.name.p, f.name.n < 80 ? f.name.n : 80), buf_span(&safe));
        buf_fini(&decoded);
        buf_fini(&latin);
        buf_fini(&safe);
    }
}

/* ---- HTML ---------------------------------------------------------------------------------------------- */

static bool tag_is(struct span tag, const char *name)
{
    size_t n = strlen(name);
    return tag.n >= n && strncasecmp(tag.p, name, n) == 0 &&
           (tag.n == n || strchr(" \t\r\n/>", tag.p[n]) != NULL);
}

/* Where the element ends that begins here: nothing of it is text. */
static size_t skip_element(struct span s, size_t at, const char *name)
{
    for (; at + 2 < s.n; at++)
        if (s.p[at] == '<' && s.p[at + 1] == '/' && tag_is(span_sub(s, at + 2), name))
            return at;
    return s.n;
}

static void put_entity(struct span name, struct buf *out)
{
    static const struct {
        const char *name, *text;
    } known[] = { { "amp", "&" }, { "lt", "<" }, { "gt", ">" }, { "quot", "\"" }, { "apos", "'" }, { "nbsp", " " } };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (span_eq(name, span_str(known[i].name))) {
            buf_put_str(out, known[i].text);
            return;
        }
    buf_put_char(out, '&');
    buf_put_span(out, name);
    buf_put_char(out, ';');
}

static size_t tag_end(struct span s, size_t at)
{
    if (span_starts(span_sub(s, at), SPAN_LIT("<!--"))) {
        const char *end = memmem(s.p + at, s.n - at, "-->", 3);
        return end == NULL ? s.n : (size_t)(end - s.p) + 3;
    }
    const char *end = memchr(s.p + at, '>', s.n - at);
    return end == NULL ? s.n : (size_t)(end - s.p) + 1;
}

static void strip(struct span s, struct buf *out)
{
    static const char *const hidden[] = { "script", "style", "head", "title", "template", "noscript" };
    static const char *const breaks[] = { "br", "p", "div", "tr", "li", "h1", "h2", "h3", "table", "/p", "/div", "/tr" };
    size_t at = 0;
    while (at < s.n) {
        char c = s.p[at];
        const char *end = c == '&' ? memchr(s.p + at, ';', s.n - at < 10 ? s.n - at : 10) : NULL;
        if (c == '<') {
            struct span tag = span_sub(s, at + 1);
            at = tag_end(s, at);
            for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++)
                if (tag_is(tag, hidden[i]))
                    at = tag_end(s, skip_element(s, at, hidden[i]));
            for (size_t i = 0; i < sizeof breaks / sizeof breaks[0]; i++)
                if (tag_is(tag, breaks[i]))
                    buf_put_char(out, '\n');
        } else if (end != NULL) {
            put_entity(span_of(s.p + at + 1, (size_t)(end - s.p) - at - 1), out);
            at = (size_t)(end - s.p) + 1;
        } else {
            buf_put_char(out, c == '\n' || c == '\r' ? ' ' : c);
            at++;
        }
    }
}

/* ---- text ---------------------------------------------------------------------------------------------- */

/* The first part of this type, however deep. */
static bool find(struct span s, const char *type, unsigned depth, struct mime_entity *out)
{
    struct span part;
    size_t at = 0;
    mime_entity_read(s, out);
    if (strcmp(out->type, type) == 0)
        return true;
    if (depth == PREVIEW_DEPTH_MAX || strncmp(out->type, "multipart/", 10) != 0)
        return false;
    struct mime_entity whole = *out;
    for (unsigned n = 0; n < 100 && mime_part_next(&whole, &at, &part); n++)
        if (find(part, type, depth + 1, out))
            return true;
    return false;
}

enum preview_kind preview_text(struct span message, struct buf *out, bool *cut)
{
    struct mime_entity e;
    struct buf body, plain, latin;
    struct span line;
    size_t at = 0;
    unsigned empty = 0;
    if (message.n > PREVIEW_READ_MAX)
        message.n = PREVIEW_READ_MAX;
    *cut = false;
    bool is_plain = find(message, "text/plain", 0, &e);
    if (!is_plain && !find(message, "text/html", 0, &e))
        return PREVIEW_NONE;
    buf_init(&body, PREVIEW_READ_MAX);
    buf_init(&plain, 2 * PREVIEW_READ_MAX);
    buf_init(&latin, 2 * PREVIEW_READ_MAX);
    struct span text = mime_body(&e, &body);
    if (!is_plain) {
        strip(text, &plain);
        text = buf_span(&plain);
    }
    text = as_utf8(text, &latin);
    while (!*cut && mime_line(text, &at, &line)) {
        line = span_trim(line);
        empty = line.n == 0 ? empty + 1 : 0;
        if (empty > 1)
            continue;
        *cut = !put_safe(out, line, PREVIEW_TEXT_MAX - 1);
        buf_put_char(out, '\n');
    }
    buf_fini(&body);
    buf_fini(&plain);
    buf_fini(&latin);
    return is_plain ? PREVIEW_PLAIN : PREVIEW_HTML;
}
