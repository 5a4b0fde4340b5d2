/* What a member runs, started and closed in order: transport, replica, gossip, the ledger's agent. The
 * cluster thread. */
#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"
#include "node/core/suppress.h"
#include "node/core/tally.h"
#include "node/core/web_claim.h"
#include "spool/spool.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>

/* ---- what the replica tells ---------------------------------------------------------------------------- */

static void changed(struct cluster *c, enum machine_change change)
{
    bool all = change == MACHINE_CHANGED_ALL;
    c->frozen_dirty = c->frozen_dirty || all || change == MACHINE_CHANGED_FROZEN;
    c->policy_dirty = c->policy_dirty || all || change == MACHINE_CHANGED_POLICY;
    c->members_dirty = c->members_dirty || all || change == MACHINE_CHANGED_MEMBERS;
    c->pools_dirty = c->pools_dirty || all || change == MACHINE_CHANGED_MEMBERS; /* their view has where nodes are */
}

static void ignore_barrier(void *ctx, int err)
{
    (void)ctx;
    (void)err;
}

static void cluster_effects_cb(void *ctx, uint64_t index, const struct machine_effects *effects)
{
    struct cluster *c = ctx;
    bool freeze = false;
    c->effect_index = index;
    for (uint32_t i = 0; i < effects->n; i++) {
        const struct machine_effect *e = &effects->items[i];
        if (!e->is_result) {
            changed(c, e->change);
            if (e->change == MACHINE_CHANGED_POOLS || e->change == MACHINE_CHANGED_ALL)
                cluster_pools_changed(c, e->change == MACHINE_CHANGED_POOLS ? e->key : (struct span){ "", 0 });
            if (e->change == MACHINE_CHANGED_SUPPRESSED || e->change == MACHINE_CHANGED_ALL)
                suppress_changed(c);
            if (e->change == MACHINE_CHANGED_ACCOUNT || e->change == MACHINE_CHANGED_ALL)
                cluster_auth_changed(c,
                                     e->change == MACHINE_CHANGED_ACCOUNT ? e->key : (struct span){ "", 0 });
            if (e->change == MACHINE_CHANGED_SEALED || e->change == MACHINE_CHANGED_ALL)
                cluster_seal_changed(c);
            freeze = freeze || e->change == MACHINE_CHANGED_FROZEN;
        } else if (c->ready) {
            cluster_forward_result(c, e);
        }
    }
    if (c->ready) {
        cluster_forward_flush(c, index);
        lease_applied(c->lease, c->m, effects, clock_boot_ms());
        /* The others learn that it is committed with the next entry: let there be one, since somebody waits.
         */
        if (freeze)
            (void)replica_barrier(c->replica, ignore_barrier, NULL);
    }
    if (c->agent != NULL)
        agent_on_effects(c->agent, index, effects);
    cluster_digest_applied(c, index);
    c->poll_due = true;
}

static void cluster_role_cb(void *ctx, enum replica_role role, uint64_t leader, bool ready)
{
    struct cluster *c = ctx;
    static const char *const names[] = { "follower", "candidate", "leader" };
    if (role != c->role || leader != c->leader)
        log_info("cluster", "%s; the leader is %s%llu", names[role], leader == 0 ? "not known: " : "node ",
                 (unsigned long long)leader);
    bool was_ready = c->ready, other = leader != c->leader;
    c->role = role;
    c->leader = leader;
    c->ready = ready;
    if (ready && !was_ready) {
        lease_start(c->lease, c->m, clock_boot_ms());
        c->change_busy = c->founding = false;
        c->ready_ms = clock_boot_ms();
        log_info("cluster", "leads the cluster");
    } else if (!ready && was_ready) {
        lease_stop(c->lease);
    }
    if (c->agent != NULL && leader != 0 && (other || (ready && !was_ready)))
        agent_on_leader(c->agent, leader);
    c->poll_due = true;
}

static void cluster_failed_cb(void *ctx, int err, const char *words)
{
    cluster_give_up(ctx, err, words);
}

