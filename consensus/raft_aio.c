/* The contexts of Linux's asynchronous I/O that libraft writes its log with. It makes one for each segment
 * and destroys it with the segment, on the loop, where the kernel waits tens of milliseconds until no
 * processor can see the context any more. So contexts are kept and used again: the linker (--wrap,
 * raft.cmake) puts these functions in the place of libraft's own.
 *
 * Only a context with no write under way is kept. Of another the destruction is waited for, since libraft
 * then frees what is being written.
 */
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define KEPT_MAX 64 /* contexts, in use or not; over it, they are made and destroyed as ever */

/* The names that --wrap gives them. */
int __wrap_io_setup(unsigned n, aio_context_t *ctx);
int __wrap_io_destroy(aio_context_t ctx);
int __wrap_io_submit(aio_context_t ctx, long n, struct iocb **what);
int __wrap_io_getevents(aio_context_t ctx, long min, long n, struct io_event *events,
                        struct timespec *timeout);

struct context {
    aio_context_t ctx; /* 0: this place is free */
    unsigned n;        /* events that it was made for */
    long under_way;    /* submitted, and the event not yet read */
    bool idle;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct context contexts[KEPT_MAX];

static struct context *find(aio_context_t ctx)
{
    for (size_t i = 0; i < KEPT_MAX; i++)
        if (contexts[i].ctx == ctx)
            return &contexts[i];
    return NULL;
}

static void under_way(aio_context_t ctx, long change)
{
    pthread_mutex_lock(&lock);
    struct context *c = find(ctx);
    if (c != NULL)
        c->under_way += change;
    pthread_mutex_unlock(&lock);
}

int __wrap_io_setup(unsigned n, aio_context_t *ctx)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < KEPT_MAX; i++) {
        struct context *c = &contexts[i];
        if (c->ctx != 0 && c->idle && c->n == n) {
            c->idle = false;
            *ctx = c->ctx;
            pthread_mutex_unlock(&lock);
            return 0;
        }
    }
    int rv = (int)syscall(SYS_io_setup, n, ctx);
    struct context *unused = rv == 0 ? find(0) : NULL;
    if (unused != NULL)
        *unused = (struct context){ .ctx = *ctx, .n = n };
    pthread_mutex_unlock(&lock);
    return rv;
}

int __wrap_io_destroy(aio_context_t ctx)
{
    pthread_mutex_lock(&lock);
    struct context *c = find(ctx);
    bool keep = c != NULL && c->under_way == 0;
    if (keep)
        c->idle = true;
    else if (c != NULL)
        *c = (struct context){ 0 };
    pthread_mutex_unlock(&lock);
    return keep ? 0 : (int)syscall(SYS_io_destroy, ctx);
}

int __wrap_io_submit(aio_context_t ctx, long n, struct iocb **what)
{
    under_way(ctx, n); /* before it is: another thread may read its event at once */
    int rv = (int)syscall(SYS_io_submit, ctx, n, what);
    if (rv != n)
        under_way(ctx, (rv > 0 ? rv : 0) - n);
    return rv;
}

int __wrap_io_getevents(aio_context_t ctx, long min, long n, struct io_event *events,
                        struct timespec *timeout)
{
    int rv = (int)syscall(SYS_io_getevents, ctx, min, n, events, timeout);
    if (rv > 0)
        under_way(ctx, -rv);
    return rv;
}
