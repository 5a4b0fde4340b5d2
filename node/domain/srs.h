/* The Sender Rewriting Scheme: forwarded mail leaves with a return path in a domain of ours, so that it
 * passes SPF, and what comes back to it finds the way to the first sender. Nothing is stored: the address
 * carries all, with a MAC.
 *
 *     alice@example.com             -> SRS0=MAC=DAY=example.com=alice@ours
 *     SRS0=...=...=a.com=x@first    -> SRS1=MAC=first==...=...=a.com=x@ours
 *     SRS1=...=first==...@second    -> SRS1=MAC=first==...@ours
 *
 * MAC: the first 40 bits of HMAC-SHA-256, DAY: the day modulo 1024, both in base 32, and the MAC is of
 * lower-case text: addresses come back in another case. Pure; any thread.
 */
#ifndef NODE_DOMAIN_SRS_H
#define NODE_DOMAIN_SRS_H

#include "base/span.h"

#include <stdint.h>

#define SRS_KEYS_MAX 4
#define SRS_KEY_MIN 16      /* octets */
#define SRS_ADDRESS_MAX 254 /* octets of what is made: RFC 5321 section 4.5.3.1.3 */

struct srs {
    struct span domain;             /* ours */
    struct span keys[SRS_KEYS_MAX]; /* the first signs, all are believed: so they can be changed */
    unsigned nkeys;
    unsigned days_max; /* how old what comes back may be; 0: 21, at most 1000 */
};

/* What the mailbox becomes; `now_s` since 1970. The null path, and an address of our own domain, stay as they
 * are. 0; ERR_BAD: no mailbox with a domain; ERR_LIMIT: the address would be too long; then it stays as it
 * is, too. */
int srs_forward(const struct srs *s, struct span address, int64_t now_s, char out[SRS_ADDRESS_MAX + 1]);

/* Where mail to an address of ours goes. ERR_NOT_FOUND: not an SRS address of our domain; ERR_BAD: not one
 * that we made; ERR_TIMEOUT: too old. The last two are to be refused, or we are a relay for everybody. */
int srs_reverse(const struct srs *s, struct span address, int64_t now_s, char out[SRS_ADDRESS_MAX + 1]);

#endif
