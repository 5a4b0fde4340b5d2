/* Making identities, and the patterns of rules. */
#ifndef NODE_AUTH_IDENTITY_H
#define NODE_AUTH_IDENTITY_H

#include "node/auth/auth.h"

/* Copies all; NULL: no memory. `hash` is the one that the password was checked against; empty for Dovecot's.
 */
struct auth_identity *auth_identity_new(struct span account, struct span tenant, struct span senders,
                                        struct span hash, uint8_t cls);
bool auth_rule_matches(struct span pattern, struct span account);

#endif
