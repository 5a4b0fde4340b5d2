/* Between libraft and its disk and network. Each function here stands in front of one of libraft's own.
 *
 *  - The fence. Once this replica has failed, nothing more is written, sent, received or timed, so that
 * nothing is acknowledged that is not on disk. libraft 0.22.1 handles hardly any error of its I/O (its
 * callers assert, which Debian's build leaves out, or free memory twice), so errors are not handed to it:
 * they end the replica.
 *  - The watch. libraft tries a failed log write again by a timer that is given the wrong structure; the
 * retry delay is set to its maximum so that it never fires, and a write that does not end is noticed here.
 *  - The commit. libraft tells followers with the next entries, or with a heartbeat, that what they have is
 * committed: with nothing more to send that is up to 50 ms later. Here they are told at once.
 *  - The bound. Messages to a peer that does not read pile up in libuv; over a limit they are dropped, as a
 * network may, and the owner is asked to cut the connection.
 */
#include "consensus/raft_commit.h"
#include "consensus/replica_impl.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PUT_STUCK_MS 120000

static bool silent(const struct replica *r)
{
    return r->fenced || r->closing >= REPLICA_CLOSE_RAFT;
}

/* ---- peers --------------------------------------------------------------------------------------------- */

static bool is_member(const struct replica *r, uint64_t id)
{
    for (unsigned i = 0; i < r->raft.configuration.n; i++)
        if (r->raft.configuration.servers[i].id == id)
            return true;
    return false;
}

/* NULL: more peers than fit. */
struct replica_peer *replica_peer(struct replica *r, uint64_t id)
{
    struct replica_peer *unused = NULL;
    for (size_t i = 0; i < REPLICA_SERVERS_MAX; i++) {
        struct replica_peer *p = &r->peers[i];
        if (p->id == id)
            return p;
        if (unused == NULL && p->pending == 0 && (p->id == 0 || !is_member(r, p->id)))
            unused = p;
    }
    if (unused != NULL)
        *unused = (struct replica_peer){ .id = id, .heard_ms = -1 };
    return unused;
}

/* ---- receiving and timing ------------------------------------------------------------------------------ */

void replica_receive(struct replica *r, struct raft_message *msg)
{
    if (silent(r) || r->fault == REPLICA_FAULT_DEAF) {
        replica_message_free(msg);
        return;
    }
    struct replica_peer *p = replica_peer(r, msg->server_id);
    if (p != NULL)
        p->heard_ms = replica_mono_ms();
    if (p != NULL && msg->type == RAFT_APPEND_ENTRIES_RESULT && msg->append_entries_result.rejected == 0 &&
        msg->append_entries_result.term == p->told.term)
        p->acked = msg->append_entries_result.last_log_index;
    if (msg->type == RAFT_INSTALL_SNAPSHOT && replica_install_hold(r, msg))
        return;
    raft_commit_keep(&r->raft, msg);
    r->recv(&r->io, msg);
}

static void io_receive(struct raft_io *io, struct raft_message *msg)
{
    replica_receive(REPLICA_OF_IO(io), msg);
}

/* A leader's libraft asks at each tick whom it has heard since the last time that it had heard a majority.
 * Who did not answer in that one tick counts as gone: it gets nothing until the next heartbeat, so that a
 * proposal takes up to 50 ms longer, on a quiet cluster every second one. So the time that it looks back is
 * made half an election; it still steps down when it has heard no majority for one. */
static void io_tick(struct raft_io *io)
{
    struct replica *r = REPLICA_OF_IO(io);
    if (silent(r))
        return;
    raft_time before = r->raft.election_timer_start, back = r->config.election_ms / 2;
    r->tick(io);
    raft_time *since = &r->raft.election_timer_start;
    if (raft_state(&r->raft) == RAFT_LEADER)
        *since = *since >= before + back ? *since - back : before;
}

static int io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct replica *r = REPLICA_OF_IO(io);
    r->tick = tick;
    r->recv = recv;
    return r->real.start(io, msecs, io_tick, io_receive);
}

/* ---- sending ------------------------------------------------------------------------------------------- */

struct send {
    struct raft_io_send req;
    struct raft_io_send *theirs;
    raft_io_send_cb cb;
    struct replica *r;
    uint64_t id, bytes, install; /* install: number of the snapshot's loading; 0: another message */
};

