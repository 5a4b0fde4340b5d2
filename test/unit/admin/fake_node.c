/* A node with a small queue in memory, behind the admin API. */
#include "test/unit/admin/fake_node.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HOUR_MS INT64_C(3600000)

static void make_rows(struct fake_node *f)
{
    int64_t now_ms = clock_wall_ms();
    for (int i = 0; i < FAKE_ROWS; i++) {
        bool slow = i < 4;
        f->rows[i] = (struct admin_row){
            .id = i < 3    ? "0000000000AA1"
                  : i < 6  ? "0000000000BB2"
                  : i == 6 ? "0000000000CC3"
                           : "0000000000DD4",
            .rcpt = i < 3   ? (uint32_t)i
                    : i < 6 ? (uint32_t)i - 3
                            : 0,
            .nrcpts = i < 6 ? 3 : 1,
            .state = i == 6 ? ADMIN_STATE_HELD : ADMIN_STATE_QUEUED,
            .sender = i == 7 ? span_of("", 0) : SPAN_LIT("anna@example.com"),
            .recipient = slow ? SPAN_LIT("bob@slow.test") : SPAN_LIT("carl@fast.test"),
            .account = i == 7 ? span_of("", 0) : SPAN_LIT("anna@example.com"),
            .tenant = SPAN_LIT("example.com"),
            .site = slow ? SPAN_LIT("slow.test") : SPAN_LIT("fast.test"),
            .class = SPAN_LIT("person"),
            .message_id = SPAN_LIT("<m1@example.com>"),
            .client_ip = SPAN_LIT("192.0.2.9"),
            .helo = SPAN_LIT("desk\x1b[31m"),
            .protocol = SPAN_LIT("ESMTPSA"),
            .listener = SPAN_LIT("submission"),
            .reply = slow ? SPAN_LIT("451 4.7.1 Greylisted, \"try\" later\xff\r\n") : span_of("", 0),
            .mx = slow ? SPAN_LIT("mx.slow.test") : span_of("", 0),
            .size = 4096,
            .attempts = slow ? 3 : 0,
            .arrival_ms = now_ms - (slow ? 5 * HOUR_MS : HOUR_MS),
            .next_ms = now_ms + HOUR_MS,
            .expires_ms = now_ms + 91 * HOUR_MS,
        };
    }
}

void fake_node_init(struct fake_node *f)
{
    memset(f, 0, sizeof(*f));
    ensure(pthread_mutex_init(&f->lock, NULL) == 0);
    make_rows(f);
    f->trace_lines = 3;
    memcpy(f->log_level, "info", 5);
}

void fake_node_fini(struct fake_node *f)
{
    pthread_mutex_destroy(&f->lock);
}

/* Every function of the node runs under its lock, so that a test that took the lock since sees what it did.
 */
static void unlock(pthread_mutex_t **held)
{
    pthread_mutex_unlock(*held);
}
#define LOCKED(f)                                                                                            \
    pthread_mutex_t *held __attribute__((cleanup(unlock))) = &(f)->lock;                                     \
    pthread_mutex_lock(held)

void fake_node_sync(struct fake_node *f)
{
    LOCKED(f);
}

static void note_caller(struct fake_node *f, const struct admin_caller *by)
{
    snprintf(f->caller, sizeof(f->caller), "%s", by->text);
}

/* ---- the node ------------------------------------------------------------------------------------------ */

static int on_status(void *ctx, struct admin_status *s, struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    struct fake_node *f = ctx;
    if (f->status_err != 0)
        return admin_fail(e, f->status_err, "the workers do not answer");
    snprintf(s->node, sizeof(s->node), "n1.example.com");
    snprintf(s->state, sizeof(s->state), "running");
    snprintf(s->config_path, sizeof(s->config_path), "/etc/turnpike/node.yaml");
    s->uptime_ms = 26 * HOUR_MS;
    s->started_ms = clock_wall_ms() - s->uptime_ms;
    s->pid = 4242;
    s->memory_bytes = 50u << 20;
    s->nworkers = 2;
    s->workers[0].sessions_in = 7;
    s->workers[1].queued = 8;
    s->nlisteners = 1;
    snprintf(s->listeners[0].name, 64, "submission");
    snprintf(s->listeners[0].kind, 16, "submission");
    snprintf(s->listeners[0].address, 96, "0.0.0.0:587");
    s->sessions_in = 7;
    s->sessions_in_max = 1000;
    s->queue.messages = 4;
    s->queue.recipients = FAKE_ROWS;
    s->queue.held = 1;
    s->queue.oldest_ms = clock_wall_ms() - 5 * HOUR_MS;
    s->spool.segments = 2;
    s->spool.bytes = 128u << 20;
    s->spool.free_bytes = UINT64_C(5) << 30;
    s->received = (struct admin_rate){ 1.5, 1.25, 1.0, 12345 };
    return 0;
}

