/* Somebody at a node's gossip port who is not what he should be. */
#include "rogue.h"

#include "base/ensure.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

int rogue_dial(const char *address)
{
    char host[64];
    struct span name;
    uint16_t port;
    ensure(text_host_port(span_str(address), &name, &port) == 0);
    snprintf(host, sizeof host, "%.*s", (int)name.n, name.p);
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port) };
    ensure(inet_pton(AF_INET, host, &sa.sin_addr) == 1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = { .tv_sec = 15 };
    ensure(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    ensure(connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0);
    return fd;
}

static SSL_CTX *context(const struct leaf *leaf)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    ensure(ctx != NULL);
    if (leaf == NULL)
        return ctx;
    BIO *bio = BIO_new_mem_buf(leaf->certificate.data, (int)leaf->certificate.len);
    X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    bio = BIO_new_mem_buf(leaf->key.data, (int)leaf->key.len);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    ensure(SSL_CTX_use_certificate(ctx, x) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
    X509_free(x);
    EVP_PKEY_free(key);
    return ctx;
}

static void rogue_thread(void *arg)
{
    struct rogue *r = arg;
    r->fd = rogue_dial(r->address);
    SSL_CTX *ctx = NULL;
    r->tls_stood = true;
    if (!r->plain) {
        ctx = context(r->leaf);
        r->ssl = SSL_new(ctx);
        ensure(r->ssl != NULL && SSL_set_fd(r->ssl, r->fd) == 1);
        r->tls_stood = SSL_connect(r->ssl) == 1;
    }
    if (r->tls_stood && r->act != NULL)
        r->act(r);
    if (r->tls_stood)
        rogue_await_end(r);
    else
        r->cut_off = true;
    SSL_free(r->ssl);
    SSL_CTX_free(ctx);
    r->ssl = NULL;
    close(r->fd);
    atomic_store(&r->done, true);
}

static bool is_done(void *arg)
{
    return atomic_load(&((struct rogue *)arg)->done);
}

void rogue_run(struct fixture *f, struct rogue *r)
{
    uv_thread_t thread;
    ensure(uv_thread_create(&thread, rogue_thread, r) == 0);
    fixture_until(f, is_done, r);
    ensure(uv_thread_join(&thread) == 0);
}

void rogue_write(struct rogue *r, struct span bytes)
{
    while (bytes.n > 0) {
        long n = r->ssl != NULL ? SSL_write(r->ssl, bytes.p, (int)bytes.n)
                                : send(r->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n <= 0) {
            r->cut_off = true;
            return;
        }
        bytes = span_sub(bytes, (size_t)n);
    }
}

static bool read_exactly(struct rogue *r, struct buf *out, size_t want)
{
    while (want > 0 && !r->cut_off) {
        char p[4096];
        size_t most = want < sizeof p ? want : sizeof p;
        long n = r->ssl != NULL ? SSL_read(r->ssl, p, (int)most) : recv(r->fd, p, most, 0);
        if (n <= 0)
            r->cut_off = true;
        else
            ensure(buf_put(out, p, (size_t)n) == 0);
        want -= n > 0 ? (size_t)n : 0;
    }
    return !r->cut_off;
}

bool rogue_read_record(struct rogue *r, struct buf *out)
{
    struct buf length;
    size_t n = 0;
    buf_init(&length, 4);
    if (read_exactly(r, &length, 4))
        (void)gossip_record_length(buf_span(&length), GOSSIP_HELLO_MAX, &n);
    buf_fini(&length);
    buf_reset(out);
    return !r->cut_off && read_exactly(r, out, n);
}

void rogue_await_end(struct rogue *r)
{
    struct buf rest;
    buf_init(&rest, 1 << 20);
    while (read_exactly(r, &rest, 1))
        ensure(rest.len < 1 << 19);
    buf_fini(&rest);
}

void rogue_write_record(struct rogue *r, struct span bytes)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_put_u32(&b, (uint32_t)bytes.n);
    ensure(buf_put_span(&b, bytes) == 0);
    rogue_write(r, buf_span(&b));
    buf_fini(&b);
}