static void send_done(struct raft_io_send *req, int status)
{
    struct send *s = req->data;
    struct replica *r = s->r;
    struct replica_peer *p = replica_peer(r, s->id);
    if (p != NULL && p->pending > 0) {
        p->pending--;
        p->pending_bytes -= s->bytes;
        if (s->install != 0)
            p->installing_ms = 0;
    }
    s->cb(s->theirs, status);
    if (s->install != 0)
        replica_install_sent(r, s->id, s->install, status);
    free(s);
}

static uint64_t message_bytes(const struct raft_message *msg)
{
    uint64_t bytes = 128;
    if (msg->type == RAFT_APPEND_ENTRIES)
        for (unsigned i = 0; i < msg->append_entries.n_entries; i++)
            bytes += msg->append_entries.entries[i].buf.len;
    else if (msg->type == RAFT_INSTALL_SNAPSHOT)
        bytes += msg->install_snapshot.data.len;
    return bytes;
}

static bool backlog(struct replica *r, struct replica_peer *p)
{
    if (p->pending < REPLICA_PEER_MESSAGES_MAX && p->pending_bytes < REPLICA_PEER_BYTES_MAX)
        return false;
    p->dropped++;
    int64_t now = replica_mono_ms();
    /* What waits is a snapshot on a slow link: cut off, it would begin again, and never arrive. */
    if (p->installing_ms != 0 && now - p->installing_ms <= r->install_timeout_ms)
        return true;
    if (p->warned_ms == 0 || now - p->warned_ms >= 1000) {
        p->warned_ms = now;
        log_warn(REPLICA_LOG,
                 "node %llu does not keep up: %u messages (%llu bytes) wait for it, %llu were dropped",
                 (unsigned long long)p->id, p->pending, (unsigned long long)p->pending_bytes,
                 (unsigned long long)p->dropped);
        if (r->config.on_backlog != NULL)
            r->config.on_backlog(r->config.ctx, p->id);
    }
    return true;
}

/* The address in a snapshot's message may be gone by the time that the snapshot is loaded: libraft kept a
 * pointer into a configuration that can have been replaced meanwhile. */
static const char *address_of(const struct replica *r, uint64_t id)
{
    for (unsigned i = 0; i < r->raft.configuration.n; i++)
        if (r->raft.configuration.servers[i].id == id)
            return r->raft.configuration.servers[i].address;
    return NULL;
}

static void note_told(struct replica_peer *p, const struct raft_append_entries *a)
{
    if (p->told.term != a->term)
        p->acked = 0;
    p->told.version = a->version;
    p->told.term = a->term;
    p->told.last = a->prev_log_index + a->n_entries;
    p->told.last_term = a->n_entries > 0 ? a->entries[a->n_entries - 1].term : a->prev_log_term;
    p->told.committed = a->leader_commit;
}

/* Never returns an error: libraft would leave out the rest of what it was doing. A message that is not sent
 * is a message that was lost. */
static int io_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *msg,
                   raft_io_send_cb cb)
{
    struct replica *r = REPLICA_OF_IO(io);
    bool install = msg->type == RAFT_INSTALL_SNAPSHOT;
    bool had_content = install && msg->install_snapshot.data.base != NULL;
    struct raft_message copy = *msg;
    int status = RAFT_NOCONNECTION;
    if (silent(r))
        goto lost;
    struct replica_peer *p = replica_peer(r, msg->server_id);
    if (p == NULL || backlog(r, p) || (install && !replica_install_may_send(r, msg)))
        goto lost;
    if (install) {
        /* libraft gives the newest snapshot the term of the one that it had in mind: a follower then takes
         * the entries after it for conflicting ones, and frees them twice. */
        copy.install_snapshot.last_term = r->get_term;
        copy.server_address = address_of(r, msg->server_id);
        if (copy.server_address == NULL)
            goto lost;
    }
    struct send *s = malloc(sizeof *s);
    if (s == NULL)
        goto lost;
    *s = (struct send){ .theirs = req,
                        .cb = cb,
                        .r = r,
                        .id = msg->server_id,
                        .bytes = message_bytes(msg),
                        .install = install ? r->get_number : 0 };
    s->req.data = s;
    int64_t before_ms = p->installing_ms;
    p->pending++;
    p->pending_bytes += s->bytes;
    if (install)
        p->installing_ms = replica_mono_ms();
    status = r->real.send(io, &s->req, &copy, send_done); /* it may be done with s when it returns */
    if (status == 0) {
        if (msg->type == RAFT_APPEND_ENTRIES)
            note_told(p, &copy.append_entries);
        return 0;
    }
    p->pending--;
    p->pending_bytes -= s->bytes;
    p->installing_ms = before_ms;
    free(s);
lost:
    cb(req, status);
    if (had_content)
        replica_install_sent(r, copy.server_id, r->get_number, status);
    return 0;
}

