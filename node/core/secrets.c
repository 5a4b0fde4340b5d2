/* Random secrets of the cluster: see secrets.h. Any thread. */
#include "node/core/secrets.h"

#include "base/ensure.h"
#include "base/err.h"

#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct secrets {
    atomic_uint refs;
    struct {
        uint32_t n;
        bool closed;
        struct secret items[SECRETS_EACH_MAX]; /* the newest first */
    } uses[SECRET_USES];
    uint32_t nnamed;
    struct {
        char name[SECRET_NAME_MAX + 1], text[SECRET_BYTES_MAX];
        uint32_t n;
    } named[SECRETS_WEBHOOKS_MAX];
};

static const char *const names[SECRET_USES] = { "bounces", "domains", "srs", "webhooks" };

const char *secret_use_name(enum secret_use use)
{
    ensure(use < SECRET_USES);
    return names[use];
}

enum secret_use secret_use_of(struct span name)
{
    int use = 0;
    while (use < SECRET_USES && !span_eq(name, span_str(names[use])))
        use++;
    return (enum secret_use)use;
}

struct secrets *secrets_new(void)
{
    struct secrets *s = calloc(1, sizeof *s);
    if (s != NULL)
        atomic_init(&s->refs, 1);
    return s;
}

int secrets_add(struct secrets *s, enum secret_use use, int64_t since_ms, struct span text)
{
    if (text.n < SECRET_BYTES_MIN || text.n > SECRET_BYTES_MAX)
        return ERR_BAD;
    uint32_t *n = &s->uses[use].n, at = 0;
    struct secret *items = s->uses[use].items;
    while (at < *n && items[at].since_ms >= since_ms)
        at++;
    if (at == SECRETS_EACH_MAX)
        return 0;
    uint32_t moved = (*n < SECRETS_EACH_MAX ? *n : SECRETS_EACH_MAX - 1) - at;
    memmove(&items[at + 1], &items[at], moved * sizeof items[0]);
    *n += *n < SECRETS_EACH_MAX;
    items[at] = (struct secret){ .since_ms = since_ms, .n = (uint32_t)text.n };
    memcpy(items[at].text, text.p, text.n);
    return use == SECRET_BOUNCES ? bounce_key_derive(text, &items[at].key) : 0;
}

int secrets_add_named(struct secrets *s, struct span name, struct span text)
{
    if (text.n < SECRET_BYTES_MIN || text.n > SECRET_BYTES_MAX || name.n > SECRET_NAME_MAX)
        return ERR_BAD;
    if (s->nnamed == SECRETS_WEBHOOKS_MAX)
        return ERR_LIMIT;
    uint32_t i = s->nnamed++;
    memcpy(s->named[i].name, name.p, name.n);
    memcpy(s->named[i].text, text.p, text.n);
    s->named[i].n = (uint32_t)text.n;
    return 0;
}

struct span secrets_named(const struct secrets *s, struct span name)
{
    for (uint32_t i = 0; s != NULL && i < s->nnamed; i++)
        if (span_eq(span_str(s->named[i].name), name))
            return span_of(s->named[i].text, s->named[i].n);
    return span_of("", 0);
}

void secrets_add_closed(struct secrets *s, enum secret_use use)
{
    s->uses[use].closed = true;
}

struct secrets *secrets_hold(struct secrets *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void secrets_rele(struct secrets *s)
{
    if (s == NULL)
        return;
    unsigned was = atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel);
    ensure(was > 0);
    if (was > 1)
        return;
    OPENSSL_cleanse(s, sizeof *s);
    free(s);
}

const struct secret *secrets_at(const struct secrets *s, enum secret_use use, uint32_t i)
{
    return s == NULL || i >= s->uses[use].n ? NULL : &s->uses[use].items[i];
}

bool secrets_closed(const struct secrets *s, enum secret_use use)
{
    return s != NULL && s->uses[use].closed;
}
