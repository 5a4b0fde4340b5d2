/* The thread that asks filters, with filters that do as they should, and others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "node/content/milter.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum manner {
    KIND,
    ONE_EACH,  /* closes after a message */
    OLD,       /* of a version that knows of one message a connection only */
    MUTE,
    GARBAGE,
    UNWILLING, /* closes instead of negotiating */
    SLOW,      /* says that it needs longer, for ever */
    PATIENT,   /* ... for three seconds */
    LEAVES     /* in the middle of a message */
};

struct fake {
    int fd;
    pthread_t thread;
    enum manner manner;
    atomic_bool stop;
    atomic_uint connections, messages, at_once, most;
    struct policy_milter conf;
    char path[100];
};

struct served {
    struct fake *f;
    int fd;
};

static bool get(struct fake *f, int fd, char *to, size_t n)
{
    for (size_t at = 0; at < n;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (atomic_load(&f->stop))
            return false;
        if (poll(&p, 1, 20) == 0)
            continue;
        ssize_t got = read(fd, to + at, n - at);
        if (got <= 0)
            return false;
        at += (size_t)got;
    }
    return true;
}

static void put(int fd, const char *p, size_t n)
{
    (void)!send(fd, p, n, MSG_NOSIGNAL);
}

#define SAY(fd, s) put(fd, "" s, sizeof(s) - 1)

static void last(struct fake *f, int fd)
{
    for (unsigned i = 0; f->manner == SLOW || (f->manner == PATIENT && i < 30); i++) {
        SAY(fd, "\0\0\0\1p");
        usleep(100000);
        if (atomic_load(&f->stop))
            return;
    }
    atomic_fetch_add(&f->messages, 1);
    SAY(fd, "\0\0\0\7hX-A\0b\0\0\0\0\1c");
}

static bool answer(struct fake *f, int fd, char command)
{
    switch (command) {
    case 'O':
        if (f->manner == UNWILLING)
            return false;
        if (f->manner == GARBAGE)
            SAY(fd, "220 mx.example.com ESMTP\r\n");
        else if (f->manner == OLD)
            SAY(fd, "\0\0\0\15O\0\0\0\2\0\0\0\1\0\0\0\0");
        else if (f->manner != MUTE)
            SAY(fd, "\0\0\0\15O\0\0\0\6\0\0\0\1\0\0\0\0");
        return true;
    case 'E':
        last(f, fd);
        return true;
    case 'L':
        if (f->manner == LEAVES)
            return false;
        SAY(fd, "\0\0\0\1c");
        return true;
    case 'K':
        return f->manner != ONE_EACH;
    case 'D':
    case 'Q':
        return true;
    default:
        SAY(fd, "\0\0\0\1c");
        return true;
    }
}

static void *serve_one(void *arg)
{
    struct served s = *(struct served *)arg;
    static _Thread_local char data[MILTER_DATA_MAX + 1];
    char head[4];
    free(arg);
    unsigned now = atomic_fetch_add(&s.f->at_once, 1) + 1, most = atomic_load(&s.f->most);
    while (now > most && !atomic_compare_exchange_weak(&s.f->most, &most, now))
        ;
    while (get(s.f, s.fd, head, 4)) {
        size_t n = (size_t)(unsigned char)head[1] << 16 | (size_t)(unsigned char)head[2] << 8 | (unsigned char)head[3];
        if (n == 0 || n > sizeof data || !get(s.f, s.fd, data, n) || !answer(s.f, s.fd, data[0]))
            break;
    }
    atomic_fetch_sub(&s.f->at_once, 1);
    close(s.fd);
    return NULL;
}

static void *serve(void *arg)
{
    struct fake *f = arg;
    pthread_t threads[300];
    unsigned n = 0;
    while (!atomic_load(&f->stop)) {
        struct pollfd p = { .fd = f->fd, .events = POLLIN };
        if (poll(&p, 1, 20) <= 0 || n == 300)
            continue;
        struct served *s = malloc(sizeof *s);
        assert_non_null(s);
        *s = (struct served){ f, accept(f->fd, NULL, NULL) };
        atomic_fetch_add(&f->connections, 1);
        assert_int_equal(pthread_create(&threads[n++], NULL, serve_one, s), 0);
    }
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    return NULL;
}

