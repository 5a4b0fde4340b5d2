/* What a client of a relay listener must show before its recipients are taken: reverse DNS. Where the
 * cluster's policy, or without a cluster the node's file, asks for it. Pure but for where the settings are.
 *
 * Nobody who logged in is asked, nor a client on this machine itself, nor one in an exempt network. When it
 * cannot be found out for now, the client is taken unless the settings say otherwise: a name server that does
 * not answer, ours or his, is no fault of the mail.
 */
#ifndef NODE_CORE_CLIENT_CHECK_H
#define NODE_CORE_CLIENT_CHECK_H

#include "node/config/client_checks.h"
#include "node/net/dns.h"
#include "node/smtp/reply.h"

enum client_check_result {
    CLIENT_CHECK_PASSED,
    CLIENT_CHECK_UNKNOWN, /* and taken */
    CLIENT_CHECK_DEFERRED,
    CLIENT_CHECK_DEFERRED_UNKNOWN,
};

struct client_check {
    enum client_check_result result;
    struct smtp_reply reply; /* when deferred */
    char text[480];
};

/* What its look-up said, without the name. */
struct client_found {
    enum dns_status status, confirm_status;
    bool confirmed;
};

/* Need this client show anything at all, where the settings ask for it? */
bool client_check_concerns(const struct config_client_checks *c, const struct ip_addr *addr);
/* Is its reverse DNS to be looked at? */
bool client_check_due(const struct config_client_checks *c, const struct ip_addr *addr);
/* `hostname` is what replies speak of unless the settings give a name. */
void client_check_reverse_dns(const struct config_client_checks *c, const struct ip_addr *addr,
                              const struct client_found *found, const char *hostname,
                              struct client_check *out);

#endif
