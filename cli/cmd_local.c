/* Commands that need no node: those that run turnpiked itself, version, completion, help. */
#include "cli/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* turnpiked as installed beside us, else in ../sbin, else on the path; $TURNPIKED says otherwise. */
static void find_daemon(char *out, size_t cap)
{
    static const char *const places[] = { "turnpiked", "../sbin/turnpiked", "../node/core/turnpiked" };
    const char *set = getenv("TURNPIKED");
    char self[3000];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (set != NULL && set[0] != '\0') {
        snprintf(out, cap, "%s", set);
        return;
    }
    self[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(self, '/');
    for (size_t i = 0; slash != NULL && i < sizeof(places) / sizeof(places[0]); i++) {
        slash[1] = '\0';
        snprintf(out, cap, "%s%s", self, places[i]);
        if (access(out, X_OK) == 0)
            return;
    }
    snprintf(out, cap, "turnpiked");
}

#define ARGS_MAX 12

/* *ran: it did, and said itself what there is to say. */
static int run_it(struct cli *c, const char *const *args, bool *ran)
{
    char *argv[ARGS_MAX + 2] = { (char *)(uintptr_t) "turnpiked" };
    char path[3100];
    *ran = false;
    find_daemon(path, sizeof(path));
    for (size_t i = 0; args[i] != NULL && i < ARGS_MAX; i++)
        argv[i + 1] = (char *)(uintptr_t)args[i];
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        return cli_fail(c, CLI_FAILED, "can't start %s: %s", path, strerror(errno));
    if (pid == 0) {
        execvp(path, argv);
        _exit(errno == ENOENT ? 127 : 126);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && (WEXITSTATUS(status) == 127 || WEXITSTATUS(status) == 126))
        return cli_fail(c, CLI_FAILED, "can't run %s: install it beside this program, or set TURNPIKED",
                        path);
    if (!WIFEXITED(status))
        return cli_fail(c, CLI_FAILED, "%s was ended by signal %d", path, WTERMSIG(status));
    *ran = true;
    return WEXITSTATUS(status) == 0 ? CLI_OK : CLI_FAILED;
}

int cli_run_daemon(struct cli *c, const char *const *args)
{
    bool ran;
    int code = run_it(c, args, &ran);
    if (c->json && ran) {
        json_t *j = json_pack("{s:b}", "ok", code == CLI_OK);
        cli_print_json(j);
        json_decref(j);
    }
    return code;
}

int cli_run_daemon_quietly(struct cli *c, const char *const *args)
{
    bool ran;
    return run_it(c, args, &ran);
}

static int run_daemon(struct cli *c, const char *option, const char *arg)
{
    const char *args[] = { option, arg, NULL };
    return cli_run_daemon(c, args);
}

int cmd_config_check(struct cli *c)
{
    return c->nargs > 0 ? run_daemon(c, "--check", c->args[0]) : cmd_config_check_node(c);
}

int cmd_policy_check(struct cli *c)
{
    return run_daemon(c, "--check-policy", c->args[0]);
}

/* policy test-reply --file */
int cmd_policy_test_reply_file(struct cli *c)
{
    const char *stage = cli_opt(c, "stage"), *mx = cli_opt(c, "mx"), *pool = cli_opt(c, "pool");
    const char *args[] = { "--test-reply", cli_opt(c, "file"),   stage != NULL ? stage : "any", c->args[0],
                           c->args[1],     mx != NULL ? mx : "", pool != NULL ? pool : "",      NULL };
    return cli_run_daemon(c, args);
}

int cmd_spool_verify(struct cli *c)
{
    return run_daemon(c, "--verify-spool", c->args[0]);
}

int cmd_version(struct cli *c)
{
    json_t *j = json_pack("{s:s}", "turnpike", TURNPIKE_VERSION);
    if (c->json)
        cli_print_json(j);
    else
        printf("turnpike %s\n", TURNPIKE_VERSION);
    json_decref(j);
    return CLI_OK;
}

int cmd_completion(struct cli *c)
{
    return cli_completion(c->args[0]);
}

int cmd_help(struct cli *c)
{
    char topic[80] = "";
    if (c->nargs == 1)
        snprintf(topic, sizeof(topic), "%s", c->args[0]);
    else if (c->nargs == 2)
        snprintf(topic, sizeof(topic), "%.38s %.38s", c->args[0], c->args[1]);
    return cli_help(topic);
}
