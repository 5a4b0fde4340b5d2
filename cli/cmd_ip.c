/* What is known of one source address: ip show. */
#include "cli/client.h"

#include <inttypes.h>
#include <stdio.h>

static void put_share(struct cli_table *t, int col, const json_t *counts, const char *key)
{
    const json_t *n = json_object_get(counts, key);
    cli_table_set(t, col, CLI_PLAIN, "%.1f%%", 100.0 * json_number_value(n));
}

void cli_put_warmup(struct cli_table *t, int col, const json_t *w)
{
    if (json_is_true(json_object_get(w, "warm")))
        cli_table_set(t, col, CLI_PLAIN, "warm");
    else if (json_is_object(w))
        cli_table_set(t, col, CLI_PLAIN, "step %" PRId64 ", %" PRId64 " of %" PRId64, cli_int(w, "step"),
                      cli_int(w, "reserved"), cli_int(w, "volume"));
}

/* "block 12, rate 3" */
static void put_classes(struct cli_table *t, int col, const json_t *counts)
{
    char text[256] = "";
    size_t n = 0;
    const char *name;
    json_t *v;
    json_object_foreach(json_object_get(counts, "classes"), name, v)
    {
        int put = snprintf(text + n, sizeof text - n, "%s%s %" PRId64, n > 0 ? ", " : "", name,
                           cli_int(v, "deferred") + cli_int(v, "refused"));
        n = n + (size_t)put < sizeof text ? n + (size_t)put : sizeof text - 1;
    }
    if (n > 0)
        cli_table_set(t, col, CLI_PLAIN, "%s", text);
}

static void put_sites(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "SITE",          ">DELIVERED",   ">DEFERRED", ">REFUSED",
                                          ">DEFERRED 24H", ">REFUSED 24H", "WARM-UP",   "WHY 24H",
                                          "LAST",          "LAST REPLY" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 10);
    json_array_foreach(rows, i, r)
    {
        const json_t *hour = json_object_get(r, "hour"), *day = json_object_get(r, "day");
        char when[40];
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "site");
        cli_table_int(&t, 1, hour, "delivered");
        cli_table_int(&t, 2, hour, "deferred");
        cli_table_int(&t, 3, hour, "refused");
        put_share(&t, 4, day, "deferred_share");
        put_share(&t, 5, day, "refused_share");
        cli_put_warmup(&t, 6, json_object_get(r, "warmup"));
        put_classes(&t, 7, day);
        if (json_is_integer(json_object_get(r, "reply_ms"))) {
            cli_when(c, json_object_get(r, "reply_ms"), when, sizeof when);
            cli_table_set(&t, 8, CLI_PLAIN, "%s", when);
        }
        cli_table_opt(&t, 9, r, "reply");
    }
    cli_table_end(c, &t);
}

static void put_holds(struct cli *c, const json_t *rows)
{
    size_t i;
    json_t *r;
    json_array_foreach(rows, i, r)
    {
        char until[40];
        const char *site = cli_str(r, "site"), *rule = cli_str(r, "rule"), *reply = cli_str(r, "reply");
        cli_when(c, json_object_get(r, "until_ms"), until, sizeof until);
        printf("%srests%s for %s, until %s%s%s%s%s\n", cli_sgr(c, CLI_YELLOW), cli_sgr(c, CLI_PLAIN),
               strcmp(site, "*") == 0 ? "all sites" : site, until, rule[0] != '\0' ? ": " : "", rule,
               reply[0] != '\0' ? ": " : "", reply);
    }
}

static void put_head(struct cli *c, const json_t *j)
{
    const char *pool = cli_str(j, "pool"), *node = cli_str(j, "node"), *ehlo = cli_str(j, "ehlo");
    const char *home = cli_str(j, "home"), *state = cli_str(j, "state");
    if (json_object_get(j, "pool") == NULL) {
        cli_note("%s is no source address of the cluster's pools", cli_str(j, "address"));
        return;
    }
    printf("%s%s%s: pool %s, weight %" PRId64 ", %s, node %s (%s)%s%s%s%s%s%s\n", cli_sgr(c, CLI_BOLD),
           cli_str(j, "address"), cli_sgr(c, CLI_PLAIN), pool, cli_int(j, "weight"), cli_str(j, "use"),
           node[0] != '\0' ? node : "none", state, ehlo[0] != '\0' ? ", greets as " : "", ehlo,
           json_is_true(json_object_get(j, "floats")) ? ", floats" : "", home[0] != '\0' ? ", home " : "",
           home, json_is_true(json_object_get(j, "warming")) ? ", warms up" : "");
}

int cmd_ip_show(struct cli *c)
{
    struct client_query q;
    json_t *j = NULL;
    client_query_init(&q, "/v1/ips/show");
    client_query_add(&q, "address", c->args[0]);
    client_query_add(&q, "site", cli_opt(c, "site"));
    client_query_add(&q, "limit", cli_opt(c, "limit"));
    client_query_add(&q, "scope", cli_has(c, "local") ? "local" : NULL);
    int code = client_get(c, &q, &j);
    if (code == 0 && c->json) {
        cli_print_json(j);
    } else if (code == 0) {
        put_head(c, j);
        put_holds(c, json_object_get(j, "holds"));
        if (json_array_size(json_object_get(j, "sites")) == 0)
            printf("nothing was sent from it within a day\n");
        else
            put_sites(c, json_object_get(j, "sites"));
        if (json_is_true(json_object_get(j, "cut")))
            cli_note("there are more sites: --limit");
    }
    if (code == 0)
        cli_say_missing(j);
    json_decref(j);
    return code;
}
