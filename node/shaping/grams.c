/* A table of short runs of letters: see grams.h. */
#include "node/shaping/grams.h"

#include "base/ensure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SEEN_BITS 15 /* of a first look that most places of a text do not pass */

struct entry { /* a gram that a rule needs, for one of its sets */
    uint32_t gram;
    uint32_t rule : 31, set : 1;
    uint32_t next; /* with the same slot; one more than its index; 0: no more */
};

struct grams {
    uint32_t words;
    uint64_t *always[LITERAL_SETS];
    uint64_t seen[(1u << SEEN_BITS) / 64];
    uint32_t slots[1u << SEEN_BITS]; /* one more than the index of the first entry */
    struct entry *entries;
    uint32_t n, cap;
};

static uint8_t low(char c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 'a' - 'A') : (uint8_t)c;
}

/* Three letters, or four: never the same number. */
static uint32_t gram(const char *p, size_t n)
{
    uint32_t v = (uint32_t)low(p[0]) | (uint32_t)low(p[1]) << 8 | (uint32_t)low(p[2]) << 16;
    return n == 4 ? v | (uint32_t)low(p[3]) << 24 : v;
}

static uint32_t slot_of(uint32_t v)
{
    return (v * 2654435761u) >> (32 - SEEN_BITS);
}

struct grams *grams_new(uint32_t nrules)
{
    struct grams *g = calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    g->words = (nrules + 63) / 64;
    ensure(g->words <= GRAMS_WORDS_MAX);
    for (int k = 0; k < LITERAL_SETS; k++)
        g->always[k] = calloc(g->words + 1, sizeof *g->always[k]);
    if (g->always[0] != NULL && g->always[1] != NULL)
        return g;
    grams_free(g);
    return NULL;
}

void grams_free(struct grams *g)
{
    if (g == NULL)
        return;
    for (int k = 0; k < LITERAL_SETS; k++)
        free(g->always[k]);
    free(g->entries);
    free(g);
}

static uint32_t sharers(const struct grams *g, uint32_t v)
{
    uint32_t n = 0;
    for (uint32_t i = g->slots[slot_of(v)]; i != 0; i = g->entries[i - 1].next)
        n++;
    return n;
}

/* The part of the literal that the fewest rules have asked for. */
static uint32_t rarest(const struct grams *g, const struct literal *l)
{
    size_t width = l->len < 4 ? 3 : 4;
    uint32_t best = gram(l->text, width), least = sharers(g, best);
    for (size_t i = 1; i + width <= l->len; i++) {
        uint32_t v = gram(l->text + i, width), n = sharers(g, v);
        if (n < least) {
            best = v;
            least = n;
        }
    }
    return best;
}

static int add_set(struct grams *g, uint32_t rule, unsigned set, const struct literals *l)
{
    if (l->n == 0)
        g->always[set][rule / 64] |= UINT64_C(1) << (rule % 64);
    for (uint32_t i = 0; i < l->n; i++) {
        ensure(l->v[i].len >= LITERAL_BYTES_MIN);
        if (g->n == g->cap) {
            uint32_t cap = g->cap == 0 ? 256 : g->cap * 2;
            struct entry *more = realloc(g->entries, cap * sizeof *more);
            if (more == NULL)
                return -ENOMEM;
            g->entries = more;
            g->cap = cap;
        }
        uint32_t v = rarest(g, &l->v[i]), slot = slot_of(v);
        g->entries[g->n] =
            (struct entry){ .gram = v, .rule = rule & 0x7fffffff, .set = set & 1, .next = g->slots[slot] };
        g->slots[slot] = ++g->n;
        g->seen[slot / 64] |= UINT64_C(1) << (slot % 64);
    }
    return 0;
}

int grams_add(struct grams *g, uint32_t rule, const struct literals sets[LITERAL_SETS])
{
    ensure(rule / 64 < g->words);
    int err = 0;
    for (unsigned k = 0; k < LITERAL_SETS && err == 0; k++)
        err = add_set(g, rule, k, &sets[k]);
    return err;
}

uint32_t grams_words(const struct grams *g)
{
    return g->words;
}

static void look_up(const struct grams *g, uint32_t v, uint64_t *has[LITERAL_SETS])
{
    uint32_t slot = slot_of(v);
    if ((g->seen[slot / 64] & (UINT64_C(1) << (slot % 64))) == 0)
        return;
    for (uint32_t i = g->slots[slot]; i != 0; i = g->entries[i - 1].next) {
        const struct entry *e = &g->entries[i - 1];
        if (e->gram == v)
            has[e->set][e->rule / 64] |= UINT64_C(1) << (e->rule % 64);
    }
}

void grams_find(const struct grams *g, struct span text, uint64_t *rules)
{
    uint64_t second[GRAMS_WORDS_MAX];
    uint64_t *has[LITERAL_SETS] = { rules, second };
    for (int k = 0; k < LITERAL_SETS; k++)
        memcpy(has[k], g->always[k], g->words * sizeof *rules);
    for (size_t i = 0; i + 3 <= text.n; i++) {
        look_up(g, gram(text.p + i, 3), has);
        if (i + 4 <= text.n)
            look_up(g, gram(text.p + i, 4), has);
    }
    for (uint32_t w = 0; w < g->words; w++)
        rules[w] &= second[w];
}
