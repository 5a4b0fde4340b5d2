/* The address hook (cluster.address_hook): a program of the operator's that puts a floating address on this
 * machine and announces it, and takes it off. What it is run for, and when: addresses.h. Here it is run:
 * without a shell, in a process group of its own, for 30 s at most, some at a time; what it prints is in the
 * log. The cluster thread.
 *
 * What may be on the machine stands in a file before it is put there: a process that was killed takes nothing
 * off, so the next one does, before anything else.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/config/document.h"
#include "node/core/addresses.h"
#include "node/core/cluster_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RUNS_MAX 8
#define RUN_MS 30000
#define STOP_ADDRESSES_MS 5000 /* of a stop: then they stay on the machine until the next start */
#define LINES_MAX 20           /* of what one run prints */
#define REPORT_MS 5000
#define REPORT_AGAIN_MS 1000
#define FILE_NAME "addresses"
#define FILE_MAX (1u << 20)

struct run {
    struct cluster *c;
    uv_process_t process;
    struct ip_addr addr;
    bool busy, add, killed;
    int out; /* what it prints; -1: nothing is read */
    int64_t began_ms;
    char line[ADDRESSES_WORDS_MAX], last[ADDRESSES_WORDS_MAX];
    size_t line_len, last_len;
    unsigned lines;
};

struct cluster_addresses {
    struct addresses *table;
    char hook[CONFIG_HOOK_MAX + 1], interface[64]; /* hook empty: none, and nothing is done */
    struct run runs[RUNS_MAX];
    struct buf saved;
    bool stopping, reporting;
    int64_t stop_ms, report_ms, missing_ms;
};

/* ---- the file ------------------------------------------------------------------------------------------ */

static int save(struct cluster *c)
{
    struct cluster_addresses *ca = c->addresses;
    struct buf now;
    buf_init(&now, FILE_MAX);
    int err = addresses_save(ca->table, &now);
    if (err == 0 && !span_eq(buf_span(&now), buf_span(&ca->saved))) {
        err = cluster_file_replace(c, FILE_NAME, buf_span(&now));
        if (err == 0)
            err = cluster_files_sync(c);
        buf_reset(&ca->saved);
        if (err == 0)
            (void)buf_put_span(&ca->saved, buf_span(&now)); /* no memory: it is written once too often */
    }
    buf_fini(&now);
    return err;
}

int cluster_addresses_load(struct cluster *c)
{
    char path[CLUSTER_PATH_MAX];
    struct buf text;
    buf_init(&text, FILE_MAX);
    cluster_file_path(c, FILE_NAME, path);
    int err = config_file_read(path, FILE_MAX, &text);
    if (err == 0)
        err = addresses_load(c->addresses->table, buf_span(&text));
    else if (err == -ENOENT)
        err = 0;
    if (err != 0)
        log_error("cluster", "%s: %s", path, err_text(err));
    buf_fini(&text);
    return err == -ENOMEM ? err : 0;
}

/* ---- one run ------------------------------------------------------------------------------------------- */

static void end_line(struct run *r)
{
    char text[IP_TEXT_MAX];
    if (r->line_len == 0)
        return;
    memcpy(r->last, r->line, r->line_len);
    r->last_len = r->line_len;
    r->line_len = 0;
    if (r->lines++ < LINES_MAX)
        log_info("cluster", "the address hook for %s: %.*s", ip_addr_format(&r->addr, text), (int)r->last_len,
                 r->last);
}

static void read_output(struct run *r)
{
    char bytes[2048];
    ssize_t n;
    while (r->out >= 0 && (n = read(r->out, bytes, sizeof bytes)) > 0)
        for (ssize_t i = 0; i < n; i++) {
            if (bytes[i] == '\n')
                end_line(r);
            else if (r->line_len < sizeof r->line)
                r->line[r->line_len++] = bytes[i] >= ' ' && bytes[i] <= '~' ? bytes[i] : '?';
        }
}

