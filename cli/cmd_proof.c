/* Commands about domains that tenants prove: domain prove, list, forget. */
#include "cli/client.h"

#include <stdio.h>
#include <string.h>

static enum cli_colour colour_of(const char *state)
{
    return strcmp(state, "proven") == 0 || strcmp(state, "vouched") == 0 ? CLI_GREEN
           : strcmp(state, "asked") == 0                                 ? CLI_YELLOW
                                                                         : CLI_RED;
}

static void put_rows(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "TENANT", "DOMAIN", "STATE", "CHECKED", "UNTIL", "REASON", "BY" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 7);
    json_array_foreach(rows, i, r)
    {
        char checked[64], until[64];
        const char *state = cli_str(r, "state");
        cli_when(c, json_object_get(r, "checked_ms"), checked, sizeof checked);
        cli_when(c, json_object_get(r, "until_ms"), until, sizeof until);
        cli_table_row(&t);
        cli_table_opt(&t, 0, r, "tenant");
        cli_table_str(&t, 1, r, "domain");
        cli_table_set(&t, 2, colour_of(state), "%s", state);
        cli_table_set(&t, 3, CLI_PLAIN, "%s", checked);
        cli_table_set(&t, 4, CLI_PLAIN, "%s", until);
        cli_table_opt(&t, 5, r, "reason");
        cli_table_str(&t, 6, r, "by");
    }
    cli_table_end(c, &t);
}

int cmd_domain_list(struct cli *c)
{
    struct client_query q;
    client_query_init(&q, "/v1/domains");
    client_query_add(&q, "tenant", cli_opt(c, "tenant"));
    int code = cli_list(c, &q, "domains", "no domain is to be proven", put_rows);
    client_query_fini(&q);
    return code;
}

/* {"domain", "tenant"} of the command's. 0 or an exit code. */
static int named(struct cli *c, json_t *body)
{
    int code = cli_put_text(c, body, "domain", c->args[0]);
    return code != 0 ? code : cli_put_text(c, body, "tenant", cli_opt(c, "tenant"));
}

static void say(const json_t *a)
{
    const char *state = cli_str(a, "state"), *found = cli_str(a, "found");
    char reason[400];
    cli_safe(cli_str(a, "text"), reason, sizeof reason);
    if (strcmp(state, "vouched") == 0) {
        printf("%s needs no proof\n", cli_str(a, "domain"));
        return;
    }
    printf("%s. IN TXT \"%s\"\n", cli_str(a, "name"), cli_str(a, "record"));
    if (found[0] != '\0')
        cli_note("%s is %s%s%s", cli_str(a, "domain"), strcmp(state, "asked") == 0 ? "not proven" : state,
                 strcmp(found, "unknown") == 0 ? ": the DNS does not answer"
                 : reason[0] != '\0'           ? ": "
                                               : "",
                 reason);
}

int cmd_domain_prove(struct cli *c)
{
    json_t *answer = NULL, *body = json_object();
    int code = named(c, body);
    if (cli_has(c, "check"))
        json_object_set_new(body, "check", json_true());
    if (cli_has(c, "vouch"))
        json_object_set_new(body, "vouch", json_true());
    if (code == 0)
        code = client_json(c, "/v1/domain/prove", body, &answer);
    json_decref(body);
    if (code == 0 && c->json)
        cli_print_json(answer);
    else if (code == 0)
        say(answer);
    if (code == 0 && cli_has(c, "check") && strcmp(cli_str(answer, "found"), "there") != 0)
        code = CLI_FAILED;
    json_decref(answer);
    return code;
}

int cmd_domain_forget(struct cli *c)
{
    json_t *body = json_object();
    int code = named(c, body);
    if (code == 0)
        return cli_post(c, "/v1/domain/forget", body, "%s is forgotten", c->args[0]);
    json_decref(body);
    return code;
}
