/* The tenant role, over all routes: each refuses a tenant's token, or shows what is the tenant's and nothing
 * else; and what is another's looks like what does not exist.
 */
#include "test/unit/admin/expect.h"

#include "base/err.h"
#include "node/admin/tenant.h"

#include <stdio.h>
#include <stdlib.h>

/* Words that only other tenants' things have in them. */
static const char *const foreign[] = { "other.example", "carol", "contract 4711" };
static const char *events_of; /* the tenant whose events were asked for */
static char token[ADMIN_TENANT_TOKEN_MAX], token_id[33];

static int on_events(void *ctx, const struct admin_events *q, struct admin_events_info *info, struct buf *out,
                     struct admin_error *e)
{
    (void)ctx, (void)e;
    *info = (struct admin_events_info){ .next = "n1.7" };
    if (q->limit == 0)
        return 0;
    events_of = q->tenant == NULL ? "all" : strcmp(q->tenant, "own.example") == 0 ? "own" : "another";
    return buf_put_str(out, "{\"event\":\"delivered\",\"tenant\":\"own.example\"}\n");
}

static void do_command(struct command cmd)
{
    struct machine_result r;
    if (fake_cluster_do(&server.cluster, &cmd, &r) != 0)
        fail_msg("%s: %s", command_type_name(cmd.type), r.words);
}

static void seed_freeze(const char *account)
{
    do_command((struct command){ .type = COMMAND_FREEZE,
                                 .freeze = { .scope = COMMAND_SCOPE_ACCOUNT,
                                             .name = span_str(account),
                                             .mode = COMMAND_FREEZE_HOLD } });
}

static void seed_record(const char *account)
{
    struct buf counts;
    struct record_counts c = { .account = span_str(account), .count = { [RECORD_DELIVERED] = 5 } };
    static uint64_t number;
    buf_init(&counts, 1024);
    assert_int_equal(record_counts_put(&counts, &c), 0);
    do_command((struct command){
        .type = COMMAND_RECORD_REPORT,
        .record_report = { .process = { 1 }, .number = ++number, .counts = buf_span(&counts) } });
    buf_fini(&counts);
}

static void seed_web(const char *name)
{
    do_command((struct command){
        .type = COMMAND_WEB_CLAIM,
        .web_claim = { .name = span_str(name), .most_of_host = 9, .most = 99, .for_ms = 7200000 } });
    seed_freeze(name);
    seed_record(name);
}

static void seed_tenant(const char *tenant, const char *account, const char *suppressed)
{
    do_command(
        (struct command){ .type = COMMAND_TENANT_SET,
                          .tenant_set = { .name = span_str(tenant), .note = SPAN_LIT("contract 4711") } });
    do_command((struct command){
        .type = COMMAND_ACCOUNT_SET,
        .account_set = {
            .name = span_str(account), .hash = SPAN_LIT("!"), .tenant = span_str(tenant), .create = true } });
    seed_freeze(account);
    do_command((struct command){ .type = COMMAND_SUPPRESS_ADD,
                                 .suppress_add = { .tenant = span_str(tenant),
                                                   .address = span_str(suppressed),
                                                   .most = UINT32_MAX } });
    do_command((struct command){ .type = COMMAND_DOMAIN_ASK,
                                 .domain_ask = { .tenant = span_str(tenant), .domain = span_str(tenant) } });
    seed_record(account);
}

