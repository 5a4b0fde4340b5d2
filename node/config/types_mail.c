/* The types of routes' next hops and of header rules. */
#include "base/text.h"
#include "node/config/config.h"
#include "node/config/types.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* ---- next hops ----------------------------------------------------------------------------------------- */

static const char via_right[] =
    "expected \"host.example.com:25\", \"[192.0.2.1]:25\", \"mx:example.com\" or \":2525\"";

static bool port_parse(struct span s, uint16_t *port)
{
    uint64_t v;
    if (s.n > 5 || text_u64(s, &v) != 0 || v == 0 || v > 65535)
        return false;
    *port = (uint16_t)v;
    return true;
}

static char *lower_copy(struct span s)
{
    char *copy = strndup(s.p, s.n);
    for (char *p = copy; p != NULL && *p != '\0'; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
    return copy;
}

/* "name" or "name:port". */
static const char *via_name(struct config_route *r, struct span s, int kind)
{
    const char *colon = s.n > 0 ? memrchr(s.p, ':', s.n) : NULL;
    struct span host = colon != NULL ? span_of(s.p, (size_t)(colon - s.p)) : s;
    r->hop.kind = kind;
    r->hop.port = 25;
    if (colon != NULL && !port_parse(span_sub(s, host.n + 1), &r->hop.port))
        return "the port must be a number from 1 to 65535";
    if (host.n > 1 && host.p[host.n - 1] == '.')
        host.n--;
    if (!host_valid(host))
        return via_right;
    r->hop.host = lower_copy(host);
    return r->hop.host != NULL ? NULL : "no memory";
}

static const char *via_address(struct config_route *r, struct span s)
{
    const char *close = memchr(s.p, ']', s.n);
    if (close == NULL)
        return via_right;
    struct span ip = span_of(s.p + 1, (size_t)(close - s.p) - 1);
    struct span rest = span_sub(s, ip.n + 2);
    r->hop.port = 25;
    if (rest.n > 0 && (rest.p[0] != ':' || !port_parse(span_sub(rest, 1), &r->hop.port)))
        return "the port must be a number from 1 to 65535";
    if (config_ip_parse(ip, &r->hop.address) != 0) {
        /* Postfix's "[host]:port": the host's own addresses, no MX lookup. */
        if (!host_valid(ip))
            return via_right;
        r->hop.kind = CONFIG_HOP_HOST;
        r->hop.host = lower_copy(ip);
        return r->hop.host != NULL ? NULL : "no memory";
    }
    r->hop.kind = CONFIG_HOP_ADDRESS;
    if (r->hop.address.ss_family == AF_INET)
        ((struct sockaddr_in *)&r->hop.address)->sin_port = htons(r->hop.port);
    else
        ((struct sockaddr_in6 *)&r->hop.address)->sin6_port = htons(r->hop.port);
    return NULL;
}

const char *via_parse(struct config_route *r)
{
    struct span s = span_str(r->via);
    struct sockaddr_storage ip;
    if (span_starts(s, SPAN_LIT("mx:")))
        return via_name(r, span_sub(s, 3), CONFIG_HOP_MX);
    if (s.n > 0 && s.p[0] == '[')
        return via_address(r, s);
    if (s.n > 0 && s.p[0] == ':') {
        r->hop.kind = CONFIG_HOP_MX_OF_DOMAIN;
        return port_parse(span_sub(s, 1), &r->hop.port) ? NULL : "the port must be a number from 1 to 65535";
    }
    if (config_endpoint_parse(s, ':', &ip) == 0 || config_ip_parse(s, &ip) == 0) {
        if (ip.ss_family == AF_INET6)
            return "put an IPv6 address in brackets: \"[2001:db8::1]:25\"";
        r->hop.kind = CONFIG_HOP_ADDRESS;
        r->hop.port = config_sockaddr_port(&ip);
        if (r->hop.port == 0)
            r->hop.port = 25;
        ((struct sockaddr_in *)&ip)->sin_port = htons(r->hop.port);
        r->hop.address = ip;
        return NULL;
    }
    return via_name(r, s, CONFIG_HOP_HOST);
}

/* Its parts are read by check.c, when the structure is there. */
static bool via_read(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    if (s.n == 0 || s.n > 300) {
        schema_fault(l, "%s", via_right);
        return false;
    }
    char *copy = strndup(s.p, s.n);
    memcpy(out, &copy, sizeof copy);
    return copy != NULL;
}

static bool via_format(const struct schema_field *f, const void *in, struct buf *out)
{
    (void)f;
    buf_put_str(out, *(char *const *)in);
    return true;
}

static void via_fini(void *value)
{
    free(*(char **)value);
}

const struct schema_type type_via = { sizeof(char *), via_read, via_format, via_fini };

/* ---- header rules -------------------------------------------------------------------------------------- */

/* RFC 5322 section 2.2: printable ASCII but the colon. */
static bool field_name_valid(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 0x20 || (unsigned char)s.p[i] >= 0x7f || s.p[i] == ':')
            return false;
    return s.n > 0 && s.n <= 76;
}

