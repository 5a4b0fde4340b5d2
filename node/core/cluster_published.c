/* Who obeys what was applied at an index: telling others that we do, and waiting until everybody does (a
 * freeze).
 *
 * Waited for is every session that the state has at that time, superseded ones too: each has published an
 * index at or past the wanted one, as its node says directly, or is gone from the state: closed, or expired
 * by an applied command. A session that was opened later is usable only once its node obeys its own opening,
 * which came after.
 */
#include "base/clock.h"
#include "base/err.h"
#include "node/core/cluster_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ASK_MS 2000
#define ASK_AGAIN_MS 500

/* ---- telling ------------------------------------------------------------------------------------------- */

static void tell(struct cluster *c, struct gossip_request *r)
{
    struct agent_session session;
    struct buf out;
    agent_session(c->agent, &session);
    buf_init(&out, 16);
    buf_put_u64(&out, session.id);
    buf_put_u64(&out, agent_published(c->agent));
    gossip_answer(r, buf_span(&out));
    buf_fini(&out);
}

void cluster_on_published(struct cluster *c, struct gossip_request *r, struct span payload)
{
    struct cursor cur;
    cursor_init(&cur, payload.p, payload.n);
    uint64_t index = cursor_u64(&cur);
    if (cursor_err(&cur) != 0) {
        gossip_ignore(r);
    } else if (agent_published(c->agent) >= index || c->nwaiters == CLUSTER_WAITERS_MAX) {
        tell(c, r);
    } else {
        c->waiters[c->nwaiters].request = r;
        c->waiters[c->nwaiters].index = index;
        c->waiters[c->nwaiters].until_ms = clock_boot_ms() + ASK_MS;
        c->nwaiters++;
    }
}

void cluster_published_poll(struct cluster *c)
{
    if (c->nwaiters == 0)
        return;
    uint64_t published = agent_published(c->agent);
    int64_t now = clock_boot_ms();
    for (uint32_t i = 0; i < c->nwaiters;) {
        if (published < c->waiters[i].index && now < c->waiters[i].until_ms) {
            i++;
            continue;
        }
        struct gossip_request *r = c->waiters[i].request;
        c->waiters[i] = c->waiters[--c->nwaiters];
        tell(c, r);
    }
}

void cluster_published_fini(struct cluster *c)
{
    while (c->nwaiters > 0)
        gossip_ignore(c->waiters[--c->nwaiters].request);
}

/* ---- waiting ------------------------------------------------------------------------------------------- */

#define AWAITED_MAX 256

enum awaited_state { WAITS, CONFIRMED, EXPIRED, NO_SESSION };

struct awaited {
    uint64_t session, node;
    char name[64];
    enum awaited_state state;
    bool told; /* the asker has the row */
    int64_t after_ms;
};

struct await {
    struct cluster_call call;
    uint64_t index;
    int64_t from_ms, asked_ms;
    pthread_mutex_t lock; /* for the rows, once there are some */
    struct awaited *rows;
    uint32_t n;
    admin_freeze_fn *fn;
    void *arg;
};

static void settle(struct await *a, struct awaited *row, enum awaited_state state)
{
    pthread_mutex_lock(&a->lock);
    row->state = state;
    row->after_ms = clock_boot_ms() - a->from_ms;
    pthread_mutex_unlock(&a->lock);
    cluster_call_news(&a->call);
}

static bool gone(struct cluster *c, const struct awaited *row)
{
    struct machine_session s;
    return !machine_session_find(c->m, row->session, &s);
}

static void await_answer_cb(void *ctx, uint64_t node, int err, struct span answer);

/* Every node that has a session in the list is asked, now and then again: answers can be lost. */
static void ask_all(struct cluster *c, struct await *a)
{
    struct buf out;
    a->asked_ms = clock_boot_ms();
    buf_init(&out, 8);
    buf_put_u64(&out, a->index);
    for (uint32_t i = 0; i < a->n; i++) {
        struct awaited *row = &a->rows[i];
        bool asked = row->state != WAITS || row->node == c->id.self.node;
        for (uint32_t k = 0; k < i && !asked; k++)
            asked = a->rows[k].node == row->node && a->rows[k].state == WAITS;
        if (!asked)
            (void)gossip_ask(c->gossip, row->node, CLUSTER_ASK_PUBLISHED, buf_span(&out), ASK_MS,
                             await_answer_cb, c);
    }
    buf_fini(&out);
}

static void await_poll(struct cluster *c, struct cluster_call *call)
{
    struct await *a = (struct await *)call;
    struct agent_session session;
    uint32_t waits = 0;
    if (c->state != CLUSTER_RUNNING)
        return;
    agent_session(c->agent, &session);
    for (uint32_t i = 0; i < a->n; i++) {
        struct awaited *row = &a->rows[i];
        if (row->state == WAITS && row->session == session.id && agent_published(c->agent) >= a->index)
            settle(a, row, CONFIRMED);
        else if (row->state == WAITS && gone(c, row))
            settle(a, row, EXPIRED);
        waits += row->state == WAITS;
    }
    if (waits == 0)
        cluster_call_done(c, call, 0);
    else if (clock_boot_ms() - a->asked_ms >= ASK_AGAIN_MS)
        ask_all(c, a);
}

