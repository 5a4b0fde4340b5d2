/* base/peer: the name that a node's certificate carries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/peer.h"

static void test_round_trip(void **state)
{
    (void)state;
    static const struct peer peers[] = {
        { { 0x8f, 0x14, 0xe4 }, 1, 3 },
        { { [15] = 0xff }, UINT32_MAX, UINT64_MAX },
    };
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++) {
        char uri[PEER_URI_MAX];
        struct peer back;
        peer_uri_format(&peers[i], uri);
        assert_int_equal(peer_uri_parse(span_str(uri), &back), 0);
        assert_memory_equal(back.cluster, peers[i].cluster, 16);
        assert_int_equal(back.epoch, peers[i].epoch);
        assert_true(back.node == peers[i].node);
    }
}

static void test_anything_else(void **state)
{
    (void)state;
#define ID "8f14e45fceea167a5a36dedd4bea2543"
    static const char *const bad[] = {
        "",
        "turnpike:",
        "turnpike:" ID,
        "turnpike:" ID "/",
        "turnpike:" ID "/1",
        "turnpike:" ID "/1/",
        "turnpike:" ID "//3",
        "turnpike:" ID "/0/3",
        "turnpike:" ID "/1/0",
        "turnpike:" ID "/01/3",
        "turnpike:" ID "/1/03",
        "turnpike:" ID "/1/3/",
        "turnpike:" ID "/1/3 ",
        "turnpike:" ID "/1/-3",
        "turnpike:" ID "/1/+3",
        "turnpike:" ID "/4294967296/3",
        "turnpike:" ID "/1/18446744073709551616",
        "turnpike:8F14E45FCEEA167A5A36DEDD4BEA2543/1/3",
        "turnpike:8f14e45fceea167a5a36dedd4bea254/1/3",
        "turnpike:8f14e45fceea167a5a36dedd4bea25431/1/3",
        "Turnpike:" ID "/1/3",
        "spiffe:" ID "/1/3",
    };
    struct peer p;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(peer_uri_parse(span_str(bad[i]), &p), ERR_BAD);
    static const char nul[] = "turnpike:" ID "/1/3\0";
    assert_int_equal(peer_uri_parse(span_of(nul, sizeof nul - 1), &p), ERR_BAD);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_anything_else),
    };
    return cmocka_run_group_tests_name("base_peer", tests, NULL, NULL);
}
