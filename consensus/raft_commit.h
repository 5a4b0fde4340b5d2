/* A fault of libraft (0.22.1) that what it receives can be kept from. The raft thread. */
#ifndef CONSENSUS_RAFT_COMMIT_H
#define CONSENSUS_RAFT_COMMIT_H

#include <raft.h>

/* To be called with each message right before libraft gets it.
 *
 * A follower takes over the leader's commit index as far as the message itself reaches, even if it knew a
 * higher one: so a heartbeat that was overtaken, or one that looks for where the logs agree, can put its
 * commit index back behind what it has applied (raft never does: Ongaro's thesis, figure 3.1). A snapshot
 * that it takes then says that it is of the lower index, and after a restart entries are applied to a state
 * that has them already. */
void raft_commit_keep(const struct raft *raft, struct raft_message *msg);

#endif
