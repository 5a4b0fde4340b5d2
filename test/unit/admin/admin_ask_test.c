/* Questions to all nodes: how answers are joined, who is missing, and that a node that is asked asks nobody.
 */
#include "test/unit/admin/expect.h"

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>

static struct fake_cluster *cluster = &server.cluster;

static int setup_member(void **state)
{
    (void)state;
    fake_server_start_in(&server, true);
    return 0;
}
#define MEMBER(test) cmocka_unit_test_setup_teardown(test, setup_member, expect_teardown)

static void peer(const char *name, int err, int status, const char *body)
{
    cluster->peers[cluster->npeers++] = (struct fake_peer){ name, err, status, body };
}

static const char *text(const json_t *j, const char *name)
{
    const char *s = json_string_value(json_object_get(j, name));
    return s != NULL ? s : "(null)";
}

static const char *missing(const json_t *j, const char *node)
{
    size_t i;
    json_t *m;
    json_array_foreach(json_object_get(j, "missing"), i, m)
    {
        if (strcmp(text(m, "node"), node) == 0)
            return text(m, "reason");
    }
    return NULL;
}

#define ROW(id, rcpt) "{\"id\":\"" id "\",\"rcpt\":" #rcpt ",\"recipient\":\"x\"}"

static void expect_ids(const json_t *j, const char *want)
{
    char got[1024] = "";
    size_t i;
    json_t *r;
    json_array_foreach(json_object_get(j, "recipients"), i, r)
    {
        size_t n = strlen(got);
        snprintf(got + n, sizeof(got) - n, "%s%s.%lld@%s", i > 0 ? " " : "", text(r, "id") + 10,
                 (long long)number(r, "rcpt"), text(r, "node"));
    }
    assert_string_equal(got, want);
}

static void test_track_is_joined(void **state)
{
    (void)state;
    peer("node-b", 0, 200,
         "{\"recipients\":[" ROW("0000000000CD1", 0) "," ROW("0000000000AA2", 0) "],\"next\":null}");
    peer("node-c", ERR_TIMEOUT, 0, "");
    json_t *j = get_json("/v1/track?message_id=m1&limit=4");
    expect_ids(j, "DD4.0@node-a CD1.0@node-b CC3.0@node-a BB2.2@node-a");
    assert_string_equal(text(j, "next"), "0000000000BB2.2");
    assert_string_equal(missing(j, "node-c"), "no answer in time");
    assert_null(missing(j, "node-b"));
    json_decref(j);
    assert_string_equal(cluster->path, "/v1/track?message_id=m1&limit=4");
    /* Of this node only. */
    j = get_json("/v1/track?message_id=m1&scope=local");
    assert_int_equal(json_array_size(json_object_get(j, "recipients")), FAKE_ROWS);
    assert_null(json_object_get(j, "missing"));
    json_decref(j);
}

/* What one node has after the end of its page is not known: nothing that comes later is shown. */
static void test_a_page_ends_where_a_node_ended(void **state)
{
    (void)state;
    peer("node-b", 0, 200, "{\"recipients\":[" ROW("0000000000CD1", 0) "],\"next\":\"0000000000CD1.0\"}");
    json_t *j = get_json("/v1/track?message_id=m1&limit=100");
    expect_ids(j, "DD4.0@node-a CD1.0@node-b");
    assert_string_equal(text(j, "next"), "0000000000CD1.0");
    json_decref(j);
}

static void test_queue_is_joined_in_its_order(void **state)
{
    (void)state;
    peer("node-b", 0, 200,
         "{\"recipients\":[" ROW("0000000000AA0", 0) "," ROW("0000000000AB0", 0) "],\"next\":null}");
    json_t *j = get_json("/v1/queue?scope=cluster&site=slow.test&limit=10");
    expect_ids(j, "AA0.0@node-b AA1.0@node-a AA1.1@node-a AA1.2@node-a AB0.0@node-b BB2.0@node-a");
    assert_true(json_is_null(json_object_get(j, "next")));
    json_decref(j);
    assert_string_equal(cluster->path, "/v1/queue?site=slow.test&limit=10");
    j = get_json("/v1/queue?limit=10"); /* a list is of this node unless asked otherwise */
    assert_null(json_object_get(j, "missing"));
    json_decref(j);
}

