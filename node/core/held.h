/* Held mail of this node: why each message is, how much there is of it, and whether there is room for more.
 * What is held is mail like any other after its 250: it is in the queues (node/queue: HELD) and in the spool. Here
 * it is only counted. Any thread.
 *
 * A message that was held when it was accepted has not been charged to its sender's limits; its release is
 * (held_release.h).
 */
#ifndef NODE_CORE_HELD_H
#define NODE_CORE_HELD_H

#include "node/shaping/hold_mark.h"
#include "spool/spool.h"

struct held;
struct node;
struct policy_held;
struct queue_item_view;

/* Why the recipient is held, and since when; kind HOLD_RELEASED: it is not, and was released then. False: it was
 * neither. Spans point into the envelope and the recipient's reply. */
bool held_reason(const struct envelope *env, const struct spool_rcpt *r, struct hold_mark *out);

/* -ENOMEM */
int held_new(struct held **out);
void held_free(struct held *h);

enum held_room { HELD_ROOM, HELD_FULL_SENDER, HELD_FULL_NODE };

/* Before a message is accepted in order to be held: is there room? If so it counts, until held_forget (it was not
 * accepted after all) or until none of its recipients is held any more. */
enum held_room held_admit(struct held *h, const struct policy_held *limits, uint64_t id, struct span sender,
                          uint64_t bytes);
void held_forget(struct held *h, uint64_t id);

/* For queue_on_held: `held` is a struct held. */
void held_changed(void *held, const struct queue_item_view *v, int by);

/* One release at a time on a node; false: another one is under way. */
bool held_try_release(struct held *h);
void held_released(struct held *h);

/* Recipients that an operator let go: charged, exempted, or charged already when they were accepted; that stayed for
 * want of quota; that were held too long. */
enum held_count { HELD_CHARGED, HELD_EXEMPT, HELD_FREE, HELD_NO_QUOTA, HELD_EXPIRED, HELD_COUNTS };
void held_count(struct held *h, enum held_count what, uint64_t n);

struct held_stats {
    uint64_t messages, recipients, bytes;
    uint64_t refused; /* messages that found no room */
    uint64_t counts[HELD_COUNTS];
    uint32_t senders;
};
void held_stats(struct held *h, struct held_stats *out);

/* A web sender's host is charged for its release, too, as mail of the class that it was when it came: that stands before
 * the reason's text, "[device] script-hour". `out` has HOLD_TEXT_MAX + 1 bytes. */
struct span held_host_text(uint8_t class, struct span text, char *out);
/* The class; -1: none stands there. */
int held_host_class(struct span text);

#endif
