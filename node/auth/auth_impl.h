/* What auth.c and setup.c share. */
#ifndef NODE_AUTH_AUTH_IMPL_H
#define NODE_AUTH_AUTH_IMPL_H

#include "node/auth/auth.h"
#include "node/auth/cache.h"
#include "node/auth/dovecot_link.h"
#include "node/auth/identity.h"
#include "node/auth/pool.h"

#include <pthread.h>

struct auth_private {
    struct auth_request *request;
    struct auth *auth;
    struct auth_job job;
    struct dovecot_check check;
    const char *refuse; /* wrong by itself: no check needed */
    uint8_t net[9];     /* the client's network; net_len 0: not known */
    uint8_t net_len;
    bool usable;          /* there is such an account, and it may log in by password */
    const char *unusable; /* else why not */
    bool digested;
    uint8_t digest[AUTH_DIGEST_BYTES];
    uint64_t generation; /* of the checker, when the check began */
    char hash[ACCOUNT_HASH_MAX + 1];
    char password[ACCOUNT_PASSWORD_MAX];
};

struct auth {
    struct auth_pool *pool;       /* one of these two */
    struct dovecot_link *dovecot; /* accounts are Dovecot's */
    char dummy_hash[ACCOUNT_HASH_MAX + 1];
    pthread_mutex_t lock; /* over all below; never held for longer than a look-up or a copy */
    uint64_t generation;  /* raised when what is remembered is to be forgotten */
    struct account_table *table;
    struct auth_source source; /* find NULL: accounts are in the table */
    struct auth_guard *guard;
    struct auth_guard_config guard_own; /* the configuration's */
    bool guard_given;                   /* the cluster's are in force */
    struct auth_cache *cache;
    uint32_t cache_entries;
    int64_t cache_ttl_ms;
    char *tenant;
    struct auth_rule *rules; /* strings are ours */
    uint32_t nrules;
    struct auth_stats stats;
    auth_login_fn *tell;
    void *tell_ctx;
};

/* Dovecot's answer; on its thread. */
void auth_on_dovecot(void *ctx, struct dovecot_check *check, enum dovecot_event result, struct span user);

#endif
