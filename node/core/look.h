/* Looking into the workers' queues from an admin thread, in bounded steps so that no loop stops for long:
 * first the ids that may match, then what the queues and the spool know of each.
 */
#ifndef NODE_CORE_LOOK_H
#define NODE_CORE_LOOK_H

#include "node/admin/ops.h"
#include "node/core/node.h"

/* ---- ids ------------------------------------------------------------------------------------------------
 */

struct look_ids {
    uint64_t *ids; /* ascending, each once */
    size_t n, cap;
};

/* The messages with an item that the selector does not exclude at sight (sel NULL: all), with ids above
 * `after`. 8 bytes for each item. -ENOMEM */
int look_ids(struct node *n, const struct admin_selector *sel, uint64_t after, struct look_ids *out);
void look_ids_fini(struct look_ids *l);

/* The id as the spool has it: people see one without how often the message has moved. ERR_BAD */
int look_id(struct node *n, struct span text, uint64_t *id);

struct look_totals {
    uint64_t recipients;
    int64_t oldest_ms; /* arrival of the oldest message; 0: there is none */
};
void look_totals(struct node *n, struct look_totals *out);

/* ---- messages -------------------------------------------------------------------------------------------
 */

/* An item as a worker's queue had it a moment ago. */
struct look_item {
    uint64_t id;
    uint32_t worker;
    uint8_t state; /* enum queue_state */
    uint16_t attempts;
    int64_t next_ms;
    struct span site, site_error; /* in the batch's text */
    uint32_t nrcpts;
    uint32_t *rcpts;
};

struct look_batch {
    struct look_item *items; /* by id */
    size_t n, cap;
    struct buf text;
    int err;
};

#define LOOK_BATCH 256 /* ids that a worker looks up in one call */

/* What the workers know of some messages. -ENOMEM */
int look_batch(struct node *n, const uint64_t *ids, size_t nids, struct look_batch *out);
void look_batch_fini(struct look_batch *b);

/* Calls fn for each recipient of a message that the selector matches (NULL: all), living ones only unless
 * `ended`. Returns fn's last answer, ERR_NOT_FOUND, or an error. */
int look_message(struct node *n, uint64_t id, const struct look_batch *b, const struct admin_selector *sel,
                 bool ended, admin_row_fn *fn, void *arg);

/* All messages that match, in order of (id, rcpt) after the place. fn as above; 1 from it ends the walk. */
int look_all(struct node *n, const struct admin_selector *sel, uint64_t after, uint32_t after_rcpt,
             admin_row_fn *fn, void *arg);

const char *look_class_name(uint8_t class);

#endif
