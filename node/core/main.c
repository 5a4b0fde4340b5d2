/* turnpiked: options, signals, and the main thread's loop. */
#include "base/err.h"
#include "base/hash.h"
#include "base/log.h"
#include "node/core/cluster.h"
#include "node/core/dkim_tool.h"
#include "node/core/node.h"
#include "node/core/recover.h"
#include "node/core/service.h"
#include "node/policy/policy.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/turnpike/node.yaml"
#define STOP_GRACE_MS 30000
#define STOP_GRACE_FAILED_MS 2000 /* nothing can be recorded any more */

static const char usage_text[] =
    "Usage: turnpiked [--config FILE]\n"
    "       turnpiked --check [FILE]\n"
    "       turnpiked --check-policy FILE\n"
    "       turnpiked --test-reply FILE STAGE SITE TEXT [MX [POOL]]\n"
    "       turnpiked --verify-spool DIR\n"
    "       turnpiked --dkim VERB ...\n"
    "       turnpiked [--config FILE] --inspect-cluster | --recover-cluster | --restore-cluster FILE\n"
    "\n"
    "A node of the Turnpike mail relay. It stays in the foreground and logs to standard error.\n"
    "\n"
    "  -c, --config FILE       read this configuration (default " DEFAULT_CONFIG ")\n"
    "      --check [FILE]      check a configuration, tell what is wrong, and exit\n"
    "      --check-policy FILE check a cluster's policy, tell what is wrong, and exit\n"
    "      --test-reply FILE   tell which rule of a policy's a server's reply meets (- for the built-in "
    "one), and "
    "exit\n"
    "      --verify-spool DIR  read a stopped node's whole spool, tell what is damaged, and exit\n"
    "      --dkim VERB ...     what turnpike dkim runs, and exit\n"
    "      --inspect-cluster   tell what a stopped node has of its cluster's state, and exit\n"
    "      --recover-cluster   after a majority was lost for good: make this stopped node's state the "
    "cluster\n"
    "      --restore-cluster FILE\n"
    "                          make this node, no member yet, a cluster with the state of a backup\n"
    "  -h, --help              show this help\n"
    "  -V, --version           show the version\n"
    "\n"
    "SIGHUP reads the configuration, certificates and accounts again and reopens log files. SIGTERM and "
    "SIGINT\n"
    "finish the transactions in hand, then stop. See turnpiked(8).\n";

struct daemon {
    struct node node;
    uv_signal_t hup, term, intr;
    bool stopping;
};

static void say_errors(const struct config_errors *errors)
{
    for (uint32_t i = 0; i < errors->n; i++)
        fprintf(stderr, "%s%s\n", errors->v[i].warning ? "warning: " : "", errors->v[i].text);
    if (errors->errors + errors->warnings > errors->n)
        fprintf(stderr, "and %u more\n", errors->errors + errors->warnings - errors->n);
}

static struct config *load(const char *path)
{
    struct config_errors errors;
    struct config *c = NULL;
    config_errors_init(&errors);
    int err = config_load(path, 0, &c, &errors);
    say_errors(&errors);
    if (err != 0 && errors.n == 0)
        fprintf(stderr, "%s: %s\n", path, err_text(err));
    config_errors_fini(&errors);
    return err == 0 ? c : NULL;
}

static int check_config(const char *path)
{
    struct config *c = load(path);
    if (c == NULL)
        return EX_CONFIG;
    struct buf text;
    buf_init(&text, 16u << 20);
    if (config_describe(c, &text) == 0)
        fwrite(text.data, 1, text.len, stdout);
    buf_fini(&text);
    fprintf(stderr, "%s: good\n", path);
    config_rele(c);
    return 0;
}

/* Without a cluster: the least that one must be at. */
static void put_level(const char *path, struct policy *policy)
{
    const char *key;
    policy_for_level(policy, 1);
    uint32_t needs = policy_needs(policy, &key);
    if (key != NULL)
        fprintf(stderr, "%s: %s needs feature level %u: `turnpike cluster status` says what is in force\n", path, key,
                needs);
}

static int check_policy(const char *path)
{
    struct policy *policy;
    struct buf text, why;
    buf_init(&text, 4u << 20);
    buf_init(&why, 1u << 20);
    int err = policy_load_file(path, &policy, &text, &why);
    if (err == 0) {
        fprintf(stderr, "%s: good\n", path);
        put_level(path, policy);
        policy_rele(policy);
    } else if (why.len > 0) {
        fwrite(why.data, 1, why.len, stderr);
    } else {
        fprintf(stderr, "%s: %s\n", path, err_text(err));
    }
    buf_fini(&text);
    buf_fini(&why);
    return err == 0 ? 0 : EX_CONFIG;
}

