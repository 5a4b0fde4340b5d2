/* The tenant role: see tenant.h. */
#include "node/admin/tenant.h"

#include "node/admin/guard.h"
#include "node/admin/member.h"

#include "base/err.h"
#include "base/text.h"
#include "node/tenant/report.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#define TOKEN_PREFIX "turnpike-"
#define TOKEN_ID_BYTES 8
#define TOKEN_SECRET_BYTES 32

/* ---- what is open -------------------------------------------------------------------------------------- */

static const struct {
    const char *path; /* of a GET */
    enum admin_tenant_how how;
    const char *account; /* ADMIN_TENANT_ACCOUNT: the parameter that names it */
} opened[] = {
    { "/healthz", ADMIN_TENANT_PUBLIC, NULL },
    { "/readyz", ADMIN_TENANT_PUBLIC, NULL },
    { "/v1/openapi.json", ADMIN_TENANT_PUBLIC, NULL },
    { "/v1/queue", ADMIN_TENANT_SCOPED, NULL },
    { "/v1/queue/summary", ADMIN_TENANT_SCOPED, NULL },
    { "/v1/queue/messages/{id}", ADMIN_TENANT_ROWS, NULL },
    { "/v1/held", ADMIN_TENANT_SCOPED, NULL },
    { "/v1/track", ADMIN_TENANT_SCOPED, NULL },
    { "/v1/events", ADMIN_TENANT_SCOPED, NULL },
    { "/v1/domains", ADMIN_TENANT_SCOPED, NULL },
    { "/v1/suppression", ADMIN_TENANT_SCOPED, NULL },
    { "/v1/accounts", ADMIN_TENANT_ROWS, NULL },
    { "/v1/accounts/show", ADMIN_TENANT_ACCOUNT, "name" },
    { "/v1/frozen", ADMIN_TENANT_ROWS, NULL },
    { "/v1/tenants", ADMIN_TENANT_ROWS, NULL },
    { "/v1/tenants/report", ADMIN_TENANT_SCOPED, NULL },
    { "/v1/limits", ADMIN_TENANT_ACCOUNT, "account" },
    { "/v1/senders/bounces", ADMIN_TENANT_ACCOUNT, "account" },
    { "/v1/senders/show", ADMIN_TENANT_ACCOUNT, "account" },
    { "/v1/senders/top", ADMIN_TENANT_ROWS, NULL },
    { "/v1/senders/web", ADMIN_TENANT_ROWS, NULL },
};

