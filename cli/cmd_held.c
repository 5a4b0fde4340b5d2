/* Commands on held mail, of all nodes: held list, show, release, delete, bounce. */
#include "cli/act.h"

#include "base/text.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct act_option selector[] = { { "sender", "sender" },        { "recipient", "recipient" },
                                              { "account", "account" },      { "all-of", "account" },
                                              { "tenant", "tenant" },        { "reason", "reason" },
                                              { "older-than", "older_than" } };
#define NSELECTOR (sizeof(selector) / sizeof(selector[0]))

/* ---- list ---------------------------------------------------------------------------------------------- */

static void put_why(struct cli_table *t, int column, const json_t *row)
{
    const char *detail = cli_str(row, "detail");
    cli_table_set(t, column, CLI_PLAIN, "%s%s%s", cli_str(row, "reason"), detail[0] != '\0' ? ": " : "", detail);
}

static void put_rows(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "ID",   ">HELD FOR", ">SIZE",   "ACCOUNT", "SENDER", "TO",
                                          ">RCPTS", "WHY",     "EXPIRES", "NODE" };
    struct cli_table t;
    bool nodes = cli_str(json_array_get(rows, 0), "node")[0] != '\0';
    size_t i;
    json_t *row;
    cli_table_init(&t, titles, nodes ? 10 : 9);
    json_array_foreach(rows, i, row)
    {
        char since[32] = "-", size[32], expires[64];
        const json_t *ms = json_object_get(row, "since_ms");
        const char *sender = cli_str(row, "sender");
        if (json_is_integer(ms))
            text_format_duration(c->now_ms - (int64_t)json_integer_value(ms), since, sizeof(since));
        cli_size((uint64_t)cli_int(row, "size"), size, sizeof(size));
        cli_when(c, json_object_get(row, "expires_ms"), expires, sizeof(expires));
        cli_table_row(&t);
        cli_table_str(&t, 0, row, "id");
        cli_table_set(&t, 1, CLI_PLAIN, "%s", since);
        cli_table_set(&t, 2, CLI_PLAIN, "%s", size);
        cli_table_opt(&t, 3, row, "account");
        cli_table_set(&t, 4, CLI_PLAIN, "%s", sender[0] != '\0' ? sender : "<>");
        cli_table_str(&t, 5, row, "recipient");
        cli_table_int(&t, 6, row, "held");
        put_why(&t, 7, row);
        cli_table_set(&t, 8, CLI_PLAIN, "%s", expires);
        if (nodes)
            cli_table_str(&t, 9, row, "node");
    }
    cli_table_end(c, &t);
}

int cmd_held_list(struct cli *c)
{
    struct client_query q;
    json_t *j = NULL;
    client_query_init(&q, "/v1/held");
    for (size_t i = 0; i < NSELECTOR; i++)
        if (strcmp(selector[i].option, "all-of") != 0)
            client_query_add(&q, selector[i].param, cli_opt(c, selector[i].option));
    act_query_ids(c, &q);
    if (cli_has(c, "local") || cli_has(c, "cluster"))
        client_query_add(&q, "scope", cli_has(c, "local") ? "local" : "cluster");
    int code = client_pages(c, &q, "messages", &j);
    client_query_fini(&q);
    if (code != 0)
        return code;
    if (c->json)
        cli_print_json(j);
    else if (json_array_size(json_object_get(j, "messages")) > 0)
        put_rows(c, json_object_get(j, "messages"));
    else
        cli_note("nothing that is held matches");
    cli_say_more(c, j);
    cli_say_missing(j);
    json_decref(j);
    return CLI_OK;
}

/* ---- one ----------------------------------------------------------------------------------------------- */

/* The node has made it harmless; a line that a terminal would obey does not get here, and is escaped if it does. */
static void put_text(const char *text)
{
    char safe[8192], line[4096];
    for (const char *end; *text != '\0'; text = end + (*end == '\n')) {
        end = strchr(text, '\n');
        end = end != NULL ? end : text + strlen(text);
        snprintf(line, sizeof(line), "%.*s", (int)(end - text), text);
        cli_safe(line, safe, sizeof(safe));
        printf("| %s\n", safe);
    }
}

static void put_shown(struct cli *c, const json_t *j)
{
    char when[64], expires[64], why[512];
    const char *detail = cli_str(j, "detail"), *sender = cli_str(j, "sender");
    size_t i;
    json_t *f;
    cli_time(json_object_get(j, "since_ms"), when, sizeof(when));
    cli_when(c, json_object_get(j, "expires_ms"), expires, sizeof(expires));
    snprintf(why, sizeof(why), "%s%s%s", cli_str(j, "reason"), detail[0] != '\0' ? ": " : "", detail);
    act_put_field("id", cli_str(j, "id"));
    act_put_field("node", cli_str(j, "node"));
    act_put_field("held for", why);
    act_put_field("since", when);
    act_put_field("expires", expires);
    act_put_field("account", cli_str(j, "account"));
    act_put_field("tenant", cli_str(j, "tenant"));
    act_put_field("sender", sender[0] != '\0' ? sender : "<>");
    json_array_foreach(json_object_get(j, "recipients"), i, f)
    {
        act_put_field(i == 0 ? "to" : "", json_string_value(f));
    }
    act_put_field("client", cli_str(j, "client_ip"));
    putchar('\n');
    json_array_foreach(json_object_get(j, "header"), i, f)
    {
        char name[100];
        snprintf(name, sizeof(name), "%.90s:", cli_str(f, "name"));
        act_put_field(name, cli_str(f, "value"));
    }
    putchar('\n');
    put_text(cli_str(j, "text"));
    if (strcmp(cli_str(j, "text_kind"), "none") == 0)
        cli_note("it has no text");
    else if (json_is_true(json_object_get(j, "text_cut")))
        cli_note("there is more of it");
}

