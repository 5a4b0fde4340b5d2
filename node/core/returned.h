/* What comes back to the domain of our own bounces: reports to return paths that we made, complaints, and
 * mail for its postmaster. And what makes it come back: the return path and the header field of mail that
 * goes out (docs/bounces.md). The worker's thread.
 *
 * A report is read when its last byte is there, counted against its sender, and gone with the reply to the
 * dot: only what is passed on to somebody is queued.
 */
#ifndef NODE_CORE_RETURNED_H
#define NODE_CORE_RETURNED_H

#include "node/bounce/token.h"
#include "node/domain/srs.h"
#include "node/smtp/address.h"
#include "node/smtp/reply.h"
#include "spool/envelope.h"

struct cluster;
struct policy;
struct worker;

/* Of our own, or of forwarded mail (forward.h). */
#define RETURNED_PATH_MAX (sizeof BOUNCE_LOCAL_PREFIX + BOUNCE_TOKEN_TEXT + 256)
_Static_assert(RETURNED_PATH_MAX > SRS_ADDRESS_MAX, "it holds both");

/* The return path of this message to this recipient (empty: to several), in `out`; else its own. */
struct span returned_path(struct worker *w, const struct envelope *env, struct span rcpt,
                          char out[RETURNED_PATH_MAX]);
/* The value of the field BOUNCE_MARK_FIELD; false: it gets none. Before the envelope has its account: who and
 * class are apart. */
bool returned_mark(struct worker *w, const struct policy *policy, const struct envelope *env, struct span account,
                   uint8_t class, char out[BOUNCE_TOKEN_TEXT + 1]);

struct returned;

/* Whose return paths were, as far as known; one for all workers. NULL: no memory. */
struct returned_owners;
struct returned_owners *returned_owners_new(void);
void returned_owners_free(struct returned_owners *o);

/* One transaction of an inbound listener. NULL: no memory. */
struct returned *returned_new(struct worker *w);
void returned_free(struct returned *b);
/* A recipient: NULL, it is taken, and `to` is whom it goes on to (empty: to nobody); or why not. `null_sender`: the
 * client said MAIL FROM:<>. */
const struct smtp_reply *returned_rcpt(struct returned *b, const struct smtp_path *rcpt, bool null_sender,
                                       struct span *to);
void returned_content(struct returned *b, struct span bytes);
/* All content is there. `to`: whom the message is passed on to besides; empty: nobody. Lives as long as b. */
void returned_settle(struct returned *b, struct span *to);

#endif
