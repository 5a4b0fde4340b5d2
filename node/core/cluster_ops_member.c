/* Members: their roles, draining, leaving, removing. Admin threads, but for what runs in a cluster_call. */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster.h"
#include "node/core/cluster_impl.h"
#include "node/core/transfer.h"
#include "spool/spool.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SETTLE_MS 3000
#define LEAVE_LOOK_MS 200

static int set_member(void *ctx, const struct admin_caller *by, uint64_t node, uint8_t state, uint8_t role,
                      struct admin_error *e)
{
    struct machine_result r;
    struct command cmd = { .type = COMMAND_MEMBER_SET,
                           .member_set = { .node = node, .state = state, .role = role } };
    return cluster_submit(ctx, by, &cmd, &r, e);
}

/* ---- role ---------------------------------------------------------------------------------------------- */

struct roles {
    uint64_t node;
    bool found, removed, ready; /* ready: active, so that it can vote */
    uint8_t role;
    char name[64];
    uint32_t voters;
    uint64_t standby; /* another active one */
};

static int look_at_roles(void *arg, const struct directory_member *mb)
{
    struct roles *r = arg;
    bool there = mb->state != COMMAND_MEMBER_REMOVED, voter = mb->role == COMMAND_ROLE_VOTER;
    r->voters += there && voter;
    if (mb->id == r->node) {
        r->found = true;
        r->removed = !there;
        r->ready = mb->state == COMMAND_MEMBER_ACTIVE;
        r->role = mb->role;
        snprintf(r->name, sizeof r->name, "%.*s", (int)mb->name.n, mb->name.p);
    } else if (mb->state == COMMAND_MEMBER_ACTIVE && !voter && r->standby == 0) {
        r->standby = mb->id;
    }
    return 0;
}

/* All members' roles, and r->node's in particular; it must be there. */
static int find_member(void *ctx, struct roles *r, struct admin_error *e)
{
    int err = cluster_barrier(ctx, e);
    if (err != 0)
        return err;
    struct machine *m = cluster_machine(cluster_of(ctx));
    machine_read_lock(m);
    (void)directory_member_each(m, look_at_roles, r);
    machine_read_unlock(m);
    if (!r->found || r->removed)
        return admin_fail(e, ERR_NOT_FOUND, "there is no node %llu", (unsigned long long)r->node);
    return 0;
}

static uint32_t wanted(struct cluster *c)
{
    struct directory_policy dp;
    struct machine *m = cluster_machine(c);
    machine_read_lock(m);
    uint32_t voters = directory_policy(m, 0, &dp) && dp.compiled != NULL ? dp.compiled->voters : 0;
    machine_read_unlock(m);
    return voters == 0 ? 3 : voters;
}

int cluster_role(void *ctx, const struct admin_caller *by, uint64_t node, uint8_t role, struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    struct roles r = { .node = node };
    int err = find_member(ctx, &r, e);
    if (err != 0)
        return err;
    if (r.role == role)
        return admin_fail(e, ERR_EXISTS, "node %s is a %s already", r.name,
                          role == COMMAND_ROLE_VOTER ? "voter" : "standby");
    if (role == COMMAND_ROLE_VOTER) {
        if (!r.ready)
            return admin_fail(e, ERR_BUSY, "node %s is not active yet", r.name);
        if (r.voters >= wanted(c))
            return admin_fail(
                e, ERR_LIMIT,
                "there are %u voters, as the policy wants: make one of them a standby, and a standby takes "
                "its place",
                r.voters);
        return set_member(ctx, by, node, 0, role, e);
    }
    if (r.voters <= 1 || (r.voters <= wanted(c) && r.standby == 0))
        return admin_fail(e, ERR_DENIED, "there is no standby that could vote instead of node %s", r.name);
    if (r.voters <= wanted(c)) /* first one more, so that there are never fewer */
        err = set_member(ctx, by, r.standby, 0, COMMAND_ROLE_VOTER, e);
    return err == 0 ? set_member(ctx, by, node, 0, role, e) : err;
}

