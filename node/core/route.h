/* Which site a recipient belongs to, and how that site is reached. Pure: configuration and addresses in,
 * names out. Any thread.
 *
 * A site's key is what people see in `queue list`: the recipient's domain in lower case and A-labels
 * ("example.org"), an address literal ("[192.0.2.1]"), or, where a route names the next hop, "via:" and the
 * hop as the route writes it ("via:smtp.example.net:587"), so that all domains of a smarthost share its
 * connections. A route that only changes the port keeps the domain: "example.org:2525".
 *
 * Mail of a sender with a pool of source addresses has the pool's name in front: "newsletters/example.org",
 * so that each pool has its own queue and connections to a destination. No domain and no next hop has a slash
 * in it, but a pool's name may.
 *
 * Messages that ask for more or less TLS than others have queues and connections of their own, "+requiretls"
 * or "+tls-optional" behind the rest: what a server lacks for one of them is no matter to the others.
 */
#ifndef NODE_CORE_ROUTE_H
#define NODE_CORE_ROUTE_H

#include "base/span.h"
#include "node/config/config.h"

#define ROUTE_KEY_MAX 1024

/* What a message asks of TLS (RFC 8689). */
enum route_tls {
    ROUTE_TLS_USUAL,    /* what the configuration and the domain ask for */
    ROUTE_TLS_REQUIRED, /* REQUIRETLS: "+requiretls" behind the key */
    ROUTE_TLS_OPTIONAL, /* "TLS-Required: No": "+tls-optional" */
};

struct route_key {
    char text[ROUTE_KEY_MAX];
    size_t len;
};

/* The key for a recipient's address, without a pool. ERR_BAD: the address has no domain that could be a
 * destination.
 */
int route_site_key(const struct config *c, struct span address, struct route_key *out);
/* The same with the sender's pool (empty: none) in front. */
int route_pool_key(const struct config *c, struct span pool, struct span address, struct route_key *out);
/* A message that asks this of TLS goes to this key. 0 or ERR_BAD: too long. */
int route_key_put_tls(struct route_key *key, enum route_tls tls);
enum route_tls route_key_tls(struct span key);
/* A key's parts: the pool (empty: none), and the key as it is without it and what is asked of TLS. Functions
 * below take either. */
struct span route_key_pool(struct span key);
struct span route_key_site(struct span key);

/* How a site is reached under this configuration. */
struct route_hop {
    const struct config_route *route; /* NULL: by the domain's MX */
    struct span domain;               /* whose MX, or the host; points into the key or the configuration */
    uint16_t port;
};
/* ERR_NOT_FOUND: no route names this next hop (any more). */
int route_hop_find(const struct config *c, struct span key, struct route_hop *out);

/* Whether a site's key is a next hop that a route names: such a key does not tell the recipients' domains. */
bool route_key_is_hop(struct span key);
/* Of any other key: would recipients of its domain still be put there? */
bool route_key_current(const struct config *c, struct span key);
/* Two configurations send every recipient to the same site. */
bool route_same(const struct config *a, const struct config *b);

#define ROUTE_UNROUTABLE                                                                                     \
    "unroutable" /* the site of recipients without a usable domain; they bounce there                        \
                  */

#endif
