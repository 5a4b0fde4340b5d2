/* A disk: libraft's log, term, vote and snapshot. What was handed over becomes durable in order, some time
 * later; the process hears of it when its loop runs. A crash loses what was not durable yet: of the last
 * write, some entries may be there and others not.
 */
#define SIM_STREAM SIM_STREAM_DISK
#include "test/sim/sim.h"

#include <stdlib.h>

enum op_kind { OP_APPEND, OP_TRUNCATE, OP_PUT, OP_GET };
struct sim_op {
    struct list link;
    enum op_kind kind;
    int64_t due_ns;
    raft_index index; /* of the first entry; truncate: of the first one that goes */
    struct sim_entry *entries;
    uint32_t n;
    struct sim_snapshot snapshot;
    unsigned trailing;
    union {
        struct raft_io_append *append;
        struct raft_io_snapshot_put *put;
        struct raft_io_snapshot_get *get;
    };
};

static struct sim_entry copy_of(const void *p, size_t n)
{
    struct sim_entry e = { .n = n, .bytes = malloc(n + 1) };
    ensure(e.bytes != NULL);
    if (n > 0)
        memcpy(e.bytes, p, n);
    return e;
}

static void snapshot_fini(struct sim_snapshot *s)
{
    free(s->conf.bytes);
    free(s->data.bytes);
    *s = (struct sim_snapshot){ 0 };
}

/* ---- what is durable -------------------------------------------------------------------------------------
 */

void disk_init(struct sim_disk *d)
{
    *d = (struct sim_disk){ .first = 1 };
    list_init(&d->ops);
    list_init(&d->done);
}

static void add(struct sim_disk *d, struct sim_entry e)
{
    if (d->n == d->cap) {
        d->cap = d->cap == 0 ? 64 : 2 * d->cap;
        d->entries = realloc(d->entries, d->cap * sizeof *d->entries);
        ensure(d->entries != NULL);
    }
    d->entries[d->n++] = e;
}

void disk_put(struct sim_disk *d, raft_term term, enum raft_entry_type type, struct span bytes)
{
    struct sim_entry e = copy_of(bytes.p, bytes.n);
    e.term = term;
    e.type = type;
    add(d, e);
    d->tail = d->first + d->n - 1;
}

static void cut_end(struct sim_disk *d, raft_index index)
{
    while (d->n > 0 && d->first + d->n > index)
        free(d->entries[--d->n].bytes);
}

static void cut_begin(struct sim_disk *d, raft_index first)
{
    uint32_t k = 0;
    while (k < d->n && d->first + k < first)
        free(d->entries[k++].bytes);
    if (k > 0)
        memmove(d->entries, d->entries + k, (d->n - k) * sizeof *d->entries);
    d->n -= k;
    d->first += k;
}

static void op_free(struct sim_op *op)
{
    for (uint32_t i = 0; i < op->n; i++)
        free(op->entries[i].bytes);
    free(op->entries);
    snapshot_fini(&op->snapshot);
    free(op);
}

/* Of an append, `n` entries. */
static void execute(struct sim_disk *d, struct sim_op *op, uint32_t n)
{
    switch (op->kind) {
    case OP_APPEND:
        ensure(d->first + d->n == op->index);
        for (uint32_t i = 0; i < n; i++) {
            add(d, op->entries[i]);
            op->entries[i].bytes = NULL;
        }
        break;
    case OP_TRUNCATE:
        cut_end(d, op->index);
        break;
    case OP_PUT:
        snapshot_fini(&d->snapshot);
        d->snapshot = op->snapshot;
        op->snapshot = (struct sim_snapshot){ 0 };
        if (op->trailing == 0) {
            cut_end(d, 0);
            d->first = d->snapshot.index + 1;
        } else if (d->snapshot.index > op->trailing) {
            cut_begin(d, d->snapshot.index - op->trailing + 1);
        }
        break;
    default:
        break;
    }
}

void disk_run(struct sim_server *s)
{
    struct sim_disk *d = &s->disk;
    for (struct list *link; (link = list_first(&d->ops)) != NULL;) {
        struct sim_op *op = LIST_ITEM(link, struct sim_op, link);
        if (op->due_ns > sim.now_ns || d->busy_until_ns > sim.now_ns)
            return;
        list_remove(link);
        execute(d, op, op->n);
        list_push_back(&d->done, link);
    }
}

