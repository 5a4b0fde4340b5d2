/* Reading and writing the fields of this folder's JSON: member.json, requests to join and answers. Everything
 * is checked for what logs, certificates and addresses may have. Pure.
 */
#ifndef NODE_CLUSTER_FIELDS_H
#define NODE_CLUSTER_FIELDS_H

#include "node/cluster/identity.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define FIELD_NUMBER_MAX INT64_MAX

/* Takes no reference. NULL: no memory when it was made. */
int field_put(const json_t *root, size_t flags, struct buf *out);
void field_put_hex(const uint8_t *p, size_t n, char *out); /* 2n characters and the NUL */
/* Exactly n bytes, lower case. */
bool field_parse_hex(struct span s, uint8_t *out, size_t n);
/* NULL: no memory. */
json_t *field_make_seeds(const struct identity_seed *seeds, uint32_t n);

/* False: not there, of another type, or out of range. `o` may be NULL or no object. */
bool field_u64(const json_t *o, const char *key, uint64_t min, uint64_t max, uint64_t *out);
bool field_hex(const json_t *o, const char *key, uint8_t *out, size_t n);
/* Printable ASCII, shorter than cap. */
bool field_text(const json_t *o, const char *key, char *out, size_t cap);
bool field_name(const json_t *o, const char *key, char out[64]);
bool field_address(const json_t *o, const char *key, char out[128]);
/* Borrowed until `o` is freed; not empty, at most FIELD_PEM_MAX. */
#define FIELD_PEM_MAX 8192
bool field_pem(const json_t *o, const char *key, struct span *out);
bool field_seeds(const json_t *o, struct identity_seed seeds[16], uint32_t *n);

/* A node's name: letters, digits, '.', '-', '_'; 1 to 63. */
bool field_name_ok(struct span name);
/* "host:port" or "[v6]:port"; at most 127. */
bool field_address_ok(struct span address);
bool field_seeds_ok(const struct identity_seed *seeds, uint32_t n);

#endif
