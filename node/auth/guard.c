/* Failed logins: a leaky bucket per account and per client network, in sets of eight.
 *
 * A key may live in one of the eight places of its set only, so that finding one and making room are short
 * and bounded. The hash is keyed, so nobody can aim at a set; and of eight the least important goes, so that
 * a flood of new keys, each with one failure, drives out only its like.
 */
#include "node/auth/guard.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

#define WAYS 8
#define UNIT 1000 /* of a failure */
/* A network from which the account's owner logged in within this time may go on while strangers guess at his
 * password. */
#define KNOWN_MS (INT64_C(7) * 86400000)
#define TELL_MS INT64_C(86400000) /* the other nodes hear of it again, at most so often */
/* A key that comes to its limit again is blocked for twice as long each time, but for no more than a day (a network)
 * or four times as long (an account, whose owner may come from where he is not known). One step is forgiven for each
 * eight blocks of quiet. */
#define LONGEST_MS INT64_C(86400000)
#define STEPS_ACCOUNT 2
#define STEPS_CLIENT 16
#define QUIET_BLOCKS 8

enum kind { KIND_ACCOUNT = 1, KIND_CLIENT, KIND_PAIR };

struct entry {
    uint64_t key; /* 0: free */
    int64_t at_ms;
    int64_t level;    /* failures in UNITs, at at_ms */
    int64_t until_ms; /* blocked */
    int64_t known_ms; /* of a pair: until then */
    uint8_t kind;
    uint8_t steps; /* of the last block: it lasted 2^steps times as long */
};

#define NAME_MAX_BYTES 320
#define CLIENT_MAX_BYTES 16

struct named { /* who is behind a blocked key */
    uint64_t key; /* 0: free */
    uint8_t kind;
    uint8_t nclient;
    uint16_t naccount;
    char account[NAME_MAX_BYTES], client[CLIENT_MAX_BYTES];
};

struct auth_guard {
    struct auth_guard_config config;
    struct named named[AUTH_GUARD_NAMED];
    uint32_t next_named; /* the oldest */
    struct entry entries[AUTH_GUARD_ENTRIES];
};

struct auth_guard *auth_guard_new(const struct auth_guard_config *config)
{
    struct auth_guard *g = calloc(1, sizeof *g);
    if (g != NULL)
        g->config = *config;
    return g;
}

void auth_guard_free(struct auth_guard *g)
{
    free(g);
}

static uint64_t key_of(enum kind kind, struct span a, struct span b)
{
    uint64_t h = hash_u64(hash_bytes(a.p, a.n) ^ (uint64_t)kind);
    if (kind == KIND_PAIR)
        h = hash_u64(h ^ hash_bytes(b.p, b.n));
    return h == 0 ? 1 : h;
}

static uint32_t limit_of(const struct auth_guard_config *c, enum kind kind)
{
    return kind == KIND_ACCOUNT ? c->account_failures : c->client_failures;
}

/* What has not leaked away: `limit` failures leak per window. */
static int64_t level_now(const struct auth_guard_config *c, const struct entry *e, int64_t now_ms)
{
    int64_t passed = now_ms - e->at_ms;
    if (passed <= 0)
        return e->level;
    if (passed >= c->window_ms)
        return 0; /* a level is never over the limit */
    int64_t left = e->level - passed * limit_of(c, e->kind) * UNIT / c->window_ms;
    return left > 0 ? left : 0;
}