static void cluster_published_cb(void *ctx, uint64_t index)
{
    struct cluster *c = ctx;
    (void)index;
    c->poll_due = true;
}

static void cluster_backlog_cb(void *ctx, uint64_t node)
{
    struct cluster *c = ctx;
    transport_cut(c->transport, node);
}

static void cluster_session_cb(void *ctx, uint64_t session, bool usable)
{
    struct cluster *c = ctx;
    cluster_pools_session(c, usable);
    log_info("cluster", "session %llu %s", (unsigned long long)session,
             usable ? "is usable" : "is not usable (any more)");
    c->poll_due = true;
}

/* ---- what other nodes tell ----------------------------------------------------------------------------- */

static void on_message(void *ctx, uint64_t from, uint16_t type, struct span payload)
{
    struct cluster *c = ctx;
    if (c->state != CLUSTER_RUNNING)
        return;
    if (type == CLUSTER_MESSAGE_PROPOSE)
        cluster_on_propose(c, from, payload);
    else if (type == CLUSTER_MESSAGE_RESULT)
        cluster_on_result(c, from, payload);
    else if (type == CLUSTER_MESSAGE_AUTH_FAILED || type == CLUSTER_MESSAGE_AUTH_RIGHT ||
             type == CLUSTER_MESSAGE_AUTH_UNBLOCK)
        cluster_auth_heard(c, payload, type);
    else if (type == CLUSTER_MESSAGE_SHAPING)
        cluster_shaping_heard(c, payload, false);
    else if (type == CLUSTER_MESSAGE_SHAPING_AGAIN)
        cluster_shaping_heard(c, payload, true);
    else if (type == CLUSTER_MESSAGE_SHAPING_ASK)
        cluster_shaping_asked(c, from);
    else if (type == CLUSTER_MESSAGE_STS)
        cluster_sts_heard(c, payload);
    else if (type == CLUSTER_MESSAGE_REMOVED && from == c->leader) {
        log_error("cluster", "this node was removed from the cluster");
        c->removed = c->poll_due = true;
    }
}

struct index_question {
    struct cluster *c;
    struct gossip_request *r;
};

static void index_barrier_cb(void *ctx, int err)
{
    struct index_question *q = ctx;
    struct buf out;
    buf_init(&out, 8);
    buf_put_u64(&out, machine_applied(q->c->m));
    if (err == 0)
        gossip_answer(q->r, buf_span(&out));
    else
        gossip_ignore(q->r);
    buf_fini(&out);
    free(q);
}

static void on_index(struct cluster *c, struct gossip_request *r)
{
    struct index_question *q = malloc(sizeof *q);
    if (q != NULL) {
        *q = (struct index_question){ c, r };
        if (replica_barrier(c->replica, index_barrier_cb, q) == 0)
            return;
    }
    free(q);
    gossip_ignore(r);
}

static void on_request(void *ctx, struct gossip_request *r, uint64_t from, uint16_t type, struct span payload)
{
    struct cluster *c = ctx;
    if (c->state != CLUSTER_RUNNING) {
        gossip_ignore(r);
        return;
    }
    switch (type) {
    case CLUSTER_ASK_INDEX:
        on_index(c, r);
        return;
    case CLUSTER_ASK_PUBLISHED:
        cluster_on_published(c, r, payload);
        return;
    case CLUSTER_ASK_RENEW:
        cluster_on_renew(c, r, from, payload);
        return;
    case CLUSTER_ASK_SECRET:
        cluster_on_secret(c, r, from);
        return;
    case CLUSTER_ASK_GET:
        cluster_on_get(c, r, payload);
        return;
    case CLUSTER_ASK_SEALING:
        cluster_on_sealing(c, r, from, payload);
        return;
    case CLUSTER_ASK_TRANSFER:
        cluster_on_transfer(c, r, from, payload);
        return;
    case CLUSTER_ASK_STS:
        cluster_on_sts(c, r, payload);
        return;
    default:
        gossip_ignore(r); /* of a newer version */
    }
}

