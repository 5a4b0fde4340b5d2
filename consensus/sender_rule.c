/* Rules about senders: see sender_rule.h. */
#include "consensus/sender_rule.h"

#include <stdio.h>
#include <string.h>

#define ALL_CLASSES 7u
enum { DRY_RUN = 1, NOTIFY = 2 };

const char *const sender_fact_names[SENDER_FACTS + 1] = {
    [SENDER_RECIPIENTS] = "recipients",
    [SENDER_MESSAGES] = "messages",
    [SENDER_DISTINCT_RECIPIENTS] = "distinct_recipients",
    [SENDER_DISTINCT_DOMAINS] = "distinct_domains",
    [SENDER_NETWORKS] = "networks",
    [SENDER_ALIKE] = "alike",
    [SENDER_ODD_HOURS] = "odd_hours",
    [SENDER_FAILED_LOGINS] = "failed_logins",
    [SENDER_DELIVERED] = "delivered",
    [SENDER_DEFERRED] = "deferred",
    [SENDER_HARD_BOUNCES] = "hard_bounces",
    [SENDER_BOUNCE_PERCENT] = "bounce_percent",
    [SENDER_COMPLAINTS] = "complaints",
    [SENDER_COMPLAINT_PERMILLE] = "complaint_permille",
    [SENDER_NEW_NETWORKS] = "new_networks",
    [SENDER_UNKNOWN_USERS] = "unknown_users",
    [SENDER_UNKNOWN_PERCENT] = "unknown_percent",
    [SENDER_FIRST_DAYS] = "first_days",
    [SENDER_ABOVE_USUAL] = "above_usual",
    [SENDER_NEW_ABOVE_USUAL] = "new_above_usual",
    [SENDER_UNLIKE] = "unlike",
    [SENDER_SPAM] = "spam",
    [SENDER_FACTS] = NULL,
};
const char *const sender_window_names[SENDER_WINDOWS + 1] = { "1h", "24h", "7d", NULL };
const char *const sender_action_names[SENDER_POOL + 1] = { [SENDER_WARN] = "warn",
                                                           [SENDER_HOLD] = "hold",
                                                           [SENDER_FREEZE] = "freeze",
                                                           [SENDER_SLOW] = "slow",
                                                           [SENDER_POOL] = "pool" };

bool sender_fact_in(uint8_t fact, uint8_t window)
{
    if ((fact >= SENDER_DISTINCT_RECIPIENTS && fact <= SENDER_ALIKE) || fact == SENDER_UNLIKE)
        return window == 0;
    return (fact != SENDER_ABOVE_USUAL && fact != SENDER_NEW_ABOVE_USUAL) || window == 1;
}

uint32_t sender_fact_level(uint8_t fact)
{
    return fact >= SENDER_SPAM ? 7 : fact >= SENDER_NEW_NETWORKS ? 6 : 5;
}

bool sender_fact_share(uint8_t fact)
{
    return fact == SENDER_BOUNCE_PERCENT || fact == SENDER_COMPLAINT_PERMILLE ||
           fact == SENDER_UNKNOWN_PERCENT;
}

uint32_t sender_value(const struct sender_values *v, uint8_t fact, uint8_t window)
{
    uint32_t now = v->now[fact][window], base = v->base[fact][window];
    if (sender_fact_share(fact))
        return now;
    return now > base ? now - base : 0;
}

bool sender_term_met(const struct sender_term *t, const struct sender_values *v)
{
    return sender_value(v, t->fact, t->window) > t->more_than;
}

bool sender_rule_met(const struct sender_rule *r, const struct sender_values *v)
{
    for (uint8_t i = 0; i < r->nterms; i++)
        if (!sender_term_met(&r->term[i], v))
            return false;
    return r->nterms > 0;
}

uint8_t sender_rule_window(const struct sender_rule *r)
{
    uint8_t longest = 0;
    for (uint8_t i = 0; i < r->nterms; i++)
        longest = r->term[i].window > longest ? r->term[i].window : longest;
    return longest;
}

bool sender_rule_blocks(const struct sender_rule *r, uint8_t class)
{
    return (r->action == SENDER_HOLD || r->action == SENDER_FREEZE) && !r->dry_run &&
           (r->classes >> class & 1) != 0;
}

bool sender_rule_measures(const struct sender_rule *r, uint8_t class)
{
    return (r->action == SENDER_SLOW || r->action == SENDER_POOL) && !r->dry_run &&
           (r->classes >> class & 1) != 0;
}

bool sender_rule_hinders(const struct sender_rule *r, uint8_t class)
{
    return sender_rule_blocks(r, class) || (r->action == SENDER_SLOW && sender_rule_measures(r, class));
}

void sender_rule_limit(const struct sender_rule *r, char out[SENDER_LIMIT_NAME])
{
    const int room = SENDER_LIMIT_NAME - (int)sizeof SENDER_LIMIT_PREFIX; /* names of rules that slow are no longer */
    snprintf(out, SENDER_LIMIT_NAME, SENDER_LIMIT_PREFIX "%.*s", room, r->name);
}

