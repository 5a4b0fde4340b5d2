/* Any bytes as a request to join: what is accepted is encoded to what is accepted as the same. */
#include "base/ensure.h"
#include "base/err.h"
#include "consensus/transport.h"
#include "node/cluster/join.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct join_request_decoded *d, *e;
    struct buf why, out;
    buf_init(&why, 1024);
    buf_init(&out, TRANSPORT_JOIN_MAX);
    if (join_request_decode(span_of(data, size), &d, &why) == 0) {
        uint8_t first[32], again[32];
        ensure(join_request_encode(join_request_of(d), &out) == 0);
        ensure(join_request_decode(buf_span(&out), &e, NULL) == 0);
        join_request_hash(join_request_of(d), first);
        join_request_hash(join_request_of(e), again);
        ensure(memcmp(first, again, sizeof first) == 0);
        ensure(join_request_of(d)->wall_ms == join_request_of(e)->wall_ms);
        join_request_free(e);
        join_request_free(d);
    } else {
        ensure(why.len > 0);
    }
    buf_fini(&out);
    buf_fini(&why);
    return 0;
}
