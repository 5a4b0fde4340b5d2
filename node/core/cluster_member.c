/* Who belongs to the cluster: whose connections are taken, whom to talk to, and on the leader the steps that
 * bring raft's configuration to what the directory says. The cluster thread.
 *
 * A member's way on the leader, one step at a time:
 *
 *     joining, unknown to raft -> spare -> standby --(has caught up)--> active --(a voter is missing)-->
 * voter
 *
 * The directory's role is what is wanted; raft's follows. A voter that has been silent for a minute gives its
 * place to a standby, which is promoted first. A removed member leaves raft; a leader that must go hands
 * leadership over.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"
#include "node/policy/policy.h"

#include <stdlib.h>

#define EXPEL_MS 1500
#define DEAD_VOTER_MS 60000
#define SURPLUS_MS 5000 /* an operator who swaps two voters makes one more for a moment */
#define PROPOSE_AGAIN_MS 1000
#define CAUGHT_UP 1000  /* entries behind */
#define VOTER_BEHIND 64 /* entries, of one that is to vote from now on */
#define VOTER_HEARD_MS 300
#define VOTER_WAIT_MS 10000 /* then it need not be so close */

/* ---- whose connections are taken ----------------------------------------------------------------------- */

static int highest_id(void *arg, const struct directory_member *mb)
{
    uint64_t *highest = arg;
    if (mb->id > *highest)
        *highest = mb->id;
    return 0;
}

/* Chain, cluster and epoch were checked before. What is left: is this certificate one that the member has
 * now?
 *
 * A node that was away may not know a certificate that was issued meanwhile, nor the node that leads by now;
 * and one that has just started knows nothing but its snapshot until it hears a leader. Were it to refuse
 * them, it could never catch up. So while it hears no leader it believes the CA's signature for members that
 * came later and for certificates that it does not know; never for a node whose removal it knows. As soon as
 * it has caught up, connections are looked at again. */
bool cluster_admit(void *ctx, const struct peer *peer, const uint8_t sha256[32])
{
    struct cluster *c = ctx;
    struct directory_member mb;
    static const uint8_t none[32];
    uint64_t highest = c->id.self.node;
    if (peer->node == c->id.self.node)
        return false;
    if (!cluster_is_founded(c)) {
        for (uint32_t i = 0; i < c->id.nseeds; i++) {
            if (c->id.seeds[i].id == peer->node)
                return true;
            highest = c->id.seeds[i].id > highest ? c->id.seeds[i].id : highest;
        }
        return peer->node > highest;
    }
    bool behind = c->replica == NULL || c->leader == 0 || !cluster_has_quorum(c);
    if (!directory_member_find(c->m, peer->node, &mb)) {
        (void)directory_member_each(c->m, highest_id, &highest);
        return behind && peer->node > highest;
    }
    if (mb.state == COMMAND_MEMBER_REMOVED)
        return false;
    for (int i = 0; i < 2; i++)
        if (memcmp(mb.certificates[i], none, 32) != 0 && memcmp(mb.certificates[i], sha256, 32) == 0)
            return true;
    return behind;
}

bool cluster_own_member(struct cluster *c, struct directory_member *out)
{
    return directory_member_find(c->m, c->id.self.node, out) && out->state != COMMAND_MEMBER_REMOVED;
}

/* ---- whom to talk to ----------------------------------------------------------------------------------- */

struct peers {
    struct cluster *c;
    struct gossip_peer list[GOSSIP_PEERS_MAX];
    char addresses[GOSSIP_PEERS_MAX][128];
    uint32_t n;
    struct identity_seed seeds[sizeof((struct identity *)0)->seeds / sizeof(struct identity_seed)];
    uint32_t nseeds, removed;
    bool told; /* somebody, just now */
};

