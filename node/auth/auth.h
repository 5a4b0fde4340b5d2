/* Who may submit mail: password checks off the loops, and what the account may send.
 *
 * A check is a request that the caller owns until auth_check takes it. What needs no waiting (a password that
 * was right a moment ago, a blocked client, a full queue) is answered at once; everything else comes back
 * through the request's inbox, from a thread of the checker's own: hashes from a bounded pool, Dovecot from
 * one thread that has many requests under way on one connection. Every request is answered exactly once.
 *
 * All functions may be called from any thread unless they say otherwise.
 */
#ifndef NODE_AUTH_AUTH_H
#define NODE_AUTH_AUTH_H

#include "base/inbox.h"
#include "base/span.h"
#include "node/auth/accounts.h"
#include "node/auth/guard.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* Who a client turned out to be. Immutable, shared by reference count. */
struct auth_identity {
    const char *account; /* canonical */
    const char *tenant;  /* "": none */
    const char *senders; /* besides its own address: "a@b.org,c.org", "*" */
    const char *hash;    /* this library's own: what auth_identity_current compares */
    uint8_t class;       /* enum account_class */
};

struct auth_identity *auth_identity_hold(struct auth_identity *id);
void auth_identity_rele(struct auth_identity *id);

/* May the account use this reverse-path (without < >)? The null reverse-path is always allowed. Own address,
 * listed addresses and domains ("@example.org" or "example.org": that very domain), "*". With `subaddresses`,
 * user+tag@domain counts as user@domain. Domains and, as almost everybody expects, local parts compare
 * without case. Pure. */
bool auth_may_send(const struct auth_identity *id, struct span mail_from, bool subaddresses);
/* The same, but "*" allows none: it is the account's own address, or one that its list names. */
bool auth_names_sender(const struct auth_identity *id, struct span mail_from, bool subaddresses);

enum auth_result {
    AUTH_PENDING, /* from auth_check only: the answer comes to the inbox */
    AUTH_OK,
    AUTH_BAD,     /* wrong password, unknown, disabled: 535 5.7.8, all alike */
    AUTH_TEMP,    /* no answer to be had, or too many checks waiting: 454 4.7.0 */
    AUTH_BLOCKED, /* too many failures: 454 4.7.0 or 421, retry_ms */
};

struct auth_request {
    struct inbox_msg msg; /* the answer */
    struct inbox *inbox;
    void *ctx; /* the caller's */
    enum auth_result result;
    int64_t retry_ms;                   /* BLOCKED */
    struct auth_identity *identity;     /* OK: one reference, the request's */
    unsigned blocks;                    /* BAD: who is blocked from now on, AUTH_GUARD_...; 0: nobody */
    const char *reason;                 /* for the log, static: "wrong password", "no such account", ... */
    char account[ACCOUNT_NAME_MAX + 1]; /* canonical, for the log, also when it failed; "" if it is no name */
    /* This library's own. */
    struct auth_private *private;
};

/* NULL: no memory. Copies all; the password is wiped as soon as it was checked. `authzid` may be empty.
 * `client` may be NULL. */
struct auth_request *auth_request_new(struct inbox *inbox, void *ctx, struct span authzid,
                                      struct span authcid, struct span password,
                                      const struct sockaddr *client);
/* An answered (or never checked) request. */
void auth_request_free(struct auth_request *r);

/* For accounts that Dovecot knows: what we think of them. The first rule that matches counts. */
struct auth_rule {
    const char *match;   /* "user@example.com", "*@example.com", "*.example.com" (any account below), "*" */
    const char *tenant;  /* NULL: by auth_config.tenant */
    const char *senders; /* comma-separated or NULL */
    uint8_t class;
};

struct auth_config {
    const char *dovecot_socket;  /* NULL: accounts come from auth_set_accounts */
    const char *dovecot_service; /* "smtp" */
    int64_t dovecot_timeout_ms;
    const char *tenant; /* "domain", "none" or a name for all; for Dovecot's accounts */
    const struct auth_rule *rules;
    uint32_t nrules;
    uint32_t threads;
    uint32_t queue;
    uint32_t cache_entries;
    int64_t cache_ttl_ms;
    struct auth_guard_config guard;
};

struct auth;

