/* What the admin server's tests share. */
#include "test/unit/admin/expect.h"

#include <unistd.h>

struct fake_server server;

int expect_setup(void **state)
{
    (void)state;
    fake_server_start(&server, 1500);
    return 0;
}

int expect_teardown(void **state)
{
    (void)state;
    fake_server_stop(&server);
    return 0;
}

void sleep_ms(int ms)
{
    usleep((useconds_t)ms * 1000);
}

void expect_error(struct http_reply *r, int status, const char *code)
{
    assert_int_equal(r->status, status);
    assert_true(r->complete);
    json_t *j = json_loadb(r->body, r->body_len, 0, NULL);
    assert_non_null(j);
    const char *got = json_string_value(json_object_get(json_object_get(j, "error"), "code"));
    assert_non_null(got);
    assert_string_equal(got, code);
    assert_true(json_string_length(json_object_get(json_object_get(j, "error"), "message")) > 0);
    json_decref(j);
    http_reply_free(r);
}

json_t *expect_json(struct http_reply *r)
{
    assert_int_equal(r->status, 200);
    assert_true(r->complete);
    assert_non_null(strstr(r->head, "Content-Type: application/json\r\n"));
    json_t *j = json_loadb(r->body, r->body_len, 0, NULL);
    assert_non_null(j);
    http_reply_free(r);
    return j;
}

json_t *get_json(const char *target)
{
    struct http_reply r;
    http_local(&server, "GET", target, NULL, &r);
    return expect_json(&r);
}

void expect_bad(const char *method, const char *target, const char *body)
{
    struct http_reply r;
    http_local(&server, method, target, body, &r);
    expect_error(&r, 400, "bad_request");
}

json_int_t number(const json_t *j, const char *name)
{
    assert_true(json_is_integer(json_object_get(j, name)));
    return json_integer_value(json_object_get(j, name));
}

json_t *post_json(const char *target, const char *body)
{
    struct http_reply r;
    http_local(&server, "POST", target, body, &r);
    return expect_json(&r);
}

void expect_traces(uint32_t n)
{
    for (int i = 0; i < 3000; i++) {
        pthread_mutex_lock(&server.node.lock);
        uint32_t open = server.node.traces_open;
        pthread_mutex_unlock(&server.node.lock);
        if (open == n)
            return;
        sleep_ms(10);
    }
    fail_msg("traces do not become %u", n);
}