static int setup(void **state)
{
    (void)state;
    fake_server_start_in(&server, true);
    server.ops.events = on_events;
    fake_cluster_raise(&server.cluster, COMMAND_FEATURES);
    seed_tenant("own.example", "anna@own.example", "lost@rcpt.test");
    seed_tenant("other.example", "carol@other.example", "carols-friend@rcpt.test");
    /* what a script has called itself is not whose it is */
    seed_web("web:anna@own.example/a:shop@rcpt.test");
    seed_web("web:carol@other.example/a:anna@own.example");
    /* an account of another tenant whose name is in this one's domain */
    do_command((struct command){ .type = COMMAND_ACCOUNT_SET,
                                 .account_set = { .name = SPAN_LIT("carol@own.example"),
                                                  .hash = SPAN_LIT("!"),
                                                  .tenant = SPAN_LIT("other.example"),
                                                  .create = true } });
    for (int i = 0; i < FAKE_ROWS; i++) {
        struct admin_row *row = &server.node.rows[i];
        bool own = strcmp(row->id, "0000000000AA1") == 0;
        row->tenant = own ? SPAN_LIT("own.example") : SPAN_LIT("other.example");
        row->account = own ? SPAN_LIT("anna@own.example") : SPAN_LIT("carol@other.example");
        row->sender = row->account;
    }
    json_t *j = post_json("/v1/tenants/tokens/add", "{\"name\":\"own.example\",\"note\":\"billing\"}");
    snprintf(token, sizeof token, "%s", json_string_value(json_object_get(j, "token")));
    snprintf(token_id, sizeof token_id, "%s", json_string_value(json_object_get(j, "id")));
    json_decref(j);
    return 0;
}

static void ask_with(const char *bearer, const char *method, const char *target, struct http_reply *r)
{
    char rq[2048];
    snprintf(
        rq, sizeof rq,
        "%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
        "%s\r\n",
        method, target, bearer, method[0] == 'P' ? "Content-Length: 2\r\n\r\n{}" : "");
    http_tcp(&server, rq, r);
}

static void ask(const char *method, const char *target, struct http_reply *r)
{
    ask_with(token, method, target, r);
}

static void expect_own(const char *target, const char *part)
{
    struct http_reply r;
    ask("GET", target, &r);
    if (r.status != 200)
        fail_msg("%s: %d %s", target, r.status, r.body);
    if (strstr(r.body, part) == NULL)
        fail_msg("%s: no %s in %s", target, part, r.body);
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        if (strstr(r.body, foreign[i]) != NULL)
            fail_msg("%s tells of %s: %s", target, foreign[i], r.body);
    http_reply_free(&r);
}

/* What each path that is open answers to a tenant, with the parameters that it needs. */
static const struct {
    const char *path, *target, *part;
} opened[] = {
    { "/healthz", "/healthz", "ok" },
    { "/readyz", "/readyz", "ready" },
    { "/v1/openapi.json", "/v1/openapi.json", "openapi" },
    { "/v1/queue", "/v1/queue?scope=local", "0000000000AA1" },
    { "/v1/queue", "/v1/queue?scope=cluster&limit=1000", "0000000000AA1" },
    { "/v1/queue/summary", "/v1/queue/summary?scope=local", "\"total\":{\"recipients\":3" },
    { "/v1/queue/summary", "/v1/queue/summary", "slow.test" },
    { "/v1/queue/messages/{id}", "/v1/queue/messages/0000000000AA1", "bob@slow.test" },
    { "/v1/held", "/v1/held?scope=local", "\"messages\":[" },
    { "/v1/held", "/v1/held", "\"messages\":[" },
    { "/v1/track", "/v1/track?since=2020-01-01T00:00:00Z", "0000000000AA1" },
    { "/v1/track", "/v1/track?message_id=m1@example.com&scope=local", "0000000000AA1" },
    { "/v1/events", "/v1/events?scope=local", "own.example" },
    { "/v1/events", "/v1/events?tenant=own.example", "own.example" },
    { "/v1/domains", "/v1/domains", "own.example" },
    { "/v1/suppression", "/v1/suppression", "lost@rcpt.test" },
    { "/v1/accounts", "/v1/accounts", "anna@own.example" },
    { "/v1/accounts/show", "/v1/accounts/show?name=anna@own.example", "own.example" },
    { "/v1/frozen", "/v1/frozen", "anna@own.example" },
    { "/v1/tenants", "/v1/tenants", "own.example" },
    { "/v1/tenants/report", "/v1/tenants/report", "anna@own.example" },
    { "/v1/limits", "/v1/limits?account=anna@own.example", "own.example" },
    { "/v1/limits", "/v1/limits?tenant=own.example", "own.example" },
    { "/v1/senders/bounces", "/v1/senders/bounces?account=anna@own.example", "anna@own.example" },
    { "/v1/senders/show", "/v1/senders/show?account=anna@own.example", "anna@own.example" },
    { "/v1/senders/top", "/v1/senders/top?by=delivered", "anna@own.example" },
    { "/v1/senders/top", "/v1/senders/top?by=delivered", "web:anna@own.example/" },
    { "/v1/senders/web", "/v1/senders/web", "web:anna@own.example/" },
    { "/v1/senders/show", "/v1/senders/show?account=web:anna@own.example/a:shop@rcpt.test", "web:anna" },
    { "/v1/limits", "/v1/limits?account=web:anna@own.example/a:shop@rcpt.test", "web:anna" },
    { "/v1/frozen", "/v1/frozen", "web:anna@own.example/" },
    { "/v1/tenants/report", "/v1/tenants/report", "web:anna@own.example/" },
};

