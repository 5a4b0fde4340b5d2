/* Marks of recipients that are held, or were: see hold_mark.h. */
#include "node/shaping/hold_mark.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define MARK '\x1f'
#define WORD SPAN_LIT("\x1fhold ")
#define STEP_MS 10000 /* replies are kept once each, and a million recipients must not make as many */
#define WORDS_MAX 250 /* the other marks need their room, too */

static const char *const names[HOLD_KINDS] = { "frozen", "over_limit", "rule", "content", "operator", "released" };

const char *hold_kind_name(enum hold_kind kind)
{
    return kind < HOLD_KINDS ? names[kind] : "unknown";
}

int hold_kind_parse(struct span name)
{
    for (int k = 0; k < HOLD_RELEASED; k++)
        if (span_eq(name, span_str(names[k])))
            return k;
    return -1;
}

static bool kind_of(struct span name, enum hold_kind *out)
{
    int k = span_eq(name, span_str(names[HOLD_RELEASED])) ? HOLD_RELEASED : hold_kind_parse(name);
    *out = k < 0 ? HOLD_OPERATOR : (enum hold_kind)k;
    return k >= 0;
}

/* Where a mark begins; NULL: nowhere. */
static const char *find(struct span text)
{
    struct span rest = text;
    while (rest.n > 0) {
        const char *at = memchr(rest.p, MARK, rest.n);
        if (at == NULL)
            return NULL;
        rest = span_sub(rest, (size_t)(at - rest.p));
        if (span_starts(rest, WORD))
            return at;
        rest = span_sub(rest, 1);
    }
    return NULL;
}

bool hold_mark_parse(struct span text, struct hold_mark *out, struct span *words)
{
    const char *at = text.n == 0 ? NULL : find(text);
    uint64_t since_s;
    *out = (struct hold_mark){ .kind = HOLD_OPERATOR, .text = { "", 0 } };
    *words = text;
    if (at == NULL)
        return false;
    struct span rest = span_sub(text, (size_t)(at - text.p) + WORD.n);
    const char *next = memchr(rest.p, MARK, rest.n);
    if (next != NULL)
        rest = span_of(rest.p, (size_t)(next - rest.p));
    if (!kind_of(span_cut(&rest, ' '), &out->kind) || text_u64(span_cut(&rest, ' '), &since_s) != 0 ||
        since_s > INT64_MAX / 1000)
        return false;
    out->since_ms = (int64_t)since_s * 1000;
    out->text = rest;
    *words = span_of(text.p, (size_t)(at - text.p));
    return true;
}

static size_t put_text(char *out, size_t at, struct span text)
{
    size_t n = text.n < HOLD_TEXT_MAX ? text.n : HOLD_TEXT_MAX;
    for (size_t i = 0; i < n; i++)
        out[at + i] = (unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f ? ' ' : text.p[i];
    return at + n;
}

struct span hold_mark_format(const struct hold_mark *m, struct span words, char out[512])
{
    size_t n = words.n < WORDS_MAX ? words.n : WORDS_MAX;
    if (n > 0)
        memmove(out, words.p, n);
    int more = snprintf(out + n, 64, "%chold %s %lld%s", MARK, hold_kind_name(m->kind),
                        (long long)(m->since_ms / STEP_MS * (STEP_MS / 1000)), m->text.n > 0 ? " " : "");
    return span_of(out, put_text(out, n + (size_t)more, m->text));
}

struct span hold_mark_cut(struct span *words)
{
    const char *at = words->n == 0 ? NULL : memrchr(words->p, MARK, words->n);
    struct span mark = { "", 0 };
    if (at == NULL || !span_starts(span_sub(*words, (size_t)(at - words->p)), WORD))
        return mark;
    mark = span_sub(*words, (size_t)(at - words->p));
    *words = span_of(words->p, (size_t)(at - words->p));
    return mark;
}

struct span hold_reason_format(enum hold_kind kind, struct span text, char out[HOLD_MARK_MAX])
{
    int n = snprintf(out, HOLD_MARK_MAX, "%s%s", hold_kind_name(kind), text.n > 0 ? " " : "");
    return span_of(out, put_text(out, (size_t)n, text));
}

void hold_reason_parse(struct span text, struct hold_mark *out)
{
    *out = (struct hold_mark){ .kind = HOLD_FROZEN, .text = { "", 0 } };
    if (text.n == 0)
        return;
    if (!kind_of(span_cut(&text, ' '), &out->kind))
        out->kind = HOLD_RULE; /* of a later version: held all the same, and not charged */
    out->text = text;
}
