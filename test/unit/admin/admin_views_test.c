/* What the admin server answers: the queue, acts on it, tracking, streams, accounts. */
#include "test/unit/admin/expect.h"

#include "base/clock.h"
#include "base/err.h"

#include <stdio.h>
#include <unistd.h>

/* ---- queue --------------------------------------------------------------------------------------------- */

static void test_queue_pages(void **state)
{
    (void)state;
    char target[128] = "/v1/queue?limit=3";
    size_t rows = 0, pages = 0;
    for (;;) {
        json_t *j = get_json(target);
        rows += json_array_size(json_object_get(j, "recipients"));
        pages++;
        const char *next = json_string_value(json_object_get(j, "next"));
        if (next == NULL) {
            json_decref(j);
            break;
        }
        snprintf(target, sizeof(target), "/v1/queue?limit=3&after=%s", next);
        json_decref(j);
    }
    assert_int_equal(rows, FAKE_ROWS);
    assert_int_equal(pages, 3);
}

static size_t count_rows(const char *query)
{
    char target[256];
    snprintf(target, sizeof(target), "/v1/queue?%s", query);
    json_t *j = get_json(target);
    size_t n = json_array_size(json_object_get(j, "recipients"));
    json_decref(j);
    return n;
}

static void test_selectors(void **state)
{
    (void)state;
    assert_int_equal(count_rows(""), 8);
    assert_int_equal(count_rows("site=SLOW.test"), 4);
    assert_int_equal(count_rows("sender=%3C%3E"), 1);
    assert_int_equal(count_rows("sender=%40Example.com"), 7);
    assert_int_equal(count_rows("recipient=%40fast.test"), 4);
    assert_int_equal(count_rows("recipient=%40ast.test"), 0);
    assert_int_equal(count_rows("account=anna%40example.com&state=held"), 1);
    assert_int_equal(count_rows("older_than=2h"), 4);
    assert_int_equal(count_rows("reply_match=grey.*LATER"), 4);
    assert_int_equal(count_rows("reply_match=%5E250"), 0);
    assert_int_equal(count_rows("ids=0000000000aa1,0000000000DD4"), 4);
    assert_int_equal(count_rows("ids=0000000000AA1&site=fast.test"), 0);
}

static void test_a_row_survives_hostile_bytes(void **state)
{
    (void)state;
    json_t *j = get_json("/v1/queue?limit=1");
    const json_t *row = json_array_get(json_object_get(j, "recipients"), 0);
    assert_string_equal(json_string_value(json_object_get(row, "helo")), "desk\x1b[31m");
    assert_string_equal(json_string_value(json_object_get(row, "reply")),
                        "451 4.7.1 Greylisted, \"try\" later\xef\xbf\xbd\r\n");
    json_decref(j);
}

static void test_acts(void **state)
{
    (void)state;
    json_t *j = post_json("/v1/queue/bounce", "{\"site\":\"slow.test\",\"dry_run\":true}");
    assert_true(json_is_true(json_object_get(j, "dry_run")));
    assert_int_equal(number(j, "messages"), 2);
    assert_int_equal(number(j, "recipients"), 4);
    assert_int_equal(number(j, "done"), 4);
    json_decref(j);
    assert_int_equal(count_rows("site=slow.test"), 4);

    struct http_reply r;
    http_local(&server, "POST", "/v1/queue/bounce", "{\"site\":\"slow.test\",\"expected\":3}", &r);
    expect_error(&r, 503, "busy");

    server.node.busy_rows = 1;
    j = post_json("/v1/queue/bounce",
                  "{\"site\":\"slow.test\",\"expected\":4,\"text\":\"5.7.1 by \\u00fcs\"}");
    assert_int_equal(number(j, "done"), 3);
    assert_int_equal(number(j, "busy"), 1);
    json_decref(j);
    assert_string_equal(server.node.act_text, "5.7.1 by \xc3\xbcs");
    assert_int_equal(server.node.act.act, ADMIN_ACT_BOUNCE);
    assert_int_equal(count_rows("site=slow.test"), 1);

    server.node.busy_rows = 0;
    j = post_json("/v1/queue/hold", "{\"all\":true}");
    assert_int_equal(number(j, "done"), 4);
    assert_int_equal(number(j, "unchanged"), 1);
    json_decref(j);
    j = post_json("/v1/queue/release", "{\"ids\":[\"0000000000cc3\"]}");
    assert_int_equal(number(j, "done"), 1);
    json_decref(j);
    j = post_json("/v1/queue/delete", "{\"state\":\"held\"}");
    assert_int_equal(number(j, "done"), 4);
    json_decref(j);
    assert_int_equal(count_rows(""), 1);
}

