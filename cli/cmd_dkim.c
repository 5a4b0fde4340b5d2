/* turnpike dkim. Of keys in files: runs turnpiked --dkim, which knows of keys and has the node's file; no
 * node need be running. Of the cluster's keys: asks the node. A private key goes from a file to the node, and
 * never comes back.
 */
#include "cli/client.h"

#include <stdio.h>
#include <string.h>

#define WORDS_MAX 8

/* "name=value" words for turnpiked. */
struct words {
    char text[WORDS_MAX][1200];
    const char *args[WORDS_MAX + 3];
    int n;
};

/* 0 or an exit code. */
static int add(struct cli *c, struct words *w, const char *name, const char *value)
{
    if (value == NULL)
        return CLI_OK;
    int len = snprintf(w->text[w->n], sizeof(w->text[0]), "%s=%s", name, value);
    if (len >= (int)sizeof(w->text[0]))
        return cli_fail(c, CLI_USAGE, "%s is too long", name);
    w->args[2 + w->n] = w->text[w->n];
    w->n++;
    return CLI_OK;
}

static int add_options(struct cli *c, struct words *w, const char *const (*options)[2])
{
    int code = CLI_OK;
    for (; code == CLI_OK && (*options)[0] != NULL; options++)
        code = add(c, w, (*options)[0], cli_opt(c, (*options)[1]));
    return code;
}

static int run(struct cli *c, const char *verb, const char *arg, const char *const (*options)[2])
{
    struct words w = { .args = { "--dkim", verb } };
    int code = add(c, &w, arg, c->args[0]);
    if (code == CLI_OK)
        code = add_options(c, &w, options);
    if (code == CLI_OK && c->json)
        code = add(c, &w, "json", "1");
    return code == CLI_OK ? cli_run_daemon_quietly(c, w.args) : code;
}

/* ---- the cluster's --------------------------------------------------------------------------------------
 */

/* {"domain", "selector"}. 0 or an exit code. */
static int named(struct cli *c, json_t *body)
{
    if (cli_opt(c, "selector") == NULL)
        return cli_fail(c, CLI_USAGE, "which key? --selector NAME");
    int code = cli_put_text(c, body, "domain", c->args[0]);
    return code != 0 ? code : cli_put_text(c, body, "selector", cli_opt(c, "selector"));
}

static int put_use(struct cli *c, json_t *body)
{
    static const char *const texts[][2] = { { "not_before", "not-before" },
                                            { "not_after", "not-after" },
                                            { "tenants", "tenants" } };
    int code = 0;
    for (size_t i = 0; code == 0 && i < 3; i++)
        code = cli_put_text(c, body, texts[i][0], cli_opt(c, texts[i][1]));
    if (code == 0 && cli_has(c, "subdomains"))
        json_object_set_new(body, "subdomains", json_true());
    return code;
}

/* As zone files have it: in strings of at most 255 octets. */
static void put_record(const json_t *answer)
{
    const char *rest = cli_str(answer, "record");
    printf("%s._domainkey.%s. IN TXT (", cli_str(answer, "selector"), cli_str(answer, "domain"));
    for (size_t n; *rest != '\0'; rest += n) {
        n = strnlen(rest, 255);
        printf(" \"%.*s\"", (int)n, rest);
    }
    puts(" )");
}

/* Takes the body. Says what to publish. */
static int add_here(struct cli *c, const char *target, json_t *body)
{
    json_t *answer = NULL;
    int code = client_json(c, target, body, &answer);
    json_decref(body);
    if (code != 0)
        return code;
    if (c->json)
        cli_print_json(answer);
    else
        put_record(answer);
    json_decref(answer);
    return CLI_OK;
}

static int generate_here(struct cli *c)
{
    json_t *body = json_object();
    int code = named(c, body);
    if (code == 0)
        code = cli_put_text(c, body, "type", cli_opt(c, "type"));
    if (code == 0)
        code = cli_put_number(c, body, "bits", cli_opt(c, "bits"));
    if (code == 0)
        code = put_use(c, body);
    if (code == 0)
        return add_here(c, "/v1/dkim/generate", body);
    json_decref(body);
    return code;
}

