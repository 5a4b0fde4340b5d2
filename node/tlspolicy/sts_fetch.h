/* Fetches the MTA-STS policy of a domain (RFC 8461 section 3.3), by libcurl. Blocks: for a thread that may.
 */
#ifndef NODE_TLSPOLICY_STS_FETCH_H
#define NODE_TLSPOLICY_STS_FETCH_H

#include "node/tlspolicy/sts.h"

struct sts_fetch {
    const char *domain;
    uint16_t port;         /* 443, but in tests */
    const char *addresses; /* of its policy host: "192.0.2.1,[2001:db8::1]"; no others are connected to */
    atomic_bool *stop;     /* ends it within a second */
};

/* HTTPS only, with a certificate that the system's CAs vouch for, no redirects, text/plain, 64 KiB, in time.
 * 0; ERR_BAD: what was fetched is no policy; ERR_FAILED: nothing was; -ENOMEM. `why` gets one line. */
int sts_fetch(const struct sts_fetch *f, struct sts_policy **out, char why[200]);

#endif
