/* One connection: the handshake step by step, records in, records out. The cluster thread. */
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "gossip/gossip_impl.h"

#include <errno.h>
#include <stdlib.h>

struct outgoing {
    struct list link;
    struct gossip_frame frame; /* the payload follows */
    char bytes[];
};

static void read_more(struct gossip_conn *c);
static void write_more(struct gossip_conn *c);

/* What ends before its handshake does was a stranger's, or TLS did not accept a certificate: a refusal. That
 * a peer which we dial goes away meanwhile is none. */
static const char *blame(const struct gossip_conn *c, int err, const char *words)
{
    return c->phase < GOSSIP_OPEN && (!c->dialer || err == ERR_DENIED) ? words : NULL;
}

static void handshake_late(struct gossip_due *due)
{
    struct gossip_conn *c = HEAP_ITEM(due, struct gossip_conn, handshake_due);
    gossip_conn_close(c, ERR_TIMEOUT, blame(c, ERR_TIMEOUT, "no handshake in time"));
}

static struct gossip_conn *conn_new(struct gossip *g)
{
    struct gossip_conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->g = g;
    c->serial = ++g->serial;
    buf_init(&c->in, GOSSIP_LENGTH_BYTES + GOSSIP_RECORD_MAX + GOSSIP_READ_BYTES);
    buf_init(&c->out, GOSSIP_WRITE_BYTES + 2 * (GOSSIP_LENGTH_BYTES + GOSSIP_RECORD_MAX));
    buf_init(&c->heartbeat, 4096);
    list_init(&c->queue);
    gossip_due_init(&c->handshake_due, g, handshake_late);
    if (gossip_due_set(&c->handshake_due, GOSSIP_HANDSHAKE_MS) != 0) {
        free(c);
        return NULL;
    }
    list_push_back(&g->conns, &c->link);
    return c;
}

static void conn_free(struct gossip_conn *c)
{
    gossip_due_clear(&c->handshake_due);
    list_remove(&c->link);
    gossip_handshake_fini(&c->hs);
    buf_fini(&c->in);
    buf_fini(&c->out);
    buf_fini(&c->heartbeat);
    free(c);
}

int gossip_conn_dial(struct gossip_node *n)
{
    struct gossip_conn *c = conn_new(n->g);
    if (c == NULL)
        return -ENOMEM;
    c->phase = GOSSIP_DIALING;
    c->dialer = true;
    int err = gossip_handshake_init(&c->hs, n->g->identity, GOSSIP_DIALER, n->id);
    if (err == 0)
        err = gossip_stream_dial(n->g->net, n->address, c, &c->stream);
    if (err != 0) {
        conn_free(c);
        return err;
    }
    c->peer = n;
    n->conn = c;
    return 0;
}

static void close_oldest_stranger(struct gossip *g)
{
    LIST_EACH(link, &g->conns)
    {
        struct gossip_conn *c = LIST_ITEM(link, struct gossip_conn, link);
        if (!c->dialer && c->phase < GOSSIP_OPEN) {
            gossip_conn_close(c, ERR_BUSY, "too many connections without a handshake");
            return;
        }
    }
}

void *gossip_conn_accept(void *ctx, struct gossip_stream *s)
{
    struct gossip *g = ctx;
    if (g->closing)
        return NULL;
    if (g->strangers >= GOSSIP_STRANGERS_MAX)
        close_oldest_stranger(g);
    struct gossip_conn *c = conn_new(g);
    if (c == NULL)
        return NULL;
    c->phase = GOSSIP_MEETING;
    c->stream = s;
    g->strangers++;
    read_more(c);
    return c;
}

static void drop_queue(struct gossip_conn *c)
{
    for (struct list *link; (link = list_pop_front(&c->queue)) != NULL;) {
        free(LIST_ITEM(link, struct outgoing, link));
        c->g->stats.dropped++;
    }
    c->queued = 0;
    c->queued_bytes = 0;
}

