/* What is kept of a sender, as bytes: the record 124 of docs/cluster-format.md. */
#include "base/err.h"
#include "consensus/directory_impl.h"
#include "consensus/directory_sender_impl.h"

#include <errno.h>
#include <stdlib.h>

/* Of what the last block dealt with, facts that there were from LOOK_FEATURE on: always in the record. */
#define BASE_FACTS SENDER_NEW_NETWORKS
enum { HAS_BASE = 1, HAS_MORE = 2, HAS_NETWORKS = 4, HAS_SETTLED = 8 }; /* bits in the record */

struct span directory_sender_name(const struct sender *s)
{
    return span_of(s->name, s->nname);
}

static struct span sender_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return directory_sender_name((const struct sender *)rec);
}

void directory_sender_free(struct store_rec *rec)
{
    struct sender *s = (struct sender *)rec;
    habit_fini(&s->habit);
    free(s->windows);
    free(s->groups);
    free(s->fired);
    free(s->base);
    free(s);
}

struct sender *directory_sender_make(struct span name)
{
    struct sender *s = calloc(1, sizeof *s + name.n);
    if (s == NULL)
        return NULL;
    s->nname = (uint16_t)name.n;
    memcpy(s->name, name.p, name.n);
    return s;
}

/* ---- the record ---------------------------------------------------------------------------------------- */

static void encode_windows(const struct sender *s, struct buf *out)
{
    (void)buf_put_u8(out, s->windows != NULL);
    for (unsigned i = 0; s->windows != NULL && i < SENDER_BUCKETS; i++) {
        const struct sender_window *w = &s->windows[i];
        (void)buf_put_u8(out, w->used);
        (void)buf_put_u32(out, w->bucket);
        for (unsigned k = 0; w->used && k < FACTS_KINDS; k++)
            (void)buf_put(out, w->sketch[k].rank, FACTS_REGISTERS);
    }
}

static void encode_base(const struct sender *s, unsigned from, unsigned to, struct buf *out)
{
    for (unsigned f = from; f < to; f++)
        for (unsigned w = 0; w < SENDER_WINDOWS; w++)
            (void)buf_put_u32(out, s->base[f][w]);
}

static bool has_base(const struct sender *s, unsigned fact)
{
    for (unsigned w = 0; w < SENDER_WINDOWS; w++)
        if (s->base[fact][w] != 0)
            return true;
    return false;
}

/* How many further facts are written: those of level 6 together, one that came later only where there is
 * something of it, so that a build that does not know it never meets it. 0: nothing of any. */
static uint8_t more_facts(const struct sender *s)
{
    if (s->base == NULL)
        return 0;
    unsigned n = has_base(s, SENDER_SPAM) ? SENDER_FACTS : 0;
    for (unsigned f = BASE_FACTS; n == 0 && f < SENDER_SPAM; f++)
        n = has_base(s, f) ? SENDER_SPAM : 0;
    return (uint8_t)(n == 0 ? 0 : n - BASE_FACTS);
}

/* Byte for byte as a build of LOOK_FEATURE writes it, unless there is something of HABIT_FEATURE. */
static void encode_more(const struct sender *s, struct buf *out)
{
    unsigned has = s->base != NULL ? HAS_BASE : 0;
    uint8_t more = more_facts(s);
    has |= more > 0 ? HAS_MORE : 0;
    has |= s->habit.networks != NULL ? HAS_NETWORKS : 0;
    has |= s->settled_ms != 0 ? HAS_SETTLED : 0;
    (void)buf_put_u8(out, (uint8_t)has);
    if ((has & HAS_BASE) != 0)
        encode_base(s, 0, BASE_FACTS, out);
    if ((has & HAS_MORE) != 0) {
        (void)buf_put_u8(out, more);
        encode_base(s, BASE_FACTS, BASE_FACTS + more, out);
    }
    if ((has & HAS_NETWORKS) != 0)
        habit_networks_put(out, s->habit.networks);
    if ((has & HAS_SETTLED) != 0)
        (void)buf_put_u64(out, s->settled_ms);
}

static void sender_encode(const struct store_rec *rec, struct buf *out)
{
    const struct sender *s = (const struct sender *)rec;
    (void)buf_put_counted(out, directory_sender_name(s));
    (void)buf_put_u8(out, s->class);
    (void)buf_put_u16(out, s->habit.first_day);
    for (unsigned i = 0; i < 24; i++) {
        (void)buf_put_u16(out, s->habit.last_day[i]);
        (void)buf_put_u16(out, s->habit.day_before[i]);
    }
    (void)buf_put_u32(out, s->nblocks);
    for (unsigned i = 0; i < SENDER_REPEAT_MAX; i++)
        (void)buf_put_u64(out, s->block_ms[i]);
    encode_windows(s, out);
    (void)buf_put_u32(out, s->ngroups);
    for (uint32_t i = 0; i < s->ngroups; i++) {
        for (unsigned k = 0; k < FACTS_SIGNATURE; k++)
            (void)buf_put_u16(out, s->groups[i].like.value[k]);
        for (unsigned k = 0; k < SENDER_BUCKETS; k++) {
            (void)buf_put_u32(out, s->groups[i].bucket[k]);
            (void)buf_put_u32(out, s->groups[i].recipients[k]);
        }
    }
    (void)buf_put_u32(out, s->nfired);
    for (uint32_t i = 0; i < s->nfired; i++) {
        (void)buf_put_u64(out, s->fired[i].rule);
        (void)buf_put_u64(out, s->fired[i].at_ms);
    }
    encode_more(s, out);
}

