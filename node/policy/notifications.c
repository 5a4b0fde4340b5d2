/* The policy's section `notifications`: see notifications.h. */
#include "node/policy/notifications.h"

#include "base/text.h"
#include "node/config/schema_rows.h"
#include "node/config/types.h"
#include "node/net/ip.h"
#include "node/policy/policy_impl.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define URL_MAX 500
#define PATH_ROOM 100 /* of a socket: sun_path's 108 */
#define MAIL_GROUP_MS (10 * MINUTE)

const char *const policy_severity_names[POLICY_CRITICAL + 2] = { "info", "notice", "warning", "critical",
                                                                 NULL };

/* All that can be told of: the cluster's alerts first, then the event log's lines. */
static const struct {
    const char *name;
    enum policy_severity severity;
} events[] = {
    { "frozen", POLICY_CRITICAL },     { "warned", POLICY_WARNING },   { "test", POLICY_NOTICE },
    { "operator_froze", POLICY_NOTICE }, { "operator_thawed", POLICY_NOTICE },
    { "connection", POLICY_INFO },     { "auth", POLICY_INFO },        { "auth_failed", POLICY_INFO },
    { "received", POLICY_INFO },       { "rejected", POLICY_INFO },    { "delivered", POLICY_INFO },
    { "relayed", POLICY_INFO },        { "deferred", POLICY_INFO },    { "bounced", POLICY_INFO },
    { "expired", POLICY_INFO },        { "deleted", POLICY_INFO },     { "held", POLICY_INFO },
    { "released", POLICY_INFO },       { "delayed", POLICY_INFO },     { "dsn", POLICY_INFO },
    { "connect_failed", POLICY_INFO }, { "site_down", POLICY_NOTICE }, { "site_up", POLICY_NOTICE },
    { "returned", POLICY_INFO },       { "complaint", POLICY_NOTICE }, { "domain", POLICY_NOTICE },
    { "shaping", POLICY_NOTICE },      { "notice", POLICY_NOTICE },    { "operator", POLICY_NOTICE },
    { "web_senders", POLICY_NOTICE },
    { "auth_attack", POLICY_WARNING }, { "dropped", POLICY_WARNING },
};

int policy_event_severity(struct span event)
{
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (span_eq(event, span_str(events[i].name)))
            return (int)events[i].severity;
    return -1;
}

const char *policy_event_name(uint32_t i)
{
    return i < sizeof events / sizeof events[0] ? events[i].name : NULL;
}

/* ---- URLs ---------------------------------------------------------------------------------------------- */

static bool take(struct span *s, const char *prefix)
{
    if (!span_starts(*s, span_str(prefix)))
        return false;
    *s = span_sub(*s, strlen(prefix));
    return true;
}

/* "host:port" or "[address]:port"; the port is as it was when there is none. */
static bool host_parse(struct span s, struct policy_url *out)
{
    struct span host = s, port = { "", 0 };
    if (s.n > 0 && s.p[0] == '[') {
        const char *end = memchr(s.p, ']', s.n);
        if (end == NULL)
            return false;
        host = span_of(s.p + 1, (size_t)(end - s.p - 1));
        port = span_sub(s, host.n + 2);
        struct ip_addr a;
        if (ip_addr_parse(host, &a) != 0 || (port.n > 0 && port.p[0] != ':'))
            return false;
    } else {
        const char *colon = s.n == 0 ? NULL : memchr(s.p, ':', s.n);
        if (colon != NULL) {
            host = span_of(s.p, (size_t)(colon - s.p));
            port = span_sub(s, host.n);
        }
        struct ip_addr a;
        if (ip_addr_parse(host, &a) != 0 && !host_valid(host))
            return false;
    }
    uint64_t number = out->port;
    if (port.n > 0 && text_u64(span_sub(port, 1), &number) != 0)
        return false;
    if (number == 0 || number > UINT16_MAX || host.n == 0 || host.n >= sizeof out->host)
        return false;
    memcpy(out->host, host.p, host.n);
    out->host[host.n] = '\0';
    out->port = (uint16_t)number;
    return true;
}

const char *policy_webhook_parse(struct span url, struct policy_url *out)
{
    *out = (struct policy_url){ .tls = true, .port = 443 };
    for (size_t i = 0; i < url.n; i++)
        if (url.p[i] <= ' ' || url.p[i] > '~' || url.p[i] == '"' || url.p[i] == '\\')
            return "has a character that no URL has";
    if (!take(&url, "https://")) {
        if (!take(&url, "http://"))
            return "expected https://host/path (http:// to this machine only)";
        out->tls = false;
        out->port = 80;
    }
    size_t n = 0;
    while (n < url.n && strchr("/?#", url.p[n]) == NULL)
        n++;
    if (memchr(url.p, '@', n) != NULL)
        return "must not have a user name or password in it: it is signed with a secret instead";
    return host_parse(span_of(url.p, n), out) ? NULL : "expected a host name or address, and perhaps a port";
}

