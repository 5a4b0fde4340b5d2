/* What this node says of itself, what others say, and whether their states agree. The cluster thread. */
#include "base/clock.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"
#include "node/core/egress.h"
#include "node/core/meters.h"
#include "node/core/transfer.h"
#include "node/core/worker.h"
#include "spool/spool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#define NO_ROOM_EVERY_MS 60000 /* between two lines of one trouble */
#define DISK_LOW_PERMILLE 50
#define TRANSFER_LATE_MS 60000
#define QUORUM_SILENCE_MS 1500 /* of a leader, or of the majority: about three elections' time-outs */

bool cluster_has_quorum(struct cluster *c)
{
    struct replica_stats rs;
    if (c->state != CLUSTER_RUNNING || c->leader == 0)
        return false;
    replica_stats(c->replica, &rs);
    return rs.quorum_ms >= 0 && rs.quorum_ms <= QUORUM_SILENCE_MS;
}

/* ---- what the workers hold: asked of them now and then, never waited for ---------------------------------
 */

struct cluster_count {
    struct worker_msg msg;
    atomic_bool out; /* on its way */
    _Atomic uint64_t held;
};

static void run_count(struct worker *w, struct worker_msg *msg)
{
    struct cluster_count *n = (struct cluster_count *)msg;
    struct queue_totals t;
    queue_totals(w->egress->queue, &t);
    atomic_store(&n->held, t.state[QUEUE_STATE_HELD]);
    atomic_store(&n->out, false);
}

int cluster_counts_new(struct cluster *c)
{
    c->counts = calloc(c->node->nworkers, sizeof *c->counts);
    return c->counts == NULL ? -ENOMEM : 0;
}

void cluster_counts_free(struct cluster *c)
{
    free(c->counts);
}

static uint64_t held(struct cluster *c)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < c->node->nworkers; i++) {
        struct cluster_count *n = &c->counts[i];
        sum += atomic_load(&n->held);
        if (atomic_exchange(&n->out, true))
            continue;
        n->msg.run = run_count;
        worker_post_always(&c->node->workers[i], &n->msg);
    }
    return sum;
}

/* ---- what is told -------------------------------------------------------------------------------------- */

