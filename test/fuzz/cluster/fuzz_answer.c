/* Any bytes as the answer to a request to join: what is accepted is encoded, and accepted again. */
#include "base/ensure.h"
#include "base/err.h"
#include "consensus/transport.h"
#include "node/cluster/join.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct join_answer_decoded *d, *e;
    struct buf why, out;
    buf_init(&why, 1024);
    buf_init(&out, 2 * TRANSPORT_JOIN_MAX);
    if (join_answer_decode(span_of(data, size), &d, &why) == 0) {
        const struct join_answer *a = join_answer_of(d);
        ensure(join_answer_encode(a, &out) == 0);
        if (out.len <= TRANSPORT_JOIN_MAX) {
            ensure(join_answer_decode(buf_span(&out), &e, NULL) == 0);
            const struct join_answer *b = join_answer_of(e);
            ensure(a->ok == b->ok);
            ensure(a->ok ? memcmp(&a->self, &b->self, sizeof a->self) == 0 : strcmp(a->words, b->words) == 0);
            ensure(!a->ok || memcmp(a->secret, b->secret, sizeof a->secret) == 0);
            join_answer_free(e);
        }
        join_answer_free(d);
    } else {
        ensure(why.len > 0);
    }
    buf_fini(&out);
    buf_fini(&why);
    return 0;
}
