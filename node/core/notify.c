/* The notifying thread: what is new, and whose turn it is. See notify.h. */
#include "node/core/notify_impl.h"

#include "base/clock.h"
#include "base/cond.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "node/core/cluster.h"
#include "node/telemetry/events_json.h"
#include "node/telemetry/events_tail.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STOP_MS 5000 /* what is under way may take so long */
#define TRIM_MS 10000
#define TEST_MS 75000 /* longer than any target's time-out */

/* ---- policy -------------------------------------------------------------------------------------------- */

static struct notify_target *slot_of(struct notify *n, const char *name)
{
    for (uint32_t i = 0; i < POLICY_TARGETS_MAX; i++)
        if (strcmp(n->targets[i].name, name) == 0)
            return &n->targets[i];
    return NULL;
}

static bool is_target(void *arg, const char *target)
{
    const struct notify *n = arg;
    return policy_target_find(&n->policy->notifications, span_str(target)) != NULL;
}

/* One that is still busy keeps its place until it is not. */
static void place_targets(struct notify *n)
{
    const struct policy_notifications *p = &n->policy->notifications;
    n->policy_partly = false;
    for (uint32_t i = 0; i < POLICY_TARGETS_MAX; i++) {
        struct notify_target *t = &n->targets[i];
        t->p = t->name[0] == '\0' ? NULL : policy_target_find(p, span_str(t->name));
        if (t->p == NULL && t->name[0] != '\0' && !t->busy)
            notify_target_fini(t);
        n->policy_partly = n->policy_partly || (t->p == NULL && t->busy);
    }
    for (uint32_t i = 0; i < p->ntargets; i++) {
        struct notify_target *t = slot_of(n, p->targets[i].name);
        if (t == NULL && (t = slot_of(n, "")) != NULL) {
            snprintf(t->name, sizeof t->name, "%s", p->targets[i].name);
            notify_syslog_init(&t->syslog);
            buf_init(&t->test_line, NOTIFY_LINE_MAX);
        }
        if (t == NULL)
            n->policy_partly = true;
        else
            t->p = &p->targets[i];
    }
}

static uint64_t policy_version(struct notify *n)
{
    struct directory_policy p = { .version = 0 };
    struct machine *m = cluster_machine(n->node->cluster);
    machine_read_lock(m);
    (void)directory_policy(m, 0, &p);
    machine_read_unlock(m);
    return p.version;
}

static void take_policy(struct notify *n)
{
    /* At first the state may be an old one, whose policy knows nothing of what is in the queue. */
    if (n->policy == NULL && !cluster_connected(n->node->cluster))
        return;
    struct policy *p = cluster_policy(n->node->cluster);
    if (p == n->policy && !n->policy_partly) {
        policy_rele(p);
        return;
    }
    if (p != NULL && p != n->policy)
        n->policy_version = policy_version(n);
    for (uint32_t i = 0; i < POLICY_TARGETS_MAX && p != n->policy; i++) {
        n->targets[i].alert = 0;
        n->targets[i].failures = 0; /* it may go elsewhere now */
        n->targets[i].next_ms = 0;
    }
    policy_rele(n->policy);
    n->policy = p;
    n->strays = true;
    if (p == NULL)
        return;
    place_targets(n);
    while (n->queue != NULL && notify_queue_begin(n->queue) == 0) {
        int err = notify_queue_forget(n->queue, is_target, n);
        err = notify_queue_commit(n->queue) != 0 ? ERR_FAILED : err;
        break;
    }
}

/* ---- the event log ------------------------------------------------------------------------------------- */

static bool may_be_wanted(const struct notify *n, struct span event, int severity)
{
    const struct policy_notifications *p = &n->policy->notifications;
    for (uint32_t i = 0; i < p->nroutes; i++) {
        const struct policy_route *r = &p->routes[i];
        if (severity < (int)policy_route_severity(r))
            continue;
        if (r->nevents == 0)
            return true;
        for (uint32_t k = 0; k < r->nevents; k++)
            if (span_eq(span_str(r->events[k]), event))
                return true;
    }
    return false;
}

