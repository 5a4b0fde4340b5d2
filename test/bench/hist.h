/* A histogram of durations with logarithmic buckets of 1.6 %, as HdrHistogram has them. One thread. */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

#define HIST_BUCKETS 2560 /* up to 2^45 ns, almost ten hours; longer ones count as that */

struct hist {
    uint64_t counts[HIST_BUCKETS];
    uint64_t total;
    uint64_t max_ns;
    double sum_ns;
};

void hist_add(struct hist *h, int64_t ns);
/* The duration that a part q (0 to 1) of all samples does not exceed; 0 without samples. */
uint64_t hist_quantile(const struct hist *h, double q);
double hist_mean(const struct hist *h);

#endif
