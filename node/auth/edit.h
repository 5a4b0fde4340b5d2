/* The accounts file while it is edited: its lines, comments included. */
#ifndef NODE_AUTH_EDIT_H
#define NODE_AUTH_EDIT_H

#include "base/map.h"
#include "node/auth/accounts.h"

struct edit_line {
    char *text; /* as in the file, without LF; NULL: removed */
    char *name; /* canonical; NULL: no account */
};

struct accounts_edit {
    char *path;
    int lock;
    struct edit_line **v; /* each on its own, so that the index may point at them */
    uint32_t n, cap;
    uint32_t accounts;
    struct map index; /* by name */
};

struct edit_line *edit_find(const struct accounts_edit *e, struct span name);
/* The line that the spec makes; what is wrong in `why`. `name` has ACCOUNT_NAME_MAX + 1 bytes. */
int edit_format(const struct account_spec *spec, char *name, char **line, struct buf *why);
/* Takes `line`. */
int edit_append(struct accounts_edit *e, const char *name, char *line);

#endif
