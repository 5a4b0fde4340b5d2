/* What a leader puts into the log: commands, gathered into entries, with the cluster's time; and barriers.
 *
 * Callers put commands down; at the end of the turn of the loop they go to libraft, so that what was proposed
 * together shares entries. At most 64 entries are in flight. What comes meanwhile waits and fills further
 * entries, up to 256: when the disk is slow entries get fuller, and nobody has to propose again. Over that a
 * proposal is refused, and whoever made it tries again when something was applied.
 */
#include "consensus/replica_impl.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GATHERED_MAX 256 /* entries that wait for a place in flight */
#define ENTRY_MAX_BYTES (COMMAND_BYTES_MAX + COMMAND_ENTRY_BYTES)

struct entry {
    struct list link;
    uint32_t n;
    struct buf commands;
};

static void entry_free(struct entry *e)
{
    buf_fini(&e->commands);
    free(e);
}

void replica_propose_init(struct replica *r)
{
    list_init(&r->gathered);
    list_init(&r->idle);
    list_init(&r->barriers);
    buf_init(&r->entry, ENTRY_MAX_BYTES);
    for (size_t i = 0; i < REPLICA_IN_FLIGHT_MAX; i++) {
        r->flights[i].r = r;
        r->flights[i].req.data = &r->flights[i];
        list_push_back(&r->idle, &r->flights[i].link);
    }
}

void replica_propose_fini(struct replica *r)
{
    replica_propose_drop(r);
    buf_fini(&r->entry);
}

void replica_propose_drop(struct replica *r)
{
    struct list *link;
    while ((link = list_pop_front(&r->gathered)) != NULL) {
        struct entry *e = LIST_ITEM(link, struct entry, link);
        r->refused += e->n;
        entry_free(e);
    }
    r->ngathered = 0;
}

static bool leads(const struct replica *r)
{
    return r->ready && r->failed == 0 && r->closing == REPLICA_OPEN &&
           raft_state((struct raft *)(uintptr_t)&r->raft) == RAFT_LEADER &&
           raft_current_term(&r->raft) == r->ready_term;
}

/* ---- the cluster's time -------------------------------------------------------------------------------- */

/* From the last applied value on, with this leader's own clock since its barrier: no wall clock enters, and a
 * time without a leader does not count. */
uint64_t replica_now_ms(const struct replica *r)
{
    if (!leads(r))
        return machine_now_ms(r->config.machine);
    int64_t passed = clock_boot_ms() - r->base_boot_ms;
    uint64_t now = r->base_cluster_ms + (passed > 0 ? (uint64_t)passed : 0);
    return now > r->last_ms ? now : r->last_ms;
}

/* ---- gathering ----------------------------------------------------------------------------------------- */

/* The entry that so much more fits into, or a new one; NULL: no memory. */
static struct entry *entry_for(struct replica *r, size_t bytes, uint32_t n)
{
    if (!list_empty(&r->gathered)) {
        struct entry *last = LIST_ITEM(r->gathered.prev, struct entry, link);
        if (last->n + n <= COMMAND_ENTRY_MAX && last->commands.len + bytes <= COMMAND_ENTRY_BYTES)
            return last;
    }
    struct entry *e = calloc(1, sizeof *e);
    if (e == NULL)
        return NULL;
    buf_init(&e->commands, ENTRY_MAX_BYTES);
    if (buf_reserve(&e->commands, bytes > COMMAND_ENTRY_BYTES ? bytes : COMMAND_ENTRY_BYTES) != 0) {
        free(e);
        return NULL;
    }
    list_push_back(&r->gathered, &e->link);
    r->ngathered++;
    return e;
}

