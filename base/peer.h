/* Who a node's certificate says that it is: a URI in subjectAltName,
 *
 *     turnpike:CLUSTER/EPOCH/NODE        "turnpike:8f14e45fceea167a5a36dedd4bea2543/1/3"
 *
 * cluster id in 32 hex digits, epoch and node id in decimal. Pure. Any thread.
 */
#ifndef BASE_PEER_H
#define BASE_PEER_H

#include "base/span.h"

#include <stdint.h>

struct peer {
    uint8_t cluster[16];
    uint32_t epoch;
    uint64_t node; /* from 1 */
};

#define PEER_URI_MAX 96 /* with the NUL */
void peer_uri_format(const struct peer *p, char out[PEER_URI_MAX]);
/* ERR_BAD: anything that peer_uri_format would not have written. */
int peer_uri_parse(struct span uri, struct peer *out);

#endif
