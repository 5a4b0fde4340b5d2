/* Commands about the cluster's policy, and what operators did. */
#include "cli/client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define POLICY_FILE_MAX (1u << 20)

/* A file, or standard input for "-", as "text" and, for the node's messages, "name". */
static int read_document(struct cli *c, json_t *body)
{
    const char *path = c->args[0];
    bool standard = strcmp(path, "-") == 0;
    FILE *f = standard ? stdin : fopen(path, "re");
    if (f == NULL)
        return cli_fail(c, CLI_FAILED, "can't read %s: %s", path, strerror(errno));
    char *text = malloc(POLICY_FILE_MAX + 1);
    size_t n = text != NULL ? fread(text, 1, POLICY_FILE_MAX + 1, f) : 0;
    int code = text == NULL ? cli_fail(c, CLI_FAILED, "out of memory")
               : ferror(f)  ? cli_fail(c, CLI_FAILED, "can't read %s: %s", path, strerror(errno))
               : n > POLICY_FILE_MAX
                   ? cli_fail(c, CLI_FAILED, "%s is larger than %u bytes", path, POLICY_FILE_MAX)
                   : 0;
    json_t *document = code == 0 ? json_stringn(text, n) : NULL;
    if (code == 0 && document == NULL)
        code = cli_fail(c, CLI_FAILED, "%s is not UTF-8 text", path);
    if (code == 0) {
        json_object_set_new(body, "text", document);
        code = cli_put_text(c, body, "name", standard ? "standard input" : path);
    }
    if (!standard)
        fclose(f);
    free(text);
    return code;
}

static void put_diff(const json_t *j)
{
    size_t i;
    json_t *line;
    char safe[2048];
    json_array_foreach(json_object_get(j, "diff"), i, line)
    {
        cli_safe(json_string_value(line), safe, sizeof(safe));
        printf("  %s\n", safe);
    }
    json_array_foreach(json_object_get(j, "warnings"), i, line)
    {
        cli_note("warning: %s", json_string_value(line));
    }
}

