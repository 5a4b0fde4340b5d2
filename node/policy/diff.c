/* What differs between two policies, for people: a line each, by key. Pure. */
#include "base/text.h"
#include "node/config/net.h"
#include "node/bounce/class.h"
#include "node/policy/policy_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void diff_number(struct buf *out, const char *key, uint64_t from, uint64_t to)
{
    if (from != to)
        buf_printf(out, "%s: %" PRIu64 " -> %" PRIu64 "\n", key, from, to);
}

static void diff_duration(struct buf *out, const char *key, int64_t from, int64_t to)
{
    char a[32], b[32];
    if (from != to)
        buf_printf(out, "%s: %s -> %s\n", key, text_exact_duration(from, a), text_exact_duration(to, b));
}

void policy_diff_words(struct buf *out, const char *prefix, const char *key, struct span from, struct span to)
{
    if (span_eq(from, to))
        return;
    buf_printf(out, "%s%s: ", prefix, key);
    buf_put_span(out, from.n > 0 ? from : SPAN_LIT("(none)"));
    buf_put_str(out, " -> ");
    buf_put_span(out, to.n > 0 ? to : SPAN_LIT("(none)"));
    buf_put_char(out, '\n');
}

void policy_diff_entry(struct buf *out, const char *list, const char *name, policy_words_fn *words,
                       const void *from, const void *to)
{
    char key[POLICY_LIMIT_NAME + 32];
    struct buf a, b;
    buf_init(&a, POLICY_FILE_MAX);
    buf_init(&b, POLICY_FILE_MAX);
    if (from != NULL)
        words(&a, from);
    if (to != NULL)
        words(&b, to);
    snprintf(key, sizeof key, "%s.%s", list, name);
    policy_diff_words(out, "", key, buf_span(&a), buf_span(&b));
    buf_fini(&a);
    buf_fini(&b);
}

static void diff_text(struct buf *out, const char *key, const char *from, const char *to)
{
    policy_diff_words(out, "", key, span_str(from), span_str(to));
}

static const char *classes(uint8_t bits, char out[32])
{
    out[0] = '\0';
    for (unsigned i = 0; i < POLICY_CLASSES; i++) {
        size_t n = strlen(out);
        if (bits & (1u << i))
            snprintf(out + n, 32 - n, "%s%s", n > 0 ? ", " : "", policy_class_names[i]);
    }
    return out;
}

static const struct policy_limit *find(const struct policy_compiled *c, const char *name)
{
    for (uint32_t i = 0; i < c->nlimits; i++)
        if (strcmp(c->limits[i].name, name) == 0)
            return &c->limits[i];
    return NULL;
}

static void put_whole(struct buf *out, const struct policy_limit *limit)
{
    char window[32], which[32];
    buf_printf(out, "%" PRIu64 " per %s for each %s (%s)", limit->count,
               text_exact_duration((int64_t)limit->window_ms, window),
               policy_scope_names[limit->scope - COMMAND_SCOPE_ACCOUNT], classes(limit->classes, which));
}

static void diff_limit(struct buf *out, const struct policy_limit *from, const struct policy_limit *to)
{
    char key[POLICY_LIMIT_NAME + 32], a[32], b[32];
    snprintf(key, sizeof key, "limits.%s.for", to->name);
    diff_text(out, key, policy_scope_names[from->scope - COMMAND_SCOPE_ACCOUNT],
              policy_scope_names[to->scope - COMMAND_SCOPE_ACCOUNT]);
    snprintf(key, sizeof key, "limits.%s.classes", to->name);
    diff_text(out, key, classes(from->classes, a), classes(to->classes, b));
    snprintf(key, sizeof key, "limits.%s.count", to->name);
    diff_number(out, key, from->count, to->count);
    snprintf(key, sizeof key, "limits.%s.window", to->name);
    diff_duration(out, key, (int64_t)from->window_ms, (int64_t)to->window_ms);
}

