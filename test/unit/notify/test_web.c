/* Where webhooks may go, and what comes of it, with sockets of this machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "node/net/ip.h"
#include "node/notify/web.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool may(const char *address, bool plain, bool private_network)
{
    struct ip_addr a;
    assert_int_equal(ip_addr_parse(span_str(address), &a), 0);
    return notify_web_may(&a, plain, private_network);
}

static void where_to(void **state)
{
    (void)state;
    assert_true(may("8.8.8.8", false, false));
    assert_false(may("8.8.8.8", true, false)); /* http stays on this machine */
    assert_true(may("127.0.0.1", true, false));
    assert_true(may("::1", false, false));
    static const char *const inside[] = { "10.0.0.1", "192.168.1.1", "172.16.0.9", "100.64.0.1", "fd12::1" };
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
        assert_false(may(inside[i], false, false));
        assert_true(may(inside[i], false, true));
        assert_false(may(inside[i], true, true));
    }
    static const char *const never[] = { "169.254.169.254", "169.254.1.1",     "fe80::1",      "0.0.0.0",
                                         "224.0.0.1",       "255.255.255.255", "fd00:ec2::254" };
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        assert_false(may(never[i], false, true));
}

/* Takes one connection, reads the request, answers. */
struct server {
    int fd;
    uint16_t port;
    const char *answer; /* NULL: none */
    char request[4096];
    pthread_t thread;
};

static void *serve(void *arg)
{
    struct server *s = arg;
    size_t n = 0;
    int c = accept(s->fd, NULL, NULL);
    for (ssize_t got = 1; c >= 0 && got > 0 && strstr(s->request, "{\"x\":1}") == NULL;
         n += got > 0 ? (size_t)got : 0)
        got = recv(c, s->request + n, sizeof s->request - 1 - n, 0);
    if (s->answer != NULL)
        (void)send(c, s->answer, strlen(s->answer), MSG_NOSIGNAL);
    else
        (void)recv(c, s->request + n, 1, 0); /* until the other side gives up */
    close(c);
    return NULL;
}

static void server_start(struct server *s, const char *answer)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof at;
    *s = (struct server){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .answer = answer };
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(s->fd, 4), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &n), 0);
    s->port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_stop(struct server *s)
{
    pthread_join(s->thread, NULL);
    close(s->fd);
}

struct ended {
    bool over;
    long status;
    char why[200];
};

static void ended_cb(void *ctx, uint32_t slot, long status, const char *why)
{
    struct ended *e = ctx;
    assert_int_equal(slot, 1);
    e->over = true;
    e->status = status;
    snprintf(e->why, sizeof e->why, "%s", why);
}

static struct ended post(const char *url, int64_t timeout_ms)
{
    struct notify_web *w = notify_web_new(2);
    struct ended e = { .over = false };
    assert_non_null(w);
    assert_int_equal(notify_web_post(w, 1,
                                     &(struct notify_post){ .url = url,
                                                            .plain = true,
                                                            .timeout_ms = timeout_ms,
                                                            .body = SPAN_LIT("{\"x\":1}"),
                                                            .timestamp = "17",
                                                            .signature = "v1=00" }),
                     0);
    assert_true(notify_web_busy(w, 1) && !notify_web_busy(w, 0) && notify_web_count(w) == 1);
    for (int64_t until = clock_boot_ms() + 30000; !e.over && clock_boot_ms() < until;)
        notify_web_wait(w, 50, ended_cb, &e);
    assert_true(e.over && !notify_web_busy(w, 1));
    notify_web_free(w);
    return e;
}

static struct ended answered(const char *answer, struct server *s)
{
    char url[100];
    server_start(s, answer);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/hook?key=hidden", s->port);
    struct ended e = post(url, answer == NULL ? 300 : 10000);
    server_stop(s);
    return e;
}

static void what_comes_of_it(void **state)
{
    (void)state;
    struct server s;
    struct ended e = answered("HTTP/1.1 204 No Content\r\n\r\n", &s);
    assert_string_equal(e.why, "");
    assert_int_equal(e.status, 204);
    assert_non_null(strstr(s.request, "POST /hook?key=hidden HTTP/1.1\r\n"));
    assert_non_null(strstr(s.request, "\r\nTurnpike-Timestamp: 17\r\n"));
    assert_non_null(strstr(s.request, "\r\nTurnpike-Signature: v1=00\r\n"));
    assert_non_null(strstr(s.request, "\r\nContent-Type: application/json\r\n"));
    assert_string_equal(answered("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", &s).why, "it answers 500");
    assert_string_equal(
        answered("HTTP/1.1 302 There\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n", &s).why,
        "it answers 302: a redirect is not followed");
    e = answered("nonsense\r\n", &s);
    assert_true(e.why[0] != '\0');
    assert_null(strstr(e.why, "hidden"));
    assert_non_null(strstr(answered(NULL, &s).why, "imed out"));
    assert_non_null(
        strstr(post("http://10.255.255.1/hook", 5000).why, "10.255.255.1 is an address (private"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(where_to), cmocka_unit_test(what_comes_of_it) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
