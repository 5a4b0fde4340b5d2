/* Threads for work that blocks or takes long, with a bounded queue. */
#include "node/auth/pool.h"

#include "base/err.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>

#define THREADS_MAX 64

/* A signature or a password's hash keeps a processor for a millisecond and more. Where there are few
 * processors, those who wait for a worker's reply would wait for that, too: the workers go first. */
#define THREAD_NICE 10

struct auth_pool {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct list queue; /* under lock */
    uint32_t len;      /* under lock */
    bool stopping;     /* under lock */
    uint32_t max;
    uint32_t nthreads;
    pthread_t threads[THREADS_MAX];
};

static void *run(void *arg)
{
    struct auth_pool *p = arg;
    (void)setpriority(PRIO_PROCESS, 0,
                      THREAD_NICE); /* of this thread; always allowed, or it is lower already */
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stopping && list_empty(&p->queue))
            pthread_cond_wait(&p->more, &p->lock);
        if (p->stopping)
            break;
        struct auth_job *job = LIST_ITEM(list_pop_front(&p->queue), struct auth_job, link);
        p->len--;
        pthread_mutex_unlock(&p->lock);
        job->run(job, 0);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int auth_pool_start(uint32_t threads, uint32_t max, struct auth_pool **out)
{
    struct auth_pool *p = calloc(1, sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->more, NULL);
    list_init(&p->queue);
    p->max = max;
    int err = 0;
    while (err == 0 && p->nthreads < threads && p->nthreads < THREADS_MAX) {
        err = -pthread_create(&p->threads[p->nthreads], NULL, run, p);
        p->nthreads += err == 0;
    }
    if (p->nthreads == 0) {
        auth_pool_stop(p);
        return err;
    }
    *out = p; /* fewer threads than wanted still work */
    return 0;
}

void auth_pool_stop(struct auth_pool *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->more);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->nthreads; i++)
        pthread_join(p->threads[i], NULL);
    struct list *link;
    while ((link = list_pop_front(&p->queue)) != NULL) {
        struct auth_job *job = LIST_ITEM(link, struct auth_job, link);
        job->run(job, 1);
    }
    pthread_cond_destroy(&p->more);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

int auth_pool_push(struct auth_pool *p, struct auth_job *job)
{
    pthread_mutex_lock(&p->lock);
    bool room = p->len < p->max && !p->stopping;
    if (room) {
        list_push_back(&p->queue, &job->link);
        p->len++;
        pthread_cond_signal(&p->more);
    }
    pthread_mutex_unlock(&p->lock);
    return room ? 0 : ERR_LIMIT;
}