/* STAGE SITE TEXT [MX [POOL]]; stage "any": each of them. */
static int test_reply(const char *path, int n, char **args)
{
    struct policy *policy = NULL;
    struct buf text, why;
    int good = 0;
    buf_init(&text, 4u << 20);
    buf_init(&why, 1u << 20);
    if (n < 3 || n > 5) {
        fputs("turnpiked: --test-reply FILE STAGE SITE TEXT [MX [POOL]]\n", stderr);
        return EX_USAGE;
    }
    int err = strcmp(path, "-") == 0 ? policy_parse("built-in", policy_builtin(), &policy, &why)
                                     : policy_load_file(path, &policy, &text, &why);
    fwrite(why.data, 1, why.len, stderr);
    struct shaping_reply about = { .site = span_str(args[1]),
                                   .mx = span_str(n > 3 ? args[3] : ""),
                                   .pool = span_str(n > 4 ? args[4] : "") };
    for (about.stage = 0; err == 0 && about.stage < SHAPING_ANY; about.stage++) {
        const char *name = shaping_stage_names[about.stage];
        const struct shaping_rule *rule;
        if (strcmp(args[0], "any") != 0 && strcmp(args[0], name) != 0)
            continue;
        err = policy_test_reply(policy, &about, span_str(args[2]), &rule);
        if (err == ERR_BAD)
            fputs("turnpiked: the reply has to begin with a code from 400 to 599\n", stderr);
        if (err != 0)
            break;
        buf_reset(&text);
        if (rule != NULL)
            policy_put_rule(&text, rule);
        printf("%s: %s%s%.*s\n", name, rule == NULL ? "no rule" : rule->name, rule == NULL ? "" : ": ",
               (int)text.len, text.len > 0 ? text.data : "");
        good++;
    }
    policy_rele(policy);
    buf_fini(&text);
    buf_fini(&why);
    return err == 0 && good > 0 ? 0 : EX_DATAERR;
}

static void verify_say_cb(void *ctx, const char *line)
{
    (void)ctx;
    printf("%s\n", line);
}

static int verify_spool(const char *dir)
{
    struct spool_verify_result r;
    int err = spool_verify(dir, NULL, verify_say_cb, NULL, &r);
    if (err < 0) {
        fprintf(stderr, "turnpiked: %s: %s%s\n", dir, err_text(err),
                err == -EWOULDBLOCK ? ": a node is using it; stop the node first" : "");
        return EX_NOINPUT;
    }
    printf("%llu segments, %llu records, %llu living messages, %llu damaged records, %llu torn tails\n",
           (unsigned long long)r.segments, (unsigned long long)r.records, (unsigned long long)r.messages,
           (unsigned long long)r.damaged, (unsigned long long)r.torn_tails);
    return r.damaged > 0 ? EX_DATAERR : 0;
}

static int recover(const char *path, bool inspect, const char *backup)
{
    struct config *c = load(path);
    if (c == NULL)
        return EX_CONFIG;
    int code = backup != NULL ? recover_restore(c, backup) : recover_cluster(c, inspect);
    config_rele(c);
    return code;
}

/* ---- running ------------------------------------------------------------------------------------------- */

static void stop(struct daemon *d)
{
    if (d->stopping)
        return;
    d->stopping = true;
    sd_notify(0, "STOPPING=1");
    uv_stop(&d->node.loop);
}

static void daemon_signal_cb(uv_signal_t *handle, int signum)
{
    struct daemon *d = handle->data;
    if (signum == SIGHUP) {
        struct buf why;
        buf_init(&why, 1u << 20);
        (void)node_reload(&d->node, &why); /* the log says what was wrong */
        buf_fini(&why);
        return;
    }
    log_info("node", "stopping: transactions in hand are finished first");
    stop(d);
}

static bool failed(struct node *n)
{
    return atomic_load(&n->spool_error) != 0 || (n->cluster != NULL && cluster_failed(n->cluster) != 0);
}

static void daemon_wake_cb(uv_async_t *wake)
{
    struct daemon *d = wake->data;
    if (failed(&d->node))
        stop(d);
    node_run_requests(&d->node);
}

