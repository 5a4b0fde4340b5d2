/* Turns a YAML document into C structures by tables: one row per key says its name, type, place, default,
 * range and whether it can change on reload. The same tables serve to complete, free, print and compare.
 *
 * Everything wrong is reported, each with its line; nothing stops at the first fault. It knows nothing of
 * what the keys mean: see tables.c, and check.c for rules between keys. One thread at a time.
 */
#ifndef NODE_CONFIG_SCHEMA_H
#define NODE_CONFIG_SCHEMA_H

#include "base/buf.h"
#include "base/span.h"
#include "node/config/errors.h"

#include <stdbool.h>
#include <stdint.h>
#include <yaml.h>

#define SCHEMA_PATH_MAX 256

struct schema_load;
struct schema_field;

/* A scalar's type. */
struct schema_type {
    size_t size;
    /* Reads `text` into `out` (zeroed before), or calls schema_fault and returns false. */
    bool (*parse)(struct schema_load *l, const struct schema_field *f, struct span text, void *out);
    /* Appends it as it would be written; false: there is nothing to show. */
    bool (*format)(const struct schema_field *f, const void *in, struct buf *out);
    void (*fini)(void *value); /* may be NULL */
};

enum schema_shape { SCHEMA_SCALAR, SCHEMA_MAP, SCHEMA_LIST };

enum schema_flag {
    SCHEMA_REQUIRED = 1,
    SCHEMA_RESTART = 2,  /* a change takes effect only after a restart */
    SCHEMA_OPTIONAL = 4, /* a mapping that is left zero when it is absent */
};

struct schema_map {
    size_t size;                       /* of the structure */
    const struct schema_field *fields; /* ends with a NULL key */
};

struct schema_field {
    const char *key;
    enum schema_shape shape;
    unsigned flags;
    uint32_t offset;                /* of the value, or of the list's pointer */
    uint32_t count_offset;          /* of the list's uint32_t count */
    const struct schema_type *type; /* a scalar's, or that of a list's items; NULL: `map` is */
    const struct schema_map *map;
    const char *def; /* default, as it would be written; a list's items are separated by blanks; NULL: zero */
    const char *hint;              /* for "is required: ..." */
    int64_t min, max;              /* a number's, time's or size's range; a text's greatest length */
    uint32_t count_min, count_max; /* a list's number of items */
    const char *const *names;      /* of an enumeration, in order of its values, NULL at the end */
};

struct schema_load {
    const char *file;
    yaml_document_t *doc;
    struct config_errors *errors;
    char path[SCHEMA_PATH_MAX]; /* of the value being read */
    size_t path_len;
    uint32_t line;   /* of that value */
    uint32_t values; /* read so far: bounds the work that aliases can cause */
};

/* Reads the document's root into `out`, which is zeroed first. True if nothing was wrong; in any case free
 * with schema_fini. */
bool schema_read(struct schema_load *l, const struct schema_map *map, void *out);
void schema_fini(const struct schema_map *map, void *obj);

/* While a value is read: says what is wrong with it. */
void schema_fault(struct schema_load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* After reading: the same about any path ("listeners[1].tls.key"); the line is that of the nearest key
 * present. */
void schema_fault_at(struct schema_load *l, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void schema_warn_at(struct schema_load *l, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool schema_has(struct schema_load *l, const char *path);
uint32_t schema_line(struct schema_load *l, const char *path);

/* Prints "path: value" for every scalar. */
void schema_print(const struct schema_map *map, const void *obj, struct buf *out);
/* Appends the paths (without indexes) of SCHEMA_RESTART fields that differ, one per line; returns their
 * number. */
uint32_t schema_diff(const struct schema_map *map, const void *a, const void *b, struct buf *out);

#endif
