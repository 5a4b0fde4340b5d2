/* Scans a message's header line by line as it arrives. Reads no addresses (address.c) and changes nothing
 * (rewrite.c). Runs on its session's thread.
 */
#include "node/mail/header.h"

#include "base/ensure.h"
#include "base/text.h"

void mail_header_init(struct mail_header *h, size_t max_bytes)
{
    *h = (struct mail_header){ .max_bytes = max_bytes == 0 ? MAIL_HEADER_BYTES : max_bytes };
    buf_init(&h->block, h->max_bytes);
}

void mail_header_fini(struct mail_header *h)
{
    buf_fini(&h->block);
}

void mail_header_reset(struct mail_header *h)
{
    struct buf block = h->block;
    buf_reset(&block);
    buf_shrink(&block, 16384);
    *h = (struct mail_header){ .max_bytes = h->max_bytes, .block = block };
}

/* The length of the name when the line begins a field, else 0. Blanks before the colon: RFC 5322 section 4.5.
 */
static size_t name_length(const char *p, size_t n)
{
    size_t i = 0, name;
    while (i < n && (unsigned char)p[i] > ' ' && (unsigned char)p[i] < 0x7f && p[i] != ':')
        i++;
    name = i;
    while (i < n && (p[i] == ' ' || p[i] == '\t'))
        i++;
    return i < n && p[i] == ':' ? name : 0;
}

static size_t trim_end(const char *p, size_t n)
{
    while (n > 0 && (p[n - 1] == '\r' || p[n - 1] == '\n' || p[n - 1] == ' ' || p[n - 1] == '\t'))
        n--;
    return n;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool mail_header_next(const struct mail_header *h, size_t *at, struct mail_header_field *f)
{
    if (*at >= h->end)
        return false;
    const char *p = h->block.data + *at, *end = h->block.data + h->end;
    const char *stop = p;
    do {
        const char *lf = memchr(stop, '\n', (size_t)(end - stop));
        stop = lf == NULL ? end : lf + 1;
    } while (stop < end && (*stop == ' ' || *stop == '\t'));
    f->whole = span_of(p, (size_t)(stop - p));
    f->name = span_of(p, name_length(p, f->whole.n));
    ensure(f->name.n > 0);
    const char *value = (const char *)memchr(p, ':', f->whole.n) + 1;
    while (value < stop && is_blank(*value))
        value++;
    f->value = span_of(value, trim_end(value, (size_t)(stop - value)));
    *at += f->whole.n;
    return true;
}

/* The "<...>" of a Message-ID; what stands around it is left out. */
static struct span msg_id(struct span value)
{
    const char *open = memchr(value.p, '<', value.n);
    if (open == NULL)
        return (struct span){ value.p, 0 };
    struct span rest = span_of(open, value.n - (size_t)(open - value.p));
    const char *close = memchr(rest.p, '>', rest.n);
    if (close == NULL)
        return (struct span){ value.p, 0 };
    struct span id = span_of(open, (size_t)(close - open) + 1);
    for (size_t i = 0; i < id.n; i++)
        if ((unsigned char)id.p[i] <= ' ' || id.p[i] == 0x7f)
            return (struct span){ value.p, 0 };
    return id;
}

static bool is(struct span name, const char *what)
{
    return span_eq_nocase(name, span_str(what));
}

static void keep_first(struct span *to, struct span value)
{
    if (to->p == NULL)
        *to = value;
}

static void look_at(struct mail_header *h)
{
    struct mail_header_info *info = &h->info;
    struct mail_header_field f;
    uint32_t tls_fields = 0;
    for (size_t at = 0; mail_header_next(h, &at, &f);) {
        if (is(f.name, "date")) {
            info->has_date = true;
        } else if (is(f.name, "message-id")) {
            info->has_message_id = true;
            if (info->message_id.n == 0)
                info->message_id = msg_id(f.value);
        } else if (is(f.name, "from")) {
            info->from_fields++;
            keep_first(&info->from, f.value);
        } else if (is(f.name, "sender")) {
            keep_first(&info->sender, f.value);
        } else if (is(f.name, "subject")) {
            keep_first(&info->subject, f.value);
        } else if (is(f.name, "bcc") || is(f.name, "resent-bcc")) {
            info->has_bcc = true;
        } else if (is(f.name, "tls-required")) {
            info->tls_not_required = tls_fields++ == 0 && is(span_trim(f.value), "no");
        }
    }
    info->eight_bit = !text_ascii(span_of(h->block.data, h->end));
}

/* The header ends at `end`. A last line after it is body, or the empty line, which is written again. */
static enum mail_header_result complete(struct mail_header *h, size_t end, bool empty_line)
{
    h->done = true;
    h->end = end;
    if (empty_line)
        h->block.len = end;
    look_at(h);
    return MAIL_HEADER_DONE;
}

/* The present line is complete. */
static enum mail_header_result line_done(struct mail_header *h)
{
    const char *p = h->block.data + h->line;
    size_t n = h->block.len - h->line, text = n;
    while (text > 0 && (p[text - 1] == '\n' || p[text - 1] == '\r'))
        text--;
    if (text == 0)
        return complete(h, h->line, true);
    bool continues = h->line > 0 && (*p == ' ' || *p == '\t');
    size_t name = continues ? 0 : name_length(p, text);
    if (!continues && name == 0) {
        h->info.cut = true;
        return complete(h, h->line, false);
    }
    if (name == 8 && span_eq_nocase(span_of(p, name), SPAN_LIT("received")))
        if (++h->info.received > MAIL_HEADER_RECEIVED_MAX)
            return MAIL_HEADER_LOOP;
    h->line = h->block.len;
    return MAIL_HEADER_MORE;
}

enum mail_header_result mail_header_feed(struct mail_header *h, const char *p, size_t n, size_t *used)
{
    ensure(!h->done);
    for (*used = 0; *used < n;) {
        const char *lf = memchr(p + *used, '\n', n - *used);
        size_t take = lf == NULL ? n - *used : (size_t)(lf - p) + 1 - *used;
        if (take > h->max_bytes - h->block.len)
            return MAIL_HEADER_TOO_LONG;
        if (buf_put(&h->block, p + *used, take) != 0)
            return MAIL_HEADER_NO_MEMORY;
        *used += take;
        if (lf == NULL)
            break;
        enum mail_header_result result = line_done(h);
        if (result != MAIL_HEADER_MORE)
            return result;
    }
    return MAIL_HEADER_MORE;
}

enum mail_header_result mail_header_end(struct mail_header *h)
{
    ensure(!h->done);
    if (h->block.len > h->line) {
        enum mail_header_result result = line_done(h);
        if (result != MAIL_HEADER_MORE)
            return result;
    }
    return complete(h, h->block.len, false);
}

const struct mail_header_info *mail_header_info(const struct mail_header *h)
{
    return &h->info;
}

struct span mail_header_rest(const struct mail_header *h)
{
    if (!h->done || h->block.len == h->end)
        return (struct span){ "", 0 };
    return span_of(h->block.data + h->end, h->block.len - h->end);
}

int mail_header_addresses(const struct mail_header *h, struct span name, mail_address_fn *fn, void *ctx)
{
    struct mail_header_field f;
    for (size_t at = 0; mail_header_next(h, &at, &f);) {
        int err = span_eq_nocase(f.name, name) ? mail_address_each(f.value, fn, ctx) : 0;
        if (err != 0)
            return err;
    }
    return 0;
}
