/* DKIM keys of the cluster as signing needs them: one immutable view that all threads share by reference
 * count. The cluster thread makes a new one whenever they change (cluster_seal.c).
 *
 * They stand beside the keys of the node's own file: of those for a domain that are in force, the one with
 * the latest first day signs, for each algorithm; the file's when they are equal.
 */
#ifndef NODE_CORE_KEYRING_H
#define NODE_CORE_KEYRING_H

#include "node/config/config.h"

/* A secret of the state, with what can be read of it. */
struct keyring_key {
    char *domain, *selector, *tenants; /* tenants: with blanks between; empty: any */
    enum dkim_algorithm algorithm;
    int64_t not_before_ms, not_after_ms;
    bool subdomains;
    uint64_t version;
    struct dkim_key *key;           /* NULL: this node cannot decrypt it (yet) */
    const struct keyring_key *next; /* of the same domain, in the same ring */
};

struct keyring;

/* One reference; NULL: no memory. */
struct keyring *keyring_new(uint32_t room);
/* While it is made. Copies, and holds the key. 0 or -ENOMEM. */
int keyring_add(struct keyring *r, const struct keyring_key *k);
struct keyring *keyring_hold(struct keyring *r);
void keyring_rele(struct keyring *r); /* NULL is harmless */

/* In the order in which they were added. */
uint32_t keyring_count(const struct keyring *r);
const struct keyring_key *keyring_at(const struct keyring *r, uint32_t i);

struct keyring_choice {
    struct dkim_key *key; /* NULL: it should sign, but cannot be decrypted here */
    enum dkim_algorithm algorithm;
    const char *domain, *selector; /* of the configuration or the ring */
};
/* What signs for a domain now: at most one of each algorithm, of the domain itself, else of the nearest above
 * it whose key is for names below too. `r` may be NULL. How many. */
uint32_t keyring_choose(const struct keyring *r, const struct config *c, struct span domain,
                        struct span tenant, int64_t wall_ms, struct keyring_choice out[DKIM_ALGORITHMS]);

#endif
