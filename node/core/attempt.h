/* One attempt at an item: the message as the spool has it, the recipients that are tried, and what came of
 * each. Made when an item is taken; outcome.c takes it when the results are there. The worker's thread.
 */
#ifndef NODE_CORE_ATTEMPT_H
#define NODE_CORE_ATTEMPT_H

#include "node/bounce/class.h"
#include "node/core/egress.h"
#include "node/net/ip.h"
#include "node/smtp/client.h"
#include "spool/spool.h"

struct conn;

enum attempt_grey_kind { ATTEMPT_NOT_GREY, ATTEMPT_MAYBE_GREY, ATTEMPT_GREY };

/* Of a recipient that was deferred. */
struct attempt_grey {
    uint8_t kind;
    int64_t since_ms;
};

/* Of a recipient that goes out over another pool from now on. */
struct attempt_move {
    char *text;
    struct span to, rule; /* into text; `to` empty: it stays */
};

struct attempt {
    struct egress *e;
    struct queue_item *item; /* in flight; NULL: it has none (any more) */
    struct spool_info *info;
    char *site; /* its key */
    uint32_t nrcpts;
    uint32_t *rcpts;                       /* indexes into info's recipients */
    struct smtp_client_rcpt *client_rcpts; /* the same, for the client */
    struct smtp_client_result *results;    /* the same, set before outcome_settle */
    struct attempt_grey *grey;             /* the same */
    struct attempt_move *moves;            /* the same; NULL: none of them */
    struct ip_addr pin;                    /* to be tried from there, if it may be; family 0: from anywhere */
    struct span pin_host;                  /* by whom it was told so */
    struct ip_addr from;                   /* it was tried from there; family 0: not known, or not tried */
    int64_t retry_at_ms;                   /* wall clock: what is deferred is tried then; 0: by the schedule, */
    int64_t not_before_ms;                 /* and not before this */
    uint16_t attempts;                     /* this one included, if it counts */
    int64_t taken_ns;
};

/* Reads the message and takes at most `max` of the item's recipients (the rest goes back to the queue).
 * ERR_NOT_FOUND: the message is gone, and so is the item; ERR_CORRUPT: it is held and told; -ENOMEM: it was
 * put back. */
int attempt_new(struct egress *e, struct queue_item *item, uint32_t max, struct attempt **out);
/* The same without the item: nothing happens to it. */
int attempt_load(struct egress *e, const struct queue_item_view *v, struct attempt **out);
void attempt_free(struct attempt *a);

/* One result for all recipients: class, stage, and a reply of our own. */
void attempt_fail_all(struct attempt *a, enum smtp_client_class class, enum smtp_client_stage stage,
                      unsigned code, const char *enhanced, const char *text);
/* What the client says of each recipient. */
void attempt_results(struct attempt *a, const struct smtp_client_result *results);
/* As attempt_fail_all with a reply that was read. */
void attempt_result_all(struct attempt *a, const struct smtp_client_result *result);
/* What the next hop meant by its answer; it is read into `reply`. */
enum bounce_class attempt_meaning(const struct smtp_client_result *r, struct bounce_reply *reply);

#endif
