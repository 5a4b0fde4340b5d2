/* Certificates for tests. */
#include "certs.h"

#include "base/ensure.h"

#include <dirent.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];
static EVP_PKEY *ca_key;
static X509 *ca_cert;
static long serial = 1;

const char *certs_dir(void)
{
    if (dir[0] == '\0') {
        snprintf(dir, sizeof dir, "/tmp/net-certs-XXXXXX");
        ensure(mkdtemp(dir) != NULL);
    }
    return dir;
}

const char *certs_path(const char *name)
{
    static char paths[64][128];
    static unsigned at;
    char *p = paths[at++ % 64];
    int n = snprintf(p, sizeof paths[0], "%s/%s", certs_dir(), name);
    ensure(n > 0 && (size_t)n < sizeof paths[0]);
    return p;
}

static X509 *sign(EVP_PKEY *key, const char *cn, const char *san, int days, bool ca)
{
    X509 *x = X509_new();
    ensure(x != NULL);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    X509_gmtime_adj(X509_getm_notBefore(x), -10L * 86400);
    X509_gmtime_adj(X509_getm_notAfter(x), days * 86400L);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)cn, -1,
                               -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(ca_cert == NULL ? x : ca_cert));
    X509_set_pubkey(x, key);
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, ca_cert == NULL ? x : ca_cert, x, NULL, NULL, 0);
    const char *constraints = ca ? "critical,CA:TRUE" : "CA:FALSE";
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, NID_basic_constraints, constraints);
    ensure(e != NULL && X509_add_ext(x, e, -1) == 1);
    X509_EXTENSION_free(e);
    if (san != NULL) {
        e = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, san);
        ensure(e != NULL && X509_add_ext(x, e, -1) == 1);
        X509_EXTENSION_free(e);
    }
    ensure(X509_sign(x, ca_key == NULL ? key : ca_key, EVP_sha256()) > 0);
    return x;
}

static void write_pem(const char *name, X509 *cert, EVP_PKEY *key, const char *passphrase)
{
    FILE *f = fopen(certs_path(name), "w");
    ensure(f != NULL);
    if (cert != NULL)
        ensure(PEM_write_X509(f, cert) == 1);
    if (key != NULL)
        ensure(PEM_write_PrivateKey(f, key, passphrase == NULL ? NULL : EVP_aes_256_cbc(),
                                    (const unsigned char *)passphrase,
                                    passphrase == NULL ? 0 : (int)strlen(passphrase), NULL, NULL) == 1);
    ensure(fclose(f) == 0);
}

static EVP_PKEY *new_key(int kind)
{
    EVP_PKEY *key = kind == CERTS_EC ? EVP_EC_gen("P-256") : EVP_RSA_gen(2048);
    ensure(key != NULL);
    return key;
}

const char *certs_ca(void)
{
    if (ca_cert == NULL) {
        EVP_PKEY *key = new_key(CERTS_EC);
        X509 *cert = sign(key, "test CA", NULL, 100, true);
        ca_key = key;
        ca_cert = cert;
        write_pem("ca.pem", cert, NULL, NULL);
    }
    return certs_path("ca.pem");
}

void certs_make(const char *name, int kind, const char *dns_names, int days)
{
    certs_ca();
    char san[512] = "";
    char copy[256];
    snprintf(copy, sizeof copy, "%s", dns_names);
    char *save = NULL;
    for (char *n = strtok_r(copy, ",", &save); n != NULL; n = strtok_r(NULL, ",", &save)) {
        size_t len = strlen(san);
        snprintf(san + len, sizeof san - len, "%sDNS:%s", len == 0 ? "" : ",", n);
    }
    EVP_PKEY *key = new_key(kind);
    X509 *cert = sign(key, name, san, days, false);
    char file[80];
    ensure(snprintf(file, sizeof file, "%s.pem", name) < (int)sizeof file);
    write_pem(file, cert, NULL, NULL);
    ensure(snprintf(file, sizeof file, "%s.key", name) < (int)sizeof file);
    write_pem(file, NULL, key, NULL);
    X509_free(cert);
    EVP_PKEY_free(key);
}

void certs_make_locked(const char *name)
{
    EVP_PKEY *key = new_key(CERTS_EC);
    write_pem(name, NULL, key, "secret");
    EVP_PKEY_free(key);
}

void certs_write(const char *name, const char *text)
{
    FILE *f = fopen(certs_path(name), "w");
    ensure(f != NULL);
    fputs(text, f);
    ensure(fclose(f) == 0);
}

void certs_clean(void)
{
    X509_free(ca_cert);
    EVP_PKEY_free(ca_key);
    ca_cert = NULL;
    ca_key = NULL;
    if (dir[0] == '\0')
        return;
    DIR *d = opendir(dir);
    ensure(d != NULL);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] != '.')
            unlink(certs_path(e->d_name));
    }
    closedir(d);
    rmdir(dir);
    dir[0] = '\0';
}