static void ended(struct run *r, bool ok, const char *words)
{
    struct cluster *c = r->c;
    char text[IP_TEXT_MAX];
    struct span why = r->last_len > 0 ? span_of(r->last, r->last_len) : span_str(words);
    const char *verb = r->add ? "add" : "remove";
    ip_addr_format(&r->addr, text);
    if (ok)
        log_info("cluster", "address %s is %s", text, r->add ? "on this machine" : "taken off this machine");
    else
        log_warn("cluster", "the address hook (%s %s) failed, and is run again: %s%s%.*s", verb, text, words,
                 r->last_len > 0 ? ": " : "", (int)r->last_len, r->last);
    addresses_ended(c->addresses->table, &r->addr, ok, why, clock_boot_ms());
    if (save(c) != 0)
        log_warn("cluster", "which addresses are on this machine cannot be written down");
    c->poll_due = true;
}

static void run_closed_cb(uv_handle_t *handle)
{
    struct run *r = handle->data;
    r->busy = false;
}

static void run_exit_cb(uv_process_t *process, int64_t status, int signal)
{
    struct run *r = process->data;
    char words[48];
    read_output(r);
    end_line(r);
    close(r->out);
    r->out = -1;
    if (r->killed)
        snprintf(words, sizeof words, "it did not end in time");
    else if (signal != 0)
        snprintf(words, sizeof words, "signal %d", signal);
    else
        snprintf(words, sizeof words, "exit code %lld", (long long)status);
    ended(r, status == 0 && signal == 0, words);
    uv_close((uv_handle_t *)process, run_closed_cb);
}

static int spawn(struct run *r, const struct addresses_job *job, int out)
{
    struct cluster *c = r->c;
    struct cluster_addresses *ca = c->addresses;
    char address[IP_TEXT_MAX], verb[8], vars[8][640],
        path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    snprintf(verb, sizeof verb, "%s", job->add ? "add" : "remove");
    ip_addr_format(&job->addr, address);
    snprintf(vars[0], sizeof vars[0], "TURNPIKE_EVENT=%s", verb);
    snprintf(vars[1], sizeof vars[1], "TURNPIKE_ADDRESS=%s", address);
    snprintf(vars[2], sizeof vars[2], "TURNPIKE_PREFIX=%d", job->addr.family == 4 ? 32 : 128);
    snprintf(vars[3], sizeof vars[3], "TURNPIKE_INTERFACE=%s", ca->interface);
    snprintf(vars[4], sizeof vars[4], "TURNPIKE_POOL=%.*s", (int)job->pool.n, job->pool.p);
    snprintf(vars[5], sizeof vars[5], "TURNPIKE_NODE=%s", c->id.name);
    snprintf(vars[6], sizeof vars[6], "TURNPIKE_REASON=%s", job->reason);
    char *args[] = { ca->hook, verb, address, NULL };
    char *env[] = { path, vars[0], vars[1], vars[2], vars[3], vars[4], vars[5], vars[6], NULL };
    uv_stdio_container_t stdio[3] = { { .flags = UV_IGNORE },
                                      { .flags = UV_INHERIT_FD, .data.fd = out },
                                      { .flags = UV_INHERIT_FD, .data.fd = out } };
    uv_process_options_t options = { .exit_cb = run_exit_cb,
                                     .file = ca->hook,
                                     .args = args,
                                     .env = env,
                                     .cwd = "/",
                                     .flags =
                                         UV_PROCESS_DETACHED, /* a group of its own, to be killed whole */
                                     .stdio_count = 3,
                                     .stdio = stdio };
    log_info("cluster", "the address hook is run: %s %s %s (%s)", ca->hook, verb, address, job->reason);
    r->process.data = r;
    return uv_spawn(&c->loop, &r->process, &options);
}

