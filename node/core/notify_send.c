/* Sends what is due to a target, and learns from what came of it: back-off, digests, no storms of mail. The
 * notifying thread. */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster.h"
#include "node/core/notify_impl.h"
#include "node/core/secrets.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- gathering ----------------------------------------------------------------------------------------- */

static int add_message(void *arg, const struct notify_message *m)
{
    struct notify_target *t = arg;
    struct notify_batch *b = t->batch;
    /* A mail goes to one tenant's contact. */
    if (t->p->mail != NULL && b->n > 0 && strcmp(t->p->mail, POLICY_TENANT_CONTACT) == 0) {
        struct notify_event first;
        bool same = notify_event_parse(b->told[0].line, &first) == 0 &&
                    strcmp(notify_event_str(&first, "tenant"), m->first.tenant) == 0;
        notify_event_fini(&first);
        if (!same)
            return 0;
    }
    if (b->n == NOTIFY_BATCH_MAX || (b->n > 0 && b->lines.len + m->first.line.n > NOTIFY_BATCH_BYTES) ||
        buf_put_span(&b->lines, m->first.line) != 0)
        return 1;
    struct notify_told *to = &b->told[b->n];
    snprintf(to->id, sizeof to->id, "%s", m->first.id);
    to->line = span_of(b->lines.data + b->lines.len - m->first.line.n, m->first.line.n);
    to->count = m->count;
    to->last_ms = m->last_ms;
    b->messages[b->n] = *m;
    b->messages[b->n++].first.target = t->name;
    return 0;
}

static bool batch_reset(struct notify_target *t)
{
    if (t->batch == NULL) {
        t->batch = calloc(1, sizeof *t->batch);
        if (t->batch == NULL)
            return false;
        buf_init(&t->batch->lines, NOTIFY_BATCH_BYTES + 65536);
    }
    t->batch->n = 0;
    buf_reset(&t->batch->lines);
    /* It must not move while `told` points into it. */
    return buf_reserve(&t->batch->lines, NOTIFY_BATCH_BYTES + 65536) == 0;
}

/* A test goes alone. */
static void gather_test(struct notify_target *t)
{
    struct notify_message m = {
        .count = 1,
        .last_ms = clock_wall_ms(),
        .first = { .id = t->test->id, .tenant = "", .line = span_of(t->test_line.data, t->test_line.len - 1) }
    };
    (void)add_message(t, &m);
}

/* How many messages a mail may have now; 0: it is not its time yet, and t->next_ms says when. */
static uint32_t mail_room(struct notify_target *t, int64_t now_ms)
{
    int64_t group_ms = policy_target_group_ms(t->p);
    /* Tenants do not wait for each other. */
    if (t->p->digest_ms > 0 || strcmp(t->p->mail, POLICY_TENANT_CONTACT) == 0)
        return NOTIFY_BATCH_MAX;
    if (now_ms - t->window_ms >= group_ms || t->window_ms == 0) {
        /* After a storm all that waits is one mail. */
        uint32_t room = t->in_window >= NOTIFY_BURST ? NOTIFY_BATCH_MAX : 1;
        t->window_ms = now_ms;
        t->in_window = room > 1 ? NOTIFY_BURST - 1 : 0;
        return room;
    }
    if (t->in_window < NOTIFY_BURST)
        return 1;
    t->next_ms = t->window_ms + group_ms;
    return 0;
}

static void gather(struct notify *n, struct notify_target *t, int64_t now_ms)
{
    struct notify_depth depth;
    int64_t wall_ms = clock_wall_ms(), group_ms = policy_target_group_ms(t->p);
    uint32_t limit = NOTIFY_BATCH_MAX;
    if (notify_queue_depth(n->queue, t->name, &depth) != 0 || depth.n == 0)
        return;
    if (t->p->digest_ms > 0) {
        int64_t due_ms = depth.oldest_ms + t->p->digest_ms;
        if (due_ms > wall_ms && due_ms - wall_ms <= t->p->digest_ms)
            return;
        group_ms = 1; /* all of one kind together, and none is kept back */
    }
    if (t->p->mail != NULL && (limit = mail_room(t, now_ms)) == 0)
        return;
    (void)notify_queue_each(n->queue, t->name, wall_ms, group_ms, limit, add_message, t);
}

