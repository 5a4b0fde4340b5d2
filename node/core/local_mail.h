/* Mail that the node itself writes (reports, notices): into the spool, signed where there is a key for its
 * From, with the null sender, so that nobody is told when it cannot be delivered. The worker's thread.
 *
 *     local_mail_begin --> the text, with its Message-ID --> local_mail_end
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
/* Called once it is on disk, or cannot be; not when local_mail_end fails. */
typedef void local_mail_fn(void *ctx, struct worker *w, int err);
void local_mail_on_stored(struct local_mail *m, local_mail_fn *fn, void *ctx);
/* Ends one whose text was written, with that one's err: onto its way to the disk, where it counts as one of the
 * worker's jobs; when err is not 0, no message after all. Takes m in any case and frees what the text holds.
 * `flags` of the envelope, besides ENVELOPE_DSN. 0, or an error and there is no message. */
int local_mail_end(struct local_mail *m, int err, struct buf *text, uint32_t header_bytes, uint8_t flags);

#endif
