/* Commands about pools and source addresses: pool ..., ip ... (but ip check). */
#include "cli/client.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- pools --------------------------------------------------------------------------------------------- */

/* "class bulk, tenant example.org"; a long list is cut. */
static void put_assignees(const json_t *assignments, const char *pool, char *out, size_t cap)
{
    size_t i, n = 0, shown = 0;
    json_t *a;
    out[0] = '\0';
    json_array_foreach(assignments, i, a)
    {
        if (strcmp(cli_str(a, "pool"), pool) != 0)
            continue;
        if (shown++ >= 5) {
            snprintf(out + n, cap - n, ", ...");
            return;
        }
        int put =
            snprintf(out + n, cap - n, "%s%s %s", n > 0 ? ", " : "", cli_str(a, "to"), cli_str(a, "name"));
        n = n + (size_t)put < cap ? n + (size_t)put : cap - 1;
    }
}

static void put_pools(struct cli *c, const json_t *j)
{
    static const char *const titles[] = { "NAME", ">ADDRESSES", ">USABLE", "FLOAT", "MAIL OF", "NOTE" };
    const json_t *assignments = json_object_get(j, "assignments");
    struct cli_table t;
    size_t i;
    json_t *p;
    cli_table_init(&t, titles, 6);
    json_array_foreach(json_object_get(j, "pools"), i, p)
    {
        char assigned[1024];
        int64_t usable = cli_int(p, "usable");
        put_assignees(assignments, cli_str(p, "name"), assigned, sizeof(assigned));
        cli_table_row(&t);
        cli_table_str(&t, 0, p, "name");
        cli_table_int(&t, 1, p, "addresses");
        cli_table_set(&t, 2, usable == 0 ? CLI_RED : CLI_PLAIN, "%" PRId64, usable);
        cli_table_str(&t, 3, p, "floating");
        if (assigned[0] != '\0')
            cli_table_set(&t, 4, CLI_PLAIN, "%s", assigned);
        cli_table_opt(&t, 5, p, "note");
    }
    cli_table_end(c, &t);
}

static int show(struct cli *c, const char *target, const char *key, const char *none,
                void (*put)(struct cli *c, const json_t *j))
{
    json_t *j = NULL;
    int code = client_json(c, target, NULL, &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0 && json_array_size(json_object_get(j, key)) == 0)
        cli_note("%s", none);
    else if (code == 0)
        put(c, j);
    if (code == 0 && json_is_true(json_object_get(j, "more")))
        cli_note("there is more than fits into one answer");
    json_decref(j);
    return code;
}

int cmd_pool_list(struct cli *c)
{
    return show(c, "/v1/pools", "pools", "there are no pools: mail leaves from any source address",
                put_pools);
}

int cmd_pool_add(struct cli *c)
{
    return cli_post_named(c, "/v1/pools/add", "added pool");
}

int cmd_pool_remove(struct cli *c)
{
    return cli_post_named(c, "/v1/pools/remove", "removed pool");
}

/* --class, --tenant or --account: the node checks that it is one of them. */
static int assign(struct cli *c, const char *pool)
{
    static const char *const whose[] = { "class", "tenant", "account" };
    json_t *body = json_object();
    const char *who = NULL;
    int code = cli_put_text(c, body, "pool", pool), given = 0;
    for (int i = 0; code == 0 && i < 3; i++) {
        const char *v = cli_opt(c, whose[i]);
        given += v != NULL;
        who = v != NULL ? v : who;
        code = cli_put_text(c, body, whose[i], v);
    }
    if (code == 0 && given != 1)
        code = cli_fail(c, CLI_USAGE, "say whose mail: --class, --tenant or --account, one of them");
    if (code == 0 && pool != NULL)
        return cli_post(c, "/v1/pools/assign", body, "mail of %s is sent from pool %s", who, pool);
    if (code == 0)
        return cli_post(c, "/v1/pools/unassign", body, "mail of %s has no pool of its own now", who);
    json_decref(body);
    return code;
}

int cmd_pool_assign(struct cli *c)
{
    return assign(c, c->args[0]);
}

int cmd_pool_unassign(struct cli *c)
{
    return assign(c, NULL);
}

