/* Listeners as the node knows them: sockets, certificates and limits of each configured address, shared by
 * the workers, each of which has a socket of its own in the address's SO_REUSEPORT group.
 *
 * Sockets are bound by the main thread, at start before privileges are dropped. A listener never changes but
 * for its counters: a reload makes a new set, which takes over the sockets of addresses that stay, so that no
 * connection waiting in their queues is lost.
 */
#ifndef NODE_CORE_LISTENER_H
#define NODE_CORE_LISTENER_H

#include "base/buf.h"
#include "node/config/config.h"
#include "node/net/ip.h"
#include "node/net/tls.h"
#include "node/smtp/server.h"

#include <stdatomic.h>

struct listener {
    const struct config_listener *config; /* inside set->config */
    struct listeners *set;
    struct smtp_server_config smtp;
    struct tls_server *tls; /* NULL: none offered */
    int *fds;               /* by worker; -1: handed to a worker already */
    atomic_uint_fast64_t sessions, accepted, refused;
};

struct listeners {
    struct config *config;
    atomic_uint refs;
    uint32_t nworkers;
    uint32_t n;
    struct listener *list;
};

/* Reads certificates and binds the addresses that `old` (may be NULL) has not. ERR_BAD or -errno with one
 * line in `why`; then nothing is left behind. Main thread. */
int listeners_new(struct config *config, uint32_t nworkers, const struct listeners *old,
                  struct tls_tickets *tickets, struct listeners **out, struct buf *why);
void listeners_hold(struct listeners *ls);
/* Any thread; the last one closes what sockets were not handed out. */
void listeners_rele(struct listeners *ls);

/* The listener of the same address in another set, or NULL. */
struct listener *listeners_same(const struct listeners *ls, const struct listener *l);

#endif
