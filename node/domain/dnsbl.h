/* Lists of bad addresses in the DNS (RFC 5782): what is asked, and what an answer means. Pure. */
#ifndef NODE_DOMAIN_DNSBL_H
#define NODE_DOMAIN_DNSBL_H

#include "base/span.h"
#include "node/net/ip.h"

#include <stdbool.h>
#include <stddef.h>

/* "1.2.0.192.zen.example.net"; of IPv6 addresses the nibbles. False: it is too long for a name. */
bool dnsbl_address_name(const struct ip_addr *addr, const char *zone, char out[256]);

enum dnsbl_answer {
    DNSBL_CLEAN,
    DNSBL_LISTED,
    DNSBL_BROKEN, /* it says something else: a refusal to answer, or what is no list's answer */
};
/* Of the A records, in wire format; none: clean. BROKEN: `why` (128 bytes) gets a line. LISTED: `code`, the
 * first that lists. Answers are in 127/8; 127.0.0.1, 127.0.1.255 and 127.255.255/24 are lists' error
 * messages. */
enum dnsbl_answer dnsbl_read(const struct span *records, size_t n, unsigned char code[4], char why[128]);

/* Test points (RFC 5782 section 5): a list that lists the first, or does not list the second, is not
 * believed. */
#define DNSBL_NEVER "127.0.0.1"
#define DNSBL_ALWAYS "127.0.0.2"

#endif
