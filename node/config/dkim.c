/* The section dkim: what the tables can't state about it, and its keys. The main thread. */
#include "node/config/check.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/hash.h"
#include "base/map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void config_dkim_complete(struct config *c)
{
    struct config_dkim *d = &c->dkim;
    d->style = (struct dkim_style){
        .header = (d->canonicalization & 2) != 0 ? DKIM_RELAXED : DKIM_SIMPLE,
        .body = (d->canonicalization & 1) != 0 ? DKIM_RELAXED : DKIM_SIMPLE,
        .expire_ms = d->expire_ms,
        .names = (const char *const *)d->headers,
        .nnames = d->nheaders,
        .oversigned = (const char *const *)d->oversigned,
        .noversigned = d->noversigned,
    };
}

/* ---- rules --------------------------------------------------------------------------------------------- */

struct named_key {
    const struct config_dkim_key *key;
    uint32_t index;
};

static int named_compare(const void *va, const void *vb)
{
    const struct named_key *a = va, *b = vb;
    int d = strcmp(a->key->domain, b->key->domain);
    if (d == 0)
        d = strcasecmp(a->key->selector, b->key->selector);
    return d != 0 ? d : a->index < b->index ? -1 : a->index > b->index;
}

/* A selector has one record. */
static void check_twins(struct schema_load *l, const struct config_dkim *d)
{
    char path[64], first[64];
    struct named_key *named = d->nkeys == 0 ? NULL : calloc(d->nkeys, sizeof *named);
    if (d->nkeys == 0)
        return;
    ensure(named != NULL);
    for (uint32_t i = 0; i < d->nkeys; i++)
        named[i] = (struct named_key){ &d->keys[i], i };
    qsort(named, d->nkeys, sizeof *named, named_compare);
    for (uint32_t i = 1; i < d->nkeys; i++)
        if (strcmp(named[i].key->domain, named[i - 1].key->domain) == 0 &&
            strcasecmp(named[i].key->selector, named[i - 1].key->selector) == 0) {
            snprintf(path, sizeof path, "dkim.keys[%u].selector", named[i].index);
            snprintf(first, sizeof first, "dkim.keys[%u].selector", named[i - 1].index);
            schema_fault_at(l, path, "%s._domainkey.%s has a key already, on line %u", named[i].key->selector,
                            named[i].key->domain, schema_line(l, first));
        }
    free(named);
}

static bool has_domain(const struct config_dkim *d, const char *domain)
{
    for (uint32_t i = 0; i < d->nkeys; i++)
        if (strcmp(d->keys[i].domain, domain) == 0)
            return true;
    return false;
}

static bool signs_from(const struct config_dkim *d)
{
    for (uint32_t i = 0; i < d->nheaders; i++)
        if (strcasecmp(d->headers[i], "From") == 0)
            return true;
    return false;
}

void config_dkim_check(struct schema_load *l, const struct config *c)
{
    const struct config_dkim *d = &c->dkim;
    char path[64];
    check_twins(l, d);
    for (uint32_t i = 0; i < d->nkeys; i++)
        if (d->keys[i].not_after_ms != 0 && d->keys[i].not_after_ms <= d->keys[i].not_before_ms) {
            snprintf(path, sizeof path, "dkim.keys[%u].not_after", i);
            schema_fault_at(l, path, "must be later than not_before");
        }
    if (!signs_from(d))
        schema_fault_at(l, "dkim.headers", "must have From: no signature is valid without it");
    if (c->cluster.enabled) /* they may be the cluster's */
        return;
    if (d->default_domain != NULL && !has_domain(d, d->default_domain))
        schema_fault_at(l, "dkim.default_domain", "no key in dkim.keys is for %s", d->default_domain);
    for (uint32_t i = 0; i < d->ntenants; i++)
        if (!has_domain(d, d->tenants[i].default_domain)) {
            snprintf(path, sizeof path, "dkim.tenants[%u].default_domain", i);
            schema_fault_at(l, path, "no key in dkim.keys is for %s", d->tenants[i].default_domain);
        }
}

/* ---- keys ---------------------------------------------------------------------------------------------- */

static void read_key(struct schema_load *l, struct config_dkim_key *k, const char *path)
{
    struct stat st;
    char text[DKIM_KEY_FILE_MAX + 1], why[DKIM_WHY_MAX];
    int fd = config_open_file(l, path, k->file, &st);
    if (fd < 0)
        return;
    bool good = config_private_enough(l, path, k->file, &st);
    ssize_t n = good ? read(fd, text, sizeof text) : 0;
    if (n < 0)
        schema_fault_at(l, path, "cannot read %s: %s", k->file, strerrordesc_np(errno));
    else if (good && dkim_key_parse(span_of(text, (size_t)n), &k->key, why) != 0)
        schema_fault_at(l, path, "%s %s", k->file, why);
    explicit_bzero(text, sizeof text);
    close(fd);
}

void config_dkim_files(struct schema_load *l, struct config *c)
{
    char path[64];
    int64_t now_ms = clock_wall_ms();
    for (uint32_t i = 0; i < c->dkim.nkeys; i++) {
        struct config_dkim_key *k = &c->dkim.keys[i];
        snprintf(path, sizeof path, "dkim.keys[%u].file", i);
        read_key(l, k, path);
        if (k->not_after_ms != 0 && k->not_after_ms <= now_ms) {
            snprintf(path, sizeof path, "dkim.keys[%u].not_after", i);
            schema_warn_at(l, path, "is past: %s of %s signs nothing any more", k->selector, k->domain);
        }
    }
}

void config_dkim_fini(struct config *c)
{
    for (uint32_t i = 0; i < c->dkim.nkeys; i++)
        dkim_key_rele(c->dkim.keys[i].key);
}

void config_dkim_index(struct config *c, struct map *domains)
{
    for (uint32_t i = c->dkim.nkeys; i-- > 0;) {
        struct config_dkim_key *k = &c->dkim.keys[i];
        struct span domain = span_str(k->domain);
        uint64_t hash = hash_nocase(domain);
        void *other = map_find(domains, hash, &domain);
        if (other != NULL)
            (void)map_remove(domains, hash, other);
        k->next = other;
        int err = map_add(domains, hash, k);
        ensure(err == 0);
    }
}
