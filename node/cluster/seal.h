/* Secrets of the cluster, encrypted: AES-256-GCM under a sealing key that each node has in a file of its own and the
 * replicated state never has. The state has a key's number and id only (consensus/directory_sealed.c).
 *
 * What is encrypted is bound to what it is about: it opens under that name only.
 *
 * The file, `dir`/sealing, mode 0600: a line for each key, "NUMBER HEX". Any thread; the caller keeps two saves apart.
 */
#ifndef NODE_CLUSTER_SEAL_H
#define NODE_CLUSTER_SEAL_H

#include "base/buf.h"
#include "base/span.h"

#include <stdint.h>

#define SEAL_KEY_BYTES 32
#define SEAL_ID_BYTES 16
#define SEAL_KEYS_MAX 8 /* the one in force, the one before, and what was made and lost a race */
#define SEAL_FILE "sealing"

struct seal_key {
    uint64_t number; /* not 0 */
    uint8_t id[SEAL_ID_BYTES];
    uint8_t bytes[SEAL_KEY_BYTES];
};
struct seal_keys {
    uint32_t n;
    struct seal_key key[SEAL_KEYS_MAX];
};

/* A fresh one. ERR_FAILED. */
int seal_key_make(uint64_t number, struct seal_key *out);
/* One that another node gave. */
void seal_key_take(uint64_t number, const uint8_t bytes[SEAL_KEY_BYTES], struct seal_key *out);
/* NULL: there is none of that number and id. */
const struct seal_key *seal_keys_find(const struct seal_keys *keys, uint64_t number, const uint8_t id[SEAL_ID_BYTES]);
/* ERR_LIMIT: SEAL_KEYS_MAX. One that is there is no error. */
int seal_keys_add(struct seal_keys *keys, const struct seal_key *key);
void seal_keys_wipe(struct seal_keys *keys);

/* Appends it, encrypted. ERR_FAILED, -ENOMEM. */
int seal_put(const struct seal_key *key, struct span about, struct span plain, struct buf *out);
/* Appends what it was; wipe it after use. ERR_DENIED: another key, about something else, or changed. */
int seal_open(const struct seal_key *key, struct span about, struct span sealed, struct buf *out);

/* ERR_BAD: not what seal_keys_format writes. */
int seal_keys_parse(struct span text, struct seal_keys *out);
int seal_keys_format(const struct seal_keys *keys, struct buf *out);
/* No file is no key. ERR_DENIED: modes; ERR_CORRUPT; -errno; one line in `why`. */
int seal_keys_load(const char *dir, struct seal_keys *out, struct buf *why);
/* Synced. */
int seal_keys_save(const char *dir, const struct seal_keys *keys, struct buf *why);

#endif
