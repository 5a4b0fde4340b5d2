/* SRS: whatever address is forwarded comes back, but for the case of its letters; and nothing else is
 * believed. */
#include "base/err.h"
#include "node/domain/srs.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct srs s = { .domain = SPAN_LIT("srs.test"),
                           .keys = { SPAN_LIT("0123456789abcdef") },
                           .nkeys = 1 };
    /* nothing is ever signed with this one: what the fuzzer sees compared would teach it the other's */
    const struct srs unused = { .domain = s.domain, .keys = { SPAN_LIT("fedcba9876543210") }, .nkeys = 1 };
    struct span address = span_of(data, size);
    char out[SRS_ADDRESS_MAX + 1], back[SRS_ADDRESS_MAX + 1];
    if (srs_reverse(&unused, address, 1000000, back) == 0)
        abort();
    if (srs_forward(&s, address, 1000000, out) != 0 || span_eq(address, span_str(out)))
        return 0;
    int err = srs_reverse(&s, span_str(out), 1000000, back);
    /* only an SRS1 of others may name a host that is none */
    if (err == 0
            ? !span_eq_nocase(address, span_str(back)) && (size < 4 || (data[3] != '1' && data[3] != '0'))
            : err != ERR_BAD)
        abort();
    return 0;
}
