/* What another node says of MTA-STS policies: a question, an answer, a policy just fetched. What is taken is
 * told again in the same words, and the store keeps its bounds. */
#include "base/ensure.h"
#include "node/tlspolicy/sts_share.h"

#include <string.h>

#define NOW INT64_C(1700000000000)
#define DOMAINS_MAX 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span s = span_of((const char *)data, size);
    struct sts_store *a = NULL, *b = NULL;
    struct sts_share_taken taken;
    struct buf question, answer;
    buf_init(&question, 1u << 16);
    buf_init(&answer, 1u << 20);
    ensure(sts_store_new("/nonexistent/a", DOMAINS_MAX, NOW, &a) == 0);
    ensure(sts_store_new("/nonexistent/b", DOMAINS_MAX, NOW, &b) == 0);
    if (sts_share_answer(a, s, NOW, &answer) == 0)
        ensure(answer.len == 8);
    buf_reset(&answer);
    if (sts_share_take(a, s, NOW, &taken) != 0)
        (void)sts_share_hear(a, s, NOW, true);
    ensure(sts_store_count(a) <= DOMAINS_MAX);
    ensure(sts_share_question(b, 0, NOW, &question) == 0);
    ensure(sts_share_answer(a, buf_span(&question), NOW, &answer) == 0);
    ensure(sts_share_take(b, buf_span(&answer), NOW, &taken) == 0);
    ensure(taken.news == sts_store_count(a) && sts_store_count(b) == sts_store_count(a));
    buf_reset(&answer);
    ensure(sts_share_answer(b, buf_span(&question), NOW, &answer) == 0);
    ensure(taken.news == 0 || answer.len > 8);
    buf_fini(&question);
    buf_fini(&answer);
    sts_store_free(a);
    sts_store_free(b);
    return 0;
}