static struct fake *fake_new(enum manner manner, bool here)
{
    static unsigned number;
    struct fake *f = calloc(1, sizeof *f);
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    socklen_t len = sizeof in;
    assert_non_null(f);
    f->manner = manner;
    f->fd = socket(here ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    f->conf = (struct policy_milter){ .timeout_ms = 20000 };
    if (here) {
        snprintf(f->path, sizeof f->path, "/tmp/milter_test.%d.%u", (int)getpid(), number++);
        snprintf(un.sun_path, sizeof un.sun_path, "%s", f->path);
        assert_int_equal(bind(f->fd, (struct sockaddr *)&un, sizeof un), 0);
        snprintf(f->conf.socket, sizeof f->conf.socket, "unix:%s", f->path);
    } else {
        assert_int_equal(bind(f->fd, (struct sockaddr *)&in, sizeof in), 0);
        assert_int_equal(getsockname(f->fd, (struct sockaddr *)&in, &len), 0);
        snprintf(f->conf.socket, sizeof f->conf.socket, "inet:127.0.0.1:%u", ntohs(in.sin_port));
    }
    assert_int_equal(listen(f->fd, 128), 0);
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
    return f;
}

static void fake_free(struct fake *f)
{
    atomic_store(&f->stop, true);
    pthread_join(f->thread, NULL);
    close(f->fd);
    if (f->path[0] != '\0')
        unlink(f->path);
    free(f);
}

struct question {
    struct milter_job job; /* first */
    struct milter_fields fields;
    struct buf script;
    atomic_uint done;
};

static void done_cb(struct milter_job *job)
{
    atomic_fetch_add(&((struct question *)job)->done, 1);
}

static void fill(struct question *q, const struct policy_milter *conf)
{
    struct milter_about about = { .ip = SPAN_LIT("192.0.2.1"), .helo = SPAN_LIT("x") };
    memset(q, 0, sizeof *q);
    buf_init(&q->script, MILTER_SCRIPT_MAX);
    assert_int_equal(milter_script_begin(&q->script, &about), 0);
    assert_int_equal(milter_script_rcpt(&q->script, SPAN_LIT("bob@example.net")), 0);
    assert_int_equal(milter_script_end(&q->script), 0);
    assert_int_equal(milter_fields_read(&q->fields, SPAN_LIT("Subject: x\r\n\r\n")), 0);
    q->job.conf = conf;
    q->job.checks = 2;
    q->job.message = (struct milter_message){ buf_span(&q->script), &q->fields, SPAN_LIT("hello\r\n") };
    q->job.done = done_cb;
}

static void drop(struct question *q)
{
    buf_fini(&q->script);
    milter_fields_fini(&q->fields);
}

static void wait_for(struct question *q)
{
    for (unsigned i = 0; i < 30000 && atomic_load(&q->done) == 0; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&q->done), 1);
}

/* Whether it was answered, and if not, why. */
static bool ask(struct milters *m, const struct policy_milter *conf, char why[200])
{
    struct question q;
    fill(&q, conf);
    assert_int_equal(milters_ask(m, &q.job), 0);
    wait_for(&q);
    snprintf(why, 200, "%s", q.job.why);
    bool answered = q.job.answered;
    if (answered)
        assert_true(q.job.answer.verdict == MILTER_ACCEPTED && q.fields.changes == 1);
    drop(&q);
    return answered;
}

static struct milters *begin(void)
{
    struct milters *m;
    assert_int_equal(milters_start(&m), 0);
    return m;
}

static void test_answers(void **state)
{
    (void)state;
    const struct {
        enum manner manner;
        bool here;
        unsigned connections, messages;
    } t[] = { { KIND, false, 1, 8 },
              { KIND, true, 1, 8 },
              { ONE_EACH, false, 8, 8 },
              { OLD, true, 8, 8 },
              { PATIENT, false, 1, 1 } };
    char why[200];
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct milters *m = begin();
        struct fake *f = fake_new(t[i].manner, t[i].here);
        struct server_told told;
        f->conf.timeout_ms = t[i].manner == PATIENT ? 2000 : 20000;
        for (unsigned k = 0; k < t[i].messages; k++)
            assert_true(ask(m, &f->conf, why));
        assert_int_equal(atomic_load(&f->messages), t[i].messages);
        assert_int_equal(atomic_load(&f->connections), t[i].connections);
        milters_tell(m, f->conf.socket, &told);
        assert_false(told.down);
        milters_stop(m);
        fake_free(f);
    }
}

static void test_a_name(void **state)
{
    (void)state;
    struct milters *m = begin();
    struct fake *f = fake_new(KIND, false);
    char why[200], port[16];
    snprintf(port, sizeof port, "%s", strrchr(f->conf.socket, ':'));
    snprintf(f->conf.socket, sizeof f->conf.socket, "inet:localhost%s", port); /* ::1 may come first */
    assert_true(ask(m, &f->conf, why));
    snprintf(f->conf.socket, sizeof f->conf.socket, "inet:no.such.host.invalid%s", port);
    assert_false(ask(m, &f->conf, why));
    assert_memory_equal(why, "its name has no address", 23);
    milters_stop(m);
    fake_free(f);
}

