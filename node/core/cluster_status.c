/* `turnpike cluster status`: the cluster as this node sees it, and the most important thing that is wrong. */
#include "base/clock.h"
#include "base/err.h"
#include "node/core/cluster_impl.h"
#include "node/core/content.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNTERS_HIGH_PERCENT 95

struct look {
    struct cluster_call call;
    struct cluster *c;
    struct admin_cluster_status *out;
    struct replica_stats rs;
    struct gossip_peer_info peers[GOSSIP_PEERS_MAX];
    uint32_t npeers;
    uint32_t fenced;                 /* members that say so */
    int64_t clocks[ADMIN_NODES_MAX]; /* of out->nodes: ahead of ours; */
    bool clock_known[ADMIN_NODES_MAX];
};

static const struct gossip_peer_info *peer_of(const struct look *l, uint64_t node)
{
    for (uint32_t i = 0; i < l->npeers; i++)
        if (l->peers[i].node == node)
            return &l->peers[i];
    return NULL;
}

static void copy(char *out, size_t cap, struct span s)
{
    snprintf(out, cap, "%.*s", (int)s.n, s.n > 0 ? s.p : "");
}

static void fill_live(struct look *l, struct admin_node *n, const struct gossip_state *s)
{
    n->quorum = s->quorum;
    n->accepting = s->accepting;
    n->draining = s->draining;
    n->fenced = s->fenced;
    l->fenced += s->fenced;
    n->applied = s->applied;
    n->published = s->published;
    n->queued = s->queued;
    n->held = s->held;
    n->sessions_in = s->sessions_in;
    if (s->features != 0)
        n->features = s->features;
    if (s->version[0] != '\0')
        copy(n->version, sizeof n->version, span_of(s->version, strnlen(s->version, sizeof s->version)));
    n->disk_free_permille = s->disk_free_permille;
    n->disk_low = s->disk_low;
    n->transfers_late = s->transfers_late;
    uint32_t i = (uint32_t)(n - l->out->nodes);
    l->clock_known[i] = s->wall_ms != 0 && n->heard_ms >= 0;
    l->clocks[i] = s->wall_ms + n->heard_ms - clock_wall_ms();
}

