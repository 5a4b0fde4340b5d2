/* The admin server over real sockets: who is let in, what is refused, and that nothing is unbounded. */
#include "test/unit/admin/expect.h"

#include "base/clock.h"
#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void expect_tcp(const char *request, int status, const char *code)
{
    struct http_reply r;
    http_tcp(&server, request, &r);
    expect_error(&r, status, code);
}

/* ---- who is let in ------------------------------------------------------------------------------------- */

static void test_tcp_needs_the_token(void **state)
{
    (void)state;
    char rq[512];
    struct http_reply r;
    expect_tcp("GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n", 401, "unauthorized");
    static const char *const wrong[] = { "Bearer 0123456789abcdef-secreT",  "Bearer 0123456789abcdef-secre",
                                         "Bearer 0123456789abcdef-secret0", "Bearer ",
                                         "Basic 0123456789abcdef-secret",   "0123456789abcdef-secret" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(rq, sizeof(rq), "GET /v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\n\r\n",
                 wrong[i]);
        expect_tcp(rq, 401, "unauthorized");
    }
    snprintf(rq, sizeof(rq),
             "GET /v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nAuthorization: "
             "Bearer x\r\n\r\n",
             server.token);
    expect_tcp(rq, 401, "unauthorized");
    snprintf(rq, sizeof(rq),
             "GET /v1/status HTTP/1.1\r\nHost: localhost:%u\r\nAuthorization: bearer %s\r\n\r\n", server.port,
             server.token);
    http_tcp(&server, rq, &r);
    json_decref(expect_json(&r));
    http_tcp(&server, "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n", &r);
    assert_non_null(strstr(r.head, "WWW-Authenticate: Bearer"));
    http_reply_free(&r);
}

