/* The file that `turnpike cluster backup` writes: the state of the cluster's machine at one index. Docs:
 * docs/cluster-format.md. Blocking.
 *
 *     "TPBACKUP", format u32, the state, its length u64, SHA-256 of everything before
 */
#ifndef NODE_CORE_BACKUP_FILE_H
#define NODE_CORE_BACKUP_FILE_H

#include "base/buf.h"
#include "base/span.h"

#include <stddef.h>

#define BACKUP_STATE_MAX ((size_t)0x7ff00000) /* bytes; as a snapshot of libraft's */
#define BACKUP_FILE_MAX (BACKUP_STATE_MAX + 64)

/* The whole file. */
int backup_file_put(struct span state, struct buf *out);

/* The state into `state`. ERR_CORRUPT, ERR_TORN, ERR_NOT_FOUND (a format of a newer version), ERR_LIMIT, -errno;
 * `why` has one line "file: reason". */
int backup_file_read(const char *path, struct buf *state, struct buf *why);

#endif
