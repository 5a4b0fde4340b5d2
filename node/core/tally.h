/* What becomes of each account's mail on this node, gathered and reported to the cluster every few seconds,
 * where the sums of all nodes are kept (consensus/directory_record.c, docs/bounces.md).
 *
 * A report is numbered and repeated until the cluster has answered: it counts once, whatever happens to
 * sessions and leaders meanwhile. What a process gathered and had not reported yet is lost with it. Bounded:
 * when so many accounts wait (the cluster does not answer), further ones are not counted, and the log says
 * so.
 */
#ifndef NODE_CORE_TALLY_H
#define NODE_CORE_TALLY_H

#include "base/span.h"
#include "consensus/record.h"

#include <stdint.h>

#define TALLY_ACCOUNTS_MAX 50000
#define TALLY_EVERY_MS 3000

struct cluster;
struct tally;

/* NULL: no memory, or no random numbers. */
struct tally *tally_new(void);
void tally_free(struct tally *t);

/* One more of this kind; nothing where there is no cluster (NULL), or no account. Any thread. */
void tally_add(struct cluster *c, struct span account, uint8_t kind);

/* The cluster thread, every 100 ms; and before the node leaves its session, so that what can still be told
 * is. */
void tally_tick(struct cluster *c, int64_t now_ms);
void tally_last(struct cluster *c);

#endif
