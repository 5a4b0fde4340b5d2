/* A TXT record that asks for TLS reports, as a hostile domain would write it: what is taken can be sent to.
 */
#include "base/ensure.h"
#include "node/tlspolicy/rpt.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rpt_uris uris;
    int err = rpt_txt_parse(span_of((const char *)data, size), &uris);
    ensure((err == 0) == (uris.n > 0) && uris.n <= RPT_URIS_MAX);
    for (uint32_t i = 0; i < uris.n; i++) {
        struct span u = uris.uri[i];
        ensure(span_starts(u, SPAN_LIT("mailto:")) || span_starts(u, SPAN_LIT("https://")));
        for (size_t k = 0; k < u.n; k++)
            ensure(u.p[k] > ' ' && u.p[k] <= '~' && u.p[k] != '<' && u.p[k] != '>');
    }
    return 0;
}
