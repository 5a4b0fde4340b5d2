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

void config_net_format(const struct ip_net *net, char out[IP_TEXT_MAX + 4])
{
    if (ip_net_single(net))
        ip_addr_format(&net->addr, out);
    else
        ip_net_format(net, out);
}

bool config_nets_contain(const struct ip_net *nets, uint32_t n, const struct sockaddr *address)
{
    struct ip_addr a;
    return ip_from_sockaddr(address, &a, NULL) == 0 && ip_nets_have(nets, n, &a);
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
