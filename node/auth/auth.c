/* Password checks: what can be answered at once is, the rest goes to the pool or to Dovecot. See auth.h. */
#include "node/auth/auth.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/hash.h"
#include "node/auth/auth_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- requests ------------------------------------------------------------------------------------------ */

/* IPv4 /24 or IPv6 /64, as bytes; and the address as text. */
static void client_of(struct auth_private *p, const struct sockaddr *client)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    uint8_t v6[16];
    if (client != NULL && client->sa_family == AF_INET) {
        memcpy(v6, mapped, 12);
        memcpy(v6 + 12, &((const struct sockaddr_in *)(const void *)client)->sin_addr, 4);
    } else if (client != NULL && client->sa_family == AF_INET6) {
        memcpy(v6, &((const struct sockaddr_in6 *)(const void *)client)->sin6_addr, 16);
    } else {
        return;
    }
    bool v4 = memcmp(v6, mapped, 12) == 0;
    inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? v6 + 12 : v6, p->check.client, sizeof p->check.client);
    p->net[0] = v4 ? 4 : 6;
    memcpy(p->net + 1, v4 ? v6 + 12 : v6, v4 ? 3 : 8);
    p->net_len = v4 ? 4 : 9;
}

struct auth_request *auth_request_new(struct inbox *inbox, void *ctx, struct span authzid,
                                      struct span authcid, struct span password,
                                      const struct sockaddr *client)
{
    char other[ACCOUNT_NAME_MAX + 1];
    struct auth_request *r = calloc(1, sizeof *r);
    struct auth_private *p = calloc(1, sizeof *p);
    if (r == NULL || p == NULL) {
        free(r);
        free(p);
        return NULL;
    }
    r->inbox = inbox;
    r->ctx = ctx;
    r->private = p;
    p->request = r;
    client_of(p, client);
    bool good = account_name_canonical(authcid, r->account) == 0;
    if (!good)
        p->refuse = "not an account name";
    /* RFC 4616: to act as somebody else; nobody may. */
    else if (authzid.n > 0 && (account_name_canonical(authzid, other) != 0 || strcmp(other, r->account) != 0))
        p->refuse = "asked to act as another account";
    else if (password.n == 0 || password.n >= sizeof p->password ||
             memchr(password.p, '\0', password.n) != NULL)
        p->refuse = "not a password";
    else
        memcpy(p->password, password.p, password.n);
    return r;
}

static void forget_password(struct auth_private *p)
{
    explicit_bzero(p->password, sizeof p->password);
    explicit_bzero(p->hash, sizeof p->hash);
}

void auth_request_free(struct auth_request *r)
{
    if (r == NULL)
        return;
    auth_identity_rele(r->identity);
    forget_password(r->private);
    free(r->private);
    free(r);
}

/* ---- results ------------------------------------------------------------------------------------------- */

static struct span net_of(const struct auth_private *p)
{
    return span_of(p->net, p->net_len);
}

/* Under the lock. Counts the result and writes it into the request. */
static enum auth_result settle(struct auth *a, struct auth_request *r, enum auth_result result,
                               const char *reason)
{
    struct auth_private *p = r->private;
    int64_t now_ms = clock_boot_ms();
    ensure(result != AUTH_PENDING);
    forget_password(p);
    r->result = result;
    r->reason = reason;
    switch (result) {
    case AUTH_OK:
        a->stats.ok++;
        if (auth_guard_success(a->guard, now_ms, span_str(r->account), net_of(p)) && a->tell != NULL)
            a->tell(a->tell_ctx, span_str(r->account), net_of(p), true);
        break;
    case AUTH_BAD:
        a->stats.bad++;
        r->blocks = auth_guard_failure(a->guard, now_ms, span_str(r->account), net_of(p));
        if (a->tell != NULL)
            a->tell(a->tell_ctx, span_str(r->account), net_of(p), false);
        break;
    case AUTH_TEMP:
        a->stats.temp++;
        break;
    case AUTH_BLOCKED:
        a->stats.blocked++;
        break;
    case AUTH_PENDING:
        break;
    }
    return result;
}

