/* A node whose state differs from the other nodes' keeps itself apart: it takes no mail and leads nobody.
 * That is kept in a file, since a restart reads the same wrong state again: it ends when an operator gives
 * the node another state (joining anew, `cluster recover`), or says by deleting the file that it was judged
 * wrongly. The cluster thread.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HAND_OVER_MS 5000 /* between two attempts of a leader */

/* For an operator to read; that it is there is what counts. */
static int keep(const struct cluster *c, uint64_t index, const char *why)
{
    char line[300];
    snprintf(line, sizeof line, "fenced at %lld (seconds since 1970), log index %llu: %s\n",
             (long long)(clock_wall_ms() / 1000), (unsigned long long)index, why);
    int err = cluster_file_replace(c, CLUSTER_FENCED_FILE, span_str(line));
    return err == 0 ? cluster_files_sync(c) : err;
}

void cluster_fence(struct cluster *c, uint64_t index, const char *why)
{
    if (c->fenced)
        return;
    c->fenced = true;
    log_error(
        "cluster",
        "the state at index %llu differs from the other nodes': %s. This node is fenced, also when it is "
        "started "
        "again: it takes no mail; leave the others alone, keep its log, and let it join anew (the operations "
        "manual, 'States that differ')",
        (unsigned long long)index, why);
    int err = keep(c, index, why);
    if (err != 0)
        log_error("cluster", "%s: that cannot be kept for the next start: %s. Do not start this node again",
                  c->dir, err_text(err));
    cluster_fence_tick(c, clock_boot_ms());
    cluster_refresh(c);
}

void cluster_fence_load(struct cluster *c)
{
    char path[CLUSTER_PATH_MAX], line[300] = "";
    cluster_file_path(c, CLUSTER_FENCED_FILE, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return;
    ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
    line[n > 0 ? n : 0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    if (fd >= 0)
        close(fd);
    c->fenced = true;
    log_error(
        "cluster",
        "%s: %s. This node takes no mail until it has joined anew, or the file was deleted (the operations "
        "manual, 'States that differ')",
        path, line[0] != '\0' ? line : "fenced");
}

/* Who may lead instead: one that votes, answers and is not fenced itself. */
static uint64_t successor(struct cluster *c)
{
    struct gossip_peer_info peers[GOSSIP_PEERS_MAX];
    uint32_t n = gossip_peers(c->gossip, peers, GOSSIP_PEERS_MAX);
    for (uint32_t i = 0; i < n; i++) {
        struct directory_member mb;
        if (peers[i].health == GOSSIP_ALIVE && !peers[i].state.fenced &&
            directory_member_find(c->m, peers[i].node, &mb) && mb.role == COMMAND_ROLE_VOTER &&
            mb.state != COMMAND_MEMBER_REMOVED)
            return peers[i].node;
    }
    return 0;
}

void cluster_fence_tick(struct cluster *c, int64_t now)
{
    if (!c->fenced || c->role != REPLICA_LEADER || c->gossip == NULL ||
        (c->fence_ms != 0 && now - c->fence_ms < HAND_OVER_MS))
        return;
    uint64_t to = successor(c);
    if (to == 0) /* all are: then somebody must lead, so that operators can act */
        return;
    c->fence_ms = now;
    log_warn("cluster", "hands leadership over: a fenced node does not lead");
    (void)replica_transfer(c->replica, to, cluster_change_cb, c);
}
