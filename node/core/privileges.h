/* Becoming the configured user after ports are bound, and directories that it can write. The main thread,
 * before any other starts.
 */
#ifndef NODE_CORE_PRIVILEGES_H
#define NODE_CORE_PRIVILEGES_H

#include "node/config/config.h"

/* The priority that the cluster's thread takes later, if it may. */
#define PRIVILEGES_NICE (-10)

/* Makes data_dir and the spool's directory if they are missing, owned by the user, and raises the limits of
 * open files and of priority as far as allowed. Errors are in the log. */
int privileges_prepare(const struct config *c);
/* Root only: becomes user and group, for good. */
int privileges_drop(const struct config *c);

#endif
