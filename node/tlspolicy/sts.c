/* MTA-STS records and policies: parsing and matching. Any thread. */
#include "node/tlspolicy/sts.h"

#include "base/err.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const modes[] = {
    [STS_NONE] = "none", [STS_TESTING] = "testing", [STS_ENFORCE] = "enforce"
};

const char *sts_mode_name(enum sts_mode mode)
{
    return modes[mode];
}

int sts_mode_parse(struct span name)
{
    for (int i = STS_NONE; i <= STS_ENFORCE; i++) {
        if (span_eq(name, span_str(modes[i])))
            return i;
    }
    return -1;
}

void sts_policy_hold(struct sts_policy *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
}

void sts_policy_rele(struct sts_policy *p)
{
    if (p != NULL && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        free(p);
}

static bool alnum_only(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!isalnum((unsigned char)s.p[i]))
            return false;
    }
    return s.n > 0;
}

int sts_txt_parse(struct span text, char id[STS_ID_MAX + 1])
{
    struct span version = span_trim(span_cut(&text, ';'));
    if (!span_eq(version, SPAN_LIT("v=STSv1")))
        return ERR_NOT_FOUND;
    bool found = false;
    while (text.n > 0) {
        struct span value = span_cut(&text, ';');
        struct span name = span_trim(span_cut(&value, '='));
        value = span_trim(value);
        if (!span_eq(name, SPAN_LIT("id")))
            continue;
        if (found || value.n > STS_ID_MAX || !alnum_only(value))
            return ERR_BAD;
        memcpy(id, value.p, value.n);
        id[value.n] = '\0';
        found = true;
    }
    return found ? 0 : ERR_BAD;
}

/* ---- the policy ---- */

/* Letters, digits and hyphens in labels, "*" as the whole first one. */
static bool pattern_valid(struct span s)
{
    if (s.n > 2 && s.p[0] == '*' && s.p[1] == '.')
        s = span_sub(s, 2);
    if (s.n == 0 || s.n > 253)
        return false;
    size_t label = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
        } else if (isalnum((unsigned char)c) || c == '-' || c == '_') {
            if (++label > 63)
                return false;
        } else {
            return false;
        }
    }
    return label > 0;
}

int sts_policy_new(enum sts_mode mode, uint32_t max_age_s, const struct span *mx, uint32_t n,
                   struct sts_policy **out)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!pattern_valid(mx[i]))
            return ERR_BAD;
        bytes += mx[i].n + 1;
    }
    if (n > STS_MX_MAX || bytes > STS_NAMES_MAX || (mode != STS_NONE && n == 0))
        return ERR_BAD;
    struct sts_policy *p = calloc(1, sizeof *p + bytes);
    if (p == NULL)
        return -ENOMEM;
    atomic_init(&p->refs, 1);
    p->mode = mode;
    p->max_age_s = max_age_s > STS_AGE_MAX_S ? STS_AGE_MAX_S : max_age_s;
    p->nmx = n;
    p->bytes = (uint32_t)bytes;
    char *to = p->names;
    for (uint32_t i = 0; i < n; i++) {
        for (size_t k = 0; k < mx[i].n; k++)
            *to++ = (char)tolower((unsigned char)mx[i].p[k]);
        *to++ = '\0';
    }
    *out = p;
    return 0;
}

struct parsing {
    bool version, age;
    int mode; /* -1: not yet */
    uint32_t max_age_s;
    uint32_t nmx;
    struct span mx[STS_MX_MAX];
    const char *why;
};

static bool parse_age(struct span value, uint32_t *out)
{
    uint64_t n = 0;
    if (value.n == 0 || value.n > 10)
        return false;
    for (size_t i = 0; i < value.n; i++) {
        if (!isdigit((unsigned char)value.p[i]))
            return false;
        n = n * 10 + (uint64_t)(value.p[i] - '0');
    }
    *out = n > STS_AGE_MAX_S ? STS_AGE_MAX_S : (uint32_t)n;
    return true;
}

/* Section 3.2: of fields that are given twice, other than mx, the first one counts; unknown ones are ignored.
 */
static bool take_field(struct parsing *s, struct span name, struct span value)
{
    if (span_eq(name, SPAN_LIT("version")) && !s->version) {
        s->why = "its version is not STSv1";
        return s->version = span_eq(value, SPAN_LIT("STSv1"));
    }
    if (span_eq(name, SPAN_LIT("mode")) && s->mode < 0) {
        s->why = "its mode is none of enforce, testing, none";
        return (s->mode = sts_mode_parse(value)) >= 0;
    }
    if (span_eq(name, SPAN_LIT("max_age")) && !s->age) {
        s->why = "its max_age is no number of seconds";
        return s->age = parse_age(value, &s->max_age_s);
    }
    if (span_eq(name, SPAN_LIT("mx"))) {
        s->why = "it names too many hosts";
        if (s->nmx == STS_MX_MAX)
            return false;
        s->why = "one of its hosts is no host name";
        s->mx[s->nmx++] = value;
        return pattern_valid(value);
    }
    return true;
}

int sts_policy_parse(struct span body, struct sts_policy **out, const char **why)
{
    struct parsing s = { .mode = -1 };
    *why = "it is too large";
    if (body.n > STS_BODY_MAX)
        return ERR_BAD;
    *why = "it has a NUL";
    if (body.n > 0 && memchr(body.p, '\0', body.n) != NULL)
        return ERR_BAD;
    while (body.n > 0) {
        struct span value = span_cut(&body, '\n');
        if (value.n > 0 && value.p[value.n - 1] == '\r')
            value.n--;
        struct span name = span_trim(span_cut(&value, ':'));
        if (!take_field(&s, name, span_trim(value))) {
            *why = s.why;
            return ERR_BAD;
        }
    }
    *why = !s.version   ? "it has no version"
           : s.mode < 0 ? "it has no mode"
           : !s.age     ? "it has no max_age"
           : s.nmx == 0 ? "it names no hosts"
                        : "its hosts' names are too long";
    if (!s.version || s.mode < 0 || !s.age)
        return ERR_BAD;
    return sts_policy_new((enum sts_mode)s.mode, s.max_age_s, s.mx, s.nmx, out);
}

const char *sts_policy_next(const struct sts_policy *p, const char *at)
{
    const char *next = at == NULL ? p->names : at + strlen(at) + 1;
    return next < p->names + p->bytes ? next : NULL;
}

bool sts_policy_allows(const struct sts_policy *p, const char *host)
{
    const char *rest = strchr(host, '.');
    for (const char *mx = NULL; (mx = sts_policy_next(p, mx)) != NULL;) {
        if (strcmp(mx, host) == 0)
            return true;
        if (mx[0] == '*' && rest != NULL && rest != host && strcmp(mx + 1, rest) == 0)
            return true;
    }
    return false;
}
