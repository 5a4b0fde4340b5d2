/* TLSA records as a hostile zone would write them. The input: a length and so many octets, again and again.
 */
#include "node/tlspolicy/tlsa.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span r[24];
    size_t n = 0;
    while (size > 0 && n < sizeof r / sizeof *r) {
        size_t len = *data++;
        size--;
        len = len > size ? size : len;
        r[n++] = span_of((const char *)data, len);
        data += len;
        size -= len;
    }
    struct tlsa_set *set = NULL;
    enum tlsa_status status = tlsa_select(r, n, &set);
    if ((status == TLSA_USABLE) != (set != NULL) || (status == TLSA_NONE) != (n == 0))
        abort();
    for (uint32_t i = 0; set != NULL && i < set->n; i++) {
        const struct tlsa_record *t = &set->records[i];
        if ((t->usage != TLSA_USAGE_TA && t->usage != TLSA_USAGE_EE) || t->data.n == 0)
            abort();
    }
    free(set);
    return 0;
}
