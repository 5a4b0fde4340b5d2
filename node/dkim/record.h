/* The DNS record of a key, "v=DKIM1; k=rsa; p=...": made, read, and compared with a private key. RFC 6376
 * section 3.6.1, RFC 8463. Pure.
 */
#ifndef NODE_DKIM_RECORD_H
#define NODE_DKIM_RECORD_H

#include "node/dkim/key.h"

#define DKIM_RECORD_MAX 16384

/* Appends the record of a key, in one piece. */
int dkim_record_put(const struct dkim_key *k, struct buf *out);
/* Appends it as a zone file has it: strings of at most 255 octets in quotes. */
int dkim_record_put_zone(struct span record, struct buf *out);

enum dkim_record_state {
    DKIM_RECORD_GOOD,      /* it can be verified with; with a key given: this one's signatures */
    DKIM_RECORD_DIFFERS,   /* another key's */
    DKIM_RECORD_REVOKED,   /* p= is empty */
    DKIM_RECORD_TOO_SHORT, /* RSA under 1024 bits */
    DKIM_RECORD_BROKEN,    /* no such record, or one that forbids this use */
};

const char *dkim_record_state_name(enum dkim_record_state state); /* "matches" and the like */

struct dkim_record_info {
    enum dkim_record_state state;
    enum dkim_algorithm algorithm; /* of GOOD, DIFFERS, TOO_SHORT */
    uint32_t bits;                 /* likewise */
    bool testing;                  /* t=y */
    char why[DKIM_WHY_MAX];        /* of BROKEN and DIFFERS */
};

/* `key` may be NULL: then nothing is compared. -ENOMEM. */
int dkim_record_check(struct span record, const struct dkim_key *key, struct dkim_record_info *out);

#endif
