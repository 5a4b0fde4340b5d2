/* Rules, compiled, and the search for the first that a reply meets: see rules.h. */
#include "node/shaping/rules_impl.h"

#include "base/ensure.h"
#include "base/hash.h"
#include "node/shaping/grams.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_SLOTS 1024 /* replies that a matcher remembers; a newer one takes the place of another */

const char *const shaping_stage_names[] = { "banner", "mail", "rcpt", "data", "dot", "any", NULL };
const char *const shaping_action_names[] = { "none",     "backoff", "disable_source", "suspend", "bounce",
                                             "greylist", "notify",  "reroute",        NULL };

struct compiled {
    struct shaping_rule rule;
    pcre2_code *code; /* NULL: any text */
};

struct shaping_rules {
    atomic_uint refs;
    uint64_t number; /* of no other, ever, in this process */
    uint32_t n, slow;
    struct grams *grams;
    struct compiled v[];
};

static atomic_uint_fast64_t last_number;

/* ---- making them --------------------------------------------------------------------------------------- */

static bool copy(char **to, const char *from)
{
    if (from == NULL)
        return true;
    *to = strdup(from);
    return *to != NULL;
}

static bool copy_rule(struct shaping_rule *to, const struct shaping_rule *from)
{
    *to = *from;
    to->name = to->pool = to->to = to->match = to->code = NULL;
    to->nsites = 0;
    to->sites = calloc(from->nsites + 1, sizeof *to->sites);
    if (to->sites == NULL)
        return false;
    for (uint32_t i = 0; i < from->nsites; i++, to->nsites++)
        if (!copy(&to->sites[i], from->sites[i]))
            return false;
    return copy(&to->name, from->name) && copy(&to->pool, from->pool) && copy(&to->to, from->to) &&
           copy(&to->match, from->match) && copy(&to->code, from->code);
}

static void compiled_fini(struct compiled *c)
{
    pcre2_code_free(c->code);
    for (uint32_t i = 0; i < c->rule.nsites; i++)
        free(c->rule.sites[i]);
    free(c->rule.sites);
    free(c->rule.name);
    free(c->rule.pool);
    free(c->rule.to);
    free(c->rule.match);
    free(c->rule.code);
}

static bool compile(struct shaping_rules *r, const struct shaping_rule *rule)
{
    struct compiled *c = &r->v[r->n];
    struct literals literals[LITERAL_SETS] = { 0 };
    char why[160];
    r->n++;
    if (!copy_rule(&c->rule, rule))
        return false;
    if (rule->match != NULL) {
        c->code = shaping_match_compile(rule->match, why);
        if (c->code == NULL)
            return false;
        literals_of(span_str(rule->match), literals);
        r->slow += literals[0].n == 0;
    }
    return grams_add(r->grams, r->n - 1, literals) == 0;
}

struct shaping_rules *shaping_rules_new(const struct shaping_rule *rules, uint32_t n)
{
    ensure(n <= SHAPING_RULES_MAX);
    struct shaping_rules *r = calloc(1, sizeof *r + n * sizeof r->v[0]);
    if (r == NULL)
        return NULL;
    atomic_init(&r->refs, 1);
    r->number = atomic_fetch_add(&last_number, 1) + 1;
    r->grams = grams_new(n);
    bool good = r->grams != NULL;
    for (uint32_t i = 0; good && i < n; i++)
        good = compile(r, &rules[i]);
    if (good)
        return r;
    shaping_rules_rele(r);
    return NULL;
}