/* ---- sending ------------------------------------------------------------------------------------------- */

static int post(struct notify *n, struct notify_target *t, struct span secret)
{
    char timestamp[24], signature[NOTIFY_SIGNATURE_TEXT];
    struct policy_url url;
    struct buf body;
    int64_t now_s = clock_wall_ms() / 1000;
    buf_init(&body, 2 * NOTIFY_BATCH_BYTES);
    notify_web_begin(&body, t->name, n->node_name);
    for (uint32_t i = 0; i < t->batch->n; i++)
        notify_web_put(&body, &t->batch->told[i], i == 0);
    int err = notify_web_end(&body);
    if (err == 0 && policy_webhook_parse(span_str(t->p->webhook), &url) != NULL)
        err = ERR_BAD;
    if (err == 0)
        err = notify_web_sign(secret, now_s, buf_span(&body), signature);
    snprintf(timestamp, sizeof timestamp, "%lld", (long long)now_s);
    if (err == 0)
        err = notify_web_post(n->web, (uint32_t)(t - n->targets),
                              &(struct notify_post){ .url = t->p->webhook,
                                                     .private_network = t->p->private_network,
                                                     .plain = !url.tls,
                                                     .timeout_ms = t->p->timeout_ms,
                                                     .body = buf_span(&body),
                                                     .timestamp = timestamp,
                                                     .signature = signature });
    buf_fini(&body);
    return err;
}

static void send_web(struct notify *n, struct notify_target *t)
{
    char why[200];
    struct secrets *secrets = cluster_secrets(n->node->cluster);
    struct span secret = secrets_named(secrets, span_str(t->p->secret));
    int err = secret.n == 0 ? 0 : post(n, t, secret);
    if (secret.n == 0)
        snprintf(why, sizeof why, "there is no secret %s: turnpike secret import webhooks FILE --name %s",
                 t->p->secret, t->p->secret);
    else if (err != 0)
        snprintf(why, sizeof why, "it cannot be sent: %s", err_text(err));
    secrets_rele(secrets);
    if (secret.n == 0 || err != 0)
        notify_sent(n, t, why);
}

static void send_syslog(struct notify *n, struct notify_target *t)
{
    struct config *config = node_config(n->node);
    struct buf line;
    buf_init(&line, 2 * NOTIFY_LINE_MAX);
    int err = notify_syslog_ready(&t->syslog, t->p->syslog);
    for (uint32_t i = 0; i < t->batch->n && err == 0; i++) {
        buf_reset(&line);
        err = notify_syslog_put(&line, &t->batch->told[i], config->hostname);
        if (err == 0)
            err = notify_syslog_send(&t->syslog, buf_span(&line));
    }
    buf_fini(&line);
    config_rele(config);
    notify_sent(n, t, err == 0 ? "" : err_text(err));
}

/* Whom a mail goes to; false: nobody wants it. */
static bool mail_to(struct notify *n, const struct notify_target *t, char out[400])
{
    struct notify_event e;
    struct span contact;
    if (strcmp(t->p->mail, POLICY_TENANT_CONTACT) != 0) {
        snprintf(out, 400, "%s", t->p->mail);
        return true;
    }
    if (notify_event_parse(t->batch->told[0].line, &e) != 0)
        return false;
    struct machine *m = cluster_machine(n->node->cluster);
    machine_read_lock(m);
    bool found = directory_contact_find(m, span_str(notify_event_str(&e, "tenant")), &contact);
    if (found)
        snprintf(out, 400, "%.*s", (int)contact.n, contact.p);
    machine_read_unlock(m);
    notify_event_fini(&e);
    return found;
}

