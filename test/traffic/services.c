/* What machines send: see traffic.h. Scanners and monitoring, shops with a sale and one that moves, sign-ups
 * with addresses that do not exist, help desks, the invoices at the month's end, forwarders that pass on
 * other people's mail and spam, newsletters, mailing lists.
 */
#include "traffic.h"

enum { RNG_SERVICE = 30, RNG_MOVE, RNG_SUBSCRIBER };

#define MONTH_ENDS 10 /* the day, from 0: in the second week */

static int64_t at_hour(struct traffic_rng *r, const struct traffic_sender *s, uint32_t day, uint32_t from,
                       uint32_t to)
{
    int64_t hour = (int64_t)traffic_between(r, from, to) - s->zone_hours;
    return day * TRAFFIC_DAY_MS + hour * TRAFFIC_HOUR_MS + traffic_below(r, (uint32_t)TRAFFIC_HOUR_MS);
}

static void post(struct traffic *t, struct traffic_rng *r, uint32_t sender, int64_t at_ms, uint8_t text,
                 uint32_t seed)
{
    traffic_add(t, (struct traffic_event){ .at_ms = at_ms,
                                           .sender = sender,
                                           .text_seed = seed,
                                           .place = t->senders[sender].place,
                                           .kind = TRAFFIC_MAIL,
                                           .text = text,
                                           .node = (uint8_t)traffic_below(r, TRAFFIC_NODES) });
}

static uint8_t fate(struct traffic_rng *r, uint32_t unknown_permille)
{
    uint32_t d = traffic_below(r, 1000);
    return d < unknown_permille        ? TRAFFIC_UNKNOWN
           : d < unknown_permille + 5  ? TRAFFIC_FULL
           : d < unknown_permille + 25 ? TRAFFIC_GREYLISTED
                                       : TRAFFIC_DELIVERED;
}

static void to_who(struct traffic *t, struct traffic_rng *r, uint32_t who, uint32_t unknown_permille)
{
    traffic_rcpt_add(t, who, fate(r, unknown_permille));
}

static void scanner(struct traffic *t, uint32_t sender, uint32_t day, struct traffic_rng *r)
{
    const struct traffic_sender *s = &t->senders[sender];
    for (uint32_t n = day % 7 >= 5 ? 0 : traffic_between(r, 2, 60); n > 0; n--) {
        for (uint32_t k = traffic_chance(r, 100) ? 3 : 1; k > 0; k--)
            to_who(t, r, traffic_who(TRAFFIC_OWN_DOMAIN + s->tenant % 100, traffic_below(r, 60)), 5);
        post(t, r, sender, at_hour(r, s, day, 8, 17), TRAFFIC_TEXT_SCAN, n);
    }
}

static void monitoring(struct traffic *t, uint32_t sender, uint32_t day, struct traffic_rng *r)
{
    const struct traffic_sender *s = &t->senders[sender];
    uint32_t admins = 1 + sender % 4, n = traffic_between(r, 5, 60);
    bool outage = traffic_chance(r, 60);
    int64_t begin_ms = at_hour(r, s, day, 0, 23);
    if (outage)
        n += traffic_between(r, 100, 300);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < admins; k++)
            traffic_rcpt_add(t, traffic_who(TRAFFIC_OWN_DOMAIN + s->tenant % 100, k), TRAFFIC_DELIVERED);
        int64_t at_ms = outage && i >= 60 ? begin_ms + traffic_below(r, 40 * (uint32_t)TRAFFIC_MINUTE_MS)
                                          : at_hour(r, s, day, 0, 23);
        post(t, r, sender, at_ms, TRAFFIC_TEXT_ALERT, traffic_below(r, 20));
    }
}

/* A confirmation, and later that it is on its way; six times as many on the day of a sale. One in ten shops
 * moves to another machine in the second week. */
