/* IP addresses: text, literals of mail addresses, socket addresses, and what kind an address is. Networks are
 * in ip_net.c. Pure; any thread.
 */
#include "node/net/ip.h"

#include "base/err.h"
#include "base/hash.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

struct ip_addr ip_addr_v4(const uint8_t bytes[4])
{
    struct ip_addr a = { .family = 4 };
    memcpy(a.bytes, bytes, 4);
    return a;
}

struct ip_addr ip_addr_v6(const uint8_t bytes[16], bool *mapped)
{
    static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };
    bool is_mapped = memcmp(bytes, prefix, sizeof prefix) == 0;
    if (mapped != NULL)
        *mapped = is_mapped;
    if (is_mapped)
        return ip_addr_v4(bytes + 12);
    struct ip_addr a = { .family = 6 };
    memcpy(a.bytes, bytes, 16);
    return a;
}

int ip_addr_parse(struct span text, struct ip_addr *a)
{
    char z[INET6_ADDRSTRLEN];
    if (text.n == 0 || text.n >= sizeof z || memchr(text.p, '\0', text.n) != NULL)
        return ERR_BAD;
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    uint8_t bytes[16];
    if (inet_pton(AF_INET, z, bytes) == 1)
        *a = ip_addr_v4(bytes);
    else if (inet_pton(AF_INET6, z, bytes) == 1)
        *a = ip_addr_v6(bytes, NULL);
    else
        return ERR_BAD;
    return 0;
}

const char *ip_addr_format(const struct ip_addr *a, char out[IP_TEXT_MAX])
{
    if ((a->family != 4 && a->family != 6) ||
        inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->bytes, out, IP_TEXT_MAX) == NULL)
        snprintf(out, IP_TEXT_MAX, "unknown");
    return out;
}

const char *ip_sock_format(const struct ip_addr *a, uint16_t port, char out[IP_SOCK_TEXT_MAX])
{
    char text[IP_TEXT_MAX];
    ip_addr_format(a, text);
    snprintf(out, IP_SOCK_TEXT_MAX, a->family == 6 ? "[%s]:%u" : "%s:%u", text, port);
    return out;
}

static int port_parse(struct span text, uint16_t *port)
{
    uint64_t v = 0;
    if (text.n == 0 || text.n > 5 || text_u64(text, &v) != 0 || v == 0 || v > UINT16_MAX)
        return ERR_BAD;
    *port = (uint16_t)v;
    return 0;
}

int ip_sock_parse(struct span text, uint16_t default_port, struct ip_addr *a, uint16_t *port)
{
    struct span host = text;
    struct span rest = { NULL, 0 };
    if (text.n > 0 && text.p[0] == '[') {
        const char *end = memchr(text.p, ']', text.n);
        if (end == NULL)
            return ERR_BAD;
        host = span_of(text.p + 1, (size_t)(end - text.p) - 1);
        rest = span_sub(text, host.n + 2);
        if (rest.n == 1 || (rest.n > 0 && rest.p[0] != ':'))
            return ERR_BAD;
    } else {
        const char *colon = memchr(text.p, ':', text.n);
        /* two colons: an IPv6 address without brackets, which can have no port */
        if (colon != NULL && memchr(colon + 1, ':', text.n - (size_t)(colon - text.p) - 1) == NULL) {
            host.n = (size_t)(colon - text.p);
            rest = span_sub(text, host.n);
            if (rest.n == 1)
                return ERR_BAD;
        }
    }
    *port = default_port;
    if (rest.n > 0 && port_parse(span_sub(rest, 1), port) != 0)
        return ERR_BAD;
    return ip_addr_parse(host, a);
}

bool ip_addr_eq(const struct ip_addr *a, const struct ip_addr *b)
{
    return ip_addr_cmp(a, b) == 0;
}

int ip_addr_cmp(const struct ip_addr *a, const struct ip_addr *b)
{
    if (a->family != b->family)
        return a->family < b->family ? -1 : 1;
    return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

uint64_t ip_addr_hash(const struct ip_addr *a)
{
    _Static_assert(sizeof(struct ip_addr) == 17, "no padding to hash");
    return hash_bytes(a, sizeof *a);
}

int ip_literal_parse(struct span text, struct ip_addr *a)
{
    static const struct span tag = { "IPv6:", 5 };
    if (text.n < 3 || text.p[0] != '[' || text.p[text.n - 1] != ']')
        return ERR_BAD;
    struct span in = span_of(text.p + 1, text.n - 2);
    /* "IPv6:" is an ABNF string, so its case does not count (RFC 5321 section 4.1.3) */
    bool v6 = in.n > tag.n && span_eq_nocase(span_of(in.p, tag.n), tag);
    if (v6)
        in = span_sub(in, tag.n);
    if (v6 != (memchr(in.p, ':', in.n) != NULL))
        return ERR_BAD;
    return ip_addr_parse(in, a);
}

const char *ip_literal_format(const struct ip_addr *a, char out[IP_LITERAL_TEXT_MAX])
{
    char text[IP_TEXT_MAX];
    snprintf(out, IP_LITERAL_TEXT_MAX, a->family == 6 ? "[IPv6:%s]" : "[%s]", ip_addr_format(a, text));
    return out;
}

int ip_from_sockaddr(const struct sockaddr *sa, struct ip_addr *a, uint16_t *port)
{
    uint16_t p;
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof in);
        *a = ip_addr_v4((const uint8_t *)&in.sin_addr);
        p = ntohs(in.sin_port);
    } else if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof in6);
        *a = ip_addr_v6(in6.sin6_addr.s6_addr, NULL);
        p = ntohs(in6.sin6_port);
    } else {
        return ERR_BAD;
    }
    if (port != NULL)
        *port = p;
    return 0;
}

