/* Private keys that mail is signed with: RSA (RFC 6376, 8301) and Ed25519 (RFC 8463). Shared by reference
 * count; what does not change it may run on several threads at once.
 */
#ifndef NODE_DKIM_KEY_H
#define NODE_DKIM_KEY_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define DKIM_KEY_FILE_MAX 65536
#define DKIM_DIGEST_BYTES 32   /* SHA-256 */
#define DKIM_RSA_BITS_MIN 1024 /* RFC 8301: verifiers take no less */
#define DKIM_RSA_BITS_MAX 4096
#define DKIM_WHY_MAX 160

enum dkim_algorithm { DKIM_RSA, DKIM_ED25519 };
#define DKIM_ALGORITHMS 2

/* "rsa", as in k=; "rsa-sha256", as in a=. */
const char *dkim_algorithm_name(enum dkim_algorithm algorithm);
const char *dkim_algorithm_signature(enum dkim_algorithm algorithm);

struct dkim_key;

/* Reads PEM text without a passphrase. ERR_BAD, and `why` says what is wrong with it. */
int dkim_key_parse(struct span pem, struct dkim_key **out, char why[DKIM_WHY_MAX]);
/* -ENOMEM, ERR_FAILED. `bits` is RSA's. */
int dkim_key_generate(enum dkim_algorithm algorithm, uint32_t bits, struct dkim_key **out);
struct dkim_key *dkim_key_hold(struct dkim_key *k);
void dkim_key_rele(struct dkim_key *k);

enum dkim_algorithm dkim_key_algorithm(const struct dkim_key *k);
uint32_t dkim_key_bits(const struct dkim_key *k);
/* Too slow for a loop: about a millisecond, against some tens of microseconds. */
bool dkim_key_slow(const struct dkim_key *k);

/* Appends PEM (PKCS 8); wipe it after use. */
int dkim_key_put_pem(const struct dkim_key *k, struct buf *out);
/* Appends what p= of the DNS record has, undecoded: RSA's SubjectPublicKeyInfo, Ed25519's 32 octets. */
int dkim_key_put_public(const struct dkim_key *k, struct buf *out);
/* Appends RSA's public key in its other form, RSAPublicKey, which records have too; ERR_NOT_FOUND for
 * Ed25519. */
int dkim_key_put_public_pkcs1(const struct dkim_key *k, struct buf *out);

/* Appends the signature of a digest. ERR_FAILED. */
int dkim_key_sign(const struct dkim_key *k, const uint8_t digest[DKIM_DIGEST_BYTES], struct buf *out);

#endif
