/* Buckets of a counter, packed: a sender with half-full windows costs some hundred bytes, not thousands. */
#include "consensus/quota_ring.h"

#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <stdlib.h>

static inline uint64_t word_get(const struct quota_ring *r, uint32_t i)
{
    switch (r->width) {
    case 1:
        return ((const uint16_t *)r->words)[i];
    case 2:
        return ((const uint32_t *)r->words)[i];
    default:
        return ((const uint64_t *)r->words)[i];
    }
}

static inline void word_set(struct quota_ring *r, uint32_t i, uint64_t w)
{
    switch (r->width) {
    case 1:
        ((uint16_t *)r->words)[i] = (uint16_t)w;
        break;
    case 2:
        ((uint32_t *)r->words)[i] = (uint32_t)w;
        break;
    default:
        ((uint64_t *)r->words)[i] = w;
        break;
    }
}

static inline uint64_t word_make(uint64_t rel, uint64_t count)
{
    return rel | count << 8;
}

/* The width whose words hold the count. */
static uint8_t width_for(uint64_t count)
{
    return count <= UINT8_MAX ? 1 : count < (1u << 24) ? 2 : 3;
}

void quota_ring_fini(struct quota_ring *r)
{
    free(r->words);
    *r = (struct quota_ring){ 0 };
}

static int resize(struct quota_ring *r, uint32_t cap, uint8_t width)
{
    struct quota_ring wide = *r;
    wide.width = width;
    wide.cap = (uint16_t)cap;
    wide.words = malloc((size_t)cap << width);
    if (wide.words == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < r->n; i++)
        word_set(&wide, i, word_get(r, i));
    free(r->words);
    *r = wide;
    return 0;
}

static int make_room(struct quota_ring *r, uint64_t count)
{
    uint8_t width = width_for(count) > r->width ? width_for(count) : r->width;
    if (r->n < r->cap && width == r->width)
        return 0;
    return resize(r, r->n < r->cap ? r->cap : r->cap == 0 ? 4u : r->cap * 2u, width);
}

/* The place of the bucket, or where it belongs. */
static uint32_t place_of(const struct quota_ring *r, uint64_t bucket)
{
    uint32_t i = r->n;
    while (i > 0 && r->base + (word_get(r, i - 1) & 0xff) >= bucket)
        i--;
    return i;
}

static bool is_at(const struct quota_ring *r, uint32_t i, uint64_t bucket)
{
    return i < r->n && r->base + (word_get(r, i) & 0xff) == bucket;
}

static void rebase(struct quota_ring *r, uint64_t base)
{
    for (uint32_t i = 0; i < r->n; i++) {
        uint64_t w = word_get(r, i), bucket = r->base + (w & 0xff);
        ensure(bucket - base <= QUOTA_RING_SPAN);
        word_set(r, i, word_make(bucket - base, w >> 8));
    }
    r->base = base;
}

static void remove_words(struct quota_ring *r, uint32_t i, uint32_t n)
{
    memmove((char *)r->words + ((size_t)i << r->width), (char *)r->words + ((size_t)(i + n) << r->width),
            (size_t)(r->n - i - n) << r->width);
    r->n = (uint16_t)(r->n - n);
    if (r->n == 0)
        quota_ring_fini(r);
    else if (i == 0)
        rebase(r, r->base + (word_get(r, 0) & 0xff));
}

int quota_ring_add(struct quota_ring *r, uint64_t bucket, uint64_t count)
{
    if (count == 0)
        return 0;
    uint32_t i = place_of(r, bucket);
    bool there = is_at(r, i, bucket);
    uint64_t total = count + (there ? word_get(r, i) >> 8 : 0);
    ensure(total <= QUOTA_RING_COUNT_MAX);
    int err = there && width_for(total) <= r->width ? 0 : make_room(r, total);
    if (err != 0)
        return err;
    if (r->n == 0)
        r->base = bucket;
    if (!there) {
        if (bucket < r->base)
            rebase(r, bucket);
        ensure(bucket - r->base <= QUOTA_RING_SPAN);
        memmove((char *)r->words + ((size_t)(i + 1) << r->width), (char *)r->words + ((size_t)i << r->width),
                (size_t)(r->n - i) << r->width);
        r->n++;
    }
    word_set(r, i, word_make(bucket - r->base, total));
    r->sum += count;
    return 0;
}

