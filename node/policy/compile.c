/* Rules between the policy's keys, and what the machine gets of it. Pure. */
#include "base/ensure.h"
#include "node/bounce/class.h"
#include "node/policy/policy_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALL_CLASSES ((1u << POLICY_CLASSES) - 1)
/* Clocks may run 0.5 % fast or slow: two nodes differ by one hundredth of a TTL. Five times that is asked
 * for. */
#define MARGIN_PART 20
#define HEADER_NAME_MAX 63

static unsigned classes_of(const struct policy_doc_limit *limit)
{
    unsigned bits = 0;
    for (uint32_t i = 0; i < limit->nclasses; i++)
        bits |= 1u << limit->classes[i];
    return limit->nclasses > 0 ? bits : ALL_CLASSES;
}

static void check_classes(struct schema_load *l, const struct policy_doc_limit *limit, uint32_t at)
{
    unsigned seen = 0;
    for (uint32_t i = 0; i < limit->nclasses; i++) {
        char path[64];
        snprintf(path, sizeof path, "limits[%u].classes[%u]", at, i);
        if (seen & (1u << limit->classes[i]))
            schema_fault_at(l, path, "\"%s\" is given twice", policy_class_names[limit->classes[i]]);
        seen |= 1u << limit->classes[i];
    }
}

void policy_fault_named(struct schema_load *l, const char *list, uint32_t i, uint32_t k, const char *name,
                        const char *each)
{
    char path[64];
    snprintf(path, sizeof path, "%s[%u].name", list, i);
    schema_fault_at(l, path, "%s[%u] is called \"%s\" already: give %s its own name", list, k, name, each);
}

/* Against each limit before it. */
static void check_twins(struct schema_load *l, const struct policy_doc *doc, uint32_t at)
{
    const struct policy_doc_limit *a = &doc->limits[at];
    char path[64];
    for (uint32_t i = 0; i < at; i++) {
        const struct policy_doc_limit *b = &doc->limits[i];
        if (strcmp(a->name, b->name) == 0) {
            policy_fault_named(l, "limits", at, i, a->name, "each limit");
        } else if (a->scope == b->scope && a->window_ms == b->window_ms && classes_of(a) == classes_of(b)) {
            snprintf(path, sizeof path, "limits[%u].window", at);
            schema_fault_at(l, path,
                            "limits[%u] (\"%s\") has the same window, for the same senders: keep one of them",
                            i, b->name);
        }
    }
}

static void check_chain(struct schema_load *l, const struct policy_doc *doc)
{
    for (unsigned class = 0; class < POLICY_CLASSES; class ++) {
        unsigned n = 0;
        for (uint32_t i = 0; i < doc->nlimits; i++)
            n += (classes_of(&doc->limits[i]) >> class) & 1;
        if (n > POLICY_CHAIN_MAX)
            schema_fault_at(l, "limits", "%u limits are for mail of class %s; at most %d may be", n,
                            policy_class_names[class], POLICY_CHAIN_MAX);
    }
}

/* RFC 5322 section 2.2: printable ASCII but the colon. */
static bool header_name_ok(const char *name)
{
    for (const char *p = name; *p != '\0'; p++)
        if (*p <= ' ' || *p >= 0x7f || *p == ':')
            return false;
    return strlen(name) <= HEADER_NAME_MAX;
}

static void check_late_identity(struct schema_load *l, const struct policy_doc *doc)
{
    if (doc->late.header != NULL && !header_name_ok(doc->late.header))
        schema_fault_at(l, "late_identity.header",
                        "expected a header's name without the colon, such as X-Sender-Account, got \"%s\"",
                        doc->late.header);
    if (doc->late.header != NULL && doc->late.naccounts == 0)
        schema_fault_at(l, "late_identity.accounts",
                        "is required: the relay accounts that may name the sender");
    if (doc->late.header == NULL && doc->late.naccounts > 0)
        schema_fault_at(l, "late_identity.header", "is required: the header that names the sender");
    for (uint32_t i = 0; i < doc->late.naccounts; i++)
        for (uint32_t k = 0; k < i && l->errors->errors < CONFIG_ERRORS_MAX; k++)
            if (strcmp(doc->late.accounts[i], doc->late.accounts[k]) == 0) {
                char path[64];
                snprintf(path, sizeof path, "late_identity.accounts[%u]", i);
                schema_fault_at(l, path, "\"%s\" is given twice", doc->late.accounts[i]);
                break;
            }
}