static int64_t lower(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void auth_guard_configure(struct auth_guard *g, int64_t now_ms, const struct auth_guard_config *config)
{
    const struct auth_guard_config before = g->config;
    g->config = *config;
    for (uint32_t i = 0; i < AUTH_GUARD_ENTRIES; i++) {
        struct entry *e = &g->entries[i];
        if (e->key == 0)
            continue;
        e->level = lower(level_now(&before, e, now_ms), (int64_t)limit_of(config, e->kind) * UNIT);
        e->at_ms = now_ms;
        e->until_ms = lower(e->until_ms, now_ms + config->block_ms);
    }
}

static struct entry *set_of(const struct auth_guard *g, uint64_t key)
{
    return (struct entry *)&g->entries[key % (AUTH_GUARD_ENTRIES / WAYS) * WAYS];
}

static struct entry *find(const struct auth_guard *g, uint64_t key)
{
    struct entry *set = set_of(g, key);
    for (int i = 0; i < WAYS; i++)
        if (set[i].key == key)
            return &set[i];
    return NULL;
}

/* How much an entry matters: the blocked ones most, then by level; known pairs a little. */
static int64_t worth(const struct auth_guard *g, const struct entry *e, int64_t now_ms)
{
    if (e->key == 0)
        return -1;
    int64_t known = e->kind == KIND_PAIR && e->known_ms > now_ms ? UNIT / 2 : 0;
    return known + level_now(&g->config, e, now_ms) + (e->until_ms > now_ms ? INT64_C(1) << 50 : 0);
}

static struct entry *find_or_make(struct auth_guard *g, uint64_t key, enum kind kind, int64_t now_ms)
{
    struct entry *e = find(g, key);
    if (e != NULL)
        return e;
    struct entry *set = set_of(g, key);
    e = &set[0];
    for (int i = 1; i < WAYS; i++)
        if (worth(g, &set[i], now_ms) < worth(g, e, now_ms))
            e = &set[i];
    *e = (struct entry){ .key = key, .at_ms = now_ms, .kind = (uint8_t)kind };
    return e;
}

/* It comes to its limit: for how long. A failure within a block (of a check that was under way, or on another node)
 * makes it no longer. */
static bool block(const struct auth_guard_config *c, struct entry *e, int64_t now_ms)
{
    if (e->until_ms > now_ms)
        return false;
    int64_t longest = c->block_ms > LONGEST_MS ? c->block_ms : LONGEST_MS;
    int64_t forgiven = (now_ms - e->until_ms) / (QUIET_BLOCKS * c->block_ms);
    uint8_t most = e->kind == KIND_CLIENT ? STEPS_CLIENT : STEPS_ACCOUNT;
    bool again = e->until_ms != 0 && forgiven <= e->steps;
    e->steps = again ? (uint8_t)(e->steps + 1 - forgiven) : 0;
    e->steps = e->steps < most ? e->steps : most;
    e->until_ms = now_ms + lower(c->block_ms << e->steps, longest);
    return true;
}

/* In the place that it has already, else in that of the oldest. */
static void name(struct auth_guard *g, uint64_t key, enum auth_guard_kind kind, struct span account, struct span client)
{
    struct named *n = NULL;
    if (account.n > NAME_MAX_BYTES || client.n > CLIENT_MAX_BYTES)
        return;
    for (uint32_t i = 0; n == NULL && i < AUTH_GUARD_NAMED; i++)
        if (g->named[i].key == key)
            n = &g->named[i];
    if (n == NULL)
        n = &g->named[g->next_named++ % AUTH_GUARD_NAMED];
    *n = (struct named){ .key = key,
                         .kind = (uint8_t)kind,
                         .naccount = (uint16_t)account.n,
                         .nclient = (uint8_t)client.n };
    if (account.n > 0)
        memcpy(n->account, account.p, account.n);
    if (client.n > 0)
        memcpy(n->client, client.p, client.n);
}

/* True: it is blocked from now on. */
static bool count(const struct auth_guard *g, int64_t now_ms, struct entry *e)
{
    uint32_t limit = limit_of(&g->config, e->kind);
    e->level = level_now(&g->config, e, now_ms) + UNIT;
    e->at_ms = now_ms;
    if (e->level > (int64_t)limit * UNIT - UNIT / 2) { /* half a failure may have leaked meanwhile */
        e->level = (int64_t)limit * UNIT;
        return block(&g->config, e, now_ms);
    }
    return false;
}

static bool count_one(struct auth_guard *g, int64_t now_ms, enum kind kind, struct span what)
{
    return limit_of(&g->config, kind) > 0 && what.n > 0 &&
           count(g, now_ms, find_or_make(g, key_of(kind, what, what), kind, now_ms));
}

/* The pair, if the account's owner has logged in from there. */
static struct entry *known_pair(const struct auth_guard *g, int64_t now_ms, struct span account,
                                struct span client)
{
    struct entry *e = account.n > 0 && client.n > 0 ? find(g, key_of(KIND_PAIR, account, client)) : NULL;
    return e != NULL && e->known_ms > now_ms ? e : NULL;
}

unsigned auth_guard_failure(struct auth_guard *g, int64_t now_ms, struct span account, struct span client)
{
    static const struct span any = { "", 0 };
    struct entry *pair = known_pair(g, now_ms, account, client);
    unsigned blocked = 0;
    if (pair != NULL && g->config.client_failures > 0 && count(g, now_ms, pair)) {
        blocked |= AUTH_GUARD_PAIR;
        name(g, pair->key, AUTH_GUARD_PAIR, account, client);
    }
    if (count_one(g, now_ms, KIND_ACCOUNT, account)) {
        blocked |= AUTH_GUARD_ACCOUNT;
        name(g, key_of(KIND_ACCOUNT, account, account), AUTH_GUARD_ACCOUNT, account, any);
    }
    if (count_one(g, now_ms, KIND_CLIENT, client)) {
        blocked |= AUTH_GUARD_CLIENT;
        name(g, key_of(KIND_CLIENT, client, client), AUTH_GUARD_CLIENT, any, client);
    }
    return blocked;
}

static void halve(struct auth_guard *g, int64_t now_ms, enum kind kind, struct span what)
{
    struct entry *e = what.n > 0 ? find(g, key_of(kind, what, what)) : NULL;
    if (e == NULL)
        return;
    e->level = level_now(&g->config, e, now_ms) / 2;
    e->at_ms = now_ms;
}

void auth_guard_known(struct auth_guard *g, int64_t now_ms, struct span account, struct span client)
{
    if (account.n > 0 && client.n > 0)
        find_or_make(g, key_of(KIND_PAIR, account, client), KIND_PAIR, now_ms)->known_ms = now_ms + KNOWN_MS;
}

bool auth_guard_success(struct auth_guard *g, int64_t now_ms, struct span account, struct span client)
{
    if (account.n == 0 || client.n == 0)
        return false;
    struct entry *e = find_or_make(g, key_of(KIND_PAIR, account, client), KIND_PAIR, now_ms);
    bool known = e->known_ms > now_ms;
    bool news = e->known_ms <= now_ms + KNOWN_MS - TELL_MS;
    if (news) /* it says when they were told last */
        e->known_ms = now_ms + KNOWN_MS;
    /* Only the first success forgives: one right account of his own must not let a guesser go on for ever. */
    if (!known) {
        halve(g, now_ms, KIND_ACCOUNT, account);
        halve(g, now_ms, KIND_CLIENT, client);
    }
    return news;
}

static int64_t wait_for(const struct auth_guard *g, int64_t now_ms, enum kind kind, struct span what)
{
    const struct entry *e =
        what.n > 0 && limit_of(&g->config, kind) > 0 ? find(g, key_of(kind, what, what)) : NULL;
    return e != NULL && e->until_ms > now_ms ? e->until_ms - now_ms : 0;
}

int64_t auth_guard_blocked(const struct auth_guard *g, int64_t now_ms, struct span account,
                           struct span client)
{
    const struct entry *pair = known_pair(g, now_ms, account, client);
    if (pair != NULL)
        return g->config.client_failures > 0 && pair->until_ms > now_ms ? pair->until_ms - now_ms : 0;
    int64_t a = wait_for(g, now_ms, KIND_ACCOUNT, account), b = wait_for(g, now_ms, KIND_CLIENT, client);
    return a > b ? a : b;
}

uint32_t auth_guard_len(const struct auth_guard *g)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < AUTH_GUARD_ENTRIES; i++)
        n += g->entries[i].key != 0;
    return n;
}

