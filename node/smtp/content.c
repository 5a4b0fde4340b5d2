/* The content of a message, line by line without looking at each octet: memchr does. See the header. Pure. */
#include "node/smtp/content.h"

#include "base/ensure.h"

/* The most spans that one turn of the loop in smtp_content_read adds. */
#define SPANS_PER_TURN 3

/* One call of smtp_content_read. What lies between `run` and `at` is content not yet in a span. */
struct reader {
    struct smtp_content *c;
    const struct smtp_content_limits *limits;
    struct smtp_server_result *out;
    const char *run;
    const char *at;
    const char *end;
};

void smtp_content_init(struct smtp_content *c, bool dots, bool normalise)
{
    *c = (struct smtp_content){
        .at = SMTP_CONTENT_START, .dots = dots, .normalise = normalise, .after_crlf = true, .in_header = true
    };
}

static void emit(struct smtp_content *c, struct smtp_server_result *out, struct span s)
{
    if (s.n == 0)
        return;
    ensure(out->nspans < SMTP_SERVER_SPANS);
    out->spans[out->nspans++] = s;
    c->bytes += s.n;
}

/* Everything up to `to` becomes a span; the next one begins at `from`. */
static void flush(struct reader *r, const char *to, const char *from)
{
    emit(r->c, r->out, span_of(r->run, (size_t)(to - r->run)));
    r->run = from;
}

static void line_grows(struct reader *r, size_t n)
{
    r->c->line_bytes += n;
    if (r->limits->line_bytes != 0 && r->c->line_bytes > r->limits->line_bytes)
        r->c->line_too_long = true;
}

static void line_ends(struct reader *r, bool crlf)
{
    struct smtp_content *c = r->c;
    if (c->in_header) {
        if (c->line_bytes == 0)
            c->in_header = false;
        else if (++c->header_lines > r->limits->header_lines && r->limits->header_lines != 0)
            c->header_too_long = true;
    }
    c->line_bytes = 0;
    c->after_crlf = crlf;
    c->at = SMTP_CONTENT_START;
}

/* r->at is at a LF that no CR precedes. */
static enum smtp_content_verdict bare_lf(struct reader *r)
{
    if (!r->c->normalise)
        return SMTP_CONTENT_BARE_LF;
    flush(r, r->at, r->at);
    emit(r->c, r->out, SPAN_LIT("\r"));
    r->at++;
    line_ends(r, false);
    return SMTP_CONTENT_MORE;
}

/* In START or MID, with an octet to read: to the end of the line, or of what there is. */
static enum smtp_content_verdict read_line(struct reader *r)
{
    struct smtp_content *c = r->c;
    if (c->at == SMTP_CONTENT_START && c->dots && *r->at == '.') {
        flush(r, r->at, r->at + 1);
        r->at++;
        c->at = SMTP_CONTENT_DOT;
        return SMTP_CONTENT_MORE;
    }
    size_t left = (size_t)(r->end - r->at);
    const char *lf = memchr(r->at, '\n', left);
    bool crlf = lf != NULL && lf > r->at && lf[-1] == '\r';
    const char *stop = lf == NULL ? r->end : crlf ? lf - 1 : lf;
    const char *cr = memchr(r->at, '\r', (size_t)(stop - r->at));
    if (cr != NULL && (lf != NULL || cr + 1 != r->end))
        return SMTP_CONTENT_BARE_CR;
    line_grows(r, (size_t)((cr == NULL ? stop : cr) - r->at));
    if (cr != NULL) { /* the last octet: what comes next decides */
        flush(r, cr, r->end);
        c->at = SMTP_CONTENT_CR;
        r->at = r->end;
    } else if (crlf) {
        r->at = lf + 1;
        line_ends(r, true);
    } else if (lf != NULL) {
        r->at = lf;
        return bare_lf(r);
    } else {
        r->at = r->end;
        c->at = SMTP_CONTENT_MID;
    }
    return SMTP_CONTENT_MORE;
}

static enum smtp_content_verdict read_after_cr(struct reader *r)
{
    if (*r->at != '\n')
        return SMTP_CONTENT_BARE_CR;
    emit(r->c, r->out, SPAN_LIT("\r"));
    r->run = r->at++;
    line_ends(r, true);
    return SMTP_CONTENT_MORE;
}

static enum smtp_content_verdict read_after_dot(struct reader *r)
{
    r->run = r->at;
    if (*r->at == '\r') {
        r->run = ++r->at;
        r->c->at = SMTP_CONTENT_DOT_CR;
        return SMTP_CONTENT_MORE;
    }
    if (*r->at == '\n') { /* normalised: a line with a dot on it, which was never stuffed */
        if (!r->c->normalise)
            return SMTP_CONTENT_BARE_LF;
        emit(r->c, r->out, SPAN_LIT("."));
        line_grows(r, 1);
        return bare_lf(r);
    }
    r->c->at = SMTP_CONTENT_MID;
    return SMTP_CONTENT_MORE;
}

static enum smtp_content_verdict read_after_dot_cr(struct reader *r)
{
    if (*r->at != '\n')
        return SMTP_CONTENT_BARE_CR;
    r->run = r->at++;
    if (r->c->after_crlf) {
        r->run = r->at;
        return SMTP_CONTENT_END;
    }
    emit(r->c, r->out, SPAN_LIT(".\r"));
    line_grows(r, 1);
    line_ends(r, true);
    return SMTP_CONTENT_MORE;
}

static enum smtp_content_verdict read_turn(struct reader *r)
{
    switch ((enum smtp_content_at)r->c->at) {
    case SMTP_CONTENT_START:
    case SMTP_CONTENT_MID:
        return read_line(r);
    case SMTP_CONTENT_CR:
        return read_after_cr(r);
    case SMTP_CONTENT_DOT:
        return read_after_dot(r);
    case SMTP_CONTENT_DOT_CR:
        break;
    }
    return read_after_dot_cr(r);
}

enum smtp_content_verdict smtp_content_read(struct smtp_content *c, const struct smtp_content_limits *limits,
                                            const char *p, size_t n, struct smtp_server_result *out,
                                            size_t *used)
{
    struct reader r = { .c = c, .limits = limits, .out = out, .run = p, .at = p, .end = p + n };
    uint32_t spans_before = out->nspans;
    enum smtp_content_verdict v = SMTP_CONTENT_MORE;
    /* one span more stays free for the run that is flushed at the end */
    while (v == SMTP_CONTENT_MORE && r.at < r.end && out->nspans + SPANS_PER_TURN < SMTP_SERVER_SPANS)
        v = read_turn(&r);
    if (v <= SMTP_CONTENT_END)
        flush(&r, r.at, r.at);
    *used = (size_t)(r.at - p);
    if (v <= SMTP_CONTENT_END && *used > 0 && memchr(p, '\0', *used) != NULL)
        v = SMTP_CONTENT_NUL;
    if (limits->bytes != 0 && c->bytes > limits->bytes)
        c->too_big = true;
    if (v > SMTP_CONTENT_END)
        out->nspans = spans_before;
    return v;
}

enum smtp_content_verdict smtp_content_finish(struct smtp_content *c, struct smtp_server_result *out)
{
    ensure(!c->dots);
    if (c->at == SMTP_CONTENT_CR)
        return SMTP_CONTENT_BARE_CR;
    if (c->at != SMTP_CONTENT_START)
        emit(c, out, SPAN_LIT("\r\n"));
    c->at = SMTP_CONTENT_START;
    return SMTP_CONTENT_MORE;
}