static void test_summary_and_show(void **state)
{
    (void)state;
    json_t *j = get_json("/v1/queue/summary?by=site");
    assert_int_equal(json_array_size(json_object_get(j, "groups")), 2);
    assert_int_equal(number(json_object_get(j, "total"), "recipients"), 8);
    assert_int_equal(json_array_size(json_object_get(j, "age_minutes")) + 1,
                     json_array_size(json_object_get(json_object_get(j, "total"), "ages")));
    json_decref(j);
    j = get_json("/v1/queue/messages/0000000000bb2");
    assert_string_equal(json_string_value(json_object_get(j, "id")), "0000000000BB2");
    assert_int_equal(json_array_size(json_object_get(j, "recipients")), 3);
    json_decref(j);
}

static void test_content(void **state)
{
    (void)state;
    struct http_reply r;
    http_local(&server, "GET", "/v1/queue/messages/0000000000AA1/content", NULL, &r);
    assert_int_equal(r.status, 200);
    assert_true(r.complete);
    assert_non_null(strstr(r.head, "Content-Type: message/rfc822\r\n"));
    assert_non_null(strstr(r.head, "X-Content-Type-Options: nosniff\r\n"));
    assert_int_equal(r.body_len, 18 + 38 * 30000);
    assert_memory_equal(r.body, "Subject: hello\r\n\r\n", 18);
    http_reply_free(&r);
    http_local(&server, "GET", "/v1/queue/messages/0000000000AA1/content?headers_only=true", NULL, &r);
    assert_string_equal(r.body, "Subject: hello\r\n\r\n");
    http_reply_free(&r);
    /* Damage in the middle must not look like a whole message. */
    http_local(&server, "GET", "/v1/queue/messages/0000000000DD4/content", NULL, &r);
    assert_int_equal(r.status, 200);
    assert_false(r.complete);
    http_reply_free(&r);
    uint32_t open = 1;
    for (int i = 0; i < 3000 && open > 0; i++) {
        sleep_ms(10);
        fake_node_sync(&server.node);
        open = server.node.contents_open;
    }
    assert_int_equal(open, 0);
}

static void test_track(void **state)
{
    (void)state;
    json_t *j = get_json("/v1/track?message_id=m1%40example.com&since=2h&limit=100");
    assert_int_equal(json_array_size(json_object_get(j, "recipients")), 4);
    assert_true(json_is_null(json_object_get(j, "next")));
    json_decref(j);
    j = get_json("/v1/track?id=0000000000aa1&until=2026-01-01T00:00:00Z");
    assert_int_equal(json_array_size(json_object_get(j, "recipients")), 0);
    json_decref(j);
}

/* ---- the rest ------------------------------------------------------------------------------------------ */

static void test_node_views(void **state)
{
    (void)state;
    struct http_reply r;
    json_t *j = get_json("/v1/status");
    assert_string_equal(json_string_value(json_object_get(j, "node")), "n1.example.com");
    assert_int_equal(json_array_size(json_object_get(j, "workers")), 2);
    assert_true(json_real_value(
                    json_object_get(json_object_get(json_object_get(j, "rates"), "received"), "m1")) == 1.5);
    json_decref(j);
    j = get_json("/v1/top?limit=1");
    assert_int_equal(json_array_size(json_object_get(j, "senders")), 1);
    assert_int_equal(json_array_size(json_object_get(j, "sites")), 1);
    json_decref(j);
    j = get_json("/v1/sites?state=down");
    assert_int_equal(json_array_size(json_object_get(j, "sites")), 1);
    json_decref(j);
    j = get_json("/v1/sites?limit=1");
    assert_string_equal(json_string_value(json_object_get(j, "next")), "fast.test");
    json_decref(j);
    j = get_json("/v1/ip/check");
    json_t *ips = json_object_get(j, "ips"), *lists = json_object_get(json_array_get(ips, 0), "lists");
    assert_int_equal(json_array_size(ips), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(lists, 1), "state")), "broken");
    json_decref(j);
    j = get_json("/v1/config");
    assert_non_null(strstr(json_string_value(json_object_get(j, "yaml")), "(hidden)"));
    json_decref(j);
    http_local(&server, "POST", "/v1/config/check", "", &r);
    assert_non_null(strstr(r.body, "node.yaml:3"));
    expect_error(&r, 400, "bad_request");
    http_local(&server, "GET", "/metrics", NULL, &r);
    assert_non_null(strstr(r.head, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_non_null(strstr(r.body, "turnpike_up 1\n"));
    http_reply_free(&r);
}

/* Parses NDJSON and returns its number of lines; the last must be the end. */
static size_t count_lines(const char *body, bool ok)
{
    size_t n = 0;
    json_t *last = NULL;
    while (*body != '\0') {
        size_t len = strcspn(body, "\n");
        assert_true(body[len] == '\n');
        if (len > 0) {
            json_decref(last);
            last = json_loadb(body, len, 0, NULL);
            assert_non_null(last);
            n++;
        }
        body += len + 1;
    }
    assert_string_equal(json_string_value(json_object_get(last, "dir")), "end");
    assert_int_equal(json_is_true(json_object_get(last, "ok")), ok);
    json_decref(last);
    return n;
}

static void test_trace_and_probe(void **state)
{
    (void)state;
    struct http_reply r;
    http_local(&server, "GET", "/v1/trace?side=client&ip=192.0.2.0/24&sessions=1", NULL, &r);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "application/x-ndjson"));
    assert_int_equal(count_lines(r.body, true), 4);
    http_reply_free(&r);
    assert_string_equal(server.node.trace_ip, "192.0.2.0/24");
    http_local(&server, "POST", "/v1/probe", "{\"recipient\":\"bob@slow.test\",\"from_ip\":\"192.0.2.1\"}",
               &r);
    assert_int_equal(count_lines(r.body, false), 9);
    http_reply_free(&r);
    assert_string_equal(server.node.probe_from, "192.0.2.1");
    expect_bad("POST", "/v1/probe", "{\"recipient\":\"bob\"}");
}

