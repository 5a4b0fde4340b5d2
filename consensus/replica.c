/* The replica as a whole: opening and closing, what happens in one turn of the loop, who leads, and how it
 * ends when the disk or the machine fails. See replica.h and replica_impl.h.
 */
#include "consensus/replica_impl.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"

#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int64_t replica_mono_ms(void)
{
    return clock_mono_ns() / 1000000;
}

/* ---- failing ------------------------------------------------------------------------------------------- */

void replica_fail(struct replica *r, int err, bool step_down, const char *fmt, ...)
{
    if (!step_down)
        r->fenced = true;
    if (r->failed != 0)
        return;
    ensure(err < 0);
    r->failed = err;
    r->failed_ms = replica_mono_ms();
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(r->words, sizeof r->words, fmt, ap);
    va_end(ap);
}

static void transfer_done(struct raft_transfer *req)
{
    (void)req;
}

static bool transfer_start(struct replica *r)
{
    if (r->transfer_asked || raft_state(&r->raft) != RAFT_LEADER)
        return false;
    r->transfer_asked = true;
    return raft_transferee(&r->raft) != 0 || raft_transfer(&r->raft, &r->transfer, 0, transfer_done) == 0;
}

/* A failed replica hands over, if it can, then is silent; only then its owner is told, once. */
static void fail_step(struct replica *r)
{
    if (!r->fenced) {
        bool waits = transfer_start(r) || (r->transfer_asked && raft_transferee(&r->raft) != 0);
        if (raft_state(&r->raft) != RAFT_LEADER || !waits ||
            replica_mono_ms() - r->failed_ms >= REPLICA_TRANSFER_MS)
            r->fenced = true;
    }
    if (!r->fenced || r->reported)
        return;
    replica_encode_cancel(r);
    r->reported = true;
    log_error(REPLICA_LOG, "%s: this node takes no further part in the cluster", r->words);
    replica_propose_drop(r);
    replica_barrier_drop(r, ERR_CLOSED);
    replica_member_drop(r, ERR_CLOSED);
    if (r->role != REPLICA_FOLLOWER || r->leader != 0) {
        r->role = REPLICA_FOLLOWER;
        r->leader = 0;
        r->ready = false;
        if (r->config.on_role != NULL)
            r->config.on_role(r->config.ctx, r->role, 0, false);
    }
    if (r->config.on_failed != NULL)
        r->config.on_failed(r->config.ctx, r->failed, r->words);
}

/* ---- who leads ----------------------------------------------------------------------------------------- */

/* libraft tells of no change of its state: it is polled. */
static void poll_role(struct replica *r)
{
    int state = (int)raft_state(&r->raft);
    raft_term term = raft_current_term(&r->raft);
    enum replica_role role = state == RAFT_LEADER      ? REPLICA_LEADER
                             : state == RAFT_CANDIDATE ? REPLICA_CANDIDATE
                                                       : REPLICA_FOLLOWER;
    raft_id leader = 0;
    const char *address = NULL;
    raft_leader(&r->raft, &leader, &address);
    if (role == REPLICA_LEADER && r->ready_term != term)
        replica_lead(r);
    bool ready = role == REPLICA_LEADER && r->ready_term == term && r->failed == 0;
    if (role != REPLICA_LEADER && r->role == REPLICA_LEADER) {
        replica_propose_drop(r);
        replica_barrier_drop(r, ERR_CLOSED);
    }
    if (role != r->role && role != REPLICA_FOLLOWER)
        r->elections++;
    bool changed = role != r->role || leader != r->leader || ready != r->ready;
    r->role = role;
    r->leader = leader;
    r->role_term = term;
    r->ready = ready;
    if (changed && r->config.on_role != NULL)
        r->config.on_role(r->config.ctx, role, leader, ready);
}

