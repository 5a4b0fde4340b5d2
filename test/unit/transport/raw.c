/* A client that keeps no rules. */
#include "raw.h"

#include "base/ensure.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void body(void *arg)
{
    struct raw *r = arg;
    r->run(r);
    raw_close(r);
    atomic_store(&r->done, true);
}

void raw_start(struct raw *r)
{
    r->fd = -1;
    ensure(uv_thread_create(&r->thread, body, r) == 0);
}

bool raw_done(void *raw)
{
    return atomic_load(&((struct raw *)raw)->done);
}

void raw_join(struct raw *r)
{
    ensure(uv_thread_join(&r->thread) == 0);
}

void raw_run(struct raw *r, struct net *net)
{
    raw_start(r);
    net_until(net, raw_done, r);
    raw_join(r);
}

void raw_connect(struct raw *r)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons(r->port),
                              .sin_addr = { htonl(INADDR_LOOPBACK) } };
    struct timeval limit = { .tv_sec = 30 };
    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ensure(r->fd >= 0);
    setsockopt(r->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ensure(connect(r->fd, (struct sockaddr *)&to, sizeof to) == 0);
}

static void use_paper(struct raw *r)
{
    BIO *c = BIO_new_mem_buf(r->paper->certificate.data, (int)r->paper->certificate.len);
    BIO *k = BIO_new_mem_buf(r->paper->key.data, (int)r->paper->key.len);
    X509 *x = PEM_read_bio_X509(c, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(k, NULL, NULL, NULL);
    ensure(SSL_CTX_use_certificate(r->ctx, x) == 1);
    ensure(SSL_CTX_use_PrivateKey(r->ctx, key) == 1);
    X509_free(x);
    EVP_PKEY_free(key);
    BIO_free(c);
    BIO_free(k);
}

bool raw_handshake(struct raw *r)
{
    r->ctx = SSL_CTX_new(TLS_client_method());
    if (r->max_version != 0)
        SSL_CTX_set_max_proto_version(r->ctx, r->max_version);
    if (r->paper != NULL)
        use_paper(r);
    if (r->alpn != NULL)
        ensure(SSL_CTX_set_alpn_protos(r->ctx, (const unsigned char *)r->alpn, (unsigned)strlen(r->alpn)) ==
               0);
    r->ssl = SSL_new(r->ctx);
    SSL_set_fd(r->ssl, r->fd);
    return SSL_connect(r->ssl) == 1;
}

bool raw_sees_end(struct raw *r)
{
    char b[4096];
    int64_t start = (int64_t)uv_hrtime();
    for (;;) {
        long n = r->ssl != NULL ? SSL_read(r->ssl, b, sizeof b) : recv(r->fd, b, sizeof b, 0);
        if (n <= 0)
            return (int64_t)uv_hrtime() - start < 29000000000;
    }
}

void raw_close(struct raw *r)
{
    SSL_free(r->ssl);
    SSL_CTX_free(r->ctx);
    if (r->fd >= 0)
        close(r->fd);
    r->ssl = NULL;
    r->ctx = NULL;
    r->fd = -1;
}