static void diff_limits(struct buf *out, const struct policy_compiled *from, const struct policy_compiled *to)
{
    for (uint32_t i = 0; i < from->nlimits; i++) {
        const struct policy_limit *now = find(to, from->limits[i].name);
        if (from->limits[i].classes == 0) /* a rule's, which speaks for itself */
            continue;
        if (now != NULL) {
            diff_limit(out, &from->limits[i], now);
            continue;
        }
        buf_printf(out, "limits.%s: ", from->limits[i].name);
        put_whole(out, &from->limits[i]);
        buf_put_str(out, " -> (none)\n");
    }
    for (uint32_t i = 0; i < to->nlimits; i++)
        if (to->limits[i].classes != 0 && find(from, to->limits[i].name) == NULL) {
            buf_printf(out, "limits.%s: (none) -> ", to->limits[i].name);
            put_whole(out, &to->limits[i]);
            buf_put_char(out, '\n');
        }
}

static bool listed(const struct policy *p, const char *account)
{
    for (uint32_t i = 0; i < p->nlate_identity_accounts; i++)
        if (strcmp(p->late_identity_accounts[i], account) == 0)
            return true;
    return false;
}

static void diff_accounts(struct buf *out, const struct policy *a, const struct policy *b, const char *what)
{
    for (uint32_t i = 0; i < a->nlate_identity_accounts; i++)
        if (!listed(b, a->late_identity_accounts[i]))
            buf_printf(out, "late_identity.accounts: %s %s\n", a->late_identity_accounts[i], what);
}

static void diff_retry(struct buf *out, const struct policy *from, const struct policy *to)
{
    char words[2][POLICY_RETRY_MAX * 34] = { "", "" }, one[32];
    const struct policy *both[] = { from, to };
    for (int k = 0; k < 2; k++)
        for (uint32_t i = 0; i < both[k]->backoff.nretry; i++) {
            size_t n = strlen(words[k]);
            snprintf(words[k] + n, sizeof words[k] - n, "%s%s", i > 0 ? ", " : "",
                     text_exact_duration(both[k]->backoff.retry_ms[i], one));
        }
    diff_text(out, "backoff.retry", words[0], words[1]);
}

static void diff_warmup(struct buf *out, const struct policy_warmup *a, const struct policy_warmup *b)
{
    diff_number(out, "warmup.first", a->first, b->first);
    diff_number(out, "warmup.growth", a->growth_pct, b->growth_pct);
    diff_number(out, "warmup.days", a->days, b->days);
    diff_number(out, "warmup.fill", a->fill_pct, b->fill_pct);
    diff_number(out, "warmup.max_deferrals", a->deferral_pct, b->deferral_pct);
    diff_number(out, "warmup.max_complaints", a->complaint_permille, b->complaint_permille);
    diff_text(out, "warmup.step_back", a->step_back ? "true" : "false", b->step_back ? "true" : "false");
    diff_number(out, "warmup.sites", a->sites, b->sites);
}

static void diff_reputation(struct buf *out, const struct policy *from, const struct policy *to)
{
    static const char *const windows[] = { "1h", "24h", "7d" };
    const struct reputation_rules *a = &from->reputation.rules, *b = &to->reputation.rules;
    diff_text(out, "reputation.enabled", from->reputation.enabled ? "true" : "false",
              to->reputation.enabled ? "true" : "false");
    diff_text(out, "reputation.window", windows[from->reputation.window], windows[to->reputation.window]);
    diff_number(out, "reputation.minimum", a->minimum, b->minimum);
    diff_duration(out, "reputation.hold", a->hold_ms, b->hold_ms);
    diff_text(out, "reputation.good_pool", from->reputation.good_pool, to->reputation.good_pool);
    diff_text(out, "reputation.poor_pool", from->reputation.poor_pool, to->reputation.poor_pool);
    diff_number(out, "reputation.good_bounces", a->good_bounces, b->good_bounces);
    diff_number(out, "reputation.good_complaints", a->good_complaints, b->good_complaints);
    diff_number(out, "reputation.poor_bounces", a->poor_bounces, b->poor_bounces);
    diff_number(out, "reputation.poor_complaints", a->poor_complaints, b->poor_complaints);
}