/* ---- closing ------------------------------------------------------------------------------------------- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct replica *r = handle->data;
    if (--r->handles > 0)
        return;
    r->closing = REPLICA_CLOSED;
    r->closed(r->closed_ctx);
}

static void on_raft_closed(struct raft *raft)
{
    struct replica *r = raft->data;
    raft_uv_close(&r->io);
    uv_close((uv_handle_t *)&r->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&r->check, on_handle_closed);
    uv_close((uv_handle_t *)&r->timer, on_handle_closed);
    uv_close((uv_handle_t *)&r->slice, on_handle_closed);
}

static void close_step(struct replica *r)
{
    int64_t now = replica_mono_ms();
    switch (r->closing) {
    case REPLICA_CLOSE_ASKED:
        r->closing_ms = now;
        r->transfer_asked = false;
        r->closing = REPLICA_CLOSE_TRANSFER;
        if (r->failed != 0 || !transfer_start(r))
            r->closing = REPLICA_CLOSE_ENCODE;
        break;
    case REPLICA_CLOSE_TRANSFER:
        if (raft_state(&r->raft) != RAFT_LEADER || raft_transferee(&r->raft) == 0 ||
            now - r->closing_ms >= REPLICA_TRANSFER_MS)
            r->closing = REPLICA_CLOSE_ENCODE;
        break;
    case REPLICA_CLOSE_ENCODE:
        /* libraft must not be closed under a snapshot that only we know to be in work. */
        replica_encode_cancel(r);
        replica_install_drop(r);
        replica_install_cancel(r);
        replica_io_cancel(r);
        replica_propose_drop(r);
        replica_barrier_drop(r, ERR_CLOSED);
        replica_member_drop(r, ERR_CLOSED);
        r->closing = REPLICA_CLOSE_RAFT;
        raft_close(&r->raft, on_raft_closed);
        break;
    case REPLICA_OPEN:
    case REPLICA_CLOSE_RAFT:
    case REPLICA_CLOSED:
        break;
    }
}

void replica_close(struct replica *r, void (*closed)(void *ctx), void *ctx)
{
    ensure(r->closing == REPLICA_OPEN);
    r->closed = closed;
    r->closed_ctx = ctx;
    r->closing = REPLICA_CLOSE_ASKED;
}

static void replica_release(struct replica *r)
{
    replica_propose_fini(r);
    machine_effects_fini(&r->effects);
    free(r->dir);
    free(r->address);
    free(r);
}

void replica_free(struct replica *r)
{
    if (r == NULL)
        return;
    ensure(r->closing == REPLICA_CLOSED);
    replica_release(r);
}

/* ---- the turn ------------------------------------------------------------------------------------------ */

void replica_turn(struct replica *r)
{
    if (r->in_turn || r->closing >= REPLICA_CLOSE_RAFT)
        return;
    r->in_turn = true;
    if (r->closing != REPLICA_OPEN) {
        close_step(r);
    } else if (r->failed != 0) {
        fail_step(r);
    } else {
        replica_install_release(r);
        poll_role(r);
        replica_member_start(r);
        replica_barrier_flush(r);
        replica_propose_flush(r);
        replica_io_commit(r);
    }
    r->in_turn = false;
}

static void on_prepare(uv_prepare_t *handle)
{
    replica_turn(handle->data);
}

static void on_check(uv_check_t *handle)
{
    replica_turn(handle->data);
}

static void trace(struct raft_tracer *tracer, int type, const void *info)
{
    (void)tracer;
    const struct raft_tracer_info *i = info;
    if (type != RAFT_TRACER_DIAGNOSTIC)
        return;
    if (i->diagnostic.level <= 2)
        log_warn(REPLICA_LOG, "%s", i->diagnostic.message);
    else
        log_trace(REPLICA_LOG, "%s", i->diagnostic.message);
}

/* libraft formats each message, into one buffer for the whole process, before it asks for the level. So it is
 * given a tracer only while somebody reads it. */
static void follow_log_level(struct replica *r)
{
    struct raft_tracer *tracer = log_level() >= LOG_LEVEL_TRACE ? &r->tracer : NULL;
    if (r->raft.tracer == tracer)
        return;
    r->raft.tracer = tracer;
    raft_uv_set_tracer(&r->io, tracer);
}

static void on_timer(uv_timer_t *handle)
{
    struct replica *r = handle->data;
    if (r->closing >= REPLICA_CLOSE_RAFT)
        return;
    follow_log_level(r);
    replica_io_watch(r);
    replica_install_watch(r);
    replica_turn(r);
}

/* ---- opening ------------------------------------------------------------------------------------------- */

