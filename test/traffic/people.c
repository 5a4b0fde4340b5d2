/* What a person sends: see traffic.h. Working hours, meetings, the mail to all customers, the newsletter from
 * the wrong account, being away, travelling, phones that change networks, homes that change addresses, nights
 * at the desk, passwords that are forgotten.
 */
#include "traffic.h"

#include <string.h>

enum { RNG_DAY = 10, RNG_CONTACT, RNG_PLACE, RNG_RARE, RNG_LOGIN, RNG_TRIP };

#define PHONE_NETWORKS 300 /* of one provider; many of its customers share each */
#define HOME_NETWORKS 3000 /* likewise; another one each day */
#define OUTSIDE_GUESSES 15 /* permille of accounts that somebody guesses at */

/* Of 1000 mails, in each hour of the sender's own day. */
static const uint16_t working_day[24] = { 3,  2,  1,  1,  2,  6,  20, 50, 95, 115, 110, 90,
                                          55, 80, 95, 90, 75, 55, 35, 27, 25, 20,  15,  8 };

static int64_t hour_of_day(struct traffic_rng *r)
{
    uint32_t total = 0, h = 0;
    for (unsigned i = 0; i < 24; i++)
        total += working_day[i];
    for (uint32_t at = traffic_below(r, total); at >= working_day[h]; h++)
        at -= working_day[h];
    return h;
}

/* A time on that day, by the sender's own clock. */
static int64_t some_time(struct traffic_rng *r, const struct traffic_sender *s, uint32_t day, int64_t hour)
{
    return day * TRAFFIC_DAY_MS + (hour - s->zone_hours) * TRAFFIC_HOUR_MS +
           traffic_below(r, (uint32_t)TRAFFIC_HOUR_MS);
}

/* ---- to whom ------------------------------------------------------------------------------------------- */

static uint32_t colleague(struct traffic_rng *r, const struct traffic_sender *s)
{
    return traffic_who(TRAFFIC_OWN_DOMAIN + s->tenant % 100, traffic_below(r, 60));
}

/* One whom the sender knows; the first ones better. */
static uint32_t contact(const struct traffic *t, uint32_t sender, struct traffic_rng *r)
{
    const struct traffic_sender *s = &t->senders[sender];
    uint32_t a = traffic_below(r, s->contacts), b = traffic_below(r, s->contacts),
             c = traffic_below(r, s->contacts);
    uint32_t which = a < b ? a : b;
    which = which < c ? which : c;
    struct traffic_rng of = traffic_rng(t->seed, RNG_CONTACT, (uint64_t)sender << 32 | which);
    return traffic_chance(&of, 400) ? colleague(&of, s) : traffic_anybody(&of, 300);
}

static void to_one(struct traffic *t, uint32_t sender, struct traffic_rng *r)
{
    bool new = traffic_chance(r, 80);
    uint32_t who = new ? traffic_anybody(r, 350) : contact(t, sender, r);
    uint32_t fate = traffic_below(r, 1000), unknown = new ? 120 : 5; /* typed wrongly; or gone meanwhile */
    traffic_rcpt_add(t, who,
                     (uint8_t)(fate < unknown       ? TRAFFIC_UNKNOWN
                               : fate < unknown + 2 ? TRAFFIC_FULL
                               : fate < unknown + 5 ? TRAFFIC_CONTENT
                               : fate < unknown + 35 && who >> 20 >= TRAFFIC_OTHER_DOMAINS
                                   ? TRAFFIC_GREYLISTED
                                   : TRAFFIC_DELIVERED));
}

static void to_who(struct traffic *t, struct traffic_rng *r, uint32_t who, uint32_t unknown_permille)
{
    traffic_rcpt_add(t, who, traffic_chance(r, unknown_permille) ? TRAFFIC_UNKNOWN : TRAFFIC_DELIVERED);
}

static void to_some(struct traffic *t, uint32_t sender, struct traffic_rng *r, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        to_one(t, sender, r);
}

/* ---- from where ---------------------------------------------------------------------------------------- */

/* Hotels, trains, airports, the phone abroad: some a day. */
static uint32_t on_a_trip(const struct traffic *t, uint32_t sender, uint32_t day, struct traffic_rng *r)
{
    struct traffic_rng of =
        traffic_rng(t->seed, RNG_TRIP, (uint64_t)sender << 32 | day << 4 | traffic_below(r, 4));
    uint32_t kind = traffic_chance(&of, 300) ? 0x80000000u : 0x700000u;
    return kind + traffic_below(&of, 0xfffff);
}

