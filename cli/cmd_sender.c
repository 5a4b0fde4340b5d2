/* Commands that decide who may send how much: freeze, thaw, frozen, tenant ..., limit .... */
#include "cli/client.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- what several share -------------------------------------------------------------------------------- */

int cli_sender(struct cli *c, const char *arg, json_t *body)
{
    const char *tenant = cli_opt(c, "tenant");
    if (arg == NULL && tenant == NULL)
        return cli_fail(c, CLI_USAGE, "say who is meant: an account, @TENANT, or --tenant NAME");
    if (arg != NULL && tenant != NULL)
        return cli_fail(c, CLI_USAGE, "%s and --tenant name two different senders: give one of them", arg);
    const char *name = tenant != NULL ? tenant : arg[0] == '@' ? arg + 1 : arg;
    json_t *text = json_string(name);
    if (text == NULL)
        return cli_fail(c, CLI_USAGE, "the name is not valid UTF-8");
    json_object_set_new(body, tenant != NULL || arg[0] == '@' ? "tenant" : "account", text);
    return 0;
}

int cli_put_text(struct cli *c, json_t *body, const char *name, const char *value)
{
    json_t *text = value != NULL ? json_string(value) : NULL;
    if (value != NULL && text == NULL)
        return cli_fail(c, CLI_USAGE, "%s is not valid UTF-8", name);
    if (text != NULL)
        json_object_set_new(body, name, text);
    return 0;
}

int cli_put_number(struct cli *c, json_t *body, const char *name, const char *value)
{
    uint64_t v;
    if (value == NULL)
        return 0;
    if (text_u64(span_str(value), &v) != 0 || v > INT64_MAX)
        return cli_fail(c, CLI_USAGE, "%s must be a number, not %s", name, value);
    json_object_set_new(body, name, json_integer((json_int_t)v));
    return 0;
}

int cli_post(struct cli *c, const char *target, json_t *body, const char *fmt, ...)
{
    char line[1024], safe[2048];
    json_t *j = NULL;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    int code = client_json(c, target, body, &j);
    cli_safe(line, safe, sizeof(safe));
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        printf("%s\n", safe);
    json_decref(body);
    json_decref(j);
    return code;
}

/* ---- freeze -------------------------------------------------------------------------------------------- */

static void put_frozen_nodes(struct cli *c, const json_t *nodes)
{
    static const char *const titles[] = { "NODE", "HOW", ">AFTER" };
    struct cli_table t;
    size_t i;
    json_t *n;
    cli_table_init(&t, titles, 3);
    json_array_foreach(nodes, i, n)
    {
        const char *how = cli_str(n, "how");
        bool confirmed = strcmp(how, "confirmed") == 0;
        cli_table_row(&t);
        cli_table_str(&t, 0, n, "node");
        cli_table_set(&t, 1, confirmed ? CLI_GREEN : CLI_YELLOW, "%s",
                      strcmp(how, "expired") == 0 ? "waited out: it can no longer accept" : how);
        cli_table_set(&t, 2, CLI_PLAIN, "%" PRId64 "ms", cli_int(n, "after_ms"));
    }
    if (json_array_size(nodes) > 0)
        cli_table_end(c, &t);
}

static int put_freeze(struct cli *c, const json_t *j)
{
    char name[700], length[32] = "until thawed";
    bool complete = json_is_true(json_object_get(j, "complete")),
         local = json_is_true(json_object_get(j, "local"));
    cli_safe(cli_str(j, "name"), name, sizeof(name));
    if (cli_int(j, "for_ms") > 0)
        text_format_duration(cli_int(j, "for_ms"), length, sizeof(length));
    printf("%s%s %s is frozen%s%s: %s, %s%s", complete ? "" : cli_sgr(c, CLI_YELLOW), cli_str(j, "scope"),
           name,
           local      ? " on this node only"
           : complete ? " on all nodes"
                      : ", but not yet everywhere",
           cli_sgr(c, CLI_PLAIN), cli_str(j, "mode"), cli_int(j, "for_ms") > 0 ? "for " : "", length);
    if (!local)
        printf(" (%" PRId64 "ms)", cli_int(j, "took_ms"));
    putchar('\n');
    put_frozen_nodes(c, json_object_get(j, "nodes"));
    return complete ? CLI_OK : CLI_PARTLY;
}

int cmd_freeze(struct cli *c)
{
    json_t *body = json_object(), *j = NULL;
    int code = cli_sender(c, c->nargs > 0 ? c->args[0] : NULL, body);
    if (code == 0)
        code = cli_put_text(c, body, "mode", cli_opt(c, "mode"));
    if (code == 0)
        code = cli_put_text(c, body, "for", cli_opt(c, "for"));
    if (code == 0)
        code = cli_put_text(c, body, "reason", cli_opt(c, "reason"));
    if (cli_has(c, "local"))
        json_object_set_new(body, "local", json_true());
    if (code == 0)
        code = client_json(c, "/v1/freeze", body, &j);
    if (code == CLI_NO_MAJORITY && !cli_has(c, "local"))
        cli_note(
            "--local freezes on one node at once, without a majority: say it on each node that you reach");
    if (code == 0 && c->json)
        code = cli_print_json(j) == 0 && json_is_true(json_object_get(j, "complete")) ? CLI_OK : CLI_PARTLY;
    else if (code == 0)
        code = put_freeze(c, j);
    if (j != NULL && cli_str(j, "problem")[0] != '\0')
        cli_note("%s", cli_str(j, "problem"));
    json_decref(body);
    json_decref(j);
    return code;
}