static void send_mail(struct notify *n, struct notify_target *t)
{
    char to[400];
    struct notify_depth depth = { .n = 0 };
    bool whom = mail_to(n, t, to);
    if (!whom && t->test != NULL) {
        notify_sent(n, t, "a test has no tenant, and so no contact that it could go to");
        return;
    }
    if (!whom) { /* nobody is to be told */
        notify_sent(n, t, "");
        return;
    }
    (void)notify_queue_depth(n->queue, t->name, &depth);
    uint64_t more = t->batch->n > 1 && depth.n > t->batch->n ? depth.n - t->batch->n : 0;
    for (uint32_t i = 0; i < t->batch->n; i++)
        more -= t->batch->told[i].count - 1 < more ? t->batch->told[i].count - 1 : more;
    int err = notify_mail_begin(n, t, to, t->test != NULL ? 0 : more);
    if (err != 0)
        notify_sent(n, t, err_text(err));
}

void notify_send(struct notify *n, struct notify_target *t, int64_t now_ms)
{
    if (!batch_reset(t))
        return;
    if (t->test != NULL)
        gather_test(t);
    else
        gather(n, t, now_ms);
    if (t->batch->n == 0)
        return;
    t->busy = true;
    switch (policy_target_kind(t->p)) {
    case POLICY_TARGET_WEBHOOK:
        send_web(n, t);
        break;
    case POLICY_TARGET_SYSLOG:
        send_syslog(n, t);
        break;
    case POLICY_TARGET_MAIL:
        send_mail(n, t);
        break;
    }
}

/* ---- what came of it ----------------------------------------------------------------------------------- */

static void taken(struct notify *n, struct notify_target *t)
{
    if (t->failures > 0)
        log_info("notify", "target %s works again", t->name);
    t->failures = 0;
    t->next_ms = 0;
    t->in_window++;
    t->last_ok_ms = clock_wall_ms();
    if (notify_queue_begin(n->queue) != 0)
        return;
    for (uint32_t i = 0; i < t->batch->n; i++) {
        (void)notify_queue_told(n->queue, t->name, &t->batch->messages[i], t->last_ok_ms);
        t->sent += t->batch->messages[i].count;
    }
    (void)notify_queue_commit(n->queue);
}

static void not_taken(struct notify_target *t, const char *why)
{
    int64_t wait_ms = NOTIFY_BACKOFF_MS;
    for (uint32_t i = 0; i < t->failures && wait_ms < NOTIFY_BACKOFF_MAX_MS; i++)
        wait_ms *= 2;
    wait_ms = wait_ms < NOTIFY_BACKOFF_MAX_MS ? wait_ms : NOTIFY_BACKOFF_MAX_MS;
    t->failures++;
    t->failed++;
    t->next_ms = clock_boot_ms() + wait_ms;
    t->last_failed_ms = clock_wall_ms();
    if (strcmp(t->why, why) != 0 || t->failures == 1)
        log_warn("notify", "target %s: %s; what waits is kept and tried again", t->name, why);
    snprintf(t->why, sizeof t->why, "%s", why);
}

void notify_sent(struct notify *n, struct notify_target *t, const char *why)
{
    struct notify_test *test = t->test;
    bool is_test = test != NULL && t->batch->n > 0 && strcmp(t->batch->told[0].id, test->id) == 0;
    t->busy = false;
    if (is_test) {
        t->test = NULL;
        notify_test_end(n, test, why[0] == '\0' ? 0 : ERR_FAILED, why);
    }
    if (why[0] == '\0')
        taken(n, t);
    else if (!is_test)
        not_taken(t, why);
    if (t->p == NULL)
        notify_target_fini(t);
}

void notify_target_fini(struct notify_target *t)
{
    if (t->name[0] == '\0')
        return;
    notify_syslog_fini(&t->syslog);
    if (t->batch != NULL)
        buf_fini(&t->batch->lines);
    free(t->batch);
    buf_fini(&t->test_line);
    *t = (struct notify_target){ .busy = false };
}
