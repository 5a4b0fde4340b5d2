/* Sends a TLS report to a web server (RFC 8460 section 3), by libcurl. Blocks: for a thread that may. */
#ifndef NODE_TLSPOLICY_RPT_POST_H
#define NODE_TLSPOLICY_RPT_POST_H

#include "base/span.h"
#include "node/tlspolicy/https.h"

struct rpt_url {
    char text[512], host[256]; /* the host in lower case, a name */
    uint16_t port;
};
/* ERR_BAD: not https, a user's name, an address instead of a host's name, a part behind "#". Any thread. */
int rpt_url_parse(struct span text, struct rpt_url *out);

/* `report`: gzipped JSON. The server must answer 2xx; what else it says is not looked at. 0; ERR_FAILED;
 * -ENOMEM. `why` gets one line. */
int rpt_post(const struct rpt_url *url, const char *addresses, atomic_bool *stop, struct span report,
             char why[200]);

#endif
