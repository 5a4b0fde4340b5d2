/* Mail that an account forwards: its sender is somebody else, so it leaves with a return path in a domain of
 * ours (node/domain/srs.h), and what comes back to it goes on to that sender (docs/forwarding.md). The
 * worker's thread.
 */
#ifndef NODE_CORE_FORWARD_H
#define NODE_CORE_FORWARD_H

#include "node/domain/srs.h"
#include "node/smtp/address.h"
#include "node/smtp/reply.h"
#include "spool/envelope.h"

struct policy;
struct secrets;
struct session;
struct worker;

/* Is mail with that reverse-path forwarded by this session's account? By the policy, if neither the account
 * nor its tenant has the address. `p` may be NULL. */
bool forward_is(struct session *s, const struct policy *p, struct span from);
/* The same by the policy that is in force. */
bool forward_allows(struct session *s, struct span from);

/* The return path of this message, if it is forwarded: in `out`, and true. */
bool forward_path(struct worker *w, const struct policy *p, const struct envelope *env,
                  char out[SRS_ADDRESS_MAX + 1]);

/* Bounds what is returned to each address; one for all workers. NULL: no memory. */
struct forward_returns;
struct forward_returns *forward_returns_new(void);
void forward_returns_free(struct forward_returns *r);

/* Mail comes to an address in the domain of return paths. ERR_NOT_FOUND: it is none of these. Else 0, and
 * NULL in *no: it goes on to `to`; or why it is refused. `null_sender`: the client said MAIL FROM:<>. */
int forward_return(struct worker *w, const struct policy *p, const struct secrets *secrets,
                   const struct smtp_path *rcpt, bool null_sender, char to[SRS_ADDRESS_MAX + 1],
                   const struct smtp_reply **no);

#endif
