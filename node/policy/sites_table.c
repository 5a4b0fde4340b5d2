/* The keys of a site in the policy. docs/policy.md says what they mean. What is left out is seen as such,
 * because an entry may replace parts of a built-in one of the same name.
 */
#include "base/text.h"
#include "node/config/schema_rows.h"
#include "node/config/types.h"
#include "node/policy/policy_impl.h"

#include <stdio.h>

#define COUNT_MAX 1000000
#define SHOWN(s) ((s).n > 60 ? 60 : (int)(s).n), (s).p

/* ---- "100/1m" ---- */

static bool rate_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    struct policy_rate rate = { .count = 0 };
    const char *slash = s.n > 0 ? memchr(s.p, '/', s.n) : NULL;
    uint64_t count = 0;
    (void)f;
    if (slash == NULL || text_u64(span_of(s.p, (size_t)(slash - s.p)), &count) != 0 ||
        text_duration_ms(span_sub(s, (size_t)(slash - s.p) + 1), &rate.within_ms) != 0) {
        schema_fault(l, "expected how many in which time, such as 100/1m, got \"%.*s\"", SHOWN(s));
        return false;
    }
    if (count < 1 || count > COUNT_MAX || rate.within_ms < SEC || rate.within_ms > DAY) {
        schema_fault(l, "expected 1 to %d in 1s to 1d, got \"%.*s\"", COUNT_MAX, SHOWN(s));
        return false;
    }
    rate.count = (uint32_t)count;
    memcpy(out, &rate, sizeof rate);
    return true;
}

static bool rate_format(const struct schema_field *f, const void *in, struct buf *out)
{
    const struct policy_rate *rate = in;
    char text[32];
    (void)f;
    return rate->count > 0 &&
           buf_printf(out, "%u/%s", rate->count, text_exact_duration(rate->within_ms, text)) == 0;
}

static const struct schema_type type_rate = { sizeof(struct policy_rate), rate_parse, rate_format, NULL };

static const struct schema_field site_fields[] = {
    VALUE(policy_doc_site, name, "name", word, REQUIRED("what reports and other entries call the site")),
    LIST(policy_doc_site, mx, "mx", TYPE(site), COUNT(1, SHAPING_SITES_MAX)),
    LIST(policy_doc_site, domains, "domain", TYPE(site), COUNT(1, SHAPING_SITES_MAX)),
    VALUE(policy_doc_site, connections, "connections", u32, RANGE(1, 1000)),
    VALUE(policy_doc_site, messages_per_connection, "messages_per_connection", u32, RANGE(1, 1000000)),
    VALUE(policy_doc_site, rate, "rate", rate),
    VALUE(policy_doc_site, recipients, "recipients_per_message", u32, RANGE(1, 1000)),
    LIST(policy_doc_site, retry, "retry", TYPE(duration), COUNT(1, SHAPING_SITE_RETRIES_MAX),
         RANGE(SEC, DAY)),
    VALUE(policy_doc_site, tls, "tls", choice, .names = shaping_tls_names),
    END,
};
const struct schema_map policy_site_map = { sizeof(struct policy_doc_site), site_fields };