int cmd_held_show(struct cli *c)
{
    json_t *j = NULL;
    char target[128];
    const char *id = c->args[0];
    if (!act_plain_id(id))
        return cli_fail(c, CLI_USAGE, "that is no queue id: they have 13 letters and digits");
    snprintf(target, sizeof(target), "/v1/held/messages/%s", id);
    int code = client_json(c, target, NULL, &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        put_shown(c, j);
    json_decref(j);
    return code;
}

/* ---- acts ---------------------------------------------------------------------------------------------- */

/* Who exempts: as he says, or as the system knows him. */
static const char *operator_name(struct cli *c)
{
    const struct passwd *pw;
    const char *name = cli_opt(c, "operator");
    if (name == NULL)
        name = getenv("SUDO_USER");
    if (name == NULL || name[0] == '\0')
        name = (pw = getpwuid(getuid())) != NULL ? pw->pw_name : NULL;
    return name;
}

static int act_body(struct cli *c, json_t *body)
{
    if (cli_has(c, "all-of") && cli_has(c, "account"))
        return cli_fail(c, CLI_USAGE, "--all-of is --account and everything of it: give one of them");
    bool selected = act_put_selection(c, selector, NSELECTOR, body);
    if (cli_has(c, "all"))
        json_object_set_new(body, "all", json_true());
    if (cli_opt(c, "text") != NULL)
        json_object_set_new(body, "text", json_string(cli_opt(c, "text")));
    if (cli_has(c, "exempt")) {
        const char *name = operator_name(c);
        if (name == NULL)
            return cli_fail(c, CLI_USAGE, "say who exempts it: --operator NAME");
        json_object_set_new(body, "exempt", json_true());
        json_object_set_new(body, "operator", json_string(name));
    }
    if (selected && cli_has(c, "all"))
        return cli_fail(c, CLI_USAGE, "--all means everything that is held: leave the selection away, or --all");
    return selected || cli_has(c, "all")
               ? 0
               : cli_fail(c, CLI_USAGE, "say what is meant: queue ids, a selection like --all-of SENDER, or --all");
}

static int put_result(struct cli *c, const struct act *a, const json_t *j)
{
    int64_t n = cli_int(j, "recipients"), done = cli_int(j, "done"), quota = cli_int(j, "no_quota"),
            failed = cli_int(j, "failed"), busy = cli_int(j, "busy"), frozen = cli_int(j, "frozen");
    bool more = json_is_true(json_object_get(j, "more"));
    const char *why = cli_str(j, "why");
    if (c->json)
        cli_print_json(j);
    cli_say_missing(j);
    if (n == 0) {
        cli_note("nothing that is held matches");
        return CLI_NOT_FOUND;
    }
    if (!c->json)
        printf("%s%" PRId64 " recipient(s) of %" PRId64 " message(s) %s\n",
               cli_has(c, "dry-run") ? "would be: " : "", done, cli_int(j, "messages"), a->past);
    if (frozen > 0)
        cli_note("%" PRId64 " of them wait until their sender is thawed", frozen);
    if (quota > 0)
        cli_note("%" PRId64 " stay held: %s; try later, or --exempt them", quota, why[0] != '\0' ? why : "no quota is left");
    if (busy + failed > 0)
        cli_note("%" PRId64 " failed%s%s: try again", busy + failed, quota == 0 && why[0] != '\0' ? ": " : "",
                 quota == 0 ? why : "");
    if (more)
        cli_note("there are more: run it again");
    bool all = quota + failed + busy == 0 && !more && json_array_size(json_object_get(j, "missing")) == 0;
    return all ? CLI_OK : done > 0 ? CLI_PARTLY : CLI_FAILED;
}

static int run(struct cli *c, const char *path, const char *verb, const char *past, bool asks)
{
    return act_run(c, &(struct act){ .path = path,
                                     .verb = verb,
                                     .past = past,
                                     .what = "held message(s)",
                                     .asks = asks,
                                     .body = act_body,
                                     .result = put_result });
}

int cmd_held_release(struct cli *c)
{
    return run(c, "/v1/held/release", "Release", "released", false);
}

int cmd_held_delete(struct cli *c)
{
    return run(c, "/v1/held/delete", "Delete", "deleted", true);
}

int cmd_held_bounce(struct cli *c)
{
    return run(c, "/v1/held/bounce", "Bounce", "bounced", true);
}
