/* What lies between the keys: defaults that depend on others, and rules that the tables can't state. */
#ifndef NODE_CONFIG_CHECK_H
#define NODE_CONFIG_CHECK_H

#include "node/config/config.h"
#include "node/config/schema.h"

#include <sys/stat.h>

struct map;

/* After the values were read without a fault. */
void config_complete(struct schema_load *l, struct config *c);
void config_check(struct schema_load *l, struct config *c);
void config_check_listeners(struct schema_load *l, const struct config *c);
/* dkim.c */
void config_dkim_complete(struct config *c);
void config_dkim_check(struct schema_load *l, const struct config *c);
/* Reads the keys. */
void config_dkim_files(struct schema_load *l, struct config *c);
void config_dkim_fini(struct config *c);
/* The same domain's keys, one after the other; the first of each into the map. */
void config_dkim_index(struct config *c, struct map *domains);
/* Opens a regular file; -1 and a fault. */
int config_open_file(struct schema_load *l, const char *key, const char *file, struct stat *st);
/* Nobody but its owner and group can reach it; else a fault. */
bool config_private_enough(struct schema_load *l, const char *key, const char *file, const struct stat *st);
/* Looks at the files that it names; reads passwords and the token. */
void config_check_files(struct schema_load *l, struct config *c);

#endif