void sender_rule_evidence(const struct sender_rule *r, const struct sender_values *v, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = '\0';
    for (uint8_t i = 0; i < r->nterms && n < cap; i++) {
        const struct sender_term *t = &r->term[i];
        int k =
            snprintf(out + n, cap - n, "%s%s %u > %u in %s", i > 0 ? " and " : "", sender_fact_names[t->fact],
                     sender_value(v, t->fact, t->window), t->more_than, sender_window_names[t->window]);
        n += k > 0 ? (size_t)k : 0;
    }
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

static bool name_ok(const char name[SENDER_RULE_NAME])
{
    size_t n = strnlen(name, SENDER_RULE_NAME);
    for (size_t i = 0; i < n; i++)
        if (name[i] <= ' ' || name[i] > '~')
            return false;
    return n > 0 && n < SENDER_RULE_NAME;
}

_Static_assert((int)SENDER_POOL_NAME == (int)SENDER_RULE_NAME, "name_ok is for both");

/* What only one action has, and the others have not. */
static bool extra_ok(const struct sender_rule *r)
{
    bool slow = r->action == SENDER_SLOW, pool = r->action == SENDER_POOL;
    if (slow && (r->slow_count == 0 || r->slow_ms < SENDER_SLOW_MIN_MS || r->slow_ms > SENDER_SLOW_MAX_MS ||
                 strlen(r->name) + sizeof SENDER_LIMIT_PREFIX > SENDER_LIMIT_NAME))
        return false;
    if (!slow && (r->slow_count != 0 || r->slow_ms != 0))
        return false;
    return pool ? name_ok(r->pool) : r->pool[0] == '\0';
}

bool sender_rule_ok(const struct sender_rule *r)
{
    if (!name_ok(r->name) || r->classes == 0 || (r->classes & ~ALL_CLASSES) != 0 || r->action < SENDER_WARN ||
        r->action > SENDER_POOL || r->for_ms > SENDER_FOR_MAX_MS || r->repeat > SENDER_REPEAT_MAX ||
        r->repeat_ms > SENDER_REPEAT_MAX_MS || r->nterms == 0 || r->nterms > SENDER_TERMS_MAX ||
        !extra_ok(r))
        return false;
    for (uint8_t i = 0; i < r->nterms; i++) {
        const struct sender_term *t = &r->term[i];
        if (t->fact >= SENDER_FACTS || t->window >= SENDER_WINDOWS || !sender_fact_in(t->fact, t->window))
            return false;
    }
    return true;
}

void sender_rule_put(struct buf *out, const struct sender_rule *r, bool wide)
{
    (void)buf_put_counted(out, span_str(r->name));
    (void)buf_put_u8(out, r->classes);
    (void)buf_put_u8(out, r->action);
    (void)buf_put_u8(out, (uint8_t)((r->dry_run ? DRY_RUN : 0) | (r->notify ? NOTIFY : 0)));
    (void)buf_put_u64(out, r->for_ms);
    (void)buf_put_u32(out, r->repeat);
    (void)buf_put_u64(out, r->repeat_ms);
    (void)buf_put_u8(out, r->nterms);
    for (uint8_t i = 0; i < r->nterms; i++) {
        (void)buf_put_u8(out, r->term[i].fact);
        (void)buf_put_u8(out, r->term[i].window);
        (void)buf_put_u32(out, r->term[i].more_than);
    }
    if (!wide)
        return;
    (void)buf_put_u32(out, r->slow_count);
    (void)buf_put_u64(out, r->slow_ms);
    (void)buf_put_counted(out, span_str(r->pool));
}

/* One that does not fit, or has a NUL inside, stays empty, which is not ok where there must be one. */
static void get_name(struct cursor *c, char out[SENDER_RULE_NAME], bool *fits)
{
    struct span name = cursor_counted(c);
    *fits = name.n < SENDER_RULE_NAME && memchr(name.p, 0, name.n) == NULL;
    if (*fits)
        memcpy(out, name.p, name.n);
}

void sender_rule_get(struct cursor *c, struct sender_rule *out, bool wide)
{
    *out = (struct sender_rule){ .classes = 0 };
    bool fits;
    get_name(c, out->name, &fits);
    out->classes = cursor_u8(c);
    out->action = cursor_u8(c);
    uint8_t flags = cursor_u8(c);
    out->dry_run = (flags & DRY_RUN) != 0;
    out->notify = (flags & NOTIFY) != 0;
    out->for_ms = cursor_u64(c);
    out->repeat = cursor_u32(c);
    out->repeat_ms = cursor_u64(c);
    out->nterms = flags > (DRY_RUN | NOTIFY) ? 0 : cursor_u8(c);
    for (uint8_t i = 0; i < out->nterms && i < SENDER_TERMS_MAX; i++) {
        out->term[i].fact = cursor_u8(c);
        out->term[i].window = cursor_u8(c);
        out->term[i].more_than = cursor_u32(c);
    }
    if (!wide)
        return;
    out->slow_count = cursor_u32(c);
    out->slow_ms = cursor_u64(c);
    get_name(c, out->pool, &fits);
    if (!fits)
        out->action = 0; /* which is not ok */
}
