/* What clients of relay listeners must show: a section of the policy, and of the file of a node without a
 * cluster.
 */
#ifndef NODE_CONFIG_CLIENT_CHECKS_H
#define NODE_CONFIG_CLIENT_CHECKS_H

#include "node/net/ip.h"

#include <stdbool.h>
#include <stdint.h>

struct schema_map;

struct config_client_checks {
    bool reverse_dns;       /* a PTR record is required */
    bool forward_confirmed; /* and that its name leads back to the address */
    bool defer_unknown;     /* also where that cannot be found out for now */
    bool helo_strict;       /* the name in EHLO is one by RFC 5321 section 4.1.1.1 */
    char *name;             /* that replies speak of; NULL: the listener's */
    struct ip_net *exempt;  /* clients of these need show nothing */
    uint32_t nexempt;
};

extern const struct schema_map config_client_checks_map;

#endif
