/* A histogram of durations: 64 buckets for each power of two. */
#include "test/bench/hist.h"

#include <math.h>
#include <stddef.h>

#define SUB 64u

static size_t bucket_of(uint64_t v)
{
    if (v < SUB)
        return (size_t)v;
    unsigned exponent = 63u - (unsigned)__builtin_clzll(v);
    size_t at = (size_t)(exponent - 5) * SUB + (size_t)((v >> (exponent - 6)) & (SUB - 1));
    return at < HIST_BUCKETS ? at : HIST_BUCKETS - 1;
}

/* The largest value of a bucket. */
static uint64_t bucket_top(size_t at)
{
    if (at < SUB)
        return at;
    unsigned exponent = (unsigned)(at / SUB) + 5;
    uint64_t step = 1ull << (exponent - 6);
    return (1ull << exponent) + (at % SUB) * step + step - 1;
}

void hist_add(struct hist *h, int64_t ns)
{
    uint64_t v = ns < 0 ? 0 : (uint64_t)ns;
    h->counts[bucket_of(v)]++;
    h->total++;
    h->sum_ns += (double)v;
    if (v > h->max_ns)
        h->max_ns = v;
}

uint64_t hist_quantile(const struct hist *h, double q)
{
    if (h->total == 0)
        return 0;
    uint64_t rank = (uint64_t)ceil(q * (double)h->total);
    uint64_t seen = 0;
    for (size_t i = 0; i < HIST_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen >= rank && h->counts[i] != 0) {
            uint64_t top = bucket_top(i);
            return top < h->max_ns ? top : h->max_ns;
        }
    }
    return h->max_ns;
}

double hist_mean(const struct hist *h)
{
    return h->total == 0 ? 0 : h->sum_ns / (double)h->total;
}
