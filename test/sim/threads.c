/* Threads of simulated processes: see threads.h. */
#define SIM_STREAM SIM_STREAM_THREADS
#include "test/sim/threads.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <ucontext.h>

#define STACK_BYTES (512u << 10)
#define TURNS_MAX 100000  /* of one moment: more is a loop without end */
#define INTERRUPTED_OF 16 /* one lock in so many */
#define READY_MAX 64

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#elif defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

struct stack {
    struct list link; /* of those that are free */
    void *fiber;      /* a sanitizer's */
    char bytes[STACK_BYTES] __attribute__((aligned(64)));
};

struct thread {
    struct list link; /* of the process, in the order in which they began */
    struct sim_server *s;
    ucontext_t context;
    struct stack *stack;
    void (*fn)(void *arg);
    void *(*start)(void *arg);
    void *arg;
    const void *object; /* that it waits for */
    int64_t until_ns;
    bool ready, woken, done;
    uint32_t number, locks; /* locks: held */
    struct sim_server *memory;
    void *fake_stack; /* a sanitizer's */
};

static struct thread *now; /* NULL: the simulation itself */
static ucontext_t outside;
static struct list stacks; /* of threads that ended */

bool thread_is(void)
{
    return now != NULL;
}

/* ---- switching -----------------------------------------------------------------------------------------
 */

#if defined(__SANITIZE_ADDRESS__)
static const void *outside_stack;
static size_t outside_bytes;

/* NULL: to the simulation itself. */
static void leaving(void **fake, const struct thread *to)
{
    __sanitizer_start_switch_fiber(fake, to == NULL ? outside_stack : to->stack->bytes,
                                   to == NULL ? outside_bytes : STACK_BYTES);
}

static void arrived(void *fake, bool from_outside)
{
    __sanitizer_finish_switch_fiber(fake, from_outside ? &outside_stack : NULL,
                                    from_outside ? &outside_bytes : NULL);
}
#else
static void leaving(void **fake, const struct thread *to)
{
    (void)fake;
#if defined(__SANITIZE_THREAD__)
    static void *outside_fiber;
    if (to != NULL)
        outside_fiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(to == NULL ? outside_fiber : to->stack->fiber, 0);
#else
    (void)to;
#endif
}

static void arrived(void *fake, bool from_outside)
{
    (void)fake;
    (void)from_outside;
}
#endif

static void switch_to(struct thread *t)
{
    void *fake = NULL;
    server_at(t->s->i);
    now = t;
    (void)memory_enter(t->memory);
    leaving(&fake, t);
    ensure(swapcontext(&outside, &t->context) == 0);
    arrived(fake, false);
    t->memory = memory_enter(NULL);
    now = NULL;
}

static void switch_back(struct thread *t)
{
    leaving(t->done ? NULL : &t->fake_stack, NULL);
    ensure(swapcontext(&t->context, &outside) == 0);
    arrived(t->fake_stack, true);
}

bool thread_wait(const void *object, int64_t until_ns)
{
    struct thread *t = now;
    ensure(t != NULL);
    t->object = object;
    t->until_ns = until_ns;
    t->ready = t->woken = false;
    switch_back(t);
    t->object = NULL;
    return t->woken;
}

/* Others run first. */
static void interrupted(void)
{
    now->ready = true;
    switch_back(now);
}

static void entry(void)
{
    struct thread *t = now;
    arrived(NULL, true);
    if (t->start != NULL)
        (void)t->start(t->arg);
    else
        t->fn(t->arg);
    t->done = true;
    threads_wake(t->s, t);
    switch_back(t);
}

/* ---- threads -------------------------------------------------------------------------------------------
 */