static void test_failures(void **state)
{
    (void)state;
    const struct {
        enum manner manner;
        const char *why;
    } t[] = { { MUTE, "no answer in time" },
              { GARBAGE, "it sends a packet of an impossible length" },
              { LEAVES, "it closes the connection" },
              { UNWILLING, "it closes the connection instead of negotiating: it may want what is not offered (offer_all)" },
              { SLOW, "no answer in time" } };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct milters *m = begin();
        struct fake *f = fake_new(t[i].manner, false);
        struct server_told told;
        char why[200];
        f->conf.timeout_ms = t[i].manner == MUTE || t[i].manner == SLOW ? 400 : 20000;
        for (unsigned k = 0; k < SERVER_FAILURES; k++) {
            int64_t begun_ms = clock_boot_ms();
            milters_tell(m, f->conf.socket, &told);
            assert_false(told.down);
            assert_false(ask(m, &f->conf, why));
            assert_string_equal(why, t[i].why);
            if (t[i].manner == SLOW) /* its bound */
                assert_true(clock_boot_ms() - begun_ms >= 400 * MILTER_PROGRESS_TIMES - 10);
        }
        milters_tell(m, f->conf.socket, &told);
        assert_true(told.down);
        assert_string_equal(told.why, t[i].why);
        assert_false(ask(m, &f->conf, why));
        assert_string_equal(why, "it has not answered lately");
        milters_stop(m);
        fake_free(f);
    }
}

static void test_nobody(void **state)
{
    (void)state;
    struct milters *m = begin();
    struct fake *f = fake_new(KIND, true);
    struct policy_milter gone = f->conf;
    char why[200];
    fake_free(f);
    assert_false(ask(m, &gone, why));
    assert_memory_equal(why, "it cannot be connected to: ", 27);
    assert_false(ask(m, &gone, why));
    assert_string_equal(why, "it has not answered lately");
    milters_stop(m);
}

/* No more at a time than may be, and each answered once. */
static void test_many(void **state)
{
    enum { N = 200 };
    (void)state;
    struct milters *m = begin();
    struct fake *f = fake_new(KIND, false);
    struct question *q = calloc(N, sizeof *q);
    uint32_t running, waiting;
    assert_non_null(q);
    for (unsigned i = 0; i < N; i++) {
        fill(&q[i], &f->conf);
        assert_int_equal(milters_ask(m, &q[i].job), 0);
    }
    for (unsigned i = 0; i < N; i++) {
        wait_for(&q[i]);
        assert_true(q[i].job.answered);
        drop(&q[i]);
    }
    assert_int_equal(atomic_load(&f->messages), N);
    assert_true(atomic_load(&f->most) <= 2);
    milters_stats(m, &running, &waiting);
    assert_true(running == 0 && waiting == 0);
    free(q);
    milters_stop(m);
    fake_free(f);
}

/* What waits does so no longer than its time; what the stop finds is answered by it. */
static void test_bounds_and_stop(void **state)
{
    enum { N = MILTER_WAITING_MAX + 100 };
    (void)state;
    struct milters *m = begin();
    struct fake *mute = fake_new(MUTE, false);
    struct policy_milter hasty = mute->conf;
    struct question *q = calloc(N, sizeof *q);
    unsigned taken = 0, answered = 0;
    assert_non_null(q);
    for (unsigned i = 0; i < N; i++) {
        fill(&q[i], &mute->conf);
        taken += milters_ask(m, &q[i].job) == 0;
    }
    assert_true(taken >= MILTER_WAITING_MAX && taken < N);
    milters_stop(m);
    for (unsigned i = 0; i < N; i++) {
        answered += atomic_load(&q[i].done);
        assert_false(q[i].job.answered);
        drop(&q[i]);
    }
    assert_int_equal(answered, taken);
    m = begin();
    hasty.timeout_ms = 300;
    for (unsigned i = 0; i < 3; i++) {
        fill(&q[i], i < 2 ? &mute->conf : &hasty);
        assert_int_equal(milters_ask(m, &q[i].job), 0);
    }
    wait_for(&q[2]);
    assert_string_equal(q[2].job.why, "its turn did not come in time");
    milters_stop(m);
    for (unsigned i = 0; i < 3; i++)
        drop(&q[i]);
    free(q);
    fake_free(mute);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers), cmocka_unit_test(test_a_name), cmocka_unit_test(test_failures),
        cmocka_unit_test(test_nobody),  cmocka_unit_test(test_many),   cmocka_unit_test(test_bounds_and_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
