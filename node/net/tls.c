/* What is common to both sides of TLS: OpenSSL's errors as one line, and what a handshake agreed on. Any
 * thread. */
#include "node/net/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509err.h>
#include <stdio.h>
#include <string.h>

/* OpenSSL's words for what operators meet most, made plain. */
static const struct {
    int lib, reason;
    const char *text;
} plain_words[] = {
    { ERR_LIB_X509, X509_R_KEY_VALUES_MISMATCH, "key does not match certificate" },
    { ERR_LIB_X509, X509_R_KEY_TYPE_MISMATCH, "key does not match certificate" },
    { ERR_LIB_PEM, PEM_R_NO_START_LINE, "nothing in PEM form that could be used here" },
    { ERR_LIB_OSSL_DECODER, ERR_R_UNSUPPORTED, "nothing in PEM form that could be used here" },
    { ERR_LIB_PEM, PEM_R_BAD_PASSWORD_READ, "key is encrypted: remove its passphrase" },
    { ERR_LIB_PEM, PEM_R_BAD_DECRYPT, "key is encrypted: remove its passphrase" },
    { ERR_LIB_SSL, SSL_R_NO_CERTIFICATES_RETURNED, "no certificate in it" },
    { ERR_LIB_SSL, SSL_R_EE_KEY_TOO_SMALL, "certificate's key is too small" },
    { ERR_LIB_SSL, SSL_R_CA_KEY_TOO_SMALL, "a CA's key in the chain is too small" },
    { ERR_LIB_SSL, SSL_R_CA_MD_TOO_WEAK, "a signature in the chain is too weak" },
    { ERR_LIB_SSL, SSL_R_NO_CIPHER_MATCH, "no cipher is left by this list" },
    { ERR_LIB_SSL, SSL_R_WRONG_VERSION_NUMBER, "peer does not speak TLS" },
    { ERR_LIB_SSL, SSL_R_HTTP_REQUEST, "peer speaks HTTP" },
    { ERR_LIB_SSL, SSL_R_UNSUPPORTED_PROTOCOL, "no common TLS version" },
    { ERR_LIB_SSL, SSL_R_NO_SHARED_CIPHER, "no common cipher" },
    { ERR_LIB_SSL, SSL_R_DH_KEY_TOO_SMALL, "peer's Diffie-Hellman group is too small" },
    { ERR_LIB_SSL, SSL_R_CERTIFICATE_VERIFY_FAILED, "certificate is not trusted" },
    { ERR_LIB_SSL, SSL_R_UNSAFE_LEGACY_RENEGOTIATION_DISABLED, "peer lacks secure renegotiation" },
};

static const char *plain(unsigned long e)
{
    for (size_t i = 0; i < sizeof plain_words / sizeof *plain_words; i++) {
        if (ERR_GET_LIB(e) == plain_words[i].lib && ERR_GET_REASON(e) == plain_words[i].reason)
            return plain_words[i].text;
    }
    return NULL;
}

/* The words for one error: ours, the system's, or OpenSSL's. */
static void describe(unsigned long e, char *out, size_t cap)
{
    const char *text = plain(e);
    if (text == NULL && ERR_SYSTEM_ERROR(e)) {
        char sys[96];
        snprintf(out, cap, "%s", strerror_r(ERR_GET_REASON(e), sys, sizeof sys));
        return;
    }
    const char *prefix = "";
    if (text == NULL && (text = ERR_reason_error_string(e)) == NULL) {
        snprintf(out, cap, "OpenSSL error %08lx", e);
        return;
    }
    static const char *const alerts[] = { "tlsv1 alert ", "tlsv13 alert ", "sslv3 alert ", "ssl/tls alert " };
    for (size_t i = 0; i < sizeof alerts / sizeof *alerts; i++) {
        if (strncmp(text, alerts[i], strlen(alerts[i])) == 0) {
            text += strlen(alerts[i]);
            prefix = "peer's alert: ";
        }
    }
    snprintf(out, cap, "%s%s", prefix, text);
}

/* How much an error says: the outer ones ("system lib", "PEM lib") only say through which functions it
 * passed. */
static int worth(unsigned long e)
{
    if (plain(e) != NULL)
        return 3;
    if (ERR_SYSTEM_ERROR(e))
        return 2;
    return ERR_GET_REASON(e) >= ERR_R_FATAL || ERR_GET_REASON(e) < 100 ? 0 : 1;
}

void tls_error_line(const char *file, struct buf *why)
{
    unsigned long best = 0;
    for (unsigned long e; (e = ERR_get_error()) != 0;) {
        if (best == 0 || worth(e) > worth(best))
            best = e;
    }
    char text[160];
    if (best == 0)
        snprintf(text, sizeof text, "no reason given");
    else
        describe(best, text, sizeof text);
    for (char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    }
    if (file != NULL)
        buf_printf(why, "%s: ", file);
    buf_put_str(why, text);
}

static bool dane_get(const SSL *ssl, struct tls_info *info)
{
    SSL *s = (SSL *)(uintptr_t)ssl;
    uint8_t usage = 0;
    if (SSL_get_verify_result(ssl) != X509_V_OK || SSL_get0_dane_authority(s, NULL, NULL) < 0 ||
        SSL_get0_dane_tlsa(s, &usage, NULL, NULL, NULL, NULL) < 0)
        return false;
    info->verified = true;
    info->dane_usage = usage;
    return true;
}

static void verify_get(const SSL *ssl, struct tls_info *info)
{
    X509 *cert = SSL_get0_peer_certificate(ssl);
    long result = SSL_get_verify_result(ssl);
    const char *text = NULL;
    X509_VERIFY_PARAM *param = SSL_get0_param((SSL *)(uintptr_t)ssl);
    char *ip = X509_VERIFY_PARAM_get1_ip_asc(param);
    if (cert == NULL)
        text = "no certificate";
    else if (result != X509_V_OK)
        text = X509_verify_cert_error_string(result);
    else if (ip == NULL && X509_VERIFY_PARAM_get0_host(param, 0) == NULL)
        text = "no name to compare with";
    OPENSSL_free(ip);
    info->verified = text == NULL;
    if (text != NULL)
        snprintf(info->verify_error, sizeof info->verify_error, "%s", text);
}

void tls_info_get(const SSL *ssl, struct tls_info *info)
{
    *info = (struct tls_info){ 0 };
    snprintf(info->version, sizeof info->version, "%s", SSL_get_version(ssl));
    snprintf(info->cipher, sizeof info->cipher, "%s", SSL_get_cipher_name(ssl));
    info->bits = SSL_get_cipher_bits(ssl, NULL);
    info->dane_usage = -1;
    info->resumed = SSL_session_reused(ssl) == 1;
    if (SSL_is_server(ssl)) {
        const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
        snprintf(info->sni, sizeof info->sni, "%s", name == NULL ? "" : name);
        return;
    }
    if (!dane_get(ssl, info))
        verify_get(ssl, info);
}

const char *tls_info_format(const struct tls_info *info, char out[80])
{
    const char *dane = info->dane_usage == TLSA_USAGE_EE   ? ", DANE-EE verified"
                       : info->dane_usage == TLSA_USAGE_TA ? ", DANE-TA verified"
                                                           : "";
    snprintf(out, 80, "%.15s %.43s%s", info->version, info->cipher, dane);
    return out;
}