static void check_bounces(struct schema_load *l, const struct policy_doc *doc)
{
    const char *domain = doc->bounces.domain, *to = doc->bounces.postmaster;
    if (domain == NULL && (doc->bounces.key != NULL || to != NULL || doc->bounces.complaints != NULL))
        schema_fault_at(l, "bounces.domain", "is required: the domain that return paths are in");
    if (doc->bounces.key != NULL && strcmp(doc->bounces.key, POLICY_HIDDEN) == 0)
        schema_fault_at(l, "bounces.key",
                        "is what `policy show` prints in its place: leave it out, after `turnpike secret import "
                        "bounces --policy` has made it the cluster's");
    if (domain != NULL && to == NULL)
        schema_fault_at(l, "bounces.postmaster",
                        "is required: who gets mail for postmaster and abuse of the domain");
    if (domain != NULL && to != NULL && strcasecmp(strrchr(to, '@') + 1, domain) == 0)
        schema_fault_at(l, "bounces.postmaster", "is in the bounce domain itself: that would be a loop");
}

static void check_forwarding(struct schema_load *l, const struct policy_doc *doc)
{
    bool whose = doc->forwarding.naccounts > 0 || doc->forwarding.nclasses > 0;
    bool where = doc->forwarding.domain != NULL || doc->bounces.domain != NULL;
    if (whose && !where)
        schema_fault_at(l, "forwarding.domain",
                        "is required where bounces.domain is not given: the domain of rewritten return paths");
    if (!whose && doc->forwarding.domain != NULL)
        schema_fault_at(l, "forwarding.accounts", "or classes are required: whose mail may be forwarded");
    if (doc->forwarding.domain != NULL && doc->bounces.postmaster != NULL &&
        strcasecmp(strrchr(doc->bounces.postmaster, '@') + 1, doc->forwarding.domain) == 0)
        schema_fault_at(l, "forwarding.domain", "has bounces.postmaster in it: that would be a loop");
}

static void check_dnsbl(struct schema_load *l, const struct policy_doc_dnsbl *lists, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(lists[i].zone, lists[k].zone) == 0) {
                char path[64];
                snprintf(path, sizeof path, "dnsbl.lists[%u].zone", i);
                schema_fault_at(l, path, "\"%s\" is given twice", lists[i].zone);
            }
}

void policy_check(struct schema_load *l, const struct policy_doc *doc)
{
    for (uint32_t i = 0; i < doc->nlimits; i++) {
        check_classes(l, &doc->limits[i], i);
        check_twins(l, doc, i);
    }
    check_chain(l, doc);
    if (doc->voters % 2 == 0)
        schema_fault_at(l, "voters",
                        "must be 1, 3 or 5: an even number stands no more failures than the one below it");
    if (doc->margin_ms < doc->ttl_ms / MARGIN_PART)
        schema_fault_at(l, "session.margin",
                        "must be at least a twentieth of ttl (%lldms): clocks are not equally fast",
                        (long long)(doc->ttl_ms / MARGIN_PART));
    if (doc->hook != NULL && strlen(doc->hook) >= sizeof((struct policy *)0)->hook)
        schema_fault_at(l, "hook", "is longer than %zu bytes", sizeof((struct policy *)0)->hook - 1);
    check_late_identity(l, doc);
    check_bounces(l, doc);
    check_forwarding(l, doc);
    if (doc->domains.recheck_ms > doc->domains.valid_ms)
        schema_fault_at(l, "domains.recheck", "must not be longer than valid");
    if (doc->reputation.good_bounces > doc->reputation.poor_bounces)
        schema_fault_at(l, "reputation.good_bounces", "must not be more than poor_bounces");
    if (doc->reputation.good_complaints > doc->reputation.poor_complaints)
        schema_fault_at(l, "reputation.good_complaints", "must not be more than poor_complaints");
    policy_check_sender_rules(l, doc);
    policy_check_streams(l, doc);
    policy_check_content(l, doc);
    policy_check_web(l, doc);
    check_dnsbl(l, doc->dnsbl.lists, doc->dnsbl.nlists);
    policy_check_rules(l, doc);
    policy_check_sites(l, doc);
    policy_check_pools(l, doc);
    policy_check_notifications(l, &doc->notifications);
}

static void copy(char *to, size_t cap, const char *from)
{
    int n = snprintf(to, cap, "%s", from != NULL ? from : "");
    ensure(n >= 0);
    ensure((size_t)n < cap);
}