static bool is_travelling(const struct traffic *t, uint32_t sender, uint32_t day)
{
    struct traffic_rng r = traffic_rng(t->seed, RNG_TRIP, sender);
    uint32_t from = traffic_below(&r, t->days), days = traffic_between(&r, 2, 5);
    return t->senders[sender].travels && day >= from && day < from + days;
}

static uint32_t place(const struct traffic *t, uint32_t sender, uint32_t day, struct traffic_rng *r)
{
    const struct traffic_sender *s = &t->senders[sender];
    struct traffic_rng of = traffic_rng(t->seed, RNG_PLACE, (uint64_t)sender << 32 | day);
    if (is_travelling(t, sender, day))
        return on_a_trip(t, sender, day, r);
    if (s->moves == TRAFFIC_HOME && traffic_chance(&of, 700))
        return traffic_chance(r, 120)
                   ? 0x400000 + s->tenant % 4 * PHONE_NETWORKS + traffic_below(r, PHONE_NETWORKS)
                   : 0x300000 + s->tenant % 4 * HOME_NETWORKS + traffic_below(&of, HOME_NETWORKS);
    if (s->moves != TRAFFIC_STAYS && traffic_chance(r, 250)) {
        uint32_t hour_of = traffic_below(r, 3); /* it stays in one for a while */
        of = traffic_rng(t->seed, RNG_PLACE, (uint64_t)sender << 32 | day << 4 | (hour_of + 1));
        uint32_t kind = traffic_chance(&of, 500) ? 0x80100000u : 0x400000u;
        return kind + s->tenant % 4 * PHONE_NETWORKS + traffic_below(&of, PHONE_NETWORKS);
    }
    return s->place;
}

static uint8_t node_of(struct traffic_rng *r)
{
    return (uint8_t)traffic_below(r, TRAFFIC_NODES);
}

static void post(struct traffic *t, uint32_t sender, uint32_t day, int64_t at_ms, struct traffic_rng *r,
                 uint8_t text, uint32_t text_seed)
{
    uint32_t from = place(t, sender, day, r);
    traffic_add(t, (struct traffic_event){ .at_ms = at_ms,
                                           .sender = sender,
                                           .text_seed = text_seed,
                                           .place = from,
                                           .kind = TRAFFIC_MAIL,
                                           .text = text,
                                           .node = node_of(r) });
}

/* ---- what happens to people ---------------------------------------------------------------------------- */

/* 20 to 60 people are invited; often something changes, and they are told again. */
static void meeting(struct traffic *t, uint32_t sender, uint32_t day, int64_t at_ms, struct traffic_rng *r)
{
    const struct traffic_sender *s = &t->senders[sender];
    uint32_t n = traffic_chance(r, 300) ? 40 : traffic_between(r, 5, 60), seed = traffic_below(r, 1u << 30);
    uint32_t own_permille = traffic_chance(r, 700) ? 850 : 300, times = 1;
    times += traffic_chance(r, 300) ? 1 : 0;
    times += traffic_chance(r, 80) ? 1 : 0;
    struct traffic_rng same = *r;
    for (uint32_t i = 0; i < times; i++) {
        *r = same;
        for (uint32_t k = 0; k < n; k++)
            to_who(t, r, traffic_chance(r, own_permille) ? colleague(r, s) : traffic_anybody(r, 200), 8);
        post(t, sender, day, at_ms, r, TRAFFIC_TEXT_INVITATION, seed + i);
        at_ms += traffic_between(r, 2, 90) * TRAFFIC_MINUTE_MS;
        r->state += i;
    }
}

/* "We are moving", "we are closed from Monday on": by hand, to as many as one message takes. */
static void circular(struct traffic *t, uint32_t sender, uint32_t day, int64_t at_ms, struct traffic_rng *r)
{
    for (uint32_t n = traffic_between(r, 40, 100); n > 0; n--)
        to_who(t, r, traffic_anybody(r, 300), 25);
    post(t, sender, day, at_ms, r, TRAFFIC_TEXT_NOTE, traffic_below(r, 1u << 30));
}

/* An answer to each one who writes meanwhile, once, at any hour; some of those do not want answers. */
static void away(struct traffic *t, uint32_t sender, uint32_t day, struct traffic_rng *r)
{
    const struct traffic_sender *s = &t->senders[sender];
    uint32_t since = day - s->away_from, n = s->mails * traffic_between(r, 30, 120) / 100 / (1 + since) + 1;
    for (uint32_t i = 0; i < n; i++) {
        to_who(t, r, traffic_chance(r, 500) ? contact(t, sender, r) : traffic_anybody(r, 200), 60);
        int64_t hour = traffic_chance(r, 300) ? traffic_below(r, 24) : hour_of_day(r);
        int64_t at_ms = some_time(r, s, day, hour);
        traffic_add(t, (struct traffic_event){ .at_ms = at_ms,
                                               .sender = sender,
                                               .text_seed = sender,
                                               .place = s->place,
                                               .kind = TRAFFIC_MAIL,
                                               .text = TRAFFIC_TEXT_AWAY,
                                               .node = node_of(r) });
    }
}