const char *policy_syslog_parse(struct span url, struct policy_url *out)
{
    struct ip_addr a;
    *out = (struct policy_url){ .port = 514 };
    if (take(&url, "unix://")) {
        out->unix_socket = true;
        if (url.n == 0 || url.p[0] != '/' || url.n > PATH_ROOM)
            return "expected unix:// and the absolute path of a socket";
        memcpy(out->host, url.p, url.n);
        return NULL;
    }
    out->tcp = take(&url, "tcp://");
    if (!out->tcp && !take(&url, "udp://"))
        return "expected udp://address:port, tcp://address:port or unix:///path";
    if (!host_parse(url, out) || ip_addr_parse(span_str(out->host), &a) != 0)
        return "expected an IP address, and perhaps a port";
    return NULL;
}

/* ---- templates ----------------------------------------------------------------------------------------- */

const char *const policy_template_variables[] = { "event", "severity",  "account", "tenant",
                                                  "rule",  "text",      "node",    "time",
                                                  "site",  "recipient", "sender",  "ip",
                                                  "count", "id",        "name",    NULL };

bool policy_template_next(struct span *s, struct span *piece)
{
    size_t n = 0;
    if (s->p[0] == '{') {
        while (n + 1 < s->n && islower((unsigned char)s->p[n + 1]))
            n++;
        if (n > 0 && n + 1 < s->n && s->p[n + 1] == '}') {
            *piece = span_of(s->p + 1, n);
            *s = span_sub(*s, n + 2);
            return true;
        }
        n = 1;
    }
    while (n < s->n && s->p[n] != '{')
        n++;
    *piece = span_of(s->p, n);
    *s = span_sub(*s, n);
    return false;
}

static bool variable_known(struct span name)
{
    for (size_t i = 0; policy_template_variables[i] != NULL; i++)
        if (span_eq(name, span_str(policy_template_variables[i])))
            return true;
    return false;
}

static void check_template(struct schema_load *l, const char *path, const char *text)
{
    struct span s = span_str(text), piece;
    while (s.n > 0)
        if (policy_template_next(&s, &piece) && !variable_known(piece))
            schema_fault_at(l, path, "there is no variable {%.*s}: docs/notifications.md", (int)piece.n,
                            piece.p);
}

/* ---- tables -------------------------------------------------------------------------------------------- */

static const struct schema_field target_fields[] = {
    VALUE(policy_target, name, "name", word, REQUIRED("what routes and reports call the target")),
    VALUE(policy_target, webhook, "webhook", text, RANGE(1, URL_MAX)),
    VALUE(policy_target, mail, "mail", text, RANGE(1, 320)),
    VALUE(policy_target, syslog, "syslog", text, RANGE(1, URL_MAX)),
    VALUE(policy_target, secret, "secret", word),
    VALUE(policy_target, private_network, "private_network", bool, DEFAULT("false")),
    VALUE(policy_target, timeout_ms, "timeout", duration, DEFAULT("10s"), RANGE(SEC, MINUTE)),
    VALUE(policy_target, keep_ms, "keep", duration, DEFAULT("3d"), RANGE(MINUTE, 31 * DAY)),
    VALUE(policy_target, group_ms, "group", duration, RANGE(SEC, DAY)),
    VALUE(policy_target, digest_ms, "digest", duration, RANGE(SEC, 7 * DAY)),
    VALUE(policy_target, subject, "subject", text, RANGE(1, 200)),
    LIST(policy_target, text, "text", TYPE(text), RANGE(1, 500), COUNT(1, 60)),
    END,
};
static const struct schema_map target_map = { sizeof(struct policy_target), target_fields };

static const struct schema_field route_fields[] = {
    LIST(policy_route, to, "to", TYPE(word), COUNT(1, POLICY_TARGETS_MAX)),
    LIST(policy_route, events, "events", TYPE(word), COUNT(1, 64)),
    VALUE(policy_route, severity, "severity", choice, .names = policy_severity_names),
    LIST(policy_route, tenants, "tenants", TYPE(word), COUNT(1, 1000)),
    END,
};
static const struct schema_map route_map = { sizeof(struct policy_route), route_fields };

