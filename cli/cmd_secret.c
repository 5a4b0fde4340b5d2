/* Commands about the cluster's random secrets: secret list, new, import, remove. A secret goes from a file to
 * the node, and never comes back. */
#include "cli/client.h"

#include <stdio.h>
#include <string.h>

#define SECRET_MAX 130 /* a character more than any, and a line feed */

static void put_rows(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "FOR", "NAME", "MADE", "BY" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 4);
    json_array_foreach(rows, i, r)
    {
        char made[64];
        cli_when(c, json_object_get(r, "made_ms"), made, sizeof made);
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "use");
        cli_table_str(&t, 1, r, "name");
        cli_table_set(&t, 2, CLI_PLAIN, "%s", made);
        cli_table_str(&t, 3, r, "by");
    }
    cli_table_end(c, &t);
}

int cmd_secret_list(struct cli *c)
{
    return cli_list_all(c, "/v1/secret", "secrets", "the cluster has no random secrets", put_rows);
}

/* Takes the body, which says what else there is to say. */
static int add(struct cli *c, json_t *body)
{
    json_t *answer = NULL;
    int code = cli_put_text(c, body, "use", c->args[0]);
    if (code == 0)
        code = cli_put_text(c, body, "name", cli_opt(c, "name"));
    if (code == 0)
        code = client_json(c, "/v1/secret/add", body, &answer);
    json_decref(body);
    if (code == 0 && c->json)
        cli_print_json(answer);
    else if (code == 0)
        printf(
            "secret %s is what %s is made with from now on; older ones are believed until they are removed\n",
            cli_str(answer, "name"), c->args[0]);
    json_decref(answer);
    return code;
}

int cmd_secret_new(struct cli *c)
{
    return add(c, json_object());
}

int cmd_secret_import(struct cli *c)
{
    char text[SECRET_MAX];
    json_t *body = json_object();
    int code = 0;
    if (cli_has(c, "policy") == (c->nargs > 1))
        code = cli_fail(c, CLI_USAGE, "which secret? FILE, or --policy");
    FILE *f = code == 0 && c->nargs > 1 ? fopen(c->args[1], "re") : NULL;
    if (code == 0 && c->nargs > 1 && f == NULL)
        code = cli_fail(c, CLI_USAGE, "cannot read %s: %m", c->args[1]);
    size_t n = f == NULL ? 0 : fread(text, 1, sizeof text, f);
    if (f != NULL)
        fclose(f);
    if (n == sizeof text)
        code = cli_fail(c, CLI_USAGE, "%s is longer than any secret", c->args[1]);
    n -= n > 0 && text[n - 1] == '\n';
    if (code == 0)
        json_object_set_new(body, f != NULL ? "secret" : "policy",
                            f != NULL ? json_stringn(text, n) : json_true());
    explicit_bzero(text, sizeof text);
    if (code == 0)
        return add(c, body);
    json_decref(body);
    return code;
}

int cmd_secret_remove(struct cli *c)
{
    json_t *body = json_object();
    int code = cli_put_text(c, body, "use", c->args[0]);
    if (code == 0)
        code = cli_put_text(c, body, "name", c->args[1]);
    if (code == 0)
        return cli_post(c, "/v1/secret/remove", body, "what secret %s made is believed no more", c->args[1]);
    json_decref(body);
    return code;
}
