/* The thread that asks about content: its time is kept whatever servers do, they are taken in turn, one that
 * is gone is left alone, what waits is bounded, and each question is answered once, at the stop too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "node/content/checker.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER "{\"action\":\"reject\",\"score\":20,\"required_score\":15}"

/* A server of one answer to each connection; with none it says nothing at all. Or of many, and it leaves
 * without a word after some of them. */
struct fake {
    int fd;
    const char *answer;
    unsigned keeps; /* so many answers to a connection */
    pthread_t thread;
    atomic_bool stop;
    atomic_uint asked, met;
    char url[64], said[32][2048]; /* requests, by their number; to be read once `asked` has counted them */
};

static void serve_many(struct fake *f, int fd)
{
    char out[1024];
    int len = snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(f->answer),
                       f->answer);
    for (unsigned i = 0; i < f->keeps && !atomic_load(&f->stop);) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (poll(&p, 1, 20) <= 0)
            continue;
        char *said = f->said[atomic_load(&f->asked) % 32];
        ssize_t n = recv(fd, said, sizeof f->said[0] - 1, 0);
        if (n <= 0)
            break;
        said[n] = '\0';
        i++;
        atomic_fetch_add(&f->asked, 1);
        (void)!send(fd, out, (size_t)len, MSG_NOSIGNAL);
    }
    close(fd);
}

static void *serve(void *arg)
{
    struct fake *f = arg;
    int open[64];
    unsigned n = 0;
    while (!atomic_load(&f->stop)) {
        struct pollfd p = { .fd = f->fd, .events = POLLIN };
        if (poll(&p, 1, 20) <= 0)
            continue;
        int fd = accept(f->fd, NULL, NULL);
        char in[65536], out[1024];
        if (fd < 0)
            continue;
        atomic_fetch_add(&f->met, 1);
        if (f->keeps > 0) {
            serve_many(f, fd);
            continue;
        }
        (void)!recv(fd, in, sizeof in, 0);
        atomic_fetch_add(&f->asked, 1);
        if (f->answer == NULL && n < 64) { /* the client has to give up */
            open[n++] = fd;
            continue;
        }
        int len =
            snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                     strlen(f->answer), f->answer);
        (void)!send(fd, out, (size_t)len, MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        while (recv(fd, in, sizeof in, 0) > 0)
            ;
        close(fd);
    }
    while (n > 0)
        close(open[--n]);
    return NULL;
}

static struct fake *fake_keeping(const char *answer, unsigned keeps)
{
    struct fake *f = calloc(1, sizeof *f);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof a;
    assert_non_null(f);
    f->answer = answer;
    f->keeps = keeps;
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(f->fd, 64), 0);
    assert_int_equal(getsockname(f->fd, (struct sockaddr *)&a, &len), 0);
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%u", ntohs(a.sin_port));
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
    return f;
}

static struct fake *fake_new(const char *answer)
{
    return fake_keeping(answer, 0);
}

static void fake_free(struct fake *f)
{
    atomic_store(&f->stop, true);
    pthread_join(f->thread, NULL);
    close(f->fd);
    free(f);
}

/* A port that nobody listens at. */
static void nowhere(char url[64])
{
    struct fake *f = fake_new("");
    memcpy(url, f->url, sizeof f->url);
    fake_free(f);
}

struct question {
    struct checker_job job; /* first */
    atomic_uint done;
};

static void done_cb(struct checker_job *job)
{
    atomic_fetch_add(&((struct question *)job)->done, 1);
}

static void fill(struct question *q, const struct policy_content *conf)
{
    *q = (struct question){ .job = { .conf = conf,
                                     .about = SPAN_LIT("From: anna@example.com\n"),
                                     .content = SPAN_LIT("Subject: x\r\n\r\nhello\r\n"),
                                     .done = done_cb } };
}

static void wait_for(struct question *q)
{
    for (unsigned i = 0; i < 30000 && atomic_load(&q->done) == 0; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&q->done), 1);
}

static void ask(struct checker *c, struct question *q, const struct policy_content *conf)
{
    fill(q, conf);
    assert_int_equal(checker_ask(c, &q->job), 0);
    wait_for(q);
}

static struct checker *begin(void)
{
    struct checker *c;
    assert_int_equal(checker_start(&c), 0);
    return c;
}