static int fill_node(void *arg, const struct directory_member *mb)
{
    struct look *l = arg;
    struct cluster *c = l->c;
    static const char *const states[] = { "unknown", "joining", "active", "draining", "removed" };
    static const char *const health[] = { "never seen", "alive", "suspect", "dead" };
    if (mb->state == COMMAND_MEMBER_REMOVED)
        return 0; /* the audit trail has them */
    if (l->out->nnodes == ADMIN_NODES_MAX)
        return 1;
    struct admin_node *n = &l->out->nodes[l->out->nnodes++];
    n->id = mb->id;
    copy(n->name, sizeof n->name, mb->name);
    copy(n->raft_address, sizeof n->raft_address, mb->raft_address);
    copy(n->gossip_address, sizeof n->gossip_address, mb->gossip_address);
    copy(n->version, sizeof n->version, mb->version);
    n->features = mb->features;
    n->state = states[mb->state <= COMMAND_MEMBER_REMOVED ? mb->state : 0];
    n->role = "standby"; /* what raft has already made it; the directory has what it shall be */
    for (uint32_t i = 0; i < l->rs.nservers; i++)
        if (l->rs.servers[i].id == mb->id && l->rs.servers[i].vote == REPLICA_VOTER)
            n->role = "voter";
    n->leader = mb->id == c->leader;
    n->heard_ms = -1;
    n->session = !l->out->quorum ? "unknown" : mb->session != 0 ? "open" : "none";
    n->session_left_ms =
        c->ready && mb->session != 0 ? lease_left_ms(c->lease, mb->session, clock_boot_ms()) : -1;
    if (mb->id == c->id.self.node) {
        struct agent_session session;
        struct gossip_state own;
        cluster_fill_state(c, &own);
        agent_session(c->agent, &session);
        n->health = "self";
        n->heard_ms = 0;
        n->session = session.id != 0 && session.left_ms > 0 ? "open" : "none";
        n->session_left_ms = session.id != 0 && session.left_ms > 0 ? session.left_ms : -1;
        n->certificate_expires_soon = cluster_certificate_expires_soon(c);
        fill_live(l, n, &own);
        return 0;
    }
    const struct gossip_peer_info *p = peer_of(l, mb->id);
    enum gossip_health h = p == NULL ? GOSSIP_NEVER_SEEN : p->health;
    n->health = health[h];
    if (p != NULL) {
        n->heard_ms = p->heard_ms;
        fill_live(l, n, &p->state);
    }
    if (h != GOSSIP_ALIVE) {
        n->quorum = n->accepting = n->disk_low = false;
        n->transfers_late = 0;
        l->clock_known[n - l->out->nodes] = false;
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Ours may be the one that is off: the clock in the middle is taken for right. */
static void compare_clocks(struct look *l)
{
    struct admin_cluster_status *out = l->out;
    int64_t sorted[ADMIN_NODES_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < out->nnodes; i++)
        if (l->clock_known[i])
            sorted[n++] = l->clocks[i];
    qsort(sorted, n, sizeof *sorted, compare);
    for (uint32_t i = 0; i < out->nnodes; i++)
        if (l->clock_known[i])
            out->nodes[i].clock_ms = l->clocks[i] - sorted[(n - 1) / 2];
}

/* In the middle of an upgrade that is as it should be. */
static void compare_versions(struct look *l)
{
    struct admin_cluster_status *out = l->out;
    uint32_t lowest = UINT32_MAX;
    bool differ = false;
    for (uint32_t i = 0; i < out->nnodes; i++) {
        lowest = out->nodes[i].features < lowest ? out->nodes[i].features : lowest;
        differ = differ || strcmp(out->nodes[i].version, out->nodes[0].version) != 0;
    }
    size_t at = 0;
    if (differ) {
        at = (size_t)snprintf(out->note, sizeof out->note, "not all nodes run the same version:");
        for (uint32_t i = 0; i < out->nnodes && at < sizeof out->note - 120; i++)
            at += (size_t)snprintf(out->note + at, sizeof out->note - at, "%s %s %s", i > 0 ? "," : "",
                                   out->nodes[i].name, out->nodes[i].version);
        snprintf(out->note + at, sizeof out->note - at, "; upgrade the rest, one after another");
    } else if (out->nnodes > 0 && lowest > out->features) {
        snprintf(out->note, sizeof out->note,
                 "all nodes can do feature level %u, and %u is in force: turnpike cluster raise, once you "
                 "will not "
                 "go back",
                 lowest, out->features);
    }
}

static void say(struct look *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct look *l, const char *fmt, ...)
{
    struct admin_cluster_status *out = l->out;
    va_list ap;
    if (out->ntroubles == ADMIN_TROUBLES_MAX)
        return;
    va_start(ap, fmt);
    vsnprintf(out->troubles[out->ntroubles++], ADMIN_TROUBLE_BYTES, fmt, ap);
    va_end(ap);
}

static void say_content(struct look *l)
{
    char trouble[400];
    struct policy *policy = cluster_policy(l->c);
    for (uint32_t i = 0; content_trouble(l->c->node, policy, i, trouble); i++)
        say(l, "%s", trouble);
    policy_rele(policy);
}

/* In order of how much it hurts. */
static void find_trouble(struct look *l)
{
    struct cluster *c = l->c;
    struct admin_cluster_status *out = l->out;
    struct buf missing;
    const char *waits = cluster_is_holding(c) ? "; this node delivers nothing (when_cut_off: hold)" : "";
    if (cluster_failed(c) != 0)
        say(l, "the cluster's state on this node has failed: see the log");
    if (out->digest_mismatch && !c->fenced && l->fenced == 0)
        say(l, "the nodes' states differ, and it is not known yet which is wrong: see the logs of all nodes, "
               "and "
               "the operations manual, 'States that differ'");
    if (!out->quorum) {
        buf_init(&missing, 400);
        cluster_missing(c, &missing);
        say(l,
            "no quorum%s%.*s: nothing can be granted, frozen or changed until enough nodes run; if they will "
            "not come back: the operations manual, 'Losing nodes'%s",
            missing.len > 0 ? "; missing: " : "", (int)missing.len, missing.len > 0 ? missing.data : "",
            waits);
        buf_fini(&missing);
    }
    if (out->joining)
        say(l, "this node has not caught up with the cluster yet");
    if (!out->session_usable && out->quorum && !out->joining && !c->fenced)
        say(l, "this node has no session with the cluster: it takes no mail until the leader answers it; see "
               "the log");
    uint64_t sealing = cluster_seal_missing(c, clock_boot_ms());
    if (sealing != 0)
        say(l,
            "this node lacks sealing key %llu, and no node that answers has it: mail that a DKIM key of the cluster "
            "should sign is deferred; put the file 'sealing' back (docs/dkim.md), or turnpike dkim rekey --lost",
            (unsigned long long)sealing);
    say_content(l);
    if (out->totals.counters * 100 >= out->totals.counters_max * COUNTERS_HIGH_PERCENT)
        say(l,
            "the cluster keeps %llu counters of senders' limits, of at most %llu: then senders that have "
            "sent "
            "nothing lately get 451; fewer limits or shorter windows in the policy make room",
            (unsigned long long)out->totals.counters, (unsigned long long)out->totals.counters_max);
}

static void status_run(struct cluster *c, struct cluster_call *call)
{
    struct look *l = (struct look *)call;
    struct admin_cluster_status *out = l->out;
    struct directory_cluster dc;
    struct directory_policy dp;
    struct agent_session session;
    struct directory_member self;
    l->c = c;
    if (c->state != CLUSTER_RUNNING) {
        l->out = out;
        say(l, "%s", cluster_refusal(c));
        cluster_call_done(c, call, 0);
        return;
    }
    replica_stats(c->replica, &l->rs);
    l->npeers = gossip_peers(c->gossip, l->peers, GOSSIP_PEERS_MAX);
    agent_session(c->agent, &session);
    out->member = true;
    if (directory_cluster(c->m, &dc)) {
        for (size_t i = 0; i < sizeof dc.id; i++)
            snprintf(out->cluster + 2 * i, 3, "%02x", dc.id[i]);
        out->epoch = dc.epoch;
    }
    out->joining =
        !cluster_is_founded(c) || !cluster_own_member(c, &self) || self.state == COMMAND_MEMBER_JOINING;
    out->features = machine_features(c->m);
    out->self = c->id.self.node;
    out->leader = c->leader;
    out->term = l->rs.term;
    out->applied = machine_applied(c->m);
    out->quorum = cluster_has_quorum(c);
    out->session_usable = session.usable;
    out->policy_version = directory_policy(c->m, 0, &dp) ? dp.version : 0;
    out->log_bytes = l->rs.log_bytes;
    out->snapshot_bytes = l->rs.snapshot_bytes_on_disk;
    out->digest_mismatch = c->digest_mismatch;
    machine_totals(c->m, &out->totals);
    (void)directory_member_each(c->m, fill_node, l);
    compare_clocks(l);
    compare_versions(l);
    find_trouble(l);
    cluster_call_done(c, call, 0);
}

int cluster_status(void *ctx, struct admin_cluster_status *out)
{
    struct cluster *c = cluster_of(ctx);
    *out = (struct admin_cluster_status){ .member = false };
    if (c == NULL)
        return 0;
    struct look *l = calloc(1, sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    l->out = out;
    cluster_call_init(&l->call, status_run, NULL);
    int err = cluster_call_wait(c, &l->call);
    free(l);
    return err;
}
