/* The table of who is frozen. Any thread once it is sealed. */
#include "base/ensure.h"
#include "base/hash.h"
#include "base/map.h"
#include "consensus/command.h"
#include "consensus/web_sender.h"
#include "node/core/frozen.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

struct item {
    struct frozen_entry entry; /* its texts follow the item */
};

struct frozen_view {
    atomic_uint refs;
    bool sealed;
    uint64_t index;
    struct map items;
};

static uint64_t key_hash(uint8_t scope, struct span name)
{
    return hash_bytes(name.p, name.n) ^ hash_u64(scope);
}

static uint64_t item_hash(const void *item)
{
    const struct frozen_entry *e = &((const struct item *)item)->entry;
    return key_hash(e->scope, e->name);
}

static bool item_match(const void *item, const void *key)
{
    const struct frozen_entry *e = &((const struct item *)item)->entry, *k = key;
    return e->scope == k->scope && span_eq(e->name, k->name);
}

struct frozen_view *frozen_view_new(void)
{
    struct frozen_view *v = calloc(1, sizeof *v);
    if (v == NULL)
        return NULL;
    atomic_init(&v->refs, 1);
    map_init(&v->items, item_hash, item_match);
    return v;
}

int frozen_view_add(struct frozen_view *v, const struct frozen_entry *e)
{
    ensure(!v->sealed);
    if (frozen_view_find(v, e->scope, e->name) != NULL)
        return 0;
    struct item *item = malloc(sizeof *item + e->name.n + e->reason.n + e->who.n);
    if (item == NULL)
        return -ENOMEM;
    char *text = (char *)(item + 1);
    item->entry = *e;
    item->entry.name.p = text;
    if (e->name.n > 0)
        memcpy(text, e->name.p, e->name.n);
    item->entry.reason.p = text + e->name.n;
    if (e->reason.n > 0)
        memcpy(text + e->name.n, e->reason.p, e->reason.n);
    item->entry.who.p = text + e->name.n + e->reason.n;
    if (e->who.n > 0)
        memcpy(text + e->name.n + e->reason.n, e->who.p, e->who.n);
    int err = map_add(&v->items, item_hash(item), item);
    if (err != 0)
        free(item);
    return err;
}

void frozen_view_seal(struct frozen_view *v, uint64_t index)
{
    v->index = index;
    v->sealed = true;
}

struct frozen_view *frozen_view_hold(struct frozen_view *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void frozen_view_rele(struct frozen_view *v)
{
    if (v == NULL || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
        return;
    size_t at = 0;
    for (void *item; (item = map_next(&v->items, &at)) != NULL;)
        free(item);
    map_fini(&v->items);
    free(v);
}

uint64_t frozen_view_index(const struct frozen_view *v)
{
    return v->index;
}

uint32_t frozen_view_len(const struct frozen_view *v)
{
    return (uint32_t)v->items.len;
}

const struct frozen_entry *frozen_view_find(const struct frozen_view *v, uint8_t scope, struct span name)
{
    if (v == NULL || v->items.len == 0 || name.n == 0)
        return NULL;
    const struct frozen_entry key = { .scope = scope, .name = name };
    const struct item *item = map_find(&v->items, key_hash(scope, name), &key);
    return item == NULL ? NULL : &item->entry;
}

const struct frozen_entry *frozen_view_of(const struct frozen_view *v, struct span account,
                                          struct span tenant)
{
    const struct frozen_entry *e = frozen_view_find(v, COMMAND_SCOPE_ACCOUNT, account);
    if (e == NULL && web_sender_host(account).n > 0)
        e = frozen_view_find(v, COMMAND_SCOPE_ACCOUNT, web_sender_host(account));
    return e != NULL ? e : frozen_view_find(v, COMMAND_SCOPE_TENANT, tenant);
}

uint8_t frozen_entry_mode(const struct frozen_entry *e, bool relay)
{
    if (e == NULL)
        return FROZEN_NOT;
    if (e->mode != COMMAND_FREEZE_AUTO)
        return e->mode;
    return relay ? COMMAND_FREEZE_DEFER : COMMAND_FREEZE_REJECT;
}
