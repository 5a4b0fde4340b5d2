/* The accounts file as bytes. Blocking. */
#ifndef NODE_AUTH_FILE_H
#define NODE_AUTH_FILE_H

#include "base/buf.h"

/* Appends the whole file. -ENOENT (nothing is told of it) and the like, ERR_DENIED: others can reach it,
 * ERR_LIMIT. */
int account_file_read(const char *path, struct buf *text, struct buf *why);
/* Puts `text` in the file's place: written beside it, synced, renamed, the directory synced. */
int account_file_replace(const char *path, struct span text, struct buf *why);
/* An exclusive lock among writers, on path.lock; the descriptor, or ERR_BUSY after ten seconds, or -errno. */
int account_file_lock(const char *path, struct buf *why);

#endif