int cmd_pool_float(struct cli *c)
{
    json_t *body = json_object();
    int code = cli_put_text(c, body, "name", c->args[0]);
    if (code == 0)
        code = cli_put_text(c, body, "mode", c->args[1]);
    if (code == 0)
        code = cli_put_text(c, body, "after", cli_opt(c, "after"));
    if (code == 0)
        code = cli_put_text(c, body, "nodes", cli_opt(c, "nodes"));
    if (code == 0)
        code = cli_put_number(c, body, "per_node", cli_opt(c, "per-node"));
    if (code == 0 && cli_has(c, "return"))
        json_object_set_new(body, "return", json_true());
    if (code == 0)
        return cli_post(c, "/v1/pools/float", body, "addresses of pool %s go to other nodes: %s", c->args[0],
                        c->args[1]);
    json_decref(body);
    return code;
}

/* ---- addresses ----------------------------------------------------------------------------------------- */

static void put_address_state(struct cli_table *t, const json_t *a)
{
    const char *state = cli_str(a, "state"), *reason = cli_str(a, "reason"), *unsure = cli_str(a, "unsure");
    if (unsure[0] != '\0' && strcmp(state, "waiting") == 0)
        cli_table_set(t, 7, CLI_RED, "%s may still send from it", unsure);
    else if (strcmp(state, "failed") == 0)
        cli_table_set(t, 7, CLI_RED, "failed: %s", reason);
    else
        cli_table_set(t, 7, strcmp(state, "assigned") == 0 ? CLI_PLAIN : CLI_YELLOW, "%s", state);
}

static void put_addresses(struct cli *c, const json_t *j)
{
    static const char *const titles[] = { "ADDRESS", "POOL",      "NODE",     "USE",
                                          ">WEIGHT", "GREETS AS", "MOVES TO", "STATE" };
    struct cli_table t;
    size_t i;
    json_t *a;
    cli_table_init(&t, titles, 8);
    json_array_foreach(json_object_get(j, "addresses"), i, a)
    {
        const char *use = cli_str(a, "use"), *node = cli_str(a, "node");
        bool used = strcmp(use, "used") == 0;
        cli_table_row(&t);
        cli_table_str(&t, 0, a, "address");
        cli_table_str(&t, 1, a, "pool");
        cli_table_set(&t, 2, node[0] == '\0' ? CLI_RED : CLI_PLAIN, "%s", node[0] != '\0' ? node : "none");
        cli_table_set(&t, 3, used ? CLI_PLAIN : CLI_YELLOW, "%s", use);
        cli_table_int(&t, 4, a, "weight");
        cli_table_opt(&t, 5, a, "ehlo");
        if (cli_str(a, "next")[0] != '\0')
            cli_table_set(&t, 6, CLI_YELLOW, "%s", cli_str(a, "next"));
        put_address_state(&t, a);
    }
    cli_table_end(c, &t);
}

int cmd_ip_list(struct cli *c)
{
    return show(c, "/v1/ips", "addresses", "the cluster has no source addresses: turnpike ip add",
                put_addresses);
}

static int address(struct cli *c, const char *target, const char *said)
{
    static const char *const texts[] = { "pool", "node", "ehlo", "use" };
    json_t *body = json_object();
    int code = cli_put_text(c, body, "address", c->args[0]);
    for (int i = 0; code == 0 && i < 4; i++)
        code = cli_put_text(c, body, texts[i], cli_opt(c, texts[i]));
    if (code == 0)
        code = cli_put_number(c, body, "weight", cli_opt(c, "weight"));
    if (code == 0)
        return cli_post(c, target, body, "%s %s", said, c->args[0]);
    json_decref(body);
    return code;
}

int cmd_ip_add(struct cli *c)
{
    if (!cli_has(c, "pool") || !cli_has(c, "node"))
        return cli_fail(c, CLI_USAGE, "ip add needs --pool NAME and --node NAME");
    return address(c, "/v1/ips/add", "added");
}

int cmd_ip_set(struct cli *c)
{
    if (c->ngiven == c->json)
        return cli_fail(c, CLI_USAGE, "nothing is to be changed: give --pool, --ehlo, --weight or --use");
    return address(c, "/v1/ips/set", "changed");
}

