/* Commands about who may log in to the dashboard: operator list, add, role, passwd, logout, remove. */
#include "cli/client.h"

#include "base/text.h"

#include <stdio.h>

static void put_rows(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "NAME", "ROLE", "CHANGED", "LOGGED IN" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 4);
    json_array_foreach(rows, i, r)
    {
        char changed[64];
        const json_t *logins = json_object_get(r, "logins");
        cli_when(c, json_object_get(r, "changed_ms"), changed, sizeof changed);
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "name");
        cli_table_str(&t, 1, r, "role");
        cli_table_set(&t, 2, CLI_PLAIN, "%s", changed);
        cli_table_set(&t, 3, CLI_PLAIN, "%zu", json_array_size(logins));
    }
    cli_table_end(c, &t);
}

int cmd_operator_list(struct cli *c)
{
    struct client_query q;
    client_query_init(&q, "/v1/operators");
    int code = cli_list(c, &q, "operators", "nobody may log in", put_rows);
    client_query_fini(&q);
    return code;
}

/* {"name", "password"}. 0 or an exit code. */
static int with_password(struct cli *c, json_t **out)
{
    char password[CLI_SECRET_MAX + 1];
    json_t *body = json_object();
    int code = cli_put_text(c, body, "name", c->args[0]);
    if (code == 0)
        code = cli_secret(c, password);
    if (code == 0 && !text_utf8_valid(span_str(password)))
        code = cli_fail(c, CLI_USAGE, "the password is not valid UTF-8");
    if (code == 0)
        json_object_set_new(body, "password", json_string(password));
    explicit_bzero(password, sizeof password);
    if (code != 0)
        json_decref(body);
    else
        *out = body;
    return code;
}

int cmd_operator_add(struct cli *c)
{
    json_t *body;
    const char *role = cli_opt(c, "role");
    int code = with_password(c, &body);
    if (code != 0)
        return code;
    json_object_set_new(body, "role", json_string(role != NULL ? role : "viewer"));
    return cli_post(c, "/v1/operators/add", body, "%s may log in as %s", c->args[0],
                    role != NULL ? role : "viewer");
}

int cmd_operator_passwd(struct cli *c)
{
    json_t *body;
    int code = with_password(c, &body);
    return code != 0 ? code
                     : cli_post(c, "/v1/operators/passwd", body,
                                "%s has another password, and is logged out everywhere", c->args[0]);
}

static int named(struct cli *c, json_t **out)
{
    *out = json_object();
    int code = cli_put_text(c, *out, "name", c->args[0]);
    if (code != 0)
        json_decref(*out);
    return code;
}

int cmd_operator_role(struct cli *c)
{
    json_t *body;
    int code = named(c, &body);
    if (code != 0)
        return code;
    code = cli_put_text(c, body, "role", c->args[1]);
    if (code == 0)
        return cli_post(c, "/v1/operators/set", body, "%s is %s now", c->args[0], c->args[1]);
    json_decref(body);
    return code;
}

int cmd_operator_logout(struct cli *c)
{
    json_t *body;
    int code = named(c, &body);
    return code != 0 ? code
                     : cli_post(c, "/v1/operators/logout", body, "%s is logged out everywhere", c->args[0]);
}

int cmd_operator_remove(struct cli *c)
{
    json_t *body;
    int code = named(c, &body);
    return code != 0 ? code : cli_post(c, "/v1/operators/remove", body, "%s may log in no more", c->args[0]);
}
