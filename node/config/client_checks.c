/* The keys of client_checks. */
#include "node/config/client_checks.h"

#include "node/config/config.h"
#include "node/config/schema_rows.h"
#include "node/config/types.h"

static const char *const required[] = { "off", "defer", NULL };
static const char *const unknown[] = { "accept", "defer", NULL };
static const char *const syntax[] = { "lenient", "strict", NULL };

static const struct schema_field fields[] = {
    VALUE(config_client_checks, reverse_dns, "reverse_dns", flag_enum, .names = required, DEFAULT("off")),
    VALUE(config_client_checks, forward_confirmed, "forward_confirmed", bool, DEFAULT("false")),
    VALUE(config_client_checks, defer_unknown, "when_unknown", flag_enum, .names = unknown,
          DEFAULT("accept")),
    VALUE(config_client_checks, name, "name", host),
    VALUE(config_client_checks, helo_strict, "helo", flag_enum, .names = syntax, DEFAULT("lenient")),
    LIST(config_client_checks, exempt, "exempt", TYPE(net), COUNT(0, CONFIG_NETWORKS_MAX)),
    END,
};
const struct schema_map config_client_checks_map = { sizeof(struct config_client_checks), fields };
