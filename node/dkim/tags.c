/* Lists of tags. Pure. */
#include "node/dkim/tags.h"

#include "base/err.h"

static struct span trim(struct span s)
{
    while (s.n > 0 && strchr(" \t\r\n", s.p[0]) != NULL && s.p[0] != '\0')
        s = span_sub(s, 1);
    while (s.n > 0 && strchr(" \t\r\n", s.p[s.n - 1]) != NULL && s.p[s.n - 1] != '\0')
        s.n--;
    return s;
}

/* Up to `end`, which is taken off `rest` with it. */
static struct span cut(struct span *rest, char end)
{
    return trim(span_cut(rest, end));
}

static bool name_valid(struct span name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && (i == 0 || (c != '_' && (c < '0' || c > '9'))))
            return false;
    }
    return name.n > 0;
}

int dkim_tag_next(struct span *rest, struct dkim_tag *out)
{
    if (trim(*rest).n == 0)
        return 0;
    struct span tag = cut(rest, ';');
    const char *sign = tag.n == 0 ? NULL : memchr(tag.p, '=', tag.n);
    if (sign == NULL)
        return ERR_BAD;
    size_t n = (size_t)(sign - tag.p);
    out->name = trim(span_of(tag.p, n));
    out->value = trim(span_sub(tag, n + 1));
    return name_valid(out->name) ? 1 : ERR_BAD;
}

int dkim_tag_find(struct span list, const char *name, struct span *value)
{
    struct dkim_tag tag;
    int more, found = ERR_NOT_FOUND;
    while ((more = dkim_tag_next(&list, &tag)) == 1) {
        if (!span_eq(tag.name, span_str(name)))
            continue;
        if (found == 0)
            return ERR_BAD;
        *value = tag.value;
        found = 0;
    }
    return more < 0 ? more : found;
}

bool dkim_tag_has(struct span value, const char *word)
{
    while (value.n > 0)
        if (span_eq_nocase(cut(&value, ':'), span_str(word)))
            return true;
    return false;
}
