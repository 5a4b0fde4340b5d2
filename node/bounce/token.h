/* The opaque reference to a message that we put into its return path and header, so that a bounce or a
 * complaint is counted against the right sender: whose account, to whom, when, in one AES block, with an HMAC
 * of 64 bits. Without the cluster's secret nobody can make one, or tell two senders apart; with it, it is
 * good for some days. 39 letters and digits, whose case does not matter. No I/O, no clock; any thread.
 */
#ifndef NODE_BOUNCE_TOKEN_H
#define NODE_BOUNCE_TOKEN_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define BOUNCE_TOKEN_TEXT 39
#define BOUNCE_LOCAL_PREFIX "b=" /* of the local part: the token follows */
#define BOUNCE_DAY_MS INT64_C(86400000)

struct bounce_key {
    unsigned char cipher[32], mac[32];
};

struct bounce_ref {
    uint16_t day;     /* since 1970: when it was made */
    uint8_t class;    /* of the mail: enum envelope_class */
    bool own;         /* the return path was the account's own address: bounces are passed on to it */
    uint64_t account; /* bounce_hash of its name */
    uint32_t rcpt;    /* low bits of bounce_hash of the recipient; 0: there were several */
    uint16_t salt;    /* so that two messages don't look the same */
};

/* 48 bits, never 0 in the low 32; ASCII letters without case. */
uint64_t bounce_hash(struct span s);

/* 0 or ERR_FAILED. */
int bounce_key_derive(struct span secret, struct bounce_key *out);
int bounce_token_write(const struct bounce_key *key, const struct bounce_ref *ref,
                       char out[BOUNCE_TOKEN_TEXT + 1]);
/* ERR_BAD: none of ours; ERR_TIMEOUT: older than `days`, or from tomorrow; ERR_FAILED. */
int bounce_token_read(const struct bounce_key *key, struct span text, uint16_t today, uint16_t days,
                      struct bounce_ref *out);

#endif
