/* The node's session: opened, renewed, ended, and what workers see of it. Time is counted from the first send
 * of an attempt, never from a repeat.
 */
#include "base/err.h"
#include "base/log.h"
#include "node/ledger/agent_impl.h"

#define REOPEN_MS 200
#define REOPEN_MAX_MS 2000

/* ---- what workers see ---------------------------------------------------------------------------------- */

static struct ledger_validity session_validity(const struct agent *a)
{
    return (struct ledger_validity){
        .until_ns = a->session.from_ns == 0 ? 0 : a->session.from_ns + a->session.ttl_ns,
        .ahead_ms = a->session.ahead_ms,
    };
}

void agent_session_publish(struct agent *a)
{
    struct ledger_validity v = session_validity(a);
    struct ledger_now now = { .boot_ns = a->config.boot_ns(), .wall_ms = a->config.wall_ms() };
    bool valid = ledger_valid(&v, &now);
    if (a->session.id != 0 && !valid && now.boot_ns < v.until_ns) {
        log_warn("ledger", "this machine stood still: no mail is admitted until the session is renewed");
        a->session.from_ns = 0;
        a->session.next_ns = 0;
    }
    bool usable = a->session.id != 0 && valid && !a->closing && a->published >= a->session.opened_index;
    struct ledger_session s = { .id = a->closing ? 0 : a->session.id, .ttl_ns = a->session.ttl_ns };
    if (usable)
        s.validity = v; /* a worker that comes later has a gate of its own */
    ledger_view_write(&a->view, &s);
    if (usable == a->session.usable)
        return;
    a->session.usable = usable;
    if (!usable)
        agent_sender_no_session(a);
    if (a->config.on_session != NULL)
        a->config.on_session(a->config.ctx, a->session.id, usable);
}

void agent_published_applied(struct agent *a, uint64_t index, bool frozen)
{
    if (frozen)
        atomic_store(&a->frozen_index, index);
    uint64_t workers = agent_workers_published(a);
    uint64_t published = workers >= atomic_load(&a->frozen_index) ? index : workers;
    if (published <= a->published)
        return;
    a->published = published;
    if (a->config.on_published != NULL)
        a->config.on_published(a->config.ctx, published);
}

/* ---- opening ------------------------------------------------------------------------------------------- */

struct own_look {
    const struct agent *a;
    struct machine_session current; /* id 0: none */
};

static int look_own(void *arg, const struct machine_session *s)
{
    struct own_look *look = arg;
    if (s->current && s->node == look->a->config.node)
        look->current = *s;
    return 0;
}

static struct machine_session own_session(const struct agent *a)
{
    struct own_look look = { .a = a };
    machine_sessions_each(a->machine, look_own, &look);
    return look.current;
}

static void open_send(struct agent *a, int64_t now)
{
    struct command cmd = { .type = COMMAND_SESSION_OPEN, .origin = { .seq = a->open.seq } };
    cmd.session_open.node = a->config.node;
    memcpy(cmd.session_open.nonce, a->open.nonce, sizeof a->open.nonce);
    cmd.session_open.replaces = a->open.replaces;
    cmd.session_open.new_process = !a->opened_once;
    agent_emit(a, &cmd);
    a->open.next_ns = now + agent_ms(a->open.interval_ms);
    a->open.interval_ms = 2 * a->open.interval_ms > 1000 ? 1000 : 2 * a->open.interval_ms;
}

static void open_begin(struct agent *a, int64_t now)
{
    a->open.active = true;
    struct machine_session own = own_session(a);
    a->open.replaces = own.id > a->last_session ? own.id : a->last_session;
    a->open.interval_ms = a->config.resend_ms;
    a->open.first =
        (struct ledger_validity){ .until_ns = now, .ahead_ms = a->config.wall_ms() - now / LEDGER_NS_PER_MS };
    a->config.random(a->open.nonce, sizeof a->open.nonce);
    /* Without a session nothing but this number tells our answer from others'. */
    a->config.random(&a->open.seq, sizeof a->open.seq);
    a->open.seq = (a->open.seq >> 1) + 1;
    open_send(a, now);
}

static void reopen_later(struct agent *a)
{
    int64_t wait = a->reopen_ms == 0 ? REOPEN_MS : a->reopen_ms;
    a->open.active = false;
    a->reopen_ns = agent_now(a) + agent_ms(wait);
    a->reopen_ms = 2 * wait > REOPEN_MAX_MS ? REOPEN_MAX_MS : 2 * wait;
}

