/* Acts on messages: see act.h. */
#include "cli/act.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void act_query_ids(struct cli *c, struct client_query *q)
{
    struct buf ids;
    if (c->nargs == 0)
        return;
    buf_init(&ids, 65536);
    for (int i = 0; i < c->nargs; i++)
        buf_printf(&ids, "%s%s", i > 0 ? "," : "", c->args[i]);
    buf_put_char(&ids, '\0');
    client_query_add(q, "ids", ids.data);
    buf_fini(&ids);
}

bool act_put_selection(struct cli *c, const struct act_option *options, size_t n, json_t *body)
{
    bool selected = c->nargs > 0;
    for (size_t i = 0; i < n; i++) {
        const char *v = cli_opt(c, options[i].option);
        if (v == NULL)
            continue;
        json_object_set_new(body, options[i].param, json_string(v));
        selected = true;
    }
    if (c->nargs > 0) {
        json_t *ids = json_array();
        for (int i = 0; i < c->nargs; i++)
            json_array_append_new(ids, json_string(c->args[i]));
        json_object_set_new(body, "ids", ids);
    }
    return selected;
}

/* Ids that were typed are meant; what a selection takes in is shown first. */
static int confirm(struct cli *c, const struct act *a, json_t *body)
{
    json_t *count = NULL;
    char question[160];
    if (!a->asks || cli_has(c, "dry-run") || (c->nargs > 0 && c->ngiven == 0))
        return 0;
    json_object_set_new(body, "dry_run", json_true());
    int code = client_json(c, a->path, body, &count);
    json_object_del(body, "dry_run");
    int64_t n = cli_int(count, "recipients");
    snprintf(question, sizeof(question), "%s %" PRId64 " recipient(s) of %" PRId64 " %s?", a->verb, n,
             cli_int(count, "messages"), a->what);
    json_decref(count);
    if (code != 0 || n == 0)
        return code;
    json_object_set_new(body, "expected", json_integer(n)); /* not one more than was shown */
    if (cli_has(c, "yes")) {
        if (!c->json)
            cli_note("%s", question);
        return 0;
    }
    if (!isatty(STDIN_FILENO))
        return cli_fail(c, CLI_USAGE, "%s give --yes to do it, or --dry-run to look only", question);
    return cli_confirm(c, question);
}

int act_run(struct cli *c, const struct act *a)
{
    json_t *body = json_object(), *j = NULL;
    int code = a->body(c, body);
    if (code == 0)
        code = confirm(c, a, body);
    if (code == 0 && cli_has(c, "dry-run"))
        json_object_set_new(body, "dry_run", json_true());
    if (code == 0)
        code = client_json(c, a->path, body, &j);
    if (code == 0)
        code = a->result(c, a, j);
    json_decref(body);
    json_decref(j);
    return code;
}

bool act_plain_id(const char *id)
{
    size_t n = strlen(id);
    return n <= 32 && strspn(id, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == n;
}

void act_put_field(const char *name, const char *value)
{
    char safe[4096];
    if (value[0] == '\0')
        return;
    cli_safe(value, safe, sizeof(safe));
    printf("%-12s %s\n", name, safe);
}
