/* Making, changing and ending the password checker. */
#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "node/auth/auth_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct answers {
    char *tenant;
    struct auth_rule *rules;
    uint32_t nrules;
};

static void rules_free(struct auth_rule *rules, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        free((char *)(uintptr_t)rules[i].match);
        free((char *)(uintptr_t)rules[i].tenant);
        free((char *)(uintptr_t)rules[i].senders);
    }
    free(rules);
}

static const char *copy(const char *s, bool *ok)
{
    char *c = s != NULL ? strdup(s) : NULL;
    *ok = *ok && (s == NULL || c != NULL);
    return c;
}

static int copy_answers(const struct auth_config *config, struct answers *out)
{
    bool ok = true;
    out->nrules = config->nrules;
    out->rules = calloc(config->nrules > 0 ? config->nrules : 1, sizeof *out->rules);
    if (out->rules == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < config->nrules; i++)
        out->rules[i] = (struct auth_rule){
            .match = copy(config->rules[i].match, &ok),
            .tenant = copy(config->rules[i].tenant, &ok),
            .senders = copy(config->rules[i].senders, &ok),
            .class = config->rules[i].class,
        };
    out->tenant = (char *)(uintptr_t)copy(config->tenant != NULL ? config->tenant : "domain", &ok);
    if (ok)
        return 0;
    rules_free(out->rules, out->nrules);
    free(out->tenant);
    return -ENOMEM;
}

static void take_answers(struct auth *a, const struct answers *n)
{
    a->tenant = n->tenant;
    a->rules = n->rules;
    a->nrules = n->nrules;
}

/* Of a password that nobody has. */
static int make_dummy(struct auth *a)
{
    uint8_t random[16];
    char text[sizeof random * 2 + 1];
    if (RAND_bytes(random, sizeof random) != 1)
        return ERR_FAILED;
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(text + 2 * i, 3, "%02x", random[i]);
    int err = account_hash_password(span_str(text), a->dummy_hash);
    explicit_bzero(text, sizeof text);
    return err;
}

static int start_threads(struct auth *a, const struct auth_config *config)
{
    if (config->dovecot_socket == NULL) {
        int err = make_dummy(a);
        return err != 0 ? err : auth_pool_start(config->threads, config->queue, &a->pool);
    }
    struct dovecot_link_config link = {
        .socket = config->dovecot_socket,
        .service = config->dovecot_service != NULL ? config->dovecot_service : "smtp",
        .timeout_ms = config->dovecot_timeout_ms,
        .max = config->queue,
        .fn = auth_on_dovecot,
        .ctx = a,
    };
    return dovecot_link_start(&link, &a->dovecot);
}

int auth_new(const struct auth_config *config, struct auth **out)
{
    struct answers answers;
    struct auth *a = calloc(1, sizeof *a);
    int err = a == NULL ? -ENOMEM : copy_answers(config, &answers);
    if (err != 0) {
        free(a);
        return err;
    }
    take_answers(a, &answers);
    pthread_mutex_init(&a->lock, NULL);
    a->guard = auth_guard_new(&config->guard);
    a->guard_own = config->guard;
    a->cache = auth_cache_new(config->cache_entries, config->cache_ttl_ms);
    a->cache_entries = config->cache_entries;
    a->cache_ttl_ms = config->cache_ttl_ms;
    err = a->guard == NULL || a->cache == NULL ? -ENOMEM : start_threads(a, config);
    if (err != 0) {
        auth_free(a);
        return err;
    }
    *out = a;
    return 0;
}

void auth_free(struct auth *a)
{
    if (a == NULL)
        return;
    auth_pool_stop(a->pool);
    dovecot_link_stop(a->dovecot);
    auth_cache_free(a->cache);
    auth_guard_free(a->guard);
    account_table_rele(a->table);
    rules_free(a->rules, a->nrules);
    free(a->tenant);
    pthread_mutex_destroy(&a->lock);
    explicit_bzero(a->dummy_hash, sizeof a->dummy_hash);
    free(a);
}