static void opened(struct agent *a, uint64_t id, uint64_t ttl_ms)
{
    int64_t now = agent_now(a);
    struct machine_session s;
    a->open.active = false;
    a->opened_once = true;
    a->last_session = id;
    if (machine_applied(a->machine) >= id / COMMAND_ENTRY_MAX &&
        (!machine_session_find(a->machine, id, &s) || !s.current)) {
        reopen_later(a); /* the answer was so late that it has ended since */
        return;
    }
    a->reopen_ms = 0;
    a->session.id = id;
    a->session.opened_index = id / COMMAND_ENTRY_MAX;
    a->session.number = 0;
    a->session.attempts = 0;
    a->session.ttl_ns = agent_ms((int64_t)ttl_ms);
    a->session.from_ns = a->open.first.until_ns;
    a->session.ahead_ms = a->open.first.ahead_ms;
    a->session.renewed_ns = now;
    a->session.next_ns = a->open.first.until_ns + a->session.ttl_ns / 3;
    if (machine_applied(a->machine) >= a->session.opened_index)
        agent_flight_settle_orphans(a);
    agent_session_publish(a);
}

void agent_open_result(struct agent *a, const struct machine_result *r)
{
    if (r->err == 0) {
        opened(a, r->id, r->life_ms);
        return;
    }
    /* The last session is another one than we know of: the answer names it. Or we are no member (yet). */
    a->last_session = r->id;
    reopen_later(a);
}

/* ---- renewing and ending ------------------------------------------------------------------------------- */

static void renew(struct agent *a, int64_t now)
{
    if (a->session.attempts >= AGENT_RENEWALS_MAX)
        return;
    struct agent_op *op = agent_op_new(a, AGENT_OP_RENEW);
    if (op == NULL)
        return;
    op->number = ++a->session.number;
    a->session.attempts++;
    a->session.next_ns = now + a->session.ttl_ns / 3;
}

void agent_renew_result(struct agent *a, const struct agent_op *op, const struct machine_result *r)
{
    if (op->session != a->session.id)
        return;
    a->session.attempts--;
    if (r->err != 0)
        return; /* a later attempt was applied before it */
    int64_t now = agent_now(a);
    if (op->first.until_ns > a->session.from_ns) {
        a->session.from_ns = op->first.until_ns;
        a->session.ahead_ms = op->first.ahead_ms;
        a->session.ttl_ns = agent_ms(r->life_ms);
    }
    a->session.renewed_ns = now;
    if (a->session.from_ns + a->session.ttl_ns <= now)
        a->session.next_ns = now; /* it was long ago that this one was sent */
    agent_session_publish(a);
}

void agent_session_end(struct agent *a)
{
    uint64_t id = a->session.id;
    bool was_usable = a->session.usable;
    agent_flight_orphan(a);
    a->session.id = 0;
    a->session.usable = false;
    a->session.from_ns = 0;
    ledger_view_write(&a->view, &(struct ledger_session){ .id = 0, .ttl_ns = a->session.ttl_ns });
    agent_sender_no_session(a);
    agent_grant_session_ended(a);
    a->reopen_ns = 0;
    if (!a->closing)
        log_warn("ledger", "session %llu of this node has ended", (unsigned long long)id);
    if (was_usable && a->config.on_session != NULL)
        a->config.on_session(a->config.ctx, 0, false);
}

void agent_session_effects(struct agent *a, bool sessions_changed)
{
    if (sessions_changed && a->open.active) {
        struct machine_session own = own_session(a);
        if (own.id != 0 && memcmp(own.nonce, a->open.nonce, sizeof own.nonce) == 0)
            opened(a, own.id, own.ttl_ms);
    }
    if (a->session.id != 0 && machine_applied(a->machine) >= a->session.opened_index) {
        struct machine_session s;
        if (sessions_changed && (!machine_session_find(a->machine, a->session.id, &s) || !s.current))
            agent_session_end(a);
        else if (!list_empty(&a->orphans))
            agent_flight_settle_orphans(a);
    }
    agent_session_publish(a);
}

void agent_session_tick(struct agent *a)
{
    int64_t now = agent_now(a);
    if (a->closing)
        return;
    if (a->session.id != 0) {
        agent_session_publish(a);
        if (now >= a->session.next_ns)
            renew(a, now);
    } else if (a->open.active) {
        if (now >= a->open.next_ns) {
            a->stats.resent++;
            open_send(a, now);
        }
    } else if (now >= a->reopen_ns) {
        open_begin(a, now);
    }
}