static int decode_windows(struct cursor *c, struct sender *s)
{
    if (cursor_u8(c) == 0)
        return 0;
    s->windows = calloc(SENDER_BUCKETS, sizeof *s->windows);
    if (s->windows == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < SENDER_BUCKETS; i++) {
        struct sender_window *w = &s->windows[i];
        w->used = cursor_u8(c) != 0;
        w->bucket = cursor_u32(c);
        for (unsigned k = 0; w->used && k < FACTS_KINDS; k++) {
            struct span ranks = cursor_bytes(c, FACTS_REGISTERS);
            for (size_t r = 0; r < ranks.n; r++) {
                w->sketch[k].rank[r] = (uint8_t)ranks.p[r];
                if (w->sketch[k].rank[r] > FACTS_RANK_MAX)
                    return ERR_CORRUPT;
            }
        }
    }
    return 0;
}

static int decode_groups(struct cursor *c, struct sender *s)
{
    uint32_t n = cursor_u32(c);
    if (n > SENDER_GROUPS)
        return ERR_CORRUPT;
    if (n > 0 && (s->groups = calloc(SENDER_GROUPS, sizeof *s->groups)) == NULL)
        return -ENOMEM;
    s->ngroups = n;
    for (uint32_t i = 0; i < n; i++) {
        for (unsigned k = 0; k < FACTS_SIGNATURE; k++)
            s->groups[i].like.value[k] = cursor_u16(c);
        for (unsigned k = 0; k < SENDER_BUCKETS; k++) {
            s->groups[i].bucket[k] = cursor_u32(c);
            s->groups[i].recipients[k] = cursor_u32(c);
        }
    }
    return 0;
}

static int decode_fired(struct cursor *c, struct sender *s)
{
    uint32_t n = cursor_u32(c);
    if (n > SENDER_FIRED_MAX)
        return ERR_CORRUPT;
    if (n > 0 && (s->fired = calloc(SENDER_FIRED_MAX, sizeof *s->fired)) == NULL)
        return -ENOMEM;
    s->nfired = n;
    for (uint32_t i = 0; i < n; i++) {
        s->fired[i].rule = cursor_u64(c);
        s->fired[i].at_ms = cursor_u64(c);
    }
    return 0;
}

static void decode_base(struct cursor *c, struct sender *s, unsigned from, unsigned to)
{
    for (unsigned f = from; f < to; f++)
        for (unsigned w = 0; w < SENDER_WINDOWS; w++)
            s->base[f][w] = cursor_u32(c);
}

static int decode_more(struct cursor *c, struct sender *s)
{
    uint8_t has = cursor_u8(c);
    if (has > (HAS_BASE | HAS_MORE | HAS_NETWORKS | HAS_SETTLED) ||
        ((has & HAS_MORE) != 0 && (has & HAS_BASE) == 0))
        return ERR_CORRUPT;
    if ((has & HAS_BASE) != 0) {
        s->base = calloc(SENDER_FACTS, sizeof *s->base);
        if (s->base == NULL)
            return -ENOMEM;
        decode_base(c, s, 0, BASE_FACTS);
    }
    if ((has & HAS_MORE) != 0) {
        unsigned n = cursor_u8(c);
        if (n > SENDER_FACTS - BASE_FACTS)
            return ERR_CORRUPT;
        decode_base(c, s, BASE_FACTS, BASE_FACTS + n);
    }
    int err = (has & HAS_NETWORKS) != 0 ? habit_networks_get(c, &s->habit.networks) : 0;
    s->settled_ms = (has & HAS_SETTLED) != 0 ? cursor_u64(c) : 0;
    return err;
}

static int sender_decode(struct cursor *c, struct store_rec **out)
{
    struct span name = cursor_counted(c);
    if (cursor_err(c) != 0)
        return cursor_err(c);
    if (!directory_name_ok(name) || name.n > COMMAND_NAME_MAX)
        return ERR_CORRUPT;
    struct sender *s = directory_sender_make(name);
    if (s == NULL)
        return -ENOMEM;
    s->class = cursor_u8(c);
    s->habit.first_day = cursor_u16(c);
    for (unsigned i = 0; i < 24; i++) {
        s->habit.last_day[i] = cursor_u16(c);
        s->habit.day_before[i] = cursor_u16(c);
    }
    s->nblocks = cursor_u32(c);
    for (unsigned i = 0; i < SENDER_REPEAT_MAX; i++)
        s->block_ms[i] = cursor_u64(c);
    int err = decode_windows(c, s);
    if (err == 0)
        err = decode_groups(c, s);
    if (err == 0)
        err = decode_fired(c, s);
    if (err == 0)
        err = decode_more(c, s);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && s->class >= COMMAND_CLASSES)
        err = ERR_CORRUPT;
    if (err != 0) {
        directory_sender_free(&s->rec);
        return err;
    }
    *out = &s->rec;
    return 0;
}

const struct store_type directory_sender_type = { 124,           "sender",      sender_key,
                                                  sender_encode, sender_decode, directory_sender_free };
