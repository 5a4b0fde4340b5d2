/* From a file to a YAML document that the tables of schema.h can read: bounds on its size and depth, and
 * libyaml's complaints in words that help. Any thread.
 */
#ifndef NODE_CONFIG_DOCUMENT_H
#define NODE_CONFIG_DOCUMENT_H

#include "base/buf.h"
#include "base/span.h"
#include "node/config/errors.h"

#include <stdint.h>
#include <yaml.h>

struct config_document_kind {
    uint32_t max_bytes;
    uint32_t max_nesting; /* brackets open at a time */
    const char *page;     /* of the manual, with an example */
};

/* 0: free *out with yaml_document_delete; it has a root and refers to nothing of `text`. -ENOMEM, or ERR_BAD
 * with the fault in `errors`. */
int config_document_open(const struct config_document_kind *kind, const char *name, struct span text,
                         yaml_document_t *out, struct config_errors *errors);

/* Appends the file, or more than max_bytes of it when it is larger, so that the parser can tell. 0 or what
 * open and read gave. */
int config_file_read(const char *path, uint32_t max_bytes, struct buf *out);

#endif
