/* Mail that the node itself writes (reports, notices): into the spool, signed where there is a key for its
 * From, with the null sender, so that nobody is told when it cannot be delivered. The worker's thread.
 *
 *     local_mail_begin --> the text, with its Message-ID --> local_mail_store
 */
#ifndef NODE_CORE_LOCAL_MAIL_H
#define NODE_CORE_LOCAL_MAIL_H

#include "base/buf.h"
#include "node/core/worker.h"

struct local_mail;

/* `subject` is what the log speaks of ("tls-report"), static; both addresses without < >, copied. 0 or an
 * error. */
int local_mail_begin(struct worker *w, const char *subject, struct span from, struct span to,
                     struct local_mail **out);
/* "<id@host>" */
const char *local_mail_message_id(const struct local_mail *m);
uint64_t local_mail_id(const struct local_mail *m);
const char *local_mail_to(const struct local_mail *m);
/* Called once it is on disk, or cannot be; not when local_mail_store fails. */
typedef void local_mail_fn(void *ctx, struct worker *w, int err);
void local_mail_on_stored(struct local_mail *m, local_mail_fn *fn, void *ctx);
/* Takes m in any case: on its way to the disk it counts as one of the worker's jobs. `flags` of the envelope,
 * besides ENVELOPE_DSN. 0, or an error and there is no message. */
int local_mail_store(struct local_mail *m, struct span text, uint32_t header_bytes, uint8_t flags);
/* No message after all. */
void local_mail_drop(struct local_mail *m);

#endif
