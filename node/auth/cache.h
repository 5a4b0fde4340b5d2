/* Passwords that were right a moment ago, so that a busy client costs one hash and not one per connection.
 *
 * Kept is a keyed SHA-256 of account, stored hash and password, never the password; the key is drawn at start
 * and never leaves the process. A changed hash makes another digest, so what was stored for the old password
 * is never found again. Bounded: the longest unused goes. One thread at a time.
 */
#ifndef NODE_AUTH_CACHE_H
#define NODE_AUTH_CACHE_H

#include "node/auth/auth.h"

#define AUTH_DIGEST_BYTES 32

struct auth_cache;

struct auth_cache *auth_cache_new(uint32_t max, int64_t ttl_ms);
void auth_cache_free(struct auth_cache *c);
/* Empties it. */
void auth_cache_configure(struct auth_cache *c, uint32_t max, int64_t ttl_ms);

/* The key is the cache's; may be called without the lock that guards the cache. False: OpenSSL failed. */
bool auth_cache_digest(const struct auth_cache *c, struct span account, struct span hash,
                       struct span password, uint8_t digest[AUTH_DIGEST_BYTES]);
/* Borrowed until the next call; NULL: not known or too old. */
struct auth_identity *auth_cache_find(struct auth_cache *c, const uint8_t *digest, int64_t now_ms);
/* Holds the identity. */
void auth_cache_put(struct auth_cache *c, const uint8_t *digest, struct auth_identity *id, int64_t now_ms);
/* All of one account. */
void auth_cache_forget(struct auth_cache *c, struct span account);
uint32_t auth_cache_len(const struct auth_cache *c);

#endif
