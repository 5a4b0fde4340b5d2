/* The admin API's certificate: read, found wrong, and replaced while handshakes go on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "node/admin/tls.h"

#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static char dir[64];

static const char *path(const char *name, char out[128])
{
    snprintf(out, 128, "%s/%s", dir, name);
    return out;
}

static void put(const char *name, const gnutls_datum_t *text)
{
    char at[128];
    FILE *f = fopen(path(name, at), "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text->data, 1, text->size, f), text->size);
    fclose(f);
}

/* NAME.pem and NAME.key */
static void make(const char *name, unsigned char serial)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t crt;
    gnutls_datum_t text;
    char file[32];
    time_t now = time(NULL);
    assert_int_equal(gnutls_x509_privkey_init(&key), 0);
    assert_int_equal(gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA,
                                                  GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
                     0);
    assert_int_equal(gnutls_x509_crt_init(&crt), 0);
    assert_int_equal(gnutls_x509_crt_set_version(crt, 3), 0);
    assert_int_equal(gnutls_x509_crt_set_serial(crt, &serial, 1), 0);
    assert_int_equal(gnutls_x509_crt_set_activation_time(crt, now - 60), 0);
    assert_int_equal(gnutls_x509_crt_set_expiration_time(crt, now + 86400), 0);
    assert_int_equal(gnutls_x509_crt_set_dn(crt, "CN=test", NULL), 0);
    assert_int_equal(gnutls_x509_crt_set_key(crt, key), 0);
    assert_int_equal(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0), 0);
    assert_int_equal(gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &text), 0);
    snprintf(file, sizeof file, "%s.pem", name);
    put(file, &text);
    gnutls_free(text.data);
    assert_int_equal(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &text), 0);
    snprintf(file, sizeof file, "%s.key", name);
    put(file, &text);
    gnutls_free(text.data);
    gnutls_x509_crt_deinit(crt);
    gnutls_x509_privkey_deinit(key);
}

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/admin-tls-XXXXXX");
    assert_non_null(mkdtemp(dir));
    make("a", 1);
    make("b", 2);
    put("none.pem", &(gnutls_datum_t){ (unsigned char *)(uintptr_t) "nothing\n", 8 });
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = { "a.pem", "a.key", "b.pem", "b.key", "none.pem" };
    char at[128];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlink(path(names[i], at));
    rmdir(dir);
    return 0;
}

/* What a handshake would get. */
static gnutls_pcert_st *shown(void)
{
    gnutls_pcert_st *chain = NULL;
    gnutls_privkey_t key = NULL;
    unsigned n = 0;
    assert_int_equal(tls_certificate(NULL, NULL, 0, NULL, 0, &chain, &n, &key), 0);
    assert_int_equal(n, 1);
    assert_non_null(key);
    return chain;
}

static void test_wrong_files(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        { "a.pem", "b.key" },    { "none.pem", "a.key" }, { "a.pem", "none.pem" },
        { "gone.pem", "a.key" }, { "a.pem", "gone.key" }, { "a.key", "a.key" },
    };
    char pem[128], key[128];
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct admin_error e = { "" };
        struct tls *t = NULL;
        assert_int_equal(tls_new(path(wrong[i][0], pem), path(wrong[i][1], key), &t, &e), ERR_BAD);
        assert_null(t);
        assert_true(e.text[0] == '/');
    }
    gnutls_pcert_st *chain;
    gnutls_privkey_t k;
    unsigned n;
    assert_int_equal(tls_certificate(NULL, NULL, 0, NULL, 0, &chain, &n, &k), -1);
}

static void test_replaced(void **state)
{
    (void)state;
    char pem[2][128], key[2][128];
    struct admin_error e;
    struct tls *t;
    for (int i = 0; i < 2; i++) {
        path(i == 0 ? "a.pem" : "b.pem", pem[i]);
        path(i == 0 ? "a.key" : "b.key", key[i]);
    }
    assert_int_equal(tls_new(pem[0], key[0], &t, &e), 0);
    gnutls_pcert_st *first = shown();
    gnutls_datum_t was = first->cert;
    assert_int_equal(tls_reload(t, pem[0], key[1], &e), ERR_BAD); /* changes nothing */
    assert_ptr_equal(shown(), first);
    assert_int_equal(tls_reload(t, pem[1], key[1], &e), 0);
    assert_ptr_not_equal(shown(), first);
    /* a handshake that has the former one can go on with it */
    assert_memory_equal(first->cert.data, was.data, was.size);
    for (int i = 0; i < 30; i++)
        assert_int_equal(tls_reload(t, pem[i % 2], key[i % 2], &e), 0);
    (void)shown();
    tls_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_wrong_files), cmocka_unit_test(test_replaced) };
    return cmocka_run_group_tests(tests, setup, teardown);
}
