/* A borrowed run of bytes: pointer and length, not NUL-terminated, never owned. */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct span {
    const char *p;
    size_t n;
};

#define SPAN_LIT(s) ((struct span){ "" s, sizeof(s) - 1 })

static inline struct span span_of(const void *p, size_t n)
{
    return (struct span){ p, n };
}

static inline struct span span_str(const char *s)
{
    return (struct span){ s, s == NULL ? 0 : strlen(s) };
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* ASCII letters compare without case; any other byte exactly (the locale is never set). */
static inline bool span_eq_nocase(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || strncasecmp(a.p, b.p, a.n) == 0);
}

static inline bool span_starts(struct span s, struct span prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

static inline struct span span_sub(struct span s, size_t from)
{
    return from >= s.n ? (struct span){ s.p + s.n, 0 } : (struct span){ s.p + from, s.n - from };
}

/* Without spaces and tabs at both ends. */
static inline struct span span_trim(struct span s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = span_sub(s, 1);
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* Up to the separator, or all of it; what follows the separator stays in *rest. */
static inline struct span span_cut(struct span *rest, char separator)
{
    const char *at = rest->n == 0 ? NULL : (const char *)memchr(rest->p, separator, rest->n);
    struct span piece = at == NULL ? *rest : span_of(rest->p, (size_t)(at - rest->p));
    *rest = at == NULL ? span_sub(*rest, rest->n) : span_sub(*rest, piece.n + 1);
    return piece;
}

#endif
