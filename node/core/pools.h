/* Pools of source addresses as delivery needs them: who sends from which pool, and which addresses this node
 * may use. One immutable view that all threads share by reference count. The cluster thread makes a new one
 * whenever the cluster's state or policy changes (cluster_pools.c) and hands it to every worker
 * (egress_pools.c).
 *
 * An address is used only while the cluster says that it is this node's and stays so, and only once this
 * process has had a session: a node that restarts while it is cut off does not know what was moved meanwhile.
 * A floating address is used only while the session is valid, too; with an address hook, once that has added it.
 *
 * The part with the senders is large (up to 200,000 assignments) and seldom changes: views share it.
 *
 * Views are pure. Any thread once sealed.
 */
#ifndef NODE_CORE_POOLS_H
#define NODE_CORE_POOLS_H

#include "base/span.h"
#include "node/bounce/class.h"
#include "node/net/ip.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define POOLS_CLASSES 3

/* ---- who sends from which pool ------------------------------------------------------------------------- */

struct pool_senders;

/* One reference; NULL: no memory. */
struct pool_senders *pool_senders_new(void);
/* While it is made; `to` is enum command_assign_to. Copies. 0 or -ENOMEM. */
/* `to` may also be POOLS_STANDING: an account, by its standing, in place of its class's pool; or POOLS_RULE: an account,
 * by a rule about senders, in place of any other. */
#define POOLS_STANDING 200
#define POOLS_RULE 201
int pool_senders_add(struct pool_senders *s, uint8_t to, struct span name, struct span pool);
struct pool_senders *pool_senders_hold(struct pool_senders *s);
void pool_senders_rele(struct pool_senders *s); /* NULL is harmless */

/* ---- addresses ----------------------------------------------------------------------------------------- */

/* What happened from one address on this node. Views that follow each other share it; so do connections. */
struct pool_meter {
    atomic_uint refs;
    atomic_uint conns; /* open or opening */
    atomic_bool missing; /* a connection could not be opened, since the address is none of this machine's */
    atomic_uint_fast64_t connected, failed;
    atomic_uint_fast64_t delivered, deferred, refused; /* recipients, by the next hop's answer */
    /* Of these, by what the answer meant: deferred, refused. */
    atomic_uint_fast64_t meant[2][BOUNCE_CLASSES];
    uint64_t asked;   /* cluster thread: the move for which the release was submitted */
    int64_t again_ms; /* cluster thread: not submitted again before */
};
struct pool_meter *pool_meter_new(void); /* NULL: no memory */
struct pool_meter *pool_meter_hold(struct pool_meter *m);
void pool_meter_rele(struct pool_meter *m); /* NULL is harmless */

struct pool_address {
    struct ip_addr addr;
    struct span pool, ehlo; /* ehlo empty: the node's name */
    uint64_t node;          /* whose it is; 0: nobody's */
    uint64_t next, move;    /* next not 0: it goes there, by this move */
    uint32_t weight;
    uint8_t use; /* enum command_use */
    bool floating;
    bool absent;  /* floating, and not (yet) on the machine: its hook has not added it */
    bool warming; /* so many messages a day: warmup.h */
    struct pool_meter *meter; /* NULL: another node's */
};

/* ---- the view ------------------------------------------------------------------------------------------ */

struct pool_view;

struct pool_view_config {
    uint64_t self;                          /* this node */
    uint64_t number;                        /* of the view, ascending */
    uint64_t state;                         /* counts changes of the cluster's state: see pools_are_fresh */
    bool known;                             /* this process has had a session */
    struct span class_pools[POOLS_CLASSES]; /* of the policy: of senders without an assignment */
    struct pool_senders *senders;           /* held; may be NULL */
};
/* One reference. NULL: no memory. */
struct pool_view *pool_view_new(const struct pool_view_config *config);
/* While it is made: copies; takes a reference of the meter. 0 or -ENOMEM. */
int pool_view_add(struct pool_view *v, const struct pool_address *a);
/* Likewise where a node of the cluster is reached by the others. 0 or -ENOMEM. */
int pool_view_add_member(struct pool_view *v, const struct ip_addr *addr);
void pool_view_seal(struct pool_view *v);
struct pool_view *pool_view_hold(struct pool_view *v);
void pool_view_rele(struct pool_view *v); /* NULL is harmless */

uint64_t pool_view_number(const struct pool_view *v);
uint64_t pool_view_state(const struct pool_view *v);
/* The pool of an authenticated sender; empty: none, as for everybody in a NULL view. Good while the view is
 * held. */
struct span pool_view_of(const struct pool_view *v, struct span account, struct span tenant, uint8_t class);
/* The same from what the queue knows of an item, whose sender may be no account. False: the envelope must
 * tell. */
bool pool_view_of_sender(const struct pool_view *v, struct span account, uint8_t class, struct span *out);
/* Some senders may have another pool in b than in a (either may be NULL). */
bool pool_view_senders_differ(const struct pool_view *a, const struct pool_view *b);

/* May this node open a connection from it now? `session`: this node's is valid. */
bool pool_address_usable(const struct pool_view *v, const struct pool_address *a, bool session);

/* May an open connection from it go on? A drained address is given no new ones, that is all. */
bool pool_address_kept(const struct pool_view *v, const struct pool_address *a, bool session);

/* An address of the pool and family for a new connection, by weight: `turn` counts connections, and any run
 * of them is spread evenly. NULL: this node may use none. */
const struct pool_address *pool_view_choose(const struct pool_view *v, struct span pool, uint8_t family,
                                            uint64_t turn, bool session);
/* The same, but none of which `rests` says so. */
typedef bool pool_rests_fn(void *ctx, const struct ip_addr *addr);
const struct pool_address *pool_view_choose_awake(const struct pool_view *v, struct span pool, uint8_t family,
                                                  uint64_t turn, bool session, pool_rests_fn *rests, void *ctx);
/* The pool has an address, whoever's and in whatever use. */
bool pool_view_has(const struct pool_view *v, struct span pool);
/* Some pool had one in a (may be NULL), and has none in b. */
bool pool_view_lost(const struct pool_view *a, const struct pool_view *b);
/* One of the pool's that is this node's and not (yet) on its machine; NULL: there is none. */
const struct pool_address *pool_view_absent(const struct pool_view *v, struct span pool);
/* NULL: no pool has it. */
const struct pool_address *pool_view_find(const struct pool_view *v, const struct ip_addr *addr);
/* The i-th in order of pool, or NULL. */
const struct pool_address *pool_view_at(const struct pool_view *v, uint32_t i);
/* One of the cluster's: a pool has it, or a node is reached there. v may be NULL. */
bool pool_view_is_ours(const struct pool_view *v, const struct ip_addr *addr);

enum pool_reach {
    POOL_HERE,      /* an address of it can be used on this node */
    POOL_ELSEWHERE, /* only on others: *node is one of them, by weight and turn */
    POOL_NOWHERE,   /* on none at present */
};
enum pool_reach pool_view_reach(const struct pool_view *v, struct span pool, uint64_t turn, bool session,
                                uint64_t *node);
/* An address of the pool may be used on another node, by which *node sends: one that does not warm up, and of
 * which `rests` does not say so. */
bool pool_view_awake_elsewhere(const struct pool_view *v, struct span pool, uint64_t turn,
                               pool_rests_fn *rests, void *ctx, uint64_t *node);

/* ---- publishing ---------------------------------------------------------------------------------------- */

/* A worker acts upon the view from now on: each worker once per view. */
void pool_view_acted(struct pool_view *v);
uint32_t pool_view_actors(const struct pool_view *v);

#endif
