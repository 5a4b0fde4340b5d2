/* The admin API's sockets and token file. Main thread, at start; reading the token again on reload. */
#ifndef NODE_ADMIN_LISTEN_H
#define NODE_ADMIN_LISTEN_H

#include "node/admin/admin.h"

#define ADMIN_TOKEN_MAX 512

/* Makes the unix socket with its mode and group; a stale one of a dead process is replaced. The descriptor or
 * an error. */
int admin_listen_unix(const char *path, mode_t mode, const char *group, struct admin_error *e);

/* "127.0.0.1:8025". The descriptor or an error; the port it got in *port, the address as in a URL in `host`.
 */
int admin_listen_tcp(const char *address, bool remote, uint16_t *port, char host[64], struct admin_error *e);

/* One line of 16 to 512 printable characters in a file that others cannot read. */
int admin_token_read(const char *path, char token[ADMIN_TOKEN_MAX + 1], struct admin_error *e);

#endif