void disk_crash(struct sim_server *s)
{
    struct sim_disk *d = &s->disk;
    bool more = true;
    for (struct list *link; (link = list_pop_front(&d->ops)) != NULL;) {
        struct sim_op *op = LIST_ITEM(link, struct sim_op, link);
        uint32_t n = sim_random(2) == 0 ? op->n : (uint32_t)sim_random(op->n + 1u);
        /* A snapshot that replaces the log does so at once or not at all. */
        if (more && (op->kind != OP_PUT || sim_random(2) == 0))
            execute(d, op, n);
        more = more && n == op->n && op->kind != OP_PUT && sim_random(3) > 0;
        op_free(op);
    }
    for (struct list *link; (link = list_pop_front(&d->done)) != NULL;)
        op_free(LIST_ITEM(link, struct sim_op, link));
    d->tail = d->first + d->n - 1;
}

void disk_fini(struct sim_disk *d)
{
    cut_end(d, 0);
    free(d->entries);
    snapshot_fini(&d->snapshot);
}

/* ---- libraft's view --------------------------------------------------------------------------------------
 */

static struct sim_server *of(struct raft_io *io)
{
    return LIST_ITEM(io, struct sim_server, io);
}

static struct sim_op *op_new(struct sim_server *s, enum op_kind kind)
{
    struct sim_op *op = calloc(1, sizeof *op);
    ensure(op != NULL);
    op->kind = kind;
    op->due_ns = sim.now_ns + sim.disk_ns / 2 + (int64_t)sim_random((uint64_t)sim.disk_ns);
    list_push_back(&s->disk.ops, &op->link);
    return op;
}

static struct raft_snapshot *snapshot_for_raft(const struct sim_disk *d)
{
    struct raft_buffer conf = { .base = d->snapshot.conf.bytes, .len = d->snapshot.conf.n };
    struct raft_snapshot *s = raft_malloc(sizeof *s);
    *s = (struct raft_snapshot){ .index = d->snapshot.index,
                                 .term = d->snapshot.term,
                                 .configuration_index = d->snapshot.conf_index,
                                 .n_bufs = 1 };
    ensure(raft_configuration_decode(&conf, &s->configuration) == 0);
    s->bufs = raft_malloc(sizeof *s->bufs);
    s->bufs[0].len = d->snapshot.data.n;
    s->bufs[0].base = raft_malloc(d->snapshot.data.n);
    memcpy(s->bufs[0].base, d->snapshot.data.bytes, d->snapshot.data.n);
    return s;
}

/* Told in the order in which they became durable. */
bool disk_tell(struct sim_server *s)
{
    bool any = false;
    for (struct list *link; (link = list_pop_front(&s->disk.done)) != NULL; any = true) {
        struct sim_op *op = LIST_ITEM(link, struct sim_op, link);
        sim_step(SIM_STEP_DISK, s->i, op->kind | op->index << 8);
        if (op->kind == OP_APPEND) {
            op->append->cb(op->append, 0);
        } else if (op->kind == OP_PUT) {
            op->put->cb(op->put, 0);
        } else if (op->kind == OP_GET) {
            op->get->cb(op->get, snapshot_for_raft(&s->disk), 0);
        }
        op_free(op);
    }
    return any;
}

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    (void)io;
    (void)id;
    (void)address;
    return 0;
}

static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    cb(io);
}

static int io_load(struct raft_io *io, raft_term *term, raft_id *vote, struct raft_snapshot **snapshot,
                   raft_index *first, struct raft_entry *entries[], size_t *n)
{
    struct sim_disk *d = &of(io)->disk;
    size_t bytes = 0, at = 0;
    *term = d->term;
    *vote = d->vote;
    *snapshot = NULL;
    *first = d->first;
    *n = d->n;
    *entries = NULL;
    if (d->snapshot.index > 0)
        *snapshot = snapshot_for_raft(d);
    if (d->n == 0)
        return 0;
    for (uint32_t i = 0; i < d->n; i++)
        bytes += d->entries[i].n;
    char *batch = raft_malloc(bytes);
    *entries = raft_malloc(d->n * sizeof **entries);
    for (uint32_t i = 0; i < d->n; i++) {
        const struct sim_entry *e = &d->entries[i];
        memcpy(batch + at, e->bytes, e->n);
        (*entries)[i] = (struct raft_entry){
            .term = e->term, .type = e->type, .buf = { .base = batch + at, .len = e->n }, .batch = batch
        };
        at += e->n;
    }
    return 0;
}

