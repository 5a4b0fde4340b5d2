/* A node's membership on disk: DATA_DIR/cluster/, mode 0700. Blocking; the main thread, the command line, or
 * (saves, which are rare) the cluster thread.
 *
 *     member.json    cluster, epoch, node id, slot, name, addresses: written last, so its presence means "a
 * member" ca.pem  node.pem  node.key  secret    the secret on voters only raft/          the replica's
 *
 * `dir` below is that folder itself; identity_save makes it. A save replaces all files or none, whenever the
 * machine stops: they are written beside and synced before the first is renamed. Anybody else's access to the
 * key or the secret is an error that says how to mend it.
 */
#ifndef NODE_CLUSTER_IDENTITY_H
#define NODE_CLUSTER_IDENTITY_H

#include "base/buf.h"
#include "base/peer.h"
#include "node/cluster/ca.h"

#include <stdbool.h>

struct identity {
    struct peer self;
    uint8_t slot;
    char name[64];
    char raft_address[128], gossip_address[128]; /* as others dial them */
    struct buf ca, certificate, key;             /* PEM */
    bool has_secret;
    uint8_t secret[CA_SECRET_BYTES];
    struct identity_seed { /* members when it was last saved: whom to ask first */
        uint64_t id;
        char raft_address[128], gossip_address[128];
    } seeds[16];
    uint32_t nseeds;
};

void identity_init(struct identity *id);
void identity_fini(struct identity *id); /* wipes */
/* ERR_NOT_FOUND: not a member yet (nothing in `why`). ERR_DENIED: modes. ERR_CORRUPT; -errno; `why` has one
 * line "file: reason". `out` was initialised; after an error it has parts at most. An expired certificate is
 * no error. */
int identity_load(const char *dir, struct identity *out, struct buf *why);
/* ERR_BAD: what is in it does not belong together; nothing was written. */
int identity_save(const char *dir, const struct identity *id, struct buf *why);
/* Moves everything aside (cluster.removed-N): the node is no member any more. ERR_NOT_FOUND: it was none. */
int identity_retire(const char *dir, struct buf *why);

#endif
