/* Figures of a replica. What is on disk is measured by reading the directory, at most every two seconds. */
#include "consensus/replica_impl.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MEASURE_MS 2000

static void measure(struct replica *r)
{
    int64_t now = replica_mono_ms();
    if (r->measured_ms != 0 && now - r->measured_ms < MEASURE_MS)
        return;
    DIR *dir = opendir(r->dir);
    if (dir == NULL)
        return;
    uint64_t log = 0, snapshots = 0;
    const struct dirent *e;
    while ((e = readdir(dir)) != NULL) {
        struct stat st;
        if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
            continue;
        uint64_t bytes = (uint64_t)st.st_blocks * 512;
        if (strncmp(e->d_name, "snapshot-", 9) == 0)
            snapshots += bytes;
        else
            log += bytes;
    }
    (void)closedir(dir);
    r->log_bytes = log;
    r->snapshot_disk_bytes = snapshots;
    r->measured_ms = now;
}

static int64_t heard_ms(const struct replica *r, uint64_t id, int64_t now)
{
    for (size_t i = 0; i < REPLICA_SERVERS_MAX; i++)
        if (r->peers[i].id == id && id != 0)
            return r->peers[i].heard_ms < 0 ? -1 : now - r->peers[i].heard_ms;
    return -1;
}

/* A leader hears itself; with the k-th freshest voter it has a majority. */
static int64_t majority_ms(const struct replica_stats *s)
{
    int64_t ages[REPLICA_SERVERS_MAX];
    uint32_t n = 0, voters = 0;
    for (uint32_t i = 0; i < s->nservers; i++) {
        if (s->servers[i].vote != REPLICA_VOTER)
            continue;
        voters++;
        int64_t age = s->servers[i].id == s->id ? 0 : s->servers[i].contact_ms;
        if (age < 0)
            continue;
        uint32_t at = n++;
        for (; at > 0 && ages[at - 1] > age; at--)
            ages[at] = ages[at - 1];
        ages[at] = age;
    }
    uint32_t need = voters / 2 + 1;
    return n >= need ? ages[need - 1] : -1;
}

static void servers(struct replica *r, struct replica_stats *out, int64_t now)
{
    const struct raft_configuration *conf = &r->raft.configuration;
    bool leader = raft_state(&r->raft) == RAFT_LEADER;
    for (unsigned i = 0; i < conf->n && out->nservers < REPLICA_SERVERS_MAX; i++) {
        struct replica_server *s = &out->servers[out->nservers++];
        s->id = conf->servers[i].id;
        (void)snprintf(s->address, sizeof s->address, "%s", conf->servers[i].address);
        s->vote = conf->servers[i].role == RAFT_VOTER     ? REPLICA_VOTER
                  : conf->servers[i].role == RAFT_STANDBY ? REPLICA_STANDBY
                                                          : REPLICA_SPARE;
        raft_index match = 0;
        if (leader && raft_match_index(&r->raft, conf->servers[i].id, &match) == 0)
            s->match = match;
        s->contact_ms = !leader ? -1 : s->id == r->config.id ? 0 : heard_ms(r, s->id, now);
    }
}

void replica_stats(struct replica *r, struct replica_stats *out)
{
    *out = (struct replica_stats){
        .role = r->role, .ready = r->ready, .id = r->config.id, .leader = r->leader, .failed = r->failed
    };
    out->snapshots_taken = r->taken;
    out->snapshots_installed = r->installed;
    out->snapshot_index = r->snapshot_index;
    out->elections = r->elections;
    out->proposals_refused = r->refused;
    out->entries = r->entries;
    out->commands = r->commands;
    out->in_flight = r->in_flight;
    out->quorum_ms = -1;
    if (r->closing >= REPLICA_CLOSE_RAFT)
        return;
    measure(r);
    out->log_bytes = r->log_bytes;
    out->snapshot_bytes_on_disk = r->snapshot_disk_bytes;
    out->term =
        r->role_term; /* not libraft's: it may have gone on since, and then `leader` did not lead it */
    out->applied = raft_last_applied(&r->raft);
    out->committed = raft_commit_index(&r->raft);
    out->last = raft_last_index(&r->raft);
    int64_t now = replica_mono_ms();
    servers(r, out, now);
    out->quorum_ms = raft_state(&r->raft) == RAFT_LEADER ? majority_ms(out) : heard_ms(r, r->leader, now);
}
