/* A directory's first state, the way back from a lost majority, and a look at what is there: all with
 * libraft's own functions on a loop of their own, while no replica has the directory open. And libraft's
 * error codes, translated. Any thread.
 */
#include "consensus/replica_impl.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

int replica_err(int raft_err)
{
    switch (raft_err) {
    case 0:
        return 0;
    case RAFT_NOMEM:
        return -ENOMEM;
    case RAFT_BADID:
    case RAFT_NOTFOUND:
        return ERR_NOT_FOUND;
    case RAFT_DUPLICATEID:
    case RAFT_DUPLICATEADDRESS:
    case RAFT_CANTBOOTSTRAP:
        return ERR_EXISTS;
    case RAFT_NOTLEADER:
    case RAFT_LEADERSHIPLOST:
    case RAFT_SHUTDOWN:
    case RAFT_CANCELED:
        return ERR_CLOSED;
    case RAFT_CANTCHANGE:
    case RAFT_BUSY:
        return ERR_BUSY;
    case RAFT_CORRUPT:
    case RAFT_MALFORMED:
        return ERR_CORRUPT;
    case RAFT_NAMETOOLONG:
    case RAFT_TOOBIG:
    case RAFT_TOOMANY:
        return ERR_LIMIT;
    case RAFT_NOCONNECTION:
        return ERR_TIMEOUT;
    case RAFT_IOERR:
        return -EIO;
    case RAFT_NOSPACE:
        return ERR_DISK_FULL;
    case RAFT_UNAUTHORIZED:
        return ERR_DENIED;
    case RAFT_BADROLE:
    case RAFT_INVALID:
        return ERR_BAD;
    default:
        return ERR_FAILED;
    }
}

/* A transport that goes nowhere: libraft wants one even to write a file. */
static int nowhere_init(struct raft_uv_transport *t, raft_id id, const char *address)
{
    (void)t, (void)id, (void)address;
    return 0;
}

static int nowhere_listen(struct raft_uv_transport *t, raft_uv_accept_cb cb)
{
    (void)t, (void)cb;
    return 0;
}

static int nowhere_connect(struct raft_uv_transport *t, struct raft_uv_connect *req, raft_id id,
                           const char *address, raft_uv_connect_cb cb)
{
    (void)t, (void)req, (void)id, (void)address, (void)cb;
    return RAFT_NOCONNECTION;
}

static void nowhere_close(struct raft_uv_transport *t, raft_uv_transport_close_cb cb)
{
    cb(t);
}

static int idle_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    (void)fsm, (void)buf;
    *result = NULL;
    return 0;
}

typedef int setup_fn(struct raft *raft, const struct raft_configuration *conf, void *arg);

static int setup(const char *dir, uint64_t id, const char *address, setup_fn *fn, void *arg, const char *what)
{
    uv_loop_t loop;
    struct raft_uv_transport transport = { .version = 1,
                                           .init = nowhere_init,
                                           .listen = nowhere_listen,
                                           .connect = nowhere_connect,
                                           .close = nowhere_close };
    struct raft_fsm fsm = { .version = 1, .apply = idle_apply };
    struct raft_io io = { 0 };
    struct raft raft = { 0 };
    struct raft_configuration conf;
    int rv = uv_loop_init(&loop);
    if (rv != 0)
        return rv;
    raft_configuration_init(&conf);
    rv = raft_configuration_add(&conf, id, address, RAFT_VOTER);
    if (rv == 0)
        rv = raft_uv_init(&io, &loop, dir, &transport);
    if (rv != 0)
        goto out;
    raft_uv_set_tracer(&io, NULL);
    raft_uv_set_segment_size(&io, REPLICA_SEGMENT_BYTES);
    rv = raft_init(&raft, &io, &fsm, id, address);
    if (rv == 0) {
        raft.tracer = NULL;
        raft.data = &loop;
        rv = fn(&raft, &conf, arg);
        raft_close(&raft, NULL);
        (void)uv_run(&loop, UV_RUN_DEFAULT);
    }
    raft_uv_close(&io);
out:
    raft_configuration_close(&conf);
    ensure(uv_loop_close(&loop) == 0);
    if (rv != 0 && rv != RAFT_CANTBOOTSTRAP)
        log_error(REPLICA_LOG, "%s: cannot %s: %s", dir, what,
                  io.errmsg[0] != '\0' ? io.errmsg : raft_strerror(rv));
    return replica_err(rv);
}