static void test_summary_is_added_up(void **state)
{
    (void)state;
    peer("node-b", 0, 200,
         "{\"by\":\"site\",\"age_minutes\":[5],\"groups\":[{\"key\":\"slow.test\",\"recipients\":10,\"held\":"
         "1,"
         "\"oldest_ms\":5,\"next_ms\":null,\"ages\":[1,0,0,0,0,0,0,0,0,0]},{\"key\":\"other.test\","
         "\"recipients\":6,"
         "\"oldest_ms\":null,\"ages\":[0,0,0,0,0,0,0,0,0,2]}],\"total\":{\"recipients\":16,\"held\":1,"
         "\"oldest_ms\":5,"
         "\"ages\":[1,0,0,0,0,0,0,0,0,2]}}");
    peer("node-c", 0, 503, "{\"error\":{\"code\":\"busy\",\"message\":\"the node stops\"}}");
    peer("node-d", 0, 200, "not json");
    json_t *j = get_json("/v1/queue/summary?by=site&limit=2");
    const json_t *groups = json_object_get(j, "groups"), *total = json_object_get(j, "total");
    assert_int_equal(json_array_size(groups), 2);
    assert_string_equal(text(json_array_get(groups, 0), "key"), "slow.test");
    assert_int_equal(number(json_array_get(groups, 0), "recipients"), 14);
    assert_int_equal(number(json_array_get(groups, 0), "oldest_ms"), 5);
    assert_string_equal(text(json_array_get(groups, 1), "key"), "other.test");
    assert_int_equal(number(total, "recipients"), 24);
    assert_int_equal(number(total, "oldest_ms"), 5);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(total, "ages"), 9)), 2);
    assert_int_equal(json_array_size(json_object_get(total, "ages")), ADMIN_AGES);
    assert_string_equal(missing(j, "node-c"), "the node stops");
    assert_string_equal(missing(j, "node-d"), "its answer is not understood");
    json_decref(j);
    assert_string_equal(cluster->path, "/v1/queue/summary?by=site&limit=1000");
}

static void test_top_and_status(void **state)
{
    (void)state;
    peer("node-b", 0, 200,
         "{\"queue\":{\"messages\":5,\"oldest_ms\":7},\"rates\":{\"received\":{\"m1\":2.5,\"total\":3}},"
         "\"senders\":[{\"key\":\"anna@example.com\",\"received\":10,\"received_rate\":1.0},"
         "{\"key\":\"bob@example.com\",\"received\":500}],\"sites\":[]}");
    json_t *j = get_json("/v1/top?scope=cluster&limit=2");
    const json_t *senders = json_object_get(j, "senders");
    assert_string_equal(text(json_array_get(senders, 0), "key"), "bob@example.com");
    assert_int_equal(number(json_array_get(senders, 1), "received"), 190); /* two rows here, one there */
    assert_true(json_real_value(json_object_get(json_array_get(senders, 1), "received_rate")) > 3.9);
    assert_int_equal(number(json_object_get(j, "queue"), "oldest_ms"), 7);
    assert_int_equal(number(json_object_get(j, "queue"), "messages"), 9);
    json_decref(j);
    cluster->npeers = 0;
    peer("node-b", 0, 200, "{\"state\":\"draining\"}");
    peer("node-c", ERR_CLOSED, 0, "");
    j = get_json("/v1/status?scope=cluster");
    const json_t *nodes = json_object_get(j, "nodes");
    assert_int_equal(json_array_size(nodes), 2);
    assert_string_equal(text(json_array_get(nodes, 0), "node"), "node-a");
    assert_string_equal(text(json_object_get(json_array_get(nodes, 0), "status"), "state"), "running");
    assert_string_equal(text(json_object_get(json_array_get(nodes, 1), "status"), "state"), "draining");
    assert_non_null(missing(j, "node-c"));
    json_decref(j);
}

