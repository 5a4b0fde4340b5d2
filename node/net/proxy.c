/* PROXY protocol, versions 1 and 2: https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt, section 2.
 */
#include "node/net/proxy.h"

#include "base/err.h"
#include "base/text.h"

#include <string.h>

#define V1_LINE_MAX 107 /* with CRLF, as the specification works out */
#define V2_FIXED 16

enum { CMD_LOCAL = 0, CMD_PROXY = 1 };
enum { FAMILY_UNSPEC = 0x0, FAMILY_INET = 0x1, FAMILY_INET6 = 0x2, FAMILY_UNIX = 0x3 };
enum { TRANSPORT_UNSPEC = 0x0, TRANSPORT_STREAM = 0x1 };
enum { TYPE_SSL = 0x20, TYPE_SSL_CLIENT_TLS = 0x01 };

static const struct span v1_start = { "PROXY ", 6 };
static const struct span v2_start = { "\r\n\r\n\0\r\nQUIT\n", 12 };

static bool starts_alike(const char *p, size_t n, struct span with)
{
    return memcmp(p, with.p, n < with.n ? n : with.n) == 0;
}

/* The next word of a version 1 line: words are parted by exactly one blank. */
static struct span word(struct span *line)
{
    const char *blank = line->n == 0 ? NULL : memchr(line->p, ' ', line->n);
    struct span w = blank == NULL ? *line : span_of(line->p, (size_t)(blank - line->p));
    *line = blank == NULL ? span_of(line->p + line->n, 0) : span_sub(*line, w.n + 1);
    return w;
}

static int v1_port(struct span text, uint16_t *port)
{
    uint64_t v = 0;
    if (text.n == 0 || text.n > 5 || (text.n > 1 && text.p[0] == '0') || text_u64(text, &v) != 0 ||
        v > UINT16_MAX)
        return ERR_BAD;
    *port = (uint16_t)v;
    return 0;
}

/* The text must be of the family that the line names; a mapped IPv4 address may stand in a TCP6 line. */
static int v1_addr(struct span text, bool v6, struct ip_addr *a)
{
    if (text.n == 0 || v6 != (memchr(text.p, ':', text.n) != NULL))
        return ERR_BAD;
    return ip_addr_parse(text, a);
}

static int v1_parse(const char *p, size_t n, struct proxy_header *out)
{
    const char *lf = memchr(p, '\n', n < V1_LINE_MAX ? n : V1_LINE_MAX);
    if (lf == NULL)
        return n >= V1_LINE_MAX ? ERR_BAD : 0;
    size_t len = (size_t)(lf - p) + 1;
    if (len < v1_start.n + 2 || lf[-1] != '\r')
        return ERR_BAD;
    struct span line = span_of(p + v1_start.n, len - v1_start.n - 2);
    struct span family = word(&line);
    if (span_eq(family, SPAN_LIT("UNKNOWN"))) {
        out->local = true; /* the rest of the line is to be ignored */
        return (int)len;
    }
    bool v6 = span_eq(family, SPAN_LIT("TCP6"));
    if (!v6 && !span_eq(family, SPAN_LIT("TCP4")))
        return ERR_BAD;
    struct span source = word(&line);
    struct span destination = word(&line);
    struct span source_port = word(&line);
    if (v1_addr(source, v6, &out->source) != 0 || v1_addr(destination, v6, &out->destination) != 0 ||
        v1_port(source_port, &out->source_port) != 0 || v1_port(line, &out->destination_port) != 0)
        return ERR_BAD;
    return (int)len;
}

static uint16_t be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* The extensions after the addresses: a type, a length of two bytes, a value. */
static int v2_extensions(const uint8_t *p, size_t n, struct proxy_header *out)
{
    while (n > 0) {
        if (n < 3 || n - 3 < be16(p + 1))
            return ERR_BAD;
        size_t len = be16(p + 1);
        if (p[0] == TYPE_SSL) {
            if (len < 5) /* flags, and a 32-bit verification result */
                return ERR_BAD;
            out->tls = (p[3] & TYPE_SSL_CLIENT_TLS) != 0;
        }
        p += 3 + len;
        n -= 3 + len;
    }
    return 0;
}

static int v2_parse(const uint8_t *p, size_t n, struct proxy_header *out)
{
    if (n < V2_FIXED)
        return 0;
    unsigned version = p[12] >> 4;
    unsigned command = p[12] & 15u;
    unsigned family = p[13] >> 4;
    unsigned transport = p[13] & 15u;
    size_t len = be16(p + 14);
    if (version != 2 || command > CMD_PROXY || family > FAMILY_UNIX || len > PROXY_HEADER_MAX - V2_FIXED)
        return ERR_BAD;
    if (n < V2_FIXED + len)
        return 0;
    const uint8_t *body = p + V2_FIXED;
    size_t addrs = 0;
    if (command == CMD_LOCAL || family == FAMILY_UNSPEC || transport == TRANSPORT_UNSPEC) {
        out->local = true; /* the addresses, if any, are to be ignored */
        return (int)(V2_FIXED + len);
    }
    if (transport != TRANSPORT_STREAM || family == FAMILY_UNIX)
        return ERR_BAD; /* no mail comes that way */
    if (family == FAMILY_INET && len >= 12) {
        addrs = 12;
        out->source = ip_addr_v4(body);
        out->destination = ip_addr_v4(body + 4);
    } else if (family == FAMILY_INET6 && len >= 36) {
        addrs = 36;
        out->source = ip_addr_v6(body, NULL);
        out->destination = ip_addr_v6(body + 16, NULL);
    } else {
        return ERR_BAD;
    }
    out->source_port = be16(body + addrs - 4);
    out->destination_port = be16(body + addrs - 2);
    if (v2_extensions(body + addrs, len - addrs, out) != 0)
        return ERR_BAD;
    return (int)(V2_FIXED + len);
}

int proxy_parse(const char *p, size_t n, struct proxy_header *out)
{
    *out = (struct proxy_header){ 0 };
    if (n == 0)
        return 0;
    if (starts_alike(p, n, v2_start))
        return n < v2_start.n ? 0 : v2_parse((const uint8_t *)p, n, out);
    if (starts_alike(p, n, v1_start))
        return n < v1_start.n ? 0 : v1_parse(p, n, out);
    return ERR_BAD;
}
