/* Any bytes as what others send to be signed or believed. The first byte chooses: a certificate or a request
 * for one, as text or as DER that is put into the text's form. No certificate but the authority's own is
 * found good; a request gets one only if it is signed with its own key, and then for the name and number that
 * we chose. */
#include "base/ensure.h"
#include "base/err.h"
#include "node/cluster/ca.h"

#include <openssl/pem.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    uint8_t secret[CA_SECRET_BYTES];
    struct buf certificate, key;
    int64_t now_ms;
} ca;

static void make_ca(void)
{
    const uint8_t cluster[16] = { 1 };
    struct ca_info info;
    struct buf key, request, certificate;
    buf_init(&ca.certificate, 1u << 16);
    buf_init(&ca.key, 1u << 16);
    ensure(ca_make(cluster, 1, ca.secret, &ca.certificate, &ca.key) == 0);
    buf_init(&key, 1u << 16);
    buf_init(&request, 1u << 16);
    buf_init(&certificate, 1u << 16);
    ensure(ca_make_request("node", &key, &request) == 0);
    ensure(ca_issue(buf_span(&ca.certificate), buf_span(&ca.key), ca.secret, buf_span(&request),
                    &(struct peer){ .epoch = 1, .node = 1 }, "node", 0, &certificate) == 0);
    ensure(ca_read(buf_span(&certificate), &info) == 0);
    ca.now_ms = info.not_before_ms + 60000;
    ensure(ca_verify(buf_span(&ca.certificate), buf_span(&certificate), ca.now_ms) == 0);
    buf_fini(&key);
    buf_fini(&request);
    buf_fini(&certificate);
}

static void try_certificate(struct span pem)
{
    struct ca_info info;
    uint8_t sha256[32];
    int err = ca_read(pem, &info);
    ensure(err == 0 || err == ERR_BAD);
    if (err == 0) {
        ensure(memchr(info.name, '\0', sizeof info.name) != NULL);
        ensure(ca_fingerprint(pem, sha256) == 0);
        ensure(memcmp(sha256, info.sha256, sizeof sha256) == 0);
    }
    ensure(ca_verify(buf_span(&ca.certificate), pem, ca.now_ms) != 0);
}

static void try_request(struct span pem)
{
    struct peer peer = { .cluster = { 1 }, .epoch = 1, .node = 9 };
    struct ca_info info;
    struct buf certificate;
    buf_init(&certificate, 1u << 16);
    int err = ca_issue(buf_span(&ca.certificate), buf_span(&ca.key), ca.secret, pem, &peer, "node-i", 0,
                       &certificate);
    ensure(err == 0 || err == ERR_BAD);
    if (err == 0) {
        ensure(ca_read(buf_span(&certificate), &info) == 0);
        ensure(memcmp(info.peer.cluster, peer.cluster, sizeof peer.cluster) == 0);
        ensure(info.peer.epoch == peer.epoch && info.peer.node == peer.node);
        ensure(strcmp(info.name, "node-i") == 0);
        ensure(ca_verify(buf_span(&ca.certificate), buf_span(&certificate), info.not_before_ms + 60000) == 0);
    }
    buf_fini(&certificate);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (ca.certificate.len == 0)
        make_ca();
    if (size < 2)
        return 0;
    bool request = data[0] & 1, der = data[0] & 2;
    BIO *bio = BIO_new(BIO_s_mem());
    ensure(bio != NULL);
    if (der)
        ensure(PEM_write_bio(bio, request ? PEM_STRING_X509_REQ : PEM_STRING_X509, "", data + 1,
                             (long)(size - 1)) > 0);
    else
        ensure(BIO_write(bio, data + 1, (int)(size - 1)) == (int)(size - 1));
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    if (request)
        try_request(span_of(p, (size_t)n));
    else
        try_certificate(span_of(p, (size_t)n));
    BIO_free(bio);
    return 0;
}