static void test_ip_show(void **state)
{
    (void)state;
    peer("node-b", 0, 200,
         "{\"sites\":[{\"site\":\"slow.test\",\"hour\":{\"delivered\":0,\"deferred\":0,\"refused\":0,\"classes\":{}},"
         "\"day\":{\"delivered\":0,\"deferred\":0,\"refused\":20,\"classes\":{\"block\":{\"deferred\":0,\"refused\":19},"
         "\"content\":{\"deferred\":0,\"refused\":1}}},\"reply\":\"550 later\",\"reply_ms\":1700000000001}],"
         "\"holds\":[{\"site\":\"news/slow.test\",\"action\":\"disable_source\"}]}");
    peer("node-c", ERR_TIMEOUT, 0, "");
    json_t *j = get_json("/v1/ips/show?address=192.0.2.1");
    const json_t *slow = json_array_get(json_object_get(j, "sites"), 0), *day = json_object_get(slow, "day");
    assert_string_equal(text(slow, "site"), "slow.test"); /* the busiest first */
    assert_int_equal(number(day, "refused"), 21);
    assert_int_equal(number(json_object_get(json_object_get(day, "classes"), "block"), "refused"), 20);
    assert_int_equal(number(json_object_get(json_object_get(day, "classes"), "content"), "refused"), 1);
    assert_int_equal(number(json_object_get(json_object_get(day, "classes"), "rate"), "deferred"), 2);
    assert_true(json_real_value(json_object_get(day, "refused_share")) == 0.875); /* of 24 */
    assert_string_equal(text(slow, "reply"), "550 later");
    assert_int_equal(json_array_size(json_object_get(j, "sites")), 2);
    assert_int_equal(json_array_size(json_object_get(j, "holds")), 1);
    assert_non_null(missing(j, "node-c"));
    json_decref(j);
    j = get_json("/v1/ips/show?address=192.0.2.1&site=slow.test&scope=local");
    assert_int_equal(json_array_size(json_object_get(j, "sites")), 1);
    assert_non_null(strstr(text(json_array_get(json_object_get(j, "sites"), 0), "reply"), "listed"));
    json_decref(j);
    j = get_json("/v1/ips/show?address=192.0.2.7&scope=local");
    assert_int_equal(json_array_size(json_object_get(j, "sites")), 0);
    json_decref(j);
    cluster->npeers = 0;
}

static const json_t *at(const json_t *j, const char *list, size_t i)
{
    return json_array_get(json_object_get(j, list), i);
}

static void test_site_show(void **state)
{
    (void)state;
    peer("node-b", 0, 200,
         "{\"shares\":[{\"site\":\"news/mx:a.test\",\"pool\":\"news\",\"sources\":[{\"address\":\"192.0.2.9\"},"
         "{\"address\":null}]}],\"holds\":[{\"site\":\"mx:a.test\",\"action\":\"backoff\"}],\"cut\":true}");
    peer("node-c", ERR_TIMEOUT, 0, "");
    json_t *j = get_json("/v1/sites/show?site=mx%3Aa.test");
    assert_int_equal(json_array_size(json_object_get(j, "shares")), 3);
    const json_t *share = at(j, "shares", 1), *hold = at(j, "holds", 0);
    assert_string_equal(text(share, "node"), "node-a");
    assert_string_equal(text(share, "pool"), "news");
    assert_int_equal(number(share, "waiting"), 4);
    assert_int_equal(number(share, "rate_count"), 100);
    assert_int_equal(number(share, "conns_max"), 20);
    assert_int_equal(json_array_size(json_object_get(share, "sources")), 2);
    assert_string_equal(text(at(share, "sources", 1), "address"), "192.0.2.2");
    assert_int_equal(number(at(share, "sources", 1), "conns"), 1);
    assert_int_equal(number(at(share, "sources", 1), "conns_max"), 10);
    assert_true(json_is_null(json_object_get(at(share, "sources", 1), "warmup")));
    assert_true(json_is_null(json_object_get(at(j, "shares", 0), "rate_ms")));
    assert_string_equal(text(at(j, "shares", 2), "node"), "node-b");
    assert_int_equal(json_array_size(json_object_get(j, "holds")), 2);
    assert_string_equal(text(hold, "node"), "node-a");
    assert_string_equal(text(hold, "rule"), "source-blocked");
    assert_non_null(strstr(text(hold, "reply"), "listed"));
    assert_string_equal(text(at(j, "holds", 1), "action"), "backoff");
    assert_true(json_is_true(json_object_get(j, "cut")));
    assert_non_null(missing(j, "node-c"));
    json_decref(j);
    /* By a destination of it: what is in force for the site that it has joined. */
    j = get_json("/v1/sites/show?site=a.test&scope=local");
    assert_int_equal(json_array_size(json_object_get(j, "shares")), 2);
    assert_int_equal(json_array_size(json_object_get(j, "holds")), 1);
    assert_null(json_object_get(j, "missing"));
    json_decref(j);
    j = get_json("/v1/sites/show?site=b.test&scope=local");
    assert_int_equal(json_array_size(json_object_get(j, "shares")), 0);
    assert_int_equal(json_array_size(json_object_get(j, "holds")), 0);
    json_decref(j);
    cluster->npeers = 0;
}

