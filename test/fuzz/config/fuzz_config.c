/* The configuration file: whatever the text, it is read or refused with a reason, and what was read can be
 * printed, compared and asked.
 */
#include "base/ensure.h"
#include "node/config/config.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_errors errors;
    struct config *c;
    config_errors_init(&errors);
    int err = config_parse("fuzz.yaml", span_of(data, size), CONFIG_NO_FILES, &c, &errors);
    ensure((err == 0) == (c != NULL));
    ensure((err == 0) == (errors.errors == 0));
    if (c != NULL) {
        struct buf out;
        buf_init(&out, 64u << 20);
        config_describe(c, &out);
        ensure(out.len > 0);
        buf_reset(&out);
        ensure(config_diff_restart_needed(c, c, &out) == 0);
        config_route_find(c, SPAN_LIT("a.b.example.com"));
        buf_fini(&out);
        config_rele(c);
    }
    config_errors_fini(&errors);
    return 0;
}