static void queue_line(struct notify *n, uint64_t number, struct span line)
{
    struct notify_event e;
    char id[NOTIFY_ID_MAX];
    if (notify_event_parse(line, &e) != 0)
        return;
    const char *tenant = notify_event_str(&e, "tenant");
    snprintf(id, sizeof id, "%s.%" PRIx64, n->node_name, number);
    for (uint32_t i = 0; i < POLICY_TARGETS_MAX; i++) {
        struct notify_target *t = &n->targets[i];
        if (t->p == NULL ||
            !policy_target_wants(&n->policy->notifications, t->p, span_str(e.event), e.severity,
                                 span_str(tenant)) ||
            (t->p->mail != NULL && notify_event_about_mail_of_ours(&e)))
            continue;
        (void)notify_queue_put(n->queue, &(struct notify_item){ .target = t->name,
                                                                .id = id,
                                                                .tenant = tenant,
                                                                .key = notify_event_key(&e),
                                                                .at_ms = clock_wall_ms(),
                                                                .line = line });
    }
    notify_event_fini(&e);
}

static bool see_line(void *ctx, uint64_t number, struct span line)
{
    struct notify *n = ctx;
    struct span event = notify_line_event(line);
    int severity = policy_event_severity(event);
    if (severity >= 0 && !notify_is_alert(event) && may_be_wanted(n, event, severity))
        queue_line(n, number, span_of(line.p, line.n - 1));
    return true;
}

static void read_lines(struct notify *n)
{
    static const struct events_tail_filter all = { .nall = 0 };
    struct events_tail *tail = events_tail(n->node->events);
    if (tail == NULL)
        return;
    if (n->policy->notifications.nroutes == 0) { /* what was before there were routes is nobody's */
        n->line = events_tail_last(tail);
        n->reading = true;
        return;
    }
    if (!n->reading)
        n->line = 0; /* all that there is, since the start */
    bool first = !n->reading;
    n->reading = true;
    uint64_t line = n->line;
    if (events_tail_last(tail) == line || notify_queue_begin(n->queue) != 0)
        return;
    if (events_tail_each(tail, &line, &all, NOTIFY_READ_MAX, see_line, n) && !first)
        log_warn("notify", "events came too fast: some are not told of");
    if (notify_queue_commit(n->queue) == 0)
        n->line = line;
}

/* ---- tests --------------------------------------------------------------------------------------------- */

void notify_test_end(struct notify *n, struct notify_test *test, int err, const char *why)
{
    pthread_mutex_lock(&n->lock);
    test->err = err;
    snprintf(test->why, sizeof test->why, "%s", why);
    test->over = true;
    pthread_cond_broadcast(&n->news);
    pthread_mutex_unlock(&n->lock);
}

/* It goes before all that waits, and is not tried again. */
static int begin_test(struct notify *n, struct notify_target *t, struct notify_test *test)
{
    int64_t now_ms = clock_wall_ms();
    struct events_clock clock = { .n = 0 };
    struct event e = EVENT_INIT(EVENT_TEST);
    struct buf name;
    buf_init(&name, 1024);
    e.ts_ms = now_ms;
    e.text = SPAN_LIT("This is a test: somebody has run `turnpike notify test`.");
    e.local = true;
    text_put_json(&name, span_str(n->node_name));
    snprintf(test->id, sizeof test->id, "%s.test.%" PRIx64, n->node_name, (uint64_t)now_ms);
    buf_reset(&t->test_line);
    int err = events_json_put(&t->test_line, &e, buf_span(&name), &clock);
    buf_fini(&name);
    if (err == 0)
        t->test = test;
    return err;
}

