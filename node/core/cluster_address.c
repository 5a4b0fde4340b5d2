/* Where nodes are reached. A node may be told to advertise other addresses than it joined with: it has the
 * cluster's record of it changed, as any command; everybody then dials the new ones. When the old ones are
 * dead already, it cannot be heard until an operator says the new ones on another node ('turnpike node
 * address'). The cluster thread.
 *
 * libraft's own configuration keeps what a node joined with: the transport is told what counts (transport.h).
 * Over a restart the file of the node's identity has the addresses that were known last, because the state
 * that a start begins with may be older.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"

#include <stdio.h>
#include <string.h>

#define ANNOUNCE_MS 5000
#define ANNOUNCE_AGAIN_MS 30000
#define UNHEARD_MS 10000 /* without a session: then an operator should know */

void cluster_address_started(struct cluster *c, const struct config *config)
{
    /* Until it hears the others, it knows no better than its file. */
    c->moved = strcmp(c->id.raft_address, config->cluster.advertise) != 0 ||
               strcmp(c->id.gossip_address, config->cluster.advertise_gossip) != 0;
    snprintf(c->id.raft_address, sizeof c->id.raft_address, "%s", config->cluster.advertise);
    snprintf(c->id.gossip_address, sizeof c->id.gossip_address, "%s", config->cluster.advertise_gossip);
    c->members_seen = false;
    c->address_ms = clock_boot_ms();
    for (uint32_t i = 0; i < c->id.nseeds; i++)
        if (c->id.seeds[i].id != c->id.self.node)
            cluster_address_use(c, c->id.seeds[i].id, c->id.seeds[i].raft_address);
}

void cluster_address_use(struct cluster *c, uint64_t node, const char *raft_address)
{
    int err = c->transport == NULL ? 0 : transport_set_address(c->transport, node, raft_address);
    if (err != 0 && raft_address != NULL)
        log_error("cluster", "node %llu: its address %s cannot be used: %s", (unsigned long long)node,
                  raft_address, err_text(err));
}

static void announced_cb(void *ctx, int err, const struct machine_result *r)
{
    struct cluster *c = ctx;
    c->announcing = false;
    c->address_ms = clock_boot_ms();
    if (err == 0 && r->err == 0)
        log_info("cluster", "the other nodes reach this one at %s and %s from now on", c->id.raft_address,
                 c->id.gossip_address);
    else
        log_error("cluster", "cluster.advertise: this node's addresses cannot be %s and %s: %s",
                  c->id.raft_address, c->id.gossip_address,
                  err != 0              ? err_text(err)
                  : r->words[0] != '\0' ? r->words
                                        : err_text(r->err));
}

static void announce(struct cluster *c)
{
    char who[80];
    snprintf(who, sizeof who, "%s's configuration", c->id.name);
    struct command cmd = { .type = COMMAND_MEMBER_SET,
                           .member_set = { .by = { .who = span_str(who), .wall_ms = clock_wall_ms() },
                                           .node = c->id.self.node,
                                           .raft_address = span_str(c->id.raft_address),
                                           .gossip_address = span_str(c->id.gossip_address) } };
    c->announcing = agent_submit(c->agent, &cmd, ANNOUNCE_MS, announced_cb, c) == 0;
}

static bool differs(struct cluster *c)
{
    struct directory_member self;
    if (!cluster_is_founded(c) || !cluster_own_member(c, &self))
        return c->moved;
    return !span_eq(self.raft_address, span_str(c->id.raft_address)) ||
           !span_eq(self.gossip_address, span_str(c->id.gossip_address));
}

void cluster_address_tick(struct cluster *c, int64_t now)
{
    struct agent_session session;
    if (c->announcing || !differs(c))
        return;
    agent_session(c->agent, &session);
    if (session.usable && (c->announced_ms == 0 || now - c->announced_ms >= ANNOUNCE_AGAIN_MS)) {
        c->announced_ms = now;
        announce(c);
    } else if (!session.usable && !c->unheard && now - c->address_ms >= UNHEARD_MS) {
        c->unheard = true; /* it is said once */
        log_error("cluster",
                  "this node advertises %s and %s, and the others may reach for it elsewhere still: nobody "
                  "answers. "
                  "Run on another node: turnpike node address %s %s %s",
                  c->id.raft_address, c->id.gossip_address, c->id.name, c->id.raft_address,
                  c->id.gossip_address);
    }
}
