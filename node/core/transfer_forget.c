/* Ends what the log keeps of batches whose giver was removed. It is kept so that a copy, or the dead node's
 * disk, can still find out whose the mail is; so it may go when no node has copies that it does not use, and
 * nobody will adopt that disk (any more). An admin thread.
 */
#include "base/buf.h"
#include "base/err.h"
#include "node/core/transfer_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ASK_MS 5000
#define PEERS_MAX 64
#define FEATURE_NEEDED 2 /* of the log: directory_transfer.c */

int transfer_ask(struct transfer *t, uint64_t node, uint8_t verb, const uint8_t batch[16])
{
    struct transfer_question q = { .verb = verb };
    struct transfer_answer answer = { .code = 0 };
    struct buf question, bytes;
    memcpy(q.batch, batch, sizeof q.batch);
    buf_init(&question, 64);
    buf_init(&bytes, 4096);
    int err = transfer_question_encode(&q, &question);
    if (err == 0 && node == cluster_self(t->node->cluster))
        err = transfer_ask_self(t, buf_span(&question), &bytes);
    else if (err == 0)
        err = cluster_transfer_ask(t->node->cluster, node, buf_span(&question), ASK_MS, &bytes);
    if (err == 0)
        err = transfer_answer_decode(buf_span(&bytes), &answer);
    buf_fini(&question);
    buf_fini(&bytes);
    return err != 0 ? err : answer.code;
}

/* ---- forgetting ---------------------------------------------------------------------------------------- */

struct batches {
    uint64_t giver;
    struct buf ids; /* 16 bytes each */
};

static int collect(void *arg, const struct directory_transfer *d)
{
    struct batches *b = arg;
    return d->giver == b->giver ? buf_put(&b->ids, d->id, sizeof d->id) : 0;
}

struct others {
    struct cluster_transfer_peer peers[PEERS_MAX];
    uint32_t n;
};

/* 1: no node has copies that it does not use; 0: one has; or an error. */
static int settled(struct transfer *t, const struct others *o, const uint8_t batch[16], struct admin_error *e)
{
    int code = transfer_ask(t, cluster_self(t->node->cluster), TRANSFER_SETTLED, batch);
    if (code < 0)
        return admin_fail(e, code, "this node cannot say whether it has copies: %s", err_text(code));
    for (uint32_t i = 0; i < o->n && code == TRANSFER_YES; i++) {
        code = transfer_ask(t, o->peers[i].node, TRANSFER_SETTLED, batch);
        if (code < 0)
            return admin_fail(e, code, "node %s does not answer: nobody else knows whether it has copies",
                              o->peers[i].name);
    }
    return code == TRANSFER_YES;
}

static int forget_all(struct transfer *t, const struct batches *b, const struct others *o,
                      struct transfer_forgotten *out, struct admin_error *e)
{
    int err = 0;
    for (size_t at = 0; err == 0 && at < b->ids.len; at += 16) {
        struct command cmd = { .type = COMMAND_TRANSFER_END };
        memcpy(cmd.transfer_end.id, b->ids.data + at, sizeof cmd.transfer_end.id);
        int yes = settled(t, o, cmd.transfer_end.id, e);
        if (yes > 0)
            err = cluster_transfer_submit(t->node->cluster, &cmd, e);
        else
            err = yes;
        out->ended += yes > 0 && err == 0;
        out->kept += yes == 0;
    }
    return err;
}

int transfer_forget(struct node *n, uint64_t giver, struct transfer_forgotten *out, struct admin_error *e)
{
    struct transfer *t = n->transfer;
    struct batches b = { .giver = giver };
    *out = (struct transfer_forgotten){ 0 };
    if (t == NULL || cluster_machine(n->cluster) == NULL)
        return admin_fail(e, ERR_NOT_FOUND, "this node is in no cluster");
    int err = cluster_transfer_barrier(n->cluster);
    if (err != 0)
        return admin_fail(e, err, "the cluster does not answer: nothing can be decided without it");
    if (!transfer_member_removed(t, giver))
        return admin_fail(e, ERR_DENIED, "node %llu is a member: it ends its batches itself",
                          (unsigned long long)giver);
    struct others *o = calloc(1, sizeof *o);
    if (o == NULL)
        return -ENOMEM;
    buf_init(&b.ids, SIZE_MAX);
    struct machine *m = cluster_machine(n->cluster);
    machine_read_lock(m);
    uint32_t level = machine_features(m);
    err = directory_transfer_each(m, collect, &b);
    machine_read_unlock(m);
    if (err == 0 && level < FEATURE_NEEDED && b.ids.len > 0)
        err = admin_fail(e, ERR_DENIED,
                         "that needs feature level %d, and %u is in force: turnpike cluster raise",
                         FEATURE_NEEDED, level);
    if (err == 0)
        err = cluster_transfer_peers(n->cluster, o->peers, PEERS_MAX, &o->n);
    if (err == 0)
        err = forget_all(t, &b, o, out, e);
    buf_fini(&b.ids);
    free(o);
    return err;
}
