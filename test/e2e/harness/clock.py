"""Wall clocks that are wrong: a library put before libc's, made on the spot. CLOCK_BOOTTIME and CLOCK_MONOTONIC stay."""
import os
import subprocess

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long long ahead(void)
{
    static long long s;
    static int known;
    if (!known) {
        const char *text = getenv("CLOCK_AHEAD_S");
        s = text == NULL ? 0 : atoll(text);
        known = 1;
    }
    return s;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int r = real(id, t);
    if (r == 0 && id == CLOCK_REALTIME)
        t->tv_sec += ahead();
    return r;
}

time_t time(time_t *out)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out != NULL)
        *out = t.tv_sec;
    return t.tv_sec;
}

int gettimeofday(struct timeval *tv, void *tz)
{
    struct timespec t;
    (void)tz;
    clock_gettime(CLOCK_REALTIME, &t);
    tv->tv_sec = t.tv_sec;
    tv->tv_usec = t.tv_nsec / 1000;
    return 0;
}

/* The kernel waits by the right clock: moments of the wrong one are put right, those of the other clocks, small
 * numbers, stay. */
int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until)
{
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (real == NULL)
        *(void **)&real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    struct timespec t = *until;
    if (t.tv_sec > 1000000000)
        t.tv_sec -= ahead();
    return real(cond, lock, &t);
}
"""


def library(folder):
    source, made = folder / "clock.c", folder / "clock.so"
    source.write_text(SOURCE)
    subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], check=True)
    return made


def set_ahead(node, made, days=0.0, seconds=0):
    """From the node's next start on, its wall clock is so far ahead; behind, when negative."""
    ahead = round(days * 86400 + seconds)
    node.wrapper = ["env", f"LD_PRELOAD={made}", f"CLOCK_AHEAD_S={ahead}"] if ahead else []