static uint32_t cpu_permille(struct cluster *c)
{
    struct rusage ru;
    int64_t now = clock_boot_ms();
    if (getrusage(RUSAGE_SELF, &ru) != 0)
        return 0;
    uint64_t us = (uint64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000 +
                  (uint64_t)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
    uint64_t used = us - c->cpu_us, passed_ms = (uint64_t)(now - (int64_t)c->cpu_at_ms);
    bool first = c->cpu_at_ms == 0;
    c->cpu_us = us;
    c->cpu_at_ms = (uint64_t)now;
    return first || passed_ms == 0 ? 0 : (uint32_t)(used / passed_ms);
}

static void look_at_disk(const struct config *config, struct gossip_state *s)
{
    struct statvfs fs;
    s->disk_free_permille = 1000;
    if (statvfs(config->spool.dir, &fs) != 0 || fs.f_blocks == 0)
        return;
    s->disk_free_permille = (uint32_t)((uint64_t)fs.f_bavail * 1000 / fs.f_blocks);
    s->disk_low = s->disk_free_permille < DISK_LOW_PERMILLE ||
                  (uint64_t)fs.f_bavail * fs.f_frsize < 2 * config->spool.min_free_bytes;
}

static uint64_t per_minute(struct node *n, enum meter which)
{
    struct meter_value v;
    meters_read(n->meters, which, &v);
    return (uint64_t)(v.m1 * 60 + 0.5);
}

void cluster_fill_state(void *ctx, struct gossip_state *s)
{
    struct cluster *c = ctx;
    struct directory_member self;
    struct agent_session session = { 0 };
    struct spool_stats spool;
    *s = (struct gossip_state){ .node = c->id.self.node };
    if (c->state != CLUSTER_RUNNING || c->agent == NULL)
        return;
    struct config *config = node_config(c->node);
    struct replica_stats rs;
    replica_stats(c->replica, &rs);
    agent_session(c->agent, &session);
    spool_stats(c->node->spool, &spool);
    const struct cluster_digest *d = &c->digests[(c->next_digest + CLUSTER_DIGESTS - 1) % CLUSTER_DIGESTS];
    s->session = session.id;
    s->applied = machine_applied(c->m);
    s->published = agent_published(c->agent);
    s->digest_index = d->index;
    s->digest = d->digest;
    s->leader = c->leader;
    s->term = rs.term;
    s->features = COMMAND_FEATURES;
    s->draining = cluster_own_member(c, &self) && self.state == COMMAND_MEMBER_DRAINING;
    s->accepting = node_accepting(c->node, NULL);
    s->quorum = cluster_has_quorum(c);
    s->fenced = c->fenced;
    s->queued = spool.messages;
    s->held = held(c);
    s->sessions_in = atomic_load(&c->node->sessions_in);
    s->sessions_out = atomic_load(&c->node->sessions_out);
    s->accepted_per_min = per_minute(c->node, METER_RECEIVED);
    s->delivered_per_min = per_minute(c->node, METER_DELIVERED);
    s->cpu_permille = cpu_permille(c);
    look_at_disk(config, s);
    s->wall_ms = clock_wall_ms();
    s->transfers_late = transfer_late(c->node, TRANSFER_LATE_MS);
    snprintf(s->version, sizeof s->version, "%s", TURNPIKE_VERSION);
    config_rele(config);
}

/* ---- digests: the state of all nodes at the same index is the same --------------------------------------
 */

static const struct cluster_digest *digest_at(const struct cluster_digest *list, uint64_t index)
{
    for (uint32_t i = 0; i < CLUSTER_DIGESTS; i++)
        if (list[i].index == index && index != 0)
            return &list[i];
    return NULL;
}

static bool is_voter(struct cluster *c, uint64_t node)
{
    struct directory_member mb;
    return directory_member_find(c->m, node, &mb) && mb.state != COMMAND_MEMBER_REMOVED &&
           mb.role == COMMAND_ROLE_VOTER;
}

/* Whoever is in the minority of the voters at this index stops. */
static void judge(struct cluster *c, uint64_t index)
{
    const struct cluster_digest *own = digest_at(c->digests, index);
    uint32_t voters = directory_voters(c->m), with = 0, against = 0, best = 0;
    if (own == NULL)
        return;
    with = is_voter(c, c->id.self.node);
    for (uint32_t i = 0; i < c->nvotes; i++) {
        const struct cluster_digest *other = digest_at(c->votes[i].said, index);
        if (other == NULL || !is_voter(c, c->votes[i].node))
            continue;
        if (other->digest == own->digest) {
            with++;
            continue;
        }
        against++;
        uint32_t same = 0;
        for (uint32_t k = 0; k < c->nvotes; k++) {
            const struct cluster_digest *third = digest_at(c->votes[k].said, index);
            same += third != NULL && third->digest == other->digest && is_voter(c, c->votes[k].node);
        }
        best = same > best ? same : best;
    }
    if (against == 0)
        return;
    if (!c->digest_mismatch)
        log_error("cluster",
                  "the nodes' states differ at index %llu: %u voters agree with this one, %u do not",
                  (unsigned long long)index, with, against);
    c->digest_mismatch = true;
    if (best * 2 > voters)
        cluster_fence(c, index, "most voters agree with each other and not with this node");
    else if (with * 2 <= voters && with + against == voters)
        cluster_fence(c, index, "there is no majority for any of them");
}

void cluster_digest_applied(struct cluster *c, uint64_t index)
{
    if (index % CLUSTER_DIGEST_EVERY != 0)
        return;
    c->digests[c->next_digest++ % CLUSTER_DIGESTS] =
        (struct cluster_digest){ .index = index, .digest = machine_digest(c->m) };
    judge(c, index);
}

static struct cluster_vote *vote_of(struct cluster *c, uint64_t node)
{
    struct cluster_vote *v = NULL;
    for (uint32_t i = 0; i < c->nvotes; i++)
        if (c->votes[i].node == node)
            return &c->votes[i];
    if (c->nvotes < CLUSTER_MEMBERS_MAX)
        v = &c->votes[c->nvotes++];
    for (uint32_t i = 0; v == NULL && i < c->nvotes; i++)
        if (!is_voter(c, c->votes[i].node))
            v = &c->votes[i];
    if (v != NULL)
        *v = (struct cluster_vote){ .node = node };
    return v;
}

void cluster_on_state(void *ctx, const struct gossip_state *s)
{
    struct cluster *c = ctx;
    if (c->state != CLUSTER_RUNNING)
        return;
    c->poll_due = true;
    if (s->digest_index == 0 || !is_voter(c, s->node))
        return;
    struct cluster_vote *v = vote_of(c, s->node);
    if (v == NULL || digest_at(v->said, s->digest_index) != NULL)
        return;
    v->said[v->next++ % CLUSTER_DIGESTS] = (struct cluster_digest){ s->digest_index, s->digest };
    judge(c, s->digest_index);
}

/* ---- room for counters -----------------------------------------------------------------------------------
 */

bool cluster_room_tick(struct cluster *c, int64_t now)
{
    struct machine_totals t;
    machine_totals(c->m, &t);
    if (!c->ready) /* the leader says it: for what it refuses itself */
        c->no_room = t.no_room;
    if (t.no_room == c->no_room || (c->no_room_ms != 0 && now - c->no_room_ms < NO_ROOM_EVERY_MS))
        return false;
    log_error(
        "cluster",
        "%llu requests of senders that had sent nothing lately were refused, with 451: the cluster keeps "
        "%llu counters of limits, and no more than %llu. Fewer limits or shorter windows in the policy "
        "make room",
        (unsigned long long)(t.no_room - c->no_room), (unsigned long long)t.counters,
        (unsigned long long)t.counters_max);
    c->no_room = t.no_room;
    c->no_room_ms = now;
    return true;
}
