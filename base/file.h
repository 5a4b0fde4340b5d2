/* Small files that are written whole and outlive a crash. Any thread. 0 or a negative errno.
 *
 * They are made with 0600, and never through a symbolic link.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/span.h"

/* All of it, from where the descriptor stands. */
int file_write_all(int fd, struct span content);
/* Writes, or writes over, the file of that name in the directory `dir` (AT_FDCWD: a path), and syncs it. */
int file_write_synced(int dir, const char *name, struct span content);
/* The same beside it, as PATH.new, which then takes its place: who reads PATH finds the old content or the
 * new one. The directory is not synced: after a power cut it may be the old one again. */
int file_replace(const char *path, struct span content);

#endif