static void on_health(void *ctx, uint64_t node, enum gossip_health health)
{
    struct cluster *c = ctx;
    struct directory_member mb;
    static const char *const names[] = { "has not been seen", "is alive", "is silent", "is dead" };
    bool known = directory_member_find(c->m, node, &mb);
    log_line(health == GOSSIP_ALIVE ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "cluster", "node %llu (%.*s) %s",
             (unsigned long long)node, known ? (int)mb.name.n : 1, known ? mb.name.p : "?", names[health]);
    if (health != GOSSIP_ALIVE)
        return;
    cluster_sts_alive(c, node);
    cluster_shaping_alive(c, node);
}

const struct gossip_ops cluster_gossip_ops = {
    .fill = cluster_fill_state,
    .on_state = cluster_on_state,
    .on_health = on_health,
    .on_message = on_message,
    .on_request = on_request,
    .admit = cluster_admit,
};

/* ---- start --------------------------------------------------------------------------------------------- */

static void draw(void *p, size_t n)
{
    ensure(getrandom(p, n, 0) == (ssize_t)n); /* up to 256 bytes are never cut short */
}

static int open_transport(struct cluster *c, const struct config *config)
{
    struct transport_config tc = {
        .loop = &c->loop,
        .listen = config->cluster.listen,
        .self = c->id.self,
        .certificate = buf_span(&c->id.certificate),
        .key = buf_span(&c->id.key),
        .ca = buf_span(&c->id.ca),
        .admit = cluster_admit,
        .on_join = cluster_on_join,
        .ctx = c,
    };
    return transport_new(&tc, &c->transport);
}

static int open_replica(struct cluster *c, const struct config *config)
{
    struct replica_config rc = {
        .loop = &c->loop,
        .dir = c->raft_dir,
        .id = c->id.self.node,
        .address = c->id.raft_address,
        .machine = c->m,
        .transport = transport_raft(c->transport),
        .election_ms = (uint32_t)config->cluster.election_ms,
        .heartbeat_ms = (uint32_t)config->cluster.heartbeat_ms,
        .on_effects = cluster_effects_cb,
        .on_role = cluster_role_cb,
        .on_failed = cluster_failed_cb,
        .on_backlog = cluster_backlog_cb,
        .ctx = c,
    };
    if (mkdir(c->raft_dir, 0700) != 0 && errno != EEXIST) {
        int err = -errno;
        log_error("cluster", "cannot make %s: %s", c->raft_dir, err_text(err));
        return err;
    }
    int err = replica_open(&rc, &c->replica);
    c->replica_broken = err != 0;
    return err;
}

static int open_gossip(struct cluster *c, const struct config *config)
{
    char listen[80];
    config_endpoint_format(&config->cluster.gossip, listen, sizeof listen);
    struct gossip_config gc = {
        .loop = &c->loop,
        .self = c->id.self,
        .listen = listen,
        .certificate = buf_span(&c->id.certificate),
        .key = buf_span(&c->id.key),
        .ca = buf_span(&c->id.ca),
        .ops = &cluster_gossip_ops,
        .ctx = c,
    };
    return gossip_new(&gc, &c->gossip);
}

static int open_agent(struct cluster *c)
{
    struct agent_config ac = {
        .loop = &c->loop,
        .node = c->id.self.node,
        .machine = c->m,
        .send = cluster_send,
        .on_session = cluster_session_cb,
        .on_published = cluster_published_cb,
        .ctx = c,
        .boot_ns = clock_boot_ns,
        .wall_ms = clock_wall_ms,
        .random = draw,
        .gather_ms = 2,
    };
    return agent_new(&ac, &c->agent);
}

