/* Condition variables whose waits end by CLOCK_MONOTONIC: setting the wall clock neither prolongs nor cuts
 * one. Any thread. */
#ifndef BASE_COND_H
#define BASE_COND_H

#include <pthread.h>
#include <stdint.h>

/* pthread_cond_destroy undoes it. */
void cond_init(pthread_cond_t *cond);
/* The lock is held before and after. 0: woken, perhaps for nothing; ETIMEDOUT: clock_mono_ns() is past
 * until_ns. */
int cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_ns);

#endif