static int io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct sim_server *s = of(io);
    s->tick = tick;
    s->recv = recv;
    s->tick_ns = msecs * SIM_MS;
    s->tick_due_ns = s->boot_ns + s->tick_ns;
    return 0;
}

static int io_conf(struct raft_io *io, const struct raft_configuration *conf)
{
    (void)io;
    (void)conf;
    return RAFT_IOERR;
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    of(io)->disk.term = term;
    of(io)->disk.vote = 0;
    return 0;
}

static int io_set_vote(struct raft_io *io, raft_id id)
{
    of(io)->disk.vote = id;
    return 0;
}

static int io_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[],
                     unsigned n, raft_io_append_cb cb)
{
    struct sim_server *s = of(io);
    struct sim_op *op = op_new(s, OP_APPEND);
    op->index = s->disk.tail + 1;
    op->entries = calloc(n + 1u, sizeof *op->entries);
    ensure(op->entries != NULL);
    op->n = n;
    for (unsigned i = 0; i < n; i++) {
        op->entries[i] = copy_of(entries[i].buf.base, entries[i].buf.len);
        op->entries[i].term = entries[i].term;
        op->entries[i].type = entries[i].type;
    }
    s->disk.tail += n;
    req->cb = cb;
    op->append = req;
    return 0;
}

static int io_truncate(struct raft_io *io, raft_index index)
{
    struct sim_server *s = of(io);
    if (index > s->disk.tail)
        return 0;
    op_new(s, OP_TRUNCATE)->index = index;
    s->disk.tail = index - 1;
    return 0;
}

static int io_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                  const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct sim_server *s = of(io);
    struct raft_buffer conf;
    struct sim_snapshot copy = { .index = snapshot->index,
                                 .term = snapshot->term,
                                 .conf_index = snapshot->configuration_index };
    ensure(raft_configuration_encode(&snapshot->configuration, &conf) == 0);
    copy.conf = copy_of(conf.base, conf.len);
    raft_free(conf.base);
    req->cb = cb;
    if (trailing > 0) { /* ours: its content is still being encoded */
        s->take.snapshot = copy;
        s->take.trailing = trailing;
        s->take.req = req;
        return 0;
    }
    copy.data = copy_of(snapshot->bufs[0].base, snapshot->bufs[0].len);
    struct sim_op *op = op_new(s, OP_PUT);
    op->snapshot = copy;
    op->put = req;
    s->disk.tail = snapshot->index;
    return 0;
}

void disk_put_taken(struct sim_server *s)
{
    struct sim_op *op = op_new(s, OP_PUT);
    op->snapshot = s->take.snapshot;
    op->snapshot.data = copy_of(s->take.bytes.data, s->take.bytes.len);
    op->trailing = s->take.trailing;
    op->put = s->take.req;
    s->take.snapshot = (struct sim_snapshot){ 0 };
    s->take.req = NULL;
}

static int io_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb)
{
    req->cb = cb;
    op_new(of(io), OP_GET)->get = req;
    return 0;
}

static raft_time io_time(struct raft_io *io)
{
    return (raft_time)(of(io)->boot_ns / SIM_MS);
}

static int io_random(struct raft_io *io, int min, int max)
{
    (void)io;
    return min + (int)sim_random((uint64_t)(max - min));
}

void disk_io(struct sim_server *s)
{
    s->io = (struct raft_io){
        .version = 2,
        .capacity = 4096,
        .init = io_init,
        .close = io_close,
        .load = io_load,
        .start = io_start,
        .bootstrap = io_conf,
        .recover = io_conf,
        .set_term = io_set_term,
        .set_vote = io_set_vote,
        .send = net_raft_send,
        .append = io_append,
        .truncate = io_truncate,
        .snapshot_put = io_put,
        .snapshot_get = io_get,
        .time = io_time,
        .random = io_random,
    };
}
