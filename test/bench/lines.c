/* Cuts a stream of bytes into lines. */
#include "test/bench/lines.h"

bool lines_next(struct lines *l, const char **p, size_t *n, struct span *line)
{
    if (*n == 0 || l->too_long)
        return false;
    const char *nl = memchr(*p, '\n', *n);
    size_t take = nl == NULL ? *n : (size_t)(nl - *p) + 1;
    struct span whole = { *p, take };
    if (nl == NULL || l->len > 0) {
        if (take > LINES_MAX - l->len) {
            l->too_long = true;
            return false;
        }
        memcpy(l->part + l->len, *p, take);
        l->len += take;
        whole = (struct span){ l->part, l->len };
    }
    *p += take;
    *n -= take;
    if (nl == NULL)
        return false;
    l->len = 0;
    whole.n--;
    if (whole.n > 0 && whole.p[whole.n - 1] == '\r')
        whole.n--;
    *line = whole;
    return true;
}
