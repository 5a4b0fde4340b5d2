/* Who is frozen, as one immutable table that all threads share by reference count. The cluster thread makes a new one
 * whenever the list changes (the cluster's, and what was frozen on this node alone), and hands it to every worker,
 * which from then on acts upon it and says so (ledger_worker_publish).
 */
#ifndef NODE_CORE_FROZEN_H
#define NODE_CORE_FROZEN_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct worker;
struct frozen_view;

struct frozen_entry {
    uint8_t scope, mode; /* enum command_scope, enum command_freeze_mode */
    uint64_t id;         /* of the freeze; 0: of this node alone */
    struct span name, reason, who;
};

/* One reference. -ENOMEM: NULL. */
struct frozen_view *frozen_view_new(void);
/* While it is made: copies. The first of a name stays. 0 or -ENOMEM. */
int frozen_view_add(struct frozen_view *v, const struct frozen_entry *e);
/* It is complete: it has what was applied up to `index`. */
void frozen_view_seal(struct frozen_view *v, uint64_t index);

struct frozen_view *frozen_view_hold(struct frozen_view *v);
void frozen_view_rele(struct frozen_view *v); /* NULL is harmless */

uint64_t frozen_view_index(const struct frozen_view *v);
uint32_t frozen_view_len(const struct frozen_view *v);
/* NULL: not frozen. Valid while the view is held. A NULL view: nobody is. */
const struct frozen_entry *frozen_view_find(const struct frozen_view *v, uint8_t scope, struct span name);
/* Of a sender: the account's own, else (of a web sender) its host's, else its tenant's. */
const struct frozen_entry *frozen_view_of(const struct frozen_view *v, struct span account, struct span tenant);
/* What becomes of his mail here: reject, defer or hold, whatever `auto` stands for on a listener of this kind. NULL:
 * FROZEN_NOT. */
#define FROZEN_NOT 0
uint8_t frozen_entry_mode(const struct frozen_entry *e, bool relay);

/* On the worker: it acts upon v from now on. Takes v. */
void worker_frozen(struct worker *w, struct frozen_view *v);
/* A node that was away does not know who was frozen meanwhile: its workers start no delivery (worker.gated) until the
 * cluster thread says so: when the node has a usable session, which means that it has caught up; or when no majority
 * could be reached for ten seconds. Any thread, any number of times. */
void frozen_gate_open(struct worker *w);
/* From the cluster thread. */
void frozen_view_post(struct worker *w, struct frozen_view *v);

#endif
