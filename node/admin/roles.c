/* What each role may do. A viewer sees what goes on, without the content of mail and without anything that
 * starts work elsewhere; a postmaster deals with mail and with those who send it; all else is an admin's.
 */
#include "node/admin/roles.h"

#include <stddef.h>
#include <string.h>

static const char *const names[] = { NULL, "viewer", "postmaster", "admin" };
#define NNAMES (sizeof names / sizeof names[0])

const struct admin_role_row admin_role_rows[] = {
    { "GET", "/v1/openapi.json", ADMIN_ROLE_VIEWER },
    { "GET", "/metrics", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/session", ADMIN_ROLE_VIEWER },
    { "POST", "/v1/session", ADMIN_ROLE_VIEWER },
    { "POST", "/v1/logout", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/status", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/series", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/queue", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/queue/summary", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/queue/messages/{id}", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/held", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/held/status", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/transfers", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/track", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/events", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/events/stream", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/notify", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/auth/blocked", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/top", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/domains", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/sites", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/sites/holds", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/sites/show", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/log", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/accounts", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/accounts/show", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/cluster", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/audit", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/frozen", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/tenants", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/tenants/report", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/dkim", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/suppression", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/senders/bounces", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/senders/show", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/senders/top", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/senders/web", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/limits", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/pools", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/ips", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/ips/show", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/ips/warm", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/policy", ADMIN_ROLE_VIEWER },
    { "GET", "/v1/policy/history", ADMIN_ROLE_VIEWER },

    { "GET", "/v1/queue/messages/{id}/content", ADMIN_ROLE_POSTMASTER },
    { "GET", "/v1/trace", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/probe", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/notify/test", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/auth/unblock", ADMIN_ROLE_POSTMASTER },
    { "GET", "/v1/domain/check", ADMIN_ROLE_POSTMASTER },
    { "GET", "/v1/ip/check", ADMIN_ROLE_POSTMASTER },
    { "GET", "/v1/held/messages/{id}", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/held/release", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/held/delete", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/held/bounce", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/queue/retry", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/queue/hold", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/queue/release", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/queue/bounce", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/queue/delete", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/sites/backoff", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/sites/resume", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/freeze", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/thaw", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/suppression/add", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/suppression/remove", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/senders/pin", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/senders/lift", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/senders/forget", ADMIN_ROLE_POSTMASTER },
    { "POST", "/v1/policy/test-reply", ADMIN_ROLE_POSTMASTER },
};
const uint32_t admin_nrole_rows = sizeof admin_role_rows / sizeof admin_role_rows[0];

uint8_t admin_role_of(const char *name)
{
    for (uint8_t i = 1; name != NULL && i < NNAMES; i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    return ADMIN_ROLE_NONE;
}

const char *admin_role_name(uint8_t role)
{
    return role < NNAMES ? names[role] : NULL;
}

uint8_t admin_role_needed(const char *method, const char *path)
{
    for (uint32_t i = 0; i < admin_nrole_rows; i++)
        if (strcmp(admin_role_rows[i].path, path) == 0 && strcmp(admin_role_rows[i].method, method) == 0)
            return admin_role_rows[i].role;
    return ADMIN_ROLE_ADMIN;
}
