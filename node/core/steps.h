/* What happens to a recipient before its end goes from here into the history, and comes back for `track`. The
 * worker's thread, unless said otherwise; nothing blocks. Without a history nothing is noted. */
#ifndef NODE_CORE_STEPS_H
#define NODE_CORE_STEPS_H

#include "node/admin/ops.h"
#include "node/core/attempt.h"
#include "node/core/conn.h"
#include "node/core/content.h"
#include "node/telemetry/events.h"
#include "node/telemetry/history.h"

/* Recipient i of the attempt is deferred, as the event says. */
void steps_deferred(struct worker *w, const struct attempt *a, uint32_t i, const struct conn *c,
                    const struct event *e);
/* An operator held or released these (HISTORY_STEP_HELD, _RELEASED). */
void steps_operator(struct worker *w, const struct queue_item_view *v, enum history_step_kind kind,
                    const char *by, const char *remark);
/* A message is accepted, or refused as `reply` says, that was looked at. Of those that are refused since nobody could
 * look at them nothing is noted: all mail is, then, and each comes again and again. */
void steps_checked(struct node *n, uint64_t id, const struct content *c);
void steps_rejected(struct node *n, const struct envelope *env, const struct content *c,
                    const struct smtp_reply *reply);
/* A message came from another node. Any thread. */
void steps_arrived(struct node *n, uint64_t id, const char *from);

/* The steps of one recipient, while they are needed. */
struct steps {
    struct admin_step rows[1 + HISTORY_STEPS_FIRST + HISTORY_STEPS_LAST]; /* checked, and the others */
    uint32_t n;
    struct buf texts;
};
/* To be freed whatever it returns. Any thread. */
int steps_read(struct history_reader *r, uint64_t id, uint32_t rcpt, struct steps *out);
void steps_fini(struct steps *s);

#endif
