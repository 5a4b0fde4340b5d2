/* Commands about what became of senders' mail, on all nodes together: sender show, bounces, pin, lift, web, forget,
 * top. */
#include "base/text.h"
#include "cli/client.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* "1.2%" of all that ended. */
static void put_share(struct cli_table *t, int column, int64_t part, int64_t delivered, int64_t bounced)
{
    int64_t all = delivered + bounced;
    if (all > 0)
        cli_table_set(t, column, CLI_PLAIN, "%.1f%%", 100.0 * (double)part / (double)all);
    else
        cli_table_set(t, column, CLI_PLAIN, "-");
}

static void put_row(struct cli_table *t, int from, const json_t *r)
{
    static const char *const counts[] = { "delivered", "deferred", "bounced", "complaints" };
    for (int i = 0; i < 4; i++)
        cli_table_set(t, from + i, i >= 2 && cli_int(r, counts[i]) > 0 ? CLI_YELLOW : CLI_PLAIN, "%" PRId64,
                      cli_int(r, counts[i]));
    put_share(t, from + 4, cli_int(r, "bounced"), cli_int(r, "delivered"), cli_int(r, "bounced"));
}

static void put_classes(const json_t *windows)
{
    const json_t *week = json_array_get(windows, json_array_size(windows) - 1);
    const char *class;
    json_t *n, *w;
    size_t i;
    json_object_foreach(json_object_get(week, "classes"), class, n)
    {
        printf("  %-14s", class);
        json_array_foreach(windows, i, w)
        {
            printf(" %s: %" PRId64, cli_str(w, "window"), cli_int(json_object_get(w, "classes"), class));
        }
        putchar('\n');
    }
}

static void put_bounces(struct cli *c, const json_t *j)
{
    static const char *const titles[] = { "WITHIN",   ">DELIVERED",  ">DEFERRED",
                                          ">BOUNCED", ">COMPLAINTS", ">BOUNCED/ALL" };
    const json_t *windows = json_object_get(j, "windows");
    struct cli_table t;
    char since[64] = "";
    size_t i;
    json_t *r;
    if (json_is_integer(json_object_get(j, "tier_since_ms")))
        cli_when(c, json_object_get(j, "tier_since_ms"), since, sizeof since);
    printf("standing: %s%s%s%s\n\n", cli_str(j, "tier"), since[0] != '\0' ? " since " : "", since,
           json_is_true(json_object_get(j, "pinned")) ? ", pinned" : "");
    cli_table_init(&t, titles, 6);
    json_array_foreach(windows, i, r)
    {
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "window");
        put_row(&t, 1, r);
    }
    cli_table_end(c, &t);
    put_classes(windows);
}

int cmd_sender_bounces(struct cli *c)
{
    struct client_query q;
    json_t *j = NULL;
    client_query_init(&q, "/v1/senders/bounces");
    client_query_add(&q, "account", c->args[0]);
    int code = client_get(c, &q, &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        put_bounces(c, j);
    json_decref(j);
    return code;
}

static void put_seen(struct cli *c, const json_t *j)
{
    static const char *const titles[] = { "FACT", ">1H", ">24H", ">7D" };
    struct cli_table t;
    size_t i;
    json_t *r;
    printf("class: %s, stopped by rules within a week: %" PRId64 "\n\n", cli_str(j, "class"), cli_int(j, "blocks"));
    cli_table_init(&t, titles, 4);
    json_array_foreach(json_object_get(j, "facts"), i, r)
    {
        static const char *const windows[] = { "1h", "24h", "7d" };
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "fact");
        for (int w = 0; w < 3; w++)
            if (json_object_get(r, windows[w]) != NULL)
                cli_table_set(&t, 1 + w, CLI_PLAIN, "%" PRId64, cli_int(r, windows[w]));
            else
                cli_table_set(&t, 1 + w, CLI_PLAIN, "-");
    }
    cli_table_end(c, &t);
}

static void put_rules(const json_t *rules)
{
    size_t i, k;
    json_t *r, *t;
    json_array_foreach(rules, i, r)
    {
        bool met = json_is_true(json_object_get(r, "met"));
        const char *pool = cli_str(r, "pool");
        printf("\nrule %s: %s%s%s%s%s\n", cli_str(r, "name"), json_is_true(json_object_get(r, "dry_run")) ? "would " : "",
               cli_str(r, "then"), pool[0] != '\0' ? " " : "", pool, met ? ", and it is met" : "");
        json_array_foreach(json_object_get(r, "when"), k, t)
        {
            printf("  %s %s in %s: %" PRId64 " of more than %" PRId64 "\n",
                   json_is_true(json_object_get(t, "met")) ? "yes" : "no ", cli_str(t, "fact"), cli_str(t, "window"),
                   cli_int(t, "value"), cli_int(t, "more_than"));
        }
    }
}