static void diff_client_checks(struct buf *out, const struct config_client_checks *a,
                               const struct config_client_checks *b)
{
    char nets[2][512];
    const struct config_client_checks *both[] = { a, b };
    for (int k = 0; k < 2; k++) {
        char net[IP_TEXT_MAX + 4];
        size_t n = 0;
        nets[k][0] = '\0';
        for (uint32_t i = 0; i < both[k]->nexempt && n < sizeof nets[k] - sizeof net - 8; i++) {
            config_net_format(&both[k]->exempt[i], net);
            n += (size_t)snprintf(nets[k] + n, sizeof nets[k] - n, "%s%s", i > 0 ? ", " : "", net);
        }
    }
    diff_text(out, "client_checks.reverse_dns", a->reverse_dns ? "defer" : "off",
              b->reverse_dns ? "defer" : "off");
    diff_text(out, "client_checks.forward_confirmed", a->forward_confirmed ? "true" : "false",
              b->forward_confirmed ? "true" : "false");
    diff_text(out, "client_checks.when_unknown", a->defer_unknown ? "defer" : "accept",
              b->defer_unknown ? "defer" : "accept");
    diff_text(out, "client_checks.name", a->name != NULL ? a->name : "", b->name != NULL ? b->name : "");
    diff_text(out, "client_checks.helo", a->helo_strict ? "strict" : "lenient",
              b->helo_strict ? "strict" : "lenient");
    bool same = a->nexempt == b->nexempt;
    for (uint32_t i = 0; same && i < a->nexempt; i++)
        same = a->exempt[i].bits == b->exempt[i].bits && ip_addr_eq(&a->exempt[i].addr, &b->exempt[i].addr);
    if (!same && strcmp(nets[0], nets[1]) == 0)
        buf_put_str(out, "client_checks.exempt: the list has changed\n"); /* behind what fits */
    else if (!same)
        diff_text(out, "client_checks.exempt", nets[0], nets[1]);
}

static const char *rest_classes(uint32_t bits, char out[128])
{
    out[0] = '\0';
    for (int i = 0; i < BOUNCE_CLASSES; i++) {
        size_t n = strlen(out);
        if (bits & (1u << i))
            snprintf(out + n, 128 - n, "%s%s", n > 0 ? ", " : "", bounce_class_name((enum bounce_class)i));
    }
    return out;
}

static void diff_rest(struct buf *out, const struct reputation_rest *a, const struct reputation_rest *b)
{
    char x[128], y[128];
    diff_text(out, "reputation.addresses.enabled", a->enabled ? "true" : "false", b->enabled ? "true" : "false");
    diff_number(out, "reputation.addresses.rest_when.refused_share", a->refused_pct, b->refused_pct);
    diff_number(out, "reputation.addresses.rest_when.at_least", a->at_least, b->at_least);
    diff_duration(out, "reputation.addresses.rest_when.within", a->within_ms, b->within_ms);
    diff_text(out, "reputation.addresses.rest_when.classes", rest_classes(a->classes, x), rest_classes(b->classes, y));
    diff_duration(out, "reputation.addresses.rest_for", a->rest_ms, b->rest_ms);
    diff_number(out, "reputation.addresses.return_first", a->first, b->first);
}

static void diff_names(struct buf *out, const char *key, const struct policy_names *from, const struct policy_names *to)
{
    for (uint32_t i = 0; i < from->n; i++)
        if (!policy_names_have(to, span_str(from->items[i])))
            buf_printf(out, "%s: %s -> (none)\n", key, from->items[i]);
    for (uint32_t i = 0; i < to->n; i++)
        if (!policy_names_have(from, span_str(to->items[i])))
            buf_printf(out, "%s: %s is new\n", key, to->items[i]);
}

static void diff_domains(struct buf *out, const struct policy *from, const struct policy *to)
{
    static const char *const prove[] = { "off", "warn", "require" };
    char was[32], now[32];
    diff_text(out, "domains.prove", prove[from->domains.prove], prove[to->domains.prove]);
    diff_text(out, "domains.classes", classes(from->domains.classes, was), classes(to->domains.classes, now));
    diff_names(out, "domains.tenants", &from->domains.tenants, &to->domains.tenants);
    diff_names(out, "domains.trusted", &from->domains.trusted, &to->domains.trusted);
    diff_text(out, "domains.senders", from->domains.senders ? "true" : "false",
              to->domains.senders ? "true" : "false");
    diff_text(out, "domains.subdomains", from->domains.subdomains ? "true" : "false",
              to->domains.subdomains ? "true" : "false");
    diff_text(out, "domains.record", from->domains.record, to->domains.record);
    diff_duration(out, "domains.valid", from->domains.valid_ms, to->domains.valid_ms);
    diff_duration(out, "domains.recheck", from->domains.recheck_ms, to->domains.recheck_ms);
    diff_number(out, "domains.failures", from->domains.failures, to->domains.failures);
    diff_duration(out, "domains.failing", from->domains.failing_ms, to->domains.failing_ms);
}