static void start(struct run *r, const struct addresses_job *job)
{
    int fds[2] = { -1, -1 };
    r->addr = job->addr;
    r->add = job->add;
    r->busy = true;
    r->killed = false;
    r->line_len = r->last_len = 0;
    r->lines = 0;
    r->began_ms = clock_boot_ms();
    int err = job->add ? save(r->c) : 0;
    if (err == 0)
        err = pipe2(fds, O_CLOEXEC) != 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0 ? -errno : 0;
    r->out = fds[0];
    if (err != 0) {
        ended(r, false, err_text(err));
        r->busy = false;
    } else if ((err = spawn(r, job, fds[1])) != 0) {
        ended(r, false, err_text(err));
        uv_close((uv_handle_t *)&r->process, run_closed_cb);
    }
    if (err != 0 && r->out >= 0) {
        close(r->out);
        r->out = -1;
    }
    if (fds[1] >= 0)
        close(fds[1]);
}

static void kill_run(struct run *r)
{
    r->killed = true;
    (void)kill(-r->process.pid, SIGKILL);
}

/* ---- what the cluster is told -------------------------------------------------------------------------- */

struct report {
    struct cluster *c;
    struct ip_addr addr;
};

/* What the state refuses is not said again: it has another owner, or the address floats by this node's file
 * alone. */
static void reported_cb(void *ctx, int err, const struct machine_result *result)
{
    struct report *rep = ctx;
    struct cluster_addresses *ca = rep->c->addresses;
    (void)result;
    if (err != 0)
        addresses_untold(ca->table, &rep->addr);
    ca->reporting = false;
    ca->report_ms = err != 0 ? clock_boot_ms() + REPORT_AGAIN_MS : 0;
    free(rep);
}

static void report(struct cluster *c, int64_t now)
{
    struct cluster_addresses *ca = c->addresses;
    struct addresses_report r;
    char text[IP_TEXT_MAX];
    if (ca->reporting || now < ca->report_ms || !addresses_report(ca->table, &r))
        return;
    struct report *rep = malloc(sizeof *rep);
    if (rep == NULL) {
        addresses_untold(ca->table, &r.addr);
        return;
    }
    *rep = (struct report){ c, r.addr };
    struct command cmd = { .type = COMMAND_IP_HOOK,
                           .ip_hook = { .address = span_str(ip_addr_format(&r.addr, text)),
                                        .claim = r.claim,
                                        .state = r.state,
                                        .words = r.words } };
    ca->reporting = true;
    if (agent_submit(c->agent, &cmd, REPORT_MS, reported_cb, rep) == 0)
        return;
    reported_cb(rep, -EAGAIN, NULL);
}

/* ---- from the pools' view ------------------------------------------------------------------------------ */

void cluster_addresses_begin(struct cluster *c)
{
    if (c->addresses->hook[0] != '\0')
        addresses_begin(c->addresses->table);
}

bool cluster_addresses_see(struct cluster *c, const struct directory_ip *ip, const struct pool_address *a)
{
    struct addresses *table = c->addresses->table;
    struct directory_member to;
    char next[COMMAND_NAME_MAX + 1] = "";
    bool run = c->addresses->hook[0] != '\0';
    if (!a->floating)
        return true;
    if (a->node != c->id.self.node) {
        if (run)
            (void)addresses_see(table, &(struct addresses_told){ .addr = a->addr }); /* makes nothing new */
        return ip->hook != COMMAND_HOOK_ADDING && ip->hook != COMMAND_HOOK_FAILED;
    }
    if (!run)
        return true;
    if (ip->next != 0 && directory_member_find(c->m, ip->next, &to))
        snprintf(next, sizeof next, "%.*s", (int)to.name.n, to.name.p);
    const struct addresses_told told = { a->addr, ip->pool, ip->claim, true, ip->next == 0 ? NULL : next };
    return addresses_see(table, &told) == 0 && addresses_ready(table, &a->addr);
}

void cluster_addresses_end(struct cluster *c)
{
    if (c->addresses->hook[0] != '\0')
        addresses_end(c->addresses->table);
}

bool cluster_addresses_give_up(struct cluster *c, const struct ip_addr *addr)
{
    return c->addresses->hook[0] == '\0' || addresses_give_up(c->addresses->table, addr);
}

/* ---- the tick ------------------------------------------------------------------------------------------ */

static bool any_runs(const struct cluster_addresses *ca)
{
    bool any = false;
    for (int i = 0; i < RUNS_MAX; i++)
        any = any || ca->runs[i].busy;
    return any;
}

