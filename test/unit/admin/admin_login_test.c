/* Logins to the dashboard over real sockets: who gets one, what it opens, how it ends, and what a page of
 * another site cannot do with it.
 */
#include "test/unit/admin/expect.h"

#include "base/err.h"
#include "node/admin/call.h"
#include "node/admin/login.h"
#include "node/admin/roles.h"
#include "node/admin/ui.h"
#include "node/telemetry/events_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PASSWORD "correct-horse"
#define NOW 1800000000000ll

static int setup_member(void **state)
{
    (void)state;
    fake_server_start_in(&server, true);
    fake_cluster_raise(&server.cluster, 6);
    return 0;
}

static int setup_alone(void **state)
{
    (void)state;
    fake_server_start_in(&server, false);
    return 0;
}

#define MEMBER(test) cmocka_unit_test_setup_teardown(test, setup_member, expect_teardown)
#define ALONE(test) cmocka_unit_test_setup_teardown(test, setup_alone, expect_teardown)

struct browser {
    char cookie[96], csrf[64];
};

/* With the cookie, and (POST, csrf not NULL) that mark. */
static void ask_with(const struct browser *b, const char *method, const char *path, const char *body,
                     const char *csrf, const char *more, struct http_reply *r)
{
    char rq[2048], mark[96] = "";
    if (csrf != NULL)
        snprintf(mark, sizeof mark, "X-CSRF-Token: %s\r\n", csrf);
    int n = snprintf(rq, sizeof rq, "%s %s HTTP/1.1\r\nHost: localhost:%u\r\nCookie: a=b; %s\r\n%s%s", method,
                     path, server.port, b->cookie, mark, more != NULL ? more : "");
    if (body != NULL)
        n += snprintf(rq + n, sizeof rq - (size_t)n,
                      "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
    snprintf(rq + n, sizeof rq - (size_t)n, "\r\n%s", body != NULL ? body : "");
    http_tcp(&server, rq, r);
}

static int status_of(const struct browser *b, const char *method, const char *path, const char *body)
{
    struct http_reply r;
    ask_with(b, method, path, body, body != NULL ? b->csrf : NULL, NULL, &r);
    int status = r.status;
    http_reply_free(&r);
    return status;
}

static void post_login(const char *body, struct http_reply *r)
{
    static const struct browser nobody = { .cookie = "" };
    ask_with(&nobody, "POST", "/v1/login", body, NULL, NULL, r);
}

static struct browser log_in(const char *body)
{
    struct http_reply r;
    struct browser b;
    post_login(body, &r);
    assert_int_equal(r.status, 200);
    const char *cookie = strstr(r.head, "Set-Cookie: __Host-turnpike=");
    assert_non_null(cookie);
    assert_int_equal(strcspn(cookie, ";"), strlen("Set-Cookie: __Host-turnpike=") + 64);
    assert_non_null(strstr(cookie, "; Path=/; Secure; HttpOnly; SameSite=Strict\r\n"));
    snprintf(b.cookie, sizeof b.cookie, "%.90s", cookie + strlen("Set-Cookie: "));
    *strchr(b.cookie, ';') = '\0';
    json_t *j = expect_json(&r);
    snprintf(b.csrf, sizeof b.csrf, "%s", json_string_value(json_object_get(j, "csrf")));
    assert_int_equal(strlen(b.csrf), 32);
    json_decref(j);
    return b;
}

static void add(const char *name, const char *role)
{
    char body[256];
    snprintf(body, sizeof body, "{\"name\":\"%s\",\"role\":\"%s\",\"password\":\"" PASSWORD "\"}", name,
             role);
    json_decref(post_json("/v1/operators/add", body));
}

static struct browser log_in_as(const char *name)
{
    char body[256];
    snprintf(body, sizeof body, "{\"name\":\"%s\",\"password\":\"" PASSWORD "\"}", name);
    return log_in(body);
}

/* ---- who gets one -------------------------------------------------------------------------------------- */

static void test_wrong_ones_look_the_same(void **state)
{
    (void)state;
    add("anna", "admin");
    static const char *const wrong[] = {
        "{\"name\":\"anna\",\"password\":\"correct-hors\"}",
        "{\"name\":\"eve\",\"password\":\"correct-horse\"}",
        "{\"name\":\"anna\",\"password\":\"Correct-horse\"}",
        "{\"token\":\"0123456789abcdef-secreT\"}",
    };
    struct http_reply r;
    char first[512] = "";
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        post_login(wrong[i], &r);
        assert_null(strstr(r.head, "Set-Cookie"));
        assert_int_equal(r.status, 401);
        if (i == 0)
            snprintf(first, sizeof first, "%s", r.body);
        assert_string_equal(r.body, first);
        http_reply_free(&r);
    }
    fake_node_sync(&server.node);
    assert_int_equal(server.node.logins_wrong, 4);
    assert_string_equal(server.node.login_name, "");
    /* neither, both, half */
    static const char *const odd[] = { "{}", "{\"name\":\"anna\"}", "{\"password\":\"x\"}",
                                       "{\"name\":\"anna\",\"password\":\"" PASSWORD "\",\"token\":\"x\"}" };
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        post_login(odd[i], &r);
        expect_error(&r, 400, "bad_request");
    }
    json_decref(post_json("/v1/operators/add",
                          "{\"name\":\"otto\",\"role\":\"viewer\",\"password\":\"long-enough\"}"));
    http_local(&server, "POST", "/v1/operators/add",
               "{\"name\":\"kurt\",\"role\":\"viewer\",\"password\":\"too-short\"}", &r);
    expect_error(&r, 400, "bad_request");
    http_local(&server, "POST", "/v1/operators/add",
               "{\"name\":\"Otto\",\"role\":\"viewer\",\"password\":\"long-enough\"}", &r);
    expect_error(&r, 400, "bad_request");
    http_local(&server, "POST", "/v1/operators/add",
               "{\"name\":\"otto\",\"role\":\"boss\",\"password\":\"long-enough\"}", &r);
    expect_error(&r, 400, "bad_request");
}

