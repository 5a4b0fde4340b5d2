/* The cluster thread's life, and what other threads read of it. */
#include "node/core/cluster.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"
#include "node/core/privileges.h"
#include "node/core/reputation.h"
#include "node/core/returned.h"
#include "node/core/forward.h"
#include "node/core/notice.h"
#include "node/core/suppress.h"
#include "node/core/tally.h"
#include "node/core/web_claim.h"
#include "node/core/warmup.h"
#include "node/policy/policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define CUT_OFF_MS 10000
#define STOP_MS 10000 /* then the process ends without taking it apart */

/* ---- what others read ---------------------------------------------------------------------------------- */

const char *cluster_refusal(struct cluster *c)
{
    return atomic_load(&c->refusal);
}

int cluster_failed(struct cluster *c)
{
    return atomic_load(&c->failed);
}

struct agent *cluster_agent(struct cluster *c)
{
    return atomic_load(&c->shared_agent);
}

struct machine *cluster_machine(struct cluster *c)
{
    return atomic_load(&c->machine);
}

uint64_t cluster_self(struct cluster *c)
{
    return atomic_load(&c->self);
}

struct policy *cluster_policy(struct cluster *c)
{
    pthread_mutex_lock(&c->lock);
    struct policy *p = c->policy == NULL ? NULL : policy_hold(c->policy);
    pthread_mutex_unlock(&c->lock);
    return p;
}

bool cluster_connected(struct cluster *c)
{
    return atomic_load(&c->connected);
}

bool cluster_leads(struct cluster *c)
{
    return atomic_load(&c->leads);
}

struct frozen_view *cluster_frozen(struct cluster *c)
{
    pthread_mutex_lock(&c->lock);
    struct frozen_view *v = c->frozen == NULL ? NULL : frozen_view_hold(c->frozen);
    pthread_mutex_unlock(&c->lock);
    return v;
}

bool cluster_holds(struct cluster *c)
{
    return atomic_load(&c->holds);
}

bool cluster_is_holding(struct cluster *c)
{
    return atomic_load(&c->is_holding);
}

/* ---- does this node take mail -------------------------------------------------------------------------- */

static const char *refusal_now(struct cluster *c)
{
    struct directory_member self;
    struct agent_session session;
    if (atomic_load(&c->failed) != 0)
        return "the cluster's state on this node has failed";
    if (c->stopping)
        return "the node is stopping";
    if (c->state == CLUSTER_LEFT)
        return "this node has left its cluster";
    if (c->state == CLUSTER_NONE)
        return "no member of a cluster yet: run 'turnpike cluster init' or 'turnpike node join'";
    if (c->state == CLUSTER_STOPPING || c->removed)
        return "this node leaves its cluster";
    if (c->fenced)
        return "this node's state differs from the other nodes': it is fenced";
    if (!cluster_is_founded(c) || !cluster_own_member(c, &self))
        return "joining: the cluster's state has not come yet";
    if (self.state == COMMAND_MEMBER_DRAINING)
        return "draining";
    agent_session(c->agent, &session);
    if (!session.usable)
        return cluster_has_quorum(c) ? "no session with the cluster yet"
                                     : "no quorum: too few nodes of the cluster answer";
    return NULL;
}

void cluster_refresh(struct cluster *c)
{
    const char *now = refusal_now(c), *was = atomic_exchange(&c->refusal, now);
    if (now == was)
        return;
    if (c->stopping)
        return;
    if (now != NULL)
        log_warn("cluster", "no mail is accepted: %s", now);
    else
        log_info("cluster", "mail is accepted");
}

/* Who was frozen while this node was away is known now, or cannot be had: see frozen.h. */
static void open_gate(struct cluster *c, int64_t now)
{
    struct agent_session session = { .usable = false };
    if (c->gate_open || c->starting)
        return;
    if (c->agent != NULL)
        agent_session(c->agent, &session);
    if (c->quorum_ms == 0 || cluster_has_quorum(c))
        c->quorum_ms = now;
    if (!session.usable && c->state != CLUSTER_NONE && c->state != CLUSTER_LEFT &&
        now - c->quorum_ms < CUT_OFF_MS)
        return;
    c->gate_open = true;
    for (uint32_t i = 0; i < c->node->nworkers; i++)
        frozen_gate_open(&c->node->workers[i]);
}