/* Copies the config and starts its threads. */
int auth_new(const struct auth_config *config, struct auth **out);
/* Answers what is waiting with AUTH_TEMP, joins the threads. Nobody may call auth_check any more. */
void auth_free(struct auth *a);

/* Where accounts are kept when it is not in a table of this node's own: the cluster's state. Called under the
 * checker's lock, on any thread; both copy into `text`, where the account's strings point then. */
struct auth_text {
    char bytes[ACCOUNT_LINE_MAX + ACCOUNT_HASH_MAX + 2 * ACCOUNT_NAME_MAX + 8];
};
struct auth_source {
    /* False: no such account. */
    bool (*find)(void *ctx, struct span name, struct account *out, struct auth_text *text);
    /* Any account with a password, the same one each time for the same name: its hash stands in where there
     * is no account, so that the time that a check takes says nothing. False: there is none. */
    bool (*stand_in)(void *ctx, struct span name, struct account *out, struct auth_text *text);
    void *ctx;
};
/* Accounts are found there from now on, and the table is let go. NULL: in a table again. What was remembered
 * counts no more; later changes of single accounts need auth_forget. */
void auth_set_source(struct auth *a, const struct auth_source *source);

/* Takes one reference of the table (also NULL: no accounts). What was remembered of passwords that changed,
 * and of accounts that are gone, counts no more. */
void auth_set_accounts(struct auth *a, struct account_table *table);
/* All that can change without a restart: rules, tenant, sender options, cache, guard; the source, threads and
 * queue stay. Remembered passwords are forgotten. 0 or -ENOMEM, then nothing changed. */
int auth_configure(struct auth *a, const struct auth_config *config);

/* Takes the request when it returns AUTH_PENDING; any other result is in the request too, which stays the
 * caller's. */
enum auth_result auth_check(struct auth *a, struct auth_request *r);

/* The identity of an account that needs no password: a relay listener's client. An account that is not in the
 * file may send as anybody (its network is trusted), and is of class device unless a rule says otherwise.
 * NULL: no memory, or disabled. */
struct auth_identity *auth_identity_named(struct auth *a, struct span account);

/* Is a session that logged in a while ago still welcome: the account exists with the same password, enabled?
 * Dovecot's: true. */
bool auth_identity_current(struct auth *a, const struct auth_identity *id);

/* Forgets remembered passwords: of one account (canonical), or, empty, of all. */
void auth_forget(struct auth *a, struct span account);

/* Failed logins count over all nodes of a cluster, and so do the networks that accounts' owners come from. `fn` is told
 * of each failure here, and of a right password (`right`) that other nodes should know of, under the checker's lock: it
 * must only pass the news on. auth_note counts one of another node. The network is opaque: at most AUTH_NETWORK_MAX
 * bytes, or empty. */
#define AUTH_NETWORK_MAX 9
typedef void auth_login_fn(void *ctx, struct span account, struct span network, bool right);
void auth_on_login(struct auth *a, auth_login_fn *fn, void *ctx);
void auth_note(struct auth *a, struct span account, struct span network, bool right);

/* The same counts for passwords that are checked elsewhere (of operators: core/ops.c). `name` must be none that an account
 * could have, or empty: then only the client counts. How long to wait, in ms; 0: it may be tried. */
int64_t auth_other_wait(struct auth *a, struct span name, const struct sockaddr *client);
void auth_other_count(struct auth *a, struct span name, const struct sockaddr *client, bool right);

/* Who is blocked here. An address of a client as the bytes that its network is counted under; false: it is none. */
void auth_blocked_each(struct auth *a, auth_guard_block_fn *fn, void *arg);
uint32_t auth_unblock(struct auth *a, struct span account, struct span network);
#define AUTH_NETWORK_TEXT 64
bool auth_network_parse(const char *address, uint8_t out[AUTH_NETWORK_MAX], size_t *n);
/* "192.0.2.0/24" */
void auth_network_format(struct span network, char out[AUTH_NETWORK_TEXT]);

/* The bounds on failed logins are the cluster's from now on, whatever auth_configure says. NULL: the configuration's. */
void auth_set_guard(struct auth *a, const struct auth_guard_config *guard);

struct auth_stats {
    uint64_t ok, bad, temp, blocked, cache_hits;
    uint32_t waiting; /* checks queued or under way */
};
void auth_stats(struct auth *a, struct auth_stats *out);

#endif