/* What rules do to him now, and did a while ago. */
static void put_measures(const json_t *measures)
{
    size_t i;
    json_t *r;
    json_array_foreach(measures, i, r)
    {
        char since[64], left[64] = "", wait[32];
        const char *pool = cli_str(r, "pool");
        bool now = json_is_true(json_object_get(r, "in_force"));
        cli_time(json_object_get(r, "since_ms"), since, sizeof since);
        if (now && json_object_get(r, "left_ms") != NULL) {
            text_format_duration(cli_int(r, "left_ms"), wait, sizeof wait);
            snprintf(left, sizeof left, " for another %s", wait);
        }
        printf("\n%s by rule %s%s%s: %s%s%s\n  %s\n",
               strcmp(cli_str(r, "action"), "slow") == 0 ? "slowed" : "sent from another pool", cli_str(r, "rule"),
               pool[0] != '\0' ? ", " : "", pool, now ? "since " : "it has ended; it began ", since,
               !now ? "" : left[0] != '\0' ? left : ", until `turnpike sender lift`", cli_str(r, "evidence"));
    }
}

static void put_time(struct cli_table *t, int column, const json_t *r, const char *key)
{
    char text[32];
    text_format_duration(cli_int(r, key) / 1000 * 1000, text, sizeof text);
    cli_table_set(t, column, CLI_PLAIN, "%s", text);
}

static void put_webs(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "NAME", "KNOWN FOR", "FORGOTTEN IN" };
    struct cli_table t;
    json_t *r;
    size_t i;
    cli_table_init(&t, titles, 3);
    json_array_foreach(rows, i, r)
    {
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "account");
        put_time(&t, 1, r, "age_ms");
        put_time(&t, 2, r, "left_ms");
    }
    cli_table_end(c, &t);
}

int cmd_sender_web(struct cli *c)
{
    return cli_list_all(c, "/v1/senders/web", "senders", "there are no web senders", put_webs);
}

int cmd_sender_forget(struct cli *c)
{
    return cli_post(c, "/v1/senders/forget", json_pack("{s:s}", "account", c->args[0]), "%s is forgotten", c->args[0]);
}

int cmd_sender_lift(struct cli *c)
{
    const char *rule = cli_opt(c, "rule");
    json_t *body = json_object();
    json_object_set_new(body, "account", json_string(c->args[0]));
    if (rule != NULL)
        json_object_set_new(body, "rule", json_string(rule));
    return cli_post(c, "/v1/senders/lift", body, "rules do nothing to %s's mail any more", c->args[0]);
}

int cmd_sender_show(struct cli *c)
{
    struct client_query q;
    json_t *j = NULL;
    client_query_init(&q, "/v1/senders/show");
    client_query_add(&q, "account", c->args[0]);
    int code = client_get(c, &q, &j);
    if (code == 0 && c->json) {
        cli_print_json(j);
    } else if (code == 0) {
        if (json_is_true(json_object_get(j, "known")))
            put_seen(c, j);
        else
            cli_note("nothing was seen of %s lately", c->args[0]);
        put_measures(json_object_get(j, "measures"));
        put_rules(json_object_get(j, "rules"));
    }
    json_decref(j);
    return code;
}

int cmd_sender_pin(struct cli *c)
{
    json_t *body = json_object();
    int code = cli_put_text(c, body, "account", c->args[0]);
    if (code == 0)
        code = cli_put_text(c, body, "tier", c->args[1]);
    if (code == 0)
        code = cli_put_text(c, body, "reason", cli_opt(c, "reason"));
    if (code == 0)
        return cli_post(c, "/v1/senders/pin", body, "%s is %s", c->args[0],
                        strcmp(c->args[1], "auto") == 0 ? "judged by its record again" : c->args[1]);
    json_decref(body);
    return code;
}

static void put_senders(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "ACCOUNT",  ">DELIVERED",  ">DEFERRED",
                                          ">BOUNCED", ">COMPLAINTS", ">BOUNCED/ALL" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 6);
    json_array_foreach(rows, i, r)
    {
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "account");
        put_row(&t, 1, r);
    }
    cli_table_end(c, &t);
}

int cmd_sender_top(struct cli *c)
{
    struct client_query q;
    json_t *j = NULL;
    client_query_init(&q, "/v1/senders/top");
    client_query_add(&q, "by", cli_opt(c, "by"));
    client_query_add(&q, "window", cli_opt(c, "window"));
    client_query_add(&q, "limit", cli_opt(c, "limit"));
    int code = client_get(c, &q, &j);
    const json_t *rows = json_object_get(j, "senders");
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0 && json_array_size(rows) > 0)
        put_senders(c, rows);
    else if (code == 0)
        cli_note("no sender has any within %s", cli_str(j, "window"));
    json_decref(j);
    return code;
}
