/* How many sessions each client has with this node, over all workers and listeners. Any thread.
 *
 * Clients are counted by IPv4 address or IPv6 /64. There is one entry for each client with a session, so the
 * table is bounded by the node's sessions.
 */
#ifndef NODE_CORE_CLIENTS_H
#define NODE_CORE_CLIENTS_H

#include "node/net/ip.h"

struct clients;

struct clients *clients_new(void);
void clients_free(struct clients *c);
/* One more session; false, and not counted, when the client has `max` already (0: no limit) or there is no
 * memory. */
bool clients_enter(struct clients *c, const struct ip_addr *addr, uint32_t max);
void clients_leave(struct clients *c, const struct ip_addr *addr);

#endif
