/* The network. libraft's messages come in order and are lost only with their link, as over TCP; the others
 * may be lost, late, out of order or twice.
 */
#define SIM_STREAM SIM_STREAM_NET
#include "test/sim/sim.h"

#include "consensus/raft_commit.h"

#include <stdlib.h>

struct sim_packet *net_new(enum sim_kind kind, uint32_t from, uint32_t to, struct span bytes)
{
    struct sim_packet *p = calloc(1, sizeof *p + bytes.n);
    ensure(p != NULL);
    p->kind = kind;
    p->from = from;
    p->to = to;
    p->nbytes = bytes.n;
    if (bytes.n > 0)
        memcpy(p->bytes, bytes.p, bytes.n);
    return p;
}

void net_free(struct sim_packet *p)
{
    free(p);
}

static void post(struct sim_packet *p, int64_t due_ns)
{
    ensure(heap_add(&sim.packets[p->to], &p->due, due_ns) == 0);
}

static int64_t latency(uint32_t from)
{
    return SIM_MS / 5 + (int64_t)sim_random((uint64_t)sim.latency_ns[from] + 1);
}

void net_send(struct sim_packet *p)
{
    bool mute = p->kind == SIM_COMMANDS && sim.mute_until_ns[p->from] > sim.now_ns;
    if (mute || sim.cut[p->from][p->to] || sim_chance(sim.loss_permille)) {
        net_free(p);
        return;
    }
    if (sim_chance(sim.dup_permille)) {
        struct sim_packet *twice = net_new(p->kind, p->from, p->to, span_of(p->bytes, p->nbytes));
        size_t n = p->nbytes;
        *twice = *p;
        if (n > 0)
            memcpy(twice->bytes, p->bytes, n);
        twice->due = (struct heap_node){ 0 };
        post(twice, sim.now_ns + latency(p->from) + sim_ms(sim_random(3) == 0 ? 4000 : 50));
    }
    post(p, sim.now_ns + latency(p->from) +
                (sim_chance(sim.late_permille) ? sim_ms(sim_random(2) == 0 ? 500 : 4000) : 0));
}

void net_send_in_order(struct sim_packet *p)
{
    if (sim.cut[p->from][p->to]) {
        net_free(p);
        return;
    }
    int64_t *last_ns = &sim.last_mail_ns[p->from][p->to], due_ns = sim.now_ns + latency(p->from);
    *last_ns = due_ns <= *last_ns ? *last_ns + 1 : due_ns;
    post(p, *last_ns);
}

struct sim_packet *net_next(uint32_t to)
{
    for (struct heap_node *first;
         (first = heap_first(&sim.packets[to])) != NULL && first->key <= sim.now_ns;) {
        struct sim_packet *p = HEAP_ITEM(first, struct sim_packet, due);
        heap_remove(&sim.packets[to], first);
        if (!sim.cut[p->from][to]) {
            sim_step(SIM_STEP_PACKET, to, p->from << 8 | (uint32_t)p->kind | (uint64_t)p->nbytes << 32);
            return p;
        }
        net_free(p);
    }
    return NULL;
}

void net_drop_all(void)
{
    for (uint32_t i = 0; i < sim.n; i++) {
        for (struct heap_node *first; (first = heap_first(&sim.packets[i])) != NULL;) {
            heap_remove(&sim.packets[i], first);
            net_free(HEAP_ITEM(first, struct sim_packet, due));
        }
        heap_fini(&sim.packets[i]);
    }
}

/* ---- libraft's messages ----------------------------------------------------------------------------------
 */

