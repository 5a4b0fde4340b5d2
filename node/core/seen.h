/* What a message says of who sends it, for the sender's record: how many recipients, which, from where, and
 * what its text is like. Pure but for what it reads of the worker's message. Any thread.
 */
#ifndef NODE_CORE_SEEN_H
#define NODE_CORE_SEEN_H

#include "consensus/facts.h"
#include "node/mail/likeness.h"
#include "node/net/ip.h"
#include "spool/envelope.h"

/* How many recipients, and no more: no rule asks for the rest. */
void seen_count(struct sender_facts *out, const struct envelope *env);
/* All of it. `like`: NULL, or the text; it is ended. The spans of `out` are the envelope's. */
void seen_fill(struct sender_facts *out, const struct envelope *env, const struct ip_addr *client,
               struct likeness *like);

#endif
