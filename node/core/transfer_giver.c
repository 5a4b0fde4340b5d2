/* The giver's thread: which messages are to go to which node, and each batch's steps in turn. */
#include "base/clock.h"
#include "base/cond.h"
#include "base/ensure.h"
#include "node/core/look.h"
#include "node/core/transfer_impl.h"

#include <errno.h>
#include <stdlib.h>

#define IDLE_MS 250
#define DRAIN_LOOK_MS 500 /* between two looks at all that is queued */

/* ---- new batches --------------------------------------------------------------------------------------- */

static bool underway(const struct transfer *t, uint64_t taker)
{
    LIST_EACH(link, &t->gives)
    {
        const struct give *b = LIST_ITEM(link, struct give, link);
        if (b->taker == taker && b->g.verdict == TRANSFER_UNDECIDED)
            return true;
    }
    return false;
}

static bool is_picked(const struct transfer *t, uint64_t id)
{
    LIST_EACH(link, &t->gives)
    {
        const struct give *b = LIST_ITEM(link, struct give, link);
        for (uint32_t i = 0; i < b->n; i++)
            if (b->msgs[i].id == id)
                return true;
    }
    return false;
}

static void begin(struct transfer *t, uint64_t taker, const uint64_t *ids, uint32_t n, bool drains)
{
    struct give *b = transfer_give_new(t->node->spool, cluster_self(t->node->cluster), taker);
    struct machine *m = cluster_machine(t->node->cluster);
    if (b == NULL)
        return;
    transfer_pick(t, b, ids, n, drains);
    machine_read_lock(m);
    b->applied = machine_applied(m);
    machine_read_unlock(m);
    if (b->n == 0) {
        transfer_give_free(b);
        return;
    }
    b->g.unmarked = true;
    transfer_give_show(t, b);
    pthread_mutex_lock(&t->lock);
    list_push_back(&t->gives, &b->link);
    t->ngives++;
    pthread_mutex_unlock(&t->lock);
}

/* What was asked for by name: as many as one node is to get, in the order that they came. */
static void begin_wanted(struct transfer *t)
{
    struct want mine[TRANSFER_BATCH_MAX];
    uint64_t ids[TRANSFER_BATCH_MAX], node = 0;
    uint32_t n = 0;
    size_t kept = 0;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->nwants; i++) {
        struct want w = t->wants[i];
        if (node == 0 && !underway(t, w.node))
            node = w.node;
        if (w.node == node && n < TRANSFER_BATCH_MAX) {
            ids[n] = w.id;
            mine[n++] = w;
        } else {
            t->wants[kept++] = w;
        }
    }
    t->nwants = kept;
    pthread_mutex_unlock(&t->lock);
    if (n == 0 || !transfer_member_present(t, node))
        return;
    begin(t, node, ids, n, false);
    int64_t now = clock_boot_ms();
    for (uint32_t i = 0; i < n; i++) { /* in a transaction just now */
        bool there = spool_find(t->node->spool, ids[i]) == ids[i] && !is_picked(t, ids[i]);
        if (there && now < mine[i].until_ms)
            (void)transfer_want(t, &mine[i]);
    }
}

/* All that has an item here; what is left of the last look first. */
static bool drain_fill(struct transfer *t, uint32_t able)
{
    struct look_ids ids;
    if (t->drain.at < t->drain.n)
        return true;
    if (clock_boot_ms() < t->drain.again_ms || look_ids(t->node, NULL, 0, &ids) != 0)
        return false;
    free(t->drain.ids);
    t->drain.again_ms = clock_boot_ms() + DRAIN_LOOK_MS;
    t->drain.ids = ids.ids;
    t->drain.n = ids.n;
    t->drain.at = 0;
    t->drain.share = (ids.n + able - 1) / able;
    if (t->drain.share > TRANSFER_BATCH_MAX)
        t->drain.share = TRANSFER_BATCH_MAX;
    return ids.n > 0;
}

/* Everything, evenly. */
static void begin_drain(struct transfer *t)
{
    struct cluster_transfer_peer peers[TRANSFER_PEERS_MAX];
    uint32_t n, able = 0;
    if (cluster_transfer_peers(t->node->cluster, peers, TRANSFER_PEERS_MAX, &n) != 0)
        return;
    t->drain.nhomes = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!peers[i].active || transfer_give_shunned(t, peers[i].node))
            continue;
        t->drain.homes[t->drain.nhomes++] = peers[i].node;
        if (!underway(t, peers[i].node))
            peers[able++] = peers[i];
    }
    if (able == 0 || !drain_fill(t, able))
        return;
    for (uint32_t k = 0; k < able && t->drain.at < t->drain.n && !transfer_stops(t); k++) {
        size_t left = t->drain.n - t->drain.at, share = left < t->drain.share ? left : t->drain.share;
        begin(t, peers[(t->drain.turn + k) % able].node, &t->drain.ids[t->drain.at], (uint32_t)share, true);
        t->drain.at += share;
    }
    t->drain.turn++;
}