static void compile_bounces(const struct policy_doc *doc, struct policy *out)
{
    for (uint32_t i = 0; i < doc->bounces.nclasses; i++)
        out->bounces.classes |= (uint8_t)(1u << doc->bounces.classes[i]);
    if (doc->bounces.nclasses == 0)
        out->bounces.classes = POLICY_SUPPRESSED_CLASSES;
    out->bounces.life_ms = doc->bounces.life_ms;
    copy(out->bounces.domain, sizeof out->bounces.domain, doc->bounces.domain);
    copy(out->bounces.postmaster, sizeof out->bounces.postmaster, doc->bounces.postmaster);
    copy(out->bounces.complaints, sizeof out->bounces.complaints, doc->bounces.complaints);
    out->bounces.has_key = doc->bounces.key != NULL;
    if (doc->bounces.key != NULL)
        ensure(bounce_key_derive(span_str(doc->bounces.key), &out->bounces.key) == 0);
}

static int name_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Takes them. */
static struct policy_names take_names(char ***items, uint32_t *n)
{
    struct policy_names out = { .items = *items, .n = *n };
    *items = NULL;
    *n = 0;
    if (out.n > 0)
        qsort(out.items, out.n, sizeof out.items[0], name_order);
    return out;
}

static uint8_t class_bits(const int *classes, uint32_t n)
{
    uint8_t bits = 0;
    for (uint32_t i = 0; i < n; i++)
        bits |= (uint8_t)(1u << classes[i]);
    return bits;
}

static void compile_domains(struct policy_doc *doc, struct policy *out)
{
    out->domains.prove = (uint8_t)doc->domains.prove;
    out->domains.classes =
        doc->domains.nclasses == 0 ? ALL_CLASSES : class_bits(doc->domains.classes, doc->domains.nclasses);
    out->domains.subdomains = doc->domains.subdomains;
    out->domains.senders = doc->domains.senders;
    copy(out->domains.record, sizeof out->domains.record, doc->domains.record);
    out->domains.tenants = take_names(&doc->domains.tenants, &doc->domains.ntenants);
    out->domains.trusted = take_names(&doc->domains.trusted, &doc->domains.ntrusted);
    out->domains.valid_ms = doc->domains.valid_ms;
    out->domains.recheck_ms = doc->domains.recheck_ms;
    out->domains.failing_ms = doc->domains.failing_ms;
    out->domains.failures = doc->domains.failures;
}

static void compile_forwarding(struct policy_doc *doc, struct policy *out)
{
    bool on = doc->forwarding.naccounts > 0 || doc->forwarding.nclasses > 0;
    out->forwarding.classes = class_bits(doc->forwarding.classes, doc->forwarding.nclasses);
    out->forwarding.accounts = take_names(&doc->forwarding.accounts, &doc->forwarding.naccounts);
    out->forwarding.life_ms = doc->forwarding.life_ms;
    out->forwarding.returns = doc->forwarding.returns;
    if (on)
        copy(out->forwarding.domain, sizeof out->forwarding.domain,
             doc->forwarding.domain != NULL ? doc->forwarding.domain : doc->bounces.domain);
}

static void compile_reputation(const struct policy_doc *doc, struct policy *out)
{
    out->reputation.enabled = doc->reputation.enabled;
    out->reputation.window = (uint8_t)doc->reputation.window;
    copy(out->reputation.good_pool, sizeof out->reputation.good_pool, doc->reputation.good_pool);
    copy(out->reputation.poor_pool, sizeof out->reputation.poor_pool, doc->reputation.poor_pool);
    out->reputation.rules = (struct reputation_rules){ .minimum = doc->reputation.minimum,
                                                       .good_bounces = doc->reputation.good_bounces,
                                                       .good_complaints = doc->reputation.good_complaints,
                                                       .poor_bounces = doc->reputation.poor_bounces,
                                                       .poor_complaints = doc->reputation.poor_complaints,
                                                       .hold_ms = doc->reputation.hold_ms };
}

static void compile_rest(const struct policy_doc *doc, struct reputation_rest *out)
{
    static const enum bounce_class named[] = { BOUNCE_BLOCK, BOUNCE_POLICY, BOUNCE_RATE, BOUNCE_CONTENT, BOUNCE_OTHER };
    *out = doc->rest.rules;
    out->classes = 0;
    for (uint32_t i = 0; i < doc->rest.nclasses; i++)
        out->classes |= 1u << named[doc->rest.classes[i]];
    if (doc->rest.nclasses == 0)
        out->classes = 1u << BOUNCE_BLOCK | 1u << BOUNCE_POLICY;
}