static void shop(struct traffic *t, uint32_t sender, uint32_t day, struct traffic_rng *r)
{
    struct traffic_sender *s = &t->senders[sender];
    struct traffic_rng of = traffic_rng(t->seed, RNG_MOVE, sender);
    uint32_t orders = traffic_between(&of, 10, 200), sale = traffic_below(&of, 14);
    bool moves = traffic_chance(&of, 100);
    if (moves && day == 9)
        s->place += 0x10000;
    orders = orders * traffic_between(r, 60, 140) / 100 * (day == sale ? 6 : 1);
    for (uint32_t i = 0; i < orders; i++) {
        uint32_t who = traffic_anybody(r, 650);
        int64_t at_ms = at_hour(r, s, day, traffic_chance(r, 900) ? 7 : 0, 23);
        uint8_t what = fate(r, 15);
        traffic_rcpt_add(t, who, what);
        post(t, r, sender, at_ms, TRAFFIC_TEXT_ORDER, sender * 4);
        traffic_rcpt_add(t, who, what);
        post(t, r, sender, at_ms + traffic_between(r, 60, 1500) * TRAFFIC_MINUTE_MS, TRAFFIC_TEXT_ORDER,
             sender * 4 + 1);
    }
}

static void signup(struct traffic *t, uint32_t sender, uint32_t day, struct traffic_rng *r)
{
    uint32_t n = traffic_between(r, 10, 150);
    for (uint32_t i = 0; i < n; i++) {
        to_who(t, r, traffic_anybody(r, 750), 60);
        post(t, r, sender, at_hour(r, &t->senders[sender], day, 0, 23), TRAFFIC_TEXT_SIGNUP, sender);
    }
}

static void helpdesk(struct traffic *t, uint32_t sender, uint32_t day, struct traffic_rng *r)
{
    uint32_t n = day % 7 >= 5 ? 8 : traffic_between(r, 30, 200);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 1 + (traffic_chance(r, 300) ? traffic_below(r, 5) : 0); k > 0; k--)
            to_who(t, r, traffic_anybody(r, 250), 10);
        int64_t at_ms = at_hour(r, &t->senders[sender], day, 7, 19);
        post(t, r, sender, at_ms, TRAFFIC_TEXT_TICKET, traffic_below(r, 1u << 30));
    }
}

/* Some mails a day, and at the month's end an invoice to each of 1,200 customers within half an hour. */
static void erp(struct traffic *t, uint32_t sender, uint32_t day, struct traffic_rng *r)
{
    const struct traffic_sender *s = &t->senders[sender];
    for (uint32_t n = day % 7 >= 5 ? 0 : traffic_between(r, 2, 25); n > 0; n--) {
        to_who(t, r, traffic_anybody(r, 200), 10);
        int64_t at_ms = at_hour(r, s, day, 8, 17);
        post(t, r, sender, at_ms, TRAFFIC_TEXT_INVOICE, sender * 8 + traffic_below(r, 4));
    }
    if (day != MONTH_ENDS)
        return;
    int64_t begin_ms = at_hour(r, s, day, 7, 18);
    for (uint32_t i = 0; i < 1200; i++) {
        to_who(t, r, traffic_anybody(r, 250), 30);
        post(t, r, sender, begin_ms + i * 1500, TRAFFIC_TEXT_INVOICE, sender * 8 + 7);
    }
}

/* Whatever comes for its people goes on to their other mailboxes, spam among it, which is refused there. */
static void forwarder(struct traffic *t, uint32_t sender, uint32_t day, struct traffic_rng *r)
{
    uint32_t n = traffic_between(r, 60, 500), people = 5 + sender % 50, wave = traffic_below(r, 1u << 30);
    int64_t wave_ms = at_hour(r, &t->senders[sender], day, 0, 23);
    for (uint32_t i = 0; i < n; i++) {
        bool spam = traffic_chance(r, 150), of_wave = spam && traffic_chance(r, 500);
        uint32_t person = sender * 64 + traffic_below(r, people);
        uint32_t who = traffic_who(traffic_below(r, TRAFFIC_LARGE_DOMAINS), person);
        traffic_rcpt_add(t, who, spam && traffic_chance(r, 600) ? TRAFFIC_CONTENT : fate(r, 3));
        int64_t at_ms = of_wave ? wave_ms + traffic_below(r, 30 * (uint32_t)TRAFFIC_MINUTE_MS)
                                : at_hour(r, &t->senders[sender], day, 0, 23);
        post(t, r, sender, at_ms, spam ? TRAFFIC_TEXT_SPAM : TRAFFIC_TEXT_NOTE,
             of_wave ? wave : traffic_below(r, 1u << 30));
    }
}