static void test_a_trace_ends_with_its_client_and_its_time(void **state)
{
    (void)state;
    struct http_reply r;
    server.node.trace_lines = -1;
    int fd = http_connect_unix(&server);
    const char *rq = "GET /v1/trace?side=server HTTP/1.1\r\nHost: x\r\n\r\n";
    http_write(fd, rq, strlen(rq));
    expect_traces(1);
    close(fd);
    expect_traces(0);
    int64_t begin = clock_boot_ms();
    http_local(&server, "GET", "/v1/trace?side=server&seconds=1", NULL, &r);
    assert_in_range(clock_boot_ms() - begin, 900, HTTP_PATIENCE_MS);
    assert_int_equal(count_lines(r.body, true), 1);
    http_reply_free(&r);
    expect_traces(0);
}

static void test_stopping_ends_a_trace(void **state)
{
    (void)state;
    server.node.trace_lines = -1;
    int fd = http_connect_unix(&server);
    const char *rq = "GET /v1/trace?side=server HTTP/1.1\r\nHost: x\r\n\r\n";
    http_write(fd, rq, strlen(rq));
    expect_traces(1);
    int64_t begin = clock_boot_ms();
    admin_free(server.admin);
    server.admin = NULL;
    assert_true(clock_boot_ms() - begin < HTTP_PATIENCE_MS);
    assert_int_equal(server.node.traces_open, 0);
    assert_int_not_equal(access(server.socket, F_OK), 0);
    close(fd);
}

static void test_accounts(void **state)
{
    (void)state;
    struct http_reply r;
    json_decref(post_json("/v1/accounts/add",
                          "{\"name\":\"anna@example.com\",\"password\":\"secret one\",\"class\":\"person\","
                          "\"senders\":[\"info@example.com\",\"@example.org\"],\"tenant\":null}"));
    assert_string_equal(server.node.accounts[0].password, "secret one");
    http_local(&server, "POST", "/v1/accounts/add", "{\"name\":\"anna@example.com\",\"password\":\"x\"}", &r);
    expect_error(&r, 409, "exists");
    json_decref(post_json("/v1/accounts/passwd", "{\"name\":\"anna@example.com\",\"password\":\"two\"}"));
    assert_string_equal(server.node.accounts[0].password, "two");
    expect_bad("POST", "/v1/accounts/add", "{\"name\":\"b\",\"password\":\"a\\nb\"}");
    expect_bad("POST", "/v1/accounts/add", "{\"name\":\"b\",\"password\":\"a\",\"class\":\"king\"}");
    json_t *j =
        post_json("/v1/accounts/import",
                  "{\"accounts\":[{\"name\":\"b\",\"hash\":\"$y$x\"},{\"name\":\"anna@example.com\","
                  "\"password\":\"p\"},"
                  "{\"name\":\"c\"},{\"name\":\"d\",\"password\":\"p\",\"hash\":\"h\"},{\"nome\":\"e\"},"
                  "{\"name\":\"f\",\"password\":\"p\",\"disabled\":true}]}");
    assert_int_equal(number(j, "taken"), 2);
    const json_t *refused = json_object_get(j, "refused");
    assert_int_equal(json_array_size(refused), 4);
    json_decref(j);
    assert_string_equal(server.node.accounts[1].hash, "$y$x");
    assert_true(server.node.accounts[2].disabled);
    j = get_json("/v1/accounts?limit=2");
    assert_string_equal(json_string_value(json_object_get(j, "next")), "b");
    json_decref(j);
    json_decref(post_json("/v1/accounts/remove", "{\"name\":\"b\"}"));
    http_local(&server, "POST", "/v1/accounts/remove", "{\"name\":\"b\"}", &r);
    expect_error(&r, 404, "not_found");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVED(test_queue_pages),
        SERVED(test_selectors),
        SERVED(test_a_row_survives_hostile_bytes),
        SERVED(test_acts),
        SERVED(test_summary_and_show),
        SERVED(test_content),
        SERVED(test_track),
        SERVED(test_node_views),
        SERVED(test_trace_and_probe),
        SERVED(test_a_trace_ends_with_its_client_and_its_time),
        SERVED(test_stopping_ends_a_trace),
        SERVED(test_accounts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