/* Both keys fill the same rule; a second one is a fault. */
static bool rule_set(struct schema_load *l, struct config_header_rule *rule, int action, struct span name,
                     const struct span *value)
{
    if (rule->name != NULL) {
        schema_fault(l, "give either add or remove; write two rules for both");
        return false;
    }
    rule->action = action;
    rule->name = strndup(name.p, name.n);
    rule->value = value != NULL ? strndup(value->p, value->n) : NULL;
    return true;
}

static bool add_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    const char *colon = s.n > 0 ? memchr(s.p, ':', s.n) : NULL;
    struct span name = span_of(s.p, colon != NULL ? (size_t)(colon - s.p) : 0);
    struct span value = colon != NULL ? span_sub(s, name.n + 1) : s;
    if (value.n > 0 && value.p[0] == ' ')
        value = span_sub(value, 1);
    if (colon == NULL || !field_name_valid(name)) {
        schema_fault(l, "expected a header field such as \"X-Relayed-By: example.com\", got \"%.*s\"",
                     s.n > 80 ? 80 : (int)s.n, s.p);
        return false;
    }
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if ((c < 0x20 && c != '\t') || c >= 0x7f) {
            schema_fault(l, "a header field is one line of printable ASCII");
            return false;
        }
    }
    if (s.n > 900) {
        schema_fault(l, "a header field has at most 900 characters");
        return false;
    }
    return rule_set(l, out, CONFIG_HEADER_ADD, name, &value);
}

static bool add_format(const struct schema_field *f, const void *in, struct buf *out)
{
    (void)f;
    const struct config_header_rule *r = in;
    if (r->name == NULL || r->action != CONFIG_HEADER_ADD)
        return false;
    buf_printf(out, "%s: %s", r->name, r->value);
    return true;
}

static bool remove_parse(struct schema_load *l, const struct schema_field *f, struct span s, void *out)
{
    (void)f;
    if (s.n > 0 && s.p[s.n - 1] == ':')
        s.n--;
    if (!field_name_valid(s)) {
        schema_fault(l, "expected the name of a header field such as X-Originating-IP, got \"%.*s\"",
                     s.n > 80 ? 80 : (int)s.n, s.p);
        return false;
    }
    if (span_eq_nocase(s, SPAN_LIT("Received")) || span_eq_nocase(s, SPAN_LIT("From"))) {
        schema_fault(l, "%.*s cannot be removed: %s", (int)s.n, s.p,
                     s.p[0] == 'F' || s.p[0] == 'f' ? "every message must have it" : "loops are found by it");
        return false;
    }
    return rule_set(l, out, CONFIG_HEADER_REMOVE, s, NULL);
}

static bool remove_format(const struct schema_field *f, const void *in, struct buf *out)
{
    (void)f;
    const struct config_header_rule *r = in;
    if (r->name == NULL || r->action != CONFIG_HEADER_REMOVE)
        return false;
    buf_put_str(out, r->name);
    return true;
}

static void rule_fini(void *value)
{
    struct config_header_rule *r = value;
    free(r->name);
    free(r->value);
}

/* One of the two frees. */
const struct schema_type type_header_add = { sizeof(struct config_header_rule), add_parse, add_format,
                                             rule_fini };
const struct schema_type type_header_remove = { sizeof(struct config_header_rule), remove_parse,
                                                remove_format, NULL };