static void diff_forwarding(struct buf *out, const struct policy *from, const struct policy *to)
{
    char was[32], now[32];
    diff_names(out, "forwarding.accounts", &from->forwarding.accounts, &to->forwarding.accounts);
    diff_text(out, "forwarding.classes", classes(from->forwarding.classes, was),
              classes(to->forwarding.classes, now));
    diff_text(out, "forwarding.domain", from->forwarding.domain, to->forwarding.domain);
    diff_duration(out, "forwarding.life", from->forwarding.life_ms, to->forwarding.life_ms);
    diff_number(out, "forwarding.returns", from->forwarding.returns, to->forwarding.returns);
}

static const struct policy_dnsbl *dnsbl_of(const struct policy *p, const char *zone)
{
    for (uint32_t i = 0; i < p->dnsbl.nlists; i++)
        if (strcmp(p->dnsbl.lists[i].zone, zone) == 0)
            return &p->dnsbl.lists[i];
    return NULL;
}

static const char *reports_word(enum policy_reports every)
{
    return every == POLICY_REPORTS_DAILY ? "daily" : every == POLICY_REPORTS_WEEKLY ? "weekly" : "off";
}

static const char *dnsbl_action(const struct policy_dnsbl *list)
{
    return list == NULL ? "" : list->rest ? "rest" : "notify";
}

static void diff_dnsbl(struct buf *out, const struct policy *from, const struct policy *to)
{
    char key[300];
    for (uint32_t i = 0; i < from->dnsbl.nlists; i++) {
        const struct policy_dnsbl *was = &from->dnsbl.lists[i];
        snprintf(key, sizeof key, "dnsbl.lists.%s", was->zone);
        diff_text(out, key, dnsbl_action(was), dnsbl_action(dnsbl_of(to, was->zone)));
    }
    for (uint32_t i = 0; i < to->dnsbl.nlists; i++) {
        const struct policy_dnsbl *now = &to->dnsbl.lists[i];
        snprintf(key, sizeof key, "dnsbl.lists.%s", now->zone);
        if (dnsbl_of(from, now->zone) == NULL)
            diff_text(out, key, "", dnsbl_action(now));
    }
    diff_duration(out, "dnsbl.every", from->dnsbl.every_ms, to->dnsbl.every_ms);
}

static void diff_held(struct buf *out, const struct policy_held *a, const struct policy_held *b)
{
    diff_duration(out, "held.expire", a->expire_ms, b->expire_ms);
    diff_text(out, "held.when_expired", a->expire_delete ? "delete" : "bounce", b->expire_delete ? "delete" : "bounce");
    diff_number(out, "held.messages", a->messages, b->messages);
    diff_number(out, "held.bytes", a->bytes, b->bytes);
    diff_number(out, "held.sender_messages", a->sender_messages, b->sender_messages);
    diff_number(out, "held.sender_bytes", a->sender_bytes, b->sender_bytes);
    diff_text(out, "held.when_full", a->when_full == POLICY_HELD_DEFER ? "defer" : "reject",
              b->when_full == POLICY_HELD_DEFER ? "defer" : "reject");
}