/* From another thread: the answer goes to the inbox. The request is no longer ours then. */
static void answer(struct auth *a, struct auth_request *r, enum auth_result result, const char *reason)
{
    pthread_mutex_lock(&a->lock);
    a->stats.waiting--;
    settle(a, r, result, reason);
    pthread_mutex_unlock(&a->lock);
    inbox_answer(r->inbox, &r->msg);
}

/* ---- the accounts file's accounts -----------------------------------------------------------------------
 */

/* Under the lock. The strings are in `text`, or in the table. */
static bool account_find(const struct auth *a, const char *name, struct account *out, struct auth_text *text)
{
    if (a->source.find != NULL)
        return a->source.find(a->source.ctx, span_str(name), out, text);
    const struct account *acc = a->table != NULL ? account_table_find(a->table, span_str(name)) : NULL;
    if (acc != NULL)
        *out = *acc;
    return acc != NULL;
}

static struct auth_identity *identity_of(const struct account *acc)
{
    return auth_identity_new(span_str(acc->name), span_str(acc->tenant), span_str(acc->senders),
                             span_str(acc->hash), acc->class);
}

static bool has_hash(const struct account *acc)
{
    return acc->hash[0] == '$';
}

/* A hash to be compared for an account that has none: that of some account of ours, the same one each time,
 * so that the time it takes says nothing. */
static const char *stand_in(const struct auth *a, const char *name, struct auth_text *text)
{
    struct account found;
    if (a->source.stand_in != NULL)
        return a->source.stand_in(a->source.ctx, span_str(name), &found, text) ? found.hash : a->dummy_hash;
    uint32_t n = a->table != NULL ? account_table_len(a->table) : 0;
    if (n > 0) {
        const struct account *acc =
            account_table_at(a->table, (uint32_t)(hash_bytes(name, strlen(name)) % n));
        if (has_hash(acc))
            return acc->hash;
    }
    return a->dummy_hash;
}

/* Under the lock: the identity behind an account that is still there, enabled, and has this very hash. */
static struct auth_identity *identity_if_current(const struct auth *a, const char *name, const char *hash)
{
    struct account acc;
    struct auth_text text;
    if (!account_find(a, name, &acc, &text) || acc.disabled || strcmp(acc.hash, hash) != 0)
        return NULL;
    return identity_of(&acc);
}

static void check_hash(struct auth_job *job, int stopping)
{
    struct auth_private *p = LIST_ITEM(job, struct auth_private, job);
    struct auth_request *r = p->request;
    struct auth *a = p->auth;
    if (stopping) {
        answer(a, r, AUTH_TEMP, "stopping");
        return;
    }
    /* While this one waited, another connection may have brought the same password. */
    pthread_mutex_lock(&a->lock);
    bool known = p->digested && auth_cache_find(a->cache, p->digest, clock_boot_ms()) != NULL;
    pthread_mutex_unlock(&a->lock);
    bool right = known || account_hash_verify(p->hash, span_str(p->password));
    if (!right || !p->usable) {
        answer(a, r, AUTH_BAD, p->usable ? "wrong password" : p->unusable);
        return;
    }
    pthread_mutex_lock(&a->lock);
    r->identity = identity_if_current(a, r->account, p->hash);
    if (r->identity != NULL && p->digested)
        auth_cache_put(a->cache, p->digest, r->identity, clock_boot_ms());
    pthread_mutex_unlock(&a->lock);
    answer(a, r, r->identity != NULL ? AUTH_OK : AUTH_TEMP,
           r->identity != NULL ? "" : "the account changed meanwhile");
}