/* ---- telling what is committed ---------------------------------------------------------------------------
 */

static void commit_told(struct raft_io_send *req, int status)
{
    (void)status;
    free(req);
}

/* The heartbeat that libraft would send later. Only to who has acknowledged all that it was sent, so it
 * cannot be refused; to the others more goes out anyway, or the next heartbeat tells them. */
static void tell_commit(struct replica *r, struct replica_peer *p)
{
    const char *address = address_of(r, p->id);
    struct raft_io_send *req = address == NULL ? NULL : malloc(sizeof *req);
    if (req == NULL)
        return;
    struct raft_message msg = {
        .type = RAFT_APPEND_ENTRIES,
        .server_id = p->id,
        .server_address = address,
        .append_entries = { .version = p->told.version,
                            .term = p->told.term,
                            .prev_log_index = p->told.last,
                            .prev_log_term = p->told.last_term,
                            .leader_commit = r->raft.commit_index },
    };
    (void)io_send(&r->io, req, &msg, commit_told);
}

void replica_io_commit(struct replica *r)
{
    if (raft_state(&r->raft) != RAFT_LEADER)
        return;
    raft_term term = raft_current_term(&r->raft);
    for (size_t i = 0; i < REPLICA_SERVERS_MAX; i++) {
        struct replica_peer *p = &r->peers[i];
        if (p->id != 0 && p->told.term == term && p->told.committed < r->raft.commit_index &&
            p->acked >= p->told.last)
            tell_commit(r, p);
    }
}

/* ---- the log ------------------------------------------------------------------------------------------- */

struct append {
    struct raft_io_append req;
    struct raft_io_append *theirs;
    raft_io_append_cb cb;
    struct replica *r;
    struct list link;
    int64_t since_ms;
    bool ours; /* libraft's writer does not have it: it is ended at the close */
};

static void append_done(struct raft_io_append *req, int status)
{
    struct append *a = req->data;
    struct replica *r = a->r;
    if (status == 0 && r->fenced)
        status = RAFT_CANCELED; /* on disk, but this node no longer says so */
    if (status != 0 && status != RAFT_CANCELED)
        replica_fail(r, status == RAFT_NOSPACE ? ERR_DISK_FULL : -EIO, true,
                     "%s: the log cannot be written: %s", r->dir,
                     r->io.errmsg[0] != '\0' ? r->io.errmsg : raft_strerror(status));
    list_remove(&a->link);
    a->cb(a->theirs, status);
    free(a);
}

static int io_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[],
                     unsigned n, raft_io_append_cb cb)
{
    struct replica *r = REPLICA_OF_IO(io);
    struct append *a = malloc(sizeof *a);
    if (a == NULL) {
        /* The request is lost with its memory; nothing was acknowledged. */
        replica_fail(r, -ENOMEM, false, "no memory to write the log");
        return 0;
    }
    *a = (struct append){ .theirs = req, .cb = cb, .r = r, .since_ms = r->watch_ms };
    a->req.data = a;
    list_push_back(&r->appends, &a->link);
    if (silent(r) || r->fault == REPLICA_FAULT_APPEND_STUCK) {
        a->ours = true;
        return 0;
    }
    int rv = r->fault == REPLICA_FAULT_APPEND_ERROR ? RAFT_IOERR
                                                    : r->real.append(io, &a->req, entries, n, append_done);
    if (rv != 0) {
        a->ours = r->fault == REPLICA_FAULT_APPEND_ERROR; /* else libraft may have queued it all the same */
        replica_fail(r, rv == RAFT_NOSPACE ? ERR_DISK_FULL : -EIO, true, "%s: the log cannot be written: %s",
                     r->dir, io->errmsg[0] != '\0' ? io->errmsg : raft_strerror(rv));
    }
    return 0;
}

