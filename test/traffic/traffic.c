/* Who there is, and the events of all: see traffic.h. */
#include "traffic.h"

#include "base/ensure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PERSONS_OF_TENANT 25
#define OTHER_TENANTS 1000 /* of those who are no persons, each one of its own */

const char *const traffic_role_names[TRAFFIC_ROLES] = { "person",     "scanner",  "monitoring", "shop",
                                                        "signup",     "helpdesk", "erp",        "forwarder",
                                                        "newsletter", "list" };

/* ---- chance -------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9;
    x ^= x >> 27;
    x *= 0x94d049bb133111eb;
    return x ^ x >> 31;
}

struct traffic_rng traffic_rng(uint64_t seed, uint32_t what, uint64_t whose)
{
    return (struct traffic_rng){ mix(seed * 0x9e3779b97f4a7c15 + what) ^ mix(whose + 0x632be59bd9b4e019) };
}

uint32_t traffic_below(struct traffic_rng *r, uint32_t n)
{
    r->state += 0x9e3779b97f4a7c15;
    return n == 0 ? 0 : (uint32_t)((mix(r->state) >> 32) * n >> 32);
}

uint32_t traffic_between(struct traffic_rng *r, uint32_t from, uint32_t to)
{
    return from + traffic_below(r, to - from + 1);
}

bool traffic_chance(struct traffic_rng *r, uint32_t permille)
{
    return traffic_below(r, 1000) < permille;
}

/* ---- names --------------------------------------------------------------------------------------------- */

uint32_t traffic_who(uint32_t domain, uint32_t user)
{
    return domain << 20 | (user & 0xfffff);
}

uint32_t traffic_anybody(struct traffic_rng *r, uint32_t large_permille)
{
    uint32_t user = traffic_below(r, 1u << 20);
    if (traffic_chance(r, large_permille))
        return traffic_who(traffic_below(r, TRAFFIC_LARGE_DOMAINS), user);
    return traffic_who(traffic_between(r, TRAFFIC_OTHER_DOMAINS, TRAFFIC_DOMAINS - 1), user);
}

size_t traffic_address(uint32_t who, char out[64])
{
    return (size_t)snprintf(out, 64, "p%u@d%u.example", who & 0xfffff, who >> 20);
}

size_t traffic_account(const struct traffic *t, uint32_t sender, char out[64])
{
    return (size_t)snprintf(out, 64, "s%u@t%u.example", sender, t->senders[sender].tenant);
}

size_t traffic_tenant(const struct traffic *t, uint32_t sender, char out[64])
{
    return (size_t)snprintf(out, 64, "t%u.example", t->senders[sender].tenant);
}

/* Networks of phones and hotels may be of IPv6; the others are not. */
struct ip_addr traffic_place(uint32_t place)
{
    if (place >> 31 != 0)
        return ip_addr_v6((const uint8_t[16]){ 0x20, 0x01, 0x0d, 0xb8, (uint8_t)(place >> 24),
                                               (uint8_t)(place >> 16), (uint8_t)(place >> 8), (uint8_t)place,
                                               0, 0, 0, 0, 0, 0, 0, 5 },
                          NULL);
    return ip_addr_v4(
        (const uint8_t[4]){ (uint8_t)(1 + (place >> 16) % 200), (uint8_t)(place >> 8), (uint8_t)place, 9 });
}

/* ---- events -------------------------------------------------------------------------------------------- */

static void *grown(void *p, size_t *cap, size_t n, size_t size)
{
    if (n < *cap)
        return p;
    *cap = *cap == 0 ? 4096 : *cap * 2;
    p = realloc(p, *cap * size);
    ensure(p != NULL);
    return p;
}

void traffic_rcpt_add(struct traffic *t, uint32_t who, uint8_t fate)
{
    t->rcpts = grown(t->rcpts, &t->rcpts_cap, t->nrcpts, sizeof *t->rcpts);
    t->rcpts[t->nrcpts++] = (struct traffic_rcpt){ who, fate };
}

void traffic_add(struct traffic *t, struct traffic_event e)
{
    e.first = (uint32_t)t->taken;
    e.nrcpts = (uint32_t)(t->nrcpts - t->taken);
    if (e.at_ms < 0 || e.at_ms >= t->days * TRAFFIC_DAY_MS) {
        t->nrcpts = t->taken;
        return;
    }
    t->taken = t->nrcpts;
    t->events = grown(t->events, &t->events_cap, t->nevents, sizeof *t->events);
    t->events[t->nevents++] = e;
}

static int earlier(const void *a, const void *b)
{
    const struct traffic_event *x = a, *y = b;
    if (x->at_ms != y->at_ms)
        return x->at_ms < y->at_ms ? -1 : 1;
    return x->first != y->first ? (x->first < y->first ? -1 : 1)
                                : (x->sender > y->sender) - (x->sender < y->sender);
}

void traffic_sort(struct traffic *t)
{
    qsort(t->events, t->nevents, sizeof *t->events, earlier);
}

static void take_in(uint64_t *h, uint64_t v)
{
    *h = mix(*h ^ v) + 0x9e3779b97f4a7c15;
}