struct shaping_rules *shaping_rules_hold(struct shaping_rules *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void shaping_rules_rele(struct shaping_rules *r)
{
    if (r == NULL || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (uint32_t i = 0; i < r->n; i++)
        compiled_fini(&r->v[i]);
    grams_free(r->grams);
    free(r);
}

uint32_t shaping_rules_count(const struct shaping_rules *r)
{
    return r->n;
}

const struct shaping_rule *shaping_rules_at(const struct shaping_rules *r, uint32_t i)
{
    ensure(i < r->n);
    return &r->v[i].rule;
}

uint32_t shaping_rules_slow(const struct shaping_rules *r)
{
    return r->slow;
}

/* ---- asking -------------------------------------------------------------------------------------------- */

struct remembered {
    uint64_t rules; /* number; 0: nothing */
    uint64_t hash;
    int found;
};

struct shaping_matcher {
    pcre2_match_context *limits;
    pcre2_match_data *data;
    struct shaping_matcher_counts counts;
    struct remembered cache[CACHE_SLOTS];
    uint64_t candidates[(SHAPING_RULES_MAX + 63) / 64];
};

struct shaping_matcher *shaping_matcher_new(void)
{
    struct shaping_matcher *m = calloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    m->limits = shaping_match_limits();
    m->data = pcre2_match_data_create(1, NULL);
    if (m->limits != NULL && m->data != NULL)
        return m;
    shaping_matcher_free(m);
    return NULL;
}

void shaping_matcher_free(struct shaping_matcher *m)
{
    if (m == NULL)
        return;
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->limits);
    free(m);
}

void shaping_matcher_counts(const struct shaping_matcher *m, struct shaping_matcher_counts *out)
{
    *out = m->counts;
}

/* "5.7.606 " at the start: some servers go beyond what the parser of replies has room for, or give it where
 * it does not belong. */
static void read_enhanced(struct shaping_reply *reply)
{
    uint16_t v[3] = { 0 };
    size_t at = 0;
    for (int i = 0; i < 3; i++) {
        size_t from = at;
        for (; at < reply->text.n && at < from + 3 && reply->text.p[at] >= '0' && reply->text.p[at] <= '9';
             at++)
            v[i] = (uint16_t)(v[i] * 10 + (reply->text.p[at] - '0'));
        if (at == from || (i < 2 && (at == reply->text.n || reply->text.p[at++] != '.')))
            return;
    }
    if (v[0] != reply->code / 100 || (at < reply->text.n && strchr(" :,;-)", reply->text.p[at]) == NULL))
        return;
    memcpy(reply->enhanced, v, sizeof v);
    while (at < reply->text.n && reply->text.p[at] == ' ')
        at++;
    reply->text = span_sub(reply->text, at);
}

static bool meets(struct shaping_matcher *m, const struct compiled *c, const struct shaping_reply *reply)
{
    const struct shaping_rule *rule = &c->rule;
    if (rule->stage != SHAPING_ANY && rule->stage != reply->stage)
        return false;
    if (rule->pool != NULL && !span_eq(span_str(rule->pool), reply->pool))
        return false;
    if (!shaping_code_match(rule->code, reply->code, reply->enhanced))
        return false;
    bool here = rule->nsites == 0;
    for (uint32_t i = 0; i < rule->nsites && !here; i++)
        here =
            shaping_site_match(rule->sites[i], reply->site) || shaping_site_match(rule->sites[i], reply->mx);
    if (!here || c->code == NULL)
        return here;
    m->counts.tried++;
    int n = pcre2_match(c->code, (PCRE2_SPTR)reply->text.p, reply->text.n, 0, 0, m->data, m->limits);
    m->counts.limited += n < 0 && n != PCRE2_ERROR_NOMATCH;
    return n >= 0;
}

static uint64_t reply_hash(const struct shaping_reply *reply)
{
    uint64_t parts[] = { hash_nocase(reply->site),
                         hash_nocase(reply->mx),
                         hash_bytes(reply->pool.p, reply->pool.n),
                         hash_bytes(reply->text.p, reply->text.n),
                         (uint64_t)reply->stage << 16 | reply->code,
                         (uint64_t)reply->enhanced[0] << 32 | (uint64_t)reply->enhanced[1] << 16 |
                             reply->enhanced[2] };
    return hash_bytes(parts, sizeof parts);
}

static int search(struct shaping_matcher *m, const struct shaping_rules *r, const struct shaping_reply *reply)
{
    grams_find(r->grams, reply->text, m->candidates);
    for (uint32_t w = 0; w < grams_words(r->grams); w++)
        for (uint64_t bits = m->candidates[w]; bits != 0; bits &= bits - 1) {
            uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(bits);
            if (meets(m, &r->v[i], reply))
                return (int)i;
        }
    return -1;
}

int shaping_match(struct shaping_matcher *m, const struct shaping_rules *r, const struct shaping_reply *given)
{
    struct shaping_reply reply = *given;
    ensure(reply.stage >= 0 && reply.stage < SHAPING_ANY);
    if (reply.text.n > SHAPING_TEXT_MAX)
        reply.text.n = SHAPING_TEXT_MAX;
    if (reply.text.p == NULL)
        reply.text = SPAN_LIT("");
    if (reply.enhanced[0] == 0)
        read_enhanced(&reply);
    m->counts.asked++;
    uint64_t hash = reply_hash(&reply);
    struct remembered *slot = &m->cache[hash % CACHE_SLOTS];
    if (slot->rules == r->number && slot->hash == hash) {
        m->counts.remembered++;
        return slot->found;
    }
    *slot = (struct remembered){ .rules = r->number, .hash = hash, .found = search(m, r, &reply) };
    return slot->found;
}
