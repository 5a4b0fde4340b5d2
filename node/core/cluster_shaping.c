/* What one node learns of a destination, the others are told at once: a site that asks for less, an address
 * that is blocked there. They apply it to the same queue, which is the same destination and pool. Nothing
 * rests on it: a node that doesn't hear of it learns it from the site.
 */
#include "base/clock.h"
#include "node/core/cluster_impl.h"
#include "node/core/egress_shaping.h"

#include <errno.h>
#include <stdlib.h>

#define TOLD_MAX 1024 /* on their way to the cluster thread; more are not told */

struct cluster_shaping {
    struct cluster *c;
    struct inbox told;
};

struct told {
    struct inbox_msg msg;
    size_t n;
    char bytes[];
};

static void told_cb(void *ctx, struct inbox_msg *msg)
{
    struct cluster_shaping *s = ctx;
    struct cluster *c = s->c;
    struct told *t = LIST_ITEM(msg, struct told, msg);
    if (c->state == CLUSTER_RUNNING && c->gossip != NULL)
        (void)gossip_send_all(c->gossip, CLUSTER_MESSAGE_SHAPING, span_of(t->bytes, t->n));
    free(t);
}

void cluster_shaping_tell(struct cluster *c, const struct shaping_hold *hold)
{
    struct buf out;
    buf_init(&out, 8192);
    int err = shaping_hold_encode(hold, clock_wall_ms(), &out);
    struct told *t = err == 0 ? malloc(sizeof *t + out.len) : NULL;
    if (t != NULL) {
        *t = (struct told){ .n = out.len };
        memcpy(t->bytes, out.data, out.len);
        if (inbox_push(&c->shaping->told, &t->msg) != 0)
            free(t);
    }
    buf_fini(&out);
}

void cluster_shaping_heard(struct cluster *c, struct span payload)
{
    struct shaping_hold hold;
    if (shaping_hold_decode(payload, clock_wall_ms(), &hold) == 0)
        egress_shaping_hear(c->node, &hold);
}

int cluster_shaping_new(struct cluster *c, struct cluster_shaping **out)
{
    struct cluster_shaping *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    s->c = c;
    int err = inbox_init(&s->told, &c->loop, TOLD_MAX, told_cb, s);
    if (err != 0) {
        free(s);
        return err;
    }
    *out = s;
    return 0;
}

void cluster_shaping_close(struct cluster_shaping *s)
{
    inbox_close(&s->told, NULL);
}

void cluster_shaping_free(struct cluster_shaping *s)
{
    if (s == NULL)
        return;
    inbox_fini(&s->told);
    free(s);
}