void gossip_conn_close(struct gossip_conn *c, int err, const char *why)
{
    if (c->phase == GOSSIP_CLOSING)
        return;
    struct gossip *g = c->g;
    struct gossip_node *n = c->peer;
    bool open = c->phase == GOSSIP_OPEN;
    if (!c->dialer && !open)
        g->strangers--;
    if (why != NULL) {
        char who[192];
        if (n != NULL)
            snprintf(who, sizeof who, "node %llu at %s", (unsigned long long)n->id, n->address);
        else
            snprintf(who, sizeof who, "%s", gossip_stream_remote(c->stream));
        gossip_refused(g, who, why);
    }
    c->phase = GOSSIP_CLOSING;
    c->peer = NULL;
    gossip_due_clear(&c->handshake_due);
    drop_queue(c);
    gossip_stream_close(c->stream);
    if (n == NULL || n->conn != c)
        return;
    uint64_t id = n->id;
    n->conn = NULL;
    gossip_node_lost(n, err, why);
    if (open)
        gossip_asks_fail(g, id);
}

static void conn_closed(void *ctx)
{
    conn_free(ctx);
}

static void read_more(struct gossip_conn *c)
{
    if (c->phase == GOSSIP_CLOSING)
        return;
    int err = buf_reserve(&c->in, GOSSIP_READ_BYTES);
    if (err != 0) {
        gossip_conn_close(c, err, NULL);
        return;
    }
    gossip_stream_read(c->stream, c->in.data + c->in.len, GOSSIP_READ_BYTES);
}

/* Sending. */

static int seal(struct gossip_conn *c, const struct gossip_frame *f)
{
    uint8_t head[GOSSIP_FRAME_FIXED];
    gossip_frame_head(f, head);
    return gossip_seal_put(&c->hs.out, span_of(head, sizeof head), f->payload, &c->out);
}

static int seal_urgent(struct gossip_conn *c)
{
    int err = 0;
    if (c->echo_id != 0)
        err = seal(c, &(struct gossip_frame){ .kind = GOSSIP_ECHO, .id = c->echo_id });
    c->echo_id = 0;
    if (err == 0 && c->heartbeat_id != 0)
        err = seal(c, &(struct gossip_frame){ .kind = GOSSIP_HEARTBEAT,
                                              .id = c->heartbeat_id,
                                              .payload = buf_span(&c->heartbeat) });
    c->heartbeat_id = 0;
    return err;
}

static int seal_queue(struct gossip_conn *c)
{
    int err = 0;
    while (err == 0 && c->out.len < GOSSIP_WRITE_BYTES) {
        struct list *link = list_pop_front(&c->queue);
        if (link == NULL)
            break;
        struct outgoing *o = LIST_ITEM(link, struct outgoing, link);
        c->queued--;
        c->queued_bytes -= o->frame.payload.n + GOSSIP_RECORD_COST;
        err = seal(c, &o->frame);
        free(o);
    }
    return err;
}

static void write_more(struct gossip_conn *c)
{
    if (c->phase < GOSSIP_MEETING || c->phase == GOSSIP_CLOSING || c->writing)
        return;
    if (c->out_at == c->out.len) {
        buf_reset(&c->out);
        c->out_at = 0;
    }
    int err = 0;
    if (c->phase == GOSSIP_OPEN && c->out.len == 0) {
        err = seal_urgent(c);
        if (err == 0)
            err = seal_queue(c);
    }
    if (err != 0) {
        log_error("gossip", "cannot seal a message: %s", err_text(err));
        gossip_conn_close(c, err, NULL);
        return;
    }
    if (c->out.len == 0) {
        buf_shrink(&c->out, 2 * GOSSIP_WRITE_BYTES);
        return;
    }
    c->writing = true;
    gossip_stream_write(c->stream, c->out.data + c->out_at, c->out.len - c->out_at);
}

static void conn_written(void *ctx, int err, size_t n)
{
    struct gossip_conn *c = ctx;
    c->writing = false;
    if (err != 0) {
        gossip_conn_close(c, err, blame(c, err, err_text(err)));
        return;
    }
    ensure(n <= c->out.len - c->out_at);
    c->out_at += n;
    c->g->stats.bytes_out += n;
    write_more(c);
}

