/* A policy as an immutable, shared object: from text or from a file. Any thread. */
#include "node/policy/policy_impl.h"

#include "base/ensure.h"
#include "base/err.h"
#include "node/config/document.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

/* What users of struct policy don't see. */
struct policy_box {
    struct policy policy; /* first: a policy's address is its box's */
    atomic_uint refs;
};

static struct policy_box *box_of(struct policy *p)
{
    return (struct policy_box *)p;
}

/* Written out in full, so that `turnpike policy show` before the first `apply` is a file to begin with. */
static const char builtin[] =
    "# The policy that is in force before one is applied. See docs/policy.md.\n"
    "limits:\n"
    "  - {name: account-hour, for: account, classes: [person, device], count: 500, window: 1h}\n"
    "  - {name: account-day, for: account, classes: [person, device], count: 2000, window: 1d}\n"
    "  - {name: bulk-hour, for: account, classes: bulk, count: 10000, window: 1h}\n"
    "  - {name: tenant-day, for: tenant, count: 50000, window: 1d}\n"
    "classes:\n"
    "  person: {max_recipients: 100}\n"
    "  device: {max_recipients: 100}\n"
    "  bulk: {max_recipients: 1000}\n"
    "session: {ttl: 3s, margin: 1s}\n"
    "voters: 3\n"
    "when_cut_off: deliver\n"
    "freeze: {mode: auto}\n"
    "auth_guard:\n"
    "  failures_per_account: 20\n"
    "  failures_per_network: 50\n"
    "  window: 10m\n"
    "  block: 15m\n"
    "# A policy that says nothing of them has them on trial: dry_run. Or on: docs/senders.md.\n"
    "default_sender_rules: off\n";

struct span policy_builtin(void)
{
    return span_of(builtin, sizeof builtin - 1);
}

struct policy *policy_hold(struct policy *p)
{
    atomic_fetch_add_explicit(&box_of(p)->refs, 1, memory_order_relaxed);
    return p;
}

static void names_free(struct policy_names *names)
{
    for (uint32_t i = 0; i < names->n; i++)
        free(names->items[i]);
    free(names->items);
}

bool policy_names_have(const struct policy_names *names, struct span name)
{
    uint32_t from = 0, to = names->n;
    while (from < to) {
        uint32_t mid = from + (to - from) / 2;
        struct span item = span_str(names->items[mid]);
        size_t common = item.n < name.n ? item.n : name.n;
        int order = common == 0 ? 0 : memcmp(item.p, name.p, common);
        if (order == 0 && item.n == name.n)
            return true;
        if (order < 0 || (order == 0 && item.n < name.n))
            from = mid + 1;
        else
            to = mid;
    }
    return false;
}

void policy_rele(struct policy *p)
{
    if (p == NULL)
        return;
    unsigned was = atomic_fetch_sub_explicit(&box_of(p)->refs, 1, memory_order_acq_rel);
    ensure(was > 0);
    if (was > 1)
        return;
    free(p->client_checks.name);
    free(p->client_checks.exempt);
    for (uint32_t i = 0; i < p->nlate_identity_accounts; i++)
        free(p->late_identity_accounts[i]);
    free(p->late_identity_accounts);
    free(p->pools);
    policy_streams_free(p);
    policy_content_free(p);
    policy_web_free(p);
    names_free(&p->domains.tenants);
    names_free(&p->domains.trusted);
    names_free(&p->forwarding.accounts);
    schema_fini(&policy_notifications_map, &p->notifications);
    shaping_rules_rele(p->rules);
    shaping_sites_free(p->sites);
    free(box_of(p));
}

int policy_parse(const char *name, struct span text, struct policy **out, struct buf *why)
{
    struct config_errors errors;
    struct policy_doc doc;
    *out = NULL;
    config_errors_init(&errors);
    int err = policy_document_read(name, text, &doc, &errors);
    if (err == 0) {
        struct policy_box *box = calloc(1, sizeof *box);
        if (box == NULL) {
            err = -ENOMEM;
        } else {
            atomic_init(&box->refs, 1);
            policy_compile(&doc, &box->policy);
            box->policy.rules = policy_compile_rules(&doc);
            box->policy.sites = policy_compile_sites(&doc);
            policy_compile_content(&doc, &box->policy);
            if (policy_compile_streams(&doc, &box->policy) && policy_compile_web(&doc, &box->policy) &&
                policy_compile_pools(&doc, &box->policy) && box->policy.rules != NULL && box->policy.sites != NULL) {
                *out = &box->policy;
            } else {
                policy_rele(&box->policy);
                err = -ENOMEM;
            }
        }
        schema_fini(&policy_map, &doc);
    }
    for (uint32_t i = 0; i < errors.n; i++)
        buf_printf(why, "%s\n", errors.v[i].text);
    if (errors.errors > errors.n)
        buf_printf(why, "%s: and %u more\n", name, errors.errors - errors.n);
    config_errors_fini(&errors);
    return err;
}

int policy_load_file(const char *path, struct policy **out, struct buf *text, struct buf *why)
{
    *out = NULL;
    int err = config_file_read(path, POLICY_FILE_MAX, text);
    if (err != 0) {
        buf_printf(why, "%s: cannot read: %s\n", path, err_text(err));
        return err;
    }
    return policy_parse(path, buf_span(text), out, why);
}