static const struct schema_field notifications_fields[] = {
    LIST(policy_notifications, targets, "targets", .map = &target_map, COUNT(0, POLICY_TARGETS_MAX)),
    LIST(policy_notifications, routes, "routes", .map = &route_map, COUNT(0, POLICY_ROUTES_MAX)),
    END,
};
const struct schema_map policy_notifications_map = { sizeof(struct policy_notifications),
                                                     notifications_fields };

/* ---- checked ------------------------------------------------------------------------------------------- */

static void check_target(struct schema_load *l, const struct policy_notifications *n, uint32_t at)
{
    const struct policy_target *t = &n->targets[at];
    struct policy_url url;
    char base[64], path[120];
    snprintf(base, sizeof base, "notifications.targets[%u]", at);
#define FAULT(key, ...) (snprintf(path, sizeof path, "%s." key, base), schema_fault_at(l, path, __VA_ARGS__))
    for (uint32_t i = 0; i < at; i++)
        if (strcmp(t->name, n->targets[i].name) == 0)
            FAULT("name", "\"%s\" is given twice", t->name);
    if ((t->webhook != NULL) + (t->mail != NULL) + (t->syslog != NULL) != 1) {
        FAULT("name", "\"%s\": one of webhook, mail and syslog is required, and only one", t->name);
        return;
    }
    const char *wrong = t->webhook != NULL  ? policy_webhook_parse(span_str(t->webhook), &url)
                        : t->syslog != NULL ? policy_syslog_parse(span_str(t->syslog), &url)
                                            : NULL;
    if (wrong != NULL && t->webhook != NULL)
        FAULT("webhook", "%s", wrong);
    else if (wrong != NULL)
        FAULT("syslog", "%s", wrong);
    if (t->webhook != NULL && t->secret == NULL)
        FAULT("secret",
              "is required: the name of the secret that signs it (turnpike secret import webhooks)");
    if (t->webhook == NULL && t->secret != NULL)
        FAULT("secret", "is for a webhook only");
    if (t->webhook == NULL && t->private_network)
        FAULT("private_network", "is for a webhook only");
    if (t->mail != NULL && strcmp(t->mail, POLICY_TENANT_CONTACT) != 0 && !email_valid(span_str(t->mail)))
        FAULT("mail", "expected an address, or \"tenant\" for the tenant's contact");
    if (t->mail == NULL && (t->subject != NULL || t->ntext > 0))
        FAULT("subject", "is for mail only, as text is");
    if (t->subject != NULL) {
        snprintf(path, sizeof path, "%s.subject", base);
        check_template(l, path, t->subject);
    }
    for (uint32_t i = 0; i < t->ntext; i++) {
        snprintf(path, sizeof path, "%s.text[%u]", base, i);
        check_template(l, path, t->text[i]);
    }
#undef FAULT
}

static void check_route(struct schema_load *l, const struct policy_notifications *n, uint32_t at)
{
    const struct policy_route *r = &n->routes[at];
    char path[80];
    if (r->nto == 0) {
        snprintf(path, sizeof path, "notifications.routes[%u].to", at);
        schema_fault_at(l, path, "is required: the names of targets");
    }
    for (uint32_t i = 0; i < r->nto; i++)
        if (policy_target_find(n, span_str(r->to[i])) == NULL) {
            snprintf(path, sizeof path, "notifications.routes[%u].to[%u]", at, i);
            schema_fault_at(l, path, "there is no target \"%s\"", r->to[i]);
        }
    for (uint32_t i = 0; i < r->nevents; i++)
        if (policy_event_severity(span_str(r->events[i])) < 0) {
            snprintf(path, sizeof path, "notifications.routes[%u].events[%u]", at, i);
            schema_fault_at(l, path, "there is no event \"%s\": docs/notifications.md", r->events[i]);
        }
}

void policy_check_notifications(struct schema_load *l, const struct policy_notifications *n)
{
    for (uint32_t i = 0; i < n->ntargets; i++)
        if (n->targets[i].name == NULL)
            return; /* told of already */
    for (uint32_t i = 0; i < n->ntargets; i++)
        check_target(l, n, i);
    for (uint32_t i = 0; i < n->nroutes; i++)
        check_route(l, n, i);
}

/* ---- used ---------------------------------------------------------------------------------------------- */

enum policy_target_kind policy_target_kind(const struct policy_target *t)
{
    return t->webhook != NULL ? POLICY_TARGET_WEBHOOK
           : t->mail != NULL  ? POLICY_TARGET_MAIL
                              : POLICY_TARGET_SYSLOG;
}

int64_t policy_target_group_ms(const struct policy_target *t)
{
    return t->group_ms > 0 ? t->group_ms : t->mail != NULL ? MAIL_GROUP_MS : 0;
}

