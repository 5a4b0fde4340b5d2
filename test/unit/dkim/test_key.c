/* Keys and their DNS records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base64.h"
#include "base/err.h"
#include "node/dkim/base64.h"
#include "node/dkim/record.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>

static struct dkim_key *made(enum dkim_algorithm algorithm, uint32_t bits)
{
    struct dkim_key *k;
    assert_int_equal(dkim_key_generate(algorithm, bits, &k), 0);
    return k;
}

static struct dkim_record_info checked(const char *record, const struct dkim_key *k)
{
    struct dkim_record_info info;
    assert_int_equal(dkim_record_check(span_str(record), k, &info), 0);
    return info;
}

static void record_of(const struct dkim_key *k, char out[2048])
{
    struct buf b;
    buf_init(&b, 2047);
    assert_int_equal(dkim_record_put(k, &b), 0);
    memcpy(out, b.data, b.len);
    out[b.len] = '\0';
    buf_fini(&b);
}

static void test_pem_and_back(void **state)
{
    (void)state;
    for (int a = 0; a < DKIM_ALGORITHMS; a++) {
        struct dkim_key *k = made((enum dkim_algorithm)a, 2048), *again;
        char why[DKIM_WHY_MAX], record[2048];
        struct buf pem;
        buf_init(&pem, DKIM_KEY_FILE_MAX);
        assert_int_equal(dkim_key_put_pem(k, &pem), 0);
        assert_int_equal(dkim_key_parse(buf_span(&pem), &again, why), 0);
        assert_int_equal(dkim_key_algorithm(again), a);
        assert_int_equal(dkim_key_bits(again), a == DKIM_RSA ? 2048 : 256);
        record_of(k, record);
        struct dkim_record_info info = checked(record, again);
        assert_int_equal(info.state, DKIM_RECORD_GOOD);
        assert_int_equal(info.bits, dkim_key_bits(k));
        assert_false(info.testing);
        buf_fini(&pem);
        dkim_key_rele(again);
        dkim_key_rele(k);
    }
}

static void check_unfit(EVP_PKEY *pkey, const char *passphrase, const char *want)
{
    struct dkim_key *k;
    char why[DKIM_WHY_MAX], *p;
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(bio, pkey, passphrase == NULL ? NULL : EVP_aes_128_cbc(), NULL,
                                              0, NULL, (void *)(uintptr_t)passphrase),
                     1);
    long n = BIO_get_mem_data(bio, &p);
    assert_int_equal(dkim_key_parse(span_of(p, (size_t)n), &k, why), ERR_BAD);
    assert_non_null(strstr(why, want));
    BIO_free(bio);
    EVP_PKEY_free(pkey);
}

static void test_unfit_keys(void **state)
{
    (void)state;
    struct dkim_key *k;
    char why[DKIM_WHY_MAX];
    check_unfit(EVP_RSA_gen(768), NULL, "768 bits");
    check_unfit(EVP_EC_gen("P-256"), NULL, "neither an RSA nor an Ed25519 key");
    check_unfit(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), "secret", "passphrase");
    assert_int_equal(dkim_key_parse(SPAN_LIT("-----BEGIN PUBLIC KEY-----\nAAAA\n"), &k, why), ERR_BAD);
    assert_non_null(strstr(why, "no private key"));
    assert_int_equal(dkim_key_parse(SPAN_LIT(""), &k, why), ERR_BAD);
}

static void test_records(void **state)
{
    (void)state;
    struct dkim_key *k = made(DKIM_ED25519, 0), *other = made(DKIM_ED25519, 0), *rsa = made(DKIM_RSA, 1024);
    static const char p25519[] = "p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    char record[2048], text[4096];
    record_of(k, record);
    assert_int_equal(checked(record, k).state, DKIM_RECORD_GOOD);
    assert_int_equal(checked(record, NULL).state, DKIM_RECORD_GOOD);
    assert_int_equal(checked(record, other).state, DKIM_RECORD_DIFFERS);
    assert_int_equal(checked(record, rsa).state, DKIM_RECORD_DIFFERS);
    assert_non_null(strstr(checked(record, rsa).why, "algorithm"));
    snprintf(text, sizeof text, "%s; t=y:s; n=a note", record);
    assert_true(checked(text, k).testing);
    assert_int_equal(checked("v=DKIM1; p=", k).state, DKIM_RECORD_REVOKED);
    static const char *const bad[] = { "",
                                       "v=spf1 -all",
                                       "v=DKIM1; k=rsa",
                                       "v=DKIM2; k=ed25519; %s",
                                       "%s",
                                       "k=ed25519; v=DKIM1; %s",
                                       "k=ec; %s",
                                       "k=ed25519; h=sha1; %s",
                                       "k=ed25519; s=tlsrpt; %s",
                                       "k=ed25519; p=AAAA",
                                       "k=ed25519; p=!",
                                       "k=rsa; p=AAAA" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *at = strstr(bad[i], "%s");
        snprintf(text, sizeof text, "%.*s%s", at == NULL ? (int)strlen(bad[i]) : (int)(at - bad[i]), bad[i],
                 at == NULL ? "" : p25519);
        struct dkim_record_info info = checked(text, NULL);
        assert_int_equal(info.state, DKIM_RECORD_BROKEN);
        assert_true(info.why[0] != '\0');
    }
    snprintf(text, sizeof text, "k=ed25519; h=sha1:sha256; s=*; %s", p25519);
    assert_int_equal(checked(text, NULL).state, DKIM_RECORD_GOOD);
    dkim_key_rele(k);
    dkim_key_rele(other);
    dkim_key_rele(rsa);
}

/* RSA's two forms; blanks within; a key that verifiers take for too short. */
static void test_rsa_records(void **state)
{
    (void)state;
    struct dkim_key *k = made(DKIM_RSA, 1024);
    struct buf raw, text;
    buf_init(&raw, 4096);
    buf_init(&text, 4096);
    assert_int_equal(dkim_key_put_public_pkcs1(k, &raw), 0);
    buf_put_str(&text, "v=DKIM1; p=");
    assert_int_equal(base64_put(&text, raw.data, raw.len), 0);
    buf_put_char(&text, '\0');
    assert_int_equal(checked(text.data, k).state, DKIM_RECORD_GOOD);
    assert_int_equal(checked(text.data, k).bits, 1024);
    text.data[30] = ' ';
    assert_int_not_equal(checked(text.data, k).state, DKIM_RECORD_GOOD);

    EVP_PKEY *weak = EVP_RSA_gen(512);
    unsigned char *der = NULL;
    int n = i2d_PUBKEY(weak, &der);
    buf_reset(&text);
    buf_put_str(&text, "v=DKIM1; k=rsa; p=");
    assert_int_equal(base64_put(&text, der, (size_t)n), 0);
    buf_put_char(&text, '\0');
    assert_int_equal(checked(text.data, NULL).state, DKIM_RECORD_TOO_SHORT);
    assert_int_equal(checked(text.data, k).state, DKIM_RECORD_DIFFERS);
    OPENSSL_free(der);
    EVP_PKEY_free(weak);
    buf_fini(&raw);
    buf_fini(&text);
    dkim_key_rele(k);
}

