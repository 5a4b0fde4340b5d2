/* One TLS report to one web server (RFC 8460 section 3): its host looked up, then sent on a thread that may
 * block. The worker's thread.
 */
#ifndef NODE_CORE_TLSRPT_POST_H
#define NODE_CORE_TLSRPT_POST_H

#include "base/span.h"

#include <stdbool.h>

struct worker;
struct tlsrpt_post;
/* `why` is borrowed, one line; once, from the worker's loop, and then the post is gone. */
typedef void tlsrpt_post_fn(void *ctx, bool sent, const char *why);
/* `report` is gzipped JSON and copied. NULL: no URL that can be used, or no memory. */
struct tlsrpt_post *tlsrpt_post_start(struct worker *w, struct span url, struct span report,
                                      tlsrpt_post_fn *fn, void *ctx);
/* The callback will not come; what is under way ends by itself. NULL is harmless. */
void tlsrpt_post_cancel(struct tlsrpt_post *p);

#endif
