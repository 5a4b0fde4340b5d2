/* Senders' habits: see directory_habit.h. */
#include "consensus/directory_habit.h"

#include "base/err.h"

#include <errno.h>
#include <stdlib.h>

#define DAY_WALL_MS 86400000
#define WAITING_DAYS 2

void habit_fini(struct habit *h)
{
    free(h->networks);
}

uint16_t habit_day(int64_t wall_ms)
{
    int64_t days = wall_ms / DAY_WALL_MS;
    return wall_ms < DAY_WALL_MS || days > UINT16_MAX ? 0 : (uint16_t)days;
}

static bool used_lately(uint16_t day, uint16_t today)
{
    return day != 0 && today > day && today - day <= HABIT_DAYS;
}

bool habit_odd_hour(struct habit *h, int64_t wall_ms)
{
    uint16_t today = habit_day(wall_ms);
    if (today == 0)
        return false;
    unsigned hour = (unsigned)(wall_ms / 3600000 % 24);
    if (h->first_day == 0)
        h->first_day = today;
    if (h->last_day[hour] != today) {
        h->day_before[hour] = h->last_day[hour];
        h->last_day[hour] = today;
    }
    if (today < h->first_day || today - h->first_day < HABIT_LEARNING)
        return false;
    for (unsigned k = 23; k <= 25; k++) { /* the hour before and the one behind it too */
        unsigned at = (hour + k) % 24;
        if (used_lately(h->last_day[at], today) || used_lately(h->day_before[at], today))
            return false;
    }
    return true;
}

static void turn(struct habit_networks *n, uint16_t today)
{
    if (today < n->begun + WAITING_DAYS) /* a clock that went back changes nothing */
        return;
    facts_sketch_merge(&n->lately, &n->waits);
    n->waits = n->now;
    if (today >= n->begun + 2 * WAITING_DAYS) {
        facts_sketch_merge(&n->lately, &n->waits);
        n->waits = (struct facts_sketch){ .rank = { 0 } };
    }
    n->now = (struct facts_sketch){ .rank = { 0 } };
    n->begun = today;
    if (today - n->turned <= HABIT_DAYS)

        return;
    n->before = n->lately;
    n->lately = (struct facts_sketch){ .rank = { 0 } };
    n->turned = today;
}

int habit_new_network(struct habit *h, int64_t wall_ms, const struct facts_sketch *networks)
{
    uint16_t today = habit_day(wall_ms);
    int new = 0;
    if (today == 0)
        return 0;
    if (h->networks == NULL) {
        h->networks = calloc(1, sizeof *h->networks);
        if (h->networks == NULL)
            return -ENOMEM;

        h->networks->since = h->networks->turned = h->networks->begun = today;
    }
    struct habit_networks *n = h->networks;
    turn(n, today);
    facts_sketch_merge(&n->now, networks);
    for (unsigned i = 0; i < FACTS_REGISTERS; i++)
        if (networks->rank[i] > n->before.rank[i] && networks->rank[i] > n->lately.rank[i])
            new = 1;
    return new;
}

void habit_forget_new(struct habit *h)
{
    if (h->networks == NULL)
        return;
    h->networks->waits = (struct facts_sketch){ .rank = { 0 } };
    h->networks->now = (struct facts_sketch){ .rank = { 0 } };
}

/* How long after `day` the sender was seen last. */
static uint32_t days_since(const struct habit *h, uint16_t day)
{
    uint16_t last = 0;
    for (unsigned i = 0; i < 24; i++)
        last = h->last_day[i] > last ? h->last_day[i] : last;
    return day == 0 || last < day ? 0 : (uint32_t)(last - day);
}

bool habit_learning_networks(const struct habit *h)
{
    return h->networks == NULL || days_since(h, h->networks->since) < HABIT_LEARNING;
}

uint32_t habit_age_days(const struct habit *h)
{
    return days_since(h, h->first_day);
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

void habit_networks_put(struct buf *out, const struct habit_networks *n)
{
    (void)buf_put_u16(out, n->since);
    (void)buf_put_u16(out, n->turned);
    (void)buf_put_u16(out, n->begun);
    facts_sketch_put(out, &n->before);
    facts_sketch_put(out, &n->lately);
    facts_sketch_put(out, &n->waits);

    facts_sketch_put(out, &n->now);
}

int habit_networks_get(struct cursor *c, struct habit_networks **out)
{
    struct habit_networks *n = calloc(1, sizeof *n);
    if (n == NULL)
        return -ENOMEM;
    n->since = cursor_u16(c);
    n->turned = cursor_u16(c);
    n->begun = cursor_u16(c);
    if (!facts_sketch_get(c, &n->before) || !facts_sketch_get(c, &n->lately) ||
        !facts_sketch_get(c, &n->waits) || !facts_sketch_get(c, &n->now)) {
        free(n);
        return ERR_CORRUPT;
    }
    *out = n;
    return 0;
}