/* Under the lock. Fills in what the hash is compared to. */
static void prepare_hash(struct auth *a, struct auth_request *r)
{
    struct auth_private *p = r->private;
    struct account acc;
    struct auth_text text;
    bool known = account_find(a, r->account, &acc, &text);
    p->usable = known && !acc.disabled && has_hash(&acc);
    p->unusable = !known ? "no such account" : acc.disabled ? "account disabled" : "account without password";
    const char *hash = known && has_hash(&acc) ? acc.hash : stand_in(a, r->account, &text);
    snprintf(p->hash, sizeof p->hash, "%s", hash);
}

/* ---- Dovecot's accounts ---------------------------------------------------------------------------------
 */

/* Under the lock. `senders` NULL: as the rule says. */
static struct auth_identity *identity_by_rules(const struct auth *a, const char *name, const char *senders,
                                               uint8_t cls)
{
    const struct auth_rule *rule = NULL;
    for (uint32_t i = 0; i < a->nrules && rule == NULL; i++)
        if (auth_rule_matches(span_str(a->rules[i].match), span_str(name)))
            rule = &a->rules[i];
    const char *at = strrchr(name, '@');
    const char *tenant = a->tenant;
    if (rule != NULL && rule->tenant != NULL)
        tenant = rule->tenant;
    else if (strcmp(tenant, "domain") == 0)
        tenant = at != NULL ? at + 1 : "";
    else if (strcmp(tenant, "none") == 0)
        tenant = "";
    if (senders == NULL)
        senders = rule != NULL && rule->senders != NULL ? rule->senders : "";
    return auth_identity_new(span_str(name), span_str(tenant), span_str(senders), SPAN_LIT(""),
                             rule != NULL ? rule->class : cls);
}

void auth_on_dovecot(void *ctx, struct dovecot_check *check, enum dovecot_event result, struct span user)
{
    struct auth *a = ctx;
    struct auth_private *p = LIST_ITEM(check, struct auth_private, check);
    struct auth_request *r = p->request;
    if (result != DOVECOT_OK) {
        answer(a, r, result == DOVECOT_FAIL ? AUTH_BAD : AUTH_TEMP,
               result == DOVECOT_FAIL ? "refused by dovecot" : "no answer from dovecot");
        return;
    }
    char name[ACCOUNT_NAME_MAX + 1];
    if (user.n > 0 && account_name_canonical(user, name) != 0) {
        answer(a, r, AUTH_TEMP, "dovecot gave an account name that is none");
        return;
    }
    pthread_mutex_lock(&a->lock);
    r->identity = identity_by_rules(a, user.n > 0 ? name : r->account, NULL, ACCOUNT_PERSON);
    if (r->identity != NULL && p->digested && p->generation == a->generation)
        auth_cache_put(a->cache, p->digest, r->identity, clock_boot_ms());
    pthread_mutex_unlock(&a->lock);
    answer(a, r, r->identity != NULL ? AUTH_OK : AUTH_TEMP, r->identity != NULL ? "" : "no memory");
}

/* ---- checking -------------------------------------------------------------------------------------------
 */

/* Under the lock: what can be said at once, or PENDING. */
static enum auth_result check_now(struct auth *a, struct auth_request *r)
{
    struct auth_private *p = r->private;
    int64_t now_ms = clock_boot_ms();
    r->retry_ms = auth_guard_blocked(a->guard, now_ms, span_str(r->account), net_of(p));
    if (r->retry_ms > 0)
        return settle(a, r, AUTH_BLOCKED, "too many failed logins");
    if (p->refuse != NULL)
        return settle(a, r, AUTH_BAD, p->refuse);
    if (a->dovecot == NULL)
        prepare_hash(a, r);
    p->generation = a->generation;
    p->digested = auth_cache_digest(a->cache, span_str(r->account), span_str(p->hash), span_str(p->password),
                                    p->digest);
    struct auth_identity *known = p->digested && (a->dovecot != NULL || p->usable)
                                      ? auth_cache_find(a->cache, p->digest, now_ms)
                                      : NULL;
    if (known == NULL)
        return AUTH_PENDING;
    /* Class or senders may have changed where the password did not. */
    r->identity =
        a->dovecot != NULL ? auth_identity_hold(known) : identity_if_current(a, r->account, p->hash);
    if (r->identity == NULL)
        return settle(a, r, AUTH_TEMP, "no memory");
    a->stats.cache_hits++;
    return settle(a, r, AUTH_OK, "");
}

