/* Any bytes as records of a connection: each as a hello and as a frame, as gossip_conn.c takes them apart.
 * What decodes is encoded again to the same bytes.
 */
#include "base/ensure.h"
#include "base/err.h"
#include "gossip/gossip.h"
#include "gossip/gossip_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_hello(struct span record)
{
    struct gossip_hello h;
    if (gossip_hello_decode(record, &h) != 0)
        return;
    struct buf b;
    buf_init(&b, GOSSIP_HELLO_MAX);
    ensure(gossip_hello_encode(&h, &b) == 0);
    ensure(span_eq(buf_span(&b), record));
    buf_fini(&b);
}

static void try_frame(struct span record)
{
    struct gossip_frame f;
    struct gossip_state s;
    if (gossip_frame_decode(record, &f) != 0)
        return;
    uint8_t head[GOSSIP_FRAME_FIXED];
    gossip_frame_head(&f, head);
    ensure(memcmp(head, record.p, sizeof head) == 0);
    ensure(f.payload.n == record.n - sizeof head && f.payload.n <= GOSSIP_MESSAGE_MAX);
    if (f.kind == GOSSIP_HEARTBEAT)
        (void)gossip_state_decode(f.payload, &s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span rest = span_of(data, size);
    size_t n;
    while (gossip_record_length(rest, GOSSIP_HELLO_MAX, &n) == 0) {
        ensure(n + GOSSIP_LENGTH_BYTES <= rest.n);
        struct span record = { rest.p + GOSSIP_LENGTH_BYTES, n };
        try_hello(record);
        try_frame(record);
        rest = span_sub(rest, GOSSIP_LENGTH_BYTES + n);
    }
    return 0;
}