int cluster_stack_start(struct cluster *c)
{
    ensure(c->state == CLUSTER_NONE);
    struct config *config = node_config(c->node);
    int err = 0;
    if (c->m == NULL && (c->m = machine_new(&(struct machine_config){ 0 })) == NULL)
        err = -ENOMEM;
    if (err == 0 && (c->lease = lease_new()) == NULL)
        err = -ENOMEM;
    if (err == 0)
        err = cluster_seal_load(c);
    if (err == 0)
        err = open_transport(c, config);
    if (err == 0)
        cluster_address_started(c, config);
    if (err == 0)
        err = open_replica(c, config);
    if (err == 0)
        err = open_gossip(c, config);
    if (err == 0)
        err = open_agent(c);
    config_rele(config);
    if (err != 0) {
        log_error("cluster", "cannot start as a member: %s", err_text(err));
        cluster_stack_stop(c, CLUSTER_NONE);
        return err;
    }
    spool_set_id_node(c->node->spool, c->id.slot);
    c->state = CLUSTER_RUNNING;
    c->policy_dirty = c->frozen_dirty = c->members_dirty = c->poll_due = true;
    atomic_store(&c->self, c->id.self.node);
    c->pools_dirty = true;
    cluster_seal_changed(c);
    atomic_store(&c->machine, c->m);
    atomic_store(&c->shared_agent, c->agent);
    log_info("cluster", "node %llu (%s) of its cluster, at %s and %s", (unsigned long long)c->id.self.node,
             c->id.name, c->id.raft_address, c->id.gossip_address);
    return 0;
}

/* ---- stop: one after another, each closes the next ----------------------------------------------------- */

static void stopped(struct cluster *c)
{
    c->state = c->after;
    if (c->stop_call != NULL) {
        cluster_call_done(c, c->stop_call, c->stop_err);
        c->stop_call = NULL;
    }
    cluster_refresh(c);
    if (!c->stopping)
        return;
    cluster_hook_poll(c); /* for the last time: the loop ends when it has */
    uv_close((uv_handle_t *)&c->tick, NULL);
    uv_close((uv_handle_t *)&c->check, NULL);
    inbox_close(&c->inbox, NULL);
    cluster_answers_close(c->answers);
    cluster_auth_close(c->auth);
    inbox_close(&c->shaping, NULL);
    cluster_sts_close(c->sts);
}

static void gossip_closed_cb(void *ctx)
{
    struct cluster *c = ctx;
    if (c->gossip != NULL)
        gossip_free(c->gossip);
    c->gossip = NULL;
    lease_free(c->lease);
    c->lease = NULL;
    if (atomic_load(&c->machine) == NULL) { /* it never was a member's: nobody has seen it */
        machine_free(c->m);
        c->m = NULL;
    }
    stopped(c);
}

static void transport_closed_cb(void *ctx)
{
    struct cluster *c = ctx;
    if (c->transport != NULL && !c->replica_broken)
        transport_free(c->transport);
    else if (c->transport != NULL)
        c->dead_transport = c->transport; /* libraft may still use it: freed when the loop has ended */
    c->transport = NULL;
    if (c->gossip != NULL) {
        cluster_published_fini(c); /* their answers would go through it */
        gossip_close(c->gossip, gossip_closed_cb, c);
    } else {
        gossip_closed_cb(c);
    }
}

static void replica_closed_cb(void *ctx)
{
    struct cluster *c = ctx;
    if (c->replica != NULL)
        replica_free(c->replica);
    c->replica = NULL;
    if (c->transport != NULL)
        transport_close(c->transport, transport_closed_cb, c);
    else
        transport_closed_cb(c);
}

static void agent_closed_cb(void *ctx)
{
    struct cluster *c = ctx;
    c->agent = NULL; /* its memory stays for the workers, until cluster_free */
    c->ready = false;
    if (c->replica != NULL)
        replica_close(c->replica, replica_closed_cb, c);
    else
        replica_closed_cb(c);
}

void cluster_stack_stop(struct cluster *c, enum cluster_state after)
{
    if (c->state == CLUSTER_STOPPING) /* on its way already */
        return;
    if (c->state == CLUSTER_LEFT && after == CLUSTER_NONE)
        after = CLUSTER_LEFT;
    c->state = CLUSTER_STOPPING;
    c->after = after;
    if (after == CLUSTER_LEFT)
        cluster_pools_left(c);
    tally_last(c);
    tally_end(c);
    web_claims_end(c);
    if (c->agent != NULL)
        agent_close(c->agent, agent_closed_cb, c);
    else
        agent_closed_cb(c);
}