static void test_an_answer(void **state)
{
    (void)state;
    struct checker *c = begin();
    struct fake *f = fake_new(ANSWER);
    char *servers[] = { f->url };
    struct policy_content conf = { .servers = { servers, 1 }, .timeout_ms = 20000, .checks = 2 };
    struct question q;
    ask(c, &q, &conf);
    assert_int_equal(q.job.result, CHECKER_ANSWERED);
    assert_int_equal(q.job.answer.action, RSPAMD_REJECT);
    struct server_told s;
    checker_server(c, f->url, &s);
    assert_false(s.down);
    checker_stop(c);
    fake_free(f);
}

static unsigned times(const char *text, const char *part)
{
    unsigned n = 0;
    for (; (text = strstr(text, part)) != NULL; text++)
        n++;
    return n;
}

/* One connection for all, and nothing of one question is in the next. */
static void test_connections_are_kept(void **state)
{
    (void)state;
    struct checker *c = begin();
    struct fake *f = fake_keeping(ANSWER, 1000);
    char *servers[] = { f->url };
    struct policy_content conf = { .servers = { servers, 1 }, .timeout_ms = 20000, .checks = 2 };
    for (unsigned i = 0; i < 20; i++) {
        char about[256], content[512], length[64];
        struct question q;
        int n = snprintf(about, sizeof about, "From: anna%u@example.com\n%s", i,
                         i % 3 == 0 ? "Rcpt: bob@example.org\n" : "");
        int m = snprintf(content, sizeof content, "Subject: %u\r\n\r\n%*s\r\n", i, (int)(300 - 10 * i), "x");
        fill(&q, &conf);
        q.job.about = span_of(about, (size_t)n);
        q.job.content = span_of(content, (size_t)m);
        assert_int_equal(checker_ask(c, &q.job), 0);
        wait_for(&q);
        assert_int_equal(q.job.result, CHECKER_ANSWERED);
        snprintf(about, sizeof about, "\r\nFrom: anna%u@example.com\r\n", i);
        snprintf(length, sizeof length, "\r\nContent-Length: %d\r\n", m);
        const char *said = f->said[i];
        assert_int_equal(atomic_load(&f->asked), i + 1);
        assert_int_equal(times(said, "POST /checkv2 HTTP/1.1\r\n"), 1);
        assert_int_equal(times(said, about), 1);
        assert_int_equal(times(said, "\r\nFrom:"), 1);
        assert_int_equal(times(said, "\r\nRcpt:"), i % 3 == 0);
        assert_int_equal(times(said, length), 1);
        assert_string_equal(strstr(said, "\r\n\r\n") + 4, content);
    }
    assert_int_equal(atomic_load(&f->met), 1);
    checker_stop(c);
    fake_free(f);
}

/* A server may close what was kept, at any time: the question is asked anew, and it is no failure. */
static void test_a_kept_connection_is_closed(void **state)
{
    (void)state;
    struct checker *c = begin();
    struct fake *f = fake_keeping(ANSWER, 3);
    char *servers[] = { f->url };
    struct policy_content conf = { .servers = { servers, 1 }, .timeout_ms = 20000, .checks = 2 };
    struct server_told s;
    for (unsigned i = 0; i < 30; i++) {
        struct question q;
        ask(c, &q, &conf);
        assert_int_equal(q.job.result, CHECKER_ANSWERED);
    }
    assert_in_range(atomic_load(&f->met), 10, 11);
    checker_server(c, f->url, &s);
    assert_false(s.down);
    checker_stop(c);
    fake_free(f);
}

/* The one that is gone is tried once, and then left alone; mail goes on with the other. */
static void test_another_one_answers(void **state)
{
    (void)state;
    struct checker *c = begin();
    struct fake *f = fake_new(ANSWER);
    char gone[64];
    nowhere(gone);
    char *servers[] = { gone, f->url };
    struct policy_content conf = { .servers = { servers, 2 }, .timeout_ms = 20000, .checks = 2 };
    struct server_told s;
    for (unsigned i = 0; i < 6; i++) {
        struct question q;
        ask(c, &q, &conf);
        assert_int_equal(q.job.result, CHECKER_ANSWERED);
    }
    checker_server(c, gone, &s);
    assert_true(s.down);
    assert_true(strlen(s.why) > 0);
    assert_int_equal(atomic_load(&f->asked), 6);
    checker_stop(c);
    fake_free(f);
}