static int on_ready(void *ctx, struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    struct fake_node *f = ctx;
    return f->not_ready == 0 ? 0 : admin_fail(e, f->not_ready, "draining");
}

static int on_metrics(void *ctx, struct buf *out, struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    (void)ctx, (void)e;
    return buf_put_str(out, "# TYPE turnpike_up gauge\nturnpike_up 1\n");
}

static bool after_place(const struct admin_row *row, const struct admin_page *page)
{
    int c = page->after_id == NULL ? 1 : strcmp(row->id, page->after_id);
    return c > 0 || (c == 0 && row->rcpt > page->after_rcpt);
}

static int on_list(void *ctx, const struct admin_selector *sel, const struct admin_page *page,
                   admin_row_fn *fn, void *arg, struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    (void)e;
    struct fake_node *f = ctx;
    uint32_t n = 0;
    for (int i = 0; i < FAKE_ROWS && n < page->limit; i++) {
        if (f->rows[i].state > ADMIN_STATE_ACTIVE || !after_place(&f->rows[i], page) ||
            !admin_selector_match(sel, &f->rows[i]))
            continue;
        n++;
        if (fn(arg, &f->rows[i]) != 0)
            break;
    }
    return 0;
}

static int on_show(void *ctx, const char *id, admin_row_fn *fn, void *arg, struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    struct fake_node *f = ctx;
    bool found = false;
    for (int i = 0; i < FAKE_ROWS; i++)
        if (strcmp(f->rows[i].id, id) == 0) {
            fn(arg, &f->rows[i]);
            found = true;
        }
    return found ? 0 : admin_fail(e, ERR_NOT_FOUND, "there is no message %s in the queue", id);
}

static int on_act(void *ctx, const struct admin_selector *sel, const struct admin_act_opts *opts,
                  struct admin_act_result *out, struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    static const enum admin_state to[] = { [ADMIN_ACT_RETRY] = ADMIN_STATE_QUEUED,
                                           [ADMIN_ACT_HOLD] = ADMIN_STATE_HELD,
                                           [ADMIN_ACT_RELEASE] = ADMIN_STATE_QUEUED,
                                           [ADMIN_ACT_BOUNCE] = ADMIN_STATE_BOUNCED,
                                           [ADMIN_ACT_DELETE] = ADMIN_STATE_DELETED };
    struct fake_node *f = ctx;
    f->act = *opts;
    f->act.by = NULL;
    snprintf(f->act_text, sizeof(f->act_text), "%s", opts->text != NULL ? opts->text : "");
    note_caller(f, opts->by);
    uint32_t matched = 0, busy = (uint32_t)f->busy_rows;
    for (int i = 0; i < FAKE_ROWS; i++)
        matched += f->rows[i].state <= ADMIN_STATE_ACTIVE && admin_selector_match(sel, &f->rows[i]);
    int err = opts->expected != 0 && matched > opts->expected
                  ? admin_fail(e, ERR_BUSY, "%u recipients match, more than expected", matched)
                  : 0;
    for (int i = 0; err == 0 && i < FAKE_ROWS; i++) {
        struct admin_row *row = &f->rows[i];
        if (row->state > ADMIN_STATE_ACTIVE || !admin_selector_match(sel, row))
            continue;
        out->messages += out->recipients == 0 || strcmp(row->id, f->rows[i - 1].id) != 0;
        out->recipients++;
        if (busy > 0) {
            busy--;
            out->busy++;
        } else if (row->state == to[opts->act] && opts->act != ADMIN_ACT_RETRY) {
            out->unchanged++;
        } else {
            out->done++;
            row->state = opts->dry_run ? row->state : to[opts->act];
        }
    }
    return err;
}

