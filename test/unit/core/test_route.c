/* Which site a recipient belongs to, and how it is reached. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "fixture.h"
#include "node/core/route.h"

static const char *key_of(const struct config *c, const char *address)
{
    static struct route_key key;
    int err = route_site_key(c, span_str(address), &key);
    if (err != 0)
        return NULL;
    key.text[key.len] = '\0';
    return key.text;
}

static void test_key_is_the_domain(void **state)
{
    (void)state;
    struct config *c = fixture_config("");
    assert_string_equal(key_of(c, "joe@Example.ORG"), "example.org");
    assert_string_equal(key_of(c, "joe@example.org."), "example.org");
    assert_string_equal(key_of(c, "\"a@b\"@example.org"), "example.org");
    assert_string_equal(key_of(c, "joe@[192.0.2.1]"), "[192.0.2.1]");
    assert_string_equal(key_of(c, "joe@[IPv6:2001:db8::1]"), "[ipv6:2001:db8::1]");
    assert_string_equal(key_of(c, "joe@b\xc3\xbc"
                                  "cher.example"),
                        "xn--bcher-kva.example");
    assert_string_equal(key_of(c, "joe@B\xc3\x9c"
                                  "CHER.example"),
                        "xn--bcher-kva.example");
    config_rele(c);
}

static void test_key_needs_a_domain(void **state)
{
    (void)state;
    struct config *c = fixture_config("");
    char longest[300];
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "x@", 2);
    longest[299] = '\0';
    assert_null(key_of(c, ""));
    assert_null(key_of(c, "postmaster"));
    assert_null(key_of(c, "joe@"));
    assert_null(key_of(c, longest));
    assert_null(key_of(c, "joe@\xff\xfe.example"));
    config_rele(c);
}

static const char routes[] = "routes:\n"
                             "  - { domain: port.test, via: \":2525\" }\n"
                             "  - { domain: host.test, via: \"hub.test:587\" }\n"
                             "  - { domain: addr.test, via: \"192.0.2.5:26\" }\n"
                             "  - { domain: mx.test, via: \"mx:other.test\" }\n"
                             "  - { domain: \"*.below.test\", via: \"hub.test:587\" }\n";

static void test_route_names_the_site(void **state)
{
    (void)state;
    struct config *c = fixture_config(routes);
    assert_string_equal(key_of(c, "x@port.test"), "port.test:2525");
    assert_string_equal(key_of(c, "x@host.test"), "via:hub.test:587");
    assert_string_equal(key_of(c, "x@a.below.test"), "via:hub.test:587");
    assert_string_equal(key_of(c, "x@below.test"), "below.test");
    assert_string_equal(key_of(c, "x@addr.test"), "via:192.0.2.5:26");
    assert_string_equal(key_of(c, "x@mx.test"), "via:mx:other.test");
    assert_true(route_key_is_hop(SPAN_LIT("via:hub.test:587")));
    assert_false(route_key_is_hop(SPAN_LIT("viable.test")));
    config_rele(c);
}

static const char *pool_key_of(const struct config *c, const char *pool, const char *address)
{
    static struct route_key key;
    if (route_pool_key(c, span_str(pool), span_str(address), &key) != 0)
        return NULL;
    key.text[key.len] = '\0';
    return key.text;
}

static void assert_parts(const char *key, const char *pool, const char *site)
{
    assert_true(span_eq(route_key_pool(span_str(key)), span_str(pool)));
    assert_true(span_eq(route_key_site(span_str(key)), span_str(site)));
}

static void test_pool_in_front(void **state)
{
    (void)state;
    struct config *c = fixture_config(routes);
    struct route_hop hop;
    assert_string_equal(pool_key_of(c, "", "x@Plain.test"), "plain.test");
    assert_string_equal(pool_key_of(c, "news", "x@Plain.test"), "news/plain.test");
    assert_string_equal(pool_key_of(c, "a/b", "x@host.test"), "a/b/via:hub.test:587");
    assert_string_equal(pool_key_of(c, "via:x", "x@[192.0.2.1]"), "via:x/[192.0.2.1]");
    assert_parts("plain.test", "", "plain.test");
    assert_parts("news/plain.test", "news", "plain.test");
    assert_parts("a/b/via:hub.test:587", "a/b", "via:hub.test:587");
    assert_parts("", "", "");
    assert_true(route_key_is_hop(SPAN_LIT("a/b/via:hub.test:587")));
    assert_false(route_key_is_hop(SPAN_LIT("via:x/plain.test")));
    assert_int_equal(route_hop_find(c, SPAN_LIT("news/port.test:2525"), &hop), 0);
    assert_true(span_eq(hop.domain, SPAN_LIT("port.test")));
    assert_int_equal(hop.port, 2525);
    assert_int_equal(route_hop_find(c, SPAN_LIT("news/via:hub.test:587"), &hop), 0);
    assert_true(span_eq(hop.domain, SPAN_LIT("hub.test")));
    assert_true(route_key_current(c, SPAN_LIT("news/port.test:2525")));
    assert_false(route_key_current(c, SPAN_LIT("news/port.test:26")));
    config_rele(c);
}

/* What a message asks of TLS gives it a site of its own, which is reached as the other one is. */
static void test_tls_behind(void **state)
{
    (void)state;
    struct config *c = fixture_config(routes);
    struct route_hop hop;
    struct route_key key;
    assert_int_equal(route_pool_key(c, SPAN_LIT("a+requiretls"), SPAN_LIT("x@port.test"), &key), 0);
    assert_int_equal(route_key_tls(span_of(key.text, key.len)), ROUTE_TLS_USUAL);
    assert_int_equal(route_key_put_tls(&key, ROUTE_TLS_REQUIRED), 0);
    struct span k = span_of(key.text, key.len);
    assert_true(span_eq(k, SPAN_LIT("a+requiretls/port.test:2525+requiretls")));
    assert_int_equal(route_key_tls(k), ROUTE_TLS_REQUIRED);
    assert_true(span_eq(route_key_pool(k), SPAN_LIT("a+requiretls")));
    assert_true(span_eq(route_key_site(k), SPAN_LIT("port.test:2525")));
    assert_true(route_key_current(c, k));
    assert_int_equal(route_hop_find(c, k, &hop), 0);
    assert_true(span_eq(hop.domain, SPAN_LIT("port.test")));
    assert_int_equal(hop.port, 2525);
    k = SPAN_LIT("via:hub.test:587+tls-optional");
    assert_int_equal(route_key_tls(k), ROUTE_TLS_OPTIONAL);
    assert_true(route_key_is_hop(k));
    assert_int_equal(route_hop_find(c, k, &hop), 0);
    assert_true(span_eq(hop.domain, SPAN_LIT("hub.test")));
    assert_int_equal(route_key_tls(SPAN_LIT("+requiretls")), ROUTE_TLS_USUAL);
    assert_int_equal(route_key_tls(SPAN_LIT("")), ROUTE_TLS_USUAL);
    assert_null(key_of(c, "x@plain.test+requiretls")); /* a recipient cannot choose */
    key.len = ROUTE_KEY_MAX - 5;
    assert_int_equal(route_key_put_tls(&key, ROUTE_TLS_OPTIONAL), ERR_BAD);
    config_rele(c);
}