void cluster_give_up(struct cluster *c, int err, const char *words)
{
    int none = 0;
    if (!atomic_compare_exchange_strong(&c->failed, &none, err))
        return;
    log_error("cluster", "stopped: %s. No mail is accepted any more, and the node exits", words);
    cluster_refresh(c);
    uv_async_send(&c->node->wake);
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

static void policy_refresh(struct cluster *c)
{
    struct directory_policy dp;
    struct policy *fresh = NULL;
    struct buf why;
    buf_init(&why, 65536);
    bool applied = directory_policy(c->m, 0, &dp) && dp.version != 0;
    int err = policy_parse("the cluster's policy", applied ? dp.text : policy_builtin(), &fresh, &why);
    if (err != 0)
        log_error("policy", "this build cannot read the policy in force, and keeps the one before it: %.*s",
                  (int)why.len, why.len == 0 ? "" : why.data);
    buf_fini(&why);
    if (err != 0)
        return;
    pthread_mutex_lock(&c->lock);
    struct policy *old = c->policy;
    c->policy = fresh;
    pthread_mutex_unlock(&c->lock);
    if (old != NULL)
        policy_rele(old);
    cluster_auth_policy(c, fresh);
}

/* After each turn of the loop that had something: what came of it all, once. */
static void cluster_check_cb(uv_check_t *check)
{
    struct cluster *c = check->data;
    if (c->state == CLUSTER_RUNNING) {
        if (c->policy_dirty) {
            policy_refresh(c);
            cluster_hold_look(c, true);
        }
        c->pools_dirty = c->pools_dirty || c->policy_dirty; /* it has the classes' pools */
        c->senders_dirty = c->senders_dirty || c->policy_dirty; /* and those by senders' standing */
        cluster_pools_check(c, clock_boot_ms());
        if (c->frozen_dirty) /* after the pools: what a worker publishes then, it obeys for both */
            cluster_frozen_publish(c);
        if (c->members_dirty)
            cluster_members_changed(c);
        c->policy_dirty = c->frozen_dirty = c->members_dirty = false;
    }
    if (!c->poll_due)
        return;
    c->poll_due = false;
    if (c->state == CLUSTER_RUNNING) {
        cluster_published_poll(c);
        cluster_seal_check(c);
        cluster_refresh(c);
    }
    cluster_calls_poll(c, false);
    if (c->removed && c->state == CLUSTER_RUNNING) {
        struct buf why;
        buf_init(&why, 4096);
        if (identity_retire(c->dir, &why) != 0)
            log_error("cluster", "%.*s", (int)why.len, why.len == 0 ? "" : why.data);
        buf_fini(&why);
        cluster_stack_stop(c, CLUSTER_LEFT);
    }
}

/* What a leader owes the others once it is ready. */
static void lead(struct cluster *c, int64_t now)
{
    if (!c->ready)
        return;
    if (!cluster_is_founded(c)) {
        cluster_found(c);
        return;
    }
    if (now - c->leader_ms >= CLUSTER_LEADER_MS) {
        uint32_t n = 0, more = 0;
        c->leader_ms = now;
        buf_reset(&c->due);
        int err = lease_due(c->lease, c->m, now, &c->due, &n);
        if (err == 0)
            err = machine_due(c->m, replica_now_ms(c->replica), &c->due, &more);
        if (err == 0 && n + more > 0)
            err = replica_propose(c->replica, buf_span(&c->due), n + more);
        if (err != 0 && err != ERR_LIMIT && err != ERR_CLOSED)
            log_warn("cluster", "what is due cannot be proposed: %s", err_text(err));
    }
    if (c->agent != NULL) {
        reputation_tick(c, now);
        cluster_proof_tick(c, now);
        cluster_reports_tick(c, now);
    }
    if (now - c->members_ms >= CLUSTER_MEMBERS_MS) {
        c->members_ms = now;
        cluster_members_step(c);
    }
}

static void publish_standing(struct cluster *c)
{
    struct agent_session s = { 0 };
    bool running = c->state == CLUSTER_RUNNING && c->agent != NULL;
    if (running)
        agent_session(c->agent, &s);
    atomic_store(&c->connected, running && s.usable);
    atomic_store(&c->leads, running && s.usable && c->ready);
}

static void cluster_tick_cb(uv_timer_t *tick)
{
    struct cluster *c = tick->data;
    int64_t now = clock_boot_ms();
    bool slow = now - c->slow_ms >= 1000;
    open_gate(c, now);
    cluster_hold_look(c, slow);
    if (c->state == CLUSTER_RUNNING) {
        struct directory_member self;
        if (cluster_is_founded(c) && cluster_own_member(c, &self) && !c->fenced)
            agent_tick(c->agent);
        cluster_members_tick(c);
        lead(c, now);
        if (slow) {
            c->slow_ms = now;
            cluster_frozen_tick(c);
            cluster_renew_tick(c);
            (void)cluster_room_tick(c, now);
            cluster_fence_tick(c, now);
            cluster_address_tick(c, now);
            cluster_sts_tick(c);
        }
        warmup_tick(c, now);
        cluster_pools_tick(c, now);
        suppress_tick(c);
        notice_tick(c);
        cluster_erase_tick(c, now);
        cluster_seal_tick(c, now);
        tally_tick(c, now);
        web_claims_tick(c, now);
        cluster_published_poll(c);
        cluster_refresh(c);
    }
    publish_standing(c);
    cluster_hook_poll(c);
    cluster_addresses_tick(c, now);
    if (c->stop_waits && cluster_addresses_stopped(c, now)) {
        c->stop_waits = false;
        cluster_stack_stop(c, CLUSTER_NONE);
    }
    cluster_calls_poll(c, true);
}

static void pool_begun(uv_work_t *work)
{
    (void)work;
}

static void pool_ended(uv_work_t *work, int status)
{
    (void)status;
    free(work);
}

/* All workers' grants wait for what this thread does, and the other nodes for its answers: it goes first,
 * where that is allowed (LimitNICE=, CAP_SYS_NICE). libuv's threads, which compress snapshots, are made
 * before: they would inherit it. */
static void go_first(struct cluster *c)
{
    uv_work_t *work = malloc(sizeof *work);
    if (work == NULL)
        return;
    if (uv_queue_work(&c->loop, work, pool_begun, pool_ended) != 0) {
        free(work);
        return;
    }
    if (setpriority(PRIO_PROCESS, 0, PRIVILEGES_NICE) != 0)
        log_info("cluster", "its thread has no priority over others: %s", err_text(-errno));
}

static void cluster_main(void *arg)
{
    struct cluster *c = arg;
    go_first(c);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    sem_post(&c->ended);
}

int cluster_new(struct node *n, struct cluster **out)
{
    struct cluster *c = calloc(1, sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    c->node = n;
    list_init(&c->calls);
    list_init(&c->locals);
    buf_init(&c->due, 1u << 20);
    buf_init(&c->renew_key, 32u << 10);
    identity_init(&c->id);
    pthread_mutex_init(&c->lock, NULL);
    sem_init(&c->ended, 0, 0);
    snprintf(c->dir, sizeof c->dir, "%s/cluster", n->config->data_dir);
    snprintf(c->raft_dir, sizeof c->raft_dir, "%s/raft", c->dir);
    atomic_init(&c->refusal, "the cluster thread has not started");
    int err = uv_loop_init(&c->loop);
    if (err == 0)
        err = inbox_init(&c->inbox, &c->loop, ADMIN_CALLS_MAX, cluster_call_arrived, c);
    if (err == 0)
        err = uv_timer_init(&c->loop, &c->tick);
    if (err == 0)
        err = uv_check_init(&c->loop, &c->check);
    if (err == 0)
        err = cluster_answers_new(c, &c->answers);
    if (err == 0)
        err = cluster_counts_new(c);
    if (err == 0)
        err = cluster_auth_new(c, &c->auth);
    if (err == 0)
        err = cluster_shaping_init(c);
    if (err == 0)
        err = cluster_sts_new(c, &c->sts);
    if (err == 0)
        err = cluster_hook_new(c, &c->hook);
    if (err == 0)
        err = cluster_addresses_new(c, &c->addresses);
    if (err == 0)
        err = cluster_seal_new(&c->seal);
    if (err == 0)
        err = cluster_proof_new(c, &c->proof);
    if (err == 0)
        err = cluster_reports_new(c, &c->reports);
    if (err == 0)
        err = cluster_erase_new(c, &c->erase);
    if (err == 0 && ((c->suppress = suppress_new()) == NULL || (c->notices = notices_new()) == NULL ||
                     (c->tally = tally_new()) == NULL || (c->webs = web_claims_new()) == NULL ||
                     (c->owners = returned_owners_new()) == NULL ||
                     (c->returns = forward_returns_new()) == NULL || (c->warmup = warmup_hand_new()) == NULL))
        err = -ENOMEM;
    if (err != 0) {
        log_error("cluster", "cannot start: %s", err_text(err));
        return err; /* the process ends: nothing is taken apart */
    }
    c->tick.data = c->check.data = c;
    uv_timer_start(&c->tick, cluster_tick_cb, CLUSTER_TICK_MS, CLUSTER_TICK_MS);
    uv_check_start(&c->check, cluster_check_cb);
    *out = c;
    return 0;
}

static void run_start(struct cluster *c, struct cluster_call *call)
{
    int err = cluster_stack_start(c);
    c->starting = false;
    cluster_call_done(c, call, err);
}

int cluster_start(struct cluster *c)
{
    struct cluster_call call;
    struct buf why;
    buf_init(&why, 4096);
    int err = identity_load(c->dir, &c->id, &why);
    if (err == ERR_NOT_FOUND)
        log_warn(
            "cluster",
            "no member of a cluster yet: run 'turnpike cluster init' here for a new cluster, or 'turnpike "
            "node join' with a token of one");
    else if (err != 0)
        log_error("cluster", "%.*s", (int)why.len, why.len == 0 ? err_text(err) : why.data);
    buf_fini(&why);
    bool member = err == 0;
    if (err != 0 && err != ERR_NOT_FOUND)
        return err;
    c->starting = member;
    if (member)
        cluster_fence_load(c);
    cluster_refresh(c);
    cluster_hold_load(c);
    err = cluster_frozen_load(c);
    if (err == 0)
        err = cluster_addresses_load(c);
    if (err == 0)
        err = uv_thread_create(&c->thread, cluster_main, c);
    if (err != 0)
        return err;
    c->started = true;
    if (!member)
        return 0;
    cluster_call_init(&call, run_start, NULL);
    return cluster_call_wait(c, &call);
}

/* ---- stop ---------------------------------------------------------------------------------------------- */

static void run_stopping(struct cluster *c, struct cluster_call *call)
{
    cluster_calls_end(c);
    cluster_call_done(c, call, 0);
}

void cluster_stopping(struct cluster *c)
{
    struct cluster_call call;
    if (!c->started)
        return;
    cluster_call_init(&call, run_stopping, NULL);
    call.last = true; /* after it, none is taken */
    (void)cluster_call_wait(c, &call);
    cluster_erase_stop(c->erase);
    cluster_answers_stop(c->answers);
}

static void run_stop(struct cluster *c, struct cluster_call *call)
{
    c->stopping = true;
    cluster_calls_end(c);
    cluster_call_done(c, call, 0);
    cluster_addresses_stopping(c);
    c->stop_waits = true; /* with the session still there: nobody is given an address that is on this machine */
}

void cluster_stop(struct cluster *c)
{
    struct cluster_call call;
    struct timespec until;
    if (!c->started)
        return;
    cluster_call_init(&call, run_stop, NULL);
    call.last = true;
    (void)cluster_call_wait(c, &call);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_MS / 1000;
    int r;
    while ((r = sem_timedwait(&c->ended, &until)) != 0 && errno == EINTR)
        ;
    if (r != 0) {
        log_warn("cluster", "does not end in time: left as it is");
        return;
    }
    uv_thread_join(&c->thread);
    c->started = false;
}

void cluster_free(struct cluster *c)
{
    if (c == NULL || c->started) /* it did not end: its memory is in use */
        return;
    if (c->dead_transport != NULL)
        transport_free(c->dead_transport);
    cluster_answers_free(c->answers);
    cluster_counts_free(c);
    cluster_auth_free(c->auth);
    inbox_fini(&c->shaping);
    cluster_sts_free(c->sts);
    cluster_hook_free(c->hook);
    cluster_addresses_free(c->addresses);
    suppress_free(c->suppress);
    notices_free(c->notices);
    cluster_seal_free(c->seal);
    tally_free(c->tally);
    web_claims_free(c->webs);
    returned_owners_free(c->owners);
    forward_returns_free(c->returns);
    cluster_proof_free(c->proof);
    cluster_reports_free(c->reports);
    cluster_erase_free(c->erase);
    warmup_hand_free(c->warmup);
    if (c->shared_agent != NULL)
        agent_free(c->shared_agent);
    machine_free(c->m);
    if (c->policy != NULL)
        policy_rele(c->policy);
    frozen_view_rele(c->frozen);
    cluster_pools_fini(c);
    cluster_frozen_fini(c);
    cluster_forward_fini(c);
    buf_fini(&c->due);
    buf_fini(&c->renew_key);
    identity_fini(&c->id);
    inbox_fini(&c->inbox);
    pthread_mutex_destroy(&c->lock);
    sem_destroy(&c->ended);
    if (uv_loop_close(&c->loop) != 0)
        log_warn("cluster", "the loop has handles left");
    free(c);
}
