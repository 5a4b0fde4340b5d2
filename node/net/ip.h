/* IP addresses, networks in CIDR form, and what kind of address something is. Pure; any thread.
 *
 * An IPv6 address that only wraps an IPv4 one (::ffff:192.0.2.1) is turned into that IPv4 address wherever an
 * address enters, so that a list of networks cannot be passed by spelling an address in another way.
 */
#ifndef NODE_NET_IP_H
#define NODE_NET_IP_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct ip_addr {
    uint8_t family;    /* 4, 6, or 0: none */
    uint8_t bytes[16]; /* network order; IPv4 in the first four, the rest zero */
};

#define IP_TEXT_MAX 48         /* an address with its NUL */
#define IP_SOCK_TEXT_MAX 56    /* "[2001:db8::1]:65535" */
#define IP_LITERAL_TEXT_MAX 56 /* "[IPv6:...]" */

/* Four or sixteen bytes in network order. `mapped` (may be NULL) tells that it came as ::ffff:a.b.c.d. */
struct ip_addr ip_addr_v4(const uint8_t bytes[4]);
struct ip_addr ip_addr_v6(const uint8_t bytes[16], bool *mapped);

/* "192.0.2.1" or "2001:db8::1"; no brackets, port or zone. 0 or ERR_BAD. */
int ip_addr_parse(struct span text, struct ip_addr *a);
/* RFC 5952 form; out of IP_TEXT_MAX bytes. Gives "unknown" for family 0. Returns out. */
const char *ip_addr_format(const struct ip_addr *a, char out[IP_TEXT_MAX]);
/* "192.0.2.1:25", "[2001:db8::1]:25". */
const char *ip_sock_format(const struct ip_addr *a, uint16_t port, char out[IP_SOCK_TEXT_MAX]);
/* "192.0.2.1:25", "[::1]:25", or without a port, which then is default_port. 0 or ERR_BAD. */
int ip_sock_parse(struct span text, uint16_t default_port, struct ip_addr *a, uint16_t *port);

bool ip_addr_eq(const struct ip_addr *a, const struct ip_addr *b);
/* By family, then bytes: for sorting. */
int ip_addr_cmp(const struct ip_addr *a, const struct ip_addr *b);
uint64_t ip_addr_hash(const struct ip_addr *a);

/* An address literal of RFC 5321 section 4.1.3, with its brackets: "[192.0.2.1]", "[IPv6:2001:db8::1]". 0 or
 * ERR_BAD. */
int ip_literal_parse(struct span text, struct ip_addr *a);
const char *ip_literal_format(const struct ip_addr *a, char out[IP_LITERAL_TEXT_MAX]);

/* AF_INET and AF_INET6 only; ERR_BAD otherwise. `port` may be NULL. */
int ip_from_sockaddr(const struct sockaddr *sa, struct ip_addr *a, uint16_t *port);
socklen_t ip_to_sockaddr(const struct ip_addr *a, uint16_t port, struct sockaddr_storage *out);

/* The name whose PTR record is asked: "1.2.0.192.in-addr.arpa". Out of 80 bytes. */
const char *ip_reverse_name(const struct ip_addr *a, char out[80]);

enum ip_class {
    IP_CLASS_GLOBAL,
    IP_CLASS_UNSPECIFIED,   /* 0.0.0.0/8, :: */
    IP_CLASS_LOOPBACK,      /* 127/8, ::1 */
    IP_CLASS_PRIVATE,       /* RFC 1918 */
    IP_CLASS_SHARED,        /* 100.64/10, RFC 6598 */
    IP_CLASS_LINK_LOCAL,    /* 169.254/16, fe80::/10 */
    IP_CLASS_METADATA,      /* the clouds' 169.254.169.254 and fd00:ec2::254 */
    IP_CLASS_ULA,           /* fc00::/7, and the old site-local fec0::/10 */
    IP_CLASS_MULTICAST,     /* 224/4, ff00::/8 */
    IP_CLASS_BROADCAST,     /* 255.255.255.255 */
    IP_CLASS_DOCUMENTATION, /* RFC 5737, 3849 */
    IP_CLASS_RESERVED,      /* 240/4, 192.0.0/24, 198.18/15, ::/96, 100::/64 */
};

/* NAT64 (64:ff9b::/96) and 6to4 (2002::/16) addresses have the class of the IPv4 address inside. */
enum ip_class ip_addr_class(const struct ip_addr *a);
const char *ip_class_name(enum ip_class c);
/* An address that no stranger may make us connect to: everything but global and documentation addresses. */
bool ip_class_internal(enum ip_class c);

struct ip_net {
    struct ip_addr addr; /* host bits are zero */
    uint8_t bits;
};

/* "192.0.2.0/24", "2001:db8::/32", or an address alone (/32, /128). Host bits that are set: ERR_BAD, since
 * the operator meant something else; then *net is the network that was probably meant, and otherwise not
 * touched. A mapped prefix (::ffff:0:0/96 and longer) becomes its IPv4 network. */
int ip_net_parse(struct span text, struct ip_net *net);
const char *ip_net_format(const struct ip_net *net, char out[IP_TEXT_MAX + 4]);
bool ip_net_has(const struct ip_net *net, const struct ip_addr *a);
/* Whether one of n networks has it. */
bool ip_nets_have(const struct ip_net *nets, size_t n, const struct ip_addr *a);
/* It is one address: /32 or /128. */
bool ip_net_single(const struct ip_net *net);
/* The network of `bits` around an address; bits beyond the family's are cut. */
struct ip_net ip_net_around(const struct ip_addr *a, uint8_t bits);

/* Networks, each with a pointer of the user's; the longest prefix that has the address wins. Not for
 * millions: adding is linear, finding one binary search for each prefix length in use. */
struct ip_set {
    struct ip_set_entry *entries; /* by family, then longest prefix first, then address */
    size_t len, cap;
    size_t max; /* entries */
};

void ip_set_init(struct ip_set *set, size_t max);
void ip_set_fini(struct ip_set *set);
/* 0, ERR_EXISTS (the same network is there), ERR_LIMIT or -ENOMEM. */
int ip_set_add(struct ip_set *set, const struct ip_net *net, void *user);
/* Whether some network has it; `user` (may be NULL) gets that of the longest prefix. */
bool ip_set_find(const struct ip_set *set, const struct ip_addr *a, void **user);

#endif
