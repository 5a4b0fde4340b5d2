/* Greylisted mail and its connections: the next attempts go out from the address that was told to come
 * again, as long as this node may send from it. A connection that comes to an item of another address changes
 * its own: it ends the session and opens another from there, with the item in hand. The worker's thread.
 */
#ifndef NODE_CORE_CONN_GREY_H
#define NODE_CORE_CONN_GREY_H

#include "node/core/attempt.h"
#include "node/shaping/grey_mark.h"
#include "node/shaping/rules.h"

struct conn;

#define GREY_ATTEMPTS 4 /* that are put off and bound so; later ones go by the schedule, from any address */

/* The address that recipients of this message are to be tried from at this attempt, and the host that said
 * so. False: any. `host` points into info. */
bool grey_pin(const struct spool_info *info, const uint32_t *rcpts, uint32_t n, uint32_t attempts,
              struct ip_addr *pin, struct span *host);

/* ---- which address --------------------------------------------------------------------------------------
 */

/* The connection is about to choose a target: what it will probably be given first may be bound. */
void conn_grey_expect(struct conn *c);
/* The address that it is bound to, if it is of the family and may be used; false otherwise. */
bool conn_grey_source(struct conn *c, uint8_t family, struct ip_addr *out);

/* The item in hand is bound to another address that may be used: goes there, and the connection may be gone
 * when this returns true. */
bool conn_grey_moves(struct conn *c);
/* The address that the item in hand is bound to is another node's now: the item is asked to be moved there, and is in
 * hand no more. */
bool conn_grey_hands(struct conn *c);
/* It has come there, and the item is still in hand: true if its attempt may begin now. If not (it was frozen
 * meanwhile), it is given back. Reads CLOCK_BOOTTIME. */
bool conn_grey_arrived(struct conn *c);
/* The item that it moves with is given back, untried. */
void conn_grey_give_back(struct conn *c);
/* No host can be reached from there: the item is deferred; the connection is still to be ended. */
void conn_grey_lost(struct conn *c);

/* ---- outcomes -------------------------------------------------------------------------------------------
 */

/* A deferral of the attempt's i-th recipient: by a rule that says greylisting, or (`rule` NULL) by none. Is
 * learnt from; may say when it is tried again. */
void conn_grey_refused(struct conn *c, uint32_t i, const struct shaping_rule *rule);
/* The site took it. */
void conn_grey_taken(struct conn *c, uint32_t i);
/* The mark that the i-th recipient's deferral is recorded with; false: none. `text` has room for an address.
 */
bool attempt_grey_mark(const struct attempt *a, uint32_t i, const struct conn *c, struct grey_mark *out,
                       char text[IP_TEXT_MAX]);

#endif
