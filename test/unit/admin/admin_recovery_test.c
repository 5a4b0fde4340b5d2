/* The admin server of a cluster's node: backups, limits after a new epoch, feature levels. */
#include "test/unit/admin/expect.h"

#include "base/err.h"

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

static void refused_with(const char *method, const char *target, const char *body, int status, const char *part)
{
    struct http_reply r;
    http_local(&server, method, target, body, &r);
    if (r.status != status || strstr(r.body, part) == NULL)
        fail_msg("%s: %d %s", target, r.status, r.body);
    http_reply_free(&r);
}

static void refused(const char *method, const char *target, int status, const char *part)
{
    refused_with(method, target, method[0] == 'G' ? NULL : "{}", status, part);
}

static void test_a_node_alone_has_none(void **state)
{
    (void)state;
    refused("GET", "/v1/cluster/backup", 501, "no cluster");
    refused("POST", "/v1/cluster/raise", 501, "no cluster");
    refused("POST", "/v1/limits/reopen", 501, "no cluster");
}

static void test_backup(void **state)
{
    (void)state;
    struct http_reply r;
    http_local(&server, "GET", "/v1/cluster/backup", NULL, &r);
    assert_int_equal(r.status, 200);
    assert_int_equal(r.body_len, FAKE_BACKUP_BYTES);
    for (uint32_t i = 0; i < FAKE_BACKUP_BYTES; i++)
        if (r.body[i] != (char)(i * 7))
            fail_msg("byte %u", i);
    http_reply_free(&r);
    cluster->submit_err = ERR_TIMEOUT;
    refused("GET", "/v1/cluster/backup", 504, "no majority");
}

static bool has_problem(const char *part)
{
    size_t i;
    json_t *j = get_json("/v1/cluster"), *p;
    bool found = false;
    json_array_foreach(json_object_get(j, "problems"), i, p) found |=
        strstr(json_string_value(p), part) != NULL;
    json_decref(j);
    return found;
}

static void test_limits_after_a_new_epoch(void **state)
{
    (void)state;
    assert_false(has_problem("turnpike limit reopen"));
    refused("POST", "/v1/limits/reopen", 404, "no limits count as full");
    fake_cluster_new_epoch(cluster);
    assert_true(has_problem("turnpike limit reopen"));
    json_decref(post_json("/v1/limits/reopen", "{}"));
    assert_false(has_problem("turnpike limit reopen"));
    json_t *j = get_json("/v1/audit?limit=1");
    const char *what =
        json_string_value(json_object_get(json_array_get(json_object_get(j, "audit"), 0), "what"));
    assert_non_null(strstr(what, "limits count what is known"));
    json_decref(j);
}

static void test_feature_levels(void **state)
{
    (void)state;
    refused("POST", "/v1/cluster/raise", 409, "feature level 1 is in force");
    struct http_reply r;
    http_local(&server, "POST", "/v1/cluster/raise", "{\"level\":2}", &r);
    assert_int_equal(r.status, 403);
    assert_non_null(strstr(r.body, "upgrade or remove it"));
    http_reply_free(&r);
    expect_bad("POST", "/v1/cluster/raise", "{\"level\":0}");
}

/* ---- a node that moved --------------------------------------------------------------------------------- */

#define APPLY "/v1/policy/apply"
#define DIFF "/v1/policy/diff"
#define HELD                                                                                                 \
    "{\"name\":\"p\",\"text\":\"bounces: {domain: b.example, postmaster: p@a.example}\\nheld: {expire: 3d}\"}"
#define OLD "{\"name\":\"p\",\"text\":\"voters: 3\"}"
#define DNSBL "{\"name\":\"p\",\"text\":\"dnsbl: {lists: [{zone: bl.example}]}\"}"

/* What a diff's first warning says; "": there is none. */
static void assert_warned(const char *document, const char *words)
{
    json_t *j = post_json(DIFF, document);
    const char *first = json_string_value(json_array_get(json_object_get(j, "warnings"), 0));
    assert_string_equal(first != NULL ? first : "", words);
    json_decref(j);
}

/* Nodes of older builds would keep the policy before it: nothing is done, and it is said what for. */
static void test_a_policy_that_older_nodes_cannot_read(void **state)
{
    (void)state;
    assert_warned(HELD, "held needs feature level 6, the cluster is at 1: see `turnpike cluster raise`");
    assert_warned(OLD, "");
    refused_with("POST", APPLY, HELD, 403,
                 "held needs feature level 6, the cluster is at 1: see `turnpike cluster raise`");
    refused_with("POST", APPLY, DNSBL, 403, "dnsbl needs feature level 5, the cluster is at 1");
    json_decref(post_json(APPLY, OLD)); /* as old as it always was */
    fake_cluster_raise(cluster, 5);
    refused_with("POST", APPLY, HELD, 403, "held needs feature level 6, the cluster is at 5");
    json_t *j = get_json("/v1/policy");
    assert_string_equal(json_string_value(json_object_get(j, "text")), "voters: 3");
    json_decref(j);
    json_decref(post_json(APPLY, DNSBL));
    fake_cluster_raise(cluster, 6);
    assert_warned(HELD, "");
    json_decref(post_json(APPLY, HELD));
}

static void test_where_a_node_is_reached(void **state)
{
    (void)state;
    static const char taken[] = "{\"node\":\"node-b\",\"raft\":\"192.0.2.9:1\",\"gossip\":\"192.0.2.9:1\"}",
                      good[] =
                          "{\"node\":\"node-b\",\"raft\":\"192.0.2.9:1\",\"gossip\":\"b.example.com:2\"}";
    struct http_reply r;
    expect_bad("POST", "/v1/nodes/address",
               "{\"node\":\"node-b\",\"raft\":\"here\",\"gossip\":\"192.0.2.9:2\"}");
    expect_bad("POST", "/v1/nodes/address", taken); /* one for both */
    http_local(&server, "POST", "/v1/nodes/address", good, &r);
    assert_int_equal(r.status, 200);
    http_reply_free(&r);
    struct directory_member moved;
    machine_read_lock(cluster->machine);
    assert_true(directory_member_find(cluster->machine, 2, &moved));
    assert_true(span_eq(moved.raft_address, SPAN_LIT("192.0.2.9:1")));
    assert_true(span_eq(moved.gossip_address, SPAN_LIT("b.example.com:2")));
    machine_read_unlock(cluster->machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_node_alone_has_none, setup_alone, expect_teardown),
        cmocka_unit_test_setup_teardown(test_backup, setup_member, expect_teardown),
        cmocka_unit_test_setup_teardown(test_limits_after_a_new_epoch, setup_member, expect_teardown),
        cmocka_unit_test_setup_teardown(test_feature_levels, setup_member, expect_teardown),
        cmocka_unit_test_setup_teardown(test_a_policy_that_older_nodes_cannot_read, setup_member, expect_teardown),
        cmocka_unit_test_setup_teardown(test_where_a_node_is_reached, setup_member, expect_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
