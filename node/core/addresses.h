/* Which floating addresses are on this machine, which ought to be, and what the operator's hook is to be run
 * for.
 *
 *     OFF --add--> MAYBE --it succeeded--> ON --the claim or the session is another one--> MAYBE
 *      ^             |                      |
 *      +--it succeeded-- remove ------------+
 *
 * MAYBE: an add or a remove is under way, has failed, or was under way when the process before this one
 * ended. What may be on the machine and ought not to be is removed; what ought to be and is not surely there
 * is added. A hook that fails is run again, after 1 s, 2 s and so on to a minute. One at a time for each
 * address.
 *
 * (!) An address is ready when the hook has added it under the claim by which the node owns it now, and in
 * its present session: in between another node may have had and announced it.
 *
 * It performs nothing and reads no clock: cluster_addresses.c does. One thread.
 */
#ifndef NODE_CORE_ADDRESSES_H
#define NODE_CORE_ADDRESSES_H

#include "base/buf.h"
#include "base/span.h"
#include "node/net/ip.h"

#include <stdbool.h>
#include <stdint.h>

#define ADDRESSES_MAX 4096
#define ADDRESSES_WORDS_MAX 200
#define ADDRESSES_REASON_MAX 96

struct addresses;

struct addresses *addresses_new(void); /* NULL: no memory */
void addresses_free(struct addresses *a);

/* ---- what the cluster says: a round through all floating addresses ------------------------------------- */

struct addresses_told {
    struct ip_addr addr;
    struct span pool;
    uint64_t claim;
    bool ours;
    const char *next; /* ours, and asked for: who gets it; NULL: it stays */
};
void addresses_begin(struct addresses *a);
/* 0, -ENOMEM or ERR_LIMIT. */
int addresses_see(struct addresses *a, const struct addresses_told *told);
/* Those that were not seen are no floating ones any more: those that were ours stay where they are, bound. */
void addresses_end(struct addresses *a);
/* A new session (0: it has none that is usable); the node is about to stop. */
void addresses_session(struct addresses *a, uint64_t session);
void addresses_stopping(struct addresses *a);

bool addresses_ready(const struct addresses *a, const struct ip_addr *addr);
/* Nothing goes out from it any more: it is to be taken off, for `next`. True once it is, or once that was
 * tried. */
bool addresses_give_up(struct addresses *a, const struct ip_addr *addr);
/* It is not on the machine, although the hook has said so: it is added again, though not more often than each
 * ten seconds.
 */
void addresses_missing(struct addresses *a, const struct ip_addr *addr, int64_t now_ms);
/* Nothing is under way, and all was tried to take off what must go. */
bool addresses_idle(const struct addresses *a);
/* What is ready has changed since it was asked last. */
bool addresses_changed(struct addresses *a);

/* ---- what is to be done -------------------------------------------------------------------------------- */

struct addresses_job {
    struct ip_addr addr;
    struct span pool; /* until the next call */
    bool add;         /* else: remove */
    char reason[ADDRESSES_REASON_MAX];
};
/* False: nothing is due. From now on it is under way. */
bool addresses_next(struct addresses *a, int64_t now_ms, struct addresses_job *job);
/* How it ended. `words`: what the hook said last; used if it failed. */
void addresses_ended(struct addresses *a, const struct ip_addr *addr, bool ok, struct span words,
                     int64_t now_ms);

/* ---- what the cluster is told -------------------------------------------------------------------------- */

struct addresses_report {
    struct ip_addr addr;
    uint64_t claim;
    uint8_t state; /* enum command_hook_state */
    struct span words;
};
/* False: it knows everything. It is taken to be told from now on. */
bool addresses_report(struct addresses *a, struct addresses_report *out);
/* It could not be told. */
void addresses_untold(struct addresses *a, const struct ip_addr *addr);

/* ---- over a restart ------------------------------------------------------------------------------------ */

/* What may be on the machine: one line for each, its address and its pool. 0 or negative. */
int addresses_save(const struct addresses *a, struct buf *out);
/* What an earlier process left there. Lines that cannot be read are left out. 0 or -ENOMEM. */
int addresses_load(struct addresses *a, struct span text);

#endif