void auth_set_accounts(struct auth *a, struct account_table *table)
{
    pthread_mutex_lock(&a->lock);
    struct account_table *old = a->table;
    a->table = table;
    pthread_mutex_unlock(&a->lock);
    account_table_rele(old); /* a large one takes a while to free */
}

void auth_set_source(struct auth *a, const struct auth_source *source)
{
    pthread_mutex_lock(&a->lock);
    struct account_table *old = source != NULL ? a->table : NULL;
    a->source = source != NULL ? *source : (struct auth_source){ 0 };
    if (source != NULL)
        a->table = NULL;
    a->generation++;
    auth_cache_configure(a->cache, a->cache_entries, a->cache_ttl_ms);
    pthread_mutex_unlock(&a->lock);
    account_table_rele(old);
}

void auth_on_login(struct auth *a, auth_login_fn *fn, void *ctx)
{
    pthread_mutex_lock(&a->lock);
    a->tell = fn;
    a->tell_ctx = ctx;
    pthread_mutex_unlock(&a->lock);
}

void auth_note(struct auth *a, struct span account, struct span network, bool right)
{
    pthread_mutex_lock(&a->lock);
    if (right)
        auth_guard_known(a->guard, clock_boot_ms(), account, network);
    else
        auth_guard_failure(a->guard, clock_boot_ms(), account, network);
    pthread_mutex_unlock(&a->lock);
}

void auth_blocked_each(struct auth *a, auth_guard_block_fn *fn, void *arg)
{
    pthread_mutex_lock(&a->lock);
    auth_guard_blocked_each(a->guard, clock_boot_ms(), fn, arg);
    pthread_mutex_unlock(&a->lock);
}

uint32_t auth_unblock(struct auth *a, struct span account, struct span network)
{
    pthread_mutex_lock(&a->lock);
    uint32_t n = auth_guard_unblock(a->guard, clock_boot_ms(), account, network);
    pthread_mutex_unlock(&a->lock);
    return n;
}

bool auth_network_parse(const char *address, uint8_t out[AUTH_NETWORK_MAX], size_t *n)
{
    uint8_t raw[16];
    bool v4 = inet_pton(AF_INET, address, raw) == 1;
    if (!v4 && inet_pton(AF_INET6, address, raw) != 1)
        return false;
    *n = v4 ? 4 : AUTH_NETWORK_MAX;
    out[0] = v4 ? 4 : 6;
    memcpy(out + 1, raw, *n - 1);
    return true;
}

void auth_network_format(struct span network, char out[AUTH_NETWORK_TEXT])
{
    uint8_t raw[16] = { 0 };
    bool v4 = network.n == 4;
    char text[INET6_ADDRSTRLEN] = "?";
    if (network.n > 1 && network.n <= AUTH_NETWORK_MAX)
        memcpy(raw, network.p + 1, network.n - 1);
    inet_ntop(v4 ? AF_INET : AF_INET6, raw, text, sizeof text);
    snprintf(out, AUTH_NETWORK_TEXT, "%s/%d", text, v4 ? 24 : 64);
}

void auth_set_guard(struct auth *a, const struct auth_guard_config *guard)
{
    pthread_mutex_lock(&a->lock);
    a->guard_given = guard != NULL;
    auth_guard_configure(a->guard, clock_boot_ms(), guard != NULL ? guard : &a->guard_own);
    pthread_mutex_unlock(&a->lock);
}

int auth_configure(struct auth *a, const struct auth_config *config)
{
    struct answers answers;
    int err = copy_answers(config, &answers);
    if (err != 0)
        return err;
    pthread_mutex_lock(&a->lock);
    struct answers old = { a->tenant, a->rules, a->nrules };
    take_answers(a, &answers);
    a->generation++;
    a->cache_entries = config->cache_entries;
    a->cache_ttl_ms = config->cache_ttl_ms;
    auth_cache_configure(a->cache, config->cache_entries, config->cache_ttl_ms);
    a->guard_own = config->guard;
    if (!a->guard_given)
        auth_guard_configure(a->guard, clock_boot_ms(), &config->guard);
    pthread_mutex_unlock(&a->lock);
    rules_free(old.rules, old.nrules);
    free(old.tenant);
    return 0;
}
