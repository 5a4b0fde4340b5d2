/* A cluster in miniature: three nodes with clocks that are wrong by up to 0.5 %, a leader that changes,
 * messages that are late, lost and repeated, processes that die. The nodes take all that they can get and
 * spend it when it hurts most. Every spent token is written down with the real time, and the windows are
 * counted by somebody who knows nothing of buckets. In every other run part of the mail is of a stream with
 * limits of its own, and in half of all a rule slows who sends much, by what nodes tell the cluster.
 */
#ifndef TEST_MACHINE_SIM_H
#define TEST_MACHINE_SIM_H

#include <stdbool.h>
#include <stdint.h>

enum sim_fault { /* what is built wrong, on the nodes' or the leader's side */
                 SIM_RIGHT,
                 SIM_SPENDS_AFTER_LIFE, /* a node counts a token's life from the answer */
                 SIM_TIME_JUMPS,        /* a new leader's time begins where a wall clock would put it */
};
struct sim_result {
    uint64_t spent, grants, refusals, returns, crashes, leaders, snapshots;
    uint64_t streamed;       /* of what was spent: mail of a stream */
    uint64_t slowed, slowly; /* senders whom the rule slowed, and what they spent then */
    uint64_t over;           /* windows with more than their limit */
    uint64_t early,
        late; /* a rule's slowing that ended before its time, came again for the same mail, or did not end */
};
/* One run. Also: the machine's own books, a replay of its log, and snapshots taken during the load, restored
 * and brought up to date, agree with it (cmocka's asserts). */
void sim_run(uint64_t seed, enum sim_fault fault, struct sim_result *out);

#endif
