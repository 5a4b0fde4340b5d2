/* Snapshots that go from a leader to a follower, both sides.
 *
 * Receiving: libraft 0.22.1 crashes when it is sent a snapshot while it takes one of its own (it clears the
 * pointer to the waiting install, then follows it). So one that comes meanwhile is kept here until the own
 * one is finished; a second one takes the place of the first.
 *
 * Sending: a snapshot is loaded whole into memory and is one message, before which heartbeats queue; while it
 * is on its way the leader may think the follower lost, and start again. So they go one at a time; one for a
 * follower to which the last one was sent a moment ago is dropped.
 */
#include "consensus/replica_impl.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- receiving ----------------------------------------------------------------------------------------- */

/* What libraft's receiver would have taken over. */
void replica_message_free(struct raft_message *msg)
{
    if (msg->type == RAFT_APPEND_ENTRIES && msg->append_entries.n_entries > 0) {
        raft_free(msg->append_entries.entries[0].batch); /* one for all of them */
        raft_free(msg->append_entries.entries);
    } else if (msg->type == RAFT_INSTALL_SNAPSHOT) {
        raft_configuration_close(&msg->install_snapshot.conf);
        raft_free(msg->install_snapshot.data.base);
    }
}

void replica_install_drop(struct replica *r)
{
    if (r->held == NULL)
        return;
    replica_message_free(r->held);
    free((char *)(uintptr_t)r->held->server_address);
    free(r->held);
    r->held = NULL;
}

/* Takes the message, if it returns true. */
bool replica_install_hold(struct replica *r, struct raft_message *msg)
{
    if (!r->taking && !r->copying)
        return false;
    struct raft_message *copy = malloc(sizeof *copy);
    char *address = strdup(msg->server_address);
    replica_install_drop(r);
    r->installs_held++;
    if (copy == NULL || address == NULL) {
        free(copy);
        free(address);
        replica_message_free(msg); /* lost: the leader sends it again */
        return true;
    }
    *copy = *msg;
    copy->server_address = address;
    r->held = copy;
    log_info(REPLICA_LOG, "a snapshot from node %llu waits until the one of this node is written",
             (unsigned long long)msg->server_id);
    return true;
}

void replica_install_release(struct replica *r)
{
    if (r->held == NULL || r->taking || r->copying)
        return;
    struct raft_message *msg = r->held;
    r->held = NULL;
    r->recv(&r->io, msg); /* takes the content */
    free((char *)(uintptr_t)msg->server_address);
    free(msg);
}

/* ---- sending ------------------------------------------------------------------------------------------- */

struct get {
    struct raft_io_snapshot_get req;
    struct raft_io_snapshot_get *theirs;
    raft_io_snapshot_get_cb cb;
    struct replica *r;
    struct list link;
};

/* Ends a request without a snapshot. libraft's way to hear of an error frees what it never set, so it gets
 * one with nothing in it, which io_send then does not send. */
static void get_nothing(struct raft_io_snapshot_get *theirs, raft_io_snapshot_get_cb cb)
{
    struct raft_snapshot *s = raft_calloc(1, sizeof *s);
    struct raft_buffer *bufs = raft_calloc(1, sizeof *bufs);
    ensure(s != NULL && bufs != NULL);
    s->bufs = bufs;
    s->n_bufs = 1;
    cb(theirs, s, 0);
}

static void get_done(struct raft_io_snapshot_get *req, struct raft_snapshot *snapshot, int status)
{
    struct get *g = req->data;
    struct replica *r = g->r;
    if (status != 0) {
        replica_fail(r, -EIO, true, "%s: the last snapshot cannot be read: %s", r->dir,
                     raft_strerror(status));
        raft_free(snapshot);
        r->get_active = false;
        get_nothing(g->theirs, g->cb);
    } else {
        r->get_term = snapshot->term; /* what the callback sends is this one */
        g->cb(g->theirs, snapshot, 0);
    }
    free(g);
}

static void get_start(struct replica *r, struct get *g)
{
    r->get_active = true;
    r->get_number++;
    r->get_ms = replica_mono_ms();
    int rv = r->real.snapshot_get(&r->io, &g->req, get_done);
    if (rv != 0) {
        log_warn(REPLICA_LOG, "a snapshot cannot be loaded to be sent: %s", raft_strerror(rv));
        r->get_active = false;
        get_nothing(g->theirs, g->cb);
        free(g);
    }
}

static void get_next(struct replica *r)
{
    struct list *link = r->get_active ? NULL : list_pop_front(&r->gets);
    if (link == NULL)
        return;
    r->ngets--;
    get_start(r, LIST_ITEM(link, struct get, link));
}

int replica_install_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb)
{
    struct replica *r = REPLICA_OF_IO(io);
    struct get *g = malloc(sizeof *g);
    if (g == NULL || r->fenced || r->closing >= REPLICA_CLOSE_ENCODE || r->ngets >= REPLICA_GETS_MAX) {
        free(g);
        get_nothing(req, cb);
        return 0;
    }
    *g = (struct get){ .theirs = req, .cb = cb, .r = r };
    g->req.data = g;
    list_push_back(&r->gets, &g->link);
    r->ngets++;
    get_next(r);
    return 0;
}

bool replica_install_may_send(struct replica *r, const struct raft_message *msg)
{
    if (msg->install_snapshot.data.base == NULL)
        return false;
    struct replica_peer *p = replica_peer(r, msg->server_id);
    raft_index match = 0;
    if (raft_match_index(&r->raft, msg->server_id, &match) == 0 && match >= msg->install_snapshot.last_index)
        return false;
    return p == NULL || p->install_ms == 0 || replica_mono_ms() - p->install_ms >= r->install_timeout_ms / 2;
}

void replica_install_sent(struct replica *r, uint64_t id, uint64_t number, int status)
{
    struct replica_peer *p = replica_peer(r, id);
    if (p != NULL && status == 0)
        p->install_ms = replica_mono_ms();
    if (r->get_active && number == r->get_number)
        r->get_active = false; /* the next one starts in the next tick: libraft may be on the stack */
}

void replica_install_watch(struct replica *r)
{
    if (r->closing >= REPLICA_CLOSE_ENCODE || r->fenced)
        return;
    /* A follower that stopped reading must not keep the others waiting. */
    if (r->get_active && replica_mono_ms() - r->get_ms > 2 * r->install_timeout_ms)
        r->get_active = false;
    get_next(r);
}

void replica_install_cancel(struct replica *r)
{
    struct list *link;
    while ((link = list_pop_front(&r->gets)) != NULL) {
        struct get *g = LIST_ITEM(link, struct get, link);
        get_nothing(g->theirs, g->cb);
        free(g);
    }
    r->ngets = 0;
}
