/* Canonical forms: RFC 6376 section 3.4. Pure. */
#include "node/dkim/canon.h"

#include "base/err.h"

const char *dkim_canon_name(enum dkim_canon canon)
{
    return canon == DKIM_SIMPLE ? "simple" : "relaxed";
}

/* ---- header -------------------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static void put_relaxed(struct span name, struct span value, struct buf *out)
{
    while (name.n > 0 && is_blank(name.p[name.n - 1]))
        name.n--;
    for (size_t i = 0; i < name.n; i++)
        buf_put_char(out, lower(name.p[i]));
    buf_put_char(out, ':');
    bool blank = false, any = false;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '\r' && i + 1 < value.n && value.p[i + 1] == '\n') {
            i++; /* unfolded */
        } else if (is_blank(value.p[i])) {
            blank = any;
        } else {
            if (blank)
                buf_put_char(out, ' ');
            buf_put_char(out, value.p[i]);
            blank = false;
            any = true;
        }
    }
    buf_put_str(out, "\r\n");
}

int dkim_canon_field(enum dkim_canon canon, struct span whole, struct buf *out)
{
    const char *colon = whole.n == 0 ? NULL : memchr(whole.p, ':', whole.n);
    if (colon == NULL)
        return ERR_BAD;
    size_t name = (size_t)(colon - whole.p);
    if (canon == DKIM_RELAXED) {
        put_relaxed(span_of(whole.p, name), span_sub(whole, name + 1), out);
        return buf_err(out);
    }
    buf_put_span(out, whole);
    if (whole.n < 2 || memcmp(whole.p + whole.n - 2, "\r\n", 2) != 0)
        buf_put_str(out, "\r\n");
    return buf_err(out);
}

/* ---- body ---------------------------------------------------------------------------------------------- */

void dkim_canon_body_init(struct dkim_canon_body *b, enum dkim_canon canon, dkim_canon_put_fn *put, void *ctx)
{
    b->canon = canon;
    b->put = put;
    b->ctx = ctx;
    b->cr = false;
    b->blank = false;
    b->any = false;
    b->lines = 0;
    b->n = 0;
}

static void flush(struct dkim_canon_body *b)
{
    if (b->n > 0)
        b->put(b->ctx, b->block, b->n);
    b->n = 0;
}

static void put(struct dkim_canon_body *b, const char *p, size_t n)
{
    if (n > sizeof b->block - b->n)
        flush(b);
    if (n > sizeof b->block) {
        b->put(b->ctx, p, n);
        return;
    }
    memcpy(b->block + b->n, p, n);
    b->n += n;
}

/* Octets that are neither CR nor, relaxed, blanks come next: what was kept back is given out before them. */
static void put_kept(struct dkim_canon_body *b)
{
    for (; b->lines > 0; b->lines--)
        put(b, "\r\n", 2);
    if (b->blank)
        put(b, " ", 1);
    b->blank = false;
    b->any = true;
}

/* The octet after a CR. Returns whether it was the line's end. */
static bool after_cr(struct dkim_canon_body *b, char c)
{
    b->cr = false;
    if (c == '\n') {
        b->blank = false; /* at the end of a line */
        b->lines++;
        return true;
    }
    put_kept(b);
    put(b, "\r", 1);
    return false;
}

/* How many octets from p on stay as they are. */
static size_t plain_run(const struct dkim_canon_body *b, const char *p, size_t n)
{
    size_t i = 0;
    if (b->canon == DKIM_SIMPLE) {
        const char *cr = memchr(p, '\r', n);
        return cr == NULL ? n : (size_t)(cr - p);
    }
    while (i < n && p[i] != '\r' && p[i] != ' ' && p[i] != '\t')
        i++;
    return i;
}

void dkim_canon_body_feed(struct dkim_canon_body *b, struct span s)
{
    for (size_t i = 0; i < s.n;) {
        if (b->cr && after_cr(b, s.p[i])) {
            i++;
            continue;
        }
        if (s.p[i] == '\r') {
            b->cr = true;
            i++;
        } else if (b->canon == DKIM_RELAXED && is_blank(s.p[i])) {
            b->blank = true;
            i++;
        } else {
            size_t n = plain_run(b, s.p + i, s.n - i);
            put_kept(b);
            put(b, s.p + i, n);
            i += n;
        }
    }
}

void dkim_canon_body_end(struct dkim_canon_body *b)
{
    if (b->cr) {
        put_kept(b);
        put(b, "\r", 1);
        b->cr = false;
    }
    /* Empty lines at the end count for nothing; the last line has an end. Of nothing, "simple" makes an empty
     * line, and "relaxed" nothing. */
    if (b->any || b->canon == DKIM_SIMPLE)
        put(b, "\r\n", 2);
    flush(b);
}
