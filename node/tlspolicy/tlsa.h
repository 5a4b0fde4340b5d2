/* TLSA records of a mail host (RFC 6698, RFC 7672): which of them can be used to know the host by. Pure;
 * asking the DNS is net's. Any thread.
 */
#ifndef NODE_TLSPOLICY_TLSA_H
#define NODE_TLSPOLICY_TLSA_H

#include "base/span.h"

#include <stddef.h>
#include <stdint.h>

enum tlsa_status {
    TLSA_NONE,     /* no DANE here: no records, or not validated */
    TLSA_USABLE,   /* TLS, and one of the records matches, or nothing is sent */
    TLSA_UNUSABLE, /* records, but none that we could use: TLS, of whomever (RFC 7672 section 2.2) */
    TLSA_FAILED,   /* it could not be learnt whether there are any: the host is not to be used now */
};

enum { TLSA_USAGE_TA = 2, TLSA_USAGE_EE = 3 };

#define TLSA_RECORDS_MAX 16 /* usable ones that are kept; of more, the first */
#define TLSA_DATA_MAX 16384 /* of one record: a whole certificate */

struct tlsa_record {
    uint8_t usage, selector, matching;
    struct span data; /* in the same piece of memory as the set */
};

struct tlsa_set {
    uint32_t n; /* at least 1 */
    struct tlsa_record records[TLSA_RECORDS_MAX];
};

/* The usable ones of n rdata in wire format. Those with usage PKIX-TA(0) and PKIX-EE(1) are not (RFC 7672
 * section 3.1.3), nor are unknown selectors and matching types, digests of a wrong length, and keys and
 * certificates that cannot be read. TLSA_NONE with n = 0; else TLSA_USABLE and a set that the caller frees
 * with free(), TLSA_UNUSABLE, or TLSA_FAILED without memory. */
enum tlsa_status tlsa_select(const struct span *rdata, size_t n, struct tlsa_set **out);

#endif