static void test_guessing_is_counted_and_stopped(void **state)
{
    (void)state;
    struct http_reply r;
    add("anna", "viewer");
    (void)log_in_as("anna");
    fake_node_sync(&server.node);
    assert_int_equal(server.node.logins_right, 1);
    assert_string_equal(server.node.login_name, "anna");
    server.node.login_wait_ms = 90500;
    post_login("{\"name\":\"anna\",\"password\":\"" PASSWORD "\"}", &r);
    assert_non_null(strstr(r.body, "91 s"));
    expect_error(&r, 429, "limit");
}

/* A page of another site cannot log anybody in, as somebody of its own choice. */
static void test_logging_in_from_elsewhere(void **state)
{
    (void)state;
    struct http_reply r;
    static const struct browser nobody = { .cookie = "" };
    static const char body[] = "{\"token\":\"0123456789abcdef-secret\"}";
    ask_with(&nobody, "POST", "/v1/login", body, NULL, "Origin: https://evil.test\r\n", &r);
    expect_error(&r, 403, "forbidden");
    ask_with(&nobody, "POST", "/v1/login", body, NULL, "Sec-Fetch-Site: same-site\r\n", &r);
    expect_error(&r, 403, "forbidden");
    http_local(&server, "POST", "/v1/login", body, &r);
    expect_error(&r, 400, "bad_request"); /* the socket needs none */
}

/* ---- what it opens ------------------------------------------------------------------------------------- */

