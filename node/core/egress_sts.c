/* The MTA-STS policy of a site's domain: asked for together with its addresses. The worker's thread. */
#include "node/core/egress.h"

static void found_cb(void *ctx, struct sts_policy *policy)
{
    struct egress_site *site = ctx;
    site->sts_lookup = NULL;
    if (policy != NULL)
        sts_policy_hold(policy);
    site->sts = policy;
    if (site->request == NULL)
        conn_resolved(site);
}

void egress_sts_forget(struct egress_site *site)
{
    sts_lookup_cancel(site->sts_lookup);
    site->sts_lookup = NULL;
    sts_policy_rele(site->sts);
    site->sts = NULL;
}

void egress_sts_start(struct egress_site *site, struct span domain)
{
    egress_sts_forget(site);
    if (domain.n > 0 && domain.p[0] != '[')
        site->sts_lookup = sts_lookup_start(site->e->w, domain, found_cb, site);
}
