/* Commands about what is in force against destinations. */
#include "cli/client.h"

#include <stdio.h>

static void put_holds(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "SITE", "ACTION", "SOURCE", "UNTIL", "RULE", "BY", "REPLY" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 7);
    json_array_foreach(rows, i, r)
    {
        char until[40];
        cli_when(c, json_object_get(r, "until_ms"), until, sizeof(until));
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "site");
        cli_table_set(&t, 1, CLI_YELLOW, "%s", cli_str(r, "action"));
        cli_table_opt(&t, 2, r, "source");
        cli_table_set(&t, 3, CLI_PLAIN, "%s", until);
        cli_table_opt(&t, 4, r, "rule");
        cli_table_opt(&t, 5, r, "by");
        cli_table_opt(&t, 6, r, "reply");
    }
    cli_table_end(c, &t);
}

int cmd_site_show(struct cli *c)
{
    struct client_query q;
    json_t *j = NULL;
    client_query_init(&q, "/v1/sites/holds");
    client_query_add(&q, "site", c->nargs > 0 ? c->args[0] : NULL);
    buf_put_char(&q.text, '\0');
    int code = client_json(c, q.text.data, NULL, &j);
    client_query_fini(&q);
    const json_t *rows = json_object_get(j, "holds");
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0 && json_array_size(rows) == 0)
        printf("nothing is in force%s%s\n", c->nargs > 0 ? " against " : "", c->nargs > 0 ? c->args[0] : "");
    else if (code == 0)
        put_holds(c, rows);
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