/* The configuration as it is now. Without a hook everything is as the operator put it. */
static void configure(struct cluster *c)
{
    struct cluster_addresses *ca = c->addresses;
    struct config *config = node_config(c->node);
    const char *hook = config->cluster.address_hook == NULL ? "" : config->cluster.address_hook;
    const char *interface =
        config->cluster.address_interface == NULL ? "" : config->cluster.address_interface;
    if (!any_runs(ca) && (strcmp(ca->hook, hook) != 0 || strcmp(ca->interface, interface) != 0)) {
        bool was = ca->hook[0] != '\0';
        snprintf(ca->hook, sizeof ca->hook, "%s", hook);
        snprintf(ca->interface, sizeof ca->interface, "%s", interface);
        struct addresses *fresh = was && hook[0] == '\0' ? addresses_new() : NULL;
        if (fresh != NULL) {
            addresses_free(ca->table);
            ca->table = fresh;
            (void)save(c);
        }
        c->pools_dirty = true;
    }
    config_rele(config);
}

static void look_for_missing(struct cluster *c, int64_t now)
{
    const struct pool_address *a;
    for (uint32_t i = 0; (a = pool_view_at(c->pools, i)) != NULL; i++)
        if (a->meter != NULL && atomic_exchange(&a->meter->missing, false))
            addresses_missing(c->addresses->table, &a->addr, now);
}

void cluster_addresses_tick(struct cluster *c, int64_t now)
{
    struct cluster_addresses *ca = c->addresses;
    struct agent_session session = { .usable = false };
    struct addresses_job job;
    configure(c);
    if (ca->hook[0] == '\0')
        return;
    if (c->agent != NULL && !c->fenced)
        agent_session(c->agent, &session);
    addresses_session(ca->table, session.usable ? session.id : 0);
    if (now - ca->missing_ms >= 1000) {
        ca->missing_ms = now;
        look_for_missing(c, now);
    }
    for (int i = 0; i < RUNS_MAX; i++) {
        struct run *r = &ca->runs[i];
        if (r->busy)
            read_output(r);
        if (r->busy && !r->killed && r->out >= 0 && now - r->began_ms > RUN_MS)
            kill_run(r);
        if (!r->busy && addresses_next(ca->table, now, &job))
            start(r, &job);
    }
    if (session.usable)
        report(c, now);
    c->pools_dirty = c->pools_dirty || addresses_changed(ca->table);
}

/* ---- begin and end ------------------------------------------------------------------------------------- */

void cluster_addresses_stopping(struct cluster *c)
{
    struct cluster_addresses *ca = c->addresses;
    ca->stopping = true;
    ca->stop_ms = clock_boot_ms();
    addresses_stopping(ca->table);
}

bool cluster_addresses_stopped(struct cluster *c, int64_t now)
{
    struct cluster_addresses *ca = c->addresses;
    if (ca->hook[0] == '\0' || (addresses_idle(ca->table) && !any_runs(ca)))
        return true;
    if (now - ca->stop_ms < STOP_ADDRESSES_MS)
        return false;
    for (int i = 0; i < RUNS_MAX; i++)
        if (ca->runs[i].busy && !ca->runs[i].killed && ca->runs[i].out >= 0)
            kill_run(&ca->runs[i]);
    return true;
}

int cluster_addresses_new(struct cluster *c, struct cluster_addresses **out)
{
    struct cluster_addresses *ca = calloc(1, sizeof *ca);
    if (ca == NULL)
        return -ENOMEM;
    buf_init(&ca->saved, FILE_MAX);
    ca->table = addresses_new();
    for (int i = 0; i < RUNS_MAX; i++)
        ca->runs[i] = (struct run){ .c = c, .out = -1 };
    *out = ca;
    return ca->table == NULL ? -ENOMEM : 0;
}

void cluster_addresses_free(struct cluster_addresses *ca)
{
    if (ca == NULL)
        return;
    addresses_free(ca->table);
    buf_fini(&ca->saved);
    free(ca);
}