uint64_t quota_ring_take(struct quota_ring *r, uint64_t bucket, uint64_t count)
{
    uint32_t i = place_of(r, bucket);
    if (!is_at(r, i, bucket))
        return 0;
    uint64_t there = word_get(r, i) >> 8;
    uint64_t taken = count < there ? count : there;
    r->sum -= taken;
    if (taken == there)
        remove_words(r, i, 1);
    else
        word_set(r, i, word_make(bucket - r->base, there - taken));
    return taken;
}

void quota_ring_prune(struct quota_ring *r, uint64_t oldest)
{
    uint32_t n = 0;
    while (n < r->n && r->base + (word_get(r, n) & 0xff) < oldest)
        r->sum -= word_get(r, n++) >> 8;
    if (n > 0)
        remove_words(r, 0, n);
}

uint64_t quota_ring_sum_from(const struct quota_ring *r, uint64_t oldest)
{
    uint64_t sum = r->sum;
    for (uint32_t i = 0; i < r->n && r->base + (word_get(r, i) & 0xff) < oldest; i++)
        sum -= word_get(r, i) >> 8;
    return sum;
}

uint64_t quota_ring_get(const struct quota_ring *r, uint64_t bucket)
{
    uint32_t i = place_of(r, bucket);
    return is_at(r, i, bucket) ? word_get(r, i) >> 8 : 0;
}

void quota_ring_at(const struct quota_ring *r, uint32_t i, uint64_t *bucket, uint64_t *count)
{
    ensure(i < r->n);
    uint64_t w = word_get(r, i);
    *bucket = r->base + (w & 0xff);
    *count = w >> 8;
}

size_t quota_ring_bytes(const struct quota_ring *r)
{
    return (size_t)r->cap << r->width;
}

/* The same bytes whatever width the words have at the moment. */
void quota_ring_encode(const struct quota_ring *r, struct buf *out)
{
    buf_put_u16(out, r->n);
    if (r->n == 0)
        return;
    buf_put_u64(out, r->base);
    for (uint32_t i = 0; i < r->n; i++) {
        uint64_t w = word_get(r, i), count = w >> 8;
        uint8_t width = width_for(count);
        buf_put_u8(out, (uint8_t)w);
        buf_put_u8(out, width);
        if (width == 1)
            buf_put_u8(out, (uint8_t)count);
        else if (width == 2)
            buf_put_u32(out, (uint32_t)count);
        else
            buf_put_u64(out, count);
    }
}

int quota_ring_decode(struct cursor *c, struct quota_ring *r)
{
    *r = (struct quota_ring){ 0 };
    uint16_t n = cursor_u16(c);
    uint64_t base = n == 0 ? 0 : cursor_u64(c);
    int last = -1;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t rel = cursor_u8(c), width = cursor_u8(c);
        uint64_t count = width == 1 ? cursor_u8(c) : width == 2 ? cursor_u32(c) : cursor_u64(c);
        if (cursor_err(c) != 0)
            return cursor_err(c);
        if (rel <= last || (i == 0 && rel != 0) || count == 0 || count > QUOTA_RING_COUNT_MAX ||
            width_for(count) != width || base > UINT64_MAX - QUOTA_RING_SPAN)
            return ERR_CORRUPT;
        int err = quota_ring_add(r, base + rel, count);
        if (err != 0)
            return err;
        last = rel;
    }
    return cursor_err(c);
}
