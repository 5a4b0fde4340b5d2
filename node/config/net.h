/* Networks and socket addresses as text. Pure; any thread. */
#ifndef NODE_CONFIG_NET_H
#define NODE_CONFIG_NET_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* A network: an address as IPv6 (IPv4 as ::ffff:a.b.c.d) and the length of its prefix in those 128 bits. */
struct config_net {
    uint8_t addr[16];
    uint8_t bits;
};

/* "192.0.2.0/24", "2001:db8::/32", or one address. ERR_BAD; also when bits are set below the prefix: then
 * *out is filled with the network that was probably meant. */
int config_net_parse(struct span text, struct config_net *out);
void config_net_format(const struct config_net *net, char *out, size_t cap); /* 64 is enough */

/* An IPv4 address mapped into IPv6 is that IPv4 address. */
bool config_net_contains(const struct config_net *net, const struct sockaddr *address);
bool config_nets_contain(const struct config_net *nets, uint32_t n, const struct sockaddr *address);

/* The client network that limits are counted by: IPv4 /v4_bits or IPv6 /v6_bits. False: no IP address. */
bool config_net_of(const struct sockaddr *address, uint8_t v4_bits, uint8_t v6_bits, struct config_net *out);

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
