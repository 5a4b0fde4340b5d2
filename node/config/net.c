/* Networks and socket addresses as text. */
#include "node/config/net.h"

#include "base/err.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

/* NUL-terminates a short span for inet_pton. */
static bool text_copy(struct span s, char *out, size_t cap)
{
    if (s.n == 0 || s.n >= cap || memchr(s.p, '\0', s.n) != NULL)
        return false;
    memcpy(out, s.p, s.n);
    out[s.n] = '\0';
    return true;
}

/* The address in 16 bytes; *v4 tells how it was written. */
static int address_parse(struct span s, uint8_t out[16], bool *v4)
{
    char text[INET6_ADDRSTRLEN];
    if (!text_copy(s, text, sizeof text))
        return ERR_BAD;
    *v4 = strchr(text, ':') == NULL;
    if (*v4) {
        memcpy(out, mapped, 12);
        return inet_pton(AF_INET, text, out + 12) == 1 ? 0 : ERR_BAD;
    }
    return inet_pton(AF_INET6, text, out) == 1 ? 0 : ERR_BAD;
}

/* Clears what is below the prefix; true if anything was set there. */
static bool mask(struct config_net *net)
{
    bool any = false;
    for (unsigned i = 0; i < 16; i++) {
        unsigned keep = net->bits >= (i + 1) * 8 ? 8 : net->bits <= i * 8 ? 0 : net->bits - i * 8;
        uint8_t bits = (uint8_t)(0xff00u >> keep);
        any = any || (net->addr[i] & (uint8_t)~bits) != 0;
        net->addr[i] &= bits;
    }
    return any;
}

int config_net_parse(struct span text, struct config_net *out)
{
    const char *slash = text.n > 0 ? memchr(text.p, '/', text.n) : NULL;
    size_t len = slash != NULL ? (size_t)(slash - text.p) : text.n;
    bool v4;
    memset(out, 0, sizeof *out);
    if (address_parse(span_of(text.p, len), out->addr, &v4) != 0)
        return ERR_BAD;
    uint64_t bits = v4 ? 32 : 128;
    if (slash != NULL) {
        uint64_t given;
        struct span s = span_sub(text, len + 1);
        if (s.n > 3 || text_u64(s, &given) != 0 || given > bits)
            return ERR_BAD;
        bits = given;
    }
    out->bits = (uint8_t)(v4 ? 96 + bits : bits);
    return mask(out) ? ERR_BAD : 0;
}

static bool is_mapped(const uint8_t addr[16])
{
    return memcmp(addr, mapped, 12) == 0;
}

void config_net_format(const struct config_net *net, char *out, size_t cap)
{
    char text[INET6_ADDRSTRLEN];
    bool v4 = is_mapped(net->addr) && net->bits >= 96;
    inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? net->addr + 12 : net->addr, text, sizeof text);
    unsigned bits = v4 ? net->bits - 96u : net->bits;
    if (bits == (v4 ? 32u : 128u))
        snprintf(out, cap, "%s", text);
    else
        snprintf(out, cap, "%s/%u", text, bits);
}

static bool sockaddr_bytes(const struct sockaddr *sa, uint8_t out[16])
{
    if (sa->sa_family == AF_INET) {
        memcpy(out, mapped, 12);
        memcpy(out + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
        return true;
    }
    if (sa->sa_family == AF_INET6) {
        memcpy(out, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
        return true;
    }
    return false;
}

bool config_net_contains(const struct config_net *net, const struct sockaddr *address)
{
    struct config_net a = { .bits = net->bits };
    if (!sockaddr_bytes(address, a.addr))
        return false;
    /* "::/0" is all of IPv6, not IPv4 by the way of mapped addresses. */
    if (net->bits < 96 && is_mapped(a.addr))
        return false;
    mask(&a);
    return memcmp(a.addr, net->addr, 16) == 0;
}

bool config_nets_contain(const struct config_net *nets, uint32_t n, const struct sockaddr *address)
{
    for (uint32_t i = 0; i < n; i++)
        if (config_net_contains(&nets[i], address))
            return true;
    return false;
}

bool config_net_of(const struct sockaddr *address, uint8_t v4_bits, uint8_t v6_bits, struct config_net *out)
{
    if (!sockaddr_bytes(address, out->addr))
        return false;
    out->bits = (uint8_t)(is_mapped(out->addr) ? 96 + v4_bits : v6_bits);
    mask(out);
    return true;
}

static void sockaddr_set(struct sockaddr_storage *out, const uint8_t addr[16], bool v4, uint16_t port)
{
    memset(out, 0, sizeof *out);
    if (v4) {
        struct sockaddr_in *sin = (struct sockaddr_in *)out;
        sin->sin_family = AF_INET;
        sin->sin_port = htons(port);
        memcpy(&sin->sin_addr, addr + 12, 4);
    } else {
        struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)out;
        sin6->sin6_family = AF_INET6;
        sin6->sin6_port = htons(port);
        memcpy(&sin6->sin6_addr, addr, 16);
    }
}

static struct span unbracket(struct span s)
{
    if (s.n >= 2 && s.p[0] == '[' && s.p[s.n - 1] == ']')
        return span_of(s.p + 1, s.n - 2);
    return s;
}

int config_ip_parse(struct span text, struct sockaddr_storage *out)
{
    uint8_t addr[16];
    bool v4;
    int err = address_parse(unbracket(text), addr, &v4);
    if (err == 0)
        sockaddr_set(out, addr, v4, 0);
    return err;
}

int config_endpoint_parse(struct span text, char mark, struct sockaddr_storage *out)
{
    uint8_t addr[16];
    bool v4;
    uint64_t port = 53;
    const char *at = text.n > 0 ? memrchr(text.p, mark, text.n) : NULL;
    struct span host = at != NULL ? span_of(text.p, (size_t)(at - text.p)) : text;
    bool brackets = host.n > 0 && host.p[0] == '[';
    if (at == NULL && mark == ':')
        return ERR_BAD;
    if (at != NULL) {
        struct span s = span_sub(text, host.n + 1);
        if (s.n > 5 || text_u64(s, &port) != 0 || port == 0 || port > 65535)
            return ERR_BAD;
    }
    if (address_parse(unbracket(host), addr, &v4) != 0)
        return ERR_BAD;
    /* Of "2001:db8::1:25" nobody can tell where the port begins. */
    if (v4 ? brackets : (mark == ':' && !brackets))
        return ERR_BAD;
    sockaddr_set(out, addr, v4, (uint16_t)port);
    return 0;
}

void config_endpoint_format(const struct sockaddr_storage *address, char *out, size_t cap)
{
    char text[INET6_ADDRSTRLEN] = "";
    uint16_t port = config_sockaddr_port(address);
    bool v4 = address->ss_family == AF_INET;
    if (v4)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)address)->sin_addr, text, sizeof text);
    else if (address->ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)address)->sin6_addr, text, sizeof text);
    if (port == 0)
        snprintf(out, cap, "%s", text);
    else
        snprintf(out, cap, v4 ? "%s:%u" : "[%s]:%u", text, port);
}

socklen_t config_sockaddr_len(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

uint16_t config_sockaddr_port(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)address)->sin_port);
    if (address->ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
    return 0;
}