socklen_t ip_to_sockaddr(const struct ip_addr *a, uint16_t port, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (a->family == 6) {
        struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
        memcpy(in6.sin6_addr.s6_addr, a->bytes, 16);
        memcpy(out, &in6, sizeof in6);
        return sizeof in6;
    }
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
    memcpy(&in.sin_addr, a->bytes, 4);
    memcpy(out, &in, sizeof in);
    return sizeof in;
}

const char *ip_reverse_name(const struct ip_addr *a, char out[80])
{
    if (a->family == 4) {
        snprintf(out, 80, "%u.%u.%u.%u.in-addr.arpa", a->bytes[3], a->bytes[2], a->bytes[1], a->bytes[0]);
        return out;
    }
    static const char hex[] = "0123456789abcdef";
    char *w = out;
    for (int i = 15; i >= 0; i--) {
        *w++ = hex[a->bytes[i] & 15];
        *w++ = '.';
        *w++ = hex[a->bytes[i] >> 4];
        *w++ = '.';
    }
    memcpy(w, "ip6.arpa", 9);
    return out;
}

/* The most special ranges come first: the first match is the answer. */
static const struct {
    uint8_t family;
    uint8_t bits;
    uint8_t bytes[16];
    enum ip_class class;
} ranges[] = {
    { 4, 32, { 169, 254, 169, 254 }, IP_CLASS_METADATA },
    { 4, 32, { 255, 255, 255, 255 }, IP_CLASS_BROADCAST },
    { 4, 8, { 0 }, IP_CLASS_UNSPECIFIED },
    { 4, 8, { 127 }, IP_CLASS_LOOPBACK },
    { 4, 8, { 10 }, IP_CLASS_PRIVATE },
    { 4, 12, { 172, 16 }, IP_CLASS_PRIVATE },
    { 4, 16, { 192, 168 }, IP_CLASS_PRIVATE },
    { 4, 10, { 100, 64 }, IP_CLASS_SHARED },
    { 4, 16, { 169, 254 }, IP_CLASS_LINK_LOCAL },
    { 4, 4, { 224 }, IP_CLASS_MULTICAST },
    { 4, 24, { 192, 0, 2 }, IP_CLASS_DOCUMENTATION },
    { 4, 24, { 198, 51, 100 }, IP_CLASS_DOCUMENTATION },
    { 4, 24, { 203, 0, 113 }, IP_CLASS_DOCUMENTATION },
    { 4, 24, { 192, 0, 0 }, IP_CLASS_RESERVED },
    { 4, 15, { 198, 18 }, IP_CLASS_RESERVED },
    { 4, 4, { 240 }, IP_CLASS_RESERVED },
    { 6, 128, { 0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54 }, IP_CLASS_METADATA },
    { 6, 128, { 0 }, IP_CLASS_UNSPECIFIED },
    { 6, 128, { [15] = 1 }, IP_CLASS_LOOPBACK },
    { 6, 96, { 0 }, IP_CLASS_RESERVED },
    { 6, 7, { 0xfc }, IP_CLASS_ULA },
    { 6, 10, { 0xfe, 0xc0 }, IP_CLASS_ULA },
    { 6, 10, { 0xfe, 0x80 }, IP_CLASS_LINK_LOCAL },
    { 6, 8, { 0xff }, IP_CLASS_MULTICAST },
    { 6, 32, { 0x20, 0x01, 0x0d, 0xb8 }, IP_CLASS_DOCUMENTATION },
    { 6, 64, { 0x01 }, IP_CLASS_RESERVED },
};

enum ip_class ip_addr_class(const struct ip_addr *a)
{
    static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };
    static const uint8_t nat64_local[6] = { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 };
    if (a->family == 6 && memcmp(a->bytes, nat64, sizeof nat64) == 0) {
        struct ip_addr inner = ip_addr_v4(a->bytes + 12);
        return ip_addr_class(&inner);
    }
    if (a->family == 6 && memcmp(a->bytes, nat64_local, sizeof nat64_local) == 0)
        return IP_CLASS_PRIVATE; /* RFC 8215: a translator of this network's own */
    if (a->family == 6 && a->bytes[0] == 0x20 && a->bytes[1] == 0x02) {
        struct ip_addr inner = ip_addr_v4(a->bytes + 2);
        return ip_addr_class(&inner);
    }
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        struct ip_net net = { .addr = { .family = ranges[i].family }, .bits = ranges[i].bits };
        memcpy(net.addr.bytes, ranges[i].bytes, 16);
        if (ip_net_has(&net, a))
            return ranges[i].class;
    }
    return IP_CLASS_GLOBAL;
}

const char *ip_class_name(enum ip_class c)
{
    static const char *const names[] = {
        [IP_CLASS_GLOBAL] = "global",
        [IP_CLASS_UNSPECIFIED] = "unspecified",
        [IP_CLASS_LOOPBACK] = "loopback",
        [IP_CLASS_PRIVATE] = "private",
        [IP_CLASS_SHARED] = "shared (carrier NAT)",
        [IP_CLASS_LINK_LOCAL] = "link-local",
        [IP_CLASS_METADATA] = "cloud metadata",
        [IP_CLASS_ULA] = "unique local",
        [IP_CLASS_MULTICAST] = "multicast",
        [IP_CLASS_BROADCAST] = "broadcast",
        [IP_CLASS_DOCUMENTATION] = "documentation",
        [IP_CLASS_RESERVED] = "reserved",
    };
    return names[c];
}

bool ip_class_internal(enum ip_class c)
{
    return c != IP_CLASS_GLOBAL && c != IP_CLASS_DOCUMENTATION;
}