int cmd_dkim_import(struct cli *c)
{
    char pem[8193];
    json_t *body = json_object();
    int code = named(c, body);
    FILE *f = code == 0 ? fopen(c->args[1], "re") : NULL;
    if (code == 0 && f == NULL)
        code = cli_fail(c, CLI_USAGE, "cannot read %s: %m", c->args[1]);
    size_t n = f == NULL ? 0 : fread(pem, 1, sizeof pem, f);
    if (f != NULL)
        fclose(f);
    if (code == 0 && n == sizeof pem)
        code = cli_fail(c, CLI_USAGE, "%s is longer than any key", c->args[1]);
    if (code == 0)
        json_object_set_new(body, "key", json_stringn(pem, n));
    explicit_bzero(pem, sizeof pem);
    if (code == 0)
        code = put_use(c, body);
    if (code == 0)
        return add_here(c, "/v1/dkim/import", body);
    json_decref(body);
    return code;
}

static void put_rows(struct cli *c, const json_t *rows)
{
    static const char *const titles[] = { "DOMAIN", "SELECTOR", "KIND", "FROM", "UNTIL", "TENANTS", "BY" };
    struct cli_table t;
    size_t i;
    json_t *r;
    cli_table_init(&t, titles, 7);
    json_array_foreach(rows, i, r)
    {
        char from[64] = "-", until[64] = "-";
        if (json_is_integer(json_object_get(r, "not_before_ms")))
            cli_when(c, json_object_get(r, "not_before_ms"), from, sizeof from);
        if (json_is_integer(json_object_get(r, "not_after_ms")))
            cli_when(c, json_object_get(r, "not_after_ms"), until, sizeof until);
        cli_table_row(&t);
        cli_table_str(&t, 0, r, "domain");
        cli_table_str(&t, 1, r, "selector");
        cli_table_str(&t, 2, r, "algorithm");
        cli_table_set(&t, 3, CLI_PLAIN, "%s", from);
        cli_table_set(&t, 4, CLI_PLAIN, "%s", until);
        cli_table_opt(&t, 5, r, "tenants");
        cli_table_str(&t, 6, r, "by");
    }
    cli_table_end(c, &t);
}

int cmd_dkim_list(struct cli *c)
{
    struct client_query q;
    client_query_init(&q, "/v1/dkim");
    client_query_add(&q, "domain", c->nargs > 0 ? c->args[0] : NULL);
    int code = cli_list(c, &q, "keys", "the cluster has no DKIM keys", put_rows);
    client_query_fini(&q);
    return code;
}

int cmd_dkim_retire(struct cli *c)
{
    const char *at = cli_opt(c, "not-after");
    json_t *body = json_object();
    int code = named(c, body);
    if (code == 0)
        code = cli_put_text(c, body, "not_after", at != NULL ? at : "0s");
    if (code == 0)
        return cli_post(c, "/v1/dkim/set", body, "key %s of %s signs %s%s", cli_opt(c, "selector"),
                        c->args[0], at != NULL ? "until " : "no more", at != NULL ? at : "");
    json_decref(body);
    return code;
}

int cmd_dkim_remove(struct cli *c)
{
    json_t *body = json_object();
    int code = named(c, body);
    if (code == 0)
        return cli_post(c, "/v1/dkim/remove", body, "key %s of %s is gone", cli_opt(c, "selector"),
                        c->args[0]);
    json_decref(body);
    return code;
}

int cmd_dkim_rekey(struct cli *c)
{
    json_t *answer = NULL, *body = json_object();
    if (cli_has(c, "lost"))
        json_object_set_new(body, "lost", json_true());
    int code = client_json(c, "/v1/dkim/rekey", body, &answer);
    json_decref(body);
    if (code != 0)
        return code;
    if (c->json)
        cli_print_json(answer);
    else if (cli_int(answer, "left") > 0)
        printf("%lld encrypted anew, %lld left: do it again\n", (long long)cli_int(answer, "done"),
               (long long)cli_int(answer, "left"));
    else
        printf("%lld encrypted anew\n", (long long)cli_int(answer, "done"));
    json_decref(answer);
    return CLI_OK;
}