/* The request is libraft's again at once: what a socket's buffer takes is sent, whatever becomes of it. */
int net_raft_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message,
                  raft_io_send_cb cb)
{
    struct sim_server *s = LIST_ITEM(io, struct sim_server, io);
    uint32_t to = (uint32_t)message->server_id - 1;
    struct buf b;
    buf_init(&b, 1u << 28);
    uint32_t n = 0;
    if (message->type == RAFT_APPEND_ENTRIES) {
        n = message->append_entries.n_entries;
        for (uint32_t i = 0; i < n; i++) {
            const struct raft_entry *e = &message->append_entries.entries[i];
            buf_put_u64(&b, e->term);
            buf_put_u8(&b, (uint8_t)e->type);
            buf_put_counted(&b, span_of(e->buf.base, e->buf.len));
        }
    } else if (message->type == RAFT_INSTALL_SNAPSHOT) {
        struct raft_buffer conf;
        ensure(raft_configuration_encode(&message->install_snapshot.conf, &conf) == 0);
        buf_put_counted(&b, span_of(conf.base, conf.len));
        buf_put_counted(&b, span_of(message->install_snapshot.data.base, message->install_snapshot.data.len));
        raft_free(conf.base);
    }
    ensure(buf_err(&b) == 0);
    if (!sim.cut[s->i][to]) {
        struct sim_packet *p = net_new(SIM_RAFT, s->i, to, buf_span(&b));
        p->raft = *message;
        p->n = n;
        /* libraft 0.22.1 sends the newest snapshot with the term of the one that it had in mind: a follower
         * then refuses the entries after it, with an error after which they are freed twice. */
        if (message->type == RAFT_INSTALL_SNAPSHOT) {
            ensure(message->install_snapshot.last_index == s->disk.snapshot.index);
            p->raft.install_snapshot.last_term = s->disk.snapshot.term;
        }
        int64_t due_ns = sim.now_ns + latency(s->i);
        if (due_ns <= sim.last_raft_ns[s->i][to])
            due_ns = sim.last_raft_ns[s->i][to] + 1;
        sim.last_raft_ns[s->i][to] = due_ns;
        post(p, due_ns);
    }
    buf_fini(&b);
    cb(req, 0);
    return 0;
}

static struct raft_buffer buffer_of(struct span bytes)
{
    struct raft_buffer b = { .base = raft_malloc(bytes.n), .len = bytes.n };
    memcpy(b.base, bytes.p, bytes.n);
    return b;
}

static void take_entries(struct raft_append_entries *a, const struct sim_packet *p)
{
    struct cursor c;
    cursor_init(&c, p->bytes, p->nbytes);
    a->n_entries = p->n;
    a->entries = NULL;
    if (p->n == 0)
        return;
    char *batch = raft_malloc(p->nbytes);
    size_t at = 0;
    a->entries = raft_malloc(p->n * sizeof *a->entries);
    for (uint32_t i = 0; i < p->n; i++) {
        raft_term term = cursor_u64(&c);
        enum raft_entry_type type = cursor_u8(&c);
        struct span bytes = cursor_counted(&c);
        memcpy(batch + at, bytes.p, bytes.n);
        a->entries[i] = (struct raft_entry){
            .term = term, .type = type, .buf = { .base = batch + at, .len = bytes.n }, .batch = batch
        };
        at += bytes.n;
    }
    ensure(cursor_err(&c) == 0);
}

void net_raft_deliver(struct sim_server *s, const struct sim_packet *p)
{
    struct raft_message m = p->raft;
    char address[16];
    snprintf(address, sizeof address, "%u", p->from + 1);
    m.server_id = p->from + 1u;
    m.server_address = address;
    if (m.type == RAFT_APPEND_ENTRIES) {
        take_entries(&m.append_entries, p);
    } else if (m.type == RAFT_INSTALL_SNAPSHOT) {
        struct cursor c;
        cursor_init(&c, p->bytes, p->nbytes);
        struct span conf = cursor_counted(&c), data = cursor_counted(&c);
        struct raft_buffer encoded = { .base = (void *)(uintptr_t)conf.p, .len = conf.n };
        ensure(cursor_err(&c) == 0);
        ensure(raft_configuration_decode(&encoded, &m.install_snapshot.conf) == 0);
        m.install_snapshot.data = buffer_of(data);
        check_sums.installs++;
    }
    raft_commit_keep(&s->raft, &m);
    s->recv(&s->io, &m);
}
