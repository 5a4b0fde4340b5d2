/* Writes JSON text into a buffer. */
#include "node/admin/json_out.h"

#include "base/text.h"

#include <inttypes.h>
#include <math.h>

void json_out_init(struct json_out *j, struct buf *buf)
{
    *j = (struct json_out){ .buf = buf };
}

void json_out_begin(struct json_out *j, struct buf *buf)
{
    json_out_init(j, buf);
    json_out_open(j, NULL, '{');
}

int json_out_end(struct json_out *j)
{
    json_out_close(j, '}');
    return buf_put_char(j->buf, '\n');
}

static void member(struct json_out *j, const char *key)
{
    if (j->need_comma)
        buf_put_char(j->buf, ',');
    j->need_comma = true;
    if (key != NULL)
        buf_printf(j->buf, "\"%s\":", key);
}

void json_out_open(struct json_out *j, const char *key, char bracket)
{
    member(j, key);
    buf_put_char(j->buf, bracket);
    j->need_comma = false;
}

void json_out_close(struct json_out *j, char bracket)
{
    buf_put_char(j->buf, bracket);
    j->need_comma = true;
}

void json_out_span(struct json_out *j, const char *key, struct span s)
{
    member(j, key);
    text_put_json(j->buf, s);
}

void json_out_str(struct json_out *j, const char *key, const char *s)
{
    json_out_span(j, key, span_str(s));
}

void json_out_opt(struct json_out *j, const char *key, struct span s)
{
    if (s.n == 0)
        json_out_null(j, key);
    else
        json_out_span(j, key, s);
}

void json_out_u64(struct json_out *j, const char *key, uint64_t v)
{
    member(j, key);
    buf_printf(j->buf, "%" PRIu64, v);
}

void json_out_i64(struct json_out *j, const char *key, int64_t v)
{
    member(j, key);
    buf_printf(j->buf, "%" PRId64, v);
}

void json_out_time(struct json_out *j, const char *key, int64_t ms)
{
    if (ms == 0)
        json_out_null(j, key);
    else
        json_out_i64(j, key, ms);
}

void json_out_real(struct json_out *j, const char *key, double v)
{
    member(j, key);
    /* JSON has no word for infinity; the locale is never set, so the point is a point. */
    buf_printf(j->buf, "%.3f", isfinite(v) ? v : 0.0);
}

void json_out_raw(struct json_out *j, const char *key, struct span text)
{
    member(j, key);
    buf_put_span(j->buf, text);
}

void json_out_bool(struct json_out *j, const char *key, bool v)
{
    member(j, key);
    buf_put_str(j->buf, v ? "true" : "false");
}

void json_out_null(struct json_out *j, const char *key)
{
    member(j, key);
    buf_put_str(j->buf, "null");
}

void json_out_split(struct json_out *j, const char *key, struct span list, char mark)
{
    json_out_open(j, key, '[');
    while (list.n > 0) {
        const char *end = memchr(list.p, mark, list.n);
        size_t n = end != NULL ? (size_t)(end - list.p) : list.n;
        json_out_span(j, NULL, span_of(list.p, n));
        list = span_sub(list, n + 1);
    }
    json_out_close(j, ']');
}
