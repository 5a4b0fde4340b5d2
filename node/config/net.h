/* Networks and socket addresses as text. Pure; any thread. */
#ifndef NODE_CONFIG_NET_H
#define NODE_CONFIG_NET_H

#include "base/span.h"
#include "node/net/ip.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* As it would be written: one address without its prefix. */
void config_net_format(const struct ip_net *net, char out[IP_TEXT_MAX + 4]);

/* An IPv4 address mapped into IPv6 is that IPv4 address. */
bool config_nets_contain(const struct ip_net *nets, uint32_t n, const struct sockaddr *address);

/* "192.0.2.1" or "2001:db8::1" ("[...]" too), no port. ERR_BAD. */
int config_ip_parse(struct span text, struct sockaddr_storage *out);
/* "192.0.2.1:25", "[2001:db8::1]:25"; `mark` is ':' or, for resolvers, '@' ("::1@5353"; the port may then be
 * absent: 53). ERR_BAD. */
int config_endpoint_parse(struct span text, char mark, struct sockaddr_storage *out);
/* "192.0.2.1:25", "[2001:db8::1]:25"; without the port when it is 0. 64 bytes are enough. */
void config_endpoint_format(const struct sockaddr_storage *address, char *out, size_t cap);
socklen_t config_sockaddr_len(const struct sockaddr_storage *address);
uint16_t config_sockaddr_port(const struct sockaddr_storage *address);

#endif