/* Looked at, and not for tenants: acts of operators, content, and what is about all or about the machines. */
static const char *const refused[] = {
    "GET /metrics",
    "POST /v1/login",
    "POST /v1/logout",
    "GET /v1/session",
    "POST /v1/session",
    "GET /v1/operators",
    "POST /v1/operators/add",
    "POST /v1/operators/set",
    "POST /v1/operators/passwd",
    "POST /v1/operators/remove",
    "POST /v1/operators/logout",
    "GET /v1/series",
    "GET /v1/status",
    "GET /v1/queue/messages/{id}/content",
    "POST /v1/queue/retry",
    "POST /v1/queue/hold",
    "POST /v1/queue/release",
    "POST /v1/queue/bounce",
    "POST /v1/queue/delete",
    "POST /v1/queue/move",
    "GET /v1/held/status",
    "GET /v1/held/act",
    "GET /v1/held/messages/{id}",
    "POST /v1/held/release",
    "POST /v1/held/delete",
    "POST /v1/held/bounce",
    "GET /v1/transfers",
    "POST /v1/transfers/cancel",
    "POST /v1/transfers/take",
    "POST /v1/transfers/forget",
    "POST /v1/spool/adopt",
    "GET /v1/top",
    "GET /v1/events/stream",
    "GET /v1/notify",
    "POST /v1/notify/test",
    "GET /v1/trace",
    "POST /v1/probe",
    "POST /v1/domain/prove",
    "POST /v1/domain/forget",
    "GET /v1/domain/check",
    "GET /v1/ip/check",
    "GET /v1/sites",
    "GET /v1/sites/holds",
    "GET /v1/sites/show",
    "POST /v1/sites/backoff",
    "POST /v1/sites/resume",
    "POST /v1/reload",
    "GET /v1/config",
    "POST /v1/config/check",
    "GET /v1/log",
    "POST /v1/log",
    "POST /v1/accounts/add",
    "POST /v1/accounts/passwd",
    "POST /v1/accounts/remove",
    "POST /v1/accounts/import",
    "POST /v1/accounts/set",
    "GET /v1/cluster",
    "POST /v1/cluster/init",
    "GET /v1/cluster/backup",
    "POST /v1/cluster/raise",
    "POST /v1/node/join",
    "POST /v1/node/drain",
    "POST /v1/node/leave",
    "POST /v1/nodes/token",
    "POST /v1/nodes/role",
    "POST /v1/nodes/address",
    "POST /v1/nodes/remove",
    "GET /v1/audit",
    "POST /v1/freeze",
    "POST /v1/thaw",
    "POST /v1/tenants/set",
    "POST /v1/tenants/contact",
    "POST /v1/tenants/remove",
    "GET /v1/tenants/tokens",
    "POST /v1/tenants/tokens/add",
    "POST /v1/tenants/tokens/remove",
    "GET /v1/auth/blocked",
    "POST /v1/auth/unblock",
    "POST /v1/privacy/erase",
    "GET /v1/privacy/erasures",
    "GET /v1/dkim",
    "POST /v1/dkim/generate",
    "POST /v1/dkim/import",
    "POST /v1/dkim/set",
    "POST /v1/dkim/remove",
    "POST /v1/dkim/rekey",
    "GET /v1/secret",
    "POST /v1/secret/add",
    "POST /v1/secret/remove",
    "POST /v1/suppression/add",
    "POST /v1/suppression/remove",
    "POST /v1/senders/pin",
    "POST /v1/senders/lift",
    "POST /v1/senders/forget",
    "POST /v1/limits/set",
    "POST /v1/limits/clear",
    "POST /v1/limits/reopen",
    "GET /v1/pools",
    "POST /v1/pools/add",
    "POST /v1/pools/remove",
    "POST /v1/pools/float",
    "POST /v1/pools/assign",
    "POST /v1/pools/unassign",
    "GET /v1/ips",
    "POST /v1/ips/add",
    "POST /v1/ips/set",
    "POST /v1/ips/move",
    "POST /v1/ips/remove",
    "GET /v1/ips/show",
    "GET /v1/ips/warm",
    "POST /v1/ips/warm/start",
    "POST /v1/ips/warm/stop",
    "POST /v1/ips/warm/step",
    "GET /v1/policy",
    "GET /v1/policy/history",
    "POST /v1/policy/diff",
    "POST /v1/policy/apply",
    "POST /v1/policy/rollback",
    "POST /v1/policy/test-reply",
};

static int opened_at(const struct admin_route *route)
{
    for (size_t i = 0; strcmp(route->method, "GET") == 0 && i < sizeof opened / sizeof opened[0]; i++)
        if (strcmp(opened[i].path, route->path) == 0)
            return (int)i;
    return -1;
}

enum admin_tenant_how admin_tenant_how(const struct admin_route *route)
{
    int at = opened_at(route);
    if (at >= 0)
        return opened[at].how;
    size_t n = strlen(route->method);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (strncmp(refused[i], route->method, n) == 0 && refused[i][n] == ' ' &&
            strcmp(refused[i] + n + 1, route->path) == 0)
            return ADMIN_TENANT_REFUSED;
    return ADMIN_TENANT_UNDECIDED;
}

const char *admin_tenant_account_param(const struct admin_route *route)
{
    int at = opened_at(route);
    return at >= 0 ? opened[at].account : NULL;
}

bool admin_tenant_may(const struct admin_route *route)
{
    return admin_tenant_how(route) > ADMIN_TENANT_REFUSED;
}

/* ---- whose it is --------------------------------------------------------------------------------------- */

bool admin_sees(const struct admin_call *c, struct span tenant)
{
    return c->caller->tenant[0] == '\0' || span_eq(tenant, span_str(c->caller->tenant));
}

bool admin_sees_account(const struct admin_call *c, const struct machine *m, struct span account)
{
    return c->caller->tenant[0] == '\0' || tenant_owns(m, span_str(c->caller->tenant), account);
}

/* ---- narrowing ----------------------------------------------------------------------------------------- */

