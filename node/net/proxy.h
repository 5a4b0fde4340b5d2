/* The header that load balancers put before a connection's bytes: PROXY protocol, versions 1 and 2 (HAProxy's
 * proxy-protocol.txt). Pure: it reads bytes and performs nothing. Whether the peer may speak it is the
 * caller's decision. Any thread.
 */
#ifndef NODE_NET_PROXY_H
#define NODE_NET_PROXY_H

#include "node/net/ip.h"

#include <stddef.h>
#include <stdint.h>

#define PROXY_HEADER_MAX                                                                                     \
    4096 /* a longer version 2 header is refused; a version 1 line has at most 107 bytes */

struct proxy_header {
    bool local; /* the balancer speaks for itself (health check), or the origin is unknown: addresses are not
                   set */
    struct ip_addr source, destination;
    uint16_t source_port, destination_port;
    bool tls; /* version 2: the client spoke TLS to the balancer (PP2_TYPE_SSL) */
};

/* The length of the header, > 0, with *out filled; 0: more bytes are needed; ERR_BAD: no header, or a wrong
 * one. */
int proxy_parse(const char *p, size_t n, struct proxy_header *out);

#endif
