/* Commands about suppressed addresses: suppression list, add, remove. */
#include "cli/client.h"

#include "base/text.h"

#include <stdio.h>

static void put_rows(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "TENANT", "ADDRESS", "SINCE", "ENDS IN", "WHY", "BY", "REASON" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 7);
    json_array_foreach(rows, i, r)
    {
        char since[64], left[32] = "never";
        cli_when(c, json_object_get(r, "since_ms"), since, sizeof since);
        if (json_is_integer(json_object_get(r, "left_ms")))
            text_format_duration(cli_int(r, "left_ms"), left, sizeof left);
        cli_table_row(&t);
        cli_table_opt(&t, 0, r, "tenant");
        cli_table_str(&t, 1, r, "address");
        cli_table_set(&t, 2, CLI_PLAIN, "%s", since);
        cli_table_set(&t, 3, CLI_PLAIN, "%s", left);
        cli_table_str(&t, 4, r, "class");
        cli_table_str(&t, 5, r, "by");
        cli_table_opt(&t, 6, r, "reason");
    }
    cli_table_end(c, &t);
}

int cmd_suppression_list(struct cli *c)
{
    struct client_query q;
    client_query_init(&q, "/v1/suppression");
    client_query_add(&q, "tenant", cli_opt(c, "tenant"));
    int code = cli_list(c, &q, "suppressed", "no address is suppressed", put_rows);
    client_query_fini(&q);
    return code;
}

/* {"address", "tenant"} of the command's. 0 or an exit code. */
static int named(struct cli *c, json_t *body)
{
    int code = cli_put_text(c, body, "address", c->args[0]);
    return code != 0 ? code : cli_put_text(c, body, "tenant", cli_opt(c, "tenant"));
}

int cmd_suppression_add(struct cli *c)
{
    json_t *body = json_object();
    int code = named(c, body);
    if (code == 0)
        code = cli_put_text(c, body, "for", cli_opt(c, "for"));
    if (code == 0)
        code = cli_put_text(c, body, "reason", cli_opt(c, "reason"));
    if (code == 0)
        return cli_post(c, "/v1/suppression/add", body, "%s is suppressed", c->args[0]);
    json_decref(body);
    return code;
}

int cmd_suppression_remove(struct cli *c)
{
    json_t *body = json_object();
    int code = named(c, body);
    if (code == 0)
        return cli_post(c, "/v1/suppression/remove", body, "%s may be sent to again", c->args[0]);
    json_decref(body);
    return code;
}
