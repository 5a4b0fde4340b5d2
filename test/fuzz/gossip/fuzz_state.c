/* Any bytes as a heartbeat's state: what decodes is encoded again to the same bytes, but for what a newer
 * node adds, and what an older one has not. */
#include "base/ensure.h"
#include "gossip/gossip.h"

#define ADDED 12 /* bytes, since the first version */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gossip_state s, again;
    if (gossip_state_decode(span_of(data, size), &s) != 0)
        return 0;
    struct buf b;
    buf_init(&b, 4096);
    ensure(gossip_state_encode(&s, &b) == 0);
    size_t same = b.len <= size ? b.len : b.len - ADDED; /* of an older node */
    ensure(same <= size);
    ensure(memcmp(b.data + 2, data + 2, same - 2) == 0);
    ensure(gossip_state_decode(buf_span(&b), &again) == 0);
    ensure(strcmp(s.version, again.version) == 0 && s.node == again.node && s.digest == again.digest);
    buf_fini(&b);
    return 0;
}
