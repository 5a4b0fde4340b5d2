/* The commit index never goes back: raft_commit.h. */
#include "consensus/raft_commit.h"

void raft_commit_keep(const struct raft *raft, struct raft_message *msg)
{
    if (msg->type != RAFT_APPEND_ENTRIES)
        return;
    struct raft_append_entries *a = &msg->append_entries;
    raft_index known = raft_commit_index(raft);
    if (a->leader_commit > known && a->prev_log_index + a->n_entries < known)
        a->leader_commit = known;
}