int gossip_conn_send(struct gossip_conn *c, enum gossip_kind kind, uint16_t type, uint64_t id,
                     struct span payload)
{
    if (c == NULL || c->phase != GOSSIP_OPEN)
        return ERR_CLOSED;
    if (payload.n > GOSSIP_MESSAGE_MAX)
        return ERR_LIMIT;
    size_t cost = payload.n + GOSSIP_RECORD_COST;
    if (c->queued >= GOSSIP_QUEUE_MAX || c->queued_bytes + cost > GOSSIP_QUEUE_BYTES)
        return ERR_BUSY;
    struct outgoing *o = malloc(sizeof *o + payload.n);
    if (o == NULL)
        return -ENOMEM;
    if (payload.n > 0)
        memcpy(o->bytes, payload.p, payload.n);
    o->link = (struct list){ 0 };
    o->frame = (struct gossip_frame){
        .kind = (uint8_t)kind, .type = type, .id = id, .payload = span_of(o->bytes, payload.n)
    };
    list_push_back(&c->queue, &o->link);
    c->queued++;
    c->queued_bytes += cost;
    c->g->stats.sent++;
    write_more(c);
    return 0;
}

void gossip_conn_beat(struct gossip_conn *c, uint64_t id, struct span state)
{
    buf_reset(&c->heartbeat);
    if (buf_put_span(&c->heartbeat, state) != 0)
        return;
    c->heartbeat_id = id;
    write_more(c);
}

/* The handshake. */

/* With room for the signature too, which may be added while nng still reads the hello: the memory must not
 * move then. */
static int put_hello(struct gossip_conn *c)
{
    buf_reserve(&c->out, GOSSIP_HELLO_MAX + GOSSIP_SIGNATURE_MAX);
    buf_put_u32(&c->out, (uint32_t)c->hs.hello.len);
    return buf_put_span(&c->out, buf_span(&c->hs.hello));
}

static int put_signature(struct gossip_conn *c)
{
    struct buf signature;
    buf_init(&signature, GOSSIP_SIGNATURE_MAX);
    int err = gossip_handshake_sign(&c->hs, &signature);
    ensure(!c->writing || c->out.cap - c->out.len >= GOSSIP_SIGNATURE_MAX);
    if (err == 0)
        err = seal(c, &(struct gossip_frame){ .kind = GOSSIP_AUTH, .payload = buf_span(&signature) });
    buf_fini(&signature);
    return err;
}

static void conn_dialed(void *ctx, int err)
{
    struct gossip_conn *c = ctx;
    if (err == 0)
        err = put_hello(c);
    if (err != 0) {
        gossip_conn_close(c, err, NULL);
        return;
    }
    c->phase = GOSSIP_MEETING;
    read_more(c);
    write_more(c);
}

/* The first record. An acceptor learns from it whom to answer. */
static int on_hello(struct gossip_conn *c, struct span record, const char **why)
{
    int err = 0;
    if (!c->dialer) {
        struct gossip_hello hello;
        if (gossip_hello_decode(record, &hello) != 0) {
            *why = "not a greeting of ours";
            return ERR_BAD;
        }
        err = gossip_handshake_init(&c->hs, c->g->identity, GOSSIP_ACCEPTOR, hello.node);
    }
    if (err == 0)
        err = gossip_handshake_meet(&c->hs, record, why);
    if (err == 0 && c->dialer && c->hs.peer.node != c->peer->id) {
        *why = "another node answers at this address";
        err = ERR_DENIED;
    }
    if (err == 0 && !c->dialer)
        err = put_hello(c);
    if (err == 0 && !c->dialer)
        err = put_signature(c);
    if (err == 0)
        c->phase = GOSSIP_PROVING;
    return err;
}

static int on_auth(struct gossip_conn *c, const struct gossip_frame *f, const char **why)
{
    struct gossip *g = c->g;
    if (f->kind != GOSSIP_AUTH || gossip_handshake_check(&c->hs, f->payload) != 0) {
        *why = "a signature that is not its certificate's";
        return ERR_DENIED;
    }
    if (!g->ops->admit(g->ctx, &c->hs.peer, c->hs.sha256)) {
        *why = "a certificate that is not admitted";
        return ERR_DENIED;
    }
    if (c->phase != GOSSIP_PROVING) /* admit may do anything */
        return 0;
    struct gossip_node *n = c->dialer ? c->peer : gossip_find(g, c->hs.peer.node);
    if (n == NULL || (!c->dialer && n->id > g->self.node)) {
        *why = n == NULL ? "not one of the members known here" : "it is for us to dial it";
        return ERR_DENIED;
    }
    int err = c->dialer ? put_signature(c) : 0;
    if (err != 0)
        return err;
    if (!c->dialer)
        g->strangers--;
    c->phase = GOSSIP_OPEN;
    gossip_due_clear(&c->handshake_due);
    gossip_node_opened(n, c);
    return 0;
}

