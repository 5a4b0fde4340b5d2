/* Which rule is for which account. Pure. */
#include "node/config/config.h"

#include <string.h>

/* `pattern` and `account` are lower case. "*.example.com" and "*@*.example.com" mean accounts at names below
 * it. */
static bool matches(struct span pattern, struct span account)
{
    if (span_eq(pattern, SPAN_LIT("*")) || span_eq(pattern, account))
        return true;
    const char *at = account.n > 0 ? memrchr(account.p, '@', account.n) : NULL;
    if (at == NULL)
        return false;
    struct span local = span_of(account.p, (size_t)(at - account.p));
    struct span domain = span_sub(account, local.n + 1);
    const char *pat = memrchr(pattern.p, '@', pattern.n);
    struct span plocal = pat != NULL ? span_of(pattern.p, (size_t)(pat - pattern.p)) : SPAN_LIT("*");
    struct span pdomain = pat != NULL ? span_sub(pattern, plocal.n + 1) : pattern;
    if (!span_eq(plocal, SPAN_LIT("*")) && !span_eq(plocal, local))
        return false;
    if (span_starts(pdomain, SPAN_LIT("*."))) {
        struct span tail = span_sub(pdomain, 1); /* ".example.com" */
        return domain.n > tail.n && memcmp(domain.p + domain.n - tail.n, tail.p, tail.n) == 0;
    }
    return span_eq(pdomain, domain);
}

const struct config_account_rule *config_account_rule_find(const struct config *c, struct span account)
{
    for (uint32_t i = 0; i < c->accounts.dovecot.nrules; i++)
        if (matches(span_str(c->accounts.dovecot.rules[i].match), account))
            return &c->accounts.dovecot.rules[i];
    return NULL;
}
