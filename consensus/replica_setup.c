/* A directory's first state, and the way back from a lost majority: both with libraft's own functions on a
 * loop of their own, while no replica has the directory open. And libraft's error codes, translated. Any
 * thread.
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

typedef int setup_fn(struct raft *raft, const struct raft_configuration *conf);

static int setup(const char *dir, uint64_t id, const char *address, setup_fn *fn, const char *what)
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
        rv = fn(&raft, &conf);
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

int replica_bootstrap(const char *dir, uint64_t id, const char *address)
{
    if (has_state(dir))
        return ERR_EXISTS;
    return setup(dir, id, address, raft_bootstrap, "make the first state");
}

int replica_recover(const char *dir, uint64_t id, const char *address)
{
    if (!has_state(dir))
        return ERR_NOT_FOUND;
    return setup(dir, id, address, raft_recover, "recover");
}