int cmd_dkim_generate(struct cli *c)
{
    static const char *const options[][2] = {
        { "selector", "selector" }, { "type", "type" }, { "bits", "bits" }, { "out", "out" }, { NULL, NULL }
    };
    bool cluster = cli_has(c, "cluster");
    if (cli_opt(c, "selector") == NULL || cluster == (cli_opt(c, "out") != NULL))
        return cli_fail(c, CLI_USAGE, "dkim generate needs --selector, and --out or --cluster");
    return cluster ? generate_here(c) : run(c, "generate", "domain", options);
}

static bool is_selector(const struct cli *c, const char *name)
{
    return cli_opt(c, "selector") == NULL || strcasecmp(cli_opt(c, "selector"), name) == 0;
}

/* The answer's rows that are meant: how many. */
static size_t keep_rows(const struct cli *c, json_t *rows, const char *key, const char *what)
{
    for (size_t i = json_array_size(rows); i-- > 0;) {
        const json_t *r = json_array_get(rows, i);
        if (!is_selector(c, cli_str(r, key)) || (what != NULL && strcmp(cli_str(r, "what"), what) != 0))
            json_array_remove(rows, i);
    }
    return json_array_size(rows);
}

static int no_key(struct cli *c)
{
    return cli_fail(c, CLI_NOT_FOUND, "no such key of %s is known", c->args[0]);
}

/* Of the cluster's keys: the node knows them. */
static int dns_here(struct cli *c)
{
    struct client_query q;
    json_t *answer = NULL, *r;
    size_t i;
    client_query_init(&q, "/v1/dkim");
    client_query_add(&q, "domain", c->args[0]);
    int code = client_pages(c, &q, "keys", &answer);
    client_query_fini(&q);
    json_t *rows = json_object_get(answer, "keys");
    if (code == 0 && keep_rows(c, rows, "selector", NULL) == 0)
        code = no_key(c);
    else if (code == 0 && c->json)
        code = cli_print_json(answer);
    else if (code == 0)
        json_array_foreach(rows, i, r) put_record(r);
    json_decref(answer);
    return code;
}

/* Of all keys that the node signs with, its file's and the cluster's. The address is of no account. */
static int check_here(struct cli *c)
{
    struct client_query q;
    json_t *answer = NULL, *r;
    size_t i;
    client_query_init(&q, "/v1/domain/check");
    client_query_add(&q, "domain", c->args[0]);
    client_query_add(&q, "ips", "127.0.0.1");
    int code = client_get(c, &q, &answer);
    json_t *rows = json_object_get(answer, "findings");
    if (code == 0 && keep_rows(c, rows, "subject", "dkim") == 0)
        code = no_key(c);
    json_array_foreach(rows, i, r)
    {
        char text[512];
        cli_safe(cli_str(r, "text"), text, sizeof text);
        if (!c->json && code != CLI_NOT_FOUND)
            printf("%s._domainkey.%s: %s: %s\n", cli_str(r, "subject"), c->args[0], cli_str(r, "result"), text);
        code = code == 0 && strcmp(cli_str(r, "level"), "trouble") == 0 ? CLI_FAILED : code;
    }
    if (c->json && code != CLI_NOT_FOUND && rows != NULL) {
        json_object_set_new(answer, "ok", json_boolean(code == 0));
        cli_print_json(answer);
    }
    json_decref(answer);
    return code;
}

int cmd_dkim_dns(struct cli *c)
{
    static const char *const options[][2] = { { "selector", "selector" },
                                              { "config", "config" },
                                              { NULL, NULL } };
    if (cli_has(c, "cluster") && cli_opt(c, "config") != NULL)
        return cli_fail(c, CLI_USAGE, "--config or --cluster: whose keys?");
    return cli_has(c, "cluster") ? dns_here(c) : run(c, "dns", "what", options);
}

int cmd_dkim_check(struct cli *c)
{
    static const char *const options[][2] = {
        { "selector", "selector" }, { "key", "key" }, { "config", "config" }, { NULL, NULL }
    };
    if (cli_opt(c, "key") != NULL && cli_opt(c, "selector") == NULL)
        return cli_fail(c, CLI_USAGE, "--key needs --selector: under which name the record is");
    if (cli_has(c, "cluster") && (cli_opt(c, "key") != NULL || cli_opt(c, "config") != NULL))
        return cli_fail(c, CLI_USAGE, "--key, --config or --cluster: compare with what?");
    return cli_has(c, "cluster") ? check_here(c) : run(c, "check", "domain", options);
}
