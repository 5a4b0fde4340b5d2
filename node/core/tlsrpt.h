/* Sends the TLS reports (RFC 8460) of the days that are over to the domains that ask for them, by mail and to
 * web servers. Each node reports its own connections. Keeps what is counted on disk meanwhile. Worker 0's
 * thread.
 */
#ifndef NODE_CORE_TLSRPT_H
#define NODE_CORE_TLSRPT_H

#include "node/tlspolicy/rpt.h"

struct egress;
struct tlsrpt;

/* What was counted before a restart is read. NULL: no memory. Main thread. */
struct rpt *tlsrpt_open(const char *data_dir);
/* Writes what is counted, and frees it. */
void tlsrpt_close(struct rpt *r, const char *data_dir);

/* 0 or an error. Begins by itself; a report on its way to the disk counts as one of e->njobs. */
int tlsrpt_new(struct egress *e, struct tlsrpt **out);
/* No further report is begun. NULL is harmless, here and below. */
void tlsrpt_stop(struct tlsrpt *t);
void tlsrpt_free(struct tlsrpt *t);

#endif
