/* Rules about senders: see sender_rule.h. */
#include "consensus/sender_rule.h"

#include <stdio.h>
#include <string.h>

#define ALL_CLASSES 7u

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
    [SENDER_FACTS] = NULL,
};
const char *const sender_window_names[SENDER_WINDOWS + 1] = { "1h", "24h", "7d", NULL };
const char *const sender_action_names[SENDER_FREEZE + 1] = {
    [SENDER_WARN] = "warn", [SENDER_HOLD] = "hold", [SENDER_FREEZE] = "freeze"
};

bool sender_fact_hour_only(uint8_t fact)
{
    return fact >= SENDER_DISTINCT_RECIPIENTS && fact <= SENDER_ALIKE;
}

bool sender_fact_share(uint8_t fact)
{
    return fact == SENDER_BOUNCE_PERCENT || fact == SENDER_COMPLAINT_PERMILLE;
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
    return r->action != SENDER_WARN && !r->dry_run && (r->classes >> class & 1) != 0;
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

bool sender_rule_ok(const struct sender_rule *r)
{
    if (!name_ok(r->name) || r->classes == 0 || (r->classes & ~ALL_CLASSES) != 0 || r->action < SENDER_WARN ||
        r->action > SENDER_FREEZE || r->for_ms > SENDER_FOR_MAX_MS || r->repeat > SENDER_REPEAT_MAX ||
        r->repeat_ms > SENDER_REPEAT_MAX_MS || r->nterms == 0 || r->nterms > SENDER_TERMS_MAX)
        return false;
    for (uint8_t i = 0; i < r->nterms; i++) {
        const struct sender_term *t = &r->term[i];
        if (t->fact >= SENDER_FACTS || t->window >= SENDER_WINDOWS ||
            (sender_fact_hour_only(t->fact) && t->window != 0))
            return false;
    }
    return true;
}

void sender_rule_put(struct buf *out, const struct sender_rule *r)
{
    (void)buf_put_counted(out, span_str(r->name));
    (void)buf_put_u8(out, r->classes);
    (void)buf_put_u8(out, r->action);
    (void)buf_put_u8(out, r->dry_run ? 1 : 0);
    (void)buf_put_u64(out, r->for_ms);
    (void)buf_put_u32(out, r->repeat);
    (void)buf_put_u64(out, r->repeat_ms);
    (void)buf_put_u8(out, r->nterms);
    for (uint8_t i = 0; i < r->nterms; i++) {
        (void)buf_put_u8(out, r->term[i].fact);
        (void)buf_put_u8(out, r->term[i].window);
        (void)buf_put_u32(out, r->term[i].more_than);
    }
}

void sender_rule_get(struct cursor *c, struct sender_rule *out)
{
    *out = (struct sender_rule){ .classes = 0 };
    struct span name = cursor_counted(c);
    /* One that does not fit, or has a NUL inside, stays empty, which is not ok. */
    if (name.n < SENDER_RULE_NAME && memchr(name.p, 0, name.n) == NULL)
        memcpy(out->name, name.p, name.n);
    out->classes = cursor_u8(c);
    out->action = cursor_u8(c);
    uint8_t dry_run = cursor_u8(c);
    out->dry_run = dry_run == 1;
    out->for_ms = cursor_u64(c);
    out->repeat = cursor_u32(c);
    out->repeat_ms = cursor_u64(c);
    out->nterms = dry_run > 1 ? 0 : cursor_u8(c);
    for (uint8_t i = 0; i < out->nterms && i < SENDER_TERMS_MAX; i++) {
        out->term[i].fact = cursor_u8(c);
        out->term[i].window = cursor_u8(c);
        out->term[i].more_than = cursor_u32(c);
    }
}
