/* What operators have ended: see resumed.h. */
#include "node/shaping/resumed.h"

#include <stdlib.h>
#include <string.h>

void shaping_resumed_fini(struct shaping_resumed *r)
{
    for (uint32_t i = 0; i < SHAPING_RESUMED_MAX; i++)
        free(r->v[i].text);
    *r = (struct shaping_resumed){ .n = 0 };
}

static bool valid(const struct shaping_resumed *r, uint32_t i, int64_t now_ms)
{
    return r->v[i].text != NULL && now_ms - r->v[i].at_ms < SHAPING_RESUMED_MS;
}

void shaping_resumed_put(struct shaping_resumed *r, struct span key, struct span source, int64_t at_ms)
{
    uint32_t i = 0;
    while (i < SHAPING_RESUMED_MAX &&
           !(r->v[i].text != NULL && span_eq(r->v[i].key, key) && span_eq(r->v[i].source, source)))
        i++;
    if (i < SHAPING_RESUMED_MAX) {
        if (r->v[i].at_ms < at_ms)
            r->v[i].at_ms = at_ms;
        return;
    }
    char *text = malloc(key.n + source.n + 1);
    if (text == NULL)
        return;
    i = r->n++ % SHAPING_RESUMED_MAX;
    if (key.n > 0)
        memcpy(text, key.p, key.n);
    if (source.n > 0)
        memcpy(text + key.n, source.p, source.n);
    free(r->v[i].text);
    r->v[i].text = text;
    r->v[i].key = span_of(text, key.n);
    r->v[i].source = span_of(text + key.n, source.n);
    r->v[i].at_ms = at_ms;
}

bool shaping_resumed_has(const struct shaping_resumed *r, struct span key, struct span source, int64_t now_ms)
{
    for (uint32_t i = 0; i < SHAPING_RESUMED_MAX; i++)
        if (valid(r, i, now_ms) && span_eq(r->v[i].key, key) &&
            (r->v[i].source.n == 0 || span_eq(r->v[i].source, source)))
            return true;
    return false;
}

bool shaping_resumed_next(const struct shaping_resumed *r, uint32_t *at, int64_t now_ms,
                          struct shaping_hold *out)
{
    while (*at < SHAPING_RESUMED_MAX && !valid(r, *at, now_ms))
        ++*at;
    if (*at == SHAPING_RESUMED_MAX)
        return false;
    int64_t age_ms = now_ms - r->v[*at].at_ms;
    *out = (struct shaping_hold){ .key = r->v[*at].key,
                                  .kind = SHAPING_NONE,
                                  .source = r->v[*at].source,
                                  .since_ms = now_ms,
                                  .until_ms = now_ms + (age_ms > 0 ? age_ms : 0) };
    ++*at;
    return true;
}