/* How much of `commands` the next entry takes: as many commands as fit, at least one. */
static int split(struct span commands, uint32_t n, size_t *bytes, uint32_t *taken)
{
    if (n == 1 || (commands.n <= COMMAND_ENTRY_BYTES && n <= COMMAND_ENTRY_MAX)) {
        *bytes = commands.n;
        *taken = n;
        return 0;
    }
    struct cursor c;
    cursor_init(&c, commands.p, commands.n);
    *bytes = 0;
    for (*taken = 0; *taken < n && *taken < COMMAND_ENTRY_MAX; (*taken)++) {
        struct command cmd;
        int err = command_decode(&c, &cmd);
        if (err != 0)
            return err;
        size_t end = commands.n - cursor_left(&c);
        if (*taken > 0 && end > COMMAND_ENTRY_BYTES)
            break;
        *bytes = end;
    }
    return 0;
}

static uint32_t places_left(const struct replica *r)
{
    return r->ngathered >= GATHERED_MAX ? 0 : GATHERED_MAX - r->ngathered;
}

int replica_propose(struct replica *r, struct span commands, uint32_t n)
{
    ensure(n > 0 && commands.n > 0);
    if (!leads(r))
        return ERR_CLOSED;
    /* All or nothing: first see that there is room. */
    uint32_t needs = 0;
    for (struct span rest = commands, left = { NULL, n }; left.n > 0; needs++) {
        size_t bytes;
        uint32_t taken;
        int err = split(rest, (uint32_t)left.n, &bytes, &taken);
        if (err != 0)
            return err;
        if (bytes > COMMAND_BYTES_MAX)
            return ERR_LIMIT;
        rest = span_sub(rest, bytes);
        left.n -= taken;
    }
    bool shares = needs == 1 && !list_empty(&r->gathered);
    if (shares) {
        const struct entry *last = LIST_ITEM(r->gathered.prev, struct entry, link);
        shares = last->n + n <= COMMAND_ENTRY_MAX && last->commands.len + commands.n <= COMMAND_ENTRY_BYTES;
    }
    if (!shares && needs > places_left(r)) {
        r->refused += n;
        return ERR_LIMIT;
    }
    while (n > 0) {
        size_t bytes;
        uint32_t taken;
        int err = split(commands, n, &bytes, &taken);
        ensure(err == 0);
        struct entry *e = entry_for(r, bytes, taken);
        if (e == NULL || buf_put(&e->commands, commands.p, bytes) != 0)
            return -ENOMEM;
        e->n += taken;
        commands = span_sub(commands, bytes);
        n -= taken;
    }
    return 0;
}

/* ---- proposing ----------------------------------------------------------------------------------------- */

/* Whether it was applied is told by on_effects. LEADERSHIPLOST says nothing: it may still be. */
static void on_applied(struct raft_apply *req, int status, void *result)
{
    (void)status, (void)result;
    struct replica_flight *f = req->data;
    f->r->in_flight--;
    list_push_back(&f->r->idle, &f->link);
}

static int propose_entry(struct replica *r, const struct entry *e, uint64_t now_ms)
{
    buf_reset(&r->entry);
    (void)command_entry_begin(&r->entry, now_ms);
    (void)buf_put(&r->entry, e->commands.data, e->commands.len);
    (void)command_entry_end(&r->entry, e->n);
    if (buf_err(&r->entry) != 0)
        return RAFT_TOOBIG;
    ensure(r->entry.len % 8 == 0);
    struct raft_buffer copy = { .base = raft_malloc(r->entry.len), .len = r->entry.len };
    if (copy.base == NULL)
        return RAFT_NOMEM;
    memcpy(copy.base, r->entry.data, copy.len);
    struct list *link = list_pop_front(&r->idle);
    ensure(link != NULL);
    struct replica_flight *f = LIST_ITEM(link, struct replica_flight, link);
    int rv = raft_apply(&r->raft, &f->req, &copy, 1, on_applied);
    if (rv != 0) {
        raft_free(copy.base);
        list_push_back(&r->idle, &f->link);
        return rv;
    }
    r->in_flight++;
    return 0;
}