static void test_roles(void **state)
{
    (void)state;
    add("vera", "viewer");
    add("paul", "postmaster");
    add("anna", "admin");
    struct browser viewer = log_in_as("vera"), postmaster = log_in_as("paul"), admin = log_in_as("anna");
    const struct {
        const char *method, *path, *body;
        int viewer, postmaster, admin;
    } rows[] = {
        { "GET", "/v1/cluster", NULL, 200, 200, 200 },
        { "GET", "/v1/frozen", NULL, 200, 200, 200 },
        { "GET", "/v1/track?id=0000000000AA1", NULL, 200, 200, 200 },
        { "GET", "/v1/queue/messages/0000000000AA1/content", NULL, 403, 200, 200 },
        { "POST", "/v1/freeze", "{\"account\":\"bob\"}", 403, 200, 200 },
        { "POST", "/v1/thaw", "{\"account\":\"bob\"}", 403, 200, 404 },
        { "POST", "/v1/queue/hold", "{\"all\":true}", 403, 200, 200 },
        { "GET", "/v1/config", NULL, 403, 403, 200 },
        { "GET", "/v1/operators", NULL, 403, 403, 200 },
        { "POST", "/v1/operators/set", "{\"name\":\"vera\",\"role\":\"viewer\"}", 403, 403, 200 },
        { "POST", "/v1/reload", "{}", 403, 403, 200 },
        { "POST", "/v1/tenants/set", "{\"name\":\"a\"}", 403, 403, 200 },
        { "GET", "/v1/nothing", NULL, 404, 404, 404 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int got[3] = { status_of(&viewer, rows[i].method, rows[i].path, rows[i].body),
                       status_of(&postmaster, rows[i].method, rows[i].path, rows[i].body),
                       status_of(&admin, rows[i].method, rows[i].path, rows[i].body) };
        if (got[0] != rows[i].viewer || got[1] != rows[i].postmaster || got[2] != rows[i].admin)
            fail_msg("%s %s: %d %d %d", rows[i].method, rows[i].path, got[0], got[1], got[2]);
    }
    /* who did it is known by name */
    assert_int_equal(status_of(&admin, "POST", "/v1/log", "{\"level\":\"warn\"}"), 200);
    fake_node_sync(&server.node);
    assert_int_equal(strncmp(server.node.caller, "anna tcp:127.0.0.1:", 19), 0);
    /* another role counts at once */
    json_decref(post_json("/v1/operators/set", "{\"name\":\"vera\",\"role\":\"admin\"}"));
    assert_int_equal(status_of(&viewer, "GET", "/v1/config", NULL), 200);
    json_decref(post_json("/v1/operators/set", "{\"name\":\"anna\",\"role\":\"viewer\"}"));
    assert_int_equal(status_of(&admin, "GET", "/v1/config", NULL), 403);
}

static void test_every_row_of_the_roles_is_a_route(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < admin_nrole_rows; i++) {
        const struct admin_role_row *r = &admin_role_rows[i];
        char id[ADMIN_ID_TEXT], path[128];
        const char *others;
        snprintf(path, sizeof path, "%s", r->path);
        char *brace = strchr(path, '{');
        if (brace != NULL) /* "{id}" -> "AAAA" */
            memcpy(brace, "AAAA", 4);
        if (admin_route_find(r->method, path, id, &others) == NULL)
            fail_msg("%s %s is in the table of roles alone", r->method, r->path);
        for (uint32_t k = 0; k < i; k++)
            assert_false(strcmp(r->path, admin_role_rows[k].path) == 0 &&
                         strcmp(r->method, admin_role_rows[k].method) == 0);
    }
    /* what changes something is no viewer's, but for his own login */
    for (size_t i = 0; i < admin_nroutes; i++)
        if (admin_routes[i].method[0] == 'P' && !(admin_routes[i].flags & ADMIN_ROUTE_OPEN) &&
            admin_role_needed(admin_routes[i].method, admin_routes[i].path) == ADMIN_ROLE_VIEWER)
            assert_true(strcmp(admin_routes[i].path, "/v1/logout") == 0 ||
                        strcmp(admin_routes[i].path, "/v1/session") == 0);
    assert_int_equal(admin_role_needed("GET", "/v1/whatever-comes"), ADMIN_ROLE_ADMIN);
}

