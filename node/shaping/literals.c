/* Literals that every match of a pattern contains: see literals.h.
 *
 * A sequence's sets are any of its parts' (all parts must match), those with the longest literals by
 * preference; those of an alternation are all of its branches' together, where a branch that has one set only
 * gives it to both; a part that may be absent has none.
 */
#include "node/shaping/literals.h"

#include "base/ensure.h"

#include <ctype.h>
#include <string.h>

#define NESTING_MAX 16

struct scan {
    const char *p, *end;
    unsigned depth;
    bool odd; /* something that this file doesn't understand: no answer at all */
};

static void scan_branches(struct scan *s, struct literals out[LITERAL_SETS]);

static size_t shortest(const struct literals *l)
{
    size_t least = l->n == 0 ? 0 : SIZE_MAX;
    for (uint32_t i = 0; i < l->n; i++)
        if (l->v[i].len < least)
            least = l->v[i].len;
    return least;
}

/* Longer is better; of the same length fewer are. */
static bool is_better(const struct literals *a, const struct literals *b)
{
    size_t x = shortest(a), y = shortest(b);
    return x > y || (x == y && a->n < b->n);
}

static void take(struct literals best[LITERAL_SETS], const struct literals *other)
{
    if (is_better(other, &best[0])) {
        best[1] = best[0];
        best[0] = *other;
    } else if (is_better(other, &best[1])) {
        best[1] = *other;
    }
}

/* ---- a run of plain characters ---- */

struct run {
    size_t len;
    char text[LITERAL_BYTES_MAX];
};

static void run_end(struct run *run, struct literals best[LITERAL_SETS])
{
    struct literals one = { .n = 1 };
    if (run->len >= LITERAL_BYTES_MIN) {
        one.v[0].len = (uint8_t)run->len;
        memcpy(one.v[0].text, run->text, run->len);
        take(best, &one);
    }
    run->len = 0;
}

