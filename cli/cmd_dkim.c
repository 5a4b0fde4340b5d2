/* turnpike dkim: runs turnpiked --dkim, which knows of keys and has the node's file; no node need be running.
 */
#include "cli/cli.h"

#include <stdio.h>

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

int cmd_dkim_generate(struct cli *c)
{
    static const char *const options[][2] = {
        { "selector", "selector" }, { "type", "type" }, { "bits", "bits" }, { "out", "out" }, { NULL, NULL }
    };
    if (cli_opt(c, "selector") == NULL || cli_opt(c, "out") == NULL)
        return cli_fail(c, CLI_USAGE, "dkim generate needs --selector and --out");
    return run(c, "generate", "domain", options);
}

int cmd_dkim_dns(struct cli *c)
{
    static const char *const options[][2] = { { "selector", "selector" },
                                              { "config", "config" },
                                              { NULL, NULL } };
    return run(c, "dns", "what", options);
}

int cmd_dkim_check(struct cli *c)
{
    static const char *const options[][2] = {
        { "selector", "selector" }, { "key", "key" }, { "config", "config" }, { NULL, NULL }
    };
    if (cli_opt(c, "key") != NULL && cli_opt(c, "selector") == NULL)
        return cli_fail(c, CLI_USAGE, "--key needs --selector: under which name the record is");
    return run(c, "check", "domain", options);
}