int cmd_policy_diff(struct cli *c)
{
    json_t *body = json_object(), *j = NULL;
    int code = read_document(c, body);
    if (code == 0)
        code = client_json(c, "/v1/policy/diff", body, &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    else if (code == 0 && json_array_size(json_object_get(j, "diff")) == 0)
        printf("it says the same as the policy in force\n");
    if (code == 0 && !c->json)
        put_diff(j);
    json_decref(body);
    json_decref(j);
    return code;
}

/* Only over the policy that was looked at: by --version, else just now. */
int cmd_policy_apply(struct cli *c)
{
    json_t *body = json_object(), *j = NULL, *seen = NULL;
    int code = read_document(c, body);
    if (code == 0)
        code = cli_put_number(c, body, "version", cli_opt(c, "version"));
    if (code == 0 && !cli_has(c, "version")) {
        code = client_json(c, "/v1/policy/diff", body, &seen);
        if (cli_int(seen, "version") > 0)
            json_object_set_new(body, "version", json_integer(cli_int(seen, "version")));
    }
    if (code == 0)
        code = cli_put_text(c, body, "note", cli_opt(c, "note"));
    if (code == 0)
        code = client_json(c, "/v1/policy/apply", body, &j);
    if (code == 0 && c->json) {
        cli_print_json(j);
    } else if (code == 0) {
        printf("policy %" PRId64 " is in force\n", cli_int(j, "version"));
        put_diff(j);
    }
    json_decref(body);
    json_decref(seen);
    json_decref(j);
    return code;
}

int cmd_policy_test_reply(struct cli *c)
{
    if (cli_has(c, "file"))
        return cmd_policy_test_reply_file(c);
    json_t *body = json_object(), *j = NULL, *row;
    size_t i;
    int code = cli_put_text(c, body, "site", c->args[0]);
    if (code == 0)
        code = cli_put_text(c, body, "text", c->args[1]);
    static const char *const given[] = { "stage", "mx", "pool" };
    for (size_t k = 0; code == 0 && k < 3; k++)
        code = cli_put_text(c, body, given[k], cli_opt(c, given[k]));
    if (code == 0)
        code = client_json(c, "/v1/policy/test-reply", body, &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    json_array_foreach(json_object_get(j, "answers"), i, row)
    {
        char safe[4096];
        const char *rule = cli_str(row, "rule");
        cli_safe(cli_str(row, "words"), safe, sizeof(safe));
        if (!c->json)
            printf("%s: %s%s%s\n", cli_str(row, "stage"), rule[0] != '\0' ? rule : "no rule",
                   rule[0] != '\0' ? ": " : "", safe);
    }
    json_decref(body);
    json_decref(j);
    return code;
}

int cmd_policy_rollback(struct cli *c)
{
    json_t *body = json_object(), *j = NULL;
    int code = cli_put_number(c, body, "to", c->args[0]);
    if (code == 0)
        code = client_json(c, "/v1/policy/rollback", body, &j);
    if (code == 0 && c->json) {
        cli_print_json(j);
    } else if (code == 0) {
        printf("policy %" PRId64 " is in force, which says what %s did\n", cli_int(j, "version"), c->args[0]);
        put_diff(j);
    }
    json_decref(body);
    json_decref(j);
    return code;
}

/* The text as it was applied, so that it can be edited and applied again. */
int cmd_policy_show(struct cli *c)
{
    struct client_query q;
    json_t *j = NULL;
    client_query_init(&q, "/v1/policy");
    client_query_add(&q, "version", cli_opt(c, "version"));
    int code = client_get(c, &q, &j);
    if (code == 0 && c->json) {
        cli_print_json(j);
    } else if (code == 0) {
        for (const char *p = cli_str(j, "text"); *p != '\0'; p++)
            if ((unsigned char)*p >= 0x20 || *p == '\n')
                putchar(*p);
    }
    json_decref(j);
    return code;
}

int cmd_policy_history(struct cli *c)
{
    static const char *const titles[] = { ">VERSION", "", "WHEN", "WHO", "NOTE" };
    struct cli_table t;
    json_t *j = NULL, *p;
    size_t i;
    int code = client_json(c, "/v1/policy/history", NULL, &j);
    if (code == 0 && c->json)
        cli_print_json(j);
    if (code != 0 || c->json) {
        json_decref(j);
        return code;
    }
    cli_table_init(&t, titles, 5);
    json_array_foreach(json_object_get(j, "policies"), i, p)
    {
        char when[64];
        cli_time(json_object_get(p, "at_ms"), when, sizeof(when));
        cli_table_row(&t);
        cli_table_int(&t, 0, p, "version");
        cli_table_set(&t, 1, CLI_GREEN, "%s", json_is_true(json_object_get(p, "in_force")) ? "in force" : "");
        cli_table_set(&t, 2, CLI_PLAIN, "%s", when);
        cli_table_str(&t, 3, p, "who");
        cli_table_opt(&t, 4, p, "note");
    }
    if (t.rows > 0)
        cli_table_print(c, &t);
    else
        cli_note("no policy was applied yet: the built-in one is in force; turnpike policy show prints it");
    cli_table_fini(&t);
    json_decref(j);
    return code;
}

/* ---- audit --------------------------------------------------------------------------------------------- */

static void put_audit(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "WHEN", "WHO", "WHAT" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 3);
    json_array_foreach(rows, i, r)
    {
        char when[64];
        cli_time(json_object_get(r, "at_ms"), when, sizeof(when));
        cli_table_row(&t);
        cli_table_set(&t, 0, CLI_PLAIN, "%s", when);
        cli_table_set(&t, 1, CLI_PLAIN, "%s",
                      cli_str(r, "who")[0] != '\0' ? cli_str(r, "who") : "the cluster");
        cli_table_str(&t, 2, r, "what");
    }
    cli_table_end(c, &t);
}

int cmd_audit(struct cli *c)
{
    return cli_list_all(c, "/v1/audit", "audit", "nothing was done yet", put_audit);
}
