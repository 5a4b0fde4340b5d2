/* What travels on a connection between nodes, written and read. Pure. */
#include "gossip/gossip_frame.h"

#include "base/cursor.h"
#include "base/err.h"
#include "gossip/gossip.h"

static const struct span MAGIC = { "TPGOSSIP1", 9 };

int gossip_hello_encode(const struct gossip_hello *h, struct buf *out)
{
    buf_put_span(out, MAGIC);
    buf_put_u8(out, h->role);
    buf_put_u64(out, h->node);
    buf_put_u64(out, h->to);
    buf_put(out, h->key, sizeof h->key);
    buf_put(out, h->nonce, sizeof h->nonce);
    buf_put_counted(out, h->certificate);
    return buf_err(out);
}

int gossip_hello_decode(struct span bytes, struct gossip_hello *out)
{
    struct cursor c;
    cursor_init(&c, bytes.p, bytes.n);
    struct gossip_hello h = { 0 };
    struct span magic = cursor_bytes(&c, MAGIC.n);
    h.role = cursor_u8(&c);
    h.node = cursor_u64(&c);
    h.to = cursor_u64(&c);
    struct span key = cursor_bytes(&c, sizeof h.key);
    struct span nonce = cursor_bytes(&c, sizeof h.nonce);
    h.certificate = cursor_counted(&c);
    if (cursor_err(&c) != 0)
        return ERR_TORN;
    if (!span_eq(magic, MAGIC) || (h.role != GOSSIP_DIALER && h.role != GOSSIP_ACCEPTOR) || h.node == 0 ||
        h.to == 0 || h.certificate.n == 0 || cursor_left(&c) != 0)
        return ERR_BAD;
    memcpy(h.key, key.p, sizeof h.key);
    memcpy(h.nonce, nonce.p, sizeof h.nonce);
    *out = h;
    return 0;
}

static void put_le(uint8_t *p, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

void gossip_frame_head(const struct gossip_frame *f, uint8_t out[GOSSIP_FRAME_FIXED])
{
    out[0] = f->kind;
    put_le(out + 1, f->type, 2);
    put_le(out + 3, f->id, 8);
}

int gossip_frame_decode(struct span bytes, struct gossip_frame *out)
{
    struct cursor c;
    cursor_init(&c, bytes.p, bytes.n);
    struct gossip_frame f = { 0 };
    f.kind = cursor_u8(&c);
    f.type = cursor_u16(&c);
    f.id = cursor_u64(&c);
    f.payload = cursor_bytes(&c, cursor_left(&c));
    if (cursor_err(&c) != 0)
        return ERR_TORN;
    if (f.payload.n > GOSSIP_MESSAGE_MAX)
        return ERR_BAD;
    bool typed = f.kind == GOSSIP_MESSAGE || f.kind == GOSSIP_REQUEST;
    bool bare = f.kind == GOSSIP_ECHO || f.kind == GOSSIP_REFUSAL;
    bool numbered = f.kind != GOSSIP_AUTH && f.kind != GOSSIP_MESSAGE;
    if (f.kind < GOSSIP_AUTH || f.kind > GOSSIP_REFUSAL || (!typed && f.type != 0) ||
        (bare && f.payload.n > 0) || (!numbered && f.id != 0))
        return ERR_BAD;
    *out = f;
    return 0;
}

int gossip_record_length(struct span bytes, size_t max, size_t *record_bytes)
{
    struct cursor c;
    cursor_init(&c, bytes.p, bytes.n);
    size_t n = cursor_u32(&c);
    *record_bytes = n;
    if (cursor_err(&c) != 0)
        return ERR_TORN;
    if (n > max)
        return ERR_LIMIT;
    return cursor_left(&c) < n ? ERR_TORN : 0;
}
