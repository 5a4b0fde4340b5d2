/* Sessions by client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/core/clients.h"

static struct ip_addr addr(const char *text)
{
    struct ip_addr a;
    assert_int_equal(ip_addr_parse(span_str(text), &a), 0);
    return a;
}

static void test_limit_is_by_address(void **state)
{
    (void)state;
    struct clients *c = clients_new();
    struct ip_addr one = addr("192.0.2.1"), two = addr("192.0.2.2");
    assert_true(clients_enter(c, &one, 2));
    assert_true(clients_enter(c, &one, 2));
    assert_false(clients_enter(c, &one, 2));
    assert_true(clients_enter(c, &two, 2));
    clients_leave(c, &one);
    assert_true(clients_enter(c, &one, 2));
    clients_leave(c, &one);
    clients_leave(c, &one);
    clients_leave(c, &two);
    clients_free(c);
}

static void test_ipv6_counts_by_64(void **state)
{
    (void)state;
    struct clients *c = clients_new();
    struct ip_addr one = addr("2001:db8::1"), same = addr("2001:db8::ffff:1"),
                   other = addr("2001:db8:0:1::1");
    assert_true(clients_enter(c, &one, 1));
    assert_false(clients_enter(c, &same, 1));
    assert_true(clients_enter(c, &other, 1));
    clients_leave(c, &same); /* whichever of its addresses it was */
    assert_true(clients_enter(c, &same, 1));
    clients_leave(c, &one);
    clients_leave(c, &other);
    clients_free(c);
}

static void test_no_limit(void **state)
{
    (void)state;
    struct clients *c = clients_new();
    struct ip_addr one = addr("192.0.2.1");
    for (int i = 0; i < 1000; i++)
        assert_true(clients_enter(c, &one, 0));
    for (int i = 0; i < 1000; i++)
        clients_leave(c, &one);
    assert_true(clients_enter(c, &one, 1)); /* the entry went, and another began */
    clients_free(c);                        /* frees what is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limit_is_by_address),
        cmocka_unit_test(test_ipv6_counts_by_64),
        cmocka_unit_test(test_no_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