static bool has_id(const uint64_t *ids, uint32_t n, uint64_t id)
{
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* It is told, and what it is owed still reaches it; then its connections end. It gets no more of the log, so
 * each that is removed must be told, while others linger too. */
static bool lingers(struct peers *p, uint64_t node)
{
    struct cluster *c = p->c;
    if (!has_id(c->peers, c->npeers, node))
        return false;
    if (c->ready && c->ntold < GOSSIP_PEERS_MAX && !has_id(c->told, c->ntold, node)) {
        (void)gossip_send(c->gossip, node, CLUSTER_MESSAGE_REMOVED, (struct span){ "", 0 });
        c->told[c->ntold++] = node;
        return p->told = true;
    }
    return c->expel_ms >= 0;
}

static void copy_address(char out[128], struct span s)
{
    memcpy(out, s.p, s.n);
    out[s.n] = '\0';
}

static const struct identity_seed *seed_of(const struct cluster *c, uint64_t node)
{
    for (uint32_t i = 0; i < c->id.nseeds; i++)
        if (c->id.seeds[i].id == node)
            return &c->id.seeds[i];
    return NULL;
}

static int add_peer(void *arg, const struct directory_member *mb)
{
    struct peers *p = arg;
    bool removed = mb->state == COMMAND_MEMBER_REMOVED;
    if (mb->id == p->c->id.self.node || mb->gossip_address.n >= 128 || mb->raft_address.n >= 128)
        return 0;
    if (removed)
        cluster_address_use(p->c, mb->id, NULL);
    if (removed && !lingers(p, mb->id))
        return 0;
    p->removed += removed;
    if (p->n < GOSSIP_PEERS_MAX) {
        const struct identity_seed *seed = p->c->members_seen ? NULL : seed_of(p->c, mb->id);
        copy_address(p->addresses[p->n], seed == NULL ? mb->gossip_address : span_str(seed->gossip_address));
        p->list[p->n] = (struct gossip_peer){ .node = mb->id, .address = p->addresses[p->n] };
        p->n++;
    }
    if (!removed && p->nseeds < sizeof p->seeds / sizeof *p->seeds) {
        struct identity_seed *s = &p->seeds[p->nseeds++];
        s->id = mb->id;
        copy_address(s->raft_address, mb->raft_address);
        copy_address(s->gossip_address, mb->gossip_address);
        if (p->c->members_seen)
            cluster_address_use(p->c, s->id, s->raft_address);
    }
    return 0;
}

/* Whom to believe and to ask after a restart, before the log is known again. */
static void save_seeds(struct cluster *c, const struct peers *p)
{
    struct buf why;
    if (p->nseeds == 0 ||
        (p->nseeds == c->id.nseeds && memcmp(p->seeds, c->id.seeds, p->nseeds * sizeof *p->seeds) == 0))
        return;
    memcpy(c->id.seeds, p->seeds, sizeof c->id.seeds);
    c->id.nseeds = p->nseeds;
    buf_init(&why, 4096);
    if (identity_save(c->dir, &c->id, &why) != 0)
        log_error("cluster", "%.*s", (int)why.len, why.len == 0 ? "" : why.data);
    buf_fini(&why);
}

static void set_peers(struct cluster *c, struct peers *p)
{
    if (cluster_is_founded(c))
        (void)directory_member_each(c->m, add_peer, p);
    for (uint32_t i = 0; !cluster_is_founded(c) && i < c->id.nseeds; i++)
        if (c->id.seeds[i].id != c->id.self.node)
            p->list[p->n++] = (struct gossip_peer){ c->id.seeds[i].id, c->id.seeds[i].gossip_address };
    int err = gossip_set_peers(c->gossip, p->list, p->n);
    if (err != 0)
        log_error("cluster", "cannot talk to all members: %s", err_text(err));
    c->npeers = p->n;
    for (uint32_t i = 0; i < p->n; i++)
        c->peers[i] = p->list[i].node;
    if (p->told || (p->removed > 0 && c->expel_ms == 0))
        c->expel_ms = clock_boot_ms() + EXPEL_MS;
    if (c->expel_ms <= 0) {
        c->expel_ms = 0;
        c->ntold = 0;
        gossip_check_peers(c->gossip);
        transport_check_peers(c->transport);
    }
    if (cluster_is_founded(c) && !c->removed && (c->members_seen || c->id.nseeds == 0))
        save_seeds(c, p);
}

void cluster_members_changed(struct cluster *c)
{
    struct directory_member self;
    struct peers *p = calloc(1, sizeof *p);
    if (directory_member_find(c->m, c->id.self.node, &self) && self.state == COMMAND_MEMBER_REMOVED &&
        !c->removed) {
        log_error("cluster", "this node was removed from the cluster");
        c->removed = c->poll_due = true;
    }
    if (p == NULL) {
        c->members_again = true;
        return;
    }
    p->c = c;
    set_peers(c, p);
    free(p);
    c->members_seen = true;
    if (cluster_is_founded(c))
        cluster_founded(c);
}

void cluster_members_tick(struct cluster *c)
{
    if (c->expel_ms > 0 && clock_boot_ms() >= c->expel_ms) {
        c->expel_ms = -1; /* nobody lingers any longer */
        c->members_again = true;
    }
    if (c->members_again)
        c->members_dirty = true;
    c->members_again = false;
}

void cluster_missing(struct cluster *c, struct buf *out)
{
    struct gossip_peer_info *peers = calloc(GOSSIP_PEERS_MAX, sizeof *peers);
    uint32_t n = peers == NULL || c->gossip == NULL ? 0 : gossip_peers(c->gossip, peers, GOSSIP_PEERS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        struct directory_member mb;
        if (peers[i].health == GOSSIP_ALIVE)
            continue;
        if (directory_member_find(c->m, peers[i].node, &mb))
            buf_printf(out, "%s%.*s (%.*s)", out->len > 0 ? ", " : "", (int)mb.name.n, mb.name.p,
                       (int)mb.raft_address.n, mb.raft_address.p);
        else
            buf_printf(out, "%snode %llu (%s)", out->len > 0 ? ", " : "", (unsigned long long)peers[i].node,
                       peers[i].address);
    }
    free(peers);
}

/* ---- the leader's steps -------------------------------------------------------------------------------- */

void cluster_change_cb(void *ctx, int err)
{
    struct cluster *c = ctx;
    c->change_busy = false;
    if (err != 0 && c->state == CLUSTER_RUNNING)
        log_warn("cluster", "a change of the membership (node %llu) failed, and is tried again: %s",
                 (unsigned long long)c->change_node, err_text(err));
}

static bool began(struct cluster *c, uint64_t node, const char *what, int err)
{
    if (err == 0) {
        c->change_busy = true;
        c->change_node = node;
        log_info("cluster", "node %llu: %s", (unsigned long long)node, what);
    } else if (err != ERR_BUSY) {
        log_warn("cluster", "node %llu: %s: %s", (unsigned long long)node, what, err_text(err));
        c->change_ms = clock_boot_ms();
    }
    return true;
}

static void propose_member(struct cluster *c, uint64_t node, uint8_t state, uint8_t role)
{
    struct command cmd = { .type = COMMAND_MEMBER_SET,
                           .member_set = {
                               .by = { .who = SPAN_LIT("the leader"), .wall_ms = clock_wall_ms() },
                               .node = node,
                               .state = state,
                               .role = role } };
    c->change_ms = clock_boot_ms();
    c->proposed.node = node;
    c->proposed.state = state;
    c->proposed.role = role;
    int err = cluster_propose(c, &cmd);
    if (err != 0)
        log_warn("cluster", "node %llu: its state cannot be proposed: %s", (unsigned long long)node,
                 err_text(err));
}

/* What was proposed last is so: the next step need not wait. */
static bool has_come_about(const struct cluster *c)
{
    struct directory_member mb;
    return c->proposed.node != 0 && directory_member_find(c->m, c->proposed.node, &mb) &&
           (c->proposed.state == 0 || c->proposed.state == mb.state) &&
           (c->proposed.role == 0 || c->proposed.role == mb.role);
}

struct look {
    struct cluster *c;
    struct replica_stats rs;
    struct gossip_peer_info peers[GOSSIP_PEERS_MAX];
    uint32_t npeers;
    int64_t now;
    uint32_t voters, target;
    uint64_t candidate, dead, last; /* node ids; 0: none. last: the youngest voter but this node */
    bool stepped;
};

static const struct replica_server *server_of(const struct look *l, uint64_t node)
{
    for (uint32_t i = 0; i < l->rs.nservers; i++)
        if (l->rs.servers[i].id == node)
            return &l->rs.servers[i];
    return NULL;
}

static bool caught_up(const struct look *l, const struct replica_server *s)
{
    return s->id == l->c->id.self.node || (s->match != 0 && s->match + CAUGHT_UP >= l->rs.last &&
                                           s->contact_ms >= 0 && s->contact_ms < 2000);
}

bool cluster_may_vote_now(const struct replica_server *s, uint64_t last, int64_t waited_ms)
{
    bool close = s->match + VOTER_BEHIND >= last && s->contact_ms >= 0 && s->contact_ms < VOTER_HEARD_MS;
    return close || waited_ms >= VOTER_WAIT_MS;
}

static bool may_vote_now(const struct look *l, const struct replica_server *s)
{
    struct cluster *c = l->c;
    if (c->promoting != s->id) {
        c->promoting = s->id;
        c->promoting_ms = l->now;
    }
    return cluster_may_vote_now(s, l->rs.last, l->now - c->promoting_ms);
}

static bool is_alive(const struct look *l, uint64_t node)
{
    for (uint32_t i = 0; i < l->npeers; i++)
        if (l->peers[i].node == node)
            return l->peers[i].health == GOSSIP_ALIVE;
    return node == l->c->id.self.node;
}

static bool silent_long(const struct look *l, const struct replica_server *s)
{
    if (s->id == l->c->id.self.node || is_alive(l, s->id))
        return false;
    int64_t silent = s->contact_ms >= 0 ? s->contact_ms : l->now - l->c->ready_ms;
    return silent >= DEAD_VOTER_MS;
}

/* Raft's servers that are no members (any more). */
static void step_remove(struct look *l)
{
    struct cluster *c = l->c;
    for (uint32_t i = 0; i < l->rs.nservers && !l->stepped; i++) {
        struct directory_member mb;
        uint64_t id = l->rs.servers[i].id;
        if (directory_member_find(c->m, id, &mb) && mb.state != COMMAND_MEMBER_REMOVED)
            continue;
        if (id == c->id.self.node)
            l->stepped = began(c, id, "hands leadership over, to be removed",
                               replica_transfer(c->replica, 0, cluster_change_cb, c));
        else
            l->stepped = began(c, id, "leaves raft", replica_remove(c->replica, id, cluster_change_cb, c));
    }
}

/* Raft's configuration follows the directory. */
static int step_follow(void *arg, const struct directory_member *mb)
{
    struct look *l = arg;
    struct cluster *c = l->c;
    char address[128];
    if (mb->state == COMMAND_MEMBER_REMOVED || mb->raft_address.n >= sizeof address)
        return 0;
    const struct replica_server *s = server_of(l, mb->id);
    if (s == NULL) {
        memcpy(address, mb->raft_address.p, mb->raft_address.n);
        address[mb->raft_address.n] = '\0';
        return l->stepped = began(c, mb->id, "joins raft as a spare",
                                  replica_add(c->replica, mb->id, address, cluster_change_cb, c));
    }
    bool voter = mb->role == COMMAND_ROLE_VOTER;
    if (s->vote == REPLICA_SPARE)
        return l->stepped = began(c, mb->id, "receives the log",
                                  replica_assign(c->replica, mb->id, REPLICA_STANDBY, cluster_change_cb, c));
    if (s->vote == REPLICA_STANDBY && voter && caught_up(l, s) && may_vote_now(l, s))
        return l->stepped = began(c, mb->id, "becomes a voter",
                                  replica_assign(c->replica, mb->id, REPLICA_VOTER, cluster_change_cb, c));
    if (s->vote == REPLICA_VOTER && !voter && l->voters > 0) {
        if (mb->id == c->id.self.node)
            return l->stepped = began(c, mb->id, "hands leadership over, to become a standby",
                                      replica_transfer(c->replica, 0, cluster_change_cb, c));
        return l->stepped = began(c, mb->id, "becomes a standby",
                                  replica_assign(c->replica, mb->id, REPLICA_STANDBY, cluster_change_cb, c));
    }
    return 0;
}

static int step_activate(void *arg, const struct directory_member *mb)
{
    struct look *l = arg;
    const struct replica_server *s = server_of(l, mb->id);
    if (mb->state != COMMAND_MEMBER_JOINING || s == NULL || s->vote == REPLICA_SPARE || !caught_up(l, s))
        return 0;
    propose_member(l->c, mb->id, COMMAND_MEMBER_ACTIVE, 0);
    return l->stepped = true;
}

static int count_voters(void *arg, const struct directory_member *mb)
{
    struct look *l = arg;
    const struct replica_server *s = server_of(l, mb->id);
    if (mb->state == COMMAND_MEMBER_REMOVED)
        return 0;
    if (mb->role == COMMAND_ROLE_VOTER) {
        l->voters++;
        if (s != NULL && silent_long(l, s))
            l->dead = mb->id;
        if (mb->id != l->c->id.self.node)
            l->last = mb->id;
    } else if (mb->state == COMMAND_MEMBER_ACTIVE && l->candidate == 0 && s != NULL &&
               s->vote == REPLICA_STANDBY && caught_up(l, s) && is_alive(l, mb->id)) {
        l->candidate = mb->id;
    }
    return 0;
}

/* As many voters as the policy wants, and living ones. */
static void step_voters(struct look *l)
{
    struct cluster *c = l->c;
    bool surplus = l->voters > l->target;
    if (!surplus)
        c->surplus_ms = l->now;
    if (l->candidate != 0 && (l->voters < l->target || (l->voters == l->target && l->dead != 0)))
        propose_member(c, l->candidate, 0, COMMAND_ROLE_VOTER);
    else if (surplus && l->dead != 0)
        propose_member(c, l->dead, 0, COMMAND_ROLE_STANDBY);
    else if (surplus && l->last != 0 && l->now - c->surplus_ms >= SURPLUS_MS)
        propose_member(c, l->last, 0, COMMAND_ROLE_STANDBY);
}

uint32_t cluster_voters_wanted(struct cluster *c)
{
    uint32_t voters = c->policy == NULL ? 0 : c->policy->compiled.voters;
    return voters == 0 ? 3 : voters;
}

void cluster_members_step(struct cluster *c)
{
    int64_t now = clock_boot_ms();
    if (c->change_busy || (now - c->change_ms < PROPOSE_AGAIN_MS && !has_come_about(c)))
        return;
    c->proposed.node = 0;
    struct look *l = calloc(1, sizeof *l);
    if (l == NULL)
        return;
    l->c = c;
    l->now = now;
    l->target = cluster_voters_wanted(c);
    replica_stats(c->replica, &l->rs);
    l->npeers = gossip_peers(c->gossip, l->peers, GOSSIP_PEERS_MAX);
    (void)directory_member_each(c->m, count_voters, l);
    step_remove(l);
    if (!l->stepped)
        (void)directory_member_each(c->m, step_follow, l);
    if (!l->stepped)
        (void)directory_member_each(c->m, step_activate, l);
    if (!l->stepped)
        step_voters(l);
    free(l);
}
