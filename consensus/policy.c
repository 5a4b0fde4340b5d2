/* The compiled policy: its bounds, its encoding, and the one that is in force before any was applied. Pure.
 */
#include "consensus/policy.h"

#include "base/err.h"

#define FORMAT 1
#define FORMAT_SENDERS 2 /* with rules about senders behind it */
#define FORMAT_WIDE 3    /* with what feature level 6 brought: those rules are longer, and a level is behind them */
#define HOUR_MS 3600000ull
#define ALL_CLASSES ((1u << POLICY_CLASSES) - 1)

static bool duration_ok(int64_t ms, int64_t least, int64_t most)
{
    return ms == 0 || (ms >= least && ms <= most);
}

/* Printable ASCII without blanks: it stands in replies, metrics and commands. */
static bool name_ok(const char name[POLICY_LIMIT_NAME])
{
    size_t n = strnlen(name, POLICY_LIMIT_NAME);
    if (n == 0 || n == POLICY_LIMIT_NAME)
        return false;
    for (size_t i = 0; i < n; i++)
        if (name[i] <= ' ' || name[i] > '~')
            return false;
    return true;
}

static bool limit_ok(const struct policy_limit *l)
{
    return name_ok(l->name) && (l->scope == COMMAND_SCOPE_ACCOUNT || l->scope == COMMAND_SCOPE_TENANT) &&
           (l->classes & ~ALL_CLASSES) == 0 && l->count <= POLICY_COUNT_MAX &&
           l->window_ms >= POLICY_WINDOW_MIN_MS && l->window_ms <= POLICY_WINDOW_MAX_MS;
}

const struct sender_rule *policy_slow_rule(const struct policy_compiled *p, const struct policy_limit *l)
{
    char name[SENDER_LIMIT_NAME];
    for (uint32_t i = 0; l->classes == 0 && i < p->nsender_rules; i++) {
        const struct sender_rule *r = &p->sender_rules[i];
        sender_rule_limit(r, name);
        if (r->action == SENDER_SLOW && strcmp(name, l->name) == 0)
            return r;
    }
    return NULL;
}

/* Each rule that slows has one limit, which says what the rule does, and no other is of nobody. Names are unique. */
static bool slow_limits_ok(const struct policy_compiled *p)
{
    uint32_t rules = 0, limits = 0;
    for (uint32_t i = 0; i < p->nsender_rules; i++)
        rules += p->sender_rules[i].action == SENDER_SLOW;
    for (uint32_t i = 0; i < p->nlimits; i++) {
        const struct policy_limit *l = &p->limits[i];
        const struct sender_rule *r = policy_slow_rule(p, l);
        if (l->classes != 0)
            continue;
        if (r == NULL || l->scope != COMMAND_SCOPE_ACCOUNT || l->count != r->slow_count ||
            l->window_ms != r->slow_ms)
            return false;
        limits++;
    }
    return rules == limits;
}

static bool limits_ok(const struct policy_compiled *p)
{
    if (p->nlimits > POLICY_LIMITS_MAX)
        return false;
    uint32_t chain[POLICY_CLASSES] = { 0 };
    for (uint32_t i = 0; i < p->nlimits; i++) {
        const struct policy_limit *l = &p->limits[i];
        if (!limit_ok(l))
            return false;
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(l->name, p->limits[j].name) == 0)
                return false;
        for (uint32_t class = 0; class < POLICY_CLASSES; class ++)
            if ((l->classes >> class & 1) != 0 && ++chain[class] > POLICY_CHAIN_MAX)
                return false;
    }
    return true;
}

static bool sender_rules_ok(const struct policy_compiled *p)
{
    if (p->nsender_rules > SENDER_RULES_MAX)
        return false;
    for (uint32_t i = 0; i < p->nsender_rules; i++) {
        if (!sender_rule_ok(&p->sender_rules[i]))
            return false;
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(p->sender_rules[i].name, p->sender_rules[j].name) == 0)
                return false;
    }
    return true;
}

static bool policy_ok(const struct policy_compiled *p)
{
    return duration_ok(p->session_ttl_ms, POLICY_TTL_MIN_MS, POLICY_TTL_MAX_MS) &&
           duration_ok(p->session_margin_ms, POLICY_MARGIN_MIN_MS, POLICY_MARGIN_MAX_MS) &&
           (p->voters == 0 || p->voters == 1 || p->voters == 3 || p->voters == 5) &&
           p->freeze_mode <= COMMAND_FREEZE_AUTO && limits_ok(p) && sender_rules_ok(p) &&
           slow_limits_ok(p) && (p->level == 0 || p->level >= POLICY_LEVEL_LEAST);
}

uint32_t policy_level(const struct policy_compiled *p)
{
    uint32_t level = 1;
    for (uint32_t i = 0; i < p->nsender_rules; i++) {
        const struct sender_rule *r = &p->sender_rules[i];
        for (uint8_t k = 0; k < r->nterms; k++)
            level = sender_fact_level(r->term[k].fact) > level ? sender_fact_level(r->term[k].fact) : level;
        if ((r->action > SENDER_FREEZE || r->notify) && level < POLICY_LEVEL_LEAST)
            level = POLICY_LEVEL_LEAST;
    }
    return p->level > level ? p->level : level;
}

