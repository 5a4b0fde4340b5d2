/* Facts about senders: see facts.h. The sketches are HyperLogLog (Flajolet et al. 2007) with linear counting
 * where few registers are used; the signatures MinHash (Broder 1997).
 */
#include "consensus/facts.h"

#include "base/err.h"

/* 64 ln(64 / v), for v = 1 to 64 registers that are still 0. */
static const uint16_t few[FACTS_REGISTERS] = {
    266, 222, 196, 177, 163, 151, 142, 133, 126, 119, 113, 107, 102, 97, 93, 89, 85, 81, 78, 74, 71, 68,
    65,  63,  60,  58,  55,  53,  51,  48,  46,  44,  42,  40,  39,  37, 35, 33, 32, 30, 28, 27, 25, 24,
    23,  21,  20,  18,  17,  16,  15,  13,  12,  11,  10,  9,   7,   6,  5,  4,  3,  2,  1,  0,
};
#define FEW_MOST 160  /* 2.5 registers: below it linear counting is nearer */
#define ALPHA 2904ull /* 0.709 * 64^2 */

/* FNV-1a, and the finisher of MurmurHash3, so that every bit depends on all of them. */
uint64_t facts_hash(struct span s)
{
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (uint8_t)s.p[i]) * 0x100000001b3;
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccd;
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53;
    return h ^ (h >> 33);
}

void facts_sketch_add(struct facts_sketch *s, uint64_t hash)
{
    uint8_t *rank = &s->rank[hash % FACTS_REGISTERS];
    uint64_t rest = hash / FACTS_REGISTERS;
    uint8_t n = 1;
    while (n < FACTS_RANK_MAX && (rest & 1) == 0) {
        rest >>= 1;
        n++;
    }
    *rank = n > *rank ? n : *rank;
}

void facts_sketch_merge(struct facts_sketch *s, const struct facts_sketch *other)
{
    for (unsigned i = 0; i < FACTS_REGISTERS; i++)
        s->rank[i] = other->rank[i] > s->rank[i] ? other->rank[i] : s->rank[i];
}

uint32_t facts_sketch_count(const struct facts_sketch *s)
{
    uint64_t sum = 0;
    unsigned zeros = 0;
    for (unsigned i = 0; i < FACTS_REGISTERS; i++) {
        sum += 1ull << (FACTS_RANK_MAX - s->rank[i]);
        zeros += s->rank[i] == 0;
    }
    uint64_t many = (ALPHA << FACTS_RANK_MAX) / sum;
    return zeros > 0 && many <= FEW_MOST ? few[zeros - 1] : (uint32_t)many;
}

bool facts_alike(const struct facts_signature *a, const struct facts_signature *b)
{
    unsigned same = 0;
    for (unsigned i = 0; i < FACTS_SIGNATURE; i++)
        same += a->value[i] == b->value[i];
    return same >= FACTS_ALIKE;
}

static uint32_t sum(uint32_t a, uint32_t b)
{
    return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

bool sender_facts_group(struct sender_facts *f, const struct facts_group *g)
{
    for (uint32_t i = 0; i < f->ngroups; i++) {
        struct facts_group *to = &f->group[i];
        if (facts_alike(&to->like, &g->like)) {
            to->messages = sum(to->messages, g->messages);
            to->recipients = sum(to->recipients, g->recipients);
            return true;
        }
    }
    if (f->ngroups == FACTS_GROUPS)
        return false;
    f->group[f->ngroups++] = *g;
    return true;
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

void facts_sketch_put(struct buf *out, const struct facts_sketch *s)
{
    uint8_t n = 0;
    for (unsigned i = 0; i < FACTS_REGISTERS; i++)
        n = (uint8_t)(n + (s->rank[i] != 0));
    (void)buf_put_u8(out, n);
    for (unsigned i = 0; i < FACTS_REGISTERS; i++)
        if (s->rank[i] != 0) {
            (void)buf_put_u8(out, (uint8_t)i);
            (void)buf_put_u8(out, s->rank[i]);
        }
}

int sender_facts_put(struct buf *out, const struct sender_facts *f)
{
    size_t before = out->len;
    int err = record_counts_put(out, &f->counts);
    if (err != 0 || out->len == before)
        return err;
    (void)buf_put_u8(out, f->class);
    for (unsigned i = 0; i < FACTS_KINDS; i++)
        facts_sketch_put(out, &f->sketch[i]);
    (void)buf_put_u8(out, (uint8_t)f->ngroups);
    for (uint32_t i = 0; i < f->ngroups; i++) {
        for (unsigned k = 0; k < FACTS_SIGNATURE; k++)
            (void)buf_put_u16(out, f->group[i].like.value[k]);
        (void)buf_put_u32(out, f->group[i].messages);
        (void)buf_put_u32(out, f->group[i].recipients);
    }
    return buf_err(out);
}

bool facts_sketch_get(struct cursor *c, struct facts_sketch *s)
{
    int last = -1;
    for (uint8_t n = cursor_u8(c); n > 0; n--) {
        uint8_t at = cursor_u8(c), rank = cursor_u8(c);
        if (cursor_err(c) != 0 || at >= FACTS_REGISTERS || at <= last || rank == 0 || rank > FACTS_RANK_MAX)
            return false;
        s->rank[at] = rank;
        last = at;
    }
    return true;
}

static bool get_groups(struct cursor *c, struct sender_facts *out)
{
    out->ngroups = cursor_u8(c);
    if (out->ngroups > FACTS_GROUPS)
        return false;
    for (uint32_t i = 0; i < out->ngroups; i++) {
        struct facts_group *g = &out->group[i];
        for (unsigned k = 0; k < FACTS_SIGNATURE; k++)
            g->like.value[k] = cursor_u16(c);
        g->messages = cursor_u32(c);
        g->recipients = cursor_u32(c);
    }
    return true;
}

int sender_facts_next(struct cursor *c, struct sender_facts *out)
{
    *out = (struct sender_facts){ .ngroups = 0 };
    int more = record_counts_next(c, &out->counts);
    if (more != 1)
        return more;
    out->class = cursor_u8(c);
    bool ok = true;
    for (unsigned i = 0; ok && i < FACTS_KINDS; i++)
        ok = facts_sketch_get(c, &out->sketch[i]);
    ok = ok && get_groups(c, out);
    return ok && cursor_err(c) == 0 ? 1 : ERR_CORRUPT;
}