static void take_tests(struct notify *n)
{
    for (;;) {
        pthread_mutex_lock(&n->lock);
        struct list *link = list_pop_front(&n->tests);
        struct notify_test *test = link == NULL ? NULL : LIST_ITEM(link, struct notify_test, link);
        if (test != NULL)
            test->taken = true;
        pthread_mutex_unlock(&n->lock);
        if (test == NULL)
            return;
        struct notify_target *t = n->policy == NULL ? NULL : slot_of(n, test->target);
        if (t == NULL || t->p == NULL)
            notify_test_end(n, test, ERR_NOT_FOUND,
                            "there is no such target in the policy: notifications.targets");
        else if (t->test != NULL)
            notify_test_end(n, test, ERR_BUSY, "another test of it is under way");
        else if (begin_test(n, t, test) != 0)
            notify_test_end(n, test, ERR_FAILED, "out of memory");
    }
}

int notify_ops_test(void *ctx, const char *target, const struct admin_caller *by, char id[96],
                    struct admin_error *e)
{
    struct notify *n = ((struct node *)ctx)->notify;
    struct notify_test test = { .target = target };
    int64_t until = clock_mono_ns() + TEST_MS * INT64_C(1000000);
    if (n == NULL)
        return admin_fail(e, -ENOSYS, "this node is no part of a cluster, and so has no policy");
    log_info("notify", "target %s is tried by %s", target, by->text);
    pthread_mutex_lock(&n->lock);
    if (n->closed) {
        pthread_mutex_unlock(&n->lock);
        return admin_fail(e, ERR_CLOSED, "the node is stopping");
    }
    list_push_back(&n->tests, &test.link);
    notify_web_wake(n->web);
    while (!test.over && cond_wait_until(&n->news, &n->lock, until) == 0)
        ;
    bool late = !test.over;
    if (late && !test.taken)
        list_remove(&test.link);
    while (late && test.taken && !test.over) /* the thread has it: its end comes with the target's time-out */
        pthread_cond_wait(&n->news, &n->lock);
    pthread_mutex_unlock(&n->lock);
    if (!test.over)
        return admin_fail(e, ERR_TIMEOUT, "it was not tried in time");
    if (test.err != 0)
        return admin_fail(e, test.err, "%s: %s", target, test.why);
    snprintf(id, 96, "%s", test.id);
    return 0;
}

/* ---- status -------------------------------------------------------------------------------------------- */

static void put_where(const struct policy_target *p, char out[300])
{
    struct policy_url url;
    if (p->webhook != NULL && policy_webhook_parse(span_str(p->webhook), &url) == NULL)
        snprintf(out, 300, "%s://%s:%u", url.tls ? "https" : "http", url.host, url.port);
    else
        snprintf(out, 300, "%s", p->mail != NULL ? p->mail : p->syslog != NULL ? p->syslog : "");
}

static void publish(struct notify *n, int64_t now_ms)
{
    static const char *const kinds[] = { "webhook", "mail", "syslog" };
    struct admin_notify_target all[POLICY_TARGETS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < POLICY_TARGETS_MAX; i++) {
        const struct notify_target *t = &n->targets[i];
        struct notify_depth depth = { .n = 0 };
        if (t->p == NULL || notify_queue_depth(n->queue, t->name, &depth) != 0)
            continue;
        struct admin_notify_target *s = &all[count++];
        *s = (struct admin_notify_target){ .kind = kinds[policy_target_kind(t->p)],
                                           .waiting = depth.n,
                                           .oldest_ms = depth.oldest_ms,
                                           .sent = t->sent,
                                           .failed = t->failed,
                                           .lost = t->lost,
                                           .failures = t->failures,
                                           .last_ok_ms = t->last_ok_ms,
                                           .last_failed_ms = t->last_failed_ms,
                                           .next_ms = t->failures > 0 && t->next_ms > now_ms
                                                          ? clock_wall_ms() + t->next_ms - now_ms
                                                          : 0 };
        snprintf(s->node, sizeof s->node, "%s", n->node_name);
        snprintf(s->name, sizeof s->name, "%s", t->name);
        snprintf(s->why, sizeof s->why, "%s", t->why);
        put_where(t->p, s->where);
    }
    pthread_mutex_lock(&n->lock);
    memcpy(n->status, all, count * sizeof all[0]);
    n->nstatus = count;
    pthread_mutex_unlock(&n->lock);
}

