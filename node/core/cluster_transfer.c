/* What mail that moves needs of the cluster thread: questions to other nodes and their answers, commands, who
 * is there. Called from the transfer's own threads and from admin threads, but for what runs in a
 * cluster_call.
 */
#include "base/err.h"
#include "node/core/cluster_impl.h"
#include "node/core/transfer_impl.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- asking -------------------------------------------------------------------------------------------- */

struct transfer_ask {
    struct cluster_call call;
    uint64_t node;
    struct span question;
    int64_t wait_ms;
    struct buf *answer;
};

static void asked_cb(void *ctx, uint64_t node, int err, struct span answer)
{
    struct cluster *c = ((struct cluster_ticket *)ctx)->c;
    struct transfer_ask *a = (struct transfer_ask *)cluster_ticket_take(ctx);
    (void)node;
    if (a == NULL)
        return;
    if (err == 0)
        err = buf_put_span(a->answer, answer);
    cluster_call_done(c, &a->call, err);
}

static void ask_run(struct cluster *c, struct cluster_call *call)
{
    struct transfer_ask *a = (struct transfer_ask *)call;
    struct cluster_ticket *t = c->state == CLUSTER_RUNNING ? cluster_ticket_new(c, call) : NULL;
    if (t == NULL) {
        cluster_call_done(c, call, ERR_CLOSED);
        return;
    }
    cluster_call_later(c, call);
    int err = gossip_ask(c->gossip, a->node, CLUSTER_ASK_TRANSFER, a->question, a->wait_ms, asked_cb, t);
    if (err != 0) {
        (void)cluster_ticket_take(t);
        cluster_call_done(c, call, err);
    }
}

int cluster_transfer_ask(struct cluster *c, uint64_t node, struct span question, int64_t timeout_ms,
                         struct buf *answer)
{
    struct transfer_ask a = { .node = node, .question = question, .wait_ms = timeout_ms, .answer = answer };
    cluster_call_init(&a.call, ask_run, NULL);
    a.call.timeout_ms = timeout_ms + 1000;
    return cluster_call_wait(c, &a.call);
}

/* ---- answering ----------------------------------------------------------------------------------------- */

struct transfer_reply {
    struct cluster_call call;
    struct gossip_request *request;
    struct span answer;
};

static void reply_run(struct cluster *c, struct cluster_call *call)
{
    struct transfer_reply *r = (struct transfer_reply *)call;
    if (r->answer.n == 0)
        gossip_ignore(r->request);
    else
        gossip_answer(r->request, r->answer); /* also when gossip has closed meanwhile */
    cluster_call_done(c, call, 0);
}

void cluster_transfer_answer(struct cluster *c, struct gossip_request *r, struct span answer)
{
    struct transfer_reply reply = { .request = r, .answer = answer };
    cluster_call_init(&reply.call, reply_run, NULL);
    if (cluster_call_wait(c, &reply.call) != ERR_CLOSED)
        return;
    cluster_call_init(&reply.call, reply_run, NULL); /* the node stops: its thread still runs */
    reply.call.last = true;
    (void)cluster_call_wait(c, &reply.call);
}

void cluster_on_transfer(struct cluster *c, struct gossip_request *r, uint64_t from, struct span question)
{
    struct directory_member mb;
    bool member = directory_member_find(c->m, from, &mb) && mb.state != COMMAND_MEMBER_REMOVED;
    if (member && c->node->transfer != NULL)
        transfer_asked(c->node->transfer, r, from, question);
    else
        gossip_ignore(r);
}

/* ---- who is there -------------------------------------------------------------------------------------- */

struct transfer_peers {
    struct cluster_call call;
    struct cluster *c;
    struct gossip_peer_info *heard;
    uint32_t nheard;
    struct cluster_transfer_peer *out;
    uint32_t max, n;
};

static int add_peer(void *arg, const struct directory_member *mb)
{
    struct transfer_peers *p = arg;
    if (mb->state == COMMAND_MEMBER_REMOVED || mb->id == p->c->id.self.node || p->n == p->max)
        return 0;
    struct cluster_transfer_peer *peer = &p->out[p->n++];
    *peer = (struct cluster_transfer_peer){ .node = mb->id };
    snprintf(peer->name, sizeof peer->name, "%.*s", (int)mb->name.n, mb->name.p);
    for (uint32_t i = 0; i < p->nheard; i++)
        if (p->heard[i].node == mb->id)
            peer->active = mb->state == COMMAND_MEMBER_ACTIVE && p->heard[i].health == GOSSIP_ALIVE;
    return 0;
}

static void peers_run(struct cluster *c, struct cluster_call *call)
{
    struct transfer_peers *p = (struct transfer_peers *)call;
    p->c = c;
    if (c->state == CLUSTER_RUNNING) {
        p->nheard = gossip_peers(c->gossip, p->heard, GOSSIP_PEERS_MAX);
        (void)directory_member_each(c->m, add_peer, p);
    }
    cluster_call_done(c, call, c->state == CLUSTER_RUNNING ? 0 : ERR_CLOSED);
}

int cluster_transfer_peers(struct cluster *c, struct cluster_transfer_peer *out, uint32_t max, uint32_t *n)
{
    struct transfer_peers p = { .out = out, .max = max };
    p.heard = calloc(GOSSIP_PEERS_MAX, sizeof *p.heard);
    if (p.heard == NULL)
        return -ENOMEM;
    cluster_call_init(&p.call, peers_run, NULL);
    int err = cluster_call_wait(c, &p.call);
    free(p.heard);
    *n = p.n;
    return err;
}

/* ---- the log ------------------------------------------------------------------------------------------- */

int cluster_transfer_barrier(struct cluster *c)
{
    struct admin_error e;
    return cluster_barrier(c->node, &e);
}

int cluster_transfer_submit(struct cluster *c, struct command *cmd, struct admin_error *e)
{
    struct machine_result r;
    return cluster_submit(c->node, NULL, cmd, &r, e);
}

struct transfer_published {
    struct cluster_call call;
    uint64_t index;
};

static void published_run(struct cluster *c, struct cluster_call *call)
{
    if (c->state == CLUSTER_RUNNING)
        ((struct transfer_published *)call)->index = agent_published(c->agent);
    cluster_call_done(c, call, 0);
}

uint64_t cluster_transfer_published(struct cluster *c)
{
    struct transfer_published p = { .index = 0 };
    cluster_call_init(&p.call, published_run, NULL);
    (void)cluster_call_wait(c, &p.call);
    return p.index;
}
