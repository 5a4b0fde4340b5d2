/* Writing one delivery report into the spool. Its commit record ends the recipients that it reports, so that
 * there is never a recipient that ended without its report, nor one reported twice. The worker's thread.
 */
#ifndef NODE_CORE_DSN_JOB_H
#define NODE_CORE_DSN_JOB_H

#include "node/core/attempt.h"
#include "node/mail/dsn.h"

struct dsn_job_rcpt {
    uint32_t at; /* index into the attempt's recipients */
    enum mail_dsn_action action;
    uint8_t state; /* that the report records; RCPT_QUEUED: none, it is a delay notice */
    bool full;
};

/* Takes the attempt and `rcpts` (NULL, without memory: everything is tried again later). a->item, if any,
 * stays in flight until the report is on disk. If it cannot be written, recipients that the next hop took end
 * without one, and the others go back to the queue.
 */
void dsn_job_start(struct attempt *a, struct dsn_job_rcpt *rcpts, uint32_t n, const char *remote_mta);

#endif
