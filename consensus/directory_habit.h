/* A sender's habits: the hours of the day at which he sends, and the networks from which. Pure; part of the
 * sender's record (directory_sender.c).
 */
#ifndef CONSENSUS_DIRECTORY_HABIT_H
#define CONSENSUS_DIRECTORY_HABIT_H

#include "base/buf.h"
#include "base/cursor.h"
#include "consensus/facts.h"

#include <stdbool.h>
#include <stdint.h>

#define HABIT_DAYS 21    /* an hour, or a network, that was not used for so long is odd, or new */
#define HABIT_LEARNING 7 /* days of a sender whose habits are not known yet */

/* Of client networks, as sketches. What is used now waits two to four days until it is known, so that who
 * keeps coming from elsewhere is noticed for longer than until midnight. A network is new when it would
 * change what is known: never said of one that was used before and lately, and seldom missed (one in twenty
 * for a sender who uses five). */
struct habit_networks {
    uint16_t since, turned,
        begun; /* days by the wall clock: of the first one, when `lately` and `now` began */
    struct facts_sketch before, lately, waits, now;
};

struct habit {
    uint16_t first_day, last_day[24], day_before[24]; /* the last two on which that hour was used */
    struct habit_networks *networks;                  /* NULL: none was seen yet */
};

void habit_fini(struct habit *h);
/* The day by the wall clock; 0: it is out of range. */
uint16_t habit_day(int64_t wall_ms);
/* Whether this hour of the day is one at which the sender does not send; the day itself says nothing. */
bool habit_odd_hour(struct habit *h, int64_t wall_ms);
/* Whether one of these networks is new; at first all are. -ENOMEM; 0, 1. */
int habit_new_network(struct habit *h, int64_t wall_ms, const struct facts_sketch *networks);
/* Networks that are not known yet begin anew to become so. */
void habit_forget_new(struct habit *h);
/* His networks are not known for long enough to say that one is new. */
bool habit_learning_networks(const struct habit *h);
/* Days since the sender was seen first. */
uint32_t habit_age_days(const struct habit *h);

void habit_networks_put(struct buf *out, const struct habit_networks *n);
/* 0, -ENOMEM, ERR_CORRUPT; else errors stay in the cursor. */
int habit_networks_get(struct cursor *c, struct habit_networks **out);

#endif