uint64_t traffic_digest(const struct traffic *t)
{
    uint64_t h = t->nevents;
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < t->nevents; i++) {
        const struct traffic_event *e = &t->events[i];
        take_in(&h, (uint64_t)e->at_ms);
        take_in(&h, (uint64_t)e->sender << 32 | e->place);
        take_in(&h,
                (uint64_t)e->text_seed << 32 | (uint64_t)e->kind << 16 | (uint64_t)e->text << 8 | e->node);
        take_in(&h, (uint64_t)e->nrcpts << 1 | e->wrong);
        for (uint32_t k = 0; k < e->nrcpts; k++)
            take_in(&h, (uint64_t)t->rcpts[e->first + k].who << 8 | t->rcpts[e->first + k].fate);
        if (i % 97 != 0 || e->kind != TRAFFIC_MAIL)
            continue;
        buf_reset(&b);
        traffic_text_put(t, e, &b);
        for (size_t k = 0; k < b.len; k++)
            take_in(&h, (uint8_t)b.data[k]);
    }
    buf_fini(&b);
    return h;
}

/* ---- who there is -------------------------------------------------------------------------------------- */

/* Of 500: 388 persons and 112 others; in proportion, and at least one of each. */
static const struct {
    uint8_t role, class;
    uint32_t of_500;
} others[] = {
    { TRAFFIC_SCANNER, TRAFFIC_DEVICE, 36 },  { TRAFFIC_MONITORING, TRAFFIC_DEVICE, 14 },
    { TRAFFIC_SHOP, TRAFFIC_DEVICE, 18 },     { TRAFFIC_SIGNUP, TRAFFIC_DEVICE, 6 },
    { TRAFFIC_HELPDESK, TRAFFIC_DEVICE, 8 },  { TRAFFIC_ERP, TRAFFIC_DEVICE, 6 },
    { TRAFFIC_FORWARDER, TRAFFIC_DEVICE, 8 }, { TRAFFIC_NEWSLETTER, TRAFFIC_BULK, 10 },
    { TRAFFIC_LIST, TRAFFIC_BULK, 6 },
};

static const int32_t zones[] = { -5, 1, 9 };

static void introduce(struct traffic *t, uint32_t i, uint8_t role, uint8_t class)
{
    static const uint32_t mails[] = {
        2, 3, 4, 5, 6, 8, 8, 10, 12, 12, 15, 18, 20, 25, 30, 35, 45, 60, 90, 130
    };
    struct traffic_rng r = traffic_rng(t->seed, 1, i);
    struct traffic_sender *s = &t->senders[i];
    *s = (struct traffic_sender){ .role = role, .class = class };
    s->tenant = i / PERSONS_OF_TENANT;
    if (role != TRAFFIC_EMPLOYEE && role != TRAFFIC_SCANNER) {
        s->tenant = OTHER_TENANTS + i;
        s->zone_hours = zones[i % 3];
        s->place = 0x200000 + i; /* somewhere in a data centre */
        return;
    }
    s->zone_hours = zones[s->tenant % 3];
    s->place = 0x100000 + s->tenant;
    if (role == TRAFFIC_SCANNER)
        return;
    s->mails = mails[traffic_below(&r, sizeof mails / sizeof mails[0])];
    s->contacts = 20 + s->mails * traffic_between(&r, 2, 8);
    uint32_t how = traffic_below(&r, 100);
    s->moves = how < 45 ? TRAFFIC_STAYS : how < 75 ? TRAFFIC_PHONE : TRAFFIC_HOME;
    s->travels = traffic_chance(&r, 40);
    if (traffic_chance(&r, 120)) {
        s->away_from = traffic_between(&r, 4, t->days > 6 ? t->days - 2 : 4);
        s->away_days = traffic_between(&r, 2, 10);
    }
}

struct traffic *traffic_new(uint64_t seed, uint32_t nsenders, uint32_t days)
{
    struct traffic *t = calloc(1, sizeof *t);
    ensure(t != NULL);
    ensure(nsenders >= 50);
    *t = (struct traffic){ .seed = seed, .days = days, .nsenders = nsenders };
    t->senders = calloc(nsenders, sizeof *t->senders);
    ensure(t->senders != NULL);
    uint32_t at = 0;
    for (size_t k = 0; k < sizeof others / sizeof others[0]; k++) {
        uint32_t n = others[k].of_500 * nsenders / 500;
        for (uint32_t i = 0; i < (n == 0 ? 1 : n); i++)
            introduce(t, at++, others[k].role, others[k].class);
    }
    while (at < nsenders)
        introduce(t, at++, TRAFFIC_EMPLOYEE, TRAFFIC_PERSON);
    for (uint32_t i = 0; i < nsenders; i++) {
        if (t->senders[i].role == TRAFFIC_EMPLOYEE)
            traffic_person(t, i);
        else
            traffic_service(t, i);
    }
    traffic_sort(t);
    return t;
}

void traffic_free(struct traffic *t)
{
    if (t == NULL)
        return;
    free(t->senders);
    free(t->events);
    free(t->rcpts);
    free(t);
}
