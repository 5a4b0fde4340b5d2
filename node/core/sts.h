/* MTA-STS (RFC 8461) for deliveries: looks the record up, fetches the policy if it must, and says which one
 * is in force. Policies are shared by all workers and kept over restarts.
 *
 * TXT of _mta-sts.DOMAIN --> known and fresh? --> addresses of mta-sts.DOMAIN --> fetched on a thread of the
 * pool
 *
 * What was fetched stays in force until it is too old, whatever becomes of the record or of later fetches: so
 * that nobody gets rid of it by forging either.
 */
#ifndef NODE_CORE_STS_H
#define NODE_CORE_STS_H

#include "base/span.h"
#include "node/tlspolicy/sts.h"

#include <stdatomic.h>

struct worker;
struct sts;

/* 0 or an error. `data_dir` is where they are kept. */
int sts_new(const char *data_dir, struct sts **out);
/* After the workers' threads have ended; what was learnt is written. NULL is harmless. */
void sts_free(struct sts *s);
/* Domains that something is known of. Any thread. */
uint32_t sts_known(struct sts *s);

/* Has what was learnt written before long, by another thread. Any thread. */
void sts_keep(struct sts *s);
struct sts_store;
struct sts_store *sts_store_of(struct sts *s);

/* Its threads, for others who talk to web servers. As auth_pool_push. */
struct auth_job;
int sts_push(struct sts *s, struct auth_job *job);
/* Set when they are to end. */
atomic_bool *sts_stopping(struct sts *s);
/* Of a web server, as libcurl wants them; HTTPS_ADDRESSES_TEXT octets. */
struct dns_site;
void sts_put_addresses(char *out, const struct dns_site *found);

struct sts_lookup;
/* `policy` is borrowed for the call; NULL: none is in force. */
typedef void sts_fn(void *ctx, struct sts_policy *policy);
/* The worker's thread. The callback comes once, from its loop, and after that the look-up is gone. NULL: no
 * memory, or no domain that could have a policy. */
struct sts_lookup *sts_lookup_start(struct worker *w, struct span domain, sts_fn *fn, void *ctx);
/* The callback will not come. NULL is harmless. */
void sts_lookup_cancel(struct sts_lookup *l);
/* Also those that only refresh what is known: nobody waits for them. */
void sts_lookup_cancel_all(struct worker *w);

#endif
