/* What the two files of the identity share. Nobody else includes it. */
#ifndef NODE_CLUSTER_IDENTITY_IMPL_H
#define NODE_CLUSTER_IDENTITY_IMPL_H

#include "base/buf.h"

#include <stdbool.h>

struct identity_file {
    const char *name;
    struct span content; /* empty: there shall be no such file */
};

/* Puts "DIR/FILE: words" into `why` (which may be NULL) and returns err. `file` NULL: the folder itself. */
int identity_say(struct buf *why, int err, const char *dir, const char *file, const char *words);
void identity_wipe(struct buf *b);

/* ERR_NOT_FOUND, ERR_DENIED (modes, owner). */
int identity_open(const char *dir, int *fd, struct buf *why);
/* ERR_NOT_FOUND says nothing in `why`. `secret`: nobody else may have access. */
int identity_read(int fd, const char *dir, const char *name, bool secret, struct buf *out, struct buf *why);
/* All of them or none, whenever the machine stops; in this order. */
int identity_replace(int fd, const char *dir, const struct identity_file *files, size_t n, struct buf *why);
/* Ends a replacement that was interrupted after it had happened. */
int identity_finish(int fd, const char *dir, struct buf *why);
int identity_sync_parent(const char *dir, struct buf *why);

#endif