/* ---- remove -------------------------------------------------------------------------------------------- */

struct last_words {
    struct cluster_call call;
    uint64_t node;
    struct buf *lost;
    bool alive;
};

static int add_address(void *arg, const struct directory_ip *ip)
{
    struct last_words *w = arg;
    if (ip->node == w->node)
        buf_printf(w->lost, "source address %.*s: give it to another node with 'turnpike ip move'\n",
                   (int)ip->address.n, ip->address.p);
    return 0;
}

static void last_words_run(struct cluster *c, struct cluster_call *call)
{
    struct last_words *w = (struct last_words *)call;
    struct gossip_peer_info *peers = calloc(GOSSIP_PEERS_MAX, sizeof *peers);
    uint32_t n = peers == NULL || c->gossip == NULL ? 0 : gossip_peers(c->gossip, peers, GOSSIP_PEERS_MAX);
    bool heard = false;
    for (uint32_t i = 0; i < n; i++) {
        if (peers[i].node != w->node)
            continue;
        w->alive = peers[i].health == GOSSIP_ALIVE;
        heard = peers[i].heard_ms >= 0;
        if (heard)
            buf_printf(
                w->lost,
                "mail: it had %llu messages queued when it was last heard, %lld s ago; take in its disk with "
                "'turnpike spool adopt'\n",
                (unsigned long long)peers[i].state.queued, (long long)(peers[i].heard_ms / 1000));
    }
    if (!heard)
        buf_put_str(
            w->lost,
            "mail: how much it had queued is not known; take in its disk with 'turnpike spool adopt'\n");
    free(peers);
    if (c->m != NULL)
        (void)directory_ip_each(c->m, add_address, w);
    buf_put_str(w->lost, "quota: the tokens in its hands are burned, and count until their windows pass\n");
    cluster_call_done(c, call, 0);
}

int cluster_remove(void *ctx, const struct admin_caller *by, uint64_t node, struct buf *lost,
                   struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    struct roles r = { .node = node };
    struct last_words w = { .node = node, .lost = lost };
    int err = find_member(ctx, &r, e);
    if (err != 0)
        return err;
    if (node == cluster_self(c))
        return admin_fail(e, ERR_DENIED, "this is node %s itself: use 'turnpike node leave'", r.name);
    cluster_call_init(&w.call, last_words_run, NULL);
    err = cluster_call_wait(c, &w.call);
    if (err == 0 && w.alive)
        log_warn("cluster", "node %s is alive and is removed all the same, by %s", r.name, by->text);
    if (err == 0)
        err = set_member(ctx, by, node, COMMAND_MEMBER_REMOVED, 0, e);
    if (err == 0)
        log_warn("cluster", "node %s (%llu) removed by %s", r.name, (unsigned long long)node, by->text);
    return err;
}

/* ---- drain and leave ----------------------------------------------------------------------------------- */

int cluster_drain(void *ctx, const struct admin_caller *by, bool on, struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    int err = cluster_need(c, e);
    if (err == 0)
        err =
            set_member(ctx, by, cluster_self(c), on ? COMMAND_MEMBER_DRAINING : COMMAND_MEMBER_ACTIVE, 0, e);
    if (err == 0)
        log_info("cluster", "%s by %s",
                 on ? "draining: no new mail, asked for" : "takes mail again, asked for", by->text);
    return err;
}

/* Waits until nothing is queued here: a member that drains hands over all that it has. No batch may be unfinished
 * either, since the other node may still have to hear from us. */
static int wait_empty(struct cluster *c, int64_t timeout_ms, struct admin_error *e)
{
    int64_t until = clock_boot_ms() + timeout_ms;
    struct transfer_progress p;
    for (;;) {
        transfer_progress(c->node, &p);
        if (p.queued == 0 && p.giving + p.taking == 0)
            return 0;
        if (atomic_load(&c->node->state) != NODE_RUNNING)
            return admin_fail(e, ERR_CLOSED, "the node is stopping");
        if (clock_boot_ms() >= until)
            return admin_fail(e, ERR_TIMEOUT,
                              "%llu messages are still here: %llu on their way, in %u batches; %llu have moved; %llu "
                              "cannot, and are delivered from here",
                              (unsigned long long)p.queued, (unsigned long long)p.leaving, p.giving + p.taking,
                              (unsigned long long)p.moved, (unsigned long long)p.stuck);
        nanosleep(&(struct timespec){ .tv_nsec = LEAVE_LOOK_MS * 1000000 }, NULL);
    }
}