static bool has_state(const char *dir)
{
    char path[PATH_MAX];
    for (int i = 1; i <= 2; i++) {
        (void)snprintf(path, sizeof path, "%s/metadata%d", dir, i);
        if (access(path, F_OK) == 0)
            return true;
    }
    return false;
}

static int do_bootstrap(struct raft *raft, const struct raft_configuration *conf, void *arg)
{
    (void)arg;
    return raft_bootstrap(raft, conf);
}

int replica_bootstrap(const char *dir, uint64_t id, const char *address)
{
    if (has_state(dir))
        return ERR_EXISTS;
    return setup(dir, id, address, do_bootstrap, NULL, "make the first state");
}

static int do_recover(struct raft *raft, const struct raft_configuration *conf, void *arg)
{
    (void)arg;
    return raft_recover(raft, conf);
}

int replica_recover(const char *dir, uint64_t id, const char *address)
{
    if (!has_state(dir))
        return ERR_NOT_FOUND;
    return setup(dir, id, address, do_recover, NULL, "recover");
}

/* ---- looking ------------------------------------------------------------------------------------------- */

static void entries_free(struct raft_entry *entries, size_t n)
{
    void *batch = NULL;
    for (size_t i = 0; i < n; i++) {
        if (entries[i].batch != batch)
            raft_free(entries[i].batch);
        batch = entries[i].batch;
    }
    raft_free(entries);
}

static void snapshot_free(struct raft_snapshot *s)
{
    raft_configuration_close(&s->configuration);
    for (unsigned i = 0; i < s->n_bufs; i++)
        raft_free(s->bufs[i].base);
    raft_free(s->bufs);
    raft_free(s);
}

static int do_look(struct raft *raft, const struct raft_configuration *conf, void *arg)
{
    (void)conf;
    struct replica_look *out = arg;
    struct raft_snapshot *snapshot = NULL;
    struct raft_entry *entries = NULL;
    raft_term term;
    raft_id voted_for;
    raft_index first;
    size_t n = 0;
    int rv = raft->io->load(raft->io, &term, &voted_for, &snapshot, &first, &entries, &n);
    if (rv != 0)
        return rv;
    *out = (struct replica_look){ 0 };
    if (n > 0)
        *out = (struct replica_look){ .last = first + n - 1, .last_term = entries[n - 1].term };
    else if (snapshot != NULL)
        *out = (struct replica_look){ .last = snapshot->index, .last_term = snapshot->term };
    entries_free(entries, n);
    if (snapshot != NULL)
        snapshot_free(snapshot);
    return 0;
}

int replica_look(const char *dir, struct replica_look *out)
{
    if (!has_state(dir))
        return ERR_NOT_FOUND;
    return setup(dir, 1, "nobody", do_look, out, "read the state");
}

/* ---- restoring ----------------------------------------------------------------------------------------- */

struct restore {
    struct raft_buffer bufs[2]; /* the machine's bytes and what follows them */
    uint64_t index;
    struct raft_io_snapshot_put put;
    bool done;
    int status;
};

static void restore_put_cb(struct raft_io_snapshot_put *req, int status)
{
    struct restore *r = req->data;
    r->done = true;
    r->status = status;
}

static int do_restore(struct raft *raft, const struct raft_configuration *conf, void *arg)
{
    struct restore *r = arg;
    struct raft_snapshot s = { .index = r->index,
                               .term = 1,
                               .configuration = *conf,
                               .configuration_index = r->index,
                               .bufs = r->bufs,
                               .n_bufs = 2 };
    int rv = raft->io->set_term(raft->io, 1);
    r->put.data = r;
    if (rv == 0)
        rv = raft->io->snapshot_put(raft->io, 1, &r->put, &s, restore_put_cb);
    while (rv == 0 && !r->done)
        (void)uv_run(raft->data, UV_RUN_ONCE);
    return rv != 0 ? rv : r->status;
}

int replica_restore(const char *dir, uint64_t id, const char *address, struct span state, uint64_t index)
{
    struct buf trailer;
    if (has_state(dir))
        return ERR_EXISTS;
    buf_init(&trailer, 64);
    int err = replica_trailer_put(&trailer, state.n, replica_crc(state.p, state.n));
    struct restore r = { .bufs = { { .base = (void *)(uintptr_t)state.p, .len = state.n },
                                   { .base = trailer.data, .len = trailer.len } },
                         .index = index };
    if (err == 0)
        err = setup(dir, id, address, do_restore, &r, "restore a state");
    buf_fini(&trailer);
    return err;
}
