/* Threads of a simulated process. The code under test makes threads, locks, waits and reads clocks as ever;
 * here these calls (wrapped by the linker) are coroutines' on the simulation's one thread, which it runs in
 * an order from the seed, in the process's own time. A thread is interrupted where it waits, and now and then
 * before it takes a lock. When the process is killed its threads stop where they are, and its memory is gone.
 */
#ifndef TEST_SIM_THREADS_H
#define TEST_SIM_THREADS_H

#include "test/sim/sim.h"

struct thread;

/* A process's thread; its memory is the process's. */
void threads_begin(struct sim_server *s, void (*fn)(void *arg), void *arg);
/* Runs all that can run. True: something ran. */
bool threads_run(struct sim_server *s);
/* The process was killed: they are no more. */
void threads_drop(struct sim_server *s);

/* On such a thread: waits for a wake of `object`, until the process's CLOCK_BOOTTIME is `until_ns`. True:
 * woken. */
bool thread_wait(const void *object, int64_t until_ns);
/* Wakes all of the process that wait for it. */
void threads_wake(struct sim_server *s, const void *object);
bool thread_is(void); /* on such a thread? else on the simulation's own */

/* Whose what is allocated from now on is: a process's, which loses it, or NULL: the simulation's. Returns
 * whose it was, to be put back. */
struct sim_server *memory_enter(struct sim_server *s);
void memory_drop(struct sim_server *s);

#endif
