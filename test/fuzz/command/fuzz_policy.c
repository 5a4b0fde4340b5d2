/* Any bytes as a compiled policy: what is taken is in range, and is written as it was read. */
#include "base/ensure.h"
#include "base/err.h"
#include "consensus/policy.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c;
    struct policy_compiled p;
    cursor_init(&c, data, size);
    int err = policy_decode(&c, &p);
    ensure(err == 0 || err == ERR_TORN || err == ERR_CORRUPT);
    if (err != 0)
        return 0;
    ensure(p.nlimits <= POLICY_LIMITS_MAX);
    struct buf again;
    buf_init(&again, SIZE_MAX);
    ensure(policy_encode(&p, &again) == 0);
    ensure(span_eq(buf_span(&again), span_of(data, size - cursor_left(&c))));
    buf_fini(&again);
    return 0;
}
