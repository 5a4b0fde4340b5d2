/* Any bytes as the result of a command, as the leader sends it: what decodes is encoded to what decodes as
 * the same. */
#include "base/ensure.h"
#include "base/err.h"
#include "consensus/machine.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine_result r, again;
    struct cursor c;
    struct buf b;
    cursor_init(&c, data, size);
    int err = machine_result_decode(&c, &r);
    ensure(err == 0 || err == ERR_TORN || err == ERR_CORRUPT);
    if (err != 0)
        return 0;
    buf_init(&b, size); /* never longer */
    ensure(machine_result_encode(&r, &b) == 0);
    cursor_init(&c, b.data, b.len);
    ensure(machine_result_decode(&c, &again) == 0);
    ensure(cursor_left(&c) == 0);
    ensure(r.err == again.err && r.id == again.id && r.now_ms == again.now_ms);
    ensure(r.count == again.count && r.life_ms == again.life_ms);
    ensure(r.why == again.why && r.scope == again.scope && r.free_ms == again.free_ms);
    ensure(r.limit_count == again.limit_count && r.limit_window_ms == again.limit_window_ms);
    ensure(strcmp(r.limit, again.limit) == 0);
    ensure(strcmp(r.words, again.words) == 0);
    buf_fini(&b);
    return 0;
}
