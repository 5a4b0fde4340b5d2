/* A client that keeps no rules: a blocking socket, with TLS or without, in a thread of its own. */
#ifndef TEST_UNIT_TRANSPORT_RAW_H
#define TEST_UNIT_TRANSPORT_RAW_H

#include "fixture.h"

#include <openssl/ssl.h>
#include <stdatomic.h>

struct raw {
    uint16_t port;
    const struct paper *paper; /* NULL: no certificate */
    const struct authority *authority;
    const char *alpn; /* with its length first; NULL: none */
    int max_version;  /* 0: TLS 1.3 */
    /* what the client does; in its thread */
    void (*run)(struct raw *r);
    void *arg;
    int fd;
    SSL *ssl;
    SSL_CTX *ctx;
    atomic_bool done;
    uv_thread_t thread;
};

/* Runs the loop until the client's thread has ended. */
void raw_run(struct raw *r, struct net *net);
/* For several at once. */
void raw_start(struct raw *r);
bool raw_done(void *raw);
void raw_join(struct raw *r);

/* In the thread. */
void raw_connect(struct raw *r);
bool raw_handshake(struct raw *r); /* false: the server refused */
/* True when the server closes, or sends an alert, within 5 s; bytes before that are dropped. */
bool raw_sees_end(struct raw *r);
void raw_close(struct raw *r);

#endif