static void expect_answer(const char *path, int status, const char *part)
{
    struct buf body;
    buf_init(&body, 1u << 20);
    int got = admin_answer(server.admin, path, &body);
    buf_put_char(&body, '\0');
    if (got != status || strstr(body.data, part) == NULL)
        fail_msg("%s: %d %s", path, got, body.data);
    buf_fini(&body);
}

static void test_what_nodes_may_ask(void **state)
{
    (void)state;
    expect_answer("/v1/status", 200, "\"node\":\"n1.example.com\"");
    expect_answer("/v1/queue?sender=%40Example.com&limit=1", 200, "\"recipients\":[{");
    expect_answer("/v1/track?id=0000000000CC3", 200, "\"recipients\":[{");
    /* No further question comes of it, whatever it says. */
    cluster->path[0] = '\0';
    expect_answer("/v1/track?id=0000000000CC3&scope=cluster", 200, "\"recipients\":[{");
    expect_answer("/v1/queue/summary", 200, "\"groups\":[{");
    assert_string_equal(cluster->path, "");
    /* Nothing else is answered to a node: no content, no streams, no accounts, no acts. */
    expect_answer("/v1/queue/messages/0000000000CC3/content", 404, "nodes do not ask each other that");
    expect_answer("/v1/trace?side=client", 404, "nodes do not ask");
    expect_answer("/v1/accounts", 404, "nodes do not ask");
    expect_answer("/v1/queue/delete", 404, "nodes do not ask");
    expect_answer("/v1/frozen", 404, "nodes do not ask");
    expect_answer("/nix", 404, "nodes do not ask");
    expect_answer("", 404, "nodes do not ask");
    expect_answer("/v1/queue?limit=0", 400, "limit must be from 1");
    expect_answer("/v1/queue?plugh=1", 400, "no parameter plugh");
    expect_answer("/v1/queue?sender=%4", 400, "escape");
    expect_answer("/v1/queue?sender=%00", 400, "sender");
    expect_answer("/v1/queue?limit=1&limit=2", 400, "twice");
    char many[1024] = "/v1/queue?a=1";
    for (int i = 0; i < 40; i++)
        strncat(many, "&a=1", sizeof(many) - strlen(many) - 1);
    expect_answer(many, 400, "too many parameters");
    static char *longest;
    longest = malloc(200001);
    assert_non_null(longest);
    memset(longest, 'a', 200000);
    longest[200000] = '\0';
    expect_answer(longest, 400, "too long");
    free(longest);
}

static void test_odd_names_survive(void **state)
{
    (void)state;
    json_t *j = get_json("/v1/track?sender=%22a%26b%3Dc%2Bd%22%40x.org&since=2h");
    assert_string_equal(cluster->path, "/v1/track?sender=%22a%26b%3Dc%2Bd%22%40x.org&since=2h");
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MEMBER(test_track_is_joined),
        MEMBER(test_a_page_ends_where_a_node_ended),
        MEMBER(test_queue_is_joined_in_its_order),
        MEMBER(test_summary_is_added_up),
        MEMBER(test_top_and_status),
        MEMBER(test_ip_show),
        MEMBER(test_site_show),
        MEMBER(test_what_nodes_may_ask),
        MEMBER(test_odd_names_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
