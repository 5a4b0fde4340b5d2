/* Sites that an operator names: which destinations belong to one, and how much it is given. Compiled once,
 * immutable and shared. Pure.
 *
 * A destination belongs to the first entry that its domain meets, or that all of its MX hosts meet: all of
 * them, since anybody may publish an MX set in which a provider's host stands beside one of his own, and what
 * his host says must not count as the provider's.
 */
#ifndef NODE_SHAPING_SITES_H
#define NODE_SHAPING_SITES_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define SHAPING_SITE_ENTRIES_MAX 1000
#define SHAPING_SITE_RETRIES_MAX 16

enum shaping_tls { SHAPING_TLS_NONE, SHAPING_TLS_OPPORTUNISTIC, SHAPING_TLS_REQUIRED };
extern const char *const shaping_tls_names[];

/* What a site is given; zero, or -1: the entry doesn't say, and the node's configuration counts. */
struct shaping_limits {
    uint32_t connections; /* of a node, from one source address */
    uint32_t messages_per_connection;
    uint32_t rate_count; /* messages in rate_ms, of a node from one source address */
    int64_t rate_ms;
    uint32_t recipients; /* of one message */
    uint32_t nretry;
    int64_t retry_ms[SHAPING_SITE_RETRIES_MAX]; /* the last one repeats */
    int tls;                                    /* enum shaping_tls, or -1 */
};

struct shaping_site {
    char *name;
    char **mx, **domains; /* as shaping_site_match has them */
    uint32_t nmx, ndomains;
    struct shaping_limits limits;
};

struct shaping_sites;

/* Copies; the patterns were checked. NULL: no memory. */
struct shaping_sites *shaping_sites_new(const struct shaping_site *sites, uint32_t n);
void shaping_sites_free(struct shaping_sites *s); /* NULL is harmless */
uint32_t shaping_sites_count(const struct shaping_sites *s);
const struct shaping_site *shaping_sites_at(const struct shaping_sites *s, uint32_t i);

/* The entry for a domain with these MX hosts (none: not known), or NULL. */
const struct shaping_site *shaping_sites_find(const struct shaping_sites *s, struct span domain,
                                              const char *const *hosts, uint32_t nhosts);

#endif
