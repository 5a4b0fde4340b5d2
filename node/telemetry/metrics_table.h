/* The table of metrics; for metrics.c and its test. */
#ifndef NODE_TELEMETRY_METRICS_TABLE_H
#define NODE_TELEMETRY_METRICS_TABLE_H

#include "node/telemetry/metrics.h"

#include <stddef.h>

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

#define METRICS_LABELS_MAX 16

struct metrics_def {
    const char *name; /* with its unit, without the "turnpike_" in front */
    const char *help;
    enum metrics_type type;
    const char *const *labels; /* NULL, or each value of the enum as `name="value"`; NULL ends */
};

extern const struct metrics_def metrics_table[METRICS_IDS];

/* Upper bounds of every histogram's buckets; 0 ends. They are times. */
extern const int64_t metrics_bounds_us[];
#define METRICS_BUCKETS 16 /* with +Inf */

#endif