static int on_summary(void *ctx, const struct admin_selector *sel, enum admin_group by, uint32_t limit,
                      admin_summary_fn *fn, void *arg, struct admin_summary_row *total, struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    (void)e;
    struct fake_node *f = ctx;
    struct admin_summary_row groups[2] = { { .key = SPAN_LIT("slow.test") },
                                           { .key = SPAN_LIT("fast.test") } };
    ensure(by == ADMIN_GROUP_SITE);
    for (int i = 0; i < FAKE_ROWS; i++) {
        if (!admin_selector_match(sel, &f->rows[i]))
            continue;
        struct admin_summary_row *g = &groups[span_eq(f->rows[i].site, groups[0].key) ? 0 : 1];
        g->recipients++;
        g->queued += f->rows[i].state == ADMIN_STATE_QUEUED;
        g->held += f->rows[i].state == ADMIN_STATE_HELD;
        g->age[g == groups ? 6 : 4]++;
        g->oldest_ms = f->rows[i].arrival_ms;
        total->recipients++;
        total->age[g == groups ? 6 : 4]++;
    }
    for (uint32_t i = 0; i < 2 && i < limit; i++)
        fn(arg, &groups[i]);
    return 0;
}

struct admin_content {
    int left;
    bool fails;
};

static int on_content_open(void *ctx, const char *id, bool headers_only, const struct admin_caller *by,
                           struct admin_content **out, struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    struct fake_node *f = ctx;
    if (strncmp(id, "0000000000", 10) != 0)
        return admin_fail(e, ERR_NOT_FOUND, "there is no message %s in the queue", id);
    *out = calloc(1, sizeof(**out));
    (*out)->left = headers_only ? 1 : 40;
    (*out)->fails = strcmp(id, "0000000000DD4") == 0;
    note_caller(f, by);
    f->contents_open++;
    return 0;
}

static int on_content_next(void *ctx, struct admin_content *c, const char **p, size_t *n)
{
    LOCKED((struct fake_node *)ctx);
    (void)ctx;
    static char block[30000];
    static const char header[] = "Subject: hello\r\n\r\n";
    if (c->fails && c->left < 20)
        return ERR_CORRUPT;
    if (c->left == 40 || c->left == 1) {
        *p = header;
        *n = sizeof(header) - 1;
    } else {
        *p = block;
        *n = c->left > 0 ? sizeof(block) : 0;
    }
    c->left = c->left == 1 ? 0 : c->left - (c->left > 0) - (c->left == 2);
    return 0;
}

static void on_content_close(void *ctx, struct admin_content *c)
{
    LOCKED((struct fake_node *)ctx);
    struct fake_node *f = ctx;
    f->contents_open--;
    free(c);
}

static int on_track(void *ctx, const struct admin_track *q, const struct admin_page *page, admin_row_fn *fn,
                    void *arg, struct admin_track_info *info, struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    struct fake_node *f = ctx;
    uint32_t n = 0;
    (void)e, info->kept_since_ms = INT64_C(1700000000000);
    for (int i = FAKE_ROWS - 1; i >= 0 && n < page->limit; i--) {
        struct admin_row *row = &f->rows[i];
        if ((q->id != NULL && strcmp(q->id, row->id) != 0) ||
            (q->message_id != NULL && strstr(row->message_id.p, q->message_id) == NULL) ||
            (q->tenant != NULL && !span_eq(row->tenant, span_str(q->tenant))) ||
            (q->state >= 0 && row->state != (enum admin_state)q->state) ||
            (q->since_ms != 0 && row->arrival_ms < q->since_ms) ||
            (q->until_ms != 0 && row->arrival_ms >= q->until_ms))
            continue;
        n++;
        fn(arg, row);
    }
    return 0;
}

static int on_top(void *ctx, uint32_t limit, admin_top_fn *fn, void *arg, struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    (void)ctx, (void)e;
    struct admin_top_row row = { .key = SPAN_LIT("anna@example.com"), .received = 90, .received_rate = 1.5 };
    struct admin_top_row site = { .key = SPAN_LIT("slow.test"), .deferred = 4, .queued = 4 };
    for (uint32_t i = 0; i < 2 && i < limit; i++) {
        fn(arg, ADMIN_TOP_SENDERS, &row);
        fn(arg, ADMIN_TOP_SITES, &site);
    }
    return 0;
}

