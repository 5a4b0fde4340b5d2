/* The threads for long work: their priority, the bound of what waits, and the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/auth/pool.h"

#include "base/err.h"

#include <semaphore.h>
#include <sys/resource.h>

struct job {
    struct auth_job job;
    sem_t *begun, *go_on, *done;
    int nice, stopping;
};

static void run(struct auth_job *job, int stopping)
{
    struct job *j = LIST_ITEM(job, struct job, job);
    j->stopping = stopping;
    j->nice = getpriority(PRIO_PROCESS, 0);
    if (!stopping) {
        sem_post(j->begun);
        sem_wait(j->go_on);
    }
    sem_post(j->done);
}

/* One thread: the first job keeps it, two wait, and a fourth is one too many. */
static void test_bound_and_end(void **state)
{
    (void)state;
    sem_t begun, go_on, done;
    sem_init(&begun, 0, 0);
    sem_init(&go_on, 0, 0);
    sem_init(&done, 0, 0);
    struct job jobs[4];
    for (int i = 0; i < 4; i++)
        jobs[i] = (struct job){ .job.run = run, .begun = &begun, .go_on = &go_on, .done = &done };
    struct auth_pool *p;
    assert_int_equal(auth_pool_start(1, 2, &p), 0);
    assert_int_equal(auth_pool_push(p, &jobs[0].job), 0);
    sem_wait(&begun);
    assert_int_equal(auth_pool_push(p, &jobs[1].job), 0);
    assert_int_equal(auth_pool_push(p, &jobs[2].job), 0);
    assert_int_equal(auth_pool_push(p, &jobs[3].job), ERR_LIMIT);
    sem_post(&go_on);
    sem_wait(&begun); /* the second has it */
    assert_int_equal(jobs[0].stopping, 0);
    sem_post(&go_on);
    sem_post(&go_on);
    for (int i = 0; i < 3; i++)
        sem_wait(&done);
    auth_pool_stop(p);
    assert_int_equal(sem_trywait(&done), -1); /* none was run twice, and the fourth never */
    sem_destroy(&begun);
    sem_destroy(&go_on);
    sem_destroy(&done);
}

/* Who answers clients goes before them; the thread that starts them keeps its own priority. */
static void test_gives_way(void **state)
{
    (void)state;
    sem_t begun, go_on, done;
    sem_init(&begun, 0, 0);
    sem_init(&go_on, 0, 1);
    sem_init(&done, 0, 0);
    int own = getpriority(PRIO_PROCESS, 0);
    struct job job = { .job.run = run, .begun = &begun, .go_on = &go_on, .done = &done };
    struct auth_pool *p;
    assert_int_equal(auth_pool_start(1, 2, &p), 0);
    assert_int_equal(auth_pool_push(p, &job.job), 0);
    sem_wait(&done);
    auth_pool_stop(p);
    assert_true(job.nice > own || own >= 10);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), own);
    sem_destroy(&begun);
    sem_destroy(&go_on);
    sem_destroy(&done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bound_and_end),
        cmocka_unit_test(test_gives_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