/* The cookie alone changes nothing. */
static void test_cross_site_requests(void **state)
{
    (void)state;
    add("anna", "admin");
    struct browser b = log_in_as("anna");
    struct http_reply r;
    struct browser other = log_in_as("anna");
    char longer[80];
    snprintf(longer, sizeof longer, "%sx", b.csrf);
    const char *const marks[] = { NULL, "", "x", other.csrf, longer };
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        ask_with(&b, "POST", "/v1/reload", "{}", marks[i], NULL, &r);
        expect_error(&r, 403, "forbidden");
    }
    static const char *const elsewhere[] = { "Origin: https://evil.test\r\n", "Origin: null\r\n",
                                             "Sec-Fetch-Site: cross-site\r\n",
                                             "Sec-Fetch-Site: same-site\r\n" };
    for (size_t i = 0; i < sizeof elsewhere / sizeof elsewhere[0]; i++) {
        ask_with(&b, "POST", "/v1/reload", "{}", b.csrf, elsewhere[i], &r);
        expect_error(&r, 403, "forbidden");
        ask_with(&b, "GET", "/v1/session", NULL, NULL, elsewhere[i], &r);
        expect_error(&r, 403, "forbidden");
    }
    fake_node_sync(&server.node);
    assert_int_equal(server.node.reloads, 0);
    ask_with(&b, "POST", "/v1/reload", "{}", b.csrf, NULL, &r);
    json_decref(expect_json(&r));
    /* two cookies of that name, or a spoilt one, are none */
    struct browser two = b, spoilt = b;
    snprintf(two.cookie, sizeof two.cookie, "%.72s", b.cookie);
    char twice[200];
    snprintf(twice, sizeof twice, "Cookie: %s\r\n", other.cookie);
    ask_with(&b, "GET", "/v1/session", NULL, NULL, twice, &r);
    expect_error(&r, 401, "unauthorized");
    spoilt.cookie[30] = spoilt.cookie[30] == 'a' ? 'b' : 'a';
    assert_int_equal(status_of(&spoilt, "GET", "/v1/session", NULL), 401);
    two.cookie[40] = '\0';
    assert_int_equal(status_of(&two, "GET", "/v1/session", NULL), 401);
}

/* ---- how it ends --------------------------------------------------------------------------------------- */

static void test_logging_out(void **state)
{
    (void)state;
    add("anna", "admin");
    struct browser b = log_in_as("anna"), other = log_in_as("anna");
    struct http_reply r;
    assert_int_equal(status_of(&b, "GET", "/v1/session", NULL), 200);
    ask_with(&b, "POST", "/v1/logout", "{}", b.csrf, NULL, &r);
    assert_non_null(strstr(r.head, "Set-Cookie: __Host-turnpike=; "));
    assert_non_null(strstr(r.head, "Max-Age=0"));
    json_decref(expect_json(&r));
    assert_int_equal(status_of(&b, "GET", "/v1/session", NULL), 401);
    assert_int_equal(status_of(&other, "GET", "/v1/session", NULL), 200);
    json_t *j = get_json("/v1/operators");
    const json_t *anna = json_array_get(json_object_get(j, "operators"), 0);
    assert_int_equal(json_array_size(json_object_get(anna, "logins")), 1);
    assert_null(json_object_get(anna, "hash"));
    json_decref(j);
    json_decref(post_json("/v1/operators/logout", "{\"name\":\"anna\"}"));
    assert_int_equal(status_of(&other, "GET", "/v1/session", NULL), 401);
    other = log_in_as("anna");
    json_decref(post_json("/v1/operators/passwd", "{\"name\":\"anna\",\"password\":\"another-horse\"}"));
    assert_int_equal(status_of(&other, "GET", "/v1/session", NULL), 401);
    other = log_in("{\"name\":\"anna\",\"password\":\"another-horse\"}");
    json_decref(post_json("/v1/operators/remove", "{\"name\":\"anna\"}"));
    assert_int_equal(status_of(&other, "GET", "/v1/session", NULL), 401);
}

/* Without a majority a login is this node's alone, and still ends with its operator's password. */
/* A connection on which a live dialogue is sent, which does not end by itself. */
static int listen_in(const char *credentials)
{
    char rq[512];
    int fd = http_connect_tcp(&server);
    int n = snprintf(rq, sizeof rq, "GET /v1/trace?side=client HTTP/1.1\r\nHost: localhost:%u\r\n%s\r\n\r\n",
                     server.port, credentials);
    assert_true(http_write(fd, rq, (size_t)n));
    return fd;
}

static int listen_as(const char *name)
{
    char cookie[128];
    struct browser b = log_in_as(name);
    snprintf(cookie, sizeof cookie, "Cookie: %s", b.cookie);
    return listen_in(cookie);
}

