/* One message's signatures (DKIM): which keys sign it, its header and body as they pass, and the signing,
 * which with an RSA key is done on a pool of threads. The worker's thread, unless said otherwise.
 *
 *     sign_new --> sign_header --> sign_body ... --> sign_finish --> the fields, for the front of the message
 */
#ifndef NODE_CORE_SIGN_H
#define NODE_CORE_SIGN_H

#include "base/buf.h"
#include "node/auth/pool.h"
#include "node/core/keyring.h"
#include "node/core/worker.h"

#define SIGN_BY_MAX 640

struct sign {
    struct worker_msg msg; /* the pool's answer */
    struct auth_job job;
    struct worker *w;
    struct config *config; /* held: it has the style */
    struct dkim_signer *signer;
    struct keyring *ring;  /* held; NULL: there is none */
    struct keyring_choice keys[DKIM_ALGORITHMS];
    uint32_t nkeys;
    struct buf fields; /* after sign_finish */
    int err;           /* of it, or of what came before: then nothing is signed */
    int64_t begun_ns;
    bool away;            /* the pool has it */
    char by[SIGN_BY_MAX]; /* "s2026._domainkey.example.com", and more with blanks between */
    void (*done)(void *ctx);
    void *ctx;
};

/* Who wants it signed. */
struct sign_who {
    struct span from;   /* the first address of the From field; empty: there is none */
    bool may_use_from;  /* the account may send as that address */
    struct span tenant; /* empty: none */
};

/* *out NULL: no key is for it. The From domain's, else those of the tenant's default domain. -ENOMEM,
 * ERR_FAILED; ERR_BUSY: a key of the cluster is for it, which this node cannot decrypt (yet). */
int sign_new(struct worker *w, struct config *config, const struct sign_who *who, struct sign **out);
/* Are there any keys at all? */
bool sign_keys_any(struct worker *w, const struct config *config);
/* As the message leaves, complete. */
void sign_header(struct sign *s, struct span header);
void sign_body(struct sign *s, struct span bytes);
/* True: it is done, and s->err says how it went. False: `done` will be called. */
bool sign_finish(struct sign *s, void (*done)(void *ctx), void *ctx);
/* Also while it is away: then nothing is called any more. NULL is allowed. */
void sign_free(struct sign *s);

/* The threads that sign. The main thread. */
int sign_start(struct auth_pool **out, uint32_t workers);

#endif
