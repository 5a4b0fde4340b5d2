/* A configuration from a few lines of YAML, for tests of what only reads one. */
#ifndef TEST_UNIT_CORE_FIXTURE_H
#define TEST_UNIT_CORE_FIXTURE_H

#include "node/config/config.h"

#include <stdio.h>
#include <stdlib.h>

/* `more` is appended to what every configuration needs. */
static inline struct config *fixture_config(const char *more)
{
    char text[4096];
    struct config *c = NULL;
    struct config_errors errors;
    config_errors_init(&errors);
    int n = snprintf(text, sizeof text,
                     "name: test\n"
                     "hostname: relay.example.com\n"
                     "data_dir: /var/lib/turnpike\n"
                     "relay_clients:\n"
                     "  - { networks: 127.0.0.0/8, account: relay@example.com }\n"
                     "listeners:\n"
                     "  - { kind: relay, address: \"127.0.0.1:2525\", require_tls: false }\n"
                     "%s",
                     more);
    if (n < 0 || (size_t)n >= sizeof text ||
        config_parse("test.yaml", span_of(text, (size_t)n), CONFIG_NO_FILES, &c, &errors) != 0) {
        for (uint32_t i = 0; i < errors.n; i++)
            fprintf(stderr, "%s\n", errors.v[i].text);
        abort();
    }
    config_errors_fini(&errors);
    return c;
}

#endif