static void configure(struct replica *r)
{
    r->tracer = (struct raft_tracer){ .version = 2, .emit = trace };
    r->raft.tracer = NULL;
    follow_log_level(r);
    raft_set_election_timeout(&r->raft, r->config.election_ms);
    raft_set_heartbeat_timeout(&r->raft, r->config.heartbeat_ms);
    raft_set_pre_vote(&r->raft, true);
    raft_set_max_inflight_entries(&r->raft, REPLICA_IN_FLIGHT_MAX);
    raft_set_capacity_threshold(&r->raft, REPLICA_CAPACITY_KIB);
    /* Snapshots are taken by bytes: replica_fsm.c lowers this when it is time. */
    raft_set_snapshot_threshold(&r->raft, UINT_MAX);
    raft_set_snapshot_trailing(&r->raft, REPLICA_BLOCK);
    raft_set_install_snapshot_timeout(&r->raft, (unsigned)r->install_timeout_ms);
}

static struct replica *replica_new(const struct replica_config *config)
{
    struct replica *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->config = *config;
    if (r->config.election_ms == 0)
        r->config.election_ms = 500;
    if (r->config.heartbeat_ms == 0)
        r->config.heartbeat_ms = 50;
    if (r->config.snapshot_bytes == 0)
        r->config.snapshot_bytes = REPLICA_SNAPSHOT_LOG_BYTES;
    r->disk_stuck_ms = REPLICA_DISK_STUCK_MS;
    r->watched_ms = replica_mono_ms();
    r->watch_ms = 1;
    r->install_timeout_ms = 3000;
    r->trailing_max = REPLICA_TRAILING_ENTRIES;
    list_init(&r->appends);
    list_init(&r->gets);
    machine_effects_init(&r->effects);
    replica_propose_init(r);
    r->dir = strdup(config->dir);
    r->address = strdup(config->address);
    if (r->dir == NULL || r->address == NULL) {
        replica_release(r);
        return NULL;
    }
    r->config.dir = r->dir;
    r->config.address = r->address;
    return r;
}

static void on_failed_open_closed(struct raft *raft)
{
    struct replica *r = raft->data;
    raft_uv_close(&r->io);
    replica_release(r);
}

static void start_handles(struct replica *r)
{
    ensure(uv_prepare_init(r->config.loop, &r->prepare) == 0);
    ensure(uv_check_init(r->config.loop, &r->check) == 0);
    ensure(uv_timer_init(r->config.loop, &r->timer) == 0);
    ensure(uv_timer_init(r->config.loop, &r->slice) == 0);
    r->handles = 4;
    r->prepare.data = r->check.data = r->timer.data = r->slice.data = r;
    ensure(uv_prepare_start(&r->prepare, on_prepare) == 0);
    ensure(uv_check_start(&r->check, on_check) == 0);
    ensure(uv_timer_start(&r->timer, on_timer, REPLICA_TICK_MS, REPLICA_TICK_MS) == 0);
}

int replica_open(const struct replica_config *config, struct replica **out)
{
    ensure(config->id != 0);
    /* A peer that is gone must not end the process by a signal. */
    struct sigaction pipe_action;
    if (sigaction(SIGPIPE, NULL, &pipe_action) == 0 && pipe_action.sa_handler == SIG_DFL)
        (void)signal(SIGPIPE, SIG_IGN);
    struct replica *r = replica_new(config);
    if (r == NULL)
        return -ENOMEM;
    int rv = raft_uv_init(&r->io, config->loop, r->dir, config->transport);
    if (rv != 0) {
        log_error(REPLICA_LOG, "%s: %s", r->dir, r->io.errmsg);
        replica_release(r);
        return replica_err(rv);
    }
    raft_uv_set_segment_size(&r->io, REPLICA_SEGMENT_BYTES);
    raft_uv_set_disk_retry(&r->io, UINT_MAX);
    raft_uv_set_connect_retry_delay(&r->io, 250);
    raft_uv_set_tracer(&r->io, NULL);
    replica_io_wrap(r);
    replica_fsm_init(r);
    rv = raft_init(&r->raft, &r->io, &r->fsm, config->id, r->address);
    if (rv != 0) {
        log_error(REPLICA_LOG, "%s: %s", r->dir, raft_errmsg(&r->raft));
        raft_uv_close(&r->io);
        replica_release(r);
        return replica_err(rv);
    }
    r->raft.data = r;
    configure(r);
    rv = raft_start(&r->raft);
    if (rv != 0 || r->failed != 0) {
        log_error(REPLICA_LOG, "%s: cannot start: %s", r->dir,
                  r->failed != 0 ? r->words : raft_errmsg(&r->raft));
        int err = r->failed != 0 ? r->failed : replica_err(rv);
        raft_close(&r->raft, on_failed_open_closed);
        return err;
    }
    r->started = true;
    start_handles(r);
    *out = r;
    return 0;
}
