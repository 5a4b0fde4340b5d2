/* Which TLSA records are usable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/tlspolicy/tlsa.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

static unsigned char *spki;
static int spki_len;

/* usage, selector and matching type, then data. */
static struct span rdata(char *room, int usage, int selector, int matching, const void *data, size_t n)
{
    room[0] = (char)usage;
    room[1] = (char)selector;
    room[2] = (char)matching;
    memcpy(room + 3, data, n);
    return span_of(room, n + 3);
}

static void test_single(void **state)
{
    (void)state;
    static const char zeros[100];
    const struct {
        int usage, selector, matching;
        const void *data;
        size_t n;
        enum tlsa_status expected;
    } cases[] = {
        { 3, 1, 1, zeros, 32, TLSA_USABLE },
        { 3, 0, 1, zeros, 32, TLSA_USABLE },
        { 2, 0, 1, zeros, 32, TLSA_USABLE },
        { 2, 1, 2, zeros, 64, TLSA_USABLE },
        { 3, 1, 0, spki, (size_t)spki_len, TLSA_USABLE },
        { 0, 1, 1, zeros, 32, TLSA_UNUSABLE }, /* RFC 7672 section 3.1.3 */
        { 1, 1, 1, zeros, 32, TLSA_UNUSABLE },
        { 4, 1, 1, zeros, 32, TLSA_UNUSABLE },
        { 255, 1, 1, zeros, 32, TLSA_UNUSABLE },
        { 3, 2, 1, zeros, 32, TLSA_UNUSABLE },
        { 3, 1, 3, zeros, 32, TLSA_UNUSABLE },
        { 3, 1, 1, zeros, 31, TLSA_UNUSABLE },
        { 3, 1, 1, zeros, 33, TLSA_UNUSABLE },
        { 3, 1, 1, zeros, 0, TLSA_UNUSABLE },
        { 3, 1, 2, zeros, 32, TLSA_UNUSABLE },
        { 3, 1, 0, zeros, 100, TLSA_UNUSABLE },
        { 3, 0, 0, spki, (size_t)spki_len, TLSA_UNUSABLE }, /* a key is no certificate */
        { 3, 1, 0, spki, (size_t)spki_len - 1, TLSA_UNUSABLE },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char room[1024];
        struct span r =
            rdata(room, cases[i].usage, cases[i].selector, cases[i].matching, cases[i].data, cases[i].n);
        struct tlsa_set *set = NULL;
        print_message("case %zu\n", i);
        assert_int_equal(tlsa_select(&r, 1, &set), cases[i].expected);
        assert_int_equal(set != NULL, cases[i].expected == TLSA_USABLE);
        free(set);
    }
}

/* The set has its own memory, keeps order, leaves the unusable out, and no more than so many in. */
static void test_several(void **state)
{
    (void)state;
    char rooms[40][40];
    struct span r[40] = { 0 };
    struct tlsa_set *set = NULL;
    assert_int_equal(tlsa_select(r, 0, &set), TLSA_NONE);
    assert_null(set);
    for (int i = 0; i < 40; i++) {
        char digest[32];
        memset(digest, i, sizeof digest);
        r[i] = rdata(rooms[i], i % 2 == 0 ? 3 : 1, 1, 1, digest, sizeof digest);
    }
    assert_int_equal(tlsa_select(r, 3, &set), TLSA_USABLE);
    assert_int_equal(set->n, 2);
    memset(rooms, 0xff, sizeof rooms);
    assert_int_equal(set->records[1].data.n, 32);
    assert_int_equal(set->records[1].data.p[31], 2);
    assert_int_equal(set->records[1].usage, 3);
    free(set);
    for (int i = 0; i < 40; i++)
        r[i] = rdata(rooms[i], 3, 1, 1, rooms[0] + 3, 32);
    assert_int_equal(tlsa_select(r, 40, &set), TLSA_USABLE);
    assert_int_equal(set->n, TLSA_RECORDS_MAX);
    free(set);
    r[0].n = 3;
    r[1].n = 0;
    assert_int_equal(tlsa_select(r, 2, &set), TLSA_UNUSABLE);
}

static int setup(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_non_null(key);
    spki_len = i2d_PUBKEY(key, &spki);
    EVP_PKEY_free(key);
    return spki_len > 0 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    OPENSSL_free(spki);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_single), cmocka_unit_test(test_several) };
    return cmocka_run_group_tests(tests, setup, teardown);
}