static void await_answer_cb(void *ctx, uint64_t node, int err, struct span answer)
{
    struct cluster *c = ctx;
    struct cursor cur;
    cursor_init(&cur, answer.p, answer.n);
    uint64_t session = cursor_u64(&cur), published = cursor_u64(&cur);
    if (err != 0 || cursor_err(&cur) != 0)
        return;
    LIST_EACH(link, &c->calls) /* whoever waits for this node hears it */
    {
        struct await *a = (struct await *)LIST_ITEM(link, struct cluster_call, link);
        if (a->call.poll != await_poll || published < a->index)
            continue;
        for (uint32_t i = 0; i < a->n; i++)
            if (a->rows[i].state == WAITS && a->rows[i].node == node && a->rows[i].session == session)
                settle(a, &a->rows[i], CONFIRMED);
    }
    c->poll_due = true;
}

static int add_session(void *arg, const struct machine_session *s)
{
    struct await *a = arg;
    if (s->opened_index > a->index)
        return 0;
    if (a->n == AWAITED_MAX)
        return ERR_LIMIT;
    a->rows[a->n++] = (struct awaited){ .session = s->id, .node = s->node, .state = WAITS };
    return 0;
}

static int add_member(void *arg, const struct directory_member *mb)
{
    struct await *a = arg;
    bool has = false;
    for (uint32_t i = 0; i < a->n; i++) {
        if (a->rows[i].node != mb->id)
            continue;
        has = true;
        snprintf(a->rows[i].name, sizeof a->rows[i].name, "%.*s", (int)mb->name.n, mb->name.p);
    }
    if (!has && mb->state != COMMAND_MEMBER_REMOVED && a->n < AWAITED_MAX) {
        struct awaited *row = &a->rows[a->n++];
        *row = (struct awaited){ .node = mb->id, .state = NO_SESSION };
        snprintf(row->name, sizeof row->name, "%.*s", (int)mb->name.n, mb->name.p);
    }
    return 0;
}

static void await_run(struct cluster *c, struct cluster_call *call)
{
    struct await *a = (struct await *)call;
    pthread_mutex_lock(&a->lock);
    a->rows = calloc(AWAITED_MAX, sizeof *a->rows);
    a->from_ms = clock_boot_ms();
    int err = a->rows == NULL ? -ENOMEM : c->state != CLUSTER_RUNNING ? ERR_CLOSED : 0;
    if (err == 0)
        err = machine_sessions_each(c->m, add_session, a);
    if (err == 0)
        (void)directory_member_each(c->m, add_member, a);
    pthread_mutex_unlock(&a->lock);
    if (err != 0) {
        cluster_call_done(c, call, admin_fail(call->e, err, "cannot wait for the nodes: %s", err_text(err)));
        return;
    }
    cluster_call_later(c, call);
    ask_all(c, a);
    c->poll_due = true;
}

static int await_late(struct cluster *c, struct cluster_call *call, int err)
{
    struct await *a = (struct await *)call;
    struct buf names;
    (void)c;
    buf_init(&names, 300);
    for (uint32_t i = 0; i < a->n; i++)
        if (a->rows[i].state == WAITS)
            buf_printf(&names, "%s%s", names.len > 0 ? ", " : "", a->rows[i].name);
    err = admin_fail(call->e, err, "not confirmed in time by: %.*s", (int)names.len,
                     names.len > 0 ? names.data : "");
    buf_fini(&names);
    return err;
}

/* On the admin thread: rows that are known since. */
static void tell_rows(struct cluster_call *call)
{
    struct await *a = (struct await *)call;
    static const char *const how[] = { "waits", "confirmed", "expired", "no session" };
    for (uint32_t i = 0; i < AWAITED_MAX; i++) {
        pthread_mutex_lock(&a->lock);
        if (a->rows == NULL || i >= a->n) {
            pthread_mutex_unlock(&a->lock);
            return;
        }
        struct awaited row = a->rows[i];
        a->rows[i].told = row.told || row.state != WAITS;
        pthread_mutex_unlock(&a->lock);
        struct admin_freeze_row out = { .node = row.node, .how = how[row.state], .after_ms = row.after_ms };
        memcpy(out.name, row.name, sizeof out.name);
        if (!row.told && row.state != WAITS)
            (void)a->fn(a->arg, &out);
    }
}

int cluster_await_obeyed(void *ctx, uint64_t index, int64_t timeout_ms, admin_freeze_fn *fn, void *arg,
                         struct admin_error *e)
{
    struct cluster *c = cluster_of(ctx);
    struct await a = { .index = index, .fn = fn, .arg = arg };
    int err = cluster_need(c, e);
    if (err != 0)
        return err;
    pthread_mutex_init(&a.lock, NULL);
    cluster_call_init(&a.call, await_run, e);
    a.call.timeout_ms = timeout_ms;
    a.call.poll = await_poll;
    a.call.give_up = await_late;
    a.call.meanwhile = tell_rows;
    err = cluster_call_wait(c, &a.call);
    tell_rows(&a.call);
    free(a.rows);
    pthread_mutex_destroy(&a.lock);
    return err;
}