static void test_paths_are_not_told_without_the_token(void **state)
{
    (void)state;
    expect_tcp("GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 401, "unauthorized");
    expect_tcp("DELETE /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n", 401, "unauthorized");
}

static void test_health_needs_no_token_but_metrics_does(void **state)
{
    (void)state;
    struct http_reply r;
    http_tcp(&server, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", &r);
    assert_int_equal(r.status, 200);
    assert_string_equal(r.body, "ok\n");
    http_reply_free(&r);
    expect_tcp("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 401, "unauthorized");
    server.node.not_ready = ERR_BUSY;
    http_tcp(&server, "GET /readyz HTTP/1.1\r\nHost: [::1]\r\n\r\n", &r);
    assert_int_equal(r.status, 503);
    assert_string_equal(r.body, "not ready: draining\n");
    http_reply_free(&r);
}

static void test_dns_rebinding_is_refused(void **state)
{
    (void)state;
    static const char *const hosts[] = { "Host: evil.test",
                                         "Host: localhost.evil.test",
                                         "Host: localhost:1",
                                         "Host: localhost:x",
                                         "Host: 127.0.0.1@evil.test",
                                         "Host: [::1",
                                         "Host: localhost\r\nHost: evil.test" };
    char rq[512];
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        snprintf(rq, sizeof(rq), "GET /v1/status HTTP/1.1\r\n%s\r\nAuthorization: Bearer %s\r\n\r\n",
                 hosts[i], server.token);
        expect_tcp(rq, 421, "wrong_host");
    }
    struct http_reply r;
    snprintf(rq, sizeof(rq),
             "GET /v1/log HTTP/1.1\r\nHost: Relay.example.com\r\nAuthorization: Bearer %s\r\n\r\n",
             server.token);
    http_tcp(&server, rq, &r);
    json_decref(expect_json(&r));
}

static void post_headers(const char *headers, int status, const char *code)
{
    char rq[1024];
    snprintf(rq, sizeof(rq),
             "POST /v1/reload HTTP/1.1\r\nHost: localhost:%u\r\nAuthorization: Bearer %s\r\nContent-Length: "
             "2\r\n%s\r\n{}",
             server.port, server.token, headers);
    struct http_reply r;
    http_tcp(&server, rq, &r);
    if (code == NULL)
        assert_int_equal(r.status, status);
    else
        expect_error(&r, status, code);
    http_reply_free(&r);
}

static void test_a_page_cannot_act(void **state)
{
    (void)state;
    char same[128];
    post_headers("Content-Type: text/plain\r\n", 415, "not_json");
    post_headers("Content-Type: application/x-www-form-urlencoded\r\n", 415, "not_json");
    post_headers("Content-Type: application/jsonp\r\n", 415, "not_json");
    post_headers("", 415, "not_json");
    post_headers("Content-Type: application/json\r\nContent-Type: text/plain\r\n", 415, "not_json");
    post_headers("Content-Type: application/json\r\nOrigin: http://evil.test\r\n", 403, "forbidden");
    post_headers("Content-Type: application/json\r\nOrigin: null\r\n", 403, "forbidden");
    post_headers("Content-Type: application/json\r\nOrigin: http://localhost:1\r\n", 403, "forbidden");
    post_headers("Content-Type: application/json\r\nSec-Fetch-Site: cross-site\r\n", 403, "forbidden");
    assert_int_equal(server.node.reloads, 0);
    snprintf(same, sizeof(same),
             "Content-Type: application/json; charset=utf-8\r\nOrigin: http://localhost:%u\r\n", server.port);
    post_headers(same, 200, NULL);
    assert_int_equal(server.node.reloads, 1);
    /* A form on a page cannot reach the unix socket, but the same rules hold there. */
    struct http_reply r;
    int fd = http_connect_unix(&server);
    const char *rq =
        "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}";
    http_write(fd, rq, strlen(rq));
    http_read(fd, HTTP_PATIENCE_MS, &r);
    expect_error(&r, 415, "not_json");
    close(fd);
}

static void test_unix_socket_goes_by_file_permission(void **state)
{
    (void)state;
    struct stat st;
    char want[80];
    assert_int_equal(stat(server.socket, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    struct http_reply r;
    http_local(&server, "POST", "/v1/reload", "{}", &r);
    assert_int_equal(r.status, 200);
    http_reply_free(&r);
    snprintf(want, sizeof(want), "unix:uid=%u,pid=%d", (unsigned)getuid(), (int)getpid());
    assert_string_equal(server.node.caller, want);
}

static void test_token_file_is_checked_and_reloaded(void **state)
{
    (void)state;
    struct admin_error e;
    char token[ADMIN_TEXT_MAX];
    assert_int_equal(chmod(server.token_file, 0644), 0);
    assert_int_equal(admin_reload(server.admin, &e), ERR_DENIED);
    assert_non_null(strstr(e.text, "chmod"));
    assert_int_equal(chmod(server.token_file, 0640), 0);
    int fd = open(server.token_file, O_WRONLY | O_TRUNC);
    assert_true(write(fd, "short\n", 6) == 6);
    assert_int_equal(admin_reload(server.admin, &e), ERR_BAD);
    assert_true(pwrite(fd, "another-token-of-good-length\n", 29, 0) == 29);
    close(fd);
    /* Refused files changed nothing. */
    struct http_reply r;
    snprintf(token, sizeof(token),
             "GET /v1/log HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", server.token);
    http_tcp(&server, token, &r);
    assert_int_equal(r.status, 200);
    http_reply_free(&r);
    assert_int_equal(admin_reload(server.admin, &e), 0);
    expect_tcp(token, 401, "unauthorized");
}

/* ---- what is asked ------------------------------------------------------------------------------------- */

static void test_unknown_paths_and_methods(void **state)
{
    (void)state;
    struct http_reply r;
    static const char *const targets[] = {
        "/ui",
        "/ui/",
        "/ui/../index.html",
        "/ui/index.html",
        "/v1",
        "/v1/",
        "/v1/status/",
        "//v1/status",
        "/v1/queue/messages/",
        "/v1/../etc/passwd",
        "/../../etc/passwd",
        "/v1/queue/messages/..%2f..%2fetc%2fpasswd",
        "/v1/queue/messages/../../status",
        "/v1/queue/messages/%2e%2e/content",
        "/v1/queue/messages/AA%0d%0aSet-Cookie:x",
        "/v1/queue/messages/0000000000AA1/content/x",
        "/v1/queue/messages/000000000000000000000000000000000",
    };
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        http_local(&server, "GET", targets[i], NULL, &r);
        expect_error(&r, 404, "not_found");
    }
    http_local(&server, "POST", "/v1/status", "{}", &r);
    assert_non_null(strstr(r.head, "Allow: GET\r\n"));
    expect_error(&r, 405, "not_allowed");
    http_local(&server, "GET", "/v1/queue/retry", NULL, &r);
    assert_non_null(strstr(r.head, "Allow: POST\r\n"));
    expect_error(&r, 405, "not_allowed");
    http_local(&server, "DELETE", "/v1/log", NULL, &r);
    assert_non_null(strstr(r.head, "Allow: GET, POST\r\n"));
    expect_error(&r, 405, "not_allowed");
    http_local(&server, "OPTIONS", "/v1/log", NULL, &r);
    expect_error(&r, 405, "not_allowed");
    http_local(&server, "GET", "/v1/queue/messages/0000000000ZZ9", NULL, &r);
    expect_error(&r, 404, "not_found");
}

static void test_parameters_are_checked(void **state)
{
    (void)state;
    expect_bad("GET", "/v1/status?x=1", NULL);
    expect_bad("GET", "/v1/queue?limit=0", NULL);
    expect_bad("GET", "/v1/queue?limit=1001", NULL);
    expect_bad("GET", "/v1/queue?limit=1&limit=2", NULL);
    expect_bad("GET", "/v1/queue?limit=99999999999999999999", NULL);
    expect_bad("GET", "/v1/queue?sender=a%0d%0ab", NULL);
    expect_bad("GET", "/v1/queue?sender=a%00b", NULL);
    expect_bad("GET", "/v1/queue?sender=%ff", NULL);
    expect_bad("GET", "/v1/queue?sender", NULL);
    expect_bad("GET", "/v1/queue?ids=0000000000AA1,..", NULL);
    expect_bad("GET", "/v1/queue?state=gone", NULL);
    expect_bad("GET", "/v1/queue?older_than=soon", NULL);
    expect_bad("GET", "/v1/queue?reply_match=(", NULL);
    expect_bad("GET", "/v1/queue?after=x", NULL);
    expect_bad("GET", "/v1/track", NULL);
    expect_bad("GET", "/v1/track?id=A&since=yesterday", NULL);
    expect_bad("GET", "/v1/track?id=A&status=lost", NULL);
    expect_bad("GET", "/v1/trace", NULL);
    expect_bad("GET", "/v1/trace?side=server&site=x", NULL);
    expect_bad("POST", "/v1/queue/retry?all=true", "{}");
    expect_bad("POST", "/v1/queue/retry", "{");
    expect_bad("POST", "/v1/queue/retry", "[]");
    expect_bad("POST", "/v1/queue/retry", "{\"all\":true,\"all\":true}");
    expect_bad("POST", "/v1/queue/retry", "{\"all\":\"true\"}");
    expect_bad("POST", "/v1/queue/retry", "{\"ids\":\"0000000000AA1\"}");
    expect_bad("POST", "/v1/queue/retry", "{\"ids\":[]}");
    expect_bad("POST", "/v1/queue/retry", "{\"sender\":\"a\\r\\nb\"}");
    expect_bad("POST", "/v1/queue/retry", "{\"sender\":\"a\\u0000b\"}");
    expect_bad("POST", "/v1/queue/retry", "{\"sender\":\"a\\u0085b\"}");
    expect_bad("POST", "/v1/queue/bounce", "{\"all\":true,\"text\":\"5.7.1 x\\r\\nX: y\"}");
    expect_bad("POST", "/v1/log", "{}");
    expect_bad("POST", "/v1/log", "{\"level\":\"loud\"}");
    expect_bad("POST", "/v1/queue/retry", "{}"); /* nothing selected */
    assert_string_equal(server.node.caller, ""); /* none of them reached the node */
}

static void test_errors_do_not_repeat_what_was_sent(void **state)
{
    (void)state;
    struct http_reply r;
    http_local(&server, "GET", "/v1/status?%3Cscript%3E=1", NULL, &r);
    assert_null(strstr(r.body, "script"));
    expect_error(&r, 400, "bad_request");
    http_local(&server, "POST", "/v1/accounts/add", "{\"name\":\"a\",\"password\":\"hunter2", &r);
    assert_null(strstr(r.body, "hunter2"));
    expect_error(&r, 400, "bad_request");
}

static void test_node_errors_have_their_status(void **state)
{
    (void)state;
    static const struct {
        int err, status;
        const char *code;
    } cases[] = { { ERR_BUSY, 503, "busy" },   { ERR_TIMEOUT, 504, "timeout" },
                  { ERR_LIMIT, 429, "limit" }, { ERR_DENIED, 403, "forbidden" },
                  { -EIO, 500, "internal" },   { ERR_EXISTS, 409, "exists" } };
    struct http_reply r;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        server.node.status_err = cases[i].err;
        http_local(&server, "GET", "/v1/status", NULL, &r);
        assert_non_null(strstr(r.body, "the workers do not answer"));
        expect_error(&r, cases[i].status, cases[i].code);
    }
    server.ops.status = NULL;
    http_local(&server, "GET", "/v1/status", NULL, &r);
    expect_error(&r, 501, "not_here");
}

/* ---- bounds -------------------------------------------------------------------------------------------- */

static void test_long_bodies_are_refused_unread(void **state)
{
    (void)state;
    static char block[65536];
    struct http_reply r;
    const char *rq = "POST /v1/queue/retry HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                     "Content-Length: 1073741824\r\n\r\n";
    memset(block, ' ', sizeof(block));
    int fd = http_connect_unix(&server);
    http_write(fd, rq, strlen(rq));
    size_t sent = 0;
    while (sent < (UINT64_C(1) << 30) && http_write(fd, block, sizeof(block)))
        sent += sizeof(block);
    assert_true(sent < (64u << 20)); /* it stopped reading */
    http_read(fd, HTTP_PATIENCE_MS, &r);
    expect_error(&r, 413, "too_large");
    close(fd);

    rq = "POST /v1/queue/retry HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
         "65537\r\n"
         "Expect: 100-continue\r\n\r\n";
    fd = http_connect_unix(&server);
    http_write(fd, rq, strlen(rq));
    http_read(fd, HTTP_PATIENCE_MS, &r);
    expect_error(&r, 413, "too_large");
    close(fd);

    rq = "POST /v1/queue/retry HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
         "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    fd = http_connect_unix(&server);
    http_write(fd, rq, strlen(rq));
    http_read(fd, HTTP_PATIENCE_MS, &r);
    expect_error(&r, 411, "no_length");
    close(fd);
}

static void test_the_longest_body_is_taken(void **state)
{
    (void)state;
    char *body = malloc(65537);
    struct http_reply r;
    memset(body, ' ', 65536);
    memcpy(body, "{\"all\":true}", 12);
    body[65536] = '\0';
    http_local(&server, "POST", "/v1/queue/retry", body, &r);
    json_t *j = expect_json(&r);
    assert_int_equal(number(j, "recipients"), FAKE_ROWS);
    json_decref(j);
    free(body);
}

static void test_long_heads_are_refused(void **state)
{
    (void)state;
    char *head = malloc(200000);
    struct http_reply r;
    int n = snprintf(head, 200000, "GET /v1/status HTTP/1.1\r\nHost: x\r\nX-Long: ");
    memset(head + n, 'x', 199000 - (size_t)n);
    memcpy(head + 199000, "\r\n\r\n", 4);
    int fd = http_connect_unix(&server);
    http_write(fd, head, 199004);
    http_read(fd, HTTP_PATIENCE_MS, &r);
    assert_true(r.status == 431 || r.status == 413 || r.status == 414);
    http_reply_free(&r);
    close(fd);
    free(head);
}

/* Bytes dribble; silence would be noticed by anyone. */
static void dribble(const char *start, const char *piece, int64_t most_ms)
{
    int64_t begin = clock_boot_ms();
    int fd = http_connect_tcp(&server);
    http_write(fd, start, strlen(start));
    while (clock_boot_ms() - begin < most_ms) {
        char c;
        if (!http_write(fd, piece, 1) || recv(fd, &c, 1, MSG_DONTWAIT) == 0)
            break;
        sleep_ms(50);
    }
    assert_in_range(clock_boot_ms() - begin, 1000, most_ms - 1);
    close(fd);
}

static void test_slow_requests_are_ended(void **state)
{
    (void)state;
    char body[512];
    dribble("", "G", HTTP_PATIENCE_MS);
    dribble("GET /v1/status HTTP/1.1\r\nX-Slow: ", "x", HTTP_PATIENCE_MS);
    snprintf(body, sizeof(body),
             "POST /v1/queue/retry HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"
             "Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n",
             server.token);
    dribble(body, " ", HTTP_PATIENCE_MS);
}

static void test_idle_connections_are_ended_and_others_served(void **state)
{
    (void)state;
    int fds[40];
    struct http_reply r;
    for (int i = 0; i < 40; i++)
        fds[i] = http_connect_tcp(&server);
    /* TCP is taken up, the operator's socket is not. */
    json_decref(get_json("/v1/status"));
    for (int i = 0; i < 40; i++) {
        struct pollfd p = { .fd = fds[i], .events = POLLIN };
        char c;
        assert_int_equal(poll(&p, 1, HTTP_PATIENCE_MS), 1);
        assert_true(recv(fds[i], &c, 1, MSG_DONTWAIT) <= 0);
    }
    /* A place is free a moment after its client sees the end. */
    int status = 0;
    for (int64_t until = clock_boot_ms() + HTTP_PATIENCE_MS; status != 200 && clock_boot_ms() < until;) {
        http_tcp(&server, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", &r);
        status = r.status;
        http_reply_free(&r);
    }
    assert_int_equal(status, 200);
    for (int i = 0; i < 40; i++)
        close(fds[i]);
}

static void test_a_connection_serves_many_requests(void **state)
{
    (void)state;
    int fd = http_connect_unix(&server);
    for (int i = 0; i < 20; i++) {
        struct http_reply r;
        const char *rq = i % 2 ? "GET /v1/log HTTP/1.1\r\nHost: x\r\n\r\n"
                               : "POST /v1/log HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                                 "Content-Length: 17\r\n\r\n{\"level\":\"debug\"}";
        http_write(fd, rq, strlen(rq));
        http_read(fd, HTTP_PATIENCE_MS, &r);
        json_decref(expect_json(&r));
    }
    assert_string_equal(server.node.log_level, "debug");
    close(fd);
}

/* ---- binding ------------------------------------------------------------------------------------------- */

static int try_new(struct admin_config config, struct admin_error *e)
{
    struct admin *a = NULL;
    int err = admin_new(&config, &server.ops, &a, e);
    admin_free(a);
    return err;
}

static void test_binding(void **state)
{
    (void)state;
    struct admin_error e = { "" };
    char path[128];
    assert_int_equal(try_new((struct admin_config){ .socket_path = server.socket }, &e), ERR_EXISTS);
    assert_non_null(strstr(e.text, "running already"));
    assert_int_equal(access(server.socket, F_OK), 0); /* not taken away from its owner */
    assert_int_equal(try_new((struct admin_config){ .socket_path = server.token_file }, &e), ERR_EXISTS);
    assert_int_equal(access(server.token_file, F_OK), 0);
    assert_int_equal(try_new((struct admin_config){ .tcp_address = "127.0.0.1:0" }, &e), ERR_BAD);
    assert_int_equal(
        try_new((struct admin_config){ .tcp_address = "0.0.0.0:0", .token_file = server.token_file }, &e),
        ERR_DENIED);
    assert_int_equal(
        try_new((struct admin_config){ .tcp_address = "nowhere", .token_file = server.token_file }, &e),
        ERR_BAD);
    assert_int_equal(
        try_new((struct admin_config){ .tcp_address = "127.0.0.1:0", .token_file = "/nonexistent" }, &e),
        -ENOENT);
    /* A socket whose process died is replaced. */
    snprintf(path, sizeof(path), "%s/stale.sock", server.dir);
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    memcpy(sa.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    close(fd);
    assert_int_equal(try_new((struct admin_config){ .socket_path = path, .socket_mode = 0600 }, &e), 0);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(
        try_new((struct admin_config){ .socket_path = path, .socket_group = "no-such-group" }, &e),
        ERR_NOT_FOUND);
    assert_int_not_equal(access(path, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVED(test_tcp_needs_the_token),
        SERVED(test_paths_are_not_told_without_the_token),
        SERVED(test_health_needs_no_token_but_metrics_does),
        SERVED(test_dns_rebinding_is_refused),
        SERVED(test_a_page_cannot_act),
        SERVED(test_unix_socket_goes_by_file_permission),
        SERVED(test_token_file_is_checked_and_reloaded),
        SERVED(test_unknown_paths_and_methods),
        SERVED(test_parameters_are_checked),
        SERVED(test_errors_do_not_repeat_what_was_sent),
        SERVED(test_node_errors_have_their_status),
        SERVED(test_long_bodies_are_refused_unread),
        SERVED(test_the_longest_body_is_taken),
        SERVED(test_long_heads_are_refused),
        SERVED(test_slow_requests_are_ended),
        SERVED(test_idle_connections_are_ended_and_others_served),
        SERVED(test_a_connection_serves_many_requests),
        SERVED(test_binding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