static bool is_draining(struct transfer *t)
{
    struct directory_member mb;
    struct machine *m = cluster_machine(t->node->cluster);
    machine_read_lock(m);
    bool draining =
        directory_member_find(m, cluster_self(t->node->cluster), &mb) && mb.state == COMMAND_MEMBER_DRAINING;
    machine_read_unlock(m);
    return draining;
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

static void run_steps(struct transfer *t)
{
    LIST_EACH_SAFE(link, &t->gives)
    {
        struct give *b = LIST_ITEM(link, struct give, link);
        int step = 1;
        if (b->giver == 0) { /* it was found while the spool was being opened */
            b->giver = cluster_self(t->node->cluster);
            b->spool = t->node->spool;
        }
        while (step == 1 && !transfer_stops(t) && clock_boot_ms() >= b->again_ms)
            step = transfer_give_step(t, b);
        if (step != -1)
            continue;
        pthread_mutex_lock(&t->lock);
        list_remove(&b->link);
        t->ngives--;
        pthread_mutex_unlock(&t->lock);
        transfer_give_free(b);
    }
}

struct unfinished {
    struct transfer *t;
    uint64_t self;
};

static int add_unfinished(void *arg, const struct directory_transfer *d)
{
    struct unfinished *u = arg;
    bool known = d->giver != u->self;
    LIST_EACH(link, &u->t->gives)
    known = known || memcmp(LIST_ITEM(link, struct give, link)->id, d->id, sizeof d->id) == 0;
    struct give *b = known ? NULL : transfer_give_new(u->t->node->spool, u->self, d->taker);
    if (b == NULL)
        return 0;
    memcpy(b->id, d->id, sizeof b->id);
    b->g.exposed = b->g.recorded = true;
    pthread_mutex_lock(&u->t->lock);
    list_push_back(&u->t->gives, &b->link);
    u->t->ngives++;
    pthread_mutex_unlock(&u->t->lock);
    return 0;
}

/* What the log still has of ours though nothing here is marked any more: it was carried out, and is to be
 * ended. */
static void find_unfinished(struct transfer *t)
{
    struct unfinished u = { t, cluster_self(t->node->cluster) };
    struct machine *m = cluster_machine(t->node->cluster);
    machine_read_lock(m);
    (void)directory_transfer_each(m, add_unfinished, &u);
    machine_read_unlock(m);
    LIST_EACH(link, &t->gives)
    transfer_give_show(t, LIST_ITEM(link, struct give, link));
}

static void nap(struct transfer *t, int64_t ms)
{
    int64_t until = clock_mono_ns() + ms * 1000000;
    pthread_mutex_lock(&t->lock);
    if (!t->stopping)
        cond_wait_until(&t->give_wake, &t->lock, until);
    pthread_mutex_unlock(&t->lock);
}

void *transfer_giver_main(void *arg)
{
    struct transfer *t = arg;
    bool synced = false;
    while (!transfer_stops(t)) {
        if (cluster_machine(t->node->cluster) == NULL) {
            nap(t, IDLE_MS);
            continue;
        }
        /* The state that a start begins with is an old one. */
        if (!synced && cluster_transfer_barrier(t->node->cluster) == 0) {
            find_unfinished(t);
            synced = true;
        }
        if (synced) {
            run_steps(t);
            pthread_mutex_lock(&t->lock);
            bool wanted = t->nwants > 0 && t->ngives < TRANSFER_GIVES_MAX;
            bool room = t->ngives < TRANSFER_GIVES_MAX;
            pthread_mutex_unlock(&t->lock);
            if (wanted)
                begin_wanted(t);
            else if (room && is_draining(t))
                begin_drain(t);
        }
        bool busy = !list_empty(&t->gives);
        nap(t, busy ? 20 : IDLE_MS);
    }
    return NULL;
}

int transfer_give_found(struct transfer *t, uint64_t id, const struct transfer_mark *mark)
{
    struct give *b = NULL;
    LIST_EACH(link, &t->gives)
    {
        struct give *one = LIST_ITEM(link, struct give, link);
        if (memcmp(one->id, mark->batch, sizeof one->id) == 0)
            b = one;
    }
    if (b == NULL) {
        b = transfer_give_new(NULL, 0, mark->peer);
        if (b == NULL)
            return -ENOMEM;
        memcpy(b->id, mark->batch, sizeof b->id);
        b->g.exposed = true;
        list_push_back(&t->gives, &b->link);
        t->ngives++;
    }
    for (uint32_t i = 0; i < b->n; i++)
        if (b->msgs[i].id == id)
            return 0;
    ensure(b->n < TRANSFER_BATCH_MAX);
    b->msgs[b->n++] = (struct give_msg){ id, spool_id_moved(id) };
    transfer_give_show(t, b);
    return 0;
}