int cmd_ip_move(struct cli *c)
{
    json_t *body = json_object();
    int code = cli_put_text(c, body, "address", c->args[0]);
    if (code == 0)
        code = cli_put_text(c, body, "node", c->args[1]);
    if (code == 0 && cli_has(c, "dead"))
        json_object_set_new(body, "dead", json_true());
    if (code == 0)
        return cli_post(c, "/v1/ips/move", body, "%s goes to %s once its owner has let go of it", c->args[0],
                        c->args[1]);
    json_decref(body);
    return code;
}

int cmd_ip_remove(struct cli *c)
{
    return address(c, "/v1/ips/remove", "removed");
}

/* ---- warm-up ------------------------------------------------------------------------------------------- */

static void put_plan(struct cli *c, const json_t *j)
{
    static const char *const titles[] = { "SITE", ">STEP", ">TODAY", ">HANDED OUT", ">DELIVERED", ">DEFERRED",
                                          ">REFUSED", ">COMPLAINTS", "DAY BEFORE", "DAY ENDS IN" };
    struct cli_table t;
    size_t i;
    json_t *s;
    char age[32];
    text_format_duration(cli_int(j, "age_ms"), age, sizeof age);
    printf("%s warms up since %s: %" PRId64 " messages a day to a site, %" PRId64 " %% of that on the next step, %" PRId64
           " steps\n",
           cli_str(j, "address"), age, cli_int(j, "first"), cli_int(j, "growth"), cli_int(j, "days"));
    cli_table_init(&t, titles, 10);
    json_array_foreach(json_object_get(j, "sites"), i, s)
    {
        static const char *const counts[] = { "delivered", "deferred", "refused", "complaints" };
        const json_t *today = json_object_get(s, "today");
        bool warm = json_is_true(json_object_get(s, "warm"));
        char left[32];
        text_format_duration(cli_int(s, "left_ms"), left, sizeof left);
        cli_table_row(&t);
        cli_table_str(&t, 0, s, "site");
        cli_table_int(&t, 1, s, "step");
        if (warm) {
            cli_table_set(&t, 2, CLI_PLAIN, "warm");
        } else {
            cli_table_int(&t, 2, s, "volume");
            cli_table_int(&t, 3, s, "reserved");
        }
        for (int k = 0; k < 4; k++)
            cli_table_int(&t, 4 + k, today, counts[k]);
        cli_table_str(&t, 8, s, "verdict");
        cli_table_set(&t, 9, CLI_PLAIN, "%s", left);
    }
    cli_table_end(c, &t);
}

static int warm_show(struct cli *c)
{
    struct client_query q;
    json_t *j = NULL;
    client_query_init(&q, "/v1/ips/warm");
    client_query_add(&q, "address", c->args[0]);
    int code = client_get(c, &q, &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        put_plan(c, j);
    json_decref(j);
    return code;
}

static int warm_step(struct cli *c)
{
    if (!cli_has(c, "site") || !cli_has(c, "step"))
        return cli_fail(c, CLI_USAGE, "ip warm ADDRESS step needs --site NAME and --step N");
    json_t *body = json_object();
    int code = cli_put_text(c, body, "address", c->args[0]);
    if (code == 0)
        code = cli_put_text(c, body, "site", cli_opt(c, "site"));
    if (code == 0)
        code = cli_put_number(c, body, "step", cli_opt(c, "step"));
    if (code == 0)
        return cli_post(c, "/v1/ips/warm/step", body, "%s to %s is at step %s", c->args[0], cli_opt(c, "site"),
                        cli_opt(c, "step"));
    json_decref(body);
    return code;
}

int cmd_ip_warm(struct cli *c)
{
    const char *what = c->args[1];
    if (strcmp(what, "start") == 0)
        return address(c, "/v1/ips/warm/start", "a warm-up plan is in force for");
    if (strcmp(what, "stop") == 0)
        return address(c, "/v1/ips/warm/stop", "no warm-up plan any more for");
    if (strcmp(what, "step") == 0)
        return warm_step(c);
    return strcmp(what, "show") == 0
               ? warm_show(c)
               : cli_fail(c, CLI_USAGE, "say start, stop, show or step, not %s", what);
}