static int io_truncate(struct raft_io *io, raft_index index)
{
    struct replica *r = REPLICA_OF_IO(io);
    if (silent(r))
        return 0;
    int rv = r->real.truncate(io, index);
    if (rv != 0)
        replica_fail(r, -EIO, false, "%s: the log cannot be cut at %llu: %s", r->dir, index, io->errmsg);
    return 0;
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    struct replica *r = REPLICA_OF_IO(io);
    if (silent(r))
        return RAFT_IOERR;
    int rv = r->fault == REPLICA_FAULT_VOTE ? RAFT_IOERR : r->real.set_term(io, term);
    if (rv != 0)
        replica_fail(r, -EIO, false, "%s: the term cannot be written: %s", r->dir, io->errmsg);
    return rv;
}

static int io_set_vote(struct raft_io *io, raft_id id)
{
    struct replica *r = REPLICA_OF_IO(io);
    if (silent(r))
        return RAFT_IOERR;
    int rv = r->fault == REPLICA_FAULT_VOTE ? RAFT_IOERR : r->real.set_vote(io, id);
    if (rv != 0)
        replica_fail(r, -EIO, false, "%s: the vote cannot be written: %s", r->dir, io->errmsg);
    return rv;
}

/* ---- snapshots ----------------------------------------------------------------------------------------- */

/* Of one being taken, `snapshot` has no content yet: it is encoded first (replica_fsm.c). libraft lets only
 * one be taken or installed at a time, and replica_install.c holds an install back while one is taken. */
static int io_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct replica *r = REPLICA_OF_IO(io);
    ensure(!r->put.active);
    r->put.active = true;
    r->put.take = r->taking;
    r->put.theirs = req;
    r->put.cb = cb;
    r->put.since_ms = r->watch_ms;
    replica_fsm_encode(r, trailing, snapshot);
    return 0;
}

void replica_io_wrap(struct replica *r)
{
    r->real = r->io;
    r->io.start = io_start;
    r->io.send = io_send;
    r->io.append = io_append;
    r->io.truncate = io_truncate;
    r->io.set_term = io_set_term;
    r->io.set_vote = io_set_vote;
    r->io.snapshot_put = io_snapshot_put;
    r->io.snapshot_get = replica_install_get;
}

/* ---- the watch ----------------------------------------------------------------------------------------- */

/* A process that was stopped, or whose machine was, hears of what its disk did in the meantime only after
 * this timer: so time counts here only as far as the loop turned. */
static int64_t watch_time(struct replica *r)
{
    int64_t now = replica_mono_ms(), passed = now - r->watched_ms;
    r->watched_ms = now;
    r->watch_ms += passed < REPLICA_WATCH_MAX_MS ? passed : REPLICA_WATCH_MAX_MS;
    return r->watch_ms;
}

void replica_io_watch(struct replica *r)
{
    if (r->failed != 0 || r->closing != REPLICA_OPEN)
        return;
    int64_t now = watch_time(r);
    const struct list *oldest = list_first(&r->appends);
    if (oldest != NULL && now - LIST_ITEM(oldest, struct append, link)->since_ms > r->disk_stuck_ms) {
        replica_fail(r, ERR_TIMEOUT, true, "%s: a log write has not ended after %lld ms%s%s", r->dir,
                     (long long)r->disk_stuck_ms, r->io.errmsg[0] != '\0' ? ": " : "", r->io.errmsg);
        return;
    }
    /* What is prepared and not yet used: libraft makes segments ahead, and stops for good when it cannot. */
    bool low = r->io.capacity < REPLICA_CAPACITY_KIB || r->fault == REPLICA_FAULT_APPEND_FULL;
    if (!low)
        r->low_ms = 0;
    else if (r->low_ms == 0)
        r->low_ms = now;
    else if (now - r->low_ms > r->disk_stuck_ms)
        replica_fail(r, ERR_DISK_FULL, true, "%s: no room for the log%s%s", r->dir,
                     r->io.errmsg[0] != '\0' ? ": " : "", r->io.errmsg);
    if (r->put.active && !r->encoding.active && now - r->put.since_ms > PUT_STUCK_MS)
        replica_fail(r, ERR_TIMEOUT, true, "%s: a snapshot cannot be written: %s", r->dir, r->io.errmsg);
}

/* Before libraft is closed: ends what its writer does not know of. */
void replica_io_cancel(struct replica *r)
{
    LIST_EACH_SAFE(link, &r->appends)
    {
        struct append *a = LIST_ITEM(link, struct append, link);
        if (!a->ours)
            continue;
        list_remove(&a->link);
        a->cb(a->theirs, RAFT_CANCELED);
        free(a);
    }
}
