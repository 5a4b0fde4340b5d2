/* Commands about senders' domains: domain check. */
#include "cli/client.h"

#include <stdio.h>

/* All values of an option that may be given again, with commas between; NULL: none. */
static const char *joined(const struct cli *c, const char *option, struct buf *out)
{
    for (int i = 0; i < c->ngiven; i++)
        if (strcmp(c->given[i].name, option) == 0)
            buf_printf(out, "%s%s", out->len == 0 ? "" : ",", c->given[i].value);
    if (out->len == 0)
        return NULL;
    buf_put_char(out, '\0');
    return buf_err(out) == 0 ? out->data : "";
}

static void put_findings(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "CHECK", "OF", "RESULT", "FOUND" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 4);
    json_array_foreach(rows, i, r)
    {
        const char *level = cli_str(r, "level");
        enum cli_colour colour = strcmp(level, "good") == 0   ? CLI_GREEN
                                 : strcmp(level, "note") == 0 ? CLI_YELLOW
                                                              : CLI_RED;
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "what");
        cli_table_str(&t, 1, r, "subject");
        cli_table_set(&t, 2, colour, "%s", cli_str(r, "result"));
        cli_table_str(&t, 3, r, "text");
    }
    cli_table_end(c, &t);
    json_array_foreach(rows, i, r)
    {
        char text[1024];
        if (cli_str(r, "advice")[0] == '\0')
            continue;
        cli_safe(cli_str(r, "advice"), text, sizeof(text));
        printf("%s: %s\n", cli_str(r, "level"), text);
    }
}

int cmd_domain_check(struct cli *c)
{
    struct client_query q;
    struct buf ips, selectors;
    json_t *j = NULL;
    buf_init(&ips, 16384);
    buf_init(&selectors, 8192);
    client_query_init(&q, "/v1/domain/check");
    client_query_add(&q, "domain", c->args[0]);
    client_query_add(&q, "pool", cli_opt(c, "pool"));
    client_query_add(&q, "return_path", cli_opt(c, "return-path"));
    client_query_add(&q, "ips", joined(c, "ip", &ips));
    client_query_add(&q, "selectors", joined(c, "selector", &selectors));
    int code = client_get(c, &q, &j);
    buf_fini(&ips);
    buf_fini(&selectors);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0)
        put_findings(c, json_object_get(j, "findings"));
    if (code == 0 && !json_is_true(json_object_get(j, "ok")))
        code = CLI_FAILED;
    json_decref(j);
    return code;
}
