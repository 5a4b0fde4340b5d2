/* Letting go of held mail. What was held when it was accepted is charged to its sender's limits now, as mail that
 * comes now would be; where no quota is left it stays. An operator may exempt it, by name (docs/held.md).
 *
 * An item goes when its new state is on disk, and not before: so nothing is delivered that the next start would
 * take for held. What was spent for an item that was then not there any more, or could not be recorded, is lost to
 * its sender: never the other way round.
 *
 * An admin thread begins one of these, has workers add their items, and waits. One at a time on a node, so that two
 * operators do not charge a sender twice.
 */
#ifndef NODE_CORE_HELD_RELEASE_H
#define NODE_CORE_HELD_RELEASE_H

#include "node/ledger/ledger.h"
#include "node/shaping/hold_mark.h"

#include <pthread.h>

struct egress;
struct node;
struct queue_item;
struct queue_item_view;

struct held_release {
    struct node *node;
    const char *by;     /* the operator; borrowed */
    const char *remark; /* NULL: none; borrowed */
    bool exempt;        /* nothing is charged */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    uint32_t pending;              /* lock: items whose answer is outstanding */
    uint64_t done, gone, failed;   /* lock: recipients; gone: not held any more when their turn came */
    uint64_t no_quota, frozen;     /* lock: of done, those that wait until their sender is thawed */
    struct ledger_refusal refusal; /* lock: the last one of no_quota */
};

/* ERR_BUSY: another one is under way on this node. */
int held_release_begin(struct held_release *r, struct node *node, const char *by, const char *remark, bool exempt);
/* The item's worker: its recipients go, now or later, or are counted as what keeps them. The item must be HELD; it is
 * good no longer. */
void held_release_item(struct held_release *r, struct egress *e, struct queue_item *item);
/* The admin thread: until all of them have been answered, which the ledger and the spool do in bounded time. */
void held_release_wait(struct held_release *r);
void held_release_end(struct held_release *r);

/* A state of the item's recipients, with words and a mark, into the spool; `op` (may be NULL) is answered. The
 * worker's thread. */
struct spool_op;
int held_record(struct egress *e, const struct queue_item_view *v, uint8_t state, struct span words,
                const struct hold_mark *mark, struct spool_op *op);

#endif
