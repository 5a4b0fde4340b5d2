/* Who a certificate says that a node is: the URI, written and read. */
#include "base/peer.h"

#include "base/err.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void peer_uri_format(const struct peer *p, char out[PEER_URI_MAX])
{
    size_t n = (size_t)snprintf(out, PEER_URI_MAX, "turnpike:");
    for (size_t i = 0; i < sizeof p->cluster; i++)
        n += (size_t)snprintf(out + n, PEER_URI_MAX - n, "%02x", p->cluster[i]);
    snprintf(out + n, PEER_URI_MAX - n, "/%" PRIu32 "/%" PRIu64, p->epoch, p->node);
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Digits up to `end` or the span's end, without a leading zero; false: none, or over max. */
static bool number(struct span *s, char end, uint64_t max, uint64_t *out)
{
    size_t n = 0;
    uint64_t v = 0;
    for (; n < s->n && s->p[n] != end; n++) {
        if (s->p[n] < '0' || s->p[n] > '9' || (n == 0 && s->p[n] == '0'))
            return false;
        uint64_t digit = (uint64_t)(s->p[n] - '0');
        if (v > (max - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    *s = span_sub(*s, n);
    return n > 0;
}

int peer_uri_parse(struct span uri, struct peer *out)
{
    struct span scheme = SPAN_LIT("turnpike:");
    if (!span_starts(uri, scheme) || uri.n < scheme.n + 33)
        return ERR_BAD;
    uri = span_sub(uri, scheme.n);
    for (size_t i = 0; i < sizeof out->cluster; i++) {
        int high = hex(uri.p[2 * i]), low = hex(uri.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return ERR_BAD;
        out->cluster[i] = (uint8_t)(high * 16 + low);
    }
    if (uri.p[32] != '/')
        return ERR_BAD;
    uri = span_sub(uri, 33);
    uint64_t epoch;
    if (!number(&uri, '/', UINT32_MAX, &epoch) || uri.n == 0)
        return ERR_BAD;
    uri = span_sub(uri, 1);
    out->epoch = (uint32_t)epoch;
    return number(&uri, '\0', UINT64_MAX, &out->node) && uri.n == 0 ? 0 : ERR_BAD;
}