static void logins(struct traffic *t, uint32_t sender, uint32_t day, struct traffic_rng *r)
{
    const struct traffic_sender *s = &t->senders[sender];
    uint32_t n = traffic_chance(r, 30) ? traffic_between(r, 1, 4) : 0;
    if (traffic_chance(r, 8)) /* a device that nobody told of the new password */
        n = traffic_between(r, 30, 250);
    if (sender % 1000 < OUTSIDE_GUESSES)
        n += traffic_between(r, 5, 60);
    for (uint32_t i = 0; i < n; i++) {
        int64_t at_ms = some_time(r, s, day, traffic_between(r, 0, 23));
        traffic_add(t,
                    (struct traffic_event){
                        .at_ms = at_ms, .sender = sender, .kind = TRAFFIC_FAILED_LOGIN, .node = node_of(r) });
    }
}

/* What does not happen every day. */
static void rare(struct traffic *t, uint32_t sender, uint32_t day, bool weekend)
{
    const struct traffic_sender *s = &t->senders[sender];
    struct traffic_rng r = traffic_rng(t->seed, RNG_RARE, (uint64_t)sender << 32 | day);
    logins(t, sender, day, &r);
    if (weekend)
        return;
    if (traffic_chance(&r, s->mails * 3 + 10))
        meeting(t, sender, day, some_time(&r, s, day, hour_of_day(&r)), &r);
    if (traffic_chance(&r, 4))
        circular(t, sender, day, some_time(&r, s, day, traffic_between(&r, 8, 17)), &r);
    if (traffic_chance(&r, 1)) {
        int64_t at_ms = some_time(&r, s, day, traffic_between(&r, 8, 17));
        uint32_t from = place(t, sender, day, &r), subscribers = traffic_between(&r, 300, 1500);
        traffic_issue(t, &r, sender, at_ms, from, subscribers, traffic_between(&r, 10, 40), true);
    }
    if (traffic_chance(&r, 15)) { /* a deadline */
        for (uint32_t n = traffic_between(&r, 2, 12); n > 0; n--) {
            to_some(t, sender, &r, traffic_between(&r, 1, 3));
            int64_t at_ms = some_time(&r, s, day + 1, traffic_between(&r, 0, 3));
            post(t, sender, day, at_ms, &r, TRAFFIC_TEXT_NOTE, traffic_below(&r, 1u << 30));
        }
    }
}

static void working(struct traffic *t, uint32_t sender, uint32_t day, uint32_t mails)
{
    const struct traffic_sender *s = &t->senders[sender];
    struct traffic_rng r = traffic_rng(t->seed, RNG_DAY, (uint64_t)sender << 32 | day);
    int32_t shift = is_travelling(t, sender, day) ? (int32_t)traffic_between(&r, 0, 18) - 9 : 0;
    for (uint32_t i = 0; i < mails; i++) {
        int64_t at_ms = some_time(&r, s, day, hour_of_day(&r)) + shift * TRAFFIC_HOUR_MS;
        uint32_t many = traffic_below(&r, 1000), seed = traffic_below(&r, 1u << 30);
        to_some(t, sender, &r,
                many < 700   ? 1
                : many < 900 ? traffic_between(&r, 2, 4)
                : many < 985 ? traffic_between(&r, 4, 9)
                             : traffic_between(&r, 10, 30));
        post(t, sender, day, at_ms, &r, traffic_chance(&r, 450) ? TRAFFIC_TEXT_REPLY : TRAFFIC_TEXT_NOTE,
             seed);
    }
}

void traffic_person(struct traffic *t, uint32_t sender)
{
    const struct traffic_sender *s = &t->senders[sender];
    for (uint32_t day = 0; day < t->days; day++) {
        struct traffic_rng r = traffic_rng(t->seed, RNG_DAY, (uint64_t)sender << 32 | day | 1u << 31);
        bool weekend = day % 7 >= 5;
        if (s->away_days > 0 && day >= s->away_from && day < s->away_from + s->away_days) {
            away(t, sender, day, &r);
            continue;
        }
        uint32_t mails = s->mails * traffic_between(&r, 40, 160) / 100;
        if (weekend)
            mails = traffic_chance(&r, 300) ? mails / 6 + 1 : 0;
        else if (mails == 0)
            mails = traffic_chance(&r, 500);
        working(t, sender, day, mails);
        rare(t, sender, day, weekend);
    }
}
