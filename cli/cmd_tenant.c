/* Commands about what tenants see by themselves: tenant report, token, tokens,
 * revoke. */
#include "cli/client.h"

#include <stdio.h>

int cmd_tenant_report(struct cli *c)
{
    struct client_query q;
    json_t *j = NULL;
    client_query_init(&q, "/v1/tenants/report");
    client_query_add(&q, "tenant", c->args[0]);
    client_query_add(&q, "window", cli_opt(c, "window"));
    int code = client_get(c, &q, &j);
    const char *contact = cli_str(j, "contact");
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        printf("%s", cli_str(j, "text")); /* ASCII and line feeds */
    if (code == 0 && contact[0] == '\0')
        cli_note("nobody gets it: the tenant has no contact (turnpike tenant contact)");
    json_decref(j);
    return code;
}

int cmd_tenant_token(struct cli *c)
{
    json_t *body = json_object(), *answer = NULL;
    int code = cli_put_text(c, body, "name", c->args[0]);
    if (code == 0)
        code = cli_put_text(c, body, "note", cli_opt(c, "note"));
    if (code == 0)
        code = client_json(c, "/v1/tenants/tokens/add", body, &answer);
    json_decref(body);
    if (code == 0 && c->json)
        cli_print_json(answer);
    else if (code == 0)
        printf("%s\n", cli_str(answer, "token"));
    if (code == 0)
        cli_note("it shows what is of tenant %s, on any node, and is not shown again; turnpike tenant revoke "
                 "%s ends it",
                 c->args[0], cli_str(answer, "id"));
    json_decref(answer);
    return code;
}

static void put_tokens(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "ID", "TENANT", "MADE", "BY", "NOTE" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 5);
    json_array_foreach(rows, i, r)
    {
        char made[64];
        cli_when(c, json_object_get(r, "made_ms"), made, sizeof made);
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "id");
        cli_table_str(&t, 1, r, "tenant");
        cli_table_set(&t, 2, CLI_PLAIN, "%s", made);
        cli_table_opt(&t, 3, r, "by");
        cli_table_opt(&t, 4, r, "note");
    }
    cli_table_end(c, &t);
}

int cmd_tenant_tokens(struct cli *c)
{
    return cli_list_all(c, "/v1/tenants/tokens", "tokens", "no tenant has a token", put_tokens);
}

int cmd_tenant_revoke(struct cli *c)
{
    json_t *body = json_object();
    int code = cli_put_text(c, body, "id", c->args[0]);
    if (code == 0)
        return cli_post(c, "/v1/tenants/tokens/remove", body, "token %s opens nothing any more", c->args[0]);
    json_decref(body);
    return code;
}