static void compile_dnsbl(const struct policy_doc *doc, struct policy *out)
{
    out->dnsbl.every_ms = doc->dnsbl.every_ms;
    out->dnsbl.nlists = doc->dnsbl.nlists;
    for (uint32_t i = 0; i < doc->dnsbl.nlists; i++) {
        copy(out->dnsbl.lists[i].zone, sizeof out->dnsbl.lists[i].zone, doc->dnsbl.lists[i].zone);
        out->dnsbl.lists[i].rest = doc->dnsbl.lists[i].action != 0;
    }
}

void policy_compile(struct policy_doc *doc, struct policy *out)
{
    struct policy_compiled *c = &out->compiled;
    memset(out, 0, sizeof *out);
    out->level = doc->level;
    out->level_key = doc->level_key;
    c->level = doc->level >= POLICY_LEVEL_LEAST ? doc->level : 0;
    c->session_ttl_ms = doc->ttl_ms;
    c->session_margin_ms = doc->margin_ms;
    c->voters = doc->voters;
    c->hold_when_cut_off = doc->hold_when_cut_off;
    c->freeze_mode = (uint8_t)(doc->freeze_mode + COMMAND_FREEZE_REJECT);
    c->nlimits = doc->nlimits;
    for (uint32_t i = 0; i < doc->nlimits; i++) {
        struct policy_limit *to = &c->limits[i];
        copy(to->name, sizeof to->name, doc->limits[i].name);
        to->scope = (uint8_t)(doc->limits[i].scope + COMMAND_SCOPE_ACCOUNT);
        to->classes = (uint8_t)classes_of(&doc->limits[i]);
        to->count = doc->limits[i].count;
        to->window_ms = (uint64_t)doc->limits[i].window_ms;
    }
    for (unsigned i = 0; i < POLICY_CLASSES; i++) {
        c->max_rcpts[i] = doc->classes[i].max_rcpts;
        copy(out->classes[i].pool, sizeof out->classes[i].pool, doc->classes[i].pool);
    }
    out->auth_guard.failures_per_account = doc->failures_per_account;
    out->auth_guard.failures_per_network = doc->failures_per_network;
    out->auth_guard.window_ms = doc->guard_window_ms;
    out->auth_guard.block_ms = doc->guard_block_ms;
    out->client_checks = doc->client_checks; /* and what it points to */
    doc->client_checks.name = NULL;
    doc->client_checks.exempt = NULL;
    doc->client_checks.nexempt = 0;
    copy(out->late_identity_header, sizeof out->late_identity_header, doc->late.header);
    for (uint32_t i = 0; i < doc->suppression.nclasses; i++)
        out->suppression.classes |= (uint8_t)(1u << doc->suppression.classes[i]);
    if (doc->suppression.nclasses == 0)
        out->suppression.classes = POLICY_SUPPRESSED_CLASSES;
    if (!doc->suppression.enabled)
        out->suppression.classes = 0;
    out->suppression.expire_ms = doc->suppression.expire_ms;
    out->suppression.max_per_tenant = doc->suppression.max_per_tenant;
    compile_bounces(doc, out);
    compile_domains(doc, out);
    compile_forwarding(doc, out);
    out->warmup = doc->warmup;
    compile_reputation(doc, out);
    compile_rest(doc, &out->reputation.addresses);
    compile_dnsbl(doc, out);
    out->tenant_reports = (enum policy_reports)doc->tenant_reports;
    copy(out->hook, sizeof out->hook, doc->hook);
    policy_compile_sender_rules(doc, out);
    out->sender_credit = doc->sender_credit;
    out->held = doc->held;
    out->backoff.connections = doc->backoff.connections;
    out->backoff.interval_ms = doc->backoff.interval_ms;
    out->backoff.nretry = doc->backoff.nretry;
    for (uint32_t i = 0; i < doc->backoff.nretry; i++)
        out->backoff.retry_ms[i] = doc->backoff.retry[i];
    out->backoff.for_ms = doc->backoff.for_ms;
    out->backoff.deliveries = doc->backoff.deliveries;
    out->late_identity_accounts = doc->late.accounts;
    out->nlate_identity_accounts = doc->late.naccounts;
    out->notifications = doc->notifications; /* and what it points to */
    doc->notifications = (struct policy_notifications){ 0 };
    doc->late.accounts = NULL;
    doc->late.naccounts = 0;
}
