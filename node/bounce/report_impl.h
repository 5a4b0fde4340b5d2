/* What report.c and plain.c share. */
#ifndef NODE_BOUNCE_REPORT_IMPL_H
#define NODE_BOUNCE_REPORT_IMPL_H

#include "node/bounce/mime.h"
#include "node/bounce/report.h"

/* A new recipient; NULL: there are too many, or no memory (then *err). */
struct bounce_rcpt *bounce_rcpt_add(struct bounce_report *r, int *err);
/* Copies what fits, without control characters. */
void bounce_copy(char *out, size_t max, struct span s);
/* "<a@b>", "rfc822; a@b", "a@b": the mailbox; false: there is none. */
bool bounce_address(struct span s, struct span *out);
/* Its codes and text are there: classifies. */
void bounce_rcpt_judge(struct bounce_rcpt *rcpt);
/* Fields of the message that came back. */
void bounce_original(struct bounce_report *r, struct span header);
/* A bounce in a text for people, when no report was found. -ENOMEM */
int bounce_plain_read(struct bounce_report *r, struct span text);

#endif