int notify_ops_status(void *ctx, struct admin_notify_target *out, uint32_t *count, struct admin_error *e)
{
    struct notify *n = ((struct node *)ctx)->notify;
    if (n == NULL)
        return admin_fail(e, -ENOSYS, "this node is no part of a cluster, and so has no policy");
    pthread_mutex_lock(&n->lock);
    *count = n->nstatus;
    memcpy(out, n->status, n->nstatus * sizeof out[0]);
    pthread_mutex_unlock(&n->lock);
    return 0;
}

int notify_metrics(struct notify *n, struct buf *out)
{
    static const struct {
        const char *name, *type, *help;
        size_t offset;
    } all[] = {
#define AT(f) offsetof(struct admin_notify_target, f)
        { "waiting", "gauge", "Notifications that wait for a target on this node", AT(waiting) },
        { "sent_total", "counter", "Notifications that a target has taken from this node", AT(sent) },
        { "failures_total", "counter", "Attempts to send that a target did not take", AT(failed) },
        { "lost_total", "counter", "Notifications that were given up: too old, or too many", AT(lost) },
#undef AT
    };
    struct admin_notify_target status[ADMIN_NOTIFY_TARGETS_MAX];
    struct admin_error e;
    uint32_t count = 0;
    if (n == NULL || notify_ops_status(n->node, status, &count, &e) != 0)
        return 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0] && count > 0; i++) {
        buf_printf(out, "# HELP turnpike_notifications_%s %s.\n# TYPE turnpike_notifications_%s %s\n",
                   all[i].name, all[i].help, all[i].name, all[i].type);
        for (uint32_t k = 0; k < count; k++) {
            uint64_t value;
            memcpy(&value, (const char *)&status[k] + all[i].offset, sizeof value);
            buf_printf(out, "turnpike_notifications_%s{target=\"%s\"} %" PRIu64 "\n", all[i].name,
                       status[k].name, value);
        }
    }
    return buf_err(out);
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

static void web_ended(void *ctx, uint32_t slot, long status, const char *why)
{
    struct notify *n = ctx;
    (void)status;
    notify_sent(n, &n->targets[slot], why);
}

static bool any_busy(const struct notify *n)
{
    for (uint32_t i = 0; i < POLICY_TARGETS_MAX; i++)
        if (n->targets[i].busy)
            return true;
    return false;
}

static void trim(struct notify *n, int64_t now_ms)
{
    int64_t wall_ms = clock_wall_ms();
    if (now_ms - n->trimmed_ms < TRIM_MS || any_busy(n) || notify_queue_begin(n->queue) != 0)
        return;
    n->trimmed_ms = now_ms;
    for (uint32_t i = 0; i < POLICY_TARGETS_MAX; i++) {
        struct notify_target *t = &n->targets[i];
        uint32_t lost =
            t->p == NULL ? 0 : notify_queue_trim(n->queue, t->name, wall_ms - t->p->keep_ms, wall_ms);
        t->lost += lost;
        if (lost > 0)
            log_warn("notify", "target %s: %u notifications were given up: it has not taken them in time",
                     t->name, lost);
    }
    (void)notify_queue_commit(n->queue);
}

