/* Random secrets of the cluster as threads need them: what return paths are encrypted with, what is under the
 * MACs of rewritten ones, what domains are challenged with, and what webhooks are signed with. One immutable view that all threads share by
 * reference count; the cluster thread makes a new one whenever they change (cluster_seal.c).
 *
 * Of each use there may be several: the newest makes, all are believed. So one is replaced by adding another,
 * and by removing the old one once nothing that it made is under way any more. Those of webhooks are known by name:
 * each receiver has one of its own.
 */
#ifndef NODE_CORE_SECRETS_H
#define NODE_CORE_SECRETS_H

#include "base/span.h"
#include "node/bounce/token.h"

#include <stdbool.h>
#include <stdint.h>

enum secret_use { SECRET_BOUNCES, SECRET_DOMAINS, SECRET_SRS, SECRET_WEBHOOKS, SECRET_USES };

#define SECRETS_EACH_MAX 4
#define SECRETS_WEBHOOKS_MAX 32
#define SECRET_NAME_MAX 63
#define SECRET_BYTES_MIN 16 /* of text */
#define SECRET_BYTES_MAX 128

/* Its name in the state: "bounces", "domains", "srs", "webhooks". */
const char *secret_use_name(enum secret_use use);
/* SECRET_USES: there is no such use. */
enum secret_use secret_use_of(struct span name);

struct secret {
    int64_t since_ms; /* wall clock */
    uint32_t n;
    char text[SECRET_BYTES_MAX];
    struct bounce_key key; /* of SECRET_BOUNCES: derived from the text */
};

struct secrets;

/* One reference; NULL: no memory. */
struct secrets *secrets_new(void);
/* While it is made. Without room the oldest goes. ERR_BAD: too short or too long. */
int secrets_add(struct secrets *s, enum secret_use use, int64_t since_ms, struct span text);
/* Of SECRET_WEBHOOKS, by its name. ERR_BAD: likewise; ERR_LIMIT. */
int secrets_add_named(struct secrets *s, struct span name, struct span text);
/* There is one that cannot be decrypted here (yet). */
void secrets_add_closed(struct secrets *s, enum secret_use use);
struct secrets *secrets_hold(struct secrets *s);
void secrets_rele(struct secrets *s); /* NULL is harmless; the last one wipes it */

/* The i-th newest; NULL: there is none, or no view. */
const struct secret *secrets_at(const struct secrets *s, enum secret_use use, uint32_t i);
/* Likewise by name; empty: there is none. */
struct span secrets_named(const struct secrets *s, struct span name);
bool secrets_closed(const struct secrets *s, enum secret_use use);

#endif