int cmd_thaw(struct cli *c)
{
    json_t *body = json_object();
    int code = cli_sender(c, c->nargs > 0 ? c->args[0] : NULL, body);
    if (code == 0)
        code = cli_put_number(c, body, "freeze", cli_opt(c, "freeze"));
    if (cli_has(c, "local"))
        json_object_set_new(body, "local", json_true());
    if (code != 0) {
        json_decref(body);
        return code;
    }
    return cli_post(c, "/v1/thaw", body, "%s may send again%s",
                    c->nargs > 0 ? c->args[0] : cli_opt(c, "tenant"),
                    cli_has(c, "local") ? " from this node" : "");
}

static void put_frozen(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "SENDER", "MODE", "SINCE", "ENDS", ">ID", "WHO", "REASON" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 7);
    json_array_foreach(rows, i, r)
    {
        char since[40], left[32] = "when thawed";
        const json_t *left_ms = json_object_get(r, "left_ms");
        cli_when(c, json_object_get(r, "at_ms"), since, sizeof(since));
        if (json_is_integer(left_ms))
            text_format_duration((int64_t)json_integer_value(left_ms), left, sizeof(left));
        cli_table_row(&t);
        cli_table_set(&t, 0, CLI_PLAIN, "%s%s", strcmp(cli_str(r, "scope"), "tenant") == 0 ? "@" : "",
                      cli_str(r, "name"));
        cli_table_str(&t, 1, r, "mode");
        cli_table_set(&t, 2, CLI_PLAIN, "%s", since);
        cli_table_set(&t, 3, CLI_PLAIN, "%s%s", json_is_integer(left_ms) ? "in " : "", left);
        cli_table_int(&t, 4, r, "id");
        cli_table_str(&t, 5, r, "who");
        cli_table_opt(&t, 6, r, "reason");
    }
    cli_table_end(c, &t);
}

void cli_say_more(const struct cli *c, const json_t *j)
{
    const char *next = json_string_value(json_object_get(j, "next"));
    if (!c->json && next != NULL)
        cli_note("there is more: --limit 0 for all, or --after %s", next);
}

int cli_list(struct cli *c, const struct client_query *q, const char *key, const char *none,
             void (*put)(struct cli *c, const json_t *rows))
{
    json_t *j = NULL;
    int code = client_pages(c, q, key, &j);
    if (code != 0)
        return code;
    const json_t *rows = json_object_get(j, key);
    if (c->json)
        cli_print_json(j);
    else if (json_array_size(rows) > 0 || none == NULL)
        put(c, rows);
    else
        cli_note("%s", none);
    cli_say_more(c, j);
    json_decref(j);
    return code;
}

int cli_list_all(struct cli *c, const char *target, const char *key, const char *none,
                 void (*put)(struct cli *c, const json_t *rows))
{
    struct client_query q;
    client_query_init(&q, target);
    int code = cli_list(c, &q, key, none, put);
    client_query_fini(&q);
    return code;
}

int cmd_frozen(struct cli *c)
{
    struct client_query q;
    json_t *j = NULL;
    client_query_init(&q, "/v1/frozen");
    int code = client_pages(c, &q, "frozen", &j);
    client_query_fini(&q);
    const json_t *rows = json_object_get(j, "frozen"), *local = json_object_get(j, "local");
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0 && json_array_size(rows) + json_array_size(local) == 0)
        cli_note("nobody is frozen");
    if (code == 0 && !c->json && json_array_size(rows) > 0)
        put_frozen(c, rows);
    if (code == 0 && !c->json && json_array_size(local) > 0) {
        printf("%son this node only:\n", json_array_size(rows) > 0 ? "\n" : "");
        put_frozen(c, local);
    }
    if (code == 0)
        cli_say_more(c, j);
    json_decref(j);
    return code;
}

/* ---- tenants ------------------------------------------------------------------------------------------- */

static void put_tenants(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "NAME", "CONTACT", "NOTE" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 3);
    json_array_foreach(rows, i, r)
    {
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "name");
        cli_table_opt(&t, 1, r, "contact");
        cli_table_opt(&t, 2, r, "note");
    }
    cli_table_end(c, &t);
}

int cmd_tenant_list(struct cli *c)
{
    return cli_list_all(c, "/v1/tenants", "tenants", "there are no tenants", put_tenants);
}