static void test_nobody_answers(void **state)
{
    (void)state;
    struct checker *c = begin();
    char gone[64];
    nowhere(gone);
    char *servers[] = { gone };
    struct policy_content conf = { .servers = { servers, 1 }, .timeout_ms = 20000, .checks = 2 };
    struct question q;
    int64_t begun_ms = clock_boot_ms();
    ask(c, &q, &conf);
    assert_int_equal(q.job.result, CHECKER_NO_ANSWER);
    ask(c, &q, &conf); /* it rests: at once */
    assert_string_equal(q.job.why, "no server has answered lately");
    assert_true(clock_boot_ms() - begun_ms < 15000);
    checker_stop(c);
}

/* One that takes connections and says nothing: the time is shared with the next one, and kept in all. */
static void test_silence(void **state)
{
    (void)state;
    struct checker *c = begin();
    struct fake *mute = fake_new(NULL), *f = fake_new(ANSWER);
    char *both[] = { mute->url, f->url };
    struct policy_content conf = { .servers = { both, 2 }, .timeout_ms = 2000, .checks = 2 };
    struct question q;
    for (unsigned i = 0; i < 2; i++) {
        ask(c, &q, &conf);
        assert_int_equal(q.job.result, CHECKER_ANSWERED);
    }
    assert_int_equal(atomic_load(&mute->asked), 1);
    struct policy_content alone = { .servers = { both, 1 }, .timeout_ms = 300, .checks = 2 };
    int64_t begun_ms = clock_boot_ms();
    ask(c, &q, &alone);
    assert_int_equal(q.job.result, CHECKER_NO_ANSWER);
    assert_true(clock_boot_ms() - begun_ms >= 250);
    checker_stop(c);
    fake_free(mute);
    fake_free(f);
}

static void test_garbage(void **state)
{
    (void)state;
    struct checker *c = begin();
    struct fake *f = fake_new("<html>no</html>");
    char *servers[] = { f->url };
    struct policy_content conf = { .servers = { servers, 1 }, .timeout_ms = 20000, .checks = 2 };
    struct server_told s;
    for (unsigned i = 0; i < SERVER_FAILURES; i++) {
        struct question q;
        checker_server(c, f->url, &s);
        assert_false(s.down);
        ask(c, &q, &conf);
        assert_int_equal(q.job.result, CHECKER_NO_ANSWER);
        assert_string_equal(q.job.why, "its answer is not rspamd's");
    }
    checker_server(c, f->url, &s);
    assert_true(s.down);
    checker_stop(c);
    fake_free(f);
}

/* Those over `checks` wait, and not longer than their time; those that the stop finds are answered by it. */
static void test_bounds_and_stop(void **state)
{
    enum { N = CHECKER_WAITING_MAX + 200 };
    (void)state;
    struct checker *c = begin();
    struct fake *mute = fake_new(NULL);
    char *servers[] = { mute->url };
    struct policy_content conf = { .servers = { servers, 1 }, .timeout_ms = 400, .checks = 2 },
                          patient = { .servers = { servers, 1 }, .timeout_ms = 60000, .checks = 2 };
    struct question *q = calloc(N, sizeof *q);
    assert_non_null(q);
    for (unsigned i = 0; i < 10; i++) {
        fill(&q[i], &conf);
        assert_int_equal(checker_ask(c, &q[i].job), 0);
    }
    for (unsigned i = 0; i < 10; i++) {
        wait_for(&q[i]);
        assert_int_equal(q[i].job.result, CHECKER_NO_ANSWER);
    }
    struct checker_stats stats;
    unsigned taken = 0;
    usleep((SERVER_REST_MS + 200) * 1000); /* it rests no more */
    for (unsigned i = 0; i < N; i++) {
        fill(&q[i], &patient);
        taken += checker_ask(c, &q[i].job) == 0;
    }
    checker_stats(c, &stats);
    assert_true(stats.running <= 2 && stats.waiting <= CHECKER_WAITING_MAX);
    assert_true(taken >= CHECKER_WAITING_MAX && taken < N);
    checker_stop(c);
    unsigned answered = 0;
    for (unsigned i = 0; i < N; i++) {
        assert_true(atomic_load(&q[i].done) <= 1);
        answered += atomic_load(&q[i].done);
    }
    assert_int_equal(answered, taken);
    free(q);
    fake_free(mute);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer),
        cmocka_unit_test(test_another_one_answers),
        cmocka_unit_test(test_connections_are_kept),
        cmocka_unit_test(test_a_kept_connection_is_closed),
        cmocka_unit_test(test_nobody_answers),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_bounds_and_stop),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
