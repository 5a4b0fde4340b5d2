/* Ordinary mail of 500 senders, made up: persons in three time zones with the habits of a day and a week, and
 * the machines, newsletters and lists that send beside them. For judging rules about senders: what they do to
 * people who do nothing wrong (test_week.c), and beside it what attackers do (attack.c).
 *
 * FROZEN: it was finished before the first rule was tuned, and its output is pinned by a digest in
 * test_week.c. Who finds something missing adds it, and then the rules are judged anew on new seeds.
 *
 * The same seed gives the same mail everywhere: integers only.
 */
#ifndef TEST_TRAFFIC_H
#define TEST_TRAFFIC_H

#include "base/buf.h"
#include "node/net/ip.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRAFFIC_SECOND_MS 1000ll
#define TRAFFIC_MINUTE_MS 60000ll
#define TRAFFIC_HOUR_MS 3600000ll
#define TRAFFIC_DAY_MS 86400000ll
#define TRAFFIC_NODES 3

enum traffic_class { TRAFFIC_PERSON, TRAFFIC_DEVICE, TRAFFIC_BULK }; /* as enum envelope_class */

enum traffic_role {
    TRAFFIC_EMPLOYEE,
    TRAFFIC_SCANNER,
    TRAFFIC_MONITORING,
    TRAFFIC_SHOP,
    TRAFFIC_SIGNUP, /* a web application's mails to those who registered */
    TRAFFIC_HELPDESK,
    TRAFFIC_ERP, /* invoices */
    TRAFFIC_FORWARDER,
    TRAFFIC_NEWSLETTER,
    TRAFFIC_LIST,
    TRAFFIC_ROLES
};
extern const char *const traffic_role_names[TRAFFIC_ROLES];

enum traffic_event_kind {
    TRAFFIC_MAIL,
    TRAFFIC_FAILED_LOGIN,
};

enum traffic_fate { /* of a recipient */
                    TRAFFIC_DELIVERED,
                    TRAFFIC_GREYLISTED, /* deferred once, then delivered */
                    TRAFFIC_UNKNOWN,    /* 550 5.1.1 */
                    TRAFFIC_FULL,       /* 552 5.2.2 */
                    TRAFFIC_CONTENT,    /* 554 5.7.1: taken for spam */
                    TRAFFIC_COMPLAINS,  /* delivered, and somebody presses the button */
};

enum traffic_text {
    TRAFFIC_TEXT_NOTE,  /* what people write to each other */
    TRAFFIC_TEXT_REPLY, /* with the other's text below */
    TRAFFIC_TEXT_INVITATION,
    TRAFFIC_TEXT_AWAY, /* out of office */
    TRAFFIC_TEXT_SCAN, /* an attachment, no text */
    TRAFFIC_TEXT_ALERT,
    TRAFFIC_TEXT_ORDER,
    TRAFFIC_TEXT_SIGNUP,
    TRAFFIC_TEXT_TICKET,
    TRAFFIC_TEXT_INVOICE,
    TRAFFIC_TEXT_ISSUE, /* of a newsletter */
    TRAFFIC_TEXT_SPAM,  /* one text with variations */
};

struct traffic_rcpt {
    uint32_t who;
    uint8_t fate;
};

struct traffic_event {
    int64_t at_ms; /* since the beginning, a Monday at 0:00 UTC */
    uint32_t sender;
    uint32_t text_seed; /* the same: the same text but for names and numbers */
    uint32_t first, nrcpts;
    uint32_t place; /* the client's network */
    uint8_t kind, text, node;
    bool wrong;  /* of a newsletter that a person sends from the own account */
    bool attack; /* not the sender's own */
};

struct traffic_sender {
    uint8_t role, class;
    uint32_t tenant;
    uint32_t place;     /* where it usually is */
    int32_t zone_hours; /* of its working day, from UTC */
    /* of a person */
    uint32_t mails;    /* of a working day, in the mean */
    uint32_t contacts; /* so many of them */
    uint8_t moves;     /* enum traffic_moves */
    bool travels;
    uint32_t away_from, away_days; /* out of office; days 0: not */
};

enum traffic_moves { TRAFFIC_STAYS, TRAFFIC_PHONE, TRAFFIC_HOME };

struct traffic {
    uint64_t seed;
    uint32_t days;
    uint32_t nsenders;
    struct traffic_sender *senders;
    struct traffic_event *events;
    size_t nevents, events_cap;
    struct traffic_rcpt *rcpts;
    size_t nrcpts, rcpts_cap;
    size_t taken; /* recipients of events; the rest are of the next one */
};

/* `nsenders` at least 50, so that there is one of each kind; days from a Monday on. */
struct traffic *traffic_new(uint64_t seed, uint32_t nsenders, uint32_t days);
void traffic_free(struct traffic *t);
/* Of all events with their recipients, and of some of the texts. */
uint64_t traffic_digest(const struct traffic *t);

/* "p12@d7.example"; of a sender: "s12@t3.example". Out of 64 bytes; the length. */
size_t traffic_address(uint32_t who, char out[64]);
size_t traffic_account(const struct traffic *t, uint32_t sender, char out[64]);
size_t traffic_tenant(const struct traffic *t, uint32_t sender, char out[64]);
struct ip_addr traffic_place(uint32_t place);
/* The whole message: header and body. */
void traffic_text_put(const struct traffic *t, const struct traffic_event *e, struct buf *out);

/* ---- for those who make it ----------------------------------------------------------------------------- */

struct traffic_rng {
    uint64_t state;
};
/* For one thing of one owner: other things do not change it. */
struct traffic_rng traffic_rng(uint64_t seed, uint32_t what, uint64_t whose);
uint32_t traffic_below(struct traffic_rng *r, uint32_t n); /* 0 to n - 1 */
uint32_t traffic_between(struct traffic_rng *r, uint32_t from, uint32_t to);
bool traffic_chance(struct traffic_rng *r, uint32_t permille);

enum {
    TRAFFIC_LARGE_DOMAINS = 4,
    TRAFFIC_OWN_DOMAIN = 100,
    TRAFFIC_OTHER_DOMAINS = 200,
    TRAFFIC_DOMAINS = 4000
};
uint32_t traffic_who(uint32_t domain, uint32_t user);
/* Somebody anywhere: `large_permille` at one of the large providers. */
uint32_t traffic_anybody(struct traffic_rng *r, uint32_t large_permille);

/* Recipients are added before their event; the event's first and nrcpts are of those since the last one. */
void traffic_rcpt_add(struct traffic *t, uint32_t who, uint8_t fate);
void traffic_add(struct traffic *t, struct traffic_event e);
/* In the order of time. */
void traffic_sort(struct traffic *t);

/* people.c, services.c: all of one sender's. */
void traffic_person(struct traffic *t, uint32_t sender);
void traffic_service(struct traffic *t, uint32_t sender);
/* To so many of a list; like a newsletter. */
void traffic_issue(struct traffic *t, struct traffic_rng *r, uint32_t sender, int64_t at_ms, uint32_t place,
                   uint32_t subscribers, uint32_t bounce_permille, bool wrong);

#endif