static void test_every_route_refuses_or_filters(void **state)
{
    (void)state;
    for (size_t i = 0; i < admin_nroutes; i++) {
        const struct admin_route *route = &admin_routes[i];
        enum admin_tenant_how how = admin_tenant_how(route);
        struct http_reply r;
        if (how == ADMIN_TENANT_UNDECIDED)
            fail_msg("%s %s: decide in node/admin/tenant.c what it shows a tenant", route->method,
                     route->path);
        if (route->method[0] == 'P' && (route->flags & ADMIN_ROUTE_OPEN))
            continue; /* to log in: as somebody, whatever came with it */
        if (how == ADMIN_TENANT_REFUSED) {
            char target[128];
            const char *id = strstr(route->path, "{id}");
            snprintf(target, sizeof target, "%.*s%s%s", id != NULL ? (int)(id - route->path) : 128,
                     route->path, id != NULL ? "0000000000AA1" : "", id != NULL ? id + 4 : "");
            uint32_t submits = server.cluster.submits, calls = server.node.calls;
            ask(route->method, target, &r);
            if (r.status != 403)
                fail_msg("%s %s: %d %s", route->method, target, r.status, r.body);
            expect_error(&r, 403, "forbidden");
            assert_int_equal(server.cluster.submits, submits);
            assert_int_equal(server.node.calls, calls);
            continue;
        }
        size_t n = 0;
        for (size_t k = 0; k < sizeof opened / sizeof opened[0]; k++)
            if (strcmp(opened[k].path, route->path) == 0) {
                expect_own(opened[k].target, opened[k].part);
                n++;
            }
        if (n == 0 || route->method[0] != 'G')
            fail_msg("%s %s is open to tenants: show here that it filters", route->method, route->path);
    }
}

/* The same reply, but for the name that was asked for. */
static void expect_alike(const char *form, const char *other, const char *none)
{
    struct http_reply a, b;
    char target[512], *at;
    snprintf(target, sizeof target, "%s%s", form, other);
    ask("GET", target, &a);
    snprintf(target, sizeof target, "%s%s", form, none);
    ask("GET", target, &b);
    assert_int_equal(a.status, 404);
    assert_int_equal(b.status, 404);
    assert_int_equal(strlen(other), strlen(none));
    assert_non_null(at = strstr(a.body, other));
    memcpy(at, none, strlen(none));
    assert_string_equal(a.body, b.body);
    http_reply_free(&a);
    http_reply_free(&b);
}

