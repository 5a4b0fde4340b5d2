/* Marks of recipients that were moved to another pool: see pool_mark.h. */
#include "node/shaping/pool_mark.h"

#include "base/ensure.h"
#include "node/shaping/hold_mark.h"

#include <stdio.h>
#include <string.h>

#define MARK '\x1f'
#define WORD SPAN_LIT("pool")
#define NO_POOL SPAN_LIT("=")
#define TRANSFER_BYTES 96    /* a mark of a transfer, before all */
#define GREY_FIXED_BYTES 112 /* of a mark of greylisting beside its host */

static bool name_ok(struct span s)
{
    return s.n > 0 && s.n <= POOL_MARK_NAME_MAX;
}

static struct span pool_of(struct span s)
{
    return span_eq(s, NO_POOL) ? (struct span){ "", 0 } : s;
}

static bool parse(struct pool_mark *out, struct span *words)
{
    const char *at = words->n == 0 ? NULL : memrchr(words->p, MARK, words->n);
    if (at == NULL)
        return false;
    struct pool_mark m = { .n = 0 };
    struct span rest = span_sub(*words, (size_t)(at - words->p) + 1);
    if (!span_eq(span_cut(&rest, ' '), WORD))
        return false;
    m.rule = span_cut(&rest, ' ');
    m.to = span_cut(&rest, ' ');
    bool ok = name_ok(m.rule) && name_ok(m.to);
    while (rest.n > 0 && ok) {
        struct span left = span_cut(&rest, ' ');
        ok = m.n < POOL_MARK_MOVES_MAX && name_ok(left);
        if (ok)
            m.left[m.n++] = pool_of(left);
    }
    if (!ok || m.n == 0)
        return false;
    *out = m;
    *words = span_of(words->p, (size_t)(at - words->p));
    return true;
}

bool pool_mark_parse(struct span text, struct pool_mark *out, struct span *words)
{
    struct grey_mark grey;
    *out = (struct pool_mark){ .rule = { "", 0 }, .to = { "", 0 } };
    (void)grey_mark_parse(text, &grey, words);
    bool has = parse(out, words);
    (void)hold_mark_cut(words);
    return has;
}

bool pool_mark_left(const struct pool_mark *m, struct span pool)
{
    for (uint32_t i = 0; i < m->n; i++)
        if (span_eq(m->left[i], pool))
            return true;
    return false;
}

bool pool_mark_move(struct pool_mark *m, struct span from, struct span to, struct span rule)
{
    if (m->n == POOL_MARK_MOVES_MAX || !name_ok(to) || !name_ok(rule) || from.n > POOL_MARK_NAME_MAX ||
        span_eq(from, NO_POOL) || span_eq(from, to) || pool_mark_left(m, to))
        return false;
    m->left[m->n++] = from;
    m->to = to;
    m->rule = rule;
    return true;
}

static size_t put(char *out, size_t at, size_t cap, struct span s)
{
    ensure(s.n < cap - at);
    if (s.n > 0)
        memcpy(out + at, s.p, s.n);
    return at + s.n;
}

struct span pool_mark_format(const struct pool_mark *m, const struct grey_mark *grey, struct span words,
                             char out[GREY_TEXT_MAX])
{
    char mark[(POOL_MARK_MOVES_MAX + 2) * (POOL_MARK_NAME_MAX + 1) + 8], both[GREY_TEXT_MAX];
    struct span hold = hold_mark_cut(&words);
    size_t room = GREY_TEXT_MAX - TRANSFER_BYTES;
    struct grey_mark g = grey != NULL ? *grey : (struct grey_mark){ .since_ms = 0 };
    size_t n = 0;
    if (m != NULL) {
        ensure(m->n >= 1 && m->n <= POOL_MARK_MOVES_MAX && name_ok(m->to) && name_ok(m->rule));
        mark[n++] = MARK;
        n = put(mark, n, sizeof mark, WORD);
        mark[n++] = ' ';
        n = put(mark, n, sizeof mark, m->rule);
        mark[n++] = ' ';
        n = put(mark, n, sizeof mark, m->to);
        for (uint32_t i = 0; i < m->n; i++) {
            mark[n++] = ' ';
            n = put(mark, n, sizeof mark, m->left[i].n > 0 ? m->left[i] : NO_POOL);
        }
    }
    size_t left = room - n - (grey != NULL ? GREY_FIXED_BYTES : 0);
    hold.n = hold.n < left ? hold.n : left; /* at least 40 bytes: its kind and time stay, its text is cut */
    room -= hold.n;
    if (grey != NULL && n + g.host.n + GREY_FIXED_BYTES > room)
        g.host.n = 0; /* the pool says where it goes; which host was it, does not */
    size_t marks = n + (grey != NULL ? g.host.n + GREY_FIXED_BYTES : 0);
    if (words.n > room - marks)
        words.n = room - marks;
    size_t len = put(both, 0, sizeof both, words);
    len = put(both, len, sizeof both, hold);
    len = put(both, len, sizeof both, span_of(mark, n));
    if (grey != NULL)
        return grey_mark_format(&g, span_of(both, len), out);
    memcpy(out, both, len);
    return span_of(out, len);
}