static void run_add(struct run *run, char c, struct literals best[LITERAL_SETS])
{
    if (run->len == sizeof run->text)
        run_end(run, best);
    run->text[run->len++] = c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* ---- quantifiers ---- */

enum often { ONCE, MAYBE, REPEATED };

/* What follows an atom. */
static enum often scan_quantifier(struct scan *s)
{
    enum often often = ONCE;
    if (s->p == s->end)
        return ONCE;
    if (*s->p == '?' || *s->p == '*' || *s->p == '+') {
        often = *s->p == '+' ? REPEATED : MAYBE;
        s->p++;
    } else if (*s->p == '{') {
        const char *q = s->p + 1;
        bool least = false;
        unsigned n = 0;
        while (q < s->end && isdigit((unsigned char)*q)) {
            n = n < 1000 ? n * 10 + (unsigned)(*q - '0') : n;
            least = true;
            q++;
        }
        if (q < s->end && *q == ',')
            for (q++; q < s->end && isdigit((unsigned char)*q);)
                q++;
        if (!least || q == s->end || *q != '}') { /* a plain brace in some versions, a quantifier in others */
            s->odd = true;
            return MAYBE;
        }
        often = n == 0 ? MAYBE : REPEATED;
        s->p = q + 1;
    } else {
        return ONCE;
    }
    if (s->p < s->end && (*s->p == '?' || *s->p == '+'))
        s->p++; /* lazy or possessive */
    return often;
}

/* ---- atoms ---- */

/* After the '['. */
static void skip_class(struct scan *s)
{
    if (s->p < s->end && *s->p == '^')
        s->p++;
    if (s->p < s->end && *s->p == ']')
        s->p++;
    while (s->p < s->end && *s->p != ']') {
        if (*s->p == '\\') {
            if (s->p + 1 < s->end && (s->p[1] == 'Q' || s->p[1] == 'E'))
                s->odd = true;
            s->p++;
        } else if (*s->p == '[' && s->p + 1 < s->end && s->p[1] == ':') {
            s->p++;
            while (s->p < s->end && *s->p != ']')
                s->p++;
        }
        if (s->p < s->end)
            s->p++;
    }
    if (s->p < s->end)
        s->p++;
}

/* After the backslash: the character that it stands for, or -1: one of several, or a place. */
static int scan_escape(struct scan *s)
{
    if (s->p == s->end) {
        s->odd = true;
        return -1;
    }
    char c = *s->p++;
    if (!isalnum((unsigned char)c))
        return (unsigned char)c;
    if (strchr("dDsSwWhHvVNRbBAzZG", c) == NULL)
        s->odd = true; /* \x41, \Q, \K, \1 and others */
    return -1;
}

/* After the '(': what kind of group it is. False: its content says nothing about the text (a look ahead or
 * behind). */
static bool scan_group_kind(struct scan *s)
{
    if (s->p < s->end && *s->p == '*') {
        s->odd = true;
        return false;
    }
    if (s->p == s->end || *s->p != '?')
        return true;
    s->p++;
    char c = s->p < s->end ? *s->p++ : '\0';
    if (c == ':' || c == '>')
        return true;
    if (c == '=' || c == '!')
        return false;
    if (c == '<' && s->p < s->end && (*s->p == '=' || *s->p == '!')) {
        s->p++;
        return false;
    }
    s->odd = true; /* names, options, conditions, comments */
    return false;
}

static void scan_group(struct scan *s, struct run *run, struct literals best[LITERAL_SETS])
{
    struct literals inner[LITERAL_SETS];
    bool counts = scan_group_kind(s);
    if (s->odd || ++s->depth > NESTING_MAX) {
        s->odd = true;
        return;
    }
    scan_branches(s, inner);
    s->depth--;
    if (s->p == s->end || *s->p != ')') {
        s->odd = true;
        return;
    }
    s->p++;
    run_end(run, best);
    if (scan_quantifier(s) == MAYBE || !counts)
        return;
    for (int i = 0; i < LITERAL_SETS; i++)
        if (inner[i].n > 0)
            take(best, &inner[i]);
}

/* One branch, up to '|', ')' or the end. */
static void scan_sequence(struct scan *s, struct literals best[LITERAL_SETS])
{
    struct run run = { .len = 0 };
    best[0].n = best[1].n = 0;
    while (!s->odd && s->p < s->end && *s->p != '|' && *s->p != ')') {
        char c = *s->p++;
        int plain = -1;
        if (c == '(') {
            scan_group(s, &run, best);
            continue;
        }
        if (c == '[')
            skip_class(s);
        else if (c == '\\')
            plain = scan_escape(s);
        else if (strchr(".^$", c) == NULL || c == '\0')
            plain = (unsigned char)c;
        enum often often = scan_quantifier(s);
        if (plain < 0 || often == MAYBE) {
            run_end(&run, best);
            continue;
        }
        run_add(&run, (char)plain, best);
        if (often == REPEATED)
            run_end(&run, best);
    }
    run_end(&run, best);
}

/* False: it is empty, or there is no room. */
static bool append(struct literals *to, const struct literals *more)
{
    if (more->n == 0 || to->n + more->n > LITERALS_MAX)
        return false;
    memcpy(&to->v[to->n], more->v, more->n * sizeof more->v[0]);
    to->n += more->n;
    return true;
}

static void scan_branches(struct scan *s, struct literals out[LITERAL_SETS])
{
    struct literals one[LITERAL_SETS];
    bool all[LITERAL_SETS] = { true, true }; /* branches have some */
    bool second = false;                     /* one has two sets */
    out[0].n = out[1].n = 0;
    for (;;) {
        scan_sequence(s, one);
        second = second || one[1].n > 0;
        all[0] = all[0] && append(&out[0], &one[0]);
        all[1] = all[1] && append(&out[1], one[1].n > 0 ? &one[1] : &one[0]);
        if (s->odd || s->p == s->end || *s->p != '|')
            break;
        s->p++;
    }
    if (!all[0] || s->odd)
        out[0].n = 0;
    if (!all[1] || s->odd || !second)
        out[1].n = 0;
}

void literals_of(struct span pattern, struct literals out[LITERAL_SETS])
{
    struct scan s = { .p = pattern.p, .end = pattern.p + pattern.n };
    scan_branches(&s, out);
    if (s.odd || s.p != s.end)
        out[0].n = out[1].n = 0;
}
