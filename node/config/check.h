/* What lies between the keys: defaults that depend on others, and rules that the tables can't state. */
#ifndef NODE_CONFIG_CHECK_H
#define NODE_CONFIG_CHECK_H

#include "node/config/config.h"
#include "node/config/schema.h"

/* After the values were read without a fault. */
void config_complete(struct schema_load *l, struct config *c);
void config_check(struct schema_load *l, struct config *c);
void config_check_listeners(struct schema_load *l, const struct config *c);
/* Looks at the files that it names; reads passwords and the token. */
void config_check_files(struct schema_load *l, struct config *c);

#endif
