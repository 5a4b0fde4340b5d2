/* The mailboxes of a From, Sender, To, ... header field (RFC 5322 section 3.4 with its obsolete forms, RFC
 * 6532).
 *
 * Made for checks: whether a sender may write this From. So what could be read in two ways is refused, and an
 * address is given in one form: comments, folding and blanks removed, a quoted local part without quotes
 * where it needs none. Display names may hold anything. Pure.
 */
#ifndef NODE_MAIL_ADDRESS_H
#define NODE_MAIL_ADDRESS_H

#include "base/span.h"

#define MAIL_ADDRESS_MAX 1024

/* One addr-spec, valid during the call. Other than 0 ends the walk with that. */
typedef int mail_address_fn(void *ctx, struct span address);

/* `value` is the field's body, folded or not. 0 also when there is no mailbox at all; ERR_BAD when it cannot
 * be understood: mailboxes before the place may have been given. */
int mail_address_each(struct span value, mail_address_fn *fn, void *ctx);

#endif
