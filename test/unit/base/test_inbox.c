/* base/inbox: many threads push into one loop: nothing lost, each thread's order kept, the bound obeyed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/inbox.h"

#include <stdlib.h>
#include <unistd.h>

#define THREADS 4
#define EACH 5000

struct note {
    struct inbox_msg msg;
    unsigned thread, n;
};

struct receiver {
    uv_loop_t loop;
    struct inbox inbox;
    unsigned next[THREADS];
    unsigned got, want;
    bool in_order;
};

static void receive(void *ctx, struct inbox_msg *msg)
{
    struct receiver *r = ctx;
    struct note *note = LIST_ITEM(msg, struct note, msg);
    if (note->n != r->next[note->thread]++)
        r->in_order = false;
    free(note);
    if (++r->got == r->want)
        inbox_close(&r->inbox, NULL);
}

static void receiver_init(struct receiver *r, uint32_t max, unsigned want)
{
    *r = (struct receiver){ .want = want, .in_order = true };
    assert_int_equal(uv_loop_init(&r->loop), 0);
    assert_int_equal(inbox_init(&r->inbox, &r->loop, max, receive, r), 0);
}

static void receiver_fini(struct receiver *r)
{
    assert_int_equal(uv_loop_close(&r->loop), 0);
    inbox_fini(&r->inbox);
}

static struct note *note_new(unsigned thread, unsigned n)
{
    struct note *note = calloc(1, sizeof *note);
    if (note == NULL)
        abort();
    note->thread = thread;
    note->n = n;
    return note;
}

struct pusher {
    struct receiver *to;
    unsigned thread;
    unsigned refused;
};

/* A refused push is tried again: the message is still ours. */
static void push_all(void *arg)
{
    struct pusher *p = arg;
    for (unsigned i = 0; i < EACH; i++) {
        struct note *note = note_new(p->thread, i);
        while (inbox_push(&p->to->inbox, &note->msg) != 0) {
            p->refused++;
            usleep(10);
        }
    }
}

static void answer_all(void *arg)
{
    struct pusher *p = arg;
    for (unsigned i = 0; i < EACH;) {
        struct list batch;
        list_init(&batch);
        unsigned count = 0;
        for (; count < 1 + i % 7 && i < EACH; count++, i++)
            list_push_back(&batch, &note_new(p->thread, i)->msg.link);
        inbox_answer_all(&p->to->inbox, &batch, count);
        if (!list_empty(&batch))
            abort();
    }
}

static void run_threads(uint32_t max, void (*body)(void *arg))
{
    static struct receiver r;
    receiver_init(&r, max, THREADS * EACH);
    uv_thread_t threads[THREADS];
    struct pusher pushers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        pushers[i] = (struct pusher){ .to = &r, .thread = i };
        assert_int_equal(uv_thread_create(&threads[i], body, &pushers[i]), 0);
    }
    uv_run(&r.loop, UV_RUN_DEFAULT);
    for (unsigned i = 0; i < THREADS; i++)
        uv_thread_join(&threads[i]);
    assert_int_equal(r.got, THREADS * EACH);
    assert_true(r.in_order);
    receiver_fini(&r);
}

static void test_threads_push(void **state)
{
    (void)state;
    run_threads(1u << 20, push_all);
}

static void test_threads_push_into_a_small_inbox(void **state)
{
    (void)state;
    run_threads(3, push_all);
}

static void test_threads_answer_in_batches(void **state)
{
    (void)state;
    run_threads(1, answer_all); /* answers are never refused */
}

static void test_bound(void **state)
{
    (void)state;
    struct receiver r;
    receiver_init(&r, 2, 3);
    struct note *notes[3];
    for (unsigned i = 0; i < 3; i++)
        notes[i] = note_new(0, i);
    assert_int_equal(inbox_push(&r.inbox, &notes[0]->msg), 0);
    assert_int_equal(inbox_push(&r.inbox, &notes[1]->msg), 0);
    assert_int_equal(inbox_push(&r.inbox, &notes[2]->msg), ERR_LIMIT);
    inbox_answer(&r.inbox, &notes[2]->msg);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    assert_int_equal(r.got, 3);
    assert_true(r.in_order);
    receiver_fini(&r);
}

static void test_close_hands_over_the_unread(void **state)
{
    (void)state;
    struct receiver r;
    receiver_init(&r, 10, 100);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(inbox_push(&r.inbox, &note_new(0, i)->msg), 0);
    inbox_close(&r.inbox, NULL);
    assert_int_equal(r.got, 5);
    assert_true(r.in_order);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    assert_int_equal(r.got, 5);
    receiver_fini(&r);
}

static void test_empty_batch(void **state)
{
    (void)state;
    struct receiver r;
    receiver_init(&r, 10, 1);
    struct list none;
    list_init(&none);
    inbox_answer_all(&r.inbox, &none, 0);
    assert_int_equal(inbox_push(&r.inbox, &note_new(0, 0)->msg), 0);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    assert_int_equal(r.got, 1);
    receiver_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_push),
        cmocka_unit_test(test_threads_push_into_a_small_inbox),
        cmocka_unit_test(test_threads_answer_in_batches),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_close_hands_over_the_unread),
        cmocka_unit_test(test_empty_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
