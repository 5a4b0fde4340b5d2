/* The timing wheel. An object is in the slot of the highest 6-bit digit in which its due tick differs from
 * the wheel's present one, so slots of the lowest occupied level come first (Varghese and Lauck 1987, scheme
 * 7). */
#include "node/queue/wheel.h"

#include "base/ensure.h"

#include <string.h>

#define BITS 6
#define HEAD 0x80000000u

void wheel_init(struct wheel *w, const struct pool *pool, size_t at, uint32_t now)
{
    memset(w, 0, sizeof *w);
    w->pool = pool;
    w->at = at;
    w->now = now;
}

static struct wheel_link *link_of(const struct wheel *w, uint32_t handle)
{
    return (struct wheel_link *)((char *)pool_at(w->pool, handle) + w->at);
}

static uint32_t digit(uint32_t tick, uint32_t level)
{
    return tick >> (level * BITS) & (WHEEL_SLOTS - 1);
}

void wheel_add(struct wheel *w, uint32_t handle, uint32_t due)
{
    if (due < w->now)
        due = w->now;
    uint32_t differs = due ^ w->now;
    uint32_t level = differs == 0 ? 0 : (31 - (uint32_t)__builtin_clz(differs)) / BITS;
    uint32_t slot = digit(due, level);
    uint32_t *first = &w->first[level][slot];
    *link_of(w, handle) = (struct wheel_link){ .next = *first, .prev = HEAD | level << BITS | slot };
    if (*first != 0)
        link_of(w, *first)->prev = handle;
    *first = handle;
    w->occupied[level] |= UINT64_C(1) << slot;
}

void wheel_remove(struct wheel *w, uint32_t handle)
{
    struct wheel_link link = *link_of(w, handle);
    if (link.next != 0)
        link_of(w, link.next)->prev = link.prev;
    if ((link.prev & HEAD) == 0) {
        link_of(w, link.prev)->next = link.next;
        return;
    }
    uint32_t level = (link.prev & ~HEAD) >> BITS, slot = link.prev & (WHEEL_SLOTS - 1);
    ensure(level < WHEEL_LEVELS);
    ensure(w->first[level][slot] == handle);
    w->first[level][slot] = link.next;
    if (link.next == 0)
        w->occupied[level] &= ~(UINT64_C(1) << slot);
}

/* The first tick at or after the present one at which a slot has its turn, and which slot. A slot of a higher
 * level whose turn is now is being emptied: what it still holds may be due before anything on level 0. */
static uint64_t next_slot(const struct wheel *w, uint32_t *level, uint32_t *slot)
{
    for (uint32_t l = 1; l < WHEEL_LEVELS; l++) {
        *level = l;
        *slot = digit(w->now, l);
        if ((w->occupied[l] >> *slot & 1) != 0)
            return w->now;
    }
    for (uint32_t l = 0; l < WHEEL_LEVELS; l++) {
        uint64_t ahead = w->occupied[l] & (UINT64_MAX << digit(w->now, l));
        if (ahead == 0)
            continue;
        uint32_t above = (l + 1) * BITS;
        uint64_t high = above >= 32 ? 0 : (uint64_t)(w->now >> above) << above;
        *level = l;
        *slot = (uint32_t)__builtin_ctzll(ahead);
        return high | (uint64_t)*slot << (l * BITS);
    }
    return WHEEL_NEVER;
}

uint64_t wheel_next(const struct wheel *w)
{
    uint32_t level, slot;
    return next_slot(w, &level, &slot);
}

uint32_t wheel_pop(struct wheel *w, uint32_t now)
{
    uint32_t level, slot;
    if (now < w->now)
        now = w->now;
    uint64_t next = next_slot(w, &level, &slot);
    if (next > now) {
        w->now = now;
        return 0;
    }
    w->now = (uint32_t)next;
    uint32_t handle = w->first[level][slot];
    ensure(handle != 0);
    wheel_remove(w, handle);
    return handle;
}
