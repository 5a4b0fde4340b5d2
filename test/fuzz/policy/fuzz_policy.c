/* Any bytes as a policy: refused with a reason, or compiled into what the machine takes and gives back
 * unchanged. */
#include "base/ensure.h"
#include "base/err.h"
#include "node/policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct policy *policy = NULL;
    struct policy_compiled back;
    struct buf why, out, diff;
    struct cursor c;
    buf_init(&why, 1u << 20);
    buf_init(&out, 1u << 20);
    buf_init(&diff, 1u << 20);
    int err = policy_parse("p", span_of(p, n), &policy, &why);
    ensure((err == 0) == (policy != NULL));
    ensure((err == 0) == (why.len == 0));
    if (policy != NULL) {
        ensure(policy_encode(&policy->compiled, &out) == 0);
        cursor_init(&c, out.data, out.len);
        ensure(policy_decode(&c, &back) == 0);
        ensure(policy_diff(policy, policy, &diff) == 0);
        ensure(diff.len == 0);
    }
    policy_rele(policy);
    buf_fini(&why);
    buf_fini(&out);
    buf_fini(&diff);
    return 0;
}
