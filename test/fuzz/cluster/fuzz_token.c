/* Any bytes as a token: what is accepted has a text that is accepted as the same; what is refused is
 * explained. */
#include "base/ensure.h"
#include "base/err.h"
#include "node/cluster/join.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct join_token t, u;
    struct buf why;
    buf_init(&why, 1024);
    if (join_token_parse(span_of(data, size), &t, &why) == 0) {
        char text[JOIN_TOKEN_MAX];
        join_token_format(&t, text);
        ensure(join_token_parse(span_str(text), &u, NULL) == 0);
        ensure(memcmp(&t, &u, sizeof t) == 0);
        ensure(why.len == 0);
    } else {
        ensure(why.len > 0);
    }
    buf_fini(&why);
    return 0;
}