int cli_post_named(struct cli *c, const char *target, const char *said)
{
    json_t *body = json_object();
    int code = cli_put_text(c, body, "name", c->args[0]);
    if (code == 0)
        code = cli_put_text(c, body, "note", cli_opt(c, "note"));
    if (code == 0)
        return cli_post(c, target, body, "%s %s", said, c->args[0]);
    json_decref(body);
    return code;
}

int cmd_tenant_set(struct cli *c)
{
    return cli_post_named(c, "/v1/tenants/set", "set tenant");
}

int cmd_tenant_contact(struct cli *c)
{
    const char *address = c->nargs > 1 ? c->args[1] : "";
    json_t *body = json_object();
    int code = cli_put_text(c, body, "name", c->args[0]);
    if (code == 0)
        code = cli_put_text(c, body, "address", address);
    if (code != 0) {
        json_decref(body);
        return code;
    }
    return cli_post(c, "/v1/tenants/contact", body, "contact of tenant %s: %s", c->args[0],
                    address[0] != '\0' ? address : "none");
}

int cmd_tenant_remove(struct cli *c)
{
    return cli_post_named(c, "/v1/tenants/remove", "removed tenant");
}

/* ---- limits -------------------------------------------------------------------------------------------- */

static void put_limits(struct cli *c, const json_t *j)
{
    static const char *const titles[] = { "LIMIT", "OF",    ">COUNT",  ">WINDOW", ">USED",
                                          ">LEFT", ">HELD", ">BURNED", "SET BY",  "FREE AGAIN" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 10);
    json_array_foreach(json_object_get(j, "limits"), i, r)
    {
        char window[32], gone[32], next[32];
        int64_t left = cli_int(r, "left"), count = cli_int(r, "count");
        text_format_duration(cli_int(r, "window_ms"), window, sizeof(window));
        text_format_duration(cli_int(r, "gone_after_ms"), gone, sizeof(gone));
        text_format_duration(cli_int(r, "free_after_ms"), next, sizeof(next));
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "limit");
        cli_table_str(&t, 1, r, "scope");
        cli_table_set(&t, 2, CLI_PLAIN, "%" PRId64, count);
        cli_table_set(&t, 3, CLI_PLAIN, "%s", window);
        cli_table_int(&t, 4, r, "used");
        cli_table_set(&t, 5,
                      left == 0           ? CLI_RED
                      : left < count / 10 ? CLI_YELLOW
                                          : CLI_PLAIN,
                      "%" PRId64, left);
        cli_table_int(&t, 6, r, "held");
        cli_table_int(&t, 7, r, "burned");
        cli_table_set(&t, 8, CLI_PLAIN, "%s",
                      json_is_true(json_object_get(r, "overridden")) ? "limit set" : "policy");
        if (left == 0 && count > 0)
            cli_table_set(&t, 9, CLI_PLAIN, "in %s, all in %s", next, gone);
        else if (cli_int(r, "gone_after_ms") > 0)
            cli_table_set(&t, 9, CLI_PLAIN, "all in %s", gone);
    }
    cli_table_end(c, &t);
}

int cmd_limit_show(struct cli *c)
{
    struct client_query q;
    json_t *who = json_object(), *j = NULL, *v;
    const char *key;
    int code = cli_sender(c, c->nargs > 0 ? c->args[0] : NULL, who);
    client_query_init(&q, "/v1/limits");
    json_object_foreach(who, key, v)
    {
        client_query_add(&q, key, json_string_value(v));
    }
    buf_put_char(&q.text, '\0');
    if (code == 0)
        code = client_json(c, q.text.data, NULL, &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0 && json_array_size(json_object_get(j, "limits")) > 0)
        put_limits(c, j);
    else if (code == 0)
        cli_note("the policy has no limit for it");
    client_query_fini(&q);
    json_decref(who);
    json_decref(j);
    return code;
}

/* [SENDER] LIMIT [COUNT]: the sender stands first unless --tenant names it. */
static int override(struct cli *c, bool set)
{
    int want = set ? 2 : 1, at = cli_has(c, "tenant") ? 0 : 1;
    json_t *body = json_object();
    if (c->nargs != want + at) {
        json_decref(body);
        return cli_fail(c, CLI_USAGE, "%s needs %s; see turnpike help %s", c->command->name, c->command->args,
                        c->command->name);
    }
    int code = cli_sender(c, at > 0 ? c->args[0] : NULL, body);
    if (code == 0)
        code = cli_put_text(c, body, "limit", c->args[at]);
    if (code == 0 && set)
        code = cli_put_number(c, body, "count", c->args[at + 1]);
    if (code != 0) {
        json_decref(body);
        return code;
    }
    const char *who = at > 0 ? c->args[0] : cli_opt(c, "tenant");
    return set ? cli_post(c, "/v1/limits/set", body, "%s of %s is %s now", c->args[at], who, c->args[at + 1])
               : cli_post(c, "/v1/limits/clear", body, "%s of %s is the policy's again", c->args[at], who);
}

int cmd_limit_set(struct cli *c)
{
    return override(c, true);
}

int cmd_limit_clear(struct cli *c)
{
    return override(c, false);
}
