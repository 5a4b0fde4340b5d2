/* What each role may do: the one table of it. Pure; any thread. */
#ifndef NODE_ADMIN_ROLES_H
#define NODE_ADMIN_ROLES_H

#include <stdint.h>

/* Each may what the one before it may. As enum command_role. */
enum admin_role { ADMIN_ROLE_NONE, ADMIN_ROLE_VIEWER, ADMIN_ROLE_POSTMASTER, ADMIN_ROLE_ADMIN };

/* "viewer", ...; 0 and NULL where there is none. */
uint8_t admin_role_of(const char *name);
const char *admin_role_name(uint8_t role);

/* The least role that may use the route; a route that the table does not name is an admin's. */
uint8_t admin_role_needed(const char *method, const char *path);

/* The table, for the test that compares it with the routes. */
struct admin_role_row {
    const char *method, *path;
    uint8_t role;
};
extern const struct admin_role_row admin_role_rows[];
extern const uint32_t admin_nrole_rows;

#endif
