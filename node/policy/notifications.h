/* Who is told of what happens: the policy's section `notifications`. Pure. docs/notifications.md. */
#ifndef NODE_POLICY_NOTIFICATIONS_H
#define NODE_POLICY_NOTIFICATIONS_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define POLICY_TARGETS_MAX 16
#define POLICY_ROUTES_MAX 64
#define POLICY_TENANT_CONTACT "tenant" /* in place of an address: whom the event's tenant has named */

enum policy_severity { POLICY_INFO, POLICY_NOTICE, POLICY_WARNING, POLICY_CRITICAL };
extern const char *const policy_severity_names[POLICY_CRITICAL + 2];

/* Of an event; -1: there is none of that name. */
int policy_event_severity(struct span event);
/* The i-th name; NULL: that was all. */
const char *policy_event_name(uint32_t i);

enum policy_target_kind { POLICY_TARGET_WEBHOOK, POLICY_TARGET_MAIL, POLICY_TARGET_SYSLOG };

struct policy_target {
    char *name;
    char *webhook, *mail, *syslog; /* exactly one: URL; address or "tenant"; URL */
    char *secret;                  /* of a webhook: name of the cluster's secret for it */
    bool private_network;
    int64_t timeout_ms, keep_ms;
    int64_t group_ms;  /* 0: not said; policy_target_group_ms */
    int64_t digest_ms; /* 0: none */
    char *subject;     /* of a mail; NULL: the built-in one */
    char **text;       /* its lines; none: the built-in ones */
    uint32_t ntext;
};
struct policy_route {
    char **to;
    uint32_t nto;
    char **events;
    uint32_t nevents; /* 0: all of its severity */
    int severity;     /* enum policy_severity and one; 0: not said; policy_route_severity */
    char **tenants;
    uint32_t ntenants; /* 0: all, and what is no tenant's */
};
struct policy_notifications {
    struct policy_target *targets;
    struct policy_route *routes;
    uint32_t ntargets, nroutes;
};

enum policy_target_kind policy_target_kind(const struct policy_target *t);
int64_t policy_target_group_ms(const struct policy_target *t);
enum policy_severity policy_route_severity(const struct policy_route *r);
const struct policy_target *policy_target_find(const struct policy_notifications *n, struct span name);
/* Whether a target gets an event. */
bool policy_target_wants(const struct policy_notifications *n, const struct policy_target *t,
                         struct span event, int severity, struct span tenant);

/* Where a webhook goes. `host` of an address in brackets is without them. */
struct policy_url {
    bool tls, unix_socket, tcp;
    char host[256]; /* or the socket's path */
    uint16_t port;
};
/* "https://host[:port]/path", or http. What is wrong, or NULL. */
const char *policy_webhook_parse(struct span url, struct policy_url *out);
/* "udp://192.0.2.1:514", "tcp://[2001:db8::1]:601", "unix:///dev/log". Likewise. */
const char *policy_syslog_parse(struct span url, struct policy_url *out);

/* A template's next piece: text as it is, or (true) a variable's name without its braces. `s` moves on. */
bool policy_template_next(struct span *s, struct span *piece);
extern const char *const policy_template_variables[];

#endif
