/* Commands about failed logins: auth blocked, auth unblock. */
#include "cli/client.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static void put_rows(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "ACCOUNT", "NETWORK", ">LEFT", ">TIMES" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 4);
    json_array_foreach(rows, i, r)
    {
        char left[32];
        text_format_duration(cli_int(r, "left_ms"), left, sizeof left);
        cli_table_row(&t);
        cli_table_opt(&t, 0, r, "account");
        cli_table_opt(&t, 1, r, "network");
        cli_table_set(&t, 2, CLI_PLAIN, "%s", left);
        cli_table_int(&t, 3, r, "times");
    }
    cli_table_end(c, &t);
}

int cmd_auth_blocked(struct cli *c)
{
    json_t *j = NULL;
    int code = client_json(c, "/v1/auth/blocked", NULL, &j);
    const json_t *rows = json_object_get(j, "blocked");
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0 && json_array_size(rows) == 0)
        cli_note("nobody is blocked");
    else if (code == 0)
        put_rows(c, rows);
    if (code == 0) {
        cli_say_missing(j);
        code = json_array_size(json_object_get(j, "missing")) > 0 ? CLI_PARTLY : CLI_OK;
    }
    json_decref(j);
    return code;
}

int cmd_auth_unblock(struct cli *c)
{
    char host[128];
    unsigned char raw[16];
    json_t *body = json_object();
    snprintf(host, sizeof host, "%.*s", (int)strcspn(c->args[0], "/"), c->args[0]);
    bool address = inet_pton(AF_INET, host, raw) == 1 || inet_pton(AF_INET6, host, raw) == 1;
    int code = cli_put_text(c, body, address ? "address" : "account", c->args[0]);
    if (code == 0)
        return cli_post(c, "/v1/auth/unblock", body, "%s may log in again", c->args[0]);
    json_decref(body);
    return code;
}
