/* The admin API's view of who is blocked for failed logins. Admin threads. */
#include "node/core/ops_auth.h"

#include "base/err.h"
#include "base/log.h"
#include "node/auth/auth.h"
#include "node/core/cluster_impl.h"

#include <stdio.h>
#include <string.h>

struct blocked {
    admin_auth_block_fn *fn;
    void *arg;
};

static void on_block(void *arg, const struct auth_guard_block *b)
{
    struct blocked *x = arg;
    char network[AUTH_NETWORK_TEXT] = "";
    if (b->client.n > 0)
        auth_network_format(b->client, network);
    struct admin_auth_block row = { .kind = b->kind == AUTH_GUARD_ACCOUNT  ? "account"
                                            : b->kind == AUTH_GUARD_CLIENT ? "network"
                                                                           : "pair",
                                    .account = b->account,
                                    .network = span_str(network),
                                    .left_ms = b->left_ms,
                                    .times = b->times };
    x->fn(x->arg, &row);
}

int ops_auth_blocked(void *ctx, admin_auth_block_fn *fn, void *arg, struct admin_error *e)
{
    struct node *n = ctx;
    struct blocked x = { fn, arg };
    (void)e;
    auth_blocked_each(n->auth, on_block, &x);
    return 0;
}

int ops_auth_unblock(void *ctx, const char *account, const char *address, const struct admin_caller *by,
                     uint32_t *ended, struct admin_error *e)
{
    struct node *n = ctx;
    char name[ACCOUNT_NAME_MAX + 1] = "", ip[AUTH_NETWORK_TEXT] = "";
    uint8_t network[AUTH_NETWORK_MAX];
    size_t nnetwork = 0;
    if (account != NULL && account_name_canonical(span_str(account), name) != 0)
        return admin_fail(e, ERR_BAD, "that is no account name");
    if (address != NULL) /* as it is listed, too: 192.0.2.0/24 */
        snprintf(ip, sizeof ip, "%.*s", (int)strcspn(address, "/"), address);
    if (address != NULL && !auth_network_parse(ip, network, &nnetwork))
        return admin_fail(e, ERR_BAD, "that is no IP address");
    struct span who = span_str(name), where = span_of((const char *)network, nnetwork);
    *ended = auth_unblock(n->auth, who, where);
    if (n->cluster != NULL)
        cluster_auth_unblock(n->cluster, who, where);
    log_info("auth", "%s was let go on by %s", account != NULL ? name : ip, by->text);
    return 0;
}