static void test_a_stream_ends_with_what_opened_it(void **state)
{
    (void)state;
    server.node.trace_lines = -1;
    add("anna", "admin");
    add("paul", "postmaster");
    add("rita", "postmaster");
    char token[64];
    snprintf(token, sizeof token, "Authorization: Bearer %s", server.token);
    int fd[] = { listen_as("anna"), listen_as("paul"), listen_as("rita"), listen_in(token) };
    expect_traces(4);
    json_decref(post_json("/v1/operators/logout", "{\"name\":\"anna\"}"));
    expect_traces(3);
    json_decref(post_json("/v1/operators/set", "{\"name\":\"paul\",\"role\":\"viewer\"}"));
    expect_traces(2);
    json_decref(post_json("/v1/operators/passwd", "{\"name\":\"rita\",\"password\":\"another-horse\"}"));
    expect_traces(1);
    FILE *file = fopen(server.token_file, "w");
    assert_non_null(file);
    assert_true(fputs("fedcba9876543210-secret\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(admin_reload(server.admin, &(struct admin_error){ .text = "" }), 0);
    expect_traces(0);
    for (size_t i = 0; i < sizeof fd / sizeof fd[0]; i++)
        close(fd[i]);
}

static void test_without_a_majority(void **state)
{
    (void)state;
    struct http_reply r;
    add("anna", "admin");
    server.cluster.submit_err = ERR_TIMEOUT;
    struct browser b = log_in_as("anna");
    ask_with(&b, "GET", "/v1/session", NULL, NULL, NULL, &r);
    json_t *j = expect_json(&r);
    assert_true(json_is_true(json_object_get(j, "this_node_only")));
    assert_string_equal(json_string_value(json_object_get(j, "name")), "anna");
    json_decref(j);
    struct browser gone = log_in_as("anna");
    assert_int_equal(status_of(&gone, "POST", "/v1/logout", "{}"), 200);
    assert_int_equal(status_of(&gone, "GET", "/v1/session", NULL), 401);
    server.cluster.submit_err = 0;
    json_decref(post_json("/v1/operators/passwd", "{\"name\":\"anna\",\"password\":\"another-horse\"}"));
    assert_int_equal(status_of(&b, "GET", "/v1/session", NULL), 401);
}

static void test_by_the_token(void **state)
{
    (void)state;
    struct http_reply r;
    struct admin_error e;
    struct browser b = log_in("{\"token\":\"0123456789abcdef-secret\"}");
    ask_with(&b, "GET", "/v1/session", NULL, NULL, NULL, &r);
    json_t *j = expect_json(&r);
    assert_string_equal(json_string_value(json_object_get(j, "role")), "admin");
    assert_true(json_is_false(json_object_get(j, "member")));
    json_decref(j);
    assert_int_equal(status_of(&b, "POST", "/v1/reload", "{}"), 200);
    assert_int_equal(status_of(&b, "POST", "/v1/session", "{}"), 200);
    assert_int_equal(admin_reload(server.admin, &e), 0); /* the same token */
    assert_int_equal(status_of(&b, "GET", "/v1/session", NULL), 200);
    FILE *f = fopen(server.token_file, "w");
    assert_non_null(f);
    fputs("another-token-of-good-length\n", f);
    fclose(f);
    assert_int_equal(admin_reload(server.admin, &e), 0);
    assert_int_equal(status_of(&b, "GET", "/v1/session", NULL), 401);
    post_login("{\"name\":\"anna\",\"password\":\"" PASSWORD "\"}", &r);
    assert_int_equal(r.status, 401); /* in no cluster there are no operators */
    http_reply_free(&r);
}

/* Idle, and whatever it does: told the time. */
static void test_times(void **state)
{
    (void)state;
    struct logins *l = logins_new();
    struct login made = { .name = "token", .role = ADMIN_ROLE_ADMIN }, found;
    char secret[LOGIN_SECRET_TEXT];
    struct span s = span_of(secret, LOGIN_SECRET_TEXT - 1);
    assert_int_equal(login_make(secret, &made), 0);
    made.until_ms = NOW + LOGIN_IDLE_MS;
    made.ends_ms = NOW + LOGIN_ENDS_MS;
    logins_open_here(l, &made, 0);
    assert_true(logins_find(l, NULL, s, NOW + LOGIN_IDLE_MS - 1, &found));
    assert_false(logins_find(l, NULL, s, NOW + LOGIN_IDLE_MS, &found));
    logins_extend_here(l, &made, NOW + 2 * LOGIN_ENDS_MS);
    assert_true(logins_find(l, NULL, s, NOW + LOGIN_ENDS_MS - 1, &found));
    assert_false(logins_find(l, NULL, s, NOW + LOGIN_ENDS_MS, &found));
    /* a table that is full: the one that ends first makes room */
    for (int i = 0; i < LOGIN_HERE_MAX; i++) {
        struct login more = { .name = "token" };
        char other[LOGIN_SECRET_TEXT];
        assert_int_equal(login_make(other, &more), 0);
        more.until_ms = more.ends_ms = NOW + 2 * LOGIN_ENDS_MS + i;
        logins_open_here(l, &more, 0);
    }
    assert_false(logins_find(l, NULL, s, NOW, &found));
    logins_free(l);
}

/* ---- the page ------------------------------------------------------------------------------------------ */

static void test_the_page_and_its_files(void **state)
{
    (void)state;
    char rq[256];
    assert_true(ui_nfiles > 5);
    for (size_t i = 0; i < ui_nfiles; i++) {
        struct http_reply r;
        snprintf(rq, sizeof rq, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", ui_files[i].path);
        http_tcp(&server, rq, &r);
        assert_int_equal(r.status, 200);
        assert_int_equal(r.body_len, ui_files[i].n);
        assert_memory_equal(r.body, ui_files[i].bytes, ui_files[i].n);
        static const char *const headers[] = {
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
            "X-Frame-Options: DENY",
            "frame-ancestors 'none'",
            "script-src 'self';",
            "style-src 'self';",
            "default-src 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "Cache-Control: no-store",
        };
        for (size_t k = 0; k < sizeof headers / sizeof headers[0]; k++)
            if (strstr(r.head, headers[k]) == NULL)
                fail_msg("%s: no %s", ui_files[i].path, headers[k]);
        assert_null(strstr(r.head, "unsafe"));
        assert_null(strstr(r.head, "Access-Control"));
        http_reply_free(&r);
        snprintf(rq, sizeof rq, "GET %s HTTP/1.1\r\nHost: evil.test\r\n\r\n", ui_files[i].path);
        http_tcp(&server, rq, &r);
        expect_error(&r, 421, "wrong_host");
        snprintf(rq, sizeof rq, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
                 ui_files[i].path);
        http_tcp(&server, rq, &r);
        expect_error(&r, 401, "unauthorized");
    }
}

/* No markup of strings, and nothing from elsewhere, in what the browser gets: its policy forbids it, too. */
static void test_the_files_make_no_markup_of_text(void **state)
{
    (void)state;
    static const char *const never[] = { "innerHTML",
                                         "outerHTML",
                                         "insertAdjacent",
                                         "document.write",
                                         "eval(",
                                         "DOMParser",
                                         " style=\"",
                                         " onclick=",
                                         "http://",
                                         "https://",
                                         "localStorage.setItem(\"csrf" };
    for (size_t i = 0; i < ui_nfiles; i++) {
        char *text = strndup((const char *)ui_files[i].bytes, ui_files[i].n);
        assert_non_null(text);
        for (size_t k = 0; k < sizeof never / sizeof never[0]; k++) {
            const char *at = strstr(text, never[k]);
            if (at != NULL && strncmp(at, "http://www.w3.org/2000/svg", 26) != 0)
                fail_msg("%s has %s", ui_files[i].path, never[k]);
        }
        free(text);
    }
}

/* A browser hears only those server-sent events whose names the page gives. */
static void test_the_page_listens_for_every_event(void **state)
{
    (void)state;
    const struct ui_file *f = ui_find("/ui/events.js");
    assert_non_null(f);
    char *text = strndup((const char *)f->bytes, f->n), word[64];
    assert_non_null(text);
    for (int kind = 0; kind < EVENT_KINDS; kind++) {
        snprintf(word, sizeof word, "\"%s\"", event_kind_name((enum event_kind)kind));
        if (strstr(text, word) == NULL)
            fail_msg("the dashboard does not listen for %s", word);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MEMBER(test_wrong_ones_look_the_same),
        MEMBER(test_guessing_is_counted_and_stopped),
        MEMBER(test_logging_in_from_elsewhere),
        MEMBER(test_roles),
        MEMBER(test_cross_site_requests),
        MEMBER(test_logging_out),
        MEMBER(test_without_a_majority),
        ALONE(test_by_the_token),
        MEMBER(test_a_stream_ends_with_what_opened_it),
        cmocka_unit_test(test_the_page_listens_for_every_event),
        SERVED(test_the_page_and_its_files),
        cmocka_unit_test(test_every_row_of_the_roles_is_a_route),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_the_files_make_no_markup_of_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