static void turn(struct notify *n)
{
    int64_t now_ms = clock_boot_ms();
    take_policy(n);
    notify_mail_ended(n);
    if (n->policy != NULL) {
        if (n->reading || cluster_connected(n->node->cluster))
            read_lines(n);
        notify_alerts(n, now_ms);
        take_tests(n);
        for (uint32_t i = 0; i < POLICY_TARGETS_MAX; i++) {
            struct notify_target *t = &n->targets[i];
            if (t->name[0] == '\0')
                continue;
            notify_alerts_flush(n, t, now_ms);
            if (t->p == NULL && t->test != NULL && !t->busy) {
                notify_test_end(n, t->test, ERR_NOT_FOUND, "the target is in the policy no more");
                t->test = NULL;
            }
            if (t->p != NULL && !t->busy && (t->test != NULL || now_ms >= t->next_ms))
                notify_send(n, t, now_ms);
        }
        trim(n, now_ms);
    } else {
        take_tests(n);
    }
    publish(n, now_ms);
    notify_web_wait(n->web, NOTIFY_LOOK_MS, web_ended, n);
}

static void *notify_main(void *arg)
{
    struct notify *n = arg;
    while (cluster_machine(n->node->cluster) == NULL && !atomic_load(&n->stopping)) {
        take_tests(n);
        notify_web_wait(n->web, NOTIFY_LOOK_MS, web_ended, n);
    }
    while (!atomic_load(&n->stopping))
        turn(n);
    /* What was sent and is not known to be taken would be sent twice. */
    for (int64_t until = clock_boot_ms() + STOP_MS; any_busy(n) && clock_boot_ms() < until;) {
        notify_web_wait(n->web, NOTIFY_LOOK_MS, web_ended, n);
        notify_mail_ended(n);
    }
    for (uint32_t i = 0; i < POLICY_TARGETS_MAX; i++)
        if (n->targets[i].name[0] != '\0')
            notify_alerts_flush(n, &n->targets[i], INT64_MAX);
    return NULL;
}

void notify_free(struct notify *n)
{
    if (n == NULL)
        return;
    for (uint32_t i = 0; i < POLICY_TARGETS_MAX; i++)
        notify_target_fini(&n->targets[i]);
    notify_web_free(n->web);
    notify_queue_close(n->queue);
    policy_rele(n->policy);
    pthread_cond_destroy(&n->news);
    pthread_mutex_destroy(&n->lock);
    free(n);
}

int notify_start(struct node *node, struct notify **out)
{
    char path[4096];
    if (node->cluster == NULL)
        return 0;
    struct notify *n = calloc(1, sizeof *n);
    if (n == NULL)
        return -ENOMEM;
    n->node = node;
    pthread_mutex_init(&n->lock, NULL);
    cond_init(&n->news);
    list_init(&n->tests);
    list_init(&n->mailed);
    snprintf(n->node_name, sizeof n->node_name, "%s", node->config->name);
    snprintf(path, sizeof path, "%s/notifications.db", node->config->data_dir);
    n->web = notify_web_new(POLICY_TARGETS_MAX);
    int err = n->web == NULL ? -ENOMEM : notify_queue_open(path, &n->queue);
    if (err == 0) {
        sigset_t all, old; /* signals are the main thread's */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        err = -pthread_create(&n->thread, NULL, notify_main, n);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    if (err != 0) {
        notify_free(n);
        return err;
    }
    *out = n;
    return 0;
}

void notify_stop(struct notify *n)
{
    if (n == NULL)
        return;
    atomic_store(&n->stopping, true);
    notify_web_wake(n->web);
    pthread_join(n->thread, NULL);
    pthread_mutex_lock(&n->lock);
    n->closed = true;
    for (struct list *link; (link = list_pop_front(&n->tests)) != NULL;) {
        struct notify_test *test = LIST_ITEM(link, struct notify_test, link);
        test->over = true;
        test->err = ERR_CLOSED;
    }
    for (uint32_t i = 0; i < POLICY_TARGETS_MAX; i++)
        if (n->targets[i].test != NULL) {
            n->targets[i].test->over = true;
            n->targets[i].test->err = ERR_CLOSED;
        }
    pthread_cond_broadcast(&n->news);
    pthread_mutex_unlock(&n->lock);
}
