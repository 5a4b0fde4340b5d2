/* The configuration file's keys. */
#ifndef NODE_CONFIG_TABLES_H
#define NODE_CONFIG_TABLES_H

#include "node/config/schema.h"

extern const struct schema_map config_map; /* of struct config */

#endif