static int on_sites(void *ctx, const char *state, const char *after, uint32_t limit, admin_site_fn *fn,
                    void *arg, struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    (void)ctx, (void)e;
    const struct admin_site_row rows[] = {
        { .site = SPAN_LIT("fast.test"), .state = SPAN_LIT("up"), .conns = 2, .conns_limit = 4, .queued = 4 },
        { .site = SPAN_LIT("slow.test"),
          .state = SPAN_LIT("down"),
          .last_reply = SPAN_LIT("connect: refused"),
          .of = SPAN_LIT("mx:mx.example.net"),
          .conns_limit = 1,
          .queued = 4 },
    };
    uint32_t n = 0;
    for (int i = 0; i < 2 && n < limit; i++)
        if ((state == NULL || span_eq(span_str(state), rows[i].state)) &&
            (after == NULL || strcmp(rows[i].site.p, after) > 0)) {
            n++;
            fn(arg, &rows[i]);
        }
    return 0;
}

static int on_domain_check(void *ctx, const struct admin_domain_check *q, admin_domain_fn *fn, void *arg,
                           struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    (void)ctx;
    if (q->pool != NULL && strcmp(q->pool, "bulk") != 0)
        return admin_fail(e, ERR_NOT_FOUND, "there is no pool %s", q->pool);
    const struct admin_domain_row good = { .level = SPAN_LIT("good"),
                                           .what = SPAN_LIT("spf"),
                                           .subject = span_str(q->ips != NULL ? q->ips : "192.0.2.1"),
                                           .result = SPAN_LIT("pass"),
                                           .text = SPAN_LIT("by all of example.com") };
    const struct admin_domain_row bad = { .level = SPAN_LIT("trouble"),
                                          .what = SPAN_LIT("dkim"),
                                          .subject = span_str(q->selectors != NULL ? q->selectors : "none"),
                                          .result = SPAN_LIT("none"),
                                          .text = SPAN_LIT("there is no record"),
                                          .advice = SPAN_LIT("publish it"),
                                          .trouble = true };
    fn(arg, &good);
    if (q->selectors != NULL)
        fn(arg, &bad);
    return 0;
}

static int on_trace_start(void *ctx, const struct admin_trace *t, struct admin_stream *s,
                          struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    (void)e;
    struct fake_node *f = ctx;
    snprintf(f->trace_ip, sizeof(f->trace_ip), "%s", t->ip != NULL ? t->ip : "");
    f->traces_open++;
    f->trace = s;
    admin_stream_hold(s);
    for (int i = 0; i < f->trace_lines; i++) {
        struct admin_stream_line line = { .at_ms = clock_wall_ms(),
                                          .session = 1,
                                          .dir = (enum admin_dir)(i % 3),
                                          .peer = SPAN_LIT("192.0.2.7:25"),
                                          .text = SPAN_LIT("250-hello\x1b[2J") };
        admin_stream_put(s, &line);
    }
    if (f->trace_lines >= 0)
        admin_stream_end(s, 0, "as many sessions as asked");
    return 0;
}

static void on_trace_stop(void *ctx, struct admin_stream *s)
{
    LOCKED((struct fake_node *)ctx);
    struct fake_node *f = ctx;
    f->traces_open--;
    f->trace = NULL;
    admin_stream_rele(s);
}

static void *probe_main(void *arg)
{
    struct admin_stream *s = arg;
    static const char *const lines[] = { "<220 mx",
                                         ">EHLO out1.example.com",
                                         "<250 mx",
                                         ">MAIL FROM:<>",
                                         "<250 ok",
                                         ">RCPT TO:<bob@slow.test>",
                                         "<550 5.1.1 no such user",
                                         ">QUIT" };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        admin_stream_put(
            s, &(struct admin_stream_line){ .at_ms = clock_wall_ms(),
                                            .dir = lines[i][0] == '<' ? ADMIN_DIR_IN : ADMIN_DIR_OUT,
                                            .text = span_str(lines[i] + 1) });
    admin_stream_end(s, ERR_DENIED, "550 5.1.1 no such user");
    admin_stream_rele(s);
    return NULL;
}

static int on_probe_start(void *ctx, const struct admin_probe *p, const struct admin_caller *by,
                          struct admin_stream *s, struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    struct fake_node *f = ctx;
    if (strchr(p->recipient, '@') == NULL)
        return admin_fail(e, ERR_BAD, "%s is no mailbox", p->recipient);
    snprintf(f->probe_from, sizeof(f->probe_from), "%s", p->from_ip != NULL ? p->from_ip : "");
    note_caller(f, by);
    pthread_t thread;
    admin_stream_hold(s);
    ensure(pthread_create(&thread, NULL, probe_main, s) == 0);
    pthread_detach(thread);
    return 0;
}

