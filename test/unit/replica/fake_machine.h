/* A machine for tests of the shell around libraft: its state is a hash over the entries that it was given,
 * and as many bytes as a test wants a snapshot to have. */
#ifndef TEST_REPLICA_FAKE_MACHINE_H
#define TEST_REPLICA_FAKE_MACHINE_H

#include "consensus/machine.h"

uint64_t fake_machine_hash(const struct machine *m);
uint64_t fake_machine_commands(const struct machine *m);
/* Bytes that a snapshot has besides. */
void fake_machine_set_bulk(struct machine *m, uint64_t bytes);
/* While held, a snapshot makes no progress. Any thread. */
void fake_machine_hold(struct machine *m, bool hold);
/* Entries from this index on cannot be applied. */
void fake_machine_fail_from(struct machine *m, uint64_t index);

#endif
