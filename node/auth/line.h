/* One line of the accounts file. Pure. */
#ifndef NODE_AUTH_LINE_H
#define NODE_AUTH_LINE_H

#include "base/buf.h"
#include "node/auth/accounts.h"

/* Is it empty or a comment? */
bool account_line_blank(struct span line);
/* Takes the line (NUL-terminated, without its LF) apart in place: the account's strings point into it. NULL,
 * or what is wrong. */
const char *account_line_parse(char *line, struct account *out);
/* Appends "name:hash:class:tenant:options" without LF. */
void account_line_put(struct buf *out, const struct account *a);

#endif