static int on_reload(void *ctx, const struct admin_caller *by, struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    struct fake_node *f = ctx;
    note_caller(f, by);
    return f->reloads++ == 0 ? 0
                             : admin_fail(e, ERR_BAD, "/etc/turnpike/node.yaml:3: listeners: no such kind");
}

static int on_config_show(void *ctx, struct buf *out, struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    (void)ctx, (void)e;
    return buf_put_str(out, "name: n1.example.com\npassword: (hidden)\n");
}

static int on_config_check(void *ctx, struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    (void)ctx;
    return admin_fail(e, ERR_BAD, "/etc/turnpike/node.yaml:3: listeners: no such kind");
}

static int on_log_get(void *ctx, char level[8], struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    (void)e;
    memcpy(level, ((struct fake_node *)ctx)->log_level, 8);
    return 0;
}

static int on_log_set(void *ctx, const char *level, const struct admin_caller *by, struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    (void)e;
    struct fake_node *f = ctx;
    note_caller(f, by);
    snprintf(f->log_level, sizeof(f->log_level), "%s", level);
    return 0;
}

/* ---- accounts ------------------------------------------------------------------------------------------ */

static struct fake_account *find_account(struct fake_node *f, const char *name)
{
    for (uint32_t i = 0; i < f->naccounts; i++)
        if (strcmp(f->accounts[i].name, name) == 0)
            return &f->accounts[i];
    return NULL;
}

static int on_account_list(void *ctx, const char *after, uint32_t limit, admin_account_fn *fn, void *arg,
                           struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    (void)e;
    struct fake_node *f = ctx;
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->naccounts && n < limit; i++) {
        const struct fake_account *a = &f->accounts[i];
        struct span senders[] = { SPAN_LIT("info@example.com") };
        struct admin_account_row row = { .name = span_str(a->name),
                                         .class = span_str(a->class),
                                         .tenant = span_str(a->tenant),
                                         .senders = senders,
                                         .nsenders = i == 0,
                                         .disabled = a->disabled,
                                         .has_password = a->password[0] != '\0' || a->hash[0] != '\0' };
        if (after != NULL && strcmp(a->name, after) <= 0)
            continue;
        n++;
        fn(arg, &row);
    }
    return 0;
}

static int put_account(struct fake_node *f, const struct admin_account *a, bool replace,
                       struct admin_error *e)
{
    struct fake_account *at = find_account(f, a->name);
    if (at != NULL && !replace)
        return admin_fail(e, ERR_EXISTS, "there is an account %s already", a->name);
    if (at == NULL && f->naccounts == FAKE_ACCOUNTS)
        return admin_fail(e, ERR_LIMIT, "no room for more accounts");
    if (at == NULL)
        at = &f->accounts[f->naccounts++];
    snprintf(at->name, sizeof(at->name), "%s", a->name);
    snprintf(at->class, sizeof(at->class), "%s", a->class != NULL ? a->class : "person");
    snprintf(at->tenant, sizeof(at->tenant), "%s", a->tenant != NULL ? a->tenant : "example.com");
    snprintf(at->password, sizeof(at->password), "%s", a->password != NULL ? a->password : "");
    snprintf(at->hash, sizeof(at->hash), "%s", a->hash != NULL ? a->hash : "");
    at->disabled = a->disabled;
    return 0;
}

static int on_account_add(void *ctx, const struct admin_account *a, const struct admin_caller *by,
                          struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    note_caller(ctx, by);
    return put_account(ctx, a, false, e);
}

static int on_account_passwd(void *ctx, const char *name, const char *password, const struct admin_caller *by,
                             struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    note_caller(ctx, by);
    struct fake_account *at = find_account(ctx, name);
    if (at == NULL)
        return admin_fail(e, ERR_NOT_FOUND, "there is no account %s", name);
    snprintf(at->password, sizeof(at->password), "%s", password);
    return 0;
}

static int on_account_remove(void *ctx, const char *name, const struct admin_caller *by,
                             struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    struct fake_node *f = ctx;
    note_caller(f, by);
    struct fake_account *at = find_account(f, name);
    if (at == NULL)
        return admin_fail(e, ERR_NOT_FOUND, "there is no account %s", name);
    *at = f->accounts[--f->naccounts];
    return 0;
}

