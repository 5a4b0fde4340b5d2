/* The admin server of a node in a cluster, over a real machine: freezes, accounts, tenants, limits, pools,
 * addresses, policy, members, audit; and of one that is in no cluster.
 */
#include "test/unit/admin/expect.h"

#include "base/clock.h"
#include "base/err.h"
#include "consensus/directory.h"
#include "node/auth/accounts.h"

#include <stdio.h>

static struct fake_cluster *cluster = &server.cluster;

static int setup_member(void **state)
{
    (void)state;
    fake_server_start_in(&server, true);
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

static const char *text(const json_t *j, const char *name)
{
    const char *s = json_string_value(json_object_get(j, name));
    return s != NULL ? s : "(null)";
}

/* The element of j's array whose member has this value. */
static const json_t *row(const json_t *j, const char *array, const char *member, const char *value)
{
    size_t i;
    json_t *r;
    json_array_foreach(json_object_get(j, array), i, r)
    {
        if (strcmp(text(r, member), value) == 0)
            return r;
    }
    fail_msg("no %s with %s %s", array, member, value);
    return NULL;
}

/* An error with this status whose message holds `part`. */
static void refused(const char *method, const char *target, const char *body, int status, const char *part)
{
    struct http_reply r;
    http_local(&server, method, target, body, &r);
    json_t *j = json_loadb(r.body, r.body_len, 0, NULL);
    const char *message = text(json_object_get(j, "error"), "message");
    if (r.status != status || strstr(message, part) == NULL || strchr(message, '\n') != NULL)
        fail_msg("%s: %d %s", target, r.status, r.body);
    json_decref(j);
    http_reply_free(&r);
}

static void ok(const char *target, const char *body)
{
    json_decref(post_json(target, body));
}

/* ---- no cluster ---------------------------------------------------------------------------------------- */

static void test_a_node_alone_says_so(void **state)
{
    (void)state;
    static const char want[] = "this node is in no cluster: turnpike cluster init or turnpike node join";
    refused("GET", "/v1/cluster", NULL, 501, want);
    refused("GET", "/v1/frozen", NULL, 501, want);
    refused("GET", "/v1/tenants", NULL, 501, want);
    refused("GET", "/v1/limits?account=a", NULL, 501, want);
    refused("GET", "/v1/pools", NULL, 501, want);
    refused("GET", "/v1/ips", NULL, 501, want);
    refused("GET", "/v1/policy", NULL, 501, want);
    refused("GET", "/v1/policy/history", NULL, 501, want);
    refused("GET", "/v1/audit", NULL, 501, want);
    refused("GET", "/v1/status?scope=cluster", NULL, 501, want);
    refused("POST", "/v1/freeze", "{\"account\":\"a\"}", 501, want);
    refused("POST", "/v1/freeze", "{\"account\":\"a\",\"local\":true}", 501, want);
    refused("POST", "/v1/thaw", "{\"account\":\"a\"}", 501, want);
    refused("POST", "/v1/policy/apply", "{\"name\":\"p\",\"text\":\"voters: 3\"}", 501, want);
    refused("POST", "/v1/nodes/token", "{}", 501, want);
    refused("POST", "/v1/nodes/remove", "{\"node\":\"b\"}", 501, want);
    refused("POST", "/v1/node/drain", "{}", 501, want);
    refused("POST", "/v1/node/leave", "{}", 501, want);
    refused("POST", "/v1/tenants/set", "{\"name\":\"b\"}", 501, want);
    /* Its own accounts it has. */
    ok("/v1/accounts/add", "{\"name\":\"anna@example.com\",\"password\":\"x\"}");
    assert_int_equal(server.node.naccounts, 1);
    json_t *j = get_json("/v1/accounts/show?name=Anna%40example.com");
    assert_string_equal(text(j, "name"), "anna@example.com");
    json_decref(j);
    refused("GET", "/v1/accounts/show?name=bob", NULL, 404, "there is no account bob");
    ok("/v1/cluster/init", "{\"name\":\"node-z\"}");
    assert_string_equal(cluster->init_name, "node-z");
    ok("/v1/node/join", "{\"token\":\"tp1.x\"}");
    assert_string_equal(cluster->token, "tp1.x");
    refused("POST", "/v1/node/join", "{\"token\":\"expired\"}", 403, "no longer good");
}

/* ---- freeze -------------------------------------------------------------------------------------------- */

static void test_freeze_and_thaw(void **state)
{
    (void)state;
    json_t *j =
        post_json("/v1/freeze",
                  "{\"account\":\" Anna@Example.com\",\"for\":\"2h\",\"mode\":\"hold\",\"reason\":\"spam\"}");
    json_int_t id = number(j, "id");
    assert_string_equal(text(j, "name"), "anna@example.com");
    assert_string_equal(text(j, "scope"), "account");
    assert_string_equal(text(j, "mode"), "hold");
    assert_int_equal(number(j, "for_ms"), 7200000);
    assert_true(json_is_true(json_object_get(j, "complete")));
    assert_string_equal(text(row(j, "nodes", "node", "node-a"), "how"), "confirmed");
    assert_string_equal(text(row(j, "nodes", "node", "node-b"), "how"), "expired");
    assert_int_equal(number(row(j, "nodes", "node", "node-b"), "after_ms"), 4100);
    assert_true(number(j, "took_ms") >= 0);
    json_decref(j);
    assert_int_equal(cluster->awaited, cluster->index);
    assert_int_equal((uint64_t)id / COMMAND_ENTRY_MAX, cluster->index);

    j = post_json("/v1/freeze", "{\"tenant\":\"example.org\"}");
    assert_string_equal(text(j, "scope"), "tenant");
    assert_string_equal(text(j, "mode"), "auto"); /* the policy's */
    json_decref(j);

    j = get_json("/v1/frozen");
    assert_int_equal(json_array_size(json_object_get(j, "frozen")), 2);
    const json_t *f = row(j, "frozen", "name", "anna@example.com");
    assert_int_equal(number(f, "id"), id);
    assert_string_equal(text(f, "reason"), "spam");
    assert_non_null(strstr(text(f, "who"), "unix:uid="));
    assert_int_equal(number(f, "at_ms"), 1700000000000);
    assert_in_range(number(f, "left_ms"), 7190000, 7200000);
    f = row(j, "frozen", "name", "example.org");
    assert_true(json_is_null(json_object_get(f, "left_ms")));
    assert_string_equal(text(f, "mode"), "auto");
    json_decref(j);

    /* A thaw that names another freeze leaves this one. */
    char body[128];
    snprintf(body, sizeof(body), "{\"account\":\"anna@example.com\",\"freeze\":%lld}", (long long)id + 64);
    struct http_reply r;
    http_local(&server, "POST", "/v1/thaw", body, &r);
    http_reply_free(&r);
    j = get_json("/v1/frozen");
    assert_int_equal(json_array_size(json_object_get(j, "frozen")), 2);
    json_decref(j);
    /* One that names none is given the present one. */
    ok("/v1/thaw", "{\"account\":\"anna@example.com\"}");
    assert_int_equal(cluster->thawed, id);
    refused("POST", "/v1/thaw", "{\"account\":\"anna@example.com\"}", 404, "anna@example.com is not frozen");
    ok("/v1/thaw", "{\"tenant\":\"example.org\"}");
    j = get_json("/v1/frozen");
    assert_int_equal(json_array_size(json_object_get(j, "frozen")), 0);
    json_decref(j);
}

static void test_freeze_pages(void **state)
{
    (void)state;
    char body[128], target[128] = "/v1/frozen?limit=3";
    size_t n = 0, pages = 0;
    char last[64] = "";
    for (int i = 0; i < 7; i++) {
        snprintf(body, sizeof(body), "{\"%s\":\"s%d\"}", i % 2 ? "tenant" : "account", i / 2);
        ok("/v1/freeze", body);
    }
    for (bool more = true; more; pages++) {
        json_t *j = get_json(target), *f;
        size_t i;
        json_array_foreach(json_object_get(j, "frozen"), i, f)
        {
            char at[64];
            snprintf(at, sizeof(at), "%s %s", text(f, "name"), text(f, "scope"));
            assert_true(strcmp(last, at) < 0);
            memcpy(last, at, sizeof(at));
            n++;
        }
        more = json_is_string(json_object_get(j, "next"));
        snprintf(target, sizeof(target), "/v1/frozen?limit=3&after=%s", text(j, "next"));
        json_decref(j);
    }
    assert_int_equal(n, 7);
    assert_int_equal(pages, 3);
    expect_bad("GET", "/v1/frozen?after=x", NULL);
}

static void test_freeze_in_trouble(void **state)
{
    (void)state;
    expect_bad("POST", "/v1/freeze", "{}");
    expect_bad("POST", "/v1/freeze", "{\"account\":\"a\",\"tenant\":\"b\"}");
    expect_bad("POST", "/v1/freeze", "{\"account\":\"a b\"}");
    expect_bad("POST", "/v1/freeze", "{\"account\":\"a\",\"mode\":\"bounce\"}");
    expect_bad("POST", "/v1/freeze", "{\"account\":\"a\",\"for\":\"soon\"}");
    assert_int_equal(cluster->submits, 0);
    /* It is frozen, though not all have said so: that is no error, but not complete either. */
    cluster->await_err = ERR_TIMEOUT;
    json_t *j = post_json("/v1/freeze", "{\"account\":\"anna\"}");
    assert_true(json_is_false(json_object_get(j, "complete")));
    assert_string_equal(text(j, "problem"), "node-b has not confirmed yet");
    assert_int_equal(json_array_size(json_object_get(j, "nodes")), 1);
    json_decref(j);
    cluster->submit_err = ERR_TIMEOUT;
    refused("POST", "/v1/freeze", "{\"account\":\"bob\"}", 504, "node-b and node-c do not answer");
    struct http_reply r;
    http_local(&server, "POST", "/v1/freeze", "{\"account\":\"bob\"}", &r);
    expect_error(&r, 504, "no_majority");
    j = post_json("/v1/freeze", "{\"account\":\"bob\",\"local\":true}");
    assert_true(json_is_true(json_object_get(j, "local")));
    json_decref(j);
    assert_int_equal(cluster->freezes_local, 1);
    assert_string_equal(cluster->frozen_name, "bob");
    j = get_json("/v1/frozen?limit=1");
    assert_string_equal(text(row(j, "local", "name", "bob"), "mode"), "defer");
    assert_string_equal(text(row(j, "frozen", "name", "anna"), "scope"), "account");
    json_decref(j);
    ok("/v1/thaw", "{\"account\":\"bob\",\"local\":true}");
    assert_int_equal(cluster->thaws_local, 1);
    refused("POST", "/v1/thaw", "{\"account\":\"eve\",\"local\":true}", 404, "eve is not frozen here");
    /* Who is frozen can be seen without a majority. */
    j = get_json("/v1/frozen");
    assert_int_equal(json_array_size(json_object_get(j, "frozen")), 1);
    json_decref(j);
    /* What must be true is not shown without one. */
    refused("GET", "/v1/limits?account=anna", NULL, 504, "no majority");
}

/* ---- accounts ------------------------------------------------------------------------------------------ */

static void test_accounts(void **state)
{
    (void)state;
    struct directory_account a;
    ok("/v1/accounts/add", "{\"name\":\"Anna@Example.com\",\"password\":\"correct horse\","
                           "\"senders\":[\"list@example.com\",\"@news.example.com\"]}");
    assert_int_equal(server.node.naccounts, 0); /* not the node's own file */
    machine_read_lock(cluster->machine);
    assert_true(directory_account_find(cluster->machine, SPAN_LIT("anna@example.com"), &a));
    char hash[ACCOUNT_HASH_MAX + 1];
    snprintf(hash, sizeof(hash), "%.*s", (int)a.hash.n, a.hash.p);
    machine_read_unlock(cluster->machine);
    assert_true(account_hash_verify(hash, SPAN_LIT("correct horse")));
    assert_null(strstr(hash, "horse"));

    json_t *j = get_json("/v1/accounts/show?name=anna%40example.com");
    assert_string_equal(text(j, "class"), "person");
    assert_string_equal(text(j, "tenant"), "example.com");
    assert_int_equal(json_array_size(json_object_get(j, "senders")), 2);
    assert_true(json_is_true(json_object_get(j, "has_password")));
    json_int_t version = number(j, "version");
    json_decref(j);
    refused("POST", "/v1/accounts/add", "{\"name\":\"anna@example.com\",\"password\":\"x\"}", 409,
            "there is an account anna@example.com already");
    refused("POST", "/v1/accounts/add", "{\"name\":\"a b\",\"password\":\"x\"}", 400, "no account name");
    refused("POST", "/v1/accounts/add", "{\"name\":\"b\",\"password\":\"x\",\"senders\":[\"a@b.org,*\"]}",
            400, "a sender is one address");

    ok("/v1/accounts/set", "{\"name\":\"anna@example.com\",\"class\":\"bulk\",\"disabled\":true}");
    j = get_json("/v1/accounts/show?name=anna%40example.com");
    assert_string_equal(text(j, "class"), "bulk");
    assert_true(json_is_true(json_object_get(j, "disabled")));
    assert_int_equal(json_array_size(json_object_get(j, "senders")), 2); /* stays */
    assert_true(json_is_true(json_object_get(j, "has_password")));
    assert_true(number(j, "version") > version);
    json_decref(j);
    expect_bad("POST", "/v1/accounts/set", "{\"name\":\"anna@example.com\"}");
    refused("POST", "/v1/accounts/set", "{\"name\":\"bob\",\"class\":\"bulk\"}", 404,
            "there is no account bob");

    ok("/v1/accounts/passwd", "{\"name\":\"anna@example.com\",\"password\":\"new\"}");
    machine_read_lock(cluster->machine);
    assert_true(directory_account_find(cluster->machine, SPAN_LIT("anna@example.com"), &a));
    snprintf(hash, sizeof(hash), "%.*s", (int)a.hash.n, a.hash.p);
    assert_int_equal(a.class, ACCOUNT_BULK);
    assert_true(a.disabled);
    machine_read_unlock(cluster->machine);
    assert_true(account_hash_verify(hash, SPAN_LIT("new")));

    /* Somebody else's change between look and command: looked at again. */
    cluster->busy_first = 2;
    ok("/v1/accounts/set", "{\"name\":\"anna@example.com\",\"disabled\":false}");
    cluster->busy_first = 99;
    refused("POST", "/v1/accounts/set", "{\"name\":\"anna@example.com\",\"disabled\":true}", 503,
            "changed meanwhile");
    cluster->busy_first = 0;
    ok("/v1/accounts/remove", "{\"name\":\"anna@example.com\"}");
    refused("POST", "/v1/accounts/remove", "{\"name\":\"anna@example.com\"}", 404, "there is no account");
}

static void test_account_import_and_pages(void **state)
{
    (void)state;
    static const char body[] =
        "{\"accounts\":[{\"name\":\"a@x.org\",\"hash\":\"$6$abc$"
        "0123456789012345678901234567890123456789012345678901234567"
        "8901234567890123456789012345\"},{\"name\":\"b@x.org\",\"password\":\"p\"},{\"name\":\"c@x.org\"},"
        "{\"name\":\"a@x.org\",\"password\":\"q\"},{\"name\":\"d@x.org\",\"hash\":\"md5\"}]}";
    json_t *j = post_json("/v1/accounts/import", body);
    assert_int_equal(number(j, "taken"), 2);
    assert_int_equal(json_array_size(json_object_get(j, "refused")), 3);
    json_decref(j);
    j = post_json(
        "/v1/accounts/import",
        "{\"replace\":true,\"accounts\":[{\"name\":\"a@x.org\",\"password\":\"q\",\"class\":\"device\"}]}");
    assert_int_equal(number(j, "taken"), 1);
    json_decref(j);
    j = get_json("/v1/accounts?limit=1");
    assert_string_equal(text(j, "next"), "a@x.org");
    assert_string_equal(text(row(j, "accounts", "name", "a@x.org"), "class"), "device");
    json_decref(j);
    j = get_json("/v1/accounts?limit=1&after=a%40x.org");
    assert_string_equal(text(row(j, "accounts", "name", "b@x.org"), "tenant"), "x.org");
    assert_true(json_is_null(json_object_get(j, "next")));
    json_decref(j);
    /* Without a majority not each entry is waited for. */
    cluster->submits = 0;
    cluster->submit_err = ERR_TIMEOUT;
    j = post_json("/v1/accounts/import", "{\"accounts\":[{\"name\":\"e\",\"password\":\"p\"},{\"name\":\"f\","
                                         "\"password\":\"p\"},{\"name\":\"g\",\"password\":\"p\"}]}");
    assert_int_equal(number(j, "taken"), 0);
    assert_int_equal(json_array_size(json_object_get(j, "refused")), 3);
    assert_int_equal(cluster->submits, 1);
    json_decref(j);
}

/* ---- tenants and limits -------------------------------------------------------------------------------- */

static void grant(const char *account, uint32_t n)
{
    struct command cmd = { .type = COMMAND_GRANT,
                           .grant = { .account = span_str(account), .need = n, .want = n } };
    struct machine_result result;
    assert_int_equal(fake_cluster_do(cluster, &cmd, &result), 0);
    assert_int_equal(result.count, n);
}

static void test_tenants(void **state)
{
    (void)state;
    ok("/v1/tenants/set", "{\"name\":\"example.org\",\"note\":\"contract\"}");
    ok("/v1/tenants/set", "{\"name\":\"a.org\"}");
    json_t *j = get_json("/v1/tenants");
    assert_int_equal(json_array_size(json_object_get(j, "tenants")), 2);
    assert_string_equal(text(row(j, "tenants", "name", "example.org"), "note"), "contract");
    json_decref(j);
    j = get_json("/v1/tenants?limit=1");
    assert_string_equal(text(j, "next"), "a.org");
    json_decref(j);
    refused("POST", "/v1/tenants/contact", "{\"name\":\"a.org\",\"address\":\"<a@b.org>\"}", 400, "mail address");
    ok("/v1/tenants/remove", "{\"name\":\"a.org\"}");
    refused("POST", "/v1/tenants/remove", "{\"name\":\"a.org\"}", 404, "a.org");
    j = get_json("/v1/tenants");
    assert_int_equal(json_array_size(json_object_get(j, "tenants")), 1);
    json_decref(j);
}

static void test_limits(void **state)
{
    (void)state;
    ok("/v1/accounts/add", "{\"name\":\"anna@example.com\",\"password\":\"x\"}");
    grant("anna@example.com", 3);
    json_t *j = get_json("/v1/limits?account=anna%40example.com");
    const json_t *u = row(j, "limits", "limit", "account-hour");
    assert_string_equal(text(j, "tenant"), "example.com");
    assert_string_equal(text(j, "class"), "person");
    assert_int_equal(number(u, "count"), 500);
    assert_int_equal(number(u, "window_ms"), 3600000);
    assert_int_equal(number(u, "used"), 3);
    assert_int_equal(number(u, "held"), 3);
    assert_int_equal(number(u, "left"), 497);
    assert_int_equal(number(u, "free_after_ms"), 0);
    assert_in_range(number(u, "gone_after_ms"), 3600000, 3769800 + 36000);
    assert_true(json_is_false(json_object_get(u, "overridden")));
    assert_int_equal(number(row(j, "limits", "limit", "account-day"), "used"), 3);
    json_decref(j);
    ok("/v1/limits/set", "{\"account\":\"anna@example.com\",\"limit\":\"account-hour\",\"count\":1000}");
    j = get_json("/v1/limits?account=anna%40example.com");
    u = row(j, "limits", "limit", "account-hour");
    assert_int_equal(number(u, "count"), 1000);
    assert_true(json_is_true(json_object_get(u, "overridden")));
    json_decref(j);
    ok("/v1/limits/clear", "{\"account\":\"anna@example.com\",\"limit\":\"account-hour\"}");
    j = get_json("/v1/limits?account=anna%40example.com");
    assert_int_equal(number(row(j, "limits", "limit", "account-hour"), "count"), 500);
    json_decref(j);
    j = get_json("/v1/limits?tenant=example.com");
    assert_int_equal(number(row(j, "limits", "limit", "tenant-day"), "used"), 3);
    assert_true(json_is_null(json_object_get(j, "account")));
    json_decref(j);
    refused("POST", "/v1/limits/set", "{\"account\":\"anna@example.com\",\"limit\":\"plugh\",\"count\":1}",
            404, "plugh");
    expect_bad("POST", "/v1/limits/set",
               "{\"account\":\"a\",\"limit\":\"account-hour\",\"count\":1000000001}");
    expect_bad("GET", "/v1/limits", NULL);
}

/* ---- pools and addresses ------------------------------------------------------------------------------- */

static void test_pools_and_addresses(void **state)
{
    (void)state;
    ok("/v1/pools/add", "{\"name\":\"news\",\"note\":\"bulk mail\"}");
    ok("/v1/pools/add", "{\"name\":\"main\"}");
    ok("/v1/ips/add",
       "{\"address\":\"192.0.2.10\",\"pool\":\"news\",\"node\":\"node-a\",\"ehlo\":\"o1.example.com\"}");
    ok("/v1/ips/add", "{\"address\":\"2001:DB8:0::1\",\"pool\":\"news\",\"node\":\"1\",\"weight\":5}");
    refused("POST", "/v1/ips/add", "{\"address\":\"192.0.2.11\",\"pool\":\"news\",\"node\":\"node-x\"}", 404,
            "there is no node node-x: turnpike node list shows them");
    refused("POST", "/v1/ips/add", "{\"address\":\"192.0.2.x\",\"pool\":\"news\",\"node\":\"node-a\"}", 400,
            "no IP");
    refused("POST", "/v1/ips/add", "{\"address\":\"192.0.2.10\",\"pool\":\"news\",\"node\":\"node-a\"}", 409,
            "192.0.2.10");
    refused("POST", "/v1/ips/add", "{\"address\":\"192.0.2.12\",\"pool\":\"nix\",\"node\":\"node-a\"}", 404,
            "nix");
    ok("/v1/pools/assign", "{\"class\":\"bulk\",\"pool\":\"news\"}");
    ok("/v1/pools/assign", "{\"account\":\"Anna@example.com\",\"pool\":\"main\"}");
    expect_bad("POST", "/v1/pools/assign", "{\"pool\":\"news\"}");
    expect_bad("POST", "/v1/pools/assign", "{\"pool\":\"news\",\"class\":\"bulk\",\"tenant\":\"x\"}");
    json_t *j = get_json("/v1/pools");
    const json_t *p = row(j, "pools", "name", "news");
    assert_int_equal(number(p, "addresses"), 2);
    assert_int_equal(number(p, "usable"), 2);
    assert_string_equal(text(p, "note"), "bulk mail");
    assert_int_equal(json_array_size(json_object_get(j, "assignments")), 2);
    assert_string_equal(text(row(j, "assignments", "name", "anna@example.com"), "pool"), "main");
    assert_string_equal(text(row(j, "assignments", "to", "class"), "name"), "bulk");
    json_decref(j);

    ok("/v1/ips/set", "{\"address\":\"192.0.2.10\",\"use\":\"drained\",\"weight\":7}");
    ok("/v1/ips/move", "{\"address\":\"2001:db8::1\",\"node\":\"node-b\"}");
    j = get_json("/v1/ips");
    const json_t *ip = row(j, "addresses", "address", "192.0.2.10");
    assert_string_equal(text(ip, "use"), "drained");
    assert_string_equal(text(ip, "node"), "node-a");
    assert_string_equal(text(ip, "ehlo"), "o1.example.com");
    assert_int_equal(number(ip, "weight"), 7);
    ip = row(j, "addresses", "address", "2001:db8::1");
    assert_string_equal(text(ip, "next"), "node-b");
    json_decref(j);
    ok("/v1/pools/unassign", "{\"class\":\"bulk\"}");
    ok("/v1/pools/unassign", "{\"account\":\"anna@example.com\"}");
    ok("/v1/ips/remove", "{\"address\":\"192.0.2.10\"}");
    ok("/v1/pools/remove", "{\"name\":\"main\"}");
    j = get_json("/v1/pools");
    assert_int_equal(json_array_size(json_object_get(j, "pools")), 1);
    assert_int_equal(json_array_size(json_object_get(j, "assignments")), 0);
    json_decref(j);
}

/* ---- policy -------------------------------------------------------------------------------------------- */

#define POLICY_A "limits:\\n  - {name: hourly, for: account, count: 7, window: 1h}\\n"
#define POLICY_B                                                                                             \
    "limits:\\n  - {name: hourly, for: account, count: 9, window: 1h}\\nclasses: {bulk: {pool: nix}}\\n"

static void test_policy(void **state)
{
    (void)state;
    json_t *j = get_json("/v1/policy");
    assert_int_equal(number(j, "version"), 0);
    assert_non_null(strstr(text(j, "text"), "account-hour"));
    json_decref(j);
    j = post_json("/v1/policy/diff", "{\"name\":\"p.yaml\",\"text\":\"" POLICY_A "\"}");
    assert_int_equal(number(j, "version"), 0);
    assert_true(json_array_size(json_object_get(j, "diff")) > 3);
    json_decref(j);
    j = post_json("/v1/policy/apply", "{\"name\":\"p.yaml\",\"text\":\"" POLICY_A "\",\"note\":\"first\"}");
    json_int_t first = number(j, "version");
    assert_true(first > 0);
    json_decref(j);
    j = get_json("/v1/limits?account=anna%40example.com");
    assert_int_equal(number(row(j, "limits", "limit", "hourly"), "count"), 7);
    json_decref(j);
    j = post_json("/v1/policy/diff", "{\"name\":\"p.yaml\",\"text\":\"" POLICY_B "\"}");
    assert_int_equal(json_array_size(json_object_get(j, "diff")), 2);
    assert_string_equal(json_string_value(json_array_get(json_object_get(j, "diff"), 0)),
                        "limits.hourly.count: 7 -> 9");
    assert_non_null(
        strstr(json_string_value(json_array_get(json_object_get(j, "warnings"), 0)), "no pool nix"));
    json_decref(j);

    char body[512];
    snprintf(body, sizeof(body), "{\"name\":\"p\",\"text\":\"" POLICY_B "\",\"version\":%lld}",
             (long long)first);
    j = post_json("/v1/policy/apply", body);
    json_int_t second = number(j, "version");
    assert_true(second > first);
    json_decref(j);
    /* Seen before somebody else's. */
    refused("POST", "/v1/policy/apply", body, 503, "another policy");
    j = get_json("/v1/policy/history");
    assert_true(json_array_size(json_object_get(j, "policies")) >= 2);
    const json_t *p = row(j, "policies", "note", "first");
    assert_int_equal(number(p, "version"), first);
    assert_true(json_is_false(json_object_get(p, "in_force")));
    assert_non_null(strstr(text(p, "who"), "unix:uid="));
    json_decref(j);
    snprintf(body, sizeof(body), "/v1/policy?version=%lld", (long long)first);
    j = get_json(body);
    assert_non_null(strstr(text(j, "text"), "count: 7"));
    json_decref(j);
    refused("GET", "/v1/policy?version=1", NULL, 404, "turnpike policy history");
    refused("POST", "/v1/policy/rollback", "{\"to\":1}", 404, "turnpike policy history");
    snprintf(body, sizeof(body), "{\"to\":%lld}", (long long)first);
    j = post_json("/v1/policy/rollback", body);
    assert_true(number(j, "version") > second);
    assert_string_equal(json_string_value(json_array_get(json_object_get(j, "diff"), 0)),
                        "limits.hourly.count: 9 -> 7");
    json_decref(j);
    j = get_json("/v1/policy");
    assert_non_null(strstr(text(j, "text"), "count: 7"));
    assert_non_null(strstr(text(j, "note"), "back to"));
    json_decref(j);
}

static void test_a_wrong_policy_changes_nothing(void **state)
{
    (void)state;
    struct http_reply r;
    http_local(&server, "POST", "/v1/policy/apply",
               "{\"name\":\"/etc/p.yaml\",\"text\":\"voters: 2\\nlimit: []\\nhook: x\\n\"}", &r);
    assert_int_equal(r.status, 400);
    json_t *j = json_loadb(r.body, r.body_len, 0, NULL);
    const json_t *faults = json_object_get(j, "faults");
    assert_int_equal(json_array_size(faults), 2); /* rules between keys wait until each is right */
    assert_string_equal(json_string_value(json_array_get(faults, 0)),
                        "/etc/p.yaml:2: unknown key \"limit\"; did you mean \"limits\"?");
    assert_string_equal(json_string_value(json_array_get(faults, 1)),
                        "/etc/p.yaml:3: hook: expected an absolute path (it begins with \"/\"), got \"x\"");
    assert_string_equal(text(json_object_get(j, "error"), "message"),
                        json_string_value(json_array_get(faults, 0)));
    json_decref(j);
    http_reply_free(&r);
    assert_int_equal(cluster->submits, 0);
    /* Larger than other bodies may be; several chunks. */
    static char body[400000];
    size_t n = (size_t)snprintf(body, sizeof(body), "{\"name\":\"p\",\"text\":\"voters: 5\\n");
    while (n < 300000)
        n += (size_t)snprintf(body + n, sizeof(body) - n, "# a remark on this policy, and one more\\n");
    snprintf(body + n, sizeof(body) - n, "\"}");
    ok("/v1/policy/apply", body);
    assert_true(cluster->submits >= 5 + 1);
    j = get_json("/v1/policy");
    assert_true(json_string_length(json_object_get(j, "text")) > 280000);
    json_decref(j);
    http_local(&server, "POST", "/v1/freeze", body, &r);
    assert_int_equal(r.status, 413);
    http_reply_free(&r);
}

/* ---- members ------------------------------------------------------------------------------------------- */

static void test_cluster_status(void **state)
{
    (void)state;
    json_t *j = get_json("/v1/cluster");
    assert_int_equal(json_array_size(json_object_get(j, "problems")), 0);
    assert_int_equal(json_array_size(json_object_get(j, "nodes")), 3);
    assert_string_equal(text(row(j, "nodes", "name", "node-b"), "health"), "alive");
    assert_int_equal(number(json_object_get(j, "totals"), "members"), 3);
    json_decref(j);
    cluster->status.nodes[1].health = "dead";
    cluster->status.nodes[1].quorum = cluster->status.nodes[1].accepting = false;
    cluster->status.nodes[2].quorum = cluster->status.nodes[2].accepting = false;
    cluster->status.nodes[2].fenced = true;
    cluster->status.ntroubles = 2;
    snprintf(cluster->status.troubles[0], ADMIN_TROUBLE_BYTES, "no quorum");
    snprintf(cluster->status.troubles[1], ADMIN_TROUBLE_BYTES, "the disk of node-a is nearly full");
    cluster->status.nodes[0].certificate_expires_soon = cluster->status.nodes[0].disk_low = true;
    cluster->status.nodes[0].disk_free_permille = 14;
    cluster->status.nodes[0].clock_ms = 5000; /* not yet */
    cluster->status.nodes[1].clock_ms = -120500;
    cluster->status.nodes[2].clock_ms = 5001;
    cluster->status.nodes[2].transfers_late = 2;
    j = get_json("/v1/cluster");
    static const char *const want[] = {
        "no quorum",
        "the disk of node-a is nearly full",
        "node-a: its certificate expires soon and was not renewed: its log says why",
        "node-a: its disk is nearly full (1.4 % free): make room, or it takes no more mail",
        "node-b: does not answer: start it, or turnpike node remove it",
        "node-b: its clock is 2m behind the others': set it, and see that it is kept (NTP); certificates "
        "go by it",
        "node-c: its state differs from the others', and it is fenced: keep its log, then remove it and have "
        "it join "
        "anew (the operations manual, 'States that differ')",
        "node-c: its clock is 5s ahead of the others': set it, and see that it is kept (NTP); certificates "
        "go by it",
        "node-c: 2 batches of mail on the way between it and other nodes for over a minute: turnpike "
        "transfer list there "
        "says why",
    };
    const json_t *problems = json_object_get(j, "problems");
    assert_int_equal(json_array_size(problems), sizeof want / sizeof *want);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        assert_string_equal(json_string_value(json_array_get(problems, i)), want[i]);
    json_decref(j);
    cluster->status.ntroubles = 0;
    cluster->status.nodes[2].fenced = false;
    cluster->status.nodes[0].certificate_expires_soon = cluster->status.nodes[0].disk_low = false;
    cluster->status.nodes[2].clock_ms = 0;
    cluster->status.nodes[2].transfers_late = 0;
    cluster->status.nodes[1] = (struct admin_node){ .state = "removed", .role = "voter", .health = "dead" };
    cluster->status.nodes[2].quorum = cluster->status.nodes[2].accepting = true;
    j = get_json("/v1/cluster");
    assert_int_equal(json_array_size(json_object_get(j, "problems")), 1);
    assert_non_null(
        strstr(json_string_value(json_array_get(json_object_get(j, "problems"), 0)), "two nodes vote"));
    json_decref(j);
}

static void test_nodes(void **state)
{
    (void)state;
    json_t *j = post_json("/v1/nodes/token", "{\"for\":\"30m\",\"name\":\"node-d\"}");
    assert_string_equal(text(j, "token"), "tp1.secret.node-d");
    assert_int_equal(cluster->token_for_ms, 1800000);
    json_decref(j);
    expect_bad("POST", "/v1/nodes/token", "{\"for\":\"8d\"}");
    ok("/v1/nodes/role", "{\"node\":\"node-b\",\"role\":\"standby\"}");
    assert_int_equal(cluster->role_of, 2);
    assert_int_equal(cluster->role, COMMAND_ROLE_STANDBY);
    ok("/v1/nodes/role", "{\"node\":\"3\",\"role\":\"voter\"}");
    assert_int_equal(cluster->role_of, 3);
    refused("POST", "/v1/nodes/role", "{\"node\":\"9\",\"role\":\"voter\"}", 404, "there is no node 9");
    j = post_json("/v1/nodes/remove", "{\"node\":\"node-c\"}");
    assert_int_equal(cluster->removed, 3);
    assert_int_equal(json_array_size(json_object_get(j, "lost")), 2);
    json_decref(j);
    refused("POST", "/v1/nodes/remove", "{\"node\":\"node-a\"}", 403, "turnpike node leave");
    ok("/v1/node/drain", "{}");
    assert_true(cluster->drained);
    ok("/v1/node/drain", "{\"undo\":true}");
    assert_false(cluster->drained);
    cluster->leave_after = 1;
    j = post_json("/v1/node/leave", "{}");
    assert_true(json_is_false(json_object_get(j, "left")));
    assert_string_equal(text(j, "waits_for"), "7 messages are still here");
    json_decref(j);
    j = post_json("/v1/node/leave", "{}");
    assert_true(json_is_true(json_object_get(j, "left")));
    json_decref(j);
    refused("POST", "/v1/cluster/init", "{}", 409, "in a cluster already");
    refused("POST", "/v1/node/join", "{\"token\":\"x\"}", 409, "in a cluster already");
}

static void test_audit(void **state)
{
    (void)state;
    ok("/v1/tenants/set", "{\"name\":\"example.org\"}");
    ok("/v1/freeze", "{\"account\":\"anna\",\"reason\":\"stolen\"}");
    json_t *j = get_json("/v1/audit?limit=1");
    const json_t *a = json_array_get(json_object_get(j, "audit"), 0);
    assert_non_null(strstr(text(a, "what"), "freeze"));
    assert_non_null(strstr(text(a, "what"), "anna"));
    assert_non_null(strstr(text(a, "what"), "stolen"));
    assert_non_null(strstr(text(a, "who"), "unix:uid="));
    assert_non_null(strstr(text(a, "who"), "@node-a"));
    assert_int_equal(number(a, "at_ms"), 1700000000000);
    char target[128];
    snprintf(target, sizeof(target), "/v1/audit?limit=1&after=%s", text(j, "next"));
    json_decref(j);
    j = get_json(target);
    assert_non_null(strstr(text(json_array_get(json_object_get(j, "audit"), 0), "what"), "example.org"));
    json_decref(j);
    expect_bad("GET", "/v1/audit?after=x", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ALONE(test_a_node_alone_says_so),
        MEMBER(test_freeze_and_thaw),
        MEMBER(test_freeze_pages),
        MEMBER(test_freeze_in_trouble),
        MEMBER(test_accounts),
        MEMBER(test_account_import_and_pages),
        MEMBER(test_tenants),
        MEMBER(test_limits),
        MEMBER(test_pools_and_addresses),
        MEMBER(test_policy),
        MEMBER(test_a_wrong_policy_changes_nothing),
        MEMBER(test_cluster_status),
        MEMBER(test_nodes),
        MEMBER(test_audit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
