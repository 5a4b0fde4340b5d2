/* A TXT record and a policy as a hostile domain would write them: what is taken is bounded, and is taken
 * again from what is kept of it. */
#include "base/ensure.h"
#include "node/tlspolicy/sts.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span s = span_of((const char *)data, size);
    char id[STS_ID_MAX + 1];
    if (sts_txt_parse(s, id) == 0)
        ensure(strlen(id) > 0 && strlen(id) <= STS_ID_MAX && strpbrk(id, " \r\n;") == NULL);
    struct sts_policy *p = NULL;
    const char *why = NULL;
    if (sts_policy_parse(s, &p, &why) != 0) {
        ensure(p == NULL && why != NULL);
        return 0;
    }
    ensure(p->nmx <= STS_MX_MAX && p->bytes <= STS_NAMES_MAX && p->max_age_s <= STS_AGE_MAX_S);
    ensure(p->nmx > 0 || p->mode == STS_NONE);
    struct span mx[STS_MX_MAX];
    uint32_t n = 0;
    for (const char *at = NULL; (at = sts_policy_next(p, at)) != NULL;) {
        ensure(strpbrk(at, " ,\r\n:") == NULL);
        ensure(at[0] == '*' || sts_policy_allows(p, at));
        mx[n++] = span_str(at);
    }
    ensure(n == p->nmx);
    struct sts_policy *again = NULL;
    ensure(sts_policy_new(p->mode, p->max_age_s, mx, n, &again) == 0);
    ensure(again->bytes == p->bytes && memcmp(again->names, p->names, p->bytes) == 0);
    sts_policy_rele(again);
    sts_policy_rele(p);
    return 0;
}