/* A recipient cannot choose a pool: what would look like one is no domain. */
static void test_no_slash_in_a_domain(void **state)
{
    (void)state;
    struct config *c = fixture_config(routes);
    assert_null(key_of(c, "x@news/plain.test"));
    assert_null(pool_key_of(c, "news", "x@other/plain.test"));
    assert_null(key_of(c, "x@[a/b]"));
    config_rele(c);
}

static void test_longest_pool(void **state)
{
    (void)state;
    struct config *c = fixture_config("");
    char pool[ROUTE_KEY_MAX + 1];
    memset(pool, 'p', sizeof pool);
    pool[320] = '\0';
    const char *key = pool_key_of(c, pool, "x@plain.test");
    assert_non_null(key);
    assert_int_equal(strlen(key), 320 + 1 + 10);
    pool[320] = 'p';
    pool[ROUTE_KEY_MAX] = '\0';
    assert_null(pool_key_of(c, pool, "x@plain.test"));
    config_rele(c);
}

static void test_hop_of_a_key(void **state)
{
    (void)state;
    struct config *c = fixture_config(routes);
    struct route_hop hop;
    assert_int_equal(route_hop_find(c, SPAN_LIT("plain.test"), &hop), 0);
    assert_null(hop.route);
    assert_int_equal(hop.port, 25);
    assert_true(span_eq(hop.domain, SPAN_LIT("plain.test")));
    assert_int_equal(route_hop_find(c, SPAN_LIT("port.test:2525"), &hop), 0);
    assert_int_equal(hop.port, 2525);
    assert_true(span_eq(hop.domain, SPAN_LIT("port.test")));
    assert_int_equal(route_hop_find(c, SPAN_LIT("via:hub.test:587"), &hop), 0);
    assert_int_equal(hop.port, 587);
    assert_int_equal(hop.route->hop.kind, CONFIG_HOP_HOST);
    assert_true(span_eq(hop.domain, SPAN_LIT("hub.test")));
    assert_int_equal(route_hop_find(c, SPAN_LIT("[ipv6:2001:db8::1]"), &hop), 0);
    assert_true(span_eq(hop.domain, SPAN_LIT("[ipv6:2001:db8::1]")));
    assert_int_equal(hop.port, 25);
    assert_int_equal(route_hop_find(c, SPAN_LIT("via:gone.test:25"), &hop), ERR_NOT_FOUND);
    config_rele(c);
}

