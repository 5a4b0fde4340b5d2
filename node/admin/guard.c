/* What a request must show before it is looked at. */
#include "node/admin/guard.h"

#include "base/text.h"

bool guard_token_equal(struct span given, struct span token)
{
    if (token.n == 0)
        return false;
    volatile unsigned diff = given.n != token.n;
    for (size_t i = 0; i < given.n; i++)
        diff |= (unsigned char)given.p[i] ^ (unsigned char)token.p[i % token.n];
    return diff == 0;
}

bool guard_bearer(struct span authorization, struct span *token)
{
    struct span scheme = span_of(authorization.p, authorization.n < 7 ? authorization.n : 7);
    if (!span_eq_nocase(scheme, SPAN_LIT("Bearer ")))
        return false;
    *token = span_sub(authorization, 7);
    return token->n > 0;
}

/* "host:port" apart; the port stays 0 when there is none. */
static bool split_host(struct span host, struct span *name, uint64_t *port)
{
    size_t end = host.n;
    *port = 0;
    if (host.n > 0 && host.p[0] == '[') {
        const char *close = memchr(host.p, ']', host.n);
        if (close == NULL)
            return false;
        end = (size_t)(close - host.p) + 1;
    } else {
        const char *colon = memchr(host.p, ':', host.n);
        if (colon != NULL)
            end = (size_t)(colon - host.p);
    }
    *name = span_of(host.p, end);
    if (end == host.n)
        return end > 0;
    return end > 0 && host.p[end] == ':' && text_u64(span_sub(host, end + 1), port) == 0;
}

bool guard_host_ok(const struct guard_hosts *hosts, struct span host)
{
    struct span name;
    uint64_t port;
    if (!split_host(host, &name, &port) || (port != 0 && port != hosts->port))
        return false;
    if (span_eq_nocase(name, SPAN_LIT("localhost")) || span_eq(name, SPAN_LIT("127.0.0.1")) ||
        span_eq(name, SPAN_LIT("[::1]")) || span_eq_nocase(name, hosts->address))
        return true;
    for (size_t i = 0; i < hosts->nnames; i++)
        if (span_eq_nocase(name, span_str(hosts->names[i])))
            return true;
    return false;
}

bool guard_origin_ok(struct span origin, struct span host, bool tls)
{
    struct span secure = SPAN_LIT("https://");
    /* Without TLS of ours a proxy may have it. */
    struct span scheme = tls || span_starts(origin, secure) ? secure : SPAN_LIT("http://");
    return span_starts(origin, scheme) && host.n > 0 && span_eq_nocase(span_sub(origin, scheme.n), host);
}

bool guard_json_type(struct span type)
{
    struct span want = SPAN_LIT("application/json");
    if (type.n < want.n || !span_eq_nocase(span_of(type.p, want.n), want))
        return false;
    struct span rest = span_sub(type, want.n);
    while (rest.n > 0 && (rest.p[0] == ' ' || rest.p[0] == ';'))
        rest = span_sub(rest, 1);
    return rest.n == 0 || (rest.p > type.p + want.n && (span_eq_nocase(rest, SPAN_LIT("charset=utf-8")) ||
                                                        span_eq_nocase(rest, SPAN_LIT("charset=\"utf-8\""))));
}