int policy_diff(const struct policy *from, const struct policy *to, struct buf *out)
{
    const struct policy_compiled *a = &from->compiled, *b = &to->compiled;
    char key[64];
    diff_limits(out, a, b);
    for (unsigned i = 0; i < POLICY_CLASSES; i++) {
        snprintf(key, sizeof key, "classes.%s.max_recipients", policy_class_names[i]);
        diff_number(out, key, a->max_rcpts[i], b->max_rcpts[i]);
        snprintf(key, sizeof key, "classes.%s.pool", policy_class_names[i]);
        diff_text(out, key, from->classes[i].pool, to->classes[i].pool);
    }
    diff_duration(out, "session.ttl", a->session_ttl_ms, b->session_ttl_ms);
    diff_duration(out, "session.margin", a->session_margin_ms, b->session_margin_ms);
    diff_number(out, "voters", a->voters, b->voters);
    diff_text(out, "when_cut_off", a->hold_when_cut_off ? "hold" : "deliver",
              b->hold_when_cut_off ? "hold" : "deliver");
    diff_text(out, "freeze.mode", policy_mode_names[a->freeze_mode - COMMAND_FREEZE_REJECT],
              policy_mode_names[b->freeze_mode - COMMAND_FREEZE_REJECT]);
    diff_number(out, "auth_guard.failures_per_account", from->auth_guard.failures_per_account,
                to->auth_guard.failures_per_account);
    diff_number(out, "auth_guard.failures_per_network", from->auth_guard.failures_per_network,
                to->auth_guard.failures_per_network);
    diff_duration(out, "auth_guard.window", from->auth_guard.window_ms, to->auth_guard.window_ms);
    diff_duration(out, "auth_guard.block", from->auth_guard.block_ms, to->auth_guard.block_ms);
    diff_client_checks(out, &from->client_checks, &to->client_checks);
    diff_text(out, "late_identity.header", from->late_identity_header, to->late_identity_header);
    diff_accounts(out, from, to, "-> (none)");
    diff_accounts(out, to, from, "is new");
    char was[32], now[32];
    diff_text(out, "suppression.classes", classes(from->suppression.classes, was),
              classes(to->suppression.classes, now));
    diff_duration(out, "suppression.expire", from->suppression.expire_ms, to->suppression.expire_ms);
    diff_number(out, "suppression.max_per_tenant", from->suppression.max_per_tenant,
                to->suppression.max_per_tenant);
    diff_text(out, "bounces.domain", from->bounces.domain, to->bounces.domain);
    diff_text(out, "bounces.postmaster", from->bounces.postmaster, to->bounces.postmaster);
    diff_text(out, "bounces.complaints", from->bounces.complaints, to->bounces.complaints);
    diff_text(out, "bounces.classes", classes(from->bounces.classes, was), classes(to->bounces.classes, now));
    diff_duration(out, "bounces.life", from->bounces.life_ms, to->bounces.life_ms);
    if (from->bounces.has_key && !to->bounces.has_key)
        buf_put_str(out, "bounces.key: is gone\n");
    else if (memcmp(&from->bounces.key, &to->bounces.key, sizeof from->bounces.key) != 0)
        buf_put_str(out, "bounces.key: is another one\n");
    diff_domains(out, from, to);
    diff_forwarding(out, from, to);
    diff_warmup(out, &from->warmup, &to->warmup);
    diff_reputation(out, from, to);
    diff_rest(out, &from->reputation.addresses, &to->reputation.addresses);
    diff_dnsbl(out, from, to);
    diff_text(out, "tenant_reports", reports_word(from->tenant_reports), reports_word(to->tenant_reports));
    diff_text(out, "hook", from->hook, to->hook);
    policy_diff_streams(out, from, to);
    policy_diff_web(out, from, to);
    policy_diff_sender_rules(out, a, b);
    diff_held(out, &from->held, &to->held);
    policy_diff_content(out, &from->content, &to->content);
    diff_number(out, "sender_credit", from->sender_credit, to->sender_credit);
    diff_number(out, "backoff.connections", from->backoff.connections, to->backoff.connections);
    diff_duration(out, "backoff.interval", from->backoff.interval_ms, to->backoff.interval_ms);
    diff_retry(out, from, to);
    diff_duration(out, "backoff.for", from->backoff.for_ms, to->backoff.for_ms);
    diff_number(out, "backoff.deliveries", from->backoff.deliveries, to->backoff.deliveries);
    policy_diff_rules(out, from->rules, to->rules);
    policy_diff_sites(out, from->sites, to->sites);
    policy_diff_pools(out, from, to);
    policy_diff_notifications(out, &from->notifications, &to->notifications);
    return buf_err(out);
}
