/* Interned reply texts. Under the spool's lock. */
#include "spool/replies.h"

#include "base/ensure.h"
#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>

struct reply {
    uint32_t refs;
    uint32_t ref;
    uint32_t n;
    char text[];
};

/* A reference with the top bit set holds code (10 bits), class (3), subject (9) and detail (9) of a reply
 * whose text found no room. */
#define CODES_ONLY 0x80000000u

static uint64_t reply_hash(const void *item)
{
    const struct reply *r = item;
    return hash_bytes(r->text, r->n);
}

static bool reply_match(const void *item, const void *key)
{
    const struct reply *r = item;
    return span_eq(span_of(r->text, r->n), *(const struct span *)key);
}

void replies_init(struct replies *r)
{
    *r = (struct replies){ 0 };
    map_init(&r->map, reply_hash, reply_match);
}

void replies_fini(struct replies *r)
{
    size_t at = 0;
    for (struct reply *p; (p = map_next(&r->map, &at)) != NULL;)
        free(p);
    map_fini(&r->map);
    free(r->slots);
    *r = (struct replies){ 0 };
}

static uint32_t number_at(struct span *s, uint32_t max)
{
    uint32_t v = 0;
    size_t digits = 0;
    while (digits < s->n && digits < 3 && s->p[digits] >= '0' && s->p[digits] <= '9')
        v = v * 10 + (uint32_t)(s->p[digits++] - '0');
    *s = span_sub(*s, digits);
    return v > max ? max : v;
}

static uint32_t codes_of(struct span text)
{
    uint32_t code = number_at(&text, 999);
    uint32_t class = 0, subject = 0, detail = 0;
    if (text.n > 0 && (text.p[0] == ' ' || text.p[0] == '-')) {
        text = span_sub(text, 1);
        class = number_at(&text, 7);
        if (text.n > 0 && text.p[0] == '.') {
            text = span_sub(text, 1);
            subject = number_at(&text, 511);
            if (text.n > 0 && text.p[0] == '.') {
                text = span_sub(text, 1);
                detail = number_at(&text, 511);
            }
        }
    }
    return CODES_ONLY | code << 21 | class << 18 | subject << 9 | detail;
}

/* An unused slot's pointer holds the next free reference. */
static uint32_t slot_take(struct replies *r)
{
    if (r->free_slot != 0) {
        uint32_t ref = r->free_slot;
        r->free_slot = (uint32_t)(uintptr_t)r->slots[ref - 1];
        return ref;
    }
    if (r->nslots == r->cap) {
        uint32_t cap = r->cap == 0 ? 64 : r->cap * 2;
        struct reply **slots = realloc(r->slots, cap * sizeof(struct reply *));
        if (slots == NULL)
            return 0;
        r->slots = slots;
        r->cap = cap;
    }
    return ++r->nslots;
}

static void slot_give(struct replies *r, uint32_t ref)
{
    r->slots[ref - 1] = (struct reply *)(uintptr_t)r->free_slot;
    r->free_slot = ref;
}

uint32_t replies_hold(struct replies *r, struct span text)
{
    if (text.n == 0)
        return 0;
    if (text.n > REPLY_TEXT_MAX)
        text.n = REPLY_TEXT_MAX;
    uint64_t hash = hash_bytes(text.p, text.n);
    struct reply *p = map_find(&r->map, hash, &text);
    if (p != NULL) {
        p->refs++;
        return p->ref;
    }
    if (r->map.len >= REPLIES_MAX || r->bytes + text.n > REPLIES_BYTES_MAX)
        return codes_of(text);
    p = malloc(sizeof *p + text.n);
    if (p == NULL)
        return codes_of(text);
    *p = (struct reply){ .refs = 1, .ref = slot_take(r), .n = (uint32_t)text.n };
    memcpy(p->text, text.p, text.n);
    if (p->ref == 0 || map_add(&r->map, hash, p) != 0) {
        if (p->ref != 0)
            slot_give(r, p->ref);
        free(p);
        return codes_of(text);
    }
    r->slots[p->ref - 1] = p;
    r->bytes += text.n;
    return p->ref;
}

void replies_rele(struct replies *r, uint32_t ref)
{
    if (ref == 0 || (ref & CODES_ONLY) != 0)
        return;
    ensure(ref <= r->nslots);
    struct reply *p = r->slots[ref - 1];
    ensure(p->refs > 0);
    if (--p->refs > 0)
        return;
    ensure(map_remove(&r->map, reply_hash(p), p));
    r->bytes -= p->n;
    free(p);
    slot_give(r, ref);
}

struct span replies_text(const struct replies *r, uint32_t ref, char scratch[64])
{
    if (ref == 0)
        return (struct span){ "", 0 };
    if ((ref & CODES_ONLY) == 0) {
        ensure(ref <= r->nslots);
        return span_of(r->slots[ref - 1]->text, r->slots[ref - 1]->n);
    }
    uint32_t class = ref >> 18 & 7;
    int n = class == 0 ? snprintf(scratch, 64, "%03u (text not kept)", ref >> 21 & 1023)
                       : snprintf(scratch, 64, "%03u %u.%u.%u (text not kept)", ref >> 21 & 1023, class,
                                  ref >> 9 & 511, ref & 511);
    return span_of(scratch, (size_t)n);
}
