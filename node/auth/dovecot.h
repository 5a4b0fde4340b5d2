/* Dovecot's authentication protocol, the client's side: https://doc.dovecot.org (Developer manual,
 * "Authentication Protocol"), version 1. Pure: bytes in, answers out.
 *
 * Lines of tab-separated fields. Both sides say VERSION; the client says CPID; the server names its
 * mechanisms and ends with DONE; then AUTH requests with ids of ours, answered in any order by OK or FAIL.
 */
#ifndef NODE_AUTH_DOVECOT_H
#define NODE_AUTH_DOVECOT_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define DOVECOT_LINE_MAX 8192 /* as Dovecot's own clients have it */

enum dovecot_event {
    DOVECOT_READY, /* handshake done: requests may be sent */
    DOVECOT_OK,    /* `user` is the canonical name, empty: as asked */
    DOVECOT_FAIL,
    DOVECOT_TEMP, /* Dovecot could not tell: its database is down, say */
};

typedef void dovecot_fn(void *ctx, enum dovecot_event event, uint32_t id, struct span user);

struct dovecot {
    struct buf line; /* the beginning of one */
    bool version, plain, ready;
    const char *why; /* of ERR_BAD, static */
};

void dovecot_init(struct dovecot *d);
void dovecot_fini(struct dovecot *d);
/* For a new connection: forgets the old one, appends our greeting. */
int dovecot_start(struct dovecot *d, uint32_t pid, struct buf *out);
/* Takes all of it; calls fn for each event. ERR_BAD: not the protocol (d->why): close the connection. */
int dovecot_input(struct dovecot *d, const char *p, size_t n, dovecot_fn *fn, void *ctx);
/* Appends an AUTH PLAIN request; `id` not 0. ERR_LIMIT: too long, nothing was appended. `client` may be
 * empty. */
int dovecot_request(uint32_t id, struct span service, struct span user, struct span password,
                    struct span client, struct buf *out);

#endif