void traffic_issue(struct traffic *t, struct traffic_rng *r, uint32_t sender, int64_t at_ms, uint32_t place,
                   uint32_t subscribers, uint32_t bounce_permille, bool wrong)
{
    uint32_t seed = traffic_below(r, 1u << 30), each_ms = traffic_between(r, 200, 4000);
    struct traffic_rng who = traffic_rng(t->seed, RNG_SUBSCRIBER, sender);
    for (uint32_t i = 0; i < subscribers; i++) {
        uint32_t to = traffic_anybody(&who, 600);
        uint8_t what = fate(r, bounce_permille);
        traffic_rcpt_add(t, to,
                         what == TRAFFIC_DELIVERED && traffic_below(r, 10000) < 4 ? TRAFFIC_COMPLAINS : what);
        traffic_add(t, (struct traffic_event){ .at_ms = at_ms + (int64_t)i * each_ms,
                                               .sender = sender,
                                               .text_seed = seed,
                                               .place = place,
                                               .kind = TRAFFIC_MAIL,
                                               .text = TRAFFIC_TEXT_ISSUE,
                                               .node = (uint8_t)traffic_below(r, TRAFFIC_NODES),
                                               .wrong = wrong });
    }
}

/* One to three issues a week; one in ten has a list that nobody has tidied for long. */
static void newsletter(struct traffic *t, uint32_t sender, uint32_t day, struct traffic_rng *r)
{
    struct traffic_rng of = traffic_rng(t->seed, RNG_MOVE, sender);
    uint32_t subscribers = traffic_between(&of, 3, 40) * 100, often = traffic_between(&of, 1, 3);
    uint32_t bounces = traffic_chance(&of, 100) ? 90 : traffic_between(&of, 3, 30),
             first = traffic_below(&of, 5);
    if ((day % 7 + 7 - first) % 7 % 2 == 0 && (day % 7 + 7 - first) % 7 / 2 < often)
        traffic_issue(t, r, sender, at_hour(r, &t->senders[sender], day, 8, 18), t->senders[sender].place,
                      subscribers, bounces, false);
}

static void mailing_list(struct traffic *t, uint32_t sender, uint32_t day, struct traffic_rng *r)
{
    struct traffic_rng of = traffic_rng(t->seed, RNG_MOVE, sender);
    uint32_t members = traffic_between(&of, 20, 250), posts = traffic_between(r, 0, 25);
    for (uint32_t i = 0; i < posts; i++) {
        struct traffic_rng who = traffic_rng(t->seed, RNG_SUBSCRIBER, sender);
        int64_t at_ms = at_hour(r, &t->senders[sender], day, 0, 23);
        uint32_t seed = traffic_below(r, 1u << 30);
        for (uint32_t k = 0; k < members; k++) {
            to_who(t, r, traffic_anybody(&who, 500), 8);
            if (k % 50 == 49 || k + 1 == members)
                post(t, r, sender, at_ms + k * 20, TRAFFIC_TEXT_REPLY, seed);
        }
    }
}

void traffic_service(struct traffic *t, uint32_t sender)
{
    static void (*const of[TRAFFIC_ROLES])(struct traffic *, uint32_t, uint32_t, struct traffic_rng *) = {
        [TRAFFIC_SCANNER] = scanner,     [TRAFFIC_MONITORING] = monitoring, [TRAFFIC_SHOP] = shop,
        [TRAFFIC_SIGNUP] = signup,       [TRAFFIC_HELPDESK] = helpdesk,     [TRAFFIC_ERP] = erp,
        [TRAFFIC_FORWARDER] = forwarder, [TRAFFIC_NEWSLETTER] = newsletter, [TRAFFIC_LIST] = mailing_list,
    };
    for (uint32_t day = 0; day < t->days; day++) {
        struct traffic_rng r = traffic_rng(t->seed, RNG_SERVICE, (uint64_t)sender << 32 | day);
        of[t->senders[sender].role](t, sender, day, &r);
    }
}