static struct stack *stack_new(void)
{
    if (stacks.next == NULL)
        list_init(&stacks);
    struct list *used = list_pop_front(&stacks);
    if (used != NULL)
        return LIST_ITEM(used, struct stack, link);
    struct stack *k = mmap(NULL, sizeof *k, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ensure(k != MAP_FAILED);
#ifdef __SANITIZE_THREAD__
    k->fiber = __tsan_create_fiber(0);
#endif
    return k;
}

static void stack_free(struct stack *k)
{
#ifdef __SANITIZE_ADDRESS__
    ASAN_UNPOISON_MEMORY_REGION(k->bytes, sizeof k->bytes);
#endif
    list_push_back(&stacks, &k->link);
}

static struct thread *thread_new(struct sim_server *s)
{
    struct sim_server *was = memory_enter(NULL);
    struct thread *t = calloc(1, sizeof *t);
    ensure(t != NULL);
    (void)memory_enter(was);
    t->s = t->memory = s;
    t->stack = stack_new();
    t->number = ++sim.nthreads;
    t->ready = true;
    ensure(getcontext(&t->context) == 0);
    t->context.uc_stack.ss_sp = t->stack->bytes;
    t->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&t->context, entry, 0);
    list_push_back(&s->threads, &t->link);
    return t;
}

void threads_begin(struct sim_server *s, void (*fn)(void *arg), void *arg)
{
    struct thread *t = thread_new(s);
    t->fn = fn;
    t->arg = arg;
}

static void thread_free(struct thread *t)
{
    list_remove(&t->link);
    stack_free(t->stack);
    free(t);
}

void threads_drop(struct sim_server *s)
{
    ensure(now == NULL);
    while (!list_empty(&s->threads))
        thread_free(LIST_ITEM(list_first(&s->threads), struct thread, link));
}

bool threads_run(struct sim_server *s)
{
    struct thread *ready[READY_MAX];
    uint32_t turns = 0;
    for (uint32_t n;; turns++) {
        n = 0;
        LIST_EACH_SAFE(link, &s->threads)
        {
            struct thread *t = LIST_ITEM(link, struct thread, link);
            if (t->done)
                thread_free(t);
            else if ((t->ready || t->until_ns <= s->boot_ns) && n < READY_MAX)
                ready[n++] = t;
        }
        if (n == 0)
            return turns > 0;
        ensure(turns < TURNS_MAX);
        struct thread *t = ready[n == 1 ? 0 : sim_random(n)];
        sim_step(SIM_STEP_THREAD, s->i, t->number);
        switch_to(t);
    }
}

static void wake(struct thread *t)
{
    t->ready = t->woken = true;
    t->until_ns = INT64_MAX;
    t->object = NULL;
}

void threads_wake(struct sim_server *s, const void *object)
{
    LIST_EACH(link, &s->threads)
    {
        struct thread *t = LIST_ITEM(link, struct thread, link);
        if (t->object == object && object != NULL)
            wake(t);
    }
}

/* One of those that wait, any of them. */
static void wake_one(const void *object)
{
    struct thread *waits[READY_MAX];
    uint32_t n = 0;
    struct sim_server *s = server_here();
    if (s == NULL)
        return;
    LIST_EACH(link, &s->threads)
    {
        struct thread *t = LIST_ITEM(link, struct thread, link);
        if (t->object == object && n < READY_MAX)
            waits[n++] = t;
    }
    if (n > 0)
        wake(waits[n == 1 ? 0 : sim_random(n)]);
}

/* ---- what the code under test calls ----------------------------------------------------------------------
 *
 * A lock and a semaphore are a number at the beginning of their memory; of a condition only the address
 * counts.
 */

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_mutex_init(pthread_mutex_t *lock, const pthread_mutexattr_t *attr);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *lock);
int __wrap_pthread_mutex_lock(pthread_mutex_t *lock);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *lock);
int __wrap_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr);
int __wrap_pthread_cond_destroy(pthread_cond_t *cond);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until);
int __wrap_pthread_cond_signal(pthread_cond_t *cond);
int __wrap_pthread_cond_broadcast(pthread_cond_t *cond);
int __wrap_sem_init(sem_t *sem, int shared, unsigned value);
int __wrap_sem_destroy(sem_t *sem);
int __wrap_sem_wait(sem_t *sem);
int __wrap_sem_post(sem_t *sem);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);
ssize_t __wrap_getrandom(void *p, size_t n, unsigned flags);
int __wrap_clock_gettime(clockid_t id, struct timespec *out);
int __real_clock_gettime(clockid_t id, struct timespec *out);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    (void)attr;
    struct thread *t = thread_new(server_here());
    t->start = fn;
    t->arg = arg;
    *thread = (pthread_t)t;
    return 0;
}

