/* DKIM keys of the cluster as signing needs them: see keyring.h. */
#include "node/core/keyring.h"

#include "base/ensure.h"
#include "base/hash.h"
#include "base/map.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct keyring {
    atomic_uint refs;
    struct map domains; /* the newest first of each domain's */
    uint32_t n, room;
    struct keyring_key keys[];
};

static uint64_t domain_hash(const void *item)
{
    return hash_nocase(span_str(((const struct keyring_key *)item)->domain));
}

static bool domain_match(const void *item, const void *key)
{
    return span_eq_nocase(span_str(((const struct keyring_key *)item)->domain), *(const struct span *)key);
}

struct keyring *keyring_new(uint32_t room)
{
    struct keyring *r = calloc(1, sizeof *r + room * sizeof r->keys[0]);
    if (r == NULL)
        return NULL;
    atomic_init(&r->refs, 1);
    map_init(&r->domains, domain_hash, domain_match);
    r->room = room;
    return r;
}

static void key_fini(struct keyring_key *k)
{
    free(k->domain);
    free(k->selector);
    free(k->tenants);
    dkim_key_rele(k->key);
}

int keyring_add(struct keyring *r, const struct keyring_key *k)
{
    ensure(r->n < r->room);
    struct keyring_key *to = &r->keys[r->n];
    struct span domain = span_str(k->domain);
    *to = (struct keyring_key){ .domain = strdup(k->domain),
                                .selector = strdup(k->selector),
                                .tenants = strdup(k->tenants),
                                .algorithm = k->algorithm,
                                .not_before_ms = k->not_before_ms,
                                .not_after_ms = k->not_after_ms,
                                .subdomains = k->subdomains,
                                .version = k->version,
                                .key = k->key == NULL ? NULL : dkim_key_hold(k->key) };
    void *other = map_find(&r->domains, hash_nocase(domain), &domain);
    int err = to->domain == NULL || to->selector == NULL || to->tenants == NULL ? -ENOMEM : 0;
    if (err == 0 && other != NULL)
        (void)map_remove(&r->domains, hash_nocase(domain), other);
    if (err == 0)
        err = map_add(&r->domains, domain_hash(to), to);
    if (err != 0) {
        key_fini(to);
        return err;
    }
    to->next = other;
    r->n++;
    return 0;
}

struct keyring *keyring_hold(struct keyring *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void keyring_rele(struct keyring *r)
{
    if (r == NULL || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (uint32_t i = 0; i < r->n; i++)
        key_fini(&r->keys[i]);
    map_fini(&r->domains);
    free(r);
}

uint32_t keyring_count(const struct keyring *r)
{
    return r == NULL ? 0 : r->n;
}

const struct keyring_key *keyring_at(const struct keyring *r, uint32_t i)
{
    ensure(i < r->n);
    return &r->keys[i];
}

/* ---- choosing -------------------------------------------------------------------------------------------
 */

static bool is_of(const char *tenants, struct span tenant)
{
    for (const char *p = tenants; *p != '\0';) {
        size_t n = strcspn(p, " ");
        if (span_eq_nocase(span_of(p, n), tenant))
            return true;
        p += n + (p[n] == ' ');
    }
    return *tenants == '\0';
}

static void look(const struct keyring *r, struct span domain, bool below, struct span tenant, int64_t wall_ms,
                 const struct keyring_key *best[DKIM_ALGORITHMS])
{
    const struct keyring_key *k = r == NULL ? NULL : map_find(&r->domains, hash_nocase(domain), &domain);
    for (; k != NULL; k = k->next) {
        if ((below && !k->subdomains) || wall_ms < k->not_before_ms ||
            (k->not_after_ms != 0 && wall_ms >= k->not_after_ms) || !is_of(k->tenants, tenant))
            continue;
        if (best[k->algorithm] == NULL || k->not_before_ms > best[k->algorithm]->not_before_ms)
            best[k->algorithm] = k;
    }
}

uint32_t keyring_choose(const struct keyring *r, const struct config *c, struct span domain,
                        struct span tenant, int64_t wall_ms, struct keyring_choice out[DKIM_ALGORITHMS])
{
    uint32_t n = 0;
    for (struct span d = domain; n == 0 && d.n > 0;) {
        const struct config_dkim_key *own[DKIM_ALGORITHMS] = { NULL };
        const struct keyring_key *ours[DKIM_ALGORITHMS] = { NULL };
        config_dkim_look(c, d, d.n != domain.n, tenant, wall_ms, own);
        look(r, d, d.n != domain.n, tenant, wall_ms, ours);
        for (int i = 0; i < DKIM_ALGORITHMS; i++) {
            enum dkim_algorithm algorithm = (enum dkim_algorithm)i;
            if (ours[i] != NULL && (own[i] == NULL || ours[i]->not_before_ms > own[i]->not_before_ms))
                out[n++] =
                    (struct keyring_choice){ ours[i]->key, algorithm, ours[i]->domain, ours[i]->selector };
            else if (own[i] != NULL)
                out[n++] =
                    (struct keyring_choice){ own[i]->key, algorithm, own[i]->domain, own[i]->selector };
        }
        const char *dot = memchr(d.p, '.', d.n);
        d = dot == NULL ? span_sub(d, d.n) : span_sub(d, (size_t)(dot - d.p) + 1);
    }
    return n;
}
