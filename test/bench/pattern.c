/* Texts with counters in them. */
#include "test/bench/pattern.h"

#include "base/err.h"
#include "base/text.h"

static int parse_counter(struct span in, struct pattern_part *part)
{
    *part = (struct pattern_part){ .counter = in.n > 0 ? in.p[0] : '\0' };
    if (part->counter != 'n' && part->counter != 'r' && part->counter != 's')
        return ERR_BAD;
    if (in.n == 1)
        return 0;
    if (in.p[1] != '%' || text_u64(span_sub(in, 2), &part->modulo) != 0 || part->modulo == 0)
        return ERR_BAD;
    return 0;
}

int pattern_init(struct pattern *p, const char *text)
{
    *p = (struct pattern){ 0 };
    while (*text != '\0') {
        if (p->nparts == PATTERN_PARTS)
            return ERR_BAD;
        struct pattern_part *part = &p->parts[p->nparts++];
        size_t n = strcspn(text, "{");
        if (n > 0) {
            part->text = span_of(text, n);
            text += n;
            continue;
        }
        const char *end = strchr(text, '}');
        if (end == NULL || parse_counter(span_of(text + 1, (size_t)(end - text - 1)), part) != 0)
            return ERR_BAD;
        text = end + 1;
    }
    return 0;
}

int pattern_put(struct buf *out, const struct pattern *p, const struct pattern_values *v)
{
    for (unsigned i = 0; i < p->nparts; i++) {
        const struct pattern_part *part = &p->parts[i];
        if (part->counter == '\0') {
            buf_put_span(out, part->text);
            continue;
        }
        uint64_t n = part->counter == 'n' ? v->message : part->counter == 'r' ? v->rcpt : v->session;
        if (part->modulo != 0)
            n %= part->modulo;
        char digits[24];
        size_t at = sizeof digits;
        do {
            digits[--at] = (char)('0' + n % 10);
            n /= 10;
        } while (n != 0);
        buf_put(out, digits + at, sizeof digits - at);
    }
    return buf_err(out);
}
