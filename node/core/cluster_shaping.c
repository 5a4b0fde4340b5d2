/* What one node learns of a destination, the others are told at once: a site that asks for less, an address
 * that is blocked there. They apply it to the same queue, which is the same destination and pool. A node that
 * starts, or comes back, asks the others what is in force. Nothing rests on it: a node that doesn't hear of
 * something learns it from the site.
 */
#include "base/clock.h"
#include "node/core/cluster_impl.h"
#include "node/core/egress_shaping.h"

#include <errno.h>
#include <stdlib.h>

#define TOLD_MAX 1024 /* on their way to the cluster thread; more are not told */

struct told {
    struct inbox_msg msg;
    uint64_t node; /* 0: all of them, and it is new */
    size_t n;
    char bytes[];
};

static void told_cb(void *ctx, struct inbox_msg *msg)
{
    struct cluster *c = ctx;
    struct told *t = LIST_ITEM(msg, struct told, msg);
    struct span bytes = span_of(t->bytes, t->n);
    bool running = c->state == CLUSTER_RUNNING && c->gossip != NULL;
    if (running && t->node == 0)
        (void)gossip_send_all(c->gossip, CLUSTER_MESSAGE_SHAPING, bytes);
    else if (running)
        (void)gossip_send(c->gossip, t->node, CLUSTER_MESSAGE_SHAPING_AGAIN, bytes);
    free(t);
}

static void tell(struct cluster *c, uint64_t node, const struct shaping_hold *hold)
{
    struct buf out;
    buf_init(&out, 8192);
    int err = shaping_hold_encode(hold, clock_wall_ms(), &out);
    struct told *t = err == 0 ? malloc(sizeof *t + out.len) : NULL;
    if (t != NULL) {
        *t = (struct told){ .node = node, .n = out.len };
        memcpy(t->bytes, out.data, out.len);
        if (inbox_push(&c->shaping, &t->msg) != 0)
            free(t);
    }
    buf_fini(&out);
}

void cluster_shaping_tell(struct cluster *c, const struct shaping_hold *hold)
{
    tell(c, 0, hold);
}

void cluster_shaping_answer(struct cluster *c, uint64_t node, const struct shaping_hold *hold)
{
    tell(c, node, hold);
}

void cluster_shaping_alive(struct cluster *c, uint64_t node)
{
    if (c->state == CLUSTER_RUNNING && c->gossip != NULL)
        (void)gossip_send(c->gossip, node, CLUSTER_MESSAGE_SHAPING_ASK, (struct span){ "", 0 });
    egress_shaping_answer(c->node, node, true); /* what was said while it was not heard */
}

void cluster_shaping_asked(struct cluster *c, uint64_t node)
{
    egress_shaping_answer(c->node, node, false);
}

void cluster_shaping_heard(struct cluster *c, struct span payload, bool again)
{
    struct shaping_hold hold;
    if (shaping_hold_decode(payload, clock_wall_ms(), &hold) == 0)
        egress_shaping_hear(c->node, &hold, again);
}

int cluster_shaping_init(struct cluster *c)
{
    return inbox_init(&c->shaping, &c->loop, TOLD_MAX, told_cb, c);
}
