/* Compiled patterns over replies, for selectors. A pattern comes from an operator, the text from any server:
 * matching is bounded in steps and memory, and a match that hits the bound is no match. Any thread may match
 * at once.
 */
#ifndef NODE_ADMIN_SELECTOR_H
#define NODE_ADMIN_SELECTOR_H

#include "node/admin/ops.h"

#define ADMIN_REGEX_MAX 512 /* bytes of a pattern */

/* PCRE2 syntax, without case. ERR_BAD with PCRE2's words and the place. */
int admin_regex_new(const char *pattern, struct admin_regex **out, struct admin_error *e);
void admin_regex_free(struct admin_regex *r);
bool admin_regex_match(const struct admin_regex *r, struct span text);

/* Whether `address` is meant by `want`: a whole address, "@domain", or "<>" for the empty one; without case.
 */
bool admin_address_match(const char *want, struct span address);

/* True when nothing at all is asked for. */
bool admin_selector_empty(const struct admin_selector *sel);

#endif