/* Nobody joins a thread of a process that goes on: only one whose beginning failed does. */
int __wrap_pthread_join(pthread_t thread, void **result)
{
    (void)thread;
    (void)result;
    ensure_failed("a simulated process ends by being killed", __FILE__, __LINE__);
}

static uint32_t *number_of(void *p)
{
    return p;
}

int __wrap_pthread_mutex_init(pthread_mutex_t *lock, const pthread_mutexattr_t *attr)
{
    (void)attr;
    memset(lock, 0, sizeof *lock);
    return 0;
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *lock)
{
    (void)lock;
    return 0;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *lock)
{
    if (now != NULL && now->locks == 0 && sim_random(INTERRUPTED_OF) == 0)
        interrupted();
    while (*number_of(lock) != 0)
        (void)thread_wait(lock, INT64_MAX);
    *number_of(lock) = 1;
    if (now != NULL)
        now->locks++;
    return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *lock)
{
    ensure(*number_of(lock) == 1);
    *number_of(lock) = 0;
    if (now != NULL)
        now->locks--;
    wake_one(lock);
    return 0;
}

int __wrap_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr)
{
    (void)cond;
    (void)attr;
    return 0;
}

int __wrap_pthread_cond_destroy(pthread_cond_t *cond)
{
    (void)cond;
    return 0;
}

static bool cond_wait_ns(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_ns)
{
    __wrap_pthread_mutex_unlock(lock);
    bool woken = thread_wait(cond, until_ns);
    __wrap_pthread_mutex_lock(lock);
    return woken;
}

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock)
{
    (void)cond_wait_ns(cond, lock, INT64_MAX);
    return 0;
}

static int64_t ns_of(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until)
{
    return cond_wait_ns(cond, lock, ns_of(until)) ? 0 : ETIMEDOUT;
}

int __wrap_pthread_cond_signal(pthread_cond_t *cond)
{
    wake_one(cond);
    return 0;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *cond)
{
    if (server_here() != NULL)
        threads_wake(server_here(), cond);
    return 0;
}

int __wrap_sem_init(sem_t *sem, int shared, unsigned value)
{
    (void)shared;
    memset(sem, 0, sizeof *sem);
    *number_of(sem) = value;
    return 0;
}

int __wrap_sem_destroy(sem_t *sem)
{
    (void)sem;
    return 0;
}

int __wrap_sem_wait(sem_t *sem)
{
    while (*number_of(sem) == 0)
        (void)thread_wait(sem, INT64_MAX);
    --*number_of(sem);
    return 0;
}

int __wrap_sem_post(sem_t *sem)
{
    ++*number_of(sem);
    wake_one(sem);
    return 0;
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)left;
    (void)thread_wait(NULL, server_here()->boot_ns + ns_of(time));
    return 0;
}

ssize_t __wrap_getrandom(void *p, size_t n, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)p)[i] = (uint8_t)sim_random(256);
    return (ssize_t)n;
}

/* Between runs it is the real one: how long they took is of interest. */
int __wrap_clock_gettime(clockid_t id, struct timespec *out)
{
    const struct sim_server *s = server_here();
    if (s == NULL)
        return __real_clock_gettime(id, out);
    int64_t ns = id == CLOCK_REALTIME ? s->wall_ns : s->boot_ns;
    *out = (struct timespec){ .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
    return 0;
}
