/* The tenant role: what a token of a tenant opens. Everything else is shut, whatever is added later: a path
 * that is in no list here is refused, and a test fails until it is in one. Admin threads.
 *
 * What is another tenant's is answered as what does not exist.
 */
#ifndef NODE_ADMIN_TENANT_H
#define NODE_ADMIN_TENANT_H

#include "node/admin/call.h"

#include <stddef.h>

/* "turnpike-ID-SECRET" */
#define ADMIN_TENANT_TOKEN_MAX 128

enum admin_tenant_how {
    ADMIN_TENANT_UNDECIDED, /* in no list: refused */
    ADMIN_TENANT_REFUSED,
    ADMIN_TENANT_PUBLIC,  /* tells of nobody */
    ADMIN_TENANT_SCOPED,  /* its parameter "tenant" is set to the caller's */
    ADMIN_TENANT_ACCOUNT, /* the account that it is about must be the tenant's */
    ADMIN_TENANT_ROWS,    /* the handler leaves out what is not the tenant's */
};
enum admin_tenant_how admin_tenant_how(const struct admin_route *route);
/* The parameter that names the account of an ADMIN_TENANT_ACCOUNT. */
const char *admin_tenant_account_param(const struct admin_route *route);

/* May a tenant ask this at all? */
bool admin_tenant_may(const struct admin_route *route);
/* Before the handler: narrows the arguments of a tenant's call down to what is its own, or an error. */
int admin_tenant_narrow(struct admin_call *c, const struct admin_route *route);

/* Whose token this is, by the replicated state. False: nobody's. */
bool admin_tenant_of_token(const struct admin_cluster *cluster, void *ctx, struct span token,
                           char tenant[ADMIN_TENANT_NAME_MAX + 1]);
/* A new one: its public id, its text, and the hash of its secret part. 0 or ERR_FAILED. */
int admin_tenant_token_new(char id[33], char text[ADMIN_TENANT_TOKEN_MAX], uint8_t secret_sha256[32]);

/* May the caller see what is this tenant's? */
bool admin_sees(const struct admin_call *c, struct span tenant);
/* Likewise of an account; under machine_read_lock. */
bool admin_sees_account(const struct admin_call *c, const struct machine *m, struct span account);

#endif