/* Once it is removed nobody takes its tokens back: they would count until their windows have passed. */
static void settle_poll(struct cluster *c, struct cluster_call *call)
{
    if (c->state != CLUSTER_RUNNING || agent_settle(c->agent))
        cluster_call_done(c, call, 0);
}

static void settle_run(struct cluster *c, struct cluster_call *call)
{
    if (c->state != CLUSTER_RUNNING || agent_settle(c->agent))
        cluster_call_done(c, call, 0);
    else
        cluster_call_later(c, call);
}

static void handed_over_cb(void *ctx, int err)
{
    struct cluster *c = ((struct cluster_ticket *)ctx)->c;
    struct cluster_call *call = cluster_ticket_take(ctx);
    (void)err; /* the leader to be removed hands over again, in its own steps */
    if (call != NULL)
        cluster_call_done(c, call, 0);
}

static void hand_over_run(struct cluster *c, struct cluster_call *call)
{
    struct cluster_ticket *t =
        c->state == CLUSTER_RUNNING && c->role == REPLICA_LEADER ? cluster_ticket_new(c, call) : NULL;
    if (t == NULL) {
        cluster_call_done(c, call, 0);
        return;
    }
    cluster_call_later(c, call);
    if (replica_transfer(c->replica, 0, handed_over_cb, t) != 0) {
        (void)cluster_ticket_take(t);
        cluster_call_done(c, call, 0);
    }
}

static void left_poll(struct cluster *c, struct cluster_call *call)
{
    if (c->state == CLUSTER_LEFT)
        cluster_call_done(c, call, 0);
}

static void left_run(struct cluster *c, struct cluster_call *call)
{
    if (c->state == CLUSTER_RUNNING)
        c->removed = c->poll_due = true;
    cluster_call_later(c, call);
    left_poll(c, call);
}

static int count_present(void *arg, const struct directory_member *mb)
{
    *(uint32_t *)arg += mb->state != COMMAND_MEMBER_REMOVED;
    return 0;
}

int cluster_leave(void *ctx, const struct admin_caller *by, const struct admin_leave_opts *opts,
                  struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    struct cluster_call call;
    uint32_t present = 0;
    int err = cluster_barrier(ctx, e);
    if (err != 0)
        return err;
    struct machine *m = cluster_machine(c);
    machine_read_lock(m);
    (void)directory_member_each(m, count_present, &present);
    machine_read_unlock(m);
    if (present <= 1)
        return admin_fail(e, ERR_DENIED,
                          "this is the only node of its cluster: nobody could take over what it knows");
    err = cluster_drain(ctx, by, true, e);
    if (err == 0)
        err = wait_empty(c, opts->timeout_ms, e);
    if (err != 0)
        return err;
    cluster_call_init(&call, settle_run, NULL);
    call.poll = settle_poll;
    call.timeout_ms = SETTLE_MS;
    if (cluster_call_wait(c, &call) != 0)
        log_warn("cluster", "not all tokens of this node could be given back: they are burned");
    cluster_call_init(&call, hand_over_run, NULL);
    (void)cluster_call_wait(c, &call);
    err = set_member(ctx, by, cluster_self(c), COMMAND_MEMBER_REMOVED, 0, e);
    if (err != 0)
        return err;
    cluster_call_init(&call, left_run, e);
    call.poll = left_poll;
    call.timeout_ms = 2 * CLUSTER_CALL_MS;
    err = cluster_call_wait(c, &call);
    if (err == 0)
        log_info("cluster", "left, as %s wanted", by->text);
    return err;
}
