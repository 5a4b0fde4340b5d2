/* Commands about one destination: what it is given, and what is in force against it. */
#include "cli/client.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* `nodes`: each says of which node it is. */
static void put_holds(struct cli *c, const json_t *rows, bool nodes)
{
    static const char *const titles[] = { "SITE", "ACTION", "SOURCE", "SINCE", "UNTIL", "RULE", "BY", "REPLY", "NODE" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, nodes ? 9 : 8);
    json_array_foreach(rows, i, r)
    {
        char since[40], until[40];
        cli_when(c, json_object_get(r, "since_ms"), since, sizeof since);
        cli_when(c, json_object_get(r, "until_ms"), until, sizeof until);
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "site");
        cli_table_set(&t, 1, CLI_YELLOW, "%s", cli_str(r, "action"));
        cli_table_opt(&t, 2, r, "source");
        cli_table_set(&t, 3, CLI_PLAIN, "%s", since);
        cli_table_set(&t, 4, CLI_PLAIN, "%s", until);
        cli_table_opt(&t, 5, r, "rule");
        cli_table_opt(&t, 6, r, "by");
        cli_table_opt(&t, 7, r, "reply");
        if (nodes)
            cli_table_opt(&t, 8, r, "node");
    }
    cli_table_end(c, &t);
}

/* ---- one site ------------------------------------------------------------------------------------------ */

static void put_rate(struct cli_table *t, int col, const json_t *share)
{
    int64_t sec = cli_int(share, "rate_ms") / 1000;
    if (!json_is_integer(json_object_get(share, "rate_count")))
        return;
    const char *unit = sec % 86400 == 0 ? "d" : sec % 3600 == 0 ? "h" : sec % 60 == 0 ? "m" : "s";
    int64_t of = sec % 86400 == 0 ? 86400 : sec % 3600 == 0 ? 3600 : sec % 60 == 0 ? 60 : 1;
    cli_table_set(t, col, CLI_PLAIN, "%" PRId64 "/%" PRId64 "%s", cli_int(share, "rate_count"), sec / of, unit);
}

/* What is in force on the same node for the pool's share of the site, and this address. */
static void put_in_force(const struct cli *c, struct cli_table *t, int col, const json_t *holds, const json_t *share,
                         const char *address)
{
    char text[256] = "";
    size_t n = 0, i;
    json_t *h;
    json_array_foreach(holds, i, h)
    {
        const char *site = cli_str(h, "site"), *source = cli_str(h, "source");
        char until[40];
        if (strcmp(cli_str(h, "node"), cli_str(share, "node")) != 0 ||
            (strcmp(site, "*") != 0 && strcmp(site, cli_str(share, "site")) != 0) ||
            (source[0] != '\0' && strcmp(source, address) != 0))
            continue;
        cli_when(c, json_object_get(h, "until_ms"), until, sizeof until);
        int put = snprintf(text + n, sizeof text - n, "%s%s, ends %s", n > 0 ? "; " : "",
                           source[0] != '\0' ? "rests" : cli_str(h, "action"), until);
        n = n + (size_t)put < sizeof text ? n + (size_t)put : sizeof text - 1;
    }
    if (n > 0 || json_is_true(json_object_get(share, "backoff")))
        cli_table_set(t, col, CLI_YELLOW, "%s", n > 0 ? text : "backoff");
}

/* What waits is the pool's, not an address's: it is on the first of its lines. */
static void put_line(const struct cli *c, struct cli_table *t, const json_t *share, const json_t *source, bool first,
                     const json_t *holds)
{
    const json_t *conns = source != NULL ? source : share;
    cli_table_row(t);
    cli_table_opt(t, 0, share, "node");
    cli_table_str(t, 1, share, "site");
    if (source != NULL)
        cli_table_opt(t, 2, source, "address");
    cli_table_set(t, 3, CLI_PLAIN, "%" PRId64 "/%" PRId64, cli_int(conns, "conns"), cli_int(conns, "conns_max"));
    put_rate(t, 4, share);
    if (first) {
        cli_table_int(t, 5, share, "waiting");
        cli_table_int(t, 6, share, "held");
    }
    put_in_force(c, t, 7, holds, share, source != NULL ? cli_str(source, "address") : "");
    if (source != NULL)
        cli_put_warmup(t, 8, json_object_get(source, "warmup"));
}

static void put_shares(const struct cli *c, const json_t *shares, const json_t *holds)
{
    static const char *const titles[] = { "NODE",     "SITE",  "SOURCE",   ">CONNS", "RATE",
                                          ">WAITING", ">HELD", "IN FORCE", "WARM-UP" };
    struct cli_table t;
    size_t i, k;
    json_t *share, *source;
    cli_table_init(&t, titles, 9);
    json_array_foreach(shares, i, share)
    {
        const json_t *sources = json_object_get(share, "sources");
        if (json_array_size(sources) == 0)
            put_line(c, &t, share, NULL, true, holds);
        json_array_foreach(sources, k, source)
        {
            put_line(c, &t, share, source, k == 0, holds);
        }
    }
    cli_table_end(c, &t);
}

static void put_site(struct cli *c, const json_t *j)
{
    const json_t *shares = json_object_get(j, "shares"), *holds = json_object_get(j, "holds");
    if (json_array_size(shares) > 0)
        put_shares(c, shares, holds);
    else
        printf("no queue has mail for %s, and there is no connection to it\n", c->args[0]);
    if (json_array_size(holds) > 0)
        put_holds(c, holds, true);
    else
        printf("nothing is in force against %s\n", c->args[0]);
    if (json_is_true(json_object_get(j, "cut")))
        cli_note("there is more than is shown: name it with its pool in front");
}

/* Of all sites only what is in force: the same on all nodes but for what one has not heard of. */
int cmd_site_show(struct cli *c)
{
    struct client_query q;
    json_t *j = NULL;
    bool one = c->nargs > 0;
    client_query_init(&q, one ? "/v1/sites/show" : "/v1/sites/holds");
    if (one) {
        client_query_add(&q, "site", c->args[0]);
        client_query_add(&q, "scope", cli_has(c, "local") ? "local" : NULL);
    }
    int code = client_get(c, &q, &j);
    const json_t *rows = json_object_get(j, "holds");
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0 && one)
        put_site(c, j);
    else if (code == 0 && json_array_size(rows) == 0)
        printf("nothing is in force\n");
    else if (code == 0)
        put_holds(c, rows, false);
    if (code == 0)
        cli_say_missing(j);
    json_decref(j);
    return code;
}

static int put_source(struct cli *c, json_t *body)
{
    int code = cli_put_text(c, body, "site", c->args[0]);
    return code != 0 ? code : cli_put_text(c, body, "source", cli_opt(c, "source"));
}

int cmd_site_backoff(struct cli *c)
{
    json_t *body = json_object();
    int code = put_source(c, body);
    if (code == 0)
        code = cli_put_text(c, body, "for", cli_opt(c, "for"));
    if (code == 0)
        code = cli_put_text(c, body, "action",
                            cli_has(c, "suspend")  ? "suspend"
                            : cli_has(c, "source") ? "disable_source"
                                                   : NULL);
    if (code == 0)
        return cli_post(c, "/v1/sites/backoff", body, "%s: told to all nodes that can be reached",
                        c->args[0]);
    json_decref(body);
    return code;
}

int cmd_site_resume(struct cli *c)
{
    json_t *body = json_object();
    int code = put_source(c, body);
    if (code == 0)
        return cli_post(c, "/v1/sites/resume", body, "%s: told to all nodes that can be reached", c->args[0]);
    json_decref(body);
    return code;
}