void replica_propose_flush(struct replica *r)
{
    if (list_empty(&r->gathered))
        return;
    if (!leads(r)) {
        replica_propose_drop(r);
        return;
    }
    r->last_ms = replica_now_ms(r);
    struct list *link;
    while ((link = list_first(&r->gathered)) != NULL && r->in_flight < REPLICA_IN_FLIGHT_MAX &&
           r->failed == 0) {
        struct entry *e = LIST_ITEM(link, struct entry, link);
        int rv = propose_entry(r, e, r->last_ms);
        if (rv == RAFT_NOSPACE)
            return; /* segments are being prepared; or the disk is full, then the watch ends it */
        if (rv == RAFT_NOTLEADER) {
            replica_propose_drop(r);
            return;
        }
        if (rv == 0) {
            r->entries++;
            r->commands += e->n;
        } else {
            log_warn(REPLICA_LOG, "%u commands cannot be proposed: %s", e->n, raft_strerror(rv));
            r->refused += e->n;
        }
        list_remove(&e->link);
        r->ngathered--;
        entry_free(e);
    }
}

/* ---- the barrier of a new leader ------------------------------------------------------------------------
 */

static void on_lead(struct raft_barrier *req, int status)
{
    struct replica *r = req->data;
    r->lead_pending = false;
    if (status != 0)
        return; /* the next poll looks again */
    if (raft_state(&r->raft) != RAFT_LEADER || raft_current_term(&r->raft) != r->lead_term)
        return;
    r->ready_term = r->lead_term;
    r->base_cluster_ms = machine_now_ms(r->config.machine);
    r->base_boot_ms = clock_boot_ms();
    r->last_ms = r->base_cluster_ms;
}

void replica_lead(struct replica *r)
{
    if (r->lead_pending || r->failed != 0 || r->closing != REPLICA_OPEN)
        return;
    r->lead.data = r;
    r->lead_term = raft_current_term(&r->raft);
    r->lead_pending = true;
    if (raft_barrier(&r->raft, &r->lead, on_lead) != 0)
        r->lead_pending = false;
}

/* ---- barriers for readers -------------------------------------------------------------------------------
 */

struct waiter {
    struct list link;
    replica_cb *cb;
    void *ctx;
};

struct group { /* waiters that share a barrier */
    struct raft_barrier req;
    struct replica *r;
    struct list waiters;
};

int replica_barrier(struct replica *r, replica_cb *cb, void *ctx)
{
    if (!leads(r))
        return ERR_CLOSED;
    if (r->nbarriers >= REPLICA_BARRIERS_MAX)
        return ERR_LIMIT;
    struct waiter *w = malloc(sizeof *w);
    if (w == NULL)
        return -ENOMEM;
    *w = (struct waiter){ .cb = cb, .ctx = ctx };
    list_push_back(&r->barriers, &w->link);
    r->nbarriers++;
    return 0;
}

static void waiters_end(struct replica *r, struct list *waiters, int err)
{
    struct list *link;
    while ((link = list_pop_front(waiters)) != NULL) {
        struct waiter w = *LIST_ITEM(link, struct waiter, link);
        free(LIST_ITEM(link, struct waiter, link));
        r->nbarriers--;
        w.cb(w.ctx, err);
    }
}

void replica_barrier_drop(struct replica *r, int err)
{
    waiters_end(r, &r->barriers, err);
}

static void on_barrier(struct raft_barrier *req, int status)
{
    struct group *g = req->data;
    waiters_end(g->r, &g->waiters, status == 0 && g->r->fenced ? ERR_CLOSED : replica_err(status));
    free(g);
}

void replica_barrier_flush(struct replica *r)
{
    if (list_empty(&r->barriers))
        return;
    struct group *g = malloc(sizeof *g);
    if (g == NULL) {
        replica_barrier_drop(r, -ENOMEM);
        return;
    }
    *g = (struct group){ .r = r };
    g->req.data = g;
    list_init(&g->waiters);
    int rv = leads(r) ? raft_barrier(&r->raft, &g->req, on_barrier) : RAFT_NOTLEADER;
    if (rv == 0) {
        list_splice(&g->waiters, &r->barriers);
        return;
    }
    free(g);
    if (rv != RAFT_NOSPACE)
        replica_barrier_drop(r, replica_err(rv));
}
