/* Failed logins, counted per account and per client network, and who is to wait. Pure: told the time. One
 * thread at a time.
 *
 * Counts decay: `limit` failures leak away per window, so a few typing errors a day never add up. At the limit the key is
 * blocked for block_ms; each time it comes there again for twice as long, up to a day (a network) or four times as long
 * (an account), and quiet is forgiven step by step.
 *
 * Nobody can lock an account's owner out: a network from which he logged in within a week is known for this account, and
 * then only failures of this account from this very network count for the two, by the networks' limit.
 *
 * Memory is bounded: when the table is full the entry that matters least (lowest count, longest unused) of a few sampled
 * makes room, and never one that is blocked while another can go.
 */
#ifndef NODE_AUTH_GUARD_H
#define NODE_AUTH_GUARD_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define AUTH_GUARD_ENTRIES 65536

struct auth_guard_config {
    uint32_t account_failures; /* 0: accounts are never blocked */
    uint32_t client_failures;  /* 0: clients are never blocked */
    int64_t window_ms;
    int64_t block_ms;
};

struct auth_guard;

struct auth_guard *auth_guard_new(const struct auth_guard_config *config);
void auth_guard_free(struct auth_guard *g);
/* What was counted stays and goes on by the new numbers; who is blocked waits no longer than the new block lasts. */
void auth_guard_configure(struct auth_guard *g, int64_t now_ms, const struct auth_guard_config *config);

/* `account` canonical, `client` the bytes of its network. Either may be empty: not counted. */
/* Returns which of them are blocked from now on (AUTH_GUARD_...), and were not before. */
unsigned auth_guard_failure(struct auth_guard *g, int64_t now_ms, struct span account, struct span client);
/* A right password: the account's and the client's counts are halved for the pair that succeeded. True: the other nodes
 * do not know of the pair, or may soon forget it. */
bool auth_guard_success(struct auth_guard *g, int64_t now_ms, struct span account, struct span client);
/* One on another node: the pair is known here, too. */
void auth_guard_known(struct auth_guard *g, int64_t now_ms, struct span account, struct span client);
/* How long to wait, in ms; 0: not blocked. */
int64_t auth_guard_blocked(const struct auth_guard *g, int64_t now_ms, struct span account,
                           struct span client);

/* Who is blocked, of the last AUTH_GUARD_NAMED that came to be: the table above knows no names. */
#define AUTH_GUARD_NAMED 1024
enum auth_guard_kind {
    AUTH_GUARD_ACCOUNT = 1, /* whoever it is that guesses */
    AUTH_GUARD_CLIENT = 2,
    AUTH_GUARD_PAIR = 4 /* a network from which the account's owner logs in, and for this account only */
};
struct auth_guard_block {
    enum auth_guard_kind kind;
    struct span account, client; /* empty: any */
    int64_t left_ms;
    uint32_t times; /* in a row, that it came to this: 1 for the first */
};
typedef void auth_guard_block_fn(void *arg, const struct auth_guard_block *b);
void auth_guard_blocked_each(const struct auth_guard *g, int64_t now_ms, auth_guard_block_fn *fn, void *arg);
/* Lets an account, or (account empty) a network, go on at once, also from and for whatever the other is; what was
 * counted is forgotten. How many blocks ended. */
uint32_t auth_guard_unblock(struct auth_guard *g, int64_t now_ms, struct span account, struct span client);
uint32_t auth_guard_len(const struct auth_guard *g);

#endif