static void test_zone_strings(void **state)
{
    (void)state;
    char long_one[600];
    struct buf out;
    memset(long_one, 'x', sizeof long_one);
    buf_init(&out, 4096);
    assert_int_equal(dkim_record_put_zone(span_of(long_one, sizeof long_one), &out), 0);
    assert_int_equal(out.len, 600 + 3 * 2 + 2);
    assert_memory_equal(out.data + 256, "\" \"", 3);
    assert_memory_equal(out.data + 514, "\" \"", 3);
    buf_reset(&out);
    assert_int_equal(dkim_record_put_zone(SPAN_LIT("v=DKIM1"), &out), 0);
    assert_true(span_eq(buf_span(&out), SPAN_LIT("\"v=DKIM1\"")));
    buf_fini(&out);
}

static void test_base64(void **state)
{
    (void)state;
    struct buf raw, text, again;
    buf_init(&raw, 256);
    buf_init(&text, 1024);
    buf_init(&again, 256);
    for (int n = 0; n < 100; n++) {
        buf_reset(&text);
        buf_reset(&again);
        assert_int_equal(base64_put(&text, raw.data, raw.len), 0);
        assert_int_equal(dkim_base64_get(buf_span(&text), &again), 0);
        assert_true(span_eq(buf_span(&again), buf_span(&raw)));
        buf_put_u8(&raw, (uint8_t)(n * 37 + 11));
    }
    assert_int_equal(dkim_base64_get(SPAN_LIT("AAAAA"), &again), ERR_BAD);
    assert_int_equal(dkim_base64_get(SPAN_LIT("AA=A"), &again), ERR_BAD);
    assert_int_equal(dkim_base64_get(SPAN_LIT("A\0AA"), &again), ERR_BAD);
    buf_fini(&raw);
    buf_fini(&text);
    buf_fini(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pem_and_back), cmocka_unit_test(test_unfit_keys),
        cmocka_unit_test(test_records),      cmocka_unit_test(test_rsa_records),
        cmocka_unit_test(test_zone_strings), cmocka_unit_test(test_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
