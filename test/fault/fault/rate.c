/* A machine whose clocks all run a little too fast or too slow, for one process: preloaded, FAULT_RATE=1.004.
 * libfaketime does that for the wall clock only without waits that never end. All clocks are right at
 * FAULT_RATE_ORIGIN, which is a moment of CLOCK_MONOTONIC in nanoseconds. Waits for a moment of the monotonic
 * clock are put right for the kernel. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static double rate = 1.0;
static long long origin_ns;

__attribute__((constructor)) static void read_environment(void)
{
    const char *r = getenv("FAULT_RATE"), *o = getenv("FAULT_RATE_ORIGIN");
    if (r != NULL && o != NULL) {
        rate = atof(r);
        origin_ns = atoll(o);
    }
}

static long long true_ns(clockid_t clock)
{
    struct timespec t;
    syscall(SYS_clock_gettime, clock, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static int is_shown_right(clockid_t clock)
{
    return clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID || clock < 0;
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    long rc = syscall(SYS_clock_gettime, clock, t);
    if (rc != 0 || is_shown_right(clock))
        return (int)rc;
    long long ahead = (long long)((double)(true_ns(CLOCK_MONOTONIC) - origin_ns) * (rate - 1.0));
    long long shown = t->tv_sec * SECOND + t->tv_nsec + ahead;
    t->tv_sec = shown / SECOND;
    t->tv_nsec = shown % SECOND;
    return 0;
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until)
{
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (real == NULL)
        *(void **)&real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    long long shown = until->tv_sec * SECOND + until->tv_nsec;
    long long right = origin_ns + (long long)((double)(shown - origin_ns) / rate);
    struct timespec t = { .tv_sec = right / SECOND, .tv_nsec = right % SECOND };
    return real(cond, lock, &t);
}