/* Receiving. */

static int on_heartbeat(struct gossip_conn *c, const struct gossip_frame *f, const char **why)
{
    struct gossip_state s;
    int err = gossip_state_decode(f->payload, &s);
    if (err != 0 || s.node != c->peer->id) {
        *why = err != 0 ? "a heartbeat that cannot be read" : "speaks of itself as another node";
        return ERR_BAD;
    }
    c->echo_id = f->id;
    write_more(c);
    if (c->phase == GOSSIP_OPEN)
        gossip_node_heard(c->peer, &s);
    return 0;
}

static int on_frame(struct gossip_conn *c, const struct gossip_frame *f, const char **why)
{
    struct gossip *g = c->g;
    switch ((enum gossip_kind)f->kind) {
    case GOSSIP_HEARTBEAT:
        return on_heartbeat(c, f, why);
    case GOSSIP_ECHO:
        gossip_node_echoed(c->peer, f->id);
        return 0;
    case GOSSIP_MESSAGE:
        g->stats.received++;
        g->ops->on_message(g->ctx, c->peer->id, f->type, f->payload);
        return 0;
    case GOSSIP_REQUEST:
        g->stats.received++;
        gossip_asked(c, f);
        return 0;
    case GOSSIP_ANSWER:
    case GOSSIP_REFUSAL:
        g->stats.received++;
        gossip_asks_answered(c, f);
        return 0;
    case GOSSIP_AUTH:
        break;
    }
    *why = "a second handshake";
    return ERR_BAD;
}

static int on_sealed(struct gossip_conn *c, struct span record, const char **why)
{
    struct span plain;
    struct gossip_frame f;
    int err = gossip_seal_open(&c->hs.in, (uint8_t *)record.p, record.n, &plain);
    if (err != 0) {
        *why = "a record that its key does not open";
        return err;
    }
    err = gossip_frame_decode(plain, &f);
    if (err != 0) {
        *why = "a record that cannot be read";
        return err;
    }
    return c->phase == GOSSIP_PROVING ? on_auth(c, &f, why) : on_frame(c, &f, why);
}

/* Every whole record at the front; the rest stays. */
static void take_records(struct gossip_conn *c)
{
    size_t at = 0;
    while (c->phase != GOSSIP_CLOSING) {
        struct span rest = { c->in.data + at, c->in.len - at };
        size_t n, max = c->phase == GOSSIP_MEETING ? GOSSIP_HELLO_MAX : GOSSIP_RECORD_MAX;
        const char *why = NULL;
        int err = gossip_record_length(rest, max, &n);
        if (err == ERR_TORN)
            break;
        struct span record = { rest.p + GOSSIP_LENGTH_BYTES, n };
        if (err != 0)
            why = "a record that is too long";
        else if (c->phase == GOSSIP_MEETING)
            err = on_hello(c, record, &why);
        else
            err = on_sealed(c, record, &why);
        if (err != 0)
            gossip_conn_close(c, err, why == NULL ? err_text(err) : why);
        at += GOSSIP_LENGTH_BYTES + n;
    }
    if (c->phase == GOSSIP_CLOSING)
        return;
    buf_consume(&c->in, at);
    buf_shrink(&c->in, 4 * GOSSIP_READ_BYTES);
}

static void conn_read(void *ctx, int err, size_t n)
{
    struct gossip_conn *c = ctx;
    if (err == 0 && n == 0)
        err = ERR_CLOSED;
    if (err != 0) {
        gossip_conn_close(c, err,
                          blame(c, err, err == ERR_DENIED ? "TLS: certificate not accepted" : err_text(err)));
        return;
    }
    c->in.len += n;
    c->g->stats.bytes_in += n;
    take_records(c);
    write_more(c);
    read_more(c);
}

const struct gossip_stream_ops gossip_conn_ops = {
    .on_dialed = conn_dialed, .on_read = conn_read, .on_written = conn_written, .on_closed = conn_closed
};