static int on_account_import(void *ctx, const struct admin_account *a, uint32_t n, bool replace,
                             const struct admin_caller *by, admin_import_fn *each, void *arg,
                             struct admin_error *e)
{
    LOCKED((struct fake_node *)ctx);
    (void)e;
    note_caller(ctx, by);
    for (uint32_t i = 0; i < n; i++) {
        struct admin_error why = { "" };
        int err = put_account(ctx, &a[i], replace, &why);
        each(arg, i, err, err == 0 ? NULL : why.text);
    }
    return 0;
}

static int64_t login_wait(void *ctx, const char *name, const struct sockaddr *client)
{
    struct fake_node *f = ctx;
    (void)name, (void)client;
    return f->login_wait_ms;
}

static void login_count(void *ctx, const char *name, const struct sockaddr *client, bool right)
{
    struct fake_node *f = ctx;
    pthread_mutex_lock(&f->lock);
    ensure(client->sa_family == AF_INET);
    snprintf(f->login_name, sizeof(f->login_name), "%s", name);
    if (right)
        f->logins_right++;
    else
        f->logins_wrong++;
    pthread_mutex_unlock(&f->lock);
}

void fake_node_ops(struct fake_node *f, struct admin_ops *ops)
{
    *ops = (struct admin_ops){
        .ctx = f,
        .status = on_status,
        .ready = on_ready,
        .metrics = on_metrics,
        .queue_list = on_list,
        .queue_show = on_show,
        .queue_act = on_act,
        .queue_summary = on_summary,
        .content_open = on_content_open,
        .content_next = on_content_next,
        .content_close = on_content_close,
        .track = on_track,
        .top = on_top,
        .site_list = on_sites,
        .site_holds = fake_site_holds,
        .site_shares = fake_site_shares,
        .ip_record = fake_ip_record,
        .ip_check = fake_ip_check,
        .domain_check = on_domain_check,
        .trace_start = on_trace_start,
        .trace_stop = on_trace_stop,
        .probe_start = on_probe_start,
        .reload = on_reload,
        .config_show = on_config_show,
        .config_check = on_config_check,
        .log_level_get = on_log_get,
        .log_level_set = on_log_set,
        .login_wait = login_wait,
        .login_count = login_count,
        .account_list = on_account_list,
        .account_add = on_account_add,
        .account_passwd = on_account_passwd,
        .account_remove = on_account_remove,
        .account_import = on_account_import,
    };
}

/* ---- its server ---------------------------------------------------------------------------------------- */

static void start(struct fake_server *s, uint32_t request_ms, const struct admin_cluster *cluster)
{
    struct admin_error e = { "" };
    fake_node_init(&s->node);
    fake_node_ops(&s->node, &s->ops);
    snprintf(s->dir, sizeof(s->dir), "/tmp/turnpike-admin-XXXXXX");
    ensure(mkdtemp(s->dir) != NULL);
    snprintf(s->socket, sizeof(s->socket), "%s/admin.sock", s->dir);
    snprintf(s->token_file, sizeof(s->token_file), "%s/token", s->dir);
    snprintf(s->token, sizeof(s->token), "0123456789abcdef-secret");
    int fd = open(s->token_file, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    ensure(fd >= 0);
    ensure(dprintf(fd, "%s\n", s->token) > 0);
    close(fd);
    struct admin_config config = { .socket_path = s->socket,
                                   .tcp_address = "127.0.0.1:0",
                                   .token_file = s->token_file,
                                   .hosts = (const char *const[]){ "relay.example.com" },
                                   .nhosts = 1,
                                   .request_ms = request_ms,
                                   .write_ms = 2000,
                                   .cluster = cluster,
                                   .cluster_ctx = &s->cluster };
    int err = admin_new(&config, &s->ops, &s->admin, &e);
    if (err == 0)
        err = admin_run(s->admin, &e);
    if (err != 0)
        fprintf(stderr, "%s\n", e.text);
    ensure(err == 0);
    s->port = admin_port(s->admin);
}

void fake_server_start(struct fake_server *s, uint32_t request_ms)
{
    memset(s, 0, sizeof(*s));
    start(s, request_ms, NULL);
}

void fake_server_start_in(struct fake_server *s, bool member)
{
    memset(s, 0, sizeof(*s));
    fake_cluster_init(&s->cluster, member);
    start(s, 0, &s->cluster.table);
    s->cluster.admin = s->admin;
}

void fake_server_stop(struct fake_server *s)
{
    admin_free(s->admin);
    unlink(s->token_file);
    unlink(s->socket);
    rmdir(s->dir);
    fake_node_fini(&s->node);
    if (s->cluster.admin != NULL)
        fake_cluster_fini(&s->cluster);
}