enum policy_severity policy_route_severity(const struct policy_route *r)
{
    if (r->severity > 0)
        return (enum policy_severity)(r->severity - 1);
    return r->nevents > 0 ? POLICY_INFO : POLICY_WARNING;
}

const struct policy_target *policy_target_find(const struct policy_notifications *n, struct span name)
{
    for (uint32_t i = 0; i < n->ntargets; i++)
        if (span_eq(span_str(n->targets[i].name), name))
            return &n->targets[i];
    return NULL;
}

static bool among(char *const *items, uint32_t n, struct span what)
{
    for (uint32_t i = 0; i < n; i++)
        if (span_eq(span_str(items[i]), what))
            return true;
    return false;
}

bool policy_target_wants(const struct policy_notifications *n, const struct policy_target *t,
                         struct span event, int severity, struct span tenant)
{
    for (uint32_t i = 0; i < n->nroutes; i++) {
        const struct policy_route *r = &n->routes[i];
        if (severity >= (int)policy_route_severity(r) &&
            (r->nevents == 0 || among(r->events, r->nevents, event)) &&
            (r->ntenants == 0 || among(r->tenants, r->ntenants, tenant)) &&
            among(r->to, r->nto, span_str(t->name)))
            return true;
    }
    return false;
}

/* ---- compared ------------------------------------------------------------------------------------------ */

/* "webhook https://host, secret desk"; without what stands behind the host, which may be a secret. */
static void put_target(struct buf *out, const struct policy_target *t)
{
    char text[32];
    struct policy_url url;
    if (t->webhook != NULL && policy_webhook_parse(span_str(t->webhook), &url) == NULL)
        (void)buf_printf(out, "webhook %s://%s:%u, secret %s", url.tls ? "https" : "http", url.host, url.port,
                         t->secret);
    else
        (void)buf_printf(out, "%s", t->mail != NULL ? t->mail : t->syslog);
    (void)buf_printf(out, ", group %s", text_exact_duration(policy_target_group_ms(t), text));
    if (t->digest_ms > 0)
        (void)buf_printf(out, ", digest %s", text_exact_duration(t->digest_ms, text));
    if (t->webhook != NULL)
        (void)buf_printf(out, "%s", t->private_network ? ", private networks too" : "");
}

static void put_names(struct buf *out, const char *before, char *const *names, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        (void)buf_printf(out, "%s%s", i == 0 ? before : ", ", names[i]);
}

static void put_route(struct buf *out, const struct policy_route *r)
{
    (void)buf_printf(out, "%s or worse", policy_severity_names[policy_route_severity(r)]);
    put_names(out, "; events ", r->events, r->nevents);
    put_names(out, "; tenants ", r->tenants, r->ntenants);
    put_names(out, "; to ", r->to, r->nto);
}

/* One is there no more, or not yet: NULL. Webhooks that differ behind the host do differ. */
static void diff_target(struct buf *out, const struct policy_target *a, const struct policy_target *b)
{
    char key[100];
    struct buf from, to;
    buf_init(&from, 2000);
    buf_init(&to, 2000);
    if (a != NULL)
        put_target(&from, a);
    if (b != NULL)
        put_target(&to, b);
    snprintf(key, sizeof key, "targets.%s", a != NULL ? a->name : b->name);
    if (a != NULL && b != NULL && a->webhook != NULL && b->webhook != NULL &&
        strcmp(a->webhook, b->webhook) != 0 && span_eq(buf_span(&from), buf_span(&to)))
        (void)buf_printf(out, "notifications.%s: another path\n", key);
    policy_diff_words(out, "notifications.", key, buf_span(&from), buf_span(&to));
    buf_fini(&from);
    buf_fini(&to);
}

void policy_diff_notifications(struct buf *out, const struct policy_notifications *from,
                               const struct policy_notifications *to)
{
    for (uint32_t i = 0; i < from->ntargets; i++)
        diff_target(out, &from->targets[i], policy_target_find(to, span_str(from->targets[i].name)));
    for (uint32_t i = 0; i < to->ntargets; i++)
        if (policy_target_find(from, span_str(to->targets[i].name)) == NULL)
            diff_target(out, NULL, &to->targets[i]);
    for (uint32_t i = 0; i < from->nroutes || i < to->nroutes; i++) {
        char key[40];
        struct buf a, b;
        buf_init(&a, 100000);
        buf_init(&b, 100000);
        if (i < from->nroutes)
            put_route(&a, &from->routes[i]);
        if (i < to->nroutes)
            put_route(&b, &to->routes[i]);
        snprintf(key, sizeof key, "routes[%u]", i);
        policy_diff_words(out, "notifications.", key, buf_span(&a), buf_span(&b));
        buf_fini(&a);
        buf_fini(&b);
    }
}
