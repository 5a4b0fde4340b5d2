/* Which site a recipient belongs to, and how that site is reached. */
#include "node/core/route.h"

#include "base/err.h"
#include "base/text.h"

#include <ctype.h>
#include <idn2.h>
#include <stdio.h>
#include <stdlib.h>

#define VIA "via:"

static const char *const tls_marks[] = {
    [ROUTE_TLS_USUAL] = "", [ROUTE_TLS_REQUIRED] = "+requiretls", [ROUTE_TLS_OPTIONAL] = "+tls-optional"
};

/* The domain in lower case, U-labels as A-labels (RFC 5890). */
static int domain_ascii(struct span domain, char out[256], size_t *len)
{
    if (domain.n == 0 || domain.n > 255)
        return ERR_BAD;
    if (text_ascii(domain)) {
        for (size_t i = 0; i < domain.n; i++)
            out[i] = (char)tolower((unsigned char)domain.p[i]);
        *len = domain.n;
        return 0;
    }
    char name[256];
    memcpy(name, domain.p, domain.n);
    name[domain.n] = '\0';
    char *ascii = NULL;
    if (strlen(name) != domain.n ||
        idn2_to_ascii_8z(name, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
        return ERR_BAD;
    size_t n = strlen(ascii);
    int err = n == 0 || n > 255 ? ERR_BAD : 0;
    if (err == 0) {
        memcpy(out, ascii, n);
        *len = n;
    }
    idn2_free(ascii);
    return err;
}

static int key_set(struct route_key *out, const char *fmt, int n, const char *s, unsigned port)
{
    int len = snprintf(out->text, sizeof out->text, fmt, n, s, port);
    if (len < 0 || (size_t)len >= sizeof out->text || memchr(s, '/', (size_t)n) != NULL ||
        memchr(s, '+', (size_t)n) != NULL)
        return ERR_BAD;
    out->len = (size_t)len;
    return 0;
}

static int domain_key(const struct config *c, struct span domain, struct route_key *out)
{
    if (domain.n > 1 && domain.p[domain.n - 1] == '.')
        domain.n--;
    char name[256];
    size_t len;
    int err = domain_ascii(domain, name, &len);
    if (err != 0)
        return err;
    const struct config_route *r = config_route_find(c, span_of(name, len));
    if (r == NULL)
        return key_set(out, "%.*s", (int)len, name, 0);
    if (r->hop.kind == CONFIG_HOP_MX_OF_DOMAIN)
        return r->hop.port == 25 ? key_set(out, "%.*s", (int)len, name, 0)
                                 : key_set(out, "%.*s:%u", (int)len, name, r->hop.port);
    return key_set(out, VIA "%.*s", (int)strlen(r->via), r->via, 0);
}

int route_site_key(const struct config *c, struct span address, struct route_key *out)
{
    const char *at = address.n == 0 ? NULL : memrchr(address.p, '@', address.n);
    if (at == NULL)
        return ERR_BAD;
    return domain_key(c, span_of(at + 1, (size_t)(address.p + address.n - at - 1)), out);
}

int route_pool_key(const struct config *c, struct span pool, struct span address, struct route_key *out)
{
    int err = route_site_key(c, address, out);
    if (err != 0 || pool.n == 0)
        return err;
    if (pool.n + 1 + out->len >= sizeof out->text)
        return ERR_BAD;
    memmove(out->text + pool.n + 1, out->text, out->len);
    memcpy(out->text, pool.p, pool.n);
    out->text[pool.n] = '/';
    out->len += pool.n + 1;
    return 0;
}

int route_key_put_tls(struct route_key *key, enum route_tls tls)
{
    size_t n = strlen(tls_marks[tls]);
    if (key->len + n >= sizeof key->text)
        return ERR_BAD;
    memcpy(key->text + key->len, tls_marks[tls], n);
    key->len += n;
    return 0;
}

enum route_tls route_key_tls(struct span key)
{
    for (enum route_tls i = ROUTE_TLS_REQUIRED; i <= ROUTE_TLS_OPTIONAL; i++) {
        struct span mark = span_str(tls_marks[i]);
        if (key.n > mark.n && span_eq(span_sub(key, key.n - mark.n), mark))
            return i;
    }
    return ROUTE_TLS_USUAL;
}

/* Bytes up to the last slash: what comes after it has none (key_set). */
static size_t pool_part(struct span key)
{
    const char *slash = key.n == 0 ? NULL : memrchr(key.p, '/', key.n);
    return slash == NULL ? 0 : (size_t)(slash - key.p) + 1;
}

struct span route_key_pool(struct span key)
{
    size_t n = pool_part(key);
    return span_of(key.p, n == 0 ? 0 : n - 1);
}

struct span route_key_site(struct span key)
{
    key.n -= strlen(tls_marks[route_key_tls(key)]);
    return span_sub(key, pool_part(key));
}

static void hop_of_route(const struct config_route *r, struct route_hop *out)
{
    *out = (struct route_hop){ .route = r, .domain = span_str(r->hop.host), .port = r->hop.port };
}

bool route_key_is_hop(struct span key)
{
    return span_starts(route_key_site(key), SPAN_LIT(VIA));
}

/* "example.org:2525" without the port; a literal's colons are inside its brackets. */
static struct span key_domain(struct span key)
{
    const char *colon = key.n > 0 && key.p[key.n - 1] != ']' ? memrchr(key.p, ':', key.n) : NULL;
    return colon == NULL ? key : span_of(key.p, (size_t)(colon - key.p));
}

bool route_key_current(const struct config *c, struct span key)
{
    if (span_eq(key, SPAN_LIT(ROUTE_UNROUTABLE)))
        return true;
    key = route_key_site(key);
    struct route_key now;
    int err = domain_key(c, key_domain(key), &now);
    return err == 0 && span_eq(span_of(now.text, now.len), key);
}

bool route_same(const struct config *a, const struct config *b)
{
    if (a->nroutes != b->nroutes)
        return false;
    for (uint32_t i = 0; i < a->nroutes; i++)
        if (strcmp(a->routes[i].domain, b->routes[i].domain) != 0 ||
            strcmp(a->routes[i].via, b->routes[i].via) != 0)
            return false;
    return true;
}

int route_hop_find(const struct config *c, struct span key, struct route_hop *out)
{
    key = route_key_site(key);
    if (route_key_is_hop(key)) {
        struct span hop = span_sub(key, sizeof VIA - 1);
        for (uint32_t i = 0; i < c->nroutes; i++)
            if (c->routes[i].hop.kind != CONFIG_HOP_MX_OF_DOMAIN &&
                span_eq(span_str(c->routes[i].via), hop)) {
                hop_of_route(&c->routes[i], out);
                return 0;
            }
        *out = (struct route_hop){ .domain = span_of("", 0) };
        return ERR_NOT_FOUND;
    }
    struct span domain = key_domain(key);
    const struct config_route *r = config_route_find(c, domain);
    if (r != NULL && r->hop.kind != CONFIG_HOP_MX_OF_DOMAIN)
        r = NULL; /* queued before the route was written: goes by MX, as it was queued */
    *out = (struct route_hop){ .route = r, .domain = domain, .port = 25 };
    if (r != NULL)
        out->port = r->hop.port;
    return 0;
}