enum auth_result auth_check(struct auth *a, struct auth_request *r)
{
    struct auth_private *p = r->private;
    p->auth = a;
    pthread_mutex_lock(&a->lock);
    enum auth_result result = check_now(a, r);
    if (result == AUTH_PENDING)
        a->stats.waiting++;
    pthread_mutex_unlock(&a->lock);
    if (result != AUTH_PENDING)
        return result;
    int err;
    if (a->dovecot != NULL) {
        p->check.user = r->account;
        p->check.password = p->password;
        err = dovecot_link_check(a->dovecot, &p->check);
    } else {
        p->job.run = check_hash;
        err = auth_pool_push(a->pool, &p->job);
    }
    if (err == 0)
        return AUTH_PENDING;
    pthread_mutex_lock(&a->lock);
    a->stats.waiting--;
    result = settle(a, r, AUTH_TEMP, "too many checks are waiting");
    pthread_mutex_unlock(&a->lock);
    return result;
}

int64_t auth_other_wait(struct auth *a, struct span name, const struct sockaddr *client)
{
    struct auth_private p = { .net_len = 0 };
    client_of(&p, client);
    pthread_mutex_lock(&a->lock);
    int64_t wait_ms = auth_guard_blocked(a->guard, clock_boot_ms(), name, net_of(&p));
    pthread_mutex_unlock(&a->lock);
    return wait_ms;
}

void auth_other_count(struct auth *a, struct span name, const struct sockaddr *client, bool right)
{
    struct auth_private p = { .net_len = 0 };
    int64_t now_ms = clock_boot_ms();
    client_of(&p, client);
    pthread_mutex_lock(&a->lock);
    bool tell = true;
    if (right)
        tell = auth_guard_success(a->guard, now_ms, name, net_of(&p));
    else
        auth_guard_failure(a->guard, now_ms, name, net_of(&p));
    if (tell && a->tell != NULL)
        a->tell(a->tell_ctx, name, net_of(&p), right);
    pthread_mutex_unlock(&a->lock);
}

struct auth_identity *auth_identity_named(struct auth *a, struct span account)
{
    char name[ACCOUNT_NAME_MAX + 1];
    struct auth_identity *id = NULL;
    if (account_name_canonical(account, name) != 0)
        return NULL;
    pthread_mutex_lock(&a->lock);
    struct account acc;
    struct auth_text text;
    if (!account_find(a, name, &acc, &text)) {
        id = identity_by_rules(a, name, "*", ACCOUNT_DEVICE);
    } else if (!acc.disabled) {
        id = identity_of(&acc);
    }
    pthread_mutex_unlock(&a->lock);
    return id;
}

bool auth_identity_current(struct auth *a, const struct auth_identity *id)
{
    if (id->hash[0] == '\0') /* Dovecot's, or known by its network only */
        return true;
    pthread_mutex_lock(&a->lock);
    struct account acc;
    struct auth_text text;
    bool current =
        account_find(a, id->account, &acc, &text) && !acc.disabled && strcmp(acc.hash, id->hash) == 0;
    pthread_mutex_unlock(&a->lock);
    return current;
}

void auth_forget(struct auth *a, struct span account)
{
    pthread_mutex_lock(&a->lock);
    a->generation++;
    if (account.n > 0)
        auth_cache_forget(a->cache, account);
    else
        auth_cache_configure(a->cache, a->cache_entries, a->cache_ttl_ms);
    pthread_mutex_unlock(&a->lock);
}

void auth_stats(struct auth *a, struct auth_stats *out)
{
    pthread_mutex_lock(&a->lock);
    *out = a->stats;
    pthread_mutex_unlock(&a->lock);
}