static void test_keys_grow_old_with_their_routes(void **state)
{
    (void)state;
    struct config *c = fixture_config(routes);
    assert_true(route_key_current(c, SPAN_LIT("plain.test")));
    assert_true(route_key_current(c, SPAN_LIT("port.test:2525")));
    assert_true(route_key_current(c, SPAN_LIT("[ipv6:2001:db8::1]")));
    assert_true(route_key_current(c, SPAN_LIT(ROUTE_UNROUTABLE)));
    assert_false(route_key_current(c, SPAN_LIT("port.test")));
    assert_false(route_key_current(c, SPAN_LIT("port.test:26")));
    assert_false(route_key_current(c, SPAN_LIT("plain.test:2525")));
    assert_false(route_key_current(c, SPAN_LIT("host.test")));
    config_rele(c);
    /* with a route for everything even what has no domain stays where it bounces */
    c = fixture_config("routes:\n  - { domain: \"*\", via: \"hub.test:25\" }\n");
    assert_true(route_key_current(c, SPAN_LIT(ROUTE_UNROUTABLE)));
    assert_false(route_key_current(c, SPAN_LIT("plain.test")));
    config_rele(c);
}

static void test_same_routes(void **state)
{
    (void)state;
    struct config *a = fixture_config(routes), *b = fixture_config(routes), *none = fixture_config("");
    struct config *port = fixture_config("routes:\n  - { domain: port.test, via: \":2526\" }\n");
    struct config *other = fixture_config("routes:\n  - { domain: port.test, via: \":2525\" }\n");
    assert_true(route_same(a, b));
    assert_false(route_same(a, none));
    assert_false(route_same(port, other));
    assert_true(route_same(none, none));
    config_rele(a);
    config_rele(b);
    config_rele(none);
    config_rele(port);
    config_rele(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_is_the_domain),    cmocka_unit_test(test_key_needs_a_domain),
        cmocka_unit_test(test_route_names_the_site), cmocka_unit_test(test_pool_in_front), cmocka_unit_test(test_tls_behind),
        cmocka_unit_test(test_no_slash_in_a_domain), cmocka_unit_test(test_longest_pool),
        cmocka_unit_test(test_hop_of_a_key),         cmocka_unit_test(test_keys_grow_old_with_their_routes),
        cmocka_unit_test(test_same_routes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
