/* DMARC records and alignment (RFC 7489). Pure, once the list of public suffixes is loaded. */
#include "node/domain/dmarc.h"

#include "base/err.h"
#include "base/text.h"
#include "node/domain/name.h"

#include <libpsl.h>
#include <stdio.h>
#include <stdlib.h>

const char *dmarc_policy_name(enum dmarc_policy p)
{
    return p == DMARC_NONE ? "none" : p == DMARC_QUARANTINE ? "quarantine" : "reject";
}

static bool read_policy(struct span value, enum dmarc_policy *out)
{
    for (enum dmarc_policy p = DMARC_NONE; p <= DMARC_REJECT; p++)
        if (span_eq_nocase(value, span_str(dmarc_policy_name(p)))) {
            *out = p;
            return true;
        }
    return false;
}

static bool read_mode(struct span value, bool *strict)
{
    bool s = span_eq_nocase(value, SPAN_LIT("s"));
    *strict = s;
    return s || span_eq_nocase(value, SPAN_LIT("r"));
}

static bool read_percent(struct span value, uint8_t *percent)
{
    uint64_t v;
    if (text_u64(value, &v) != 0 || v > 100)
        return false;
    *percent = (uint8_t)v;
    return true;
}

int dmarc_parse(struct span text, struct dmarc_record *out)
{
    struct span rest = text, tag, value;
    bool p = false, p_good = false, sp = false;
    *out = (struct dmarc_record){ .percent = 100 };
    /* the version is first, or it is something else (section 6.3) */
    if (domain_tag_next(&rest, &tag, &value) != 1 || !span_eq_nocase(tag, SPAN_LIT("v")) ||
        !span_eq(value, SPAN_LIT("DMARC1")))
        return ERR_NOT_FOUND;
    int got;
    while ((got = domain_tag_next(&rest, &tag, &value)) == 1) {
        bool good = true;
        if (span_eq_nocase(tag, SPAN_LIT("p"))) {
            p = true;
            p_good = read_policy(value, &out->policy);
        } else if (span_eq_nocase(tag, SPAN_LIT("sp"))) {
            sp = good = read_policy(value, &out->subdomains);
        } else if (span_eq_nocase(tag, SPAN_LIT("aspf"))) {
            good = read_mode(value, &out->strict_spf);
        } else if (span_eq_nocase(tag, SPAN_LIT("adkim"))) {
            good = read_mode(value, &out->strict_dkim);
        } else if (span_eq_nocase(tag, SPAN_LIT("pct"))) {
            good = read_percent(value, &out->percent);
        } else if (span_eq_nocase(tag, SPAN_LIT("rua"))) {
            out->rua = value;
        }
        if (!good)
            return ERR_BAD;
    }
    /* section 6.6.3: without a policy that can be read, reports are all that is wanted */
    if (got != 0 || (!p_good && out->rua.n == 0))
        return ERR_BAD;
    if (!p || !p_good)
        out->policy = DMARC_NONE;
    if (!sp)
        out->subdomains = out->policy;
    return 0;
}

/* ---- organisational domains ---------------------------------------------------------------------------- */

struct domain_suffixes {
    psl_ctx_t *psl;
    const psl_ctx_t *builtin;
};

struct domain_suffixes *domain_suffixes_new(void)
{
    struct domain_suffixes *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->psl = psl_latest(NULL);
    s->builtin = psl_builtin();
    if (s->psl != NULL || s->builtin != NULL)
        return s;
    free(s);
    return NULL;
}

void domain_suffixes_free(struct domain_suffixes *s)
{
    if (s == NULL)
        return;
    psl_free(s->psl);
    free(s);
}

const char *domain_organisation(const struct domain_suffixes *s, const char *domain, char out[256])
{
    const char *found = psl_registrable_domain(s->psl != NULL ? s->psl : s->builtin, domain);
    snprintf(out, 256, "%s", found != NULL ? found : domain);
    return out;
}

bool domain_aligned(const struct domain_suffixes *s, const char *from, const char *other, bool strict)
{
    char a[256], b[256];
    if (strict)
        return strcasecmp(from, other) == 0;
    return strcasecmp(domain_organisation(s, from, a), domain_organisation(s, other, b)) == 0;
}