/* ---- who is blocked ------------------------------------------------------------------------------------ */

static struct entry *blocked_entry(const struct auth_guard *g, int64_t now_ms, const struct named *n)
{
    struct entry *e = n->key != 0 ? find(g, n->key) : NULL;
    return e != NULL && e->until_ms > now_ms ? e : NULL;
}

void auth_guard_blocked_each(const struct auth_guard *g, int64_t now_ms, auth_guard_block_fn *fn, void *arg)
{
    for (uint32_t i = 0; i < AUTH_GUARD_NAMED; i++) {
        const struct named *n = &g->named[i];
        const struct entry *e = blocked_entry(g, now_ms, n);
        if (e != NULL)
            fn(arg, &(struct auth_guard_block){ .kind = (enum auth_guard_kind)n->kind,
                                                .account = span_of(n->account, n->naccount),
                                                .client = span_of(n->client, n->nclient),
                                                .left_ms = e->until_ms - now_ms,
                                                .times = e->steps + 1u });
    }
}

static void forgive(struct entry *e)
{
    e->level = 0;
    e->until_ms = 0;
    e->steps = 0;
}

uint32_t auth_guard_unblock(struct auth_guard *g, int64_t now_ms, struct span account, struct span client)
{
    uint32_t ended = 0;
    for (uint32_t i = 0; i < AUTH_GUARD_NAMED; i++) {
        struct named *n = &g->named[i];
        struct entry *e = blocked_entry(g, now_ms, n);
        bool meant = account.n > 0 ? span_eq(account, span_of(n->account, n->naccount))
                                   : client.n > 0 && span_eq(client, span_of(n->client, n->nclient));
        if (e == NULL || !meant)
            continue;
        forgive(e);
        n->key = 0;
        ended++;
    }
    /* one whose name is no longer known */
    bool by_account = account.n > 0;
    struct span what = by_account ? account : client;
    enum kind kind = by_account ? KIND_ACCOUNT : KIND_CLIENT;
    struct entry *e = what.n > 0 ? find(g, key_of(kind, what, what)) : NULL;
    if (e != NULL) {
        ended += e->until_ms > now_ms;
        forgive(e);
    }
    return ended;
}