static int start_signals(struct daemon *d)
{
    static const int numbers[] = { SIGHUP, SIGTERM, SIGINT };
    uv_signal_t *handles[] = { &d->hup, &d->term, &d->intr };
    for (int i = 0; i < 3; i++) {
        int err = uv_signal_init(&d->node.loop, handles[i]);
        if (err == 0) {
            handles[i]->data = d;
            err = uv_signal_start(handles[i], daemon_signal_cb, numbers[i]);
        }
        if (err != 0)
            return err;
    }
    d->node.wake.data = d;
    return uv_async_init(&d->node.loop, &d->node.wake, daemon_wake_cb);
}

static void close_loop(struct daemon *d)
{
    uv_close((uv_handle_t *)&d->hup, NULL);
    uv_close((uv_handle_t *)&d->term, NULL);
    uv_close((uv_handle_t *)&d->intr, NULL);
    uv_close((uv_handle_t *)&d->node.wake, NULL);
    uv_run(&d->node.loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&d->node.loop) != 0)
        log_warn("node", "the main loop has handles left");
}

static int run(const char *path)
{
    struct config *config = load(path);
    if (config == NULL)
        return EX_CONFIG;
    service_set_log_level(config);
    log_set_journal(getenv("JOURNAL_STREAM") != NULL);
    signal(SIGPIPE, SIG_IGN);

    static struct daemon d;
    int err = node_init(&d.node, config);
    if (err == 0)
        err = start_signals(&d);
    d.node.wake.data = &d;
    if (err == 0)
        err = node_start(&d.node);
    if (err != 0) {
        log_error("node", "cannot start: %s", err_text(err));
        return EX_UNAVAILABLE; /* the process ends here: nothing is taken apart */
    }
    log_info("node", "%s is ready", config->name);
    uv_run(&d.node.loop, UV_RUN_DEFAULT);
    bool spool_failed = atomic_load(&d.node.spool_error) != 0, broken = failed(&d.node);
    node_stop(&d.node, spool_failed ? STOP_GRACE_FAILED_MS : STOP_GRACE_MS);
    close_loop(&d);
    log_info("node", "stopped");
    return broken ? EX_IOERR : 0;
}

int main(int argc, char **argv)
{
    enum { OPT_CHECK = 256, OPT_POLICY, OPT_VERIFY, OPT_INSPECT, OPT_RECOVER, OPT_RESTORE, OPT_REPLY };
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "check", optional_argument, NULL, OPT_CHECK },
        { "check-policy", required_argument, NULL, OPT_POLICY },
        { "test-reply", required_argument, NULL, OPT_REPLY },
        { "verify-spool", required_argument, NULL, OPT_VERIFY },
        { "inspect-cluster", no_argument, NULL, OPT_INSPECT },
        { "recover-cluster", no_argument, NULL, OPT_RECOVER },
        { "restore-cluster", required_argument, NULL, OPT_RESTORE },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { 0 },
    };
    hash_seed(); /* before the first table is filled: the configuration has some */
    if (argc > 1 && strcmp(argv[1], "--dkim") == 0)
        return dkim_tool(argc - 2, argv + 2);
    const char *path = DEFAULT_CONFIG;
    const char *verify = NULL, *policy = NULL, *backup = NULL, *rules = NULL;
    int recovery = 0;
    bool check = false;
    for (int opt; (opt = getopt_long(argc, argv, "c:hV", options, NULL)) != -1;) {
        switch (opt) {
        case 'c':
            path = optarg;
            break;
        case OPT_CHECK:
            check = true;
            if (optarg != NULL)
                path = optarg;
            else if (optind < argc && argv[optind][0] != '-')
                path = argv[optind++];
            break;
        case OPT_POLICY:
            policy = optarg;
            break;
        case OPT_REPLY:
            rules = optarg;
            break;
        case OPT_VERIFY:
            verify = optarg;
            break;
        case OPT_INSPECT:
        case OPT_RECOVER:
        case OPT_RESTORE:
            recovery = opt;
            backup = optarg;
            break;
        case 'h':
            fputs(usage_text, stdout);
            return 0;
        case 'V':
            puts("turnpiked " TURNPIKE_VERSION);
            return 0;
        default:
            fputs("Try 'turnpiked --help'.\n", stderr);
            return EX_USAGE;
        }
    }
    if (rules != NULL)
        return test_reply(rules, argc - optind, argv + optind);
    if (optind < argc) {
        fprintf(stderr, "turnpiked: what is '%s' for? Try 'turnpiked --help'.\n", argv[optind]);
        return EX_USAGE;
    }
    if (verify != NULL)
        return verify_spool(verify);
    if (policy != NULL)
        return check_policy(policy);
    if (recovery != 0)
        return recover(path, recovery == OPT_INSPECT, backup);
    return check ? check_config(path) : run(path);
}