static void test_what_is_others_does_not_exist(void **state)
{
    (void)state;
    static const char *const forms[] = { "/v1/accounts/show?name=", "/v1/limits?account=",
                                         "/v1/senders/bounces?account=", "/v1/senders/show?account=" };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        expect_alike(forms[i], "carol@other.example", "carlo@other.example");
        expect_alike(forms[i], "carol@own.example", "carlo@own.example");
        if (i > 0) /* the first is of accounts only */
            expect_alike(forms[i], "web:carol@other.example/a:anna@own.example",
                         "web:carol@other.example/b:anna@own.example");
    }
    expect_alike("/v1/queue/messages/", "0000000000BB2", "0000000000ZZ9");
    static const char *const named[] = {
        "/v1/limits?tenant=%s",        "/v1/queue?tenant=%s",       "/v1/track?id=0000000000BB2&tenant=%s",
        "/v1/events?tenant=%s",        "/v1/suppression?tenant=%s", "/v1/domains?tenant=%s",
        "/v1/tenants/report?tenant=%s"
    };
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++) {
        char target[128];
        struct http_reply r[2];
        for (int k = 0; k < 2; k++) {
            snprintf(target, sizeof target, named[i], k == 0 ? "other.example" : "no-one.example");
            ask("GET", target, &r[k]);
            assert_int_equal(r[k].status, 403);
        }
        assert_string_equal(r[0].body, r[1].body);
        http_reply_free(&r[0]);
        http_reply_free(&r[1]);
    }
    struct http_reply r;
    ask("GET", "/v1/track?id=0000000000BB2", &r);
    json_t *j = expect_json(&r);
    assert_int_equal(json_array_size(json_object_get(j, "recipients")), 0);
    json_decref(j);
}

static void test_other_nodes_are_asked_for_its_own(void **state)
{
    (void)state;
    static const char *const targets[] = { "/v1/track?since=2020-01-01T00:00:00Z", "/v1/queue?scope=cluster",
                                           "/v1/queue/summary", "/v1/events" };
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        struct http_reply r;
        server.cluster.path[0] = '\0';
        ask("GET", targets[i], &r);
        json_decref(expect_json(&r));
        const char *tenant = strstr(server.cluster.path, "tenant=own.example");
        if (tenant == NULL || strstr(tenant + 1, "tenant=") != NULL)
            fail_msg("%s asked for %s", targets[i], server.cluster.path);
    }
    assert_string_equal(events_of, "own");
}

static void test_tokens(void **state)
{
    (void)state;
    struct http_reply r;
    char wrong[ADMIN_TENANT_TOKEN_MAX];
    size_t n = strlen(token);
    for (size_t i = 0; i < n; i++) {
        memcpy(wrong, token, n + 1);
        wrong[i] = wrong[i] == 'a' ? 'b' : 'a';
        ask_with(wrong, "GET", "/v1/tenants", &r);
        expect_error(&r, 401, "unauthorized");
    }
    memcpy(wrong, token, n);
    wrong[n - 1] = '\0';
    ask_with(wrong, "GET", "/v1/tenants", &r);
    expect_error(&r, 401, "unauthorized");
    ask_with("turnpike-", "GET", "/v1/tenants", &r);
    expect_error(&r, 401, "unauthorized");
    ask("GET", "/v1/no-such-path", &r);
    expect_error(&r, 404, "not_found");
    ask("DELETE", "/v1/tenants", &r);
    expect_error(&r, 405, "not_allowed");
    /* what is listed is not what opens */
    json_t *j = get_json("/v1/tenants/tokens"), *row = json_array_get(json_object_get(j, "tokens"), 0);
    assert_int_equal(json_array_size(json_object_get(j, "tokens")), 1);
    assert_string_equal(json_string_value(json_object_get(row, "id")), token_id);
    assert_string_equal(json_string_value(json_object_get(row, "note")), "billing");
    char *text = json_dumps(j, 0);
    assert_null(strstr(text, token + strlen("turnpike-") + strlen(token_id) + 1));
    free(text);
    json_decref(j);
    char body[128];
    snprintf(body, sizeof body, "{\"id\":\"%s\"}", token_id);
    json_decref(post_json("/v1/tenants/tokens/remove", body));
    ask("GET", "/v1/tenants", &r);
    expect_error(&r, 401, "unauthorized");
    http_local(&server, "POST", "/v1/tenants/tokens/add", "{\"name\":\"no-one.example\"}", &r);
    expect_error(&r, 404, "not_found");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, expect_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_every_route_refuses_or_filters),
        TEST(test_what_is_others_does_not_exist),
        TEST(test_other_nodes_are_asked_for_its_own),
        TEST(test_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
