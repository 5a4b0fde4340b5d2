/* Mail that moves between nodes: giving it away, taking it, and what is in between after a crash. Two threads
 * of its own, which may block: the giver picks messages out of the workers' queues and hands them over; the
 * taker stores what others give. Neither waits for the other, so that two nodes may give to each other at the
 * same time. The log decides whose a batch is (consensus/directory.h); transfer_wire.h says how two nodes
 * talk.
 *
 * All of it does nothing until the node is a member of a cluster. Threads: any but a loop's, unless said
 * otherwise.
 */
#ifndef NODE_CORE_TRANSFER_H
#define NODE_CORE_TRANSFER_H

#include "node/admin/ops.h"
#include "node/core/node.h"
#include "node/core/transfer_wire.h"

struct gossip_request;
struct transfer;

/* Main thread: before the spool is opened, after the cluster has started, before its thread stops (and after
 * its calls were ended), after that. */
int transfer_new(struct node *n, struct transfer **out);
int transfer_start(struct transfer *t);
void transfer_stopping(struct transfer *t); /* from now on nothing is begun */
void transfer_stop(struct transfer *t);
void transfer_free(struct transfer *t);

/* At the spool's opening, of each living message. -ENOMEM. */
int transfer_found(struct transfer *t, const struct envelope *env, const struct spool_rcpt *rcpts);

/* Cluster thread: another node asks. Takes `r`. */
void transfer_asked(struct transfer *t, struct gossip_request *r, uint64_t from, struct span question);

/* Has a message of this node's queue moved to another node, soon: when it is in no transaction. `id` as the
 * spool has it. Any thread; does not wait. ERR_LIMIT: too many are asked for already; ERR_CLOSED: no cluster.
 * What cannot be moved (it ended meanwhile, the other node refuses) stays. */
int transfer_request(struct node *n, uint64_t id, uint64_t node);
/* A member that drains has all that it has moved, evenly, to the active nodes, without being asked. */

/* What is on its way. */
struct transfer_progress {
    uint64_t queued;         /* messages that are in the spool here, with those on their way */
    uint64_t moved;          /* messages that have gone since the start */
    uint64_t leaving;        /* messages of batches that are not yet the other node's for good */
    uint32_t giving, taking; /* batches that are not finished */
    uint32_t
        strays; /* copies of batches that were not finished, until their givers say what became of them */
    uint64_t wanted; /* asked for, and not begun */
    uint64_t stuck;  /* messages that cannot be moved: damaged, or moved too often */
};
void transfer_progress(struct node *n, struct transfer_progress *out);
/* Batches that have not been finished for so long; the cluster thread asks too. */
uint32_t transfer_late(struct node *n, int64_t for_ms);

struct transfer_row {
    uint8_t batch[16];
    uint64_t giver, taker;
    bool giving; /* by this node; else to it */
    bool orphan; /* neither: kept by the log, of a giver that was removed */
    uint32_t messages;
    int64_t since_ms; /* wall clock; 0: not known */
    const char *state;
    char trouble[160]; /* or empty */
};
typedef int transfer_row_fn(void *arg, const struct transfer_row *row);
/* Under machine_read_lock. Also what the log keeps of givers that were removed. */
int transfer_list(struct node *n, transfer_row_fn *fn, void *arg);
/* The giver's: the batch shall stay. What the log says counts: ERR_DENIED when it is the taker's already. */
int transfer_cancel(struct node *n, struct span batch, struct admin_error *e);
/* The taker's, when the giver was removed: the batch shall be this node's. */
int transfer_take(struct node *n, struct span batch, struct admin_error *e);

/* Of a node that was removed and whose disk nobody will adopt (any more): ends what the log keeps of its batches, but
 * for those of which some node still has copies that it does not use. */
struct transfer_forgotten {
    uint32_t ended, kept;
};
int transfer_forget(struct node *n, uint64_t giver, struct transfer_forgotten *out, struct admin_error *e);

/* Asks for all messages that are selected. */
struct transfer_asked_for {
    uint64_t messages, refused;
};
int transfer_move(struct node *n, const struct admin_selector *sel, uint64_t node, bool dry_run,
                  struct transfer_asked_for *out, struct admin_error *e);

/* Takes in the spool of a removed node. */
struct transfer_adopted {
    uint64_t messages; /* that were alive there */
    uint64_t taken, elsewhere /* another node has them */, in_doubt, failed;
};
int transfer_adopt(struct node *n, const char *dir, uint64_t node, struct transfer_adopted *out,
                   struct admin_error *e);

#endif
