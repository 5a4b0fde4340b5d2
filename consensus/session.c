/* Sessions of nodes: opened, renewed, superseded, waited for, ended; and the window of answers that makes a
 * repeated command harmless. What a session's tokens are is in quota.c; when its time is over, in lease.c.
 */
#include "consensus/session.h"

#include "base/ensure.h"
#include "base/err.h"
#include "consensus/quota.h"
#include "consensus/session_impl.h"

#include <errno.h>
#include <stdlib.h>

/* ---- finding ---------------------------------------------------------------------------------------------
 */

static struct session *find(const struct machine *m, uint64_t id)
{
    const struct sessions *ss = m->sessions;
    uint32_t lo = 0, hi = ss->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (ss->by_id[mid]->id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < ss->n && ss->by_id[lo]->id == id ? ss->by_id[lo] : NULL;
}

static struct session *current_of(const struct machine *m, uint64_t node)
{
    for (uint32_t i = 0; i < m->sessions->n; i++)
        if (m->sessions->by_id[i]->current && m->sessions->by_id[i]->node == node)
            return m->sessions->by_id[i];
    return NULL;
}

uint64_t session_node(const struct machine *m, uint64_t session)
{
    const struct session *s = find(m, session);
    return s != NULL && s->current ? s->node : 0;
}

/* ---- the window of answers --------------------------------------------------------------------------------
 */

static void raise_lowest(struct session *s, uint64_t lowest)
{
    if (lowest <= s->lowest)
        return;
    uint64_t drop = lowest - s->lowest < SESSION_WINDOW ? lowest - s->lowest : SESSION_WINDOW;
    for (uint64_t i = 0; s->answers != NULL && i < drop; i++) {
        struct answer *a = &s->answers[(s->lowest + i) % SESSION_WINDOW];
        free(a->bytes);
        *a = (struct answer){ 0 };
    }
    s->lowest = lowest;
}

static const struct answer *answer_at(const struct session *s, uint64_t seq)
{
    if (s->answers == NULL || seq < s->lowest || seq - s->lowest >= SESSION_WINDOW)
        return NULL;
    const struct answer *a = &s->answers[seq % SESSION_WINDOW];
    return a->bytes == NULL ? NULL : a;
}

/* A repeat gets the first answer again, also in a session that was superseded meanwhile. */
static void answer_again(const struct answer *a, struct machine_result *r)
{
    struct cursor c;
    cursor_init(&c, a->bytes, a->n);
    ensure(machine_result_decode(&c, r) == 0);
}

/* What a node may ask of a session that is only waited for. */
static bool may_end(uint8_t type)
{
    return type == COMMAND_SESSION_CLOSE;
}

static bool needs_session(uint8_t type)
{
    return type == COMMAND_SESSION_RENEW || type == COMMAND_SESSION_CLOSE || type == COMMAND_CANCEL ||
           type == COMMAND_GRANT || type == COMMAND_GRANT_STREAM || type == COMMAND_RETURN;
}

static bool admit(struct session *s, const struct command *cmd, struct machine_result *r)
{
    const struct command_origin *o = &cmd->origin;
    /* Renewals have numbers of their own, and a close ends all answers: both may do without a seq. */
    bool unnumbered = cmd->type == COMMAND_SESSION_RENEW || cmd->type == COMMAND_SESSION_CLOSE;
    const struct answer *a = o->seq == 0 ? NULL : answer_at(s, o->seq);
    if (a != NULL) {
        answer_again(a, r);
        return false;
    }
    if (!s->current && !may_end(cmd->type)) {
        r->why = MACHINE_REFUSED_SESSION;
        machine_refuse(r, ERR_DENIED, "the session was superseded");
        return false;
    }
    if (o->seq == 0 && unnumbered)
        return true;
    uint64_t lowest = o->lowest > s->lowest ? o->lowest : s->lowest;
    if (o->seq == 0 || o->lowest > o->seq || o->seq - lowest >= SESSION_WINDOW) {
        if (o->seq != 0 && o->seq < s->lowest)
            machine_refuse(r, ERR_CLOSED, "this was answered before");
        else
            machine_refuse(r, ERR_BAD, "seq %llu is outside of the window", (unsigned long long)o->seq);
        return false;
    }
    return true;
}

bool session_admit(struct machine *m, const struct machine_at *at, const struct command *cmd,
                   struct machine_result *r)
{
    r->now_ms = at->now_ms;
    if (cmd->type == COMMAND_SESSION_OPEN || cmd->type == COMMAND_SESSION_EXPIRE)
        return true; /* idempotent by themselves */
    if (cmd->origin.session == 0) {
        if (needs_session(cmd->type))
            machine_refuse(r, ERR_BAD, "needs a session");
        return r->err == 0;
    }
    struct session *s = find(m, cmd->origin.session);
    if (s == NULL) {
        r->why = MACHINE_REFUSED_SESSION;
        machine_refuse(r, ERR_NOT_FOUND, "the session has ended");
        return false;
    }
    if (!admit(s, cmd, r))
        return false;
    if (cmd->origin.lowest > s->lowest) {
        store_touch(m->store, &s->rec);
        raise_lowest(s, cmd->origin.lowest);
    }
    return true;
}

int session_remember(struct machine *m, const struct command *cmd, const struct machine_result *r)
{
    if (cmd->type == COMMAND_SESSION_OPEN || cmd->type == COMMAND_SESSION_EXPIRE ||
        cmd->origin.session == 0 || cmd->origin.seq == 0)
        return 0;
    struct session *s = find(m, cmd->origin.session);
    if (s == NULL) /* closed by this very command */
        return 0;
    struct buf *b = &m->sessions->scratch;
    buf_reset(b);
    int err = machine_result_encode(r, b);
    if (err != 0)
        return err;
    store_touch(m->store, &s->rec);
    return session_answer_put(s, cmd->origin.seq, buf_span(b));
}

/* ---- commands --------------------------------------------------------------------------------------------
 */

/* It no longer is its node's; waited for until it closes or expires. */
static void supersede(struct machine *m, struct session *s)
{
    store_touch(m->store, &s->rec);
    s->current = false;
    machine_changed(m, MACHINE_CHANGED_SESSIONS, s->id, SPAN_LIT(""));
}

static void end(struct machine *m, const struct machine_at *at, struct session *s)
{
    struct sessions *ss = m->sessions;
    uint64_t id = s->id, node = s->node;
    bool current = s->current;
    uint32_t i = 0;
    while (ss->by_id[i] != s)
        ensure(++i < ss->n);
    ss->n--;
    memmove(ss->by_id + i, ss->by_id + i + 1, (ss->n - i) * sizeof(struct session *));
    store_remove(m->store, &s->rec);
    machine_changed(m, MACHINE_CHANGED_SESSIONS, id, SPAN_LIT(""));
    if (current)
        directory_session_current(m, at, node, 0);
    directory_session_ended(m, at, node, id);
}

static int add(struct machine *m, const struct machine_at *at, const struct command_session_open *c)
{
    struct session *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    s->id = at->id;
    s->node = c->node;
    s->opened_index = at->index;
    s->ttl_ms = s->ttl_before_ms = (uint32_t)machine_session_ttl_ms(m);
    memcpy(s->nonce, c->nonce, sizeof s->nonce);
    s->current = true;
    s->lowest = 1;
    int err = session_list_add(m->sessions, s);
    if (err == 0 && (err = store_add(m->store, &session_type, &s->rec)) != 0)
        m->sessions->n--;
    if (err != 0)
        free(s);
    return err;
}

static struct opened *opened_by(const struct machine *m, uint64_t node)
{
    char key[8];
    return (struct opened *)store_find(m->store, &session_opened_type, store_number_key(node, key));
}

static int set_opened(struct machine *m, const struct machine_at *at, const struct command_session_open *c,
                      struct opened *o)
{
    if (o != NULL) {
        store_touch(m->store, &o->rec);
    } else {
        o = calloc(1, sizeof *o);
        if (o == NULL)
            return -ENOMEM;
        o->node = c->node;
        int err = store_add(m->store, &session_opened_type, &o->rec);
        if (err != 0) {
            free(o);
            return err;
        }
    }
    o->session = at->id;
    memcpy(o->nonce, c->nonce, sizeof o->nonce);
    return 0;
}

/* Compare and set. A node's own idea may be 0 when it knows of none that is current. */
static bool replaces_right(const struct opened *o, const struct session *current, uint64_t replaces)
{
    if (replaces == 0)
        return current == NULL;
    return o != NULL && o->session == replaces;
}

static int on_open(struct machine *m, const struct machine_at *at, const struct command_session_open *c,
                   struct machine_result *r)
{
    if (c->node == 0 || !directory_member_present(m, c->node)) {
        machine_refuse(r, ERR_DENIED, "node %llu is no member", (unsigned long long)c->node);
        return 0;
    }
    r->life_ms = (uint32_t)machine_session_ttl_ms(m);
    uint32_t waiting = 0;
    for (uint32_t i = 0; i < m->sessions->n; i++) {
        const struct session *s = m->sessions->by_id[i];
        waiting += s->node == c->node;
        if (s->node == c->node && memcmp(s->nonce, c->nonce, sizeof s->nonce) == 0) {
            r->id = s->id; /* a repeat */
            return 0;
        }
    }
    struct opened *o = opened_by(m, c->node);
    if (o != NULL && memcmp(o->nonce, c->nonce, sizeof o->nonce) == 0) {
        r->id = o->session; /* a repeat; the session has ended since */
        return 0;
    }
    struct session *old = current_of(m, c->node);
    if (!replaces_right(o, old, c->replaces)) {
        r->id = o != NULL ? o->session : 0;
        machine_refuse(r, ERR_BUSY, "the node's last session is another one");
        return 0;
    }
    if (waiting >= SESSION_PER_NODE_MAX) {
        machine_refuse(r, ERR_LIMIT, "%u sessions of this node are waited for", waiting);
        return 0;
    }
    if (old != NULL)
        supersede(m, old);
    int err = add(m, at, c);
    if (err == 0)
        err = set_opened(m, at, c, o);
    if (err == 0 && c->new_process)
        err = quota_burn_node(m, c->node);
    if (err != 0)
        return err;
    r->id = at->id;
    if (c->new_process)
        directory_session_obeys(m, c->node, UINT64_MAX);
    directory_session_current(m, at, c->node, at->id);
    machine_changed(m, MACHINE_CHANGED_SESSIONS, at->id, SPAN_LIT(""));
    return 0;
}

static int on_renew(struct machine *m, const struct command *cmd, struct machine_result *r)
{
    const struct command_session_renew *c = &cmd->session_renew;
    struct session *s = find(m, cmd->origin.session);
    r->id = s->id;
    if (c->number < s->number) {
        machine_refuse(r, ERR_BUSY, "a later renewal was applied");
        return 0;
    }
    r->life_ms = s->ttl_ms;
    if (c->number == s->number)
        return 0; /* a repeat of this attempt */
    store_touch(m->store, &s->rec);
    s->number = c->number;
    if (c->published > s->published)
        s->published = c->published;
    directory_session_obeys(m, s->node, s->published);
    s->ttl_before_ms = s->ttl_ms;
    s->ttl_ms = (uint32_t)machine_session_ttl_ms(m);
    r->life_ms = s->ttl_ms;
    return 0;
}

static int on_expire(struct machine *m, const struct machine_at *at, const struct command_session_expire *c,
                     struct machine_result *r)
{
    struct session *s = find(m, c->session);
    if (s == NULL)
        machine_refuse(r, ERR_NOT_FOUND, "the session has ended");
    else if (s->number != c->number)
        machine_refuse(r, ERR_BUSY, "it was renewed since");
    else
        end(m, at, s);
    return 0;
}

/* If it has not come yet, it never will count: its place in the window is taken by this answer. */
static int on_cancel(struct machine *m, const struct command *cmd, struct machine_result *r)
{
    struct session *s = find(m, cmd->origin.session);
    uint64_t seq = cmd->cancel.seq;
    if (seq == cmd->origin.seq || seq < s->lowest || answer_at(s, seq) != NULL)
        return 0; /* too late: it was answered */
    if (seq - s->lowest >= SESSION_WINDOW) {
        machine_refuse(r, ERR_BAD, "seq %llu is outside of the window", (unsigned long long)seq);
        return 0;
    }
    struct machine_result blocked = { .now_ms = m->now_ms };
    machine_refuse(&blocked, ERR_CLOSED, "cancelled");
    struct buf *b = &m->sessions->scratch;
    buf_reset(b);
    int err = machine_result_encode(&blocked, b);
    if (err != 0)
        return err;
    store_touch(m->store, &s->rec);
    r->count = 1;
    return session_answer_put(s, seq, buf_span(b));
}

int session_apply(struct machine *m, const struct machine_at *at, const struct command *cmd,
                  struct machine_result *r)
{
    switch (cmd->type) {
    case COMMAND_SESSION_OPEN:
        return on_open(m, at, &cmd->session_open, r);
    case COMMAND_SESSION_RENEW:
        return on_renew(m, cmd, r);
    case COMMAND_SESSION_EXPIRE:
        return on_expire(m, at, &cmd->session_expire, r);
    case COMMAND_SESSION_CLOSE:
        end(m, at, find(m, cmd->origin.session));
        return 0;
    default:
        ensure(cmd->type == COMMAND_CANCEL);
        return on_cancel(m, cmd, r);
    }
}

void session_member_removed(struct machine *m, const struct machine_at *at, uint64_t node)
{
    struct session *s = current_of(m, node);
    if (s != NULL) {
        supersede(m, s);
        directory_session_current(m, at, node, 0);
    }
    /* Nobody can settle what it holds: only a current session may. */
    if (quota_burn_node(m, node) != 0)
        m->failed = -ENOMEM;
}

/* ---- reading ---------------------------------------------------------------------------------------------
 */

static struct machine_session row(const struct session *s)
{
    struct machine_session out = {
        .id = s->id,
        .node = s->node,
        .number = s->number,
        .published = s->published,
        .opened_index = s->opened_index,
        .ttl_ms = s->ttl_ms > s->ttl_before_ms ? s->ttl_ms : s->ttl_before_ms,
        .current = s->current,
    };
    memcpy(out.nonce, s->nonce, sizeof out.nonce);
    return out;
}

int machine_sessions_each(const struct machine *m, machine_session_fn *fn, void *arg)
{
    for (uint32_t i = 0; i < m->sessions->n; i++) {
        struct machine_session s = row(m->sessions->by_id[i]);
        int stop = fn(arg, &s);
        if (stop != 0)
            return stop;
    }
    return 0;
}

bool machine_session_find(const struct machine *m, uint64_t id, struct machine_session *out)
{
    const struct session *s = find(m, id);
    if (s != NULL)
        *out = row(s);
    return s != NULL;
}

void session_totals(const struct machine *m, struct machine_totals *out)
{
    out->sessions = m->sessions->n;
    for (uint32_t i = 0; i < m->sessions->n; i++)
        out->bytes +=
            sizeof(struct session) +
            (m->sessions->by_id[i]->answers == NULL ? 0 : SESSION_WINDOW * (sizeof(struct answer) + 64));
}
