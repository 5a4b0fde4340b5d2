/* base/hash: it is SipHash-1-3, as OpenSSL computes it with the same key; letter case; seeding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>

/* The key before hash_seed: 00 01 .. 0f. */
static uint64_t reference(const unsigned char *p, size_t n)
{
    unsigned char key[16];
    for (unsigned char i = 0; i < 16; i++)
        key[i] = i;
    unsigned c = 1, d = 3;
    size_t size = 8;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
        OSSL_PARAM_construct_uint(OSSL_MAC_PARAM_C_ROUNDS, &c),
        OSSL_PARAM_construct_uint(OSSL_MAC_PARAM_D_ROUNDS, &d),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
    unsigned char out[8];
    size_t len;
    assert_int_equal(EVP_MAC_CTX_set_params(ctx, params), 1);
    assert_int_equal(EVP_MAC_init(ctx, key, sizeof key, NULL), 1);
    assert_int_equal(EVP_MAC_update(ctx, p, n), 1);
    assert_int_equal(EVP_MAC_final(ctx, out, &len, sizeof out), 1);
    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(mac);
    uint64_t v = 0;
    for (size_t i = 0; i < 8; i++)
        v |= (uint64_t)out[i] << (8 * i);
    return v;
}

static void test_is_siphash_1_3(void **state)
{
    (void)state;
    unsigned char in[300];
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (unsigned char)(i * 37 + 1);
    for (size_t n = 0; n <= sizeof in; n++)
        assert_true(hash_bytes(in, n) == reference(in, n));
}

static void test_letter_case(void **state)
{
    (void)state;
    assert_true(hash_nocase(span_str("Example.COM")) == hash_nocase(span_str("eXAMPLE.com")));
    assert_true(hash_nocase(span_str("example.com")) == hash_bytes("example.com", 11));
    assert_true(hash_bytes("A", 1) != hash_bytes("a", 1));
    assert_true(hash_nocase(span_str("[")) != hash_nocase(span_str("{"))); /* 0x20 apart, but no letters */
    assert_true(hash_nocase(span_str("@")) != hash_nocase(span_str("`")));
}

static void test_seed_changes_it(void **state)
{
    (void)state;
    uint64_t before = hash_u64(1);
    hash_seed();
    assert_true(hash_u64(1) != before);
    assert_true(hash_u64(1) == hash_u64(1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_siphash_1_3),
        cmocka_unit_test(test_letter_case),
        cmocka_unit_test(test_seed_changes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
