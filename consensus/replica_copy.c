/* A copy of the machine's state for somebody else than libraft: a backup. Encoded as a snapshot is; meanwhile
 * libraft takes none, and one that it is sent is held back. See replica.h.
 */
#include "consensus/replica_impl.h"

#include "base/err.h"

static void copied(struct replica *r, int err, struct replica_encoding *e)
{
    struct span state = { 0 };
    if (err == 0 && e->n > 0)
        state = span_of(e->bufs[0].base, e->bufs[0].len);
    r->copying = false;
    r->copy_cb(r->copy_ctx, err, state);
}

int replica_copy(struct replica *r, replica_copy_cb *cb, void *ctx)
{
    if (r->failed != 0 || r->closing != REPLICA_OPEN)
        return ERR_CLOSED;
    if (r->taking || r->copying || r->held != NULL || r->put.active)
        return ERR_BUSY;
    int err = machine_snapshot_begin(r->config.machine);
    if (err != 0)
        return err;
    r->copying = true;
    r->copy_cb = cb;
    r->copy_ctx = ctx;
    replica_encode(r, 0, copied);
    return 0;
}
