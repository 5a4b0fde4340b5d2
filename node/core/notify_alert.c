/* The cluster's alerts: the leader queues those that targets lack, and has the state know which were taken.
 * The notifying thread. */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "consensus/web_sender.h"
#include "node/core/cluster.h"
#include "node/core/cluster_impl.h"
#include "node/core/notify_impl.h"
#include "node/telemetry/events_json.h"
#include "node/tenant/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FLUSH_AGAIN_MS 2000

/* The kinds that the machine makes; others come of a later build. */
static enum event_kind kind_of(struct span event)
{
    enum event_kind kind = EVENT_FROZEN;
    while (kind < EVENT_TEST && !span_eq(event, span_str(event_kind_name(kind))))
        kind++;
    return kind < EVENT_TEST ? kind : EVENT_WARNED;
}

bool notify_is_alert(struct span event)
{
    return span_eq(event, span_str(event_kind_name(kind_of(event))));
}

/* Of a web sender the state says what stands behind the last @ of his name, which a script may have chosen. */
static struct span whose(const struct machine *m, const struct directory_alert *a)
{
    return web_sender_host(a->account).n > 0 ? tenant_of(m, a->account) : a->tenant;
}

/* Under machine_read_lock. */
static struct event event_of(const struct machine *m, const struct directory_alert *a)
{
    struct event e = EVENT_INIT(kind_of(a->event));
    e.ts_ms = a->wall_ms;
    e.account = a->account;
    e.tenant = whose(m, a);
    e.rule = a->rule;
    e.text = a->text;
    e.local = true;
    return e;
}

/* ---- what targets lack --------------------------------------------------------------------------------- */

struct lacking {
    struct notify *n;
    struct notify_target *t;
    uint64_t waits_upto; /* older ones may be under way from the node that led before */
    uint64_t unwanted[COMMAND_ALERTS_DONE_MAX];
    uint32_t nunwanted;
    uint64_t seen; /* all up to it were dealt with */
};

static void queue_alert(struct lacking *l, const struct directory_alert *a)
{
    char id[NOTIFY_ID_MAX], tenant[COMMAND_NAME_MAX + 1];
    struct events_clock clock = { .n = 0 };
    struct event e = event_of(cluster_machine(l->n->node->cluster), a);
    struct buf line;
    struct notify_event parsed;
    buf_init(&line, NOTIFY_LINE_MAX);
    snprintf(id, sizeof id, "%s.alert.%" PRIu64, l->n->cluster_name, a->seq);
    snprintf(tenant, sizeof tenant, "%.*s", (int)e.tenant.n, e.tenant.n > 0 ? e.tenant.p : "");
    if (events_json_put(&line, &e, SPAN_LIT("\"cluster\""), &clock) == 0 &&
        notify_event_parse(span_of(line.data, line.len - 1), &parsed) == 0) {
        (void)notify_queue_put(l->n->queue,
                               &(struct notify_item){ .target = l->t->name,
                                                      .id = id,
                                                      .tenant = tenant,
                                                      .key = notify_event_key(&parsed),
                                                      .at_ms = a->wall_ms,
                                                      .alert = a->seq,
                                                      .line = span_of(line.data, line.len - 1) });
        notify_event_fini(&parsed);
    }
    buf_fini(&line);
}

static int see_alert(void *arg, const struct directory_alert *a)
{
    struct lacking *l = arg;
    const struct notify *n = l->n;
    struct span name = span_str(l->t->name);
    const struct machine *m = cluster_machine(n->node->cluster);
    bool done = directory_alert_done(m, name, a->seq);
    bool wanted = policy_target_wants(&n->policy->notifications, l->t->p, a->event, a->severity, whose(m, a));
    if (!done && !wanted && l->nunwanted == COMMAND_ALERTS_DONE_MAX)
        return 1;
    if (!done && !wanted)
        l->unwanted[l->nunwanted++] = a->seq;
    else if (!done && a->seq > l->waits_upto)
        queue_alert(l, a);
    l->seen = a->seq;
    return 0;
}

