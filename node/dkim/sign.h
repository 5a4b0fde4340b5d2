/* Signs a message while it streams by: RFC 6376. No I/O and no clock.
 *
 *     dkim_signer_new --> _header --> _body, as often as there is some --> _sign --> fields to put before the
 * header
 *
 * _header and _body cost a hash and may run on a loop. _sign with an RSA key takes about a millisecond
 * (dkim_signer_slow): then it belongs on a thread of its own. One signer belongs to one thread at a time.
 */
#ifndef NODE_DKIM_SIGN_H
#define NODE_DKIM_SIGN_H

#include "node/dkim/canon.h"
#include "node/dkim/key.h"

#define DKIM_SIGNATURES_MAX 4 /* of one message */
#define DKIM_FIELDS_MAX 2000  /* of a header that is signed */
#define DKIM_NAMES_MAX 256    /* in h= */
#define DKIM_OUT_MAX 32768    /* bytes of all fields of one message */

/* How messages are signed. */
struct dkim_style {
    enum dkim_canon header, body;
    int64_t expire_ms; /* x= that long after t=; 0: none */
    /* Fields that are signed when they are there, and those that are signed once more than they are there, so
     * that none can be added (RFC 6376 section 8.15). A name may be in both. */
    const char *const *names;
    uint32_t nnames;
    const char *const *oversigned;
    uint32_t noversigned;
};

struct dkim_signature {
    struct dkim_key *key;
    const char *domain, *selector;
};

struct dkim_signer;

/* Copies all but `style`, which must live as long, and holds the keys. -ENOMEM, ERR_FAILED. */
int dkim_signer_new(const struct dkim_style *style, const struct dkim_signature *with, uint32_t n,
                    struct dkim_signer **out);
void dkim_signer_free(struct dkim_signer *s);
bool dkim_signer_slow(const struct dkim_signer *s);

/* The header as it leaves, with or without the empty line behind it. ERR_LIMIT: it has too many fields;
 * ERR_BAD: what is no field. Then it cannot be signed. */
int dkim_signer_header(struct dkim_signer *s, struct span header);
void dkim_signer_body(struct dkim_signer *s, struct span bytes);
/* Once, after the body's end: appends a field for each signature. ERR_FAILED, ERR_LIMIT, -ENOMEM: nothing is
 * of use. */
int dkim_signer_sign(struct dkim_signer *s, int64_t wall_ms, struct buf *out);

/* A field of a header block, its line ends with it; `rest` moves on. False: the header's end. */
bool dkim_field_next(struct span *rest, struct span *whole);

#endif
