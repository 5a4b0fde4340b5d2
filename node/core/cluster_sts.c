/* MTA-STS policies that one node fetched are known to all: told at once, and what a node missed meanwhile it
 * asks for, when another one comes (back) and now and then. Not through the log: there may be 20,000, no two
 * nodes need to know the same at once, and a policy says itself until when it counts.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"
#include "node/core/sts.h"
#include "node/tlspolicy/sts_share.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define TOLD_MAX 1024 /* on their way to the cluster thread; more are asked for later */
#define ASK_TIMEOUT_MS 10000
#define ROUND_S 30 /* between two questions when nothing happened; one node after another */

struct cluster_sts {
    struct cluster *c;
    struct inbox told;
    uint64_t due[CLUSTER_MEMBERS_MAX]; /* nodes to be asked first */
    uint32_t ndue;
    uint64_t asked; /* who is being asked; 0: nobody */
    uint32_t turn, idle_s;
};

struct told {
    struct inbox_msg msg;
    char domain[256];
};

static struct sts_store *store_of(const struct cluster *c)
{
    return sts_store_of(c->node->sts);
}

static void told_cb(void *ctx, struct inbox_msg *msg)
{
    struct cluster_sts *s = ctx;
    struct cluster *c = s->c;
    struct told *t = LIST_ITEM(msg, struct told, msg);
    struct buf out;
    buf_init(&out, GOSSIP_MESSAGE_MAX);
    if (c->state == CLUSTER_RUNNING && c->gossip != NULL &&
        sts_share_tell(store_of(c), t->domain, clock_wall_ms(), &out) == 0)
        (void)gossip_send_all(c->gossip, CLUSTER_MESSAGE_STS, buf_span(&out));
    buf_fini(&out);
    free(t);
}

void cluster_sts_tell(struct cluster *c, const char *domain)
{
    struct told *t = calloc(1, sizeof *t);
    if (t == NULL)
        return;
    snprintf(t->domain, sizeof t->domain, "%s", domain);
    if (inbox_push(&c->sts->told, &t->msg) != 0)
        free(t);
}

void cluster_sts_heard(struct cluster *c, struct span payload)
{
    (void)sts_share_hear(store_of(c), payload, clock_wall_ms(), true);
}

void cluster_on_sts(struct cluster *c, struct gossip_request *r, struct span question)
{
    struct buf out;
    buf_init(&out, GOSSIP_MESSAGE_MAX);
    if (sts_share_answer(store_of(c), question, clock_wall_ms(), &out) == 0)
        gossip_answer(r, buf_span(&out));
    else
        gossip_ignore(r);
    buf_fini(&out);
}

/* ---- asking -------------------------------------------------------------------------------------------- */

static void ask(struct cluster_sts *s, uint64_t node, uint64_t after);

static void answer_cb(void *ctx, uint64_t node, int err, struct span answer)
{
    struct cluster_sts *s = ctx;
    struct sts_share_taken taken = { 0 };
    s->asked = 0;
    if (err == 0)
        err = sts_share_take(store_of(s->c), answer, clock_wall_ms(), &taken);
    if (err == ERR_BAD)
        log_warn("mta-sts", "node %llu answers what cannot be read", (unsigned long long)node);
    if (taken.news > 0)
        log_info("mta-sts", "%u policies learnt from node %llu", taken.news, (unsigned long long)node);
    if (err == 0 && taken.after != 0)
        ask(s, node, taken.after);
}

static void ask(struct cluster_sts *s, uint64_t node, uint64_t after)
{
    struct cluster *c = s->c;
    struct buf question;
    if (c->state != CLUSTER_RUNNING || c->gossip == NULL)
        return;
    buf_init(&question, 4096);
    if (sts_share_question(store_of(c), after, clock_wall_ms(), &question) == 0 &&
        gossip_ask(c->gossip, node, CLUSTER_ASK_STS, buf_span(&question), ASK_TIMEOUT_MS, answer_cb, s) == 0)
        s->asked = node;
    buf_fini(&question);
}

void cluster_sts_alive(struct cluster *c, uint64_t node)
{
    struct cluster_sts *s = c->sts;
    for (uint32_t i = 0; i < s->ndue; i++) {
        if (s->due[i] == node)
            return;
    }
    if (s->ndue < CLUSTER_MEMBERS_MAX)
        s->due[s->ndue++] = node;
}

/* The next one in turn; 0: nobody is connected. */
static uint64_t in_turn(struct cluster_sts *s)
{
    struct gossip_peer_info peers[GOSSIP_PEERS_MAX];
    uint32_t n = gossip_peers(s->c->gossip, peers, GOSSIP_PEERS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        const struct gossip_peer_info *p = &peers[s->turn++ % n];
        if (p->connected)
            return p->node;
    }
    return 0;
}

void cluster_sts_tick(struct cluster *c)
{
    struct cluster_sts *s = c->sts;
    if (s->asked != 0 || c->gossip == NULL)
        return;
    uint64_t node = 0;
    if (s->ndue > 0) {
        node = s->due[--s->ndue];
    } else if (++s->idle_s >= ROUND_S) {
        s->idle_s = 0;
        node = in_turn(s);
    }
    if (node != 0)
        ask(s, node, 0);
}

/* ---- life ---------------------------------------------------------------------------------------------- */

int cluster_sts_new(struct cluster *c, struct cluster_sts **out)
{
    struct cluster_sts *s = calloc(1, sizeof *s);
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

void cluster_sts_close(struct cluster_sts *s)
{
    inbox_close(&s->told, NULL);
}

void cluster_sts_free(struct cluster_sts *s)
{
    if (s == NULL)
        return;
    inbox_fini(&s->told);
    free(s);
}