struct before {
    uint64_t version, seq;
};

static int last_before(void *arg, const struct directory_alert *a)
{
    struct before *b = arg;
    if (a->at < b->version)
        b->seq = a->seq;
    return 0;
}

static bool tell_cluster(struct notify *n, struct command *cmd)
{
    struct machine_result r;
    struct admin_error e = { .text = "" };
    int err = cluster_submit(n->node, NULL, cmd, &r, &e);
    if (err != 0 && err != ERR_DENIED)
        log_debug("notify", "%s", e.text);
    return err == 0 || err == ERR_DENIED || err == ERR_LIMIT;
}

static bool tell_done(struct notify *n, const char *target, uint64_t upto, const uint64_t *seqs,
                      uint32_t count)
{
    struct buf bytes;
    buf_init(&bytes, 8 * COMMAND_ALERTS_DONE_MAX);
    for (uint32_t i = 0; i < count; i++)
        (void)buf_put_u64(&bytes, seqs[i]);
    struct command cmd = { .type = COMMAND_ALERT_DONE,
                           .alert_done = { .target = span_str(target),
                                           .upto = upto,
                                           .seqs = span_of(bytes.len > 0 ? bytes.data : "", bytes.len) } };
    bool done = tell_cluster(n, &cmd);
    buf_fini(&bytes);
    return done;
}

static void see_target(struct notify *n, struct notify_target *t, uint64_t waits_upto)
{
    struct machine *m = cluster_machine(n->node->cluster);
    struct lacking l = { .n = n, .t = t, .waits_upto = waits_upto, .seen = t->alert };
    struct before b = { .version = n->policy_version };
    machine_read_lock(m);
    bool known = directory_alert_target(m, span_str(t->name));
    if (!known)
        (void)directory_alerts_each(m, 0, last_before, &b);
    else
        (void)directory_alerts_each(m, t->alert, see_alert, &l);
    machine_read_unlock(m);
    if (!known) /* what was before the target was in the policy is none of its business */
        (void)tell_done(n, t->name, b.seq, NULL, 0);
    else if (l.nunwanted == 0 || tell_done(n, t->name, 0, l.unwanted, l.nunwanted))
        t->alert = l.seen;
}

/* ---- targets that are no more -------------------------------------------------------------------------- */

struct stray {
    const struct notify *n;
    char name[COMMAND_NAME_MAX + 1];
};

static int find_stray(void *arg, struct span name)
{
    struct stray *s = arg;
    if (policy_target_find(&s->n->policy->notifications, name) != NULL || name.n >= sizeof s->name)
        return 0;
    memcpy(s->name, name.p, name.n);
    s->name[name.n] = '\0';
    return 1;
}

static void forget_stray(struct notify *n)
{
    struct machine *m = cluster_machine(n->node->cluster);
    struct stray s = { .n = n };
    machine_read_lock(m);
    (void)directory_alert_targets_each(m, find_stray, &s);
    machine_read_unlock(m);
    n->strays = s.name[0] != '\0';
    if (!n->strays)
        return;
    struct command cmd = { .type = COMMAND_ALERT_DONE,
                           .alert_done = { .target = span_str(s.name), .seqs = { "", 0 }, .forget = true } };
    (void)tell_cluster(n, &cmd);
}

/* ---- the event log ------------------------------------------------------------------------------------- */

static int log_alert(void *arg, const struct directory_alert *a)
{
    struct notify *n = arg;
    struct event e = event_of(cluster_machine(n->node->cluster), a);
    e.ts_ms = 0;
    events_put(n->node->events, n->node->nworkers, &e);
    return 0;
}

/* The leader's log has the alert for those who follow the events; the others look where it stands only. */
static void log_alerts(struct notify *n, struct machine *m, uint64_t last)
{
    if (last > n->alert && n->leads && n->alert_known)
        (void)directory_alerts_each(m, n->alert, log_alert, n);
    n->alert = last;
    n->alert_known = true; /* what was there at the start is not news */
}