static int narrow_account(struct admin_call *c, const char *param)
{
    char text[COMMAND_NAME_MAX + 1];
    struct span account;
    struct machine *m;
    int err = member_machine(c, &m);
    if (err == 0)
        err = member_account(c, param, text, &account);
    if (err != 0)
        return err;
    machine_read_lock(m);
    bool seen = admin_sees_account(c, m, account);
    machine_read_unlock(m);
    return seen ? 0 : admin_fail(&c->e, ERR_NOT_FOUND, "there is no account %s", text);
}

int admin_tenant_narrow(struct admin_call *c, const struct admin_route *route)
{
    const char *own = c->caller->tenant, *param = admin_tenant_account_param(route);
    enum admin_tenant_how how = admin_tenant_how(route);
    if (own[0] == '\0')
        return 0;
    if (how <= ADMIN_TENANT_REFUSED)
        return admin_fail(&c->e, ERR_DENIED, "a tenant's token does not open this");
    const char *given = admin_arg_str(c->args, "tenant");
    if (given != NULL && strcmp(given, own) != 0)
        return admin_fail(&c->e, ERR_DENIED, "tenant: this token is of tenant %s", own);
    if (how == ADMIN_TENANT_ACCOUNT && admin_arg_str(c->args, param) != NULL)
        return narrow_account(c, param);
    if (how == ADMIN_TENANT_SCOPED && json_object_set_new(c->args, "tenant", json_string(own)) != 0)
        return admin_fail(&c->e, ERR_FAILED, "out of memory");
    return 0;
}

/* ---- tokens -------------------------------------------------------------------------------------------- */

static bool hash_of(struct span secret, uint8_t out[32])
{
    return EVP_Digest(secret.p, secret.n, out, NULL, EVP_sha256(), NULL) == 1;
}

static int hex_random(char *out, size_t bytes)
{
    unsigned char raw[TOKEN_SECRET_BYTES];
    if (RAND_bytes(raw, (int)bytes) != 1)
        return ERR_FAILED;
    for (size_t i = 0; i < bytes; i++)
        snprintf(out + 2 * i, 3, "%02x", raw[i]);
    OPENSSL_cleanse(raw, sizeof raw);
    return 0;
}

int admin_tenant_token_new(char id[33], char text[ADMIN_TENANT_TOKEN_MAX], uint8_t secret_sha256[32])
{
    char secret[2 * TOKEN_SECRET_BYTES + 1];
    int err = hex_random(id, TOKEN_ID_BYTES);
    if (err == 0)
        err = hex_random(secret, TOKEN_SECRET_BYTES);
    if (err == 0 && !hash_of(span_str(secret), secret_sha256))
        err = ERR_FAILED;
    if (err == 0)
        snprintf(text, ADMIN_TENANT_TOKEN_MAX, TOKEN_PREFIX "%s-%s", id, secret);
    OPENSSL_cleanse(secret, sizeof secret);
    return err;
}

bool admin_tenant_of_token(const struct admin_cluster *cluster, void *ctx, struct span token,
                           char tenant[ADMIN_TENANT_NAME_MAX + 1])
{
    struct span prefix = SPAN_LIT(TOKEN_PREFIX);
    struct machine *m = cluster != NULL && cluster->machine != NULL ? cluster->machine(ctx) : NULL;
    struct directory_access a;
    uint8_t given[32], kept[32] = { 0 };
    if (m == NULL || token.n >= ADMIN_TENANT_TOKEN_MAX || !span_starts(token, prefix))
        return false;
    struct span rest = span_sub(token, prefix.n);
    const char *dash = memchr(rest.p, '-', rest.n);
    if (dash == NULL)
        return false;
    struct span id = span_of(rest.p, (size_t)(dash - rest.p));
    if (!hash_of(span_sub(rest, id.n + 1), given))
        return false;
    machine_read_lock(m);
    bool found = directory_access_find(m, id, &a) && a.tenant.n <= ADMIN_TENANT_NAME_MAX;
    if (found) {
        memcpy(kept, a.secret_sha256, sizeof kept);
        memcpy(tenant, a.tenant.p, a.tenant.n);
        tenant[a.tenant.n] = '\0';
    }
    machine_read_unlock(m);
    bool ok = CRYPTO_memcmp(given, kept, sizeof kept) == 0 && found;
    if (!ok)
        tenant[0] = '\0';
    return ok;
}
