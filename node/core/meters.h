/* Rates of the last minutes, as load averages are made: totals are looked at every five seconds. The main
 * thread ticks; any thread reads.
 */
#ifndef NODE_CORE_METERS_H
#define NODE_CORE_METERS_H

#include "node/core/node.h"

enum meter {
    METER_RECEIVED,
    METER_REJECTED,
    METER_AUTH_FAILED,
    METER_DELIVERED,
    METER_DEFERRED,
    METER_BOUNCED,
    METERS
};

struct meter_value {
    double m1, m5, m15; /* per second */
    uint64_t total;
};

struct meters;

/* Starts a timer on the node's loop. */
int meters_new(struct node *n, struct meters **out);
/* Its memory goes with the loop's next turn. */
void meters_free(struct meters *m);
void meters_read(struct meters *m, enum meter which, struct meter_value *out);

#endif
