/* The set of ids with a tombstone, while a spool is opened: whatever is read of them later (a copy that
 * compaction made, a record out of order) they stay dead. It also knows where the newest commit of each is,
 * for what the history is told. Open addressing, at most 3/4 full: some 20 to 45 bytes for each. The opening
 * thread.
 */
#include "spool/recover.h"

#include <errno.h>
#include <stdlib.h>

/* 0 is no id. */
static struct dead_slot *slot_of(const struct dead *d, uint64_t id)
{
    size_t i = (size_t)(id * 0x9e3779b97f4a7c15u >> 20) & (d->cap - 1);
    while (d->slots[i].id != 0 && d->slots[i].id != id)
        i = (i + 1) & (d->cap - 1);
    return &d->slots[i];
}

static int grow(struct dead *d)
{
    struct dead bigger = { .cap = d->cap == 0 ? 1024 : d->cap * 2, .len = d->len };
    bigger.slots = calloc(bigger.cap, sizeof *bigger.slots);
    if (bigger.slots == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < d->cap; i++)
        if (d->slots[i].id != 0)
            *slot_of(&bigger, d->slots[i].id) = d->slots[i];
    free(d->slots);
    *d = bigger;
    return 0;
}

int dead_add(struct dead *d, uint64_t id, uint32_t segment, uint32_t offset)
{
    int err = (d->len + 1) * 4 > d->cap * 3 ? grow(d) : 0;
    if (err != 0)
        return err;
    struct dead_slot *slot = slot_of(d, id);
    d->len += slot->id == 0;
    slot->id = id;
    if (segment != 0) {
        slot->segment = segment;
        slot->offset = offset;
    }
    return 0;
}

const struct dead_slot *dead_find(const struct dead *d, uint64_t id)
{
    const struct dead_slot *slot = d->cap == 0 ? NULL : slot_of(d, id);
    return slot == NULL || slot->id == 0 ? NULL : slot;
}

void dead_fini(struct dead *d)
{
    free(d->slots);
    *d = (struct dead){ 0 };
}
