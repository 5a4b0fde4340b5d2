/* The first command of a cluster, or of a new epoch of one: made with a new authority and this node's
 * certificate of it, and left in a file before the node becomes a member, so that a crash at any time leads
 * either to no member at all or to one that can still propose it. Blocking; no thread of its own.
 */
#ifndef NODE_CORE_FOUNDING_H
#define NODE_CORE_FOUNDING_H

#include "base/buf.h"
#include "node/cluster/identity.h"

/* `dir`: the folder of the membership (node/cluster/identity.h), which need not exist. Reads from `id` the
 * cluster, the epoch, node, name and addresses; fills in authority, secret, key and certificate. A file of an
 * earlier attempt is replaced. One line in `why` on error. */
int founding_write(const char *dir, struct identity *id, struct buf *why);
void founding_path(const char *dir, char *out, size_t cap);

#endif
