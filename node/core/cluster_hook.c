/* The policy's hook: a program of the operator's that this node runs when it starts or stops taking mail, to
 * move an address to it or away, or to update DNS. One at a time; what it is told is the state as it is when
 * it is started, so a quick change to and fro runs nothing. It is told "serving" or "stopped" as its
 * argument, and by TURNPIKE_NODE, TURNPIKE_EVENT and TURNPIKE_REASON; it has a minute. The cluster thread.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"
#include "node/policy/policy.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define HOOK_MS 60000

struct cluster_hook {
    struct cluster *c;
    uv_process_t process;
    bool running, killed;
    bool serving; /* what the last one was told; a node that has told nothing serves nobody */
    int64_t began_ms;
};

static void hook_closed_cb(uv_handle_t *handle)
{
    struct cluster_hook *h = handle->data;
    h->running = false;
    h->c->poll_due = true;
}

static void hook_exit_cb(uv_process_t *process, int64_t status, int signal)
{
    struct cluster_hook *h = process->data;
    if (status != 0 || signal != 0)
        log_warn("cluster", "the hook (%s) ended with %s %lld", h->serving ? "serving" : "stopped",
                 signal != 0 ? "signal" : "exit code", signal != 0 ? (long long)signal : (long long)status);
    uv_close((uv_handle_t *)process, hook_closed_cb);
}

static void hook_start(struct cluster_hook *h, const char *program, const char *reason)
{
    const char *event = h->serving ? "serving" : "stopped";
    char node[128], told[32], why[512],
        path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char file[sizeof((struct policy *)0)->hook], argument[16];
    snprintf(node, sizeof node, "TURNPIKE_NODE=%s", h->c->id.name);
    snprintf(told, sizeof told, "TURNPIKE_EVENT=%s", event);
    snprintf(why, sizeof why, "TURNPIKE_REASON=%s", reason == NULL ? "" : reason);
    snprintf(file, sizeof file, "%s", program);
    snprintf(argument, sizeof argument, "%s", event);
    char *args[] = { file, argument, NULL }, *env[] = { path, node, told, why, NULL };
    uv_stdio_container_t stdio[3] = { { .flags = UV_IGNORE },
                                      { .flags = UV_INHERIT_FD, .data.fd = 2 },
                                      { .flags = UV_INHERIT_FD, .data.fd = 2 } };
    uv_process_options_t options = { .exit_cb = hook_exit_cb,
                                     .file = file,
                                     .args = args,
                                     .env = env,
                                     .cwd = "/",
                                     .stdio_count = 3,
                                     .stdio = stdio };
    h->process.data = h;
    h->running = true;
    h->killed = false;
    h->began_ms = clock_boot_ms();
    log_info("cluster", "the hook is run: %s %s", file, event);
    int err = uv_spawn(&h->c->loop, &h->process, &options);
    if (err == 0)
        return;
    log_error("cluster", "the hook %s cannot be run: %s", file, err_text(err));
    uv_close((uv_handle_t *)&h->process, hook_closed_cb);
}

void cluster_hook_poll(struct cluster *c)
{
    struct cluster_hook *h = c->hook;
    const char *reason = atomic_load(&c->refusal);
    bool serving = reason == NULL && !c->stopping;
    if (h->running) {
        if (!h->killed && clock_boot_ms() - h->began_ms > HOOK_MS) {
            log_warn("cluster", "the hook has not ended within a minute and is killed");
            h->killed = true;
            (void)uv_process_kill(&h->process, SIGKILL);
        }
        return;
    }
    if (serving == h->serving)
        return;
    struct policy *p = cluster_policy(c);
    h->serving = serving;
    if (p != NULL && p->hook[0] != '\0')
        hook_start(h, p->hook, c->stopping ? "the node is stopping" : reason);
    if (p != NULL)
        policy_rele(p);
}

int cluster_hook_new(struct cluster *c, struct cluster_hook **out)
{
    struct cluster_hook *h = calloc(1, sizeof *h);
    if (h == NULL)
        return -ENOMEM;
    h->c = c;
    *out = h;
    return 0;
}

void cluster_hook_free(struct cluster_hook *h)
{
    free(h);
}