int policy_encode(const struct policy_compiled *p, struct buf *out)
{
    if (!policy_ok(p))
        return ERR_BAD;
    bool wide = policy_level(p) >= POLICY_LEVEL_LEAST;
    (void)buf_put_u8(out, wide ? FORMAT_WIDE : p->nsender_rules > 0 ? FORMAT_SENDERS : FORMAT);
    (void)buf_put_u64(out, (uint64_t)p->session_ttl_ms);
    (void)buf_put_u64(out, (uint64_t)p->session_margin_ms);
    (void)buf_put_u32(out, p->voters);
    (void)buf_put_u8(out, p->hold_when_cut_off ? 1 : 0);
    for (uint32_t i = 0; i < POLICY_CLASSES; i++)
        (void)buf_put_u32(out, p->max_rcpts[i]);
    (void)buf_put_u8(out, p->freeze_mode);
    (void)buf_put_u32(out, p->nlimits);
    for (uint32_t i = 0; i < p->nlimits; i++) {
        const struct policy_limit *l = &p->limits[i];
        (void)buf_put_counted(out, span_str(l->name));
        (void)buf_put_u8(out, l->scope);
        (void)buf_put_u8(out, l->classes);
        (void)buf_put_u64(out, l->count);
        (void)buf_put_u64(out, l->window_ms);
    }
    if (p->nsender_rules > 0 || wide)
        (void)buf_put_u32(out, p->nsender_rules);
    for (uint32_t i = 0; i < p->nsender_rules; i++)
        sender_rule_put(out, &p->sender_rules[i], wide);
    if (wide)
        (void)buf_put_u8(out, p->level);
    return buf_err(out);
}

static void get_limit(struct cursor *c, struct policy_limit *l)
{
    struct span name = cursor_counted(c);
    /* One that does not fit, or has a NUL inside, stays empty, which policy_ok refuses. */
    if (name.n < POLICY_LIMIT_NAME && memchr(name.p, 0, name.n) == NULL)
        memcpy(l->name, name.p, name.n);
    l->scope = cursor_u8(c);
    l->classes = cursor_u8(c);
    l->count = cursor_u64(c);
    l->window_ms = cursor_u64(c);
}

int policy_decode(struct cursor *c, struct policy_compiled *out)
{
    *out = (struct policy_compiled){ 0 };
    uint8_t format = cursor_u8(c);
    out->session_ttl_ms = (int64_t)cursor_u64(c);
    out->session_margin_ms = (int64_t)cursor_u64(c);
    out->voters = cursor_u32(c);
    uint8_t hold = cursor_u8(c);
    out->hold_when_cut_off = hold == 1;
    for (uint32_t i = 0; i < POLICY_CLASSES; i++)
        out->max_rcpts[i] = cursor_u32(c);
    out->freeze_mode = cursor_u8(c);
    out->nlimits = cursor_u32(c);
    if (cursor_err(c))
        return ERR_TORN;
    if (format < FORMAT || format > FORMAT_WIDE || hold > 1 || out->nlimits > POLICY_LIMITS_MAX)
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < out->nlimits; i++)
        get_limit(c, &out->limits[i]);
    uint32_t n = format >= FORMAT_SENDERS ? cursor_u32(c) : 0;
    if (n > SENDER_RULES_MAX || (format == FORMAT_SENDERS && n == 0))
        return cursor_err(c) ? ERR_TORN : ERR_CORRUPT;
    out->nsender_rules = n;
    for (uint32_t i = 0; i < n; i++)
        sender_rule_get(c, &out->sender_rules[i], format == FORMAT_WIDE);
    if (format == FORMAT_WIDE)
        out->level = cursor_u8(c);
    if (cursor_err(c))
        return ERR_TORN;
    /* Only what policy_encode writes. */
    return policy_ok(out) && (policy_level(out) >= POLICY_LEVEL_LEAST) == (format == FORMAT_WIDE) ? 0 : ERR_CORRUPT;
}

void policy_default(struct policy_compiled *out)
{
    enum { PEOPLE = 1u << 0 | 1u << 1, BULK = 1u << 2 };
    *out = (struct policy_compiled){
        .session_ttl_ms = 3000,
        .session_margin_ms = 1000,
        .voters = 3,
        .max_rcpts = { 100, 100, 1000 },
        .freeze_mode = COMMAND_FREEZE_AUTO,
        .nlimits = 4,
        .limits = {
            { "account-hour", COMMAND_SCOPE_ACCOUNT, PEOPLE, 500, HOUR_MS },
            { "account-day", COMMAND_SCOPE_ACCOUNT, PEOPLE, 2000, 24 * HOUR_MS },
            { "bulk-hour", COMMAND_SCOPE_ACCOUNT, BULK, 10000, HOUR_MS },
            { "tenant-day", COMMAND_SCOPE_TENANT, ALL_CLASSES, 50000, 24 * HOUR_MS },
        },
    };
}
