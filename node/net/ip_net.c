/* Networks in CIDR form, and sets of them. Pure; a set belongs to one thread at a time. */
#include "node/net/ip.h"

#include "base/err.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ip_set_entry {
    struct ip_net net;
    void *user;
};

static uint8_t family_bits(uint8_t family)
{
    return family == 4 ? 32 : 128;
}

static void mask(uint8_t bytes[16], unsigned bits)
{
    for (unsigned i = 0; i < 16; i++) {
        if (bits >= 8) {
            bits -= 8;
        } else {
            bytes[i] = (uint8_t)(bytes[i] & (0xff00u >> bits));
            bits = 0;
        }
    }
}

/* The text of a network before it is known whether it wraps an IPv4 one. */
static int parse_raw(struct span text, uint8_t bytes[16], uint8_t *family)
{
    char z[INET6_ADDRSTRLEN];
    if (text.n == 0 || text.n >= sizeof z || memchr(text.p, '\0', text.n) != NULL)
        return ERR_BAD;
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    memset(bytes, 0, 16);
    *family = 4;
    if (inet_pton(AF_INET, z, bytes) == 1)
        return 0;
    *family = 6;
    return inet_pton(AF_INET6, z, bytes) == 1 ? 0 : ERR_BAD;
}

int ip_net_parse(struct span text, struct ip_net *net)
{
    uint8_t bytes[16];
    uint8_t family;
    const char *slash = text.n == 0 ? NULL : memchr(text.p, '/', text.n);
    struct span addr = slash == NULL ? text : span_of(text.p, (size_t)(slash - text.p));
    if (parse_raw(addr, bytes, &family) != 0)
        return ERR_BAD;
    uint64_t bits = family_bits(family);
    if (slash != NULL) {
        struct span digits = span_sub(text, addr.n + 1);
        uint64_t full = bits;
        if (digits.n == 0 || digits.n > 3 || (digits.n > 1 && digits.p[0] == '0') ||
            text_u64(digits, &bits) != 0 || bits > full)
            return ERR_BAD;
    }
    uint8_t masked[16];
    memcpy(masked, bytes, 16);
    mask(masked, (unsigned)bits);
    bool mapped = false;
    struct ip_addr a = family == 4 ? ip_addr_v4(masked) : ip_addr_v6(masked, &mapped);
    if (mapped) /* its 96 leading bits are set, so bits >= 96, as no host bit is */
        bits -= 96;
    *net = (struct ip_net){ .addr = a, .bits = (uint8_t)bits };
    return memcmp(masked, bytes, 16) == 0 ? 0 : ERR_BAD;
}

const char *ip_net_format(const struct ip_net *net, char out[IP_TEXT_MAX + 4])
{
    char text[IP_TEXT_MAX];
    snprintf(out, IP_TEXT_MAX + 4, "%.46s/%u", ip_addr_format(&net->addr, text), net->bits);
    return out;
}

bool ip_net_has(const struct ip_net *net, const struct ip_addr *a)
{
    if (net->addr.family != a->family)
        return false;
    unsigned whole = net->bits / 8;
    unsigned rest = net->bits % 8;
    if (memcmp(net->addr.bytes, a->bytes, whole) != 0)
        return false;
    return rest == 0 || ((net->addr.bytes[whole] ^ a->bytes[whole]) & (0xff00u >> rest) & 0xff) == 0;
}

bool ip_nets_have(const struct ip_net *nets, size_t n, const struct ip_addr *a)
{
    for (size_t i = 0; i < n; i++)
        if (ip_net_has(&nets[i], a))
            return true;
    return false;
}

bool ip_net_single(const struct ip_net *net)
{
    return net->bits == family_bits(net->addr.family);
}

struct ip_net ip_net_around(const struct ip_addr *a, uint8_t bits)
{
    struct ip_net net = { .addr = *a, .bits = bits };
    if (net.bits > family_bits(a->family))
        net.bits = family_bits(a->family);
    mask(net.addr.bytes, net.bits);
    return net;
}

void ip_set_init(struct ip_set *set, size_t max)
{
    *set = (struct ip_set){ .max = max };
}

void ip_set_fini(struct ip_set *set)
{
    free(set->entries);
    *set = (struct ip_set){ .max = set->max };
}

static int entry_cmp(const struct ip_net *a, const struct ip_net *b)
{
    if (a->addr.family != b->addr.family)
        return a->addr.family < b->addr.family ? -1 : 1;
    if (a->bits != b->bits)
        return a->bits > b->bits ? -1 : 1;
    return memcmp(a->addr.bytes, b->addr.bytes, sizeof a->addr.bytes);
}

/* The first entry that is not before net. */
static size_t lower_bound(const struct ip_set *set, const struct ip_net *net)
{
    size_t lo = 0;
    size_t hi = set->len;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (entry_cmp(&set->entries[mid].net, net) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

int ip_set_add(struct ip_set *set, const struct ip_net *net, void *user)
{
    size_t at = lower_bound(set, net);
    if (at < set->len && entry_cmp(&set->entries[at].net, net) == 0)
        return ERR_EXISTS;
    if (set->len >= set->max)
        return ERR_LIMIT;
    if (set->len == set->cap) {
        size_t cap = set->cap == 0 ? 8 : set->cap * 2;
        struct ip_set_entry *entries = realloc(set->entries, cap * sizeof *entries);
        if (entries == NULL)
            return -ENOMEM;
        set->entries = entries;
        set->cap = cap;
    }
    memmove(set->entries + at + 1, set->entries + at, (set->len - at) * sizeof *set->entries);
    set->entries[at] = (struct ip_set_entry){ .net = *net, .user = user };
    set->len++;
    return 0;
}

bool ip_set_find(const struct ip_set *set, const struct ip_addr *a, void **user)
{
    if (a->family != 4 && a->family != 6)
        return false;
    /* entries of one family lie in runs of equal prefix length, the longest first */
    struct ip_net probe = ip_net_around(a, family_bits(a->family));
    for (size_t at = lower_bound(set, &probe); at < set->len && set->entries[at].net.addr.family == a->family;
         at = lower_bound(set, &probe)) {
        if (set->entries[at].net.bits == probe.bits) {
            if (memcmp(set->entries[at].net.addr.bytes, probe.addr.bytes, 16) == 0) {
                if (user != NULL)
                    *user = set->entries[at].user;
                return true;
            }
            if (probe.bits == 0)
                break;
            probe = ip_net_around(a, (uint8_t)(probe.bits - 1));
        } else {
            probe = ip_net_around(a, set->entries[at].net.bits);
        }
    }
    return false;
}