/* ---- leading ------------------------------------------------------------------------------------------- */

/* The longest that a request of the node that led before may take. */
static int64_t settle_ms(const struct notify *n)
{
    int64_t most = 0;
    for (uint32_t i = 0; i < POLICY_TARGETS_MAX; i++)
        if (n->targets[i].p != NULL && n->targets[i].p->timeout_ms > most)
            most = n->targets[i].p->timeout_ms;
    return most + 1000;
}

static bool any_busy_or_told(struct notify *n)
{
    uint64_t alert;
    for (uint32_t i = 0; i < POLICY_TARGETS_MAX; i++)
        if (n->targets[i].name[0] != '\0' &&
            (n->targets[i].busy || notify_queue_alerts_told(n->queue, n->targets[i].name, &alert, 1) > 0))
            return true;
    return false;
}

/* All are looked at again. */
static void look_again(struct notify *n)
{
    for (uint32_t i = 0; i < POLICY_TARGETS_MAX; i++)
        n->targets[i].alert = 0;
}

/* Under the machine's lock. Is there anything to do? */
static bool look(struct notify *n, struct machine *m, int64_t now_ms)
{
    struct directory_cluster cluster;
    uint64_t last = directory_alert_last(m);
    bool led = n->leads, work = false;
    n->leads = cluster_leads(n->node->cluster);
    log_alerts(n, m, last);
    if (!n->leads || machine_features(m) < command_type_level(COMMAND_ALERT_DONE))
        return false;
    if (!led) {
        n->leads_ms = now_ms;
        n->leads_alert = last;
        n->settled = false;
        n->strays = true;
        look_again(n);
    }
    if (!n->settled && now_ms - n->leads_ms >= settle_ms(n)) {
        n->settled = true;
        look_again(n);
    }
    if (directory_cluster(m, &cluster))
        snprintf(n->cluster_name, sizeof n->cluster_name, "%02x%02x%02x%02x", cluster.id[0], cluster.id[1],
                 cluster.id[2], cluster.id[3]);
    for (uint32_t i = 0; i < POLICY_TARGETS_MAX; i++)
        work = work ||
               (n->targets[i].p != NULL &&
                (n->targets[i].alert < last || !directory_alert_target(m, span_str(n->targets[i].name))));
    return work;
}

void notify_alerts(struct notify *n, int64_t now_ms)
{
    struct machine *m = cluster_machine(n->node->cluster);
    machine_read_lock(m);
    bool work = look(n, m, now_ms);
    machine_read_unlock(m);
    if (!n->leads && !any_busy_or_told(n))
        (void)notify_queue_alerts_drop(n->queue);
    if (n->leads && n->strays)
        forget_stray(n);
    if (!work || notify_queue_begin(n->queue) != 0)
        return;
    for (uint32_t i = 0; i < POLICY_TARGETS_MAX; i++)
        if (n->targets[i].p != NULL)
            see_target(n, &n->targets[i], n->settled ? 0 : n->leads_alert);
    if (notify_queue_commit(n->queue) != 0)
        look_again(n);
}

void notify_alerts_flush(struct notify *n, struct notify_target *t, int64_t now_ms)
{
    uint64_t told[COMMAND_ALERTS_DONE_MAX];
    if (now_ms < t->flush_ms || !cluster_connected(n->node->cluster))
        return;
    uint32_t count = notify_queue_alerts_told(n->queue, t->name, told, COMMAND_ALERTS_DONE_MAX);
    if (count == 0)
        return;
    if (!tell_done(n, t->name, 0, told, count)) {
        t->flush_ms = clock_boot_ms() + FLUSH_AGAIN_MS;
        return;
    }
    if (notify_queue_begin(n->queue) != 0)
        return;
    for (uint32_t i = 0; i < count; i++)
        (void)notify_queue_alert_end(n->queue, t->name, told[i]);
    (void)notify_queue_commit(n->queue);
}
