/* Somebody at a node's gossip port who is not what he should be: TLS by OpenSSL, blocking, on a thread of his
 * own. */
#ifndef TEST_UNIT_GOSSIP_ROGUE_H
#define TEST_UNIT_GOSSIP_ROGUE_H

#include "fixture.h"
#include "gossip/gossip_identity.h"

#include <openssl/ssl.h>
#include <stdatomic.h>

struct rogue {
    const char *address;
    const struct leaf *leaf; /* for TLS; NULL: without a certificate */
    bool plain;              /* no TLS at all */
    /* What it does once TLS stands (SSL NULL: plain, on fd). */
    void (*act)(struct rogue *r);
    void *arg;

    int fd;
    SSL *ssl;
    bool tls_stood; /* as he believes: a server's refusal comes after his side is done */
    bool cut_off;   /* the node ended it */
    atomic_bool done;
};

/* Runs him, and the nodes' loops, until he is done. */
void rogue_run(struct fixture *f, struct rogue *r);

/* For act. */
int rogue_dial(const char *address);
void rogue_write(struct rogue *r, struct span bytes);
/* One record; false: cut off. */
bool rogue_read_record(struct rogue *r, struct buf *out);
/* Until the node ends the connection. */
void rogue_await_end(struct rogue *r);
void rogue_write_record(struct rogue *r, struct span bytes);

#endif
