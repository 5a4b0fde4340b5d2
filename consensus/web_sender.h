/* Names of web senders: a script, site or user of a shared web host, named by a header of the host's mail
 * (docs/web-senders.md). "web:HOST/ORIGIN": HOST is the account that the host's mail comes by, ORIGIN what
 * the header said, normalised (node/mail/origin.h). No account has a colon in its name, so none is called so.
 * Pure.
 */
#ifndef CONSENSUS_WEB_SENDER_H
#define CONSENSUS_WEB_SENDER_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define WEB_SENDER_PREFIX "web:"
#define WEB_SENDER_ORIGIN_MAX 120 /* bytes */
#define WEB_SENDER_HOST_MAX 195   /* so that a name is one for COMMAND_NAME_MAX */
#define WEB_SENDER_FEATURE 7
#define WEB_SENDER_DAY_MS UINT64_C(86400000)
#define WEB_SENDER_LIFE_MAX_MS (366 * WEB_SENDER_DAY_MS)

/* A whole one: its parts are there, within their bounds, without capitals, and ORIGIN of the bytes below. */
bool web_sender_ok(struct span name);
/* a to z, 0 to 9, and . _ : / @ + = ~ - ? */
bool web_sender_byte_ok(char c);
/* Its host; empty: the name is no web sender's. */
static inline struct span web_sender_host(struct span name)
{
    const struct span none = { "", 0 }, prefix = SPAN_LIT(WEB_SENDER_PREFIX);
    if (!span_starts(name, prefix))
        return none;
    struct span rest = span_sub(name, prefix.n);
    const char *slash = rest.n == 0 ? NULL : (const char *)memchr(rest.p, '/', rest.n);
    return slash == NULL ? none : span_of(rest.p, (size_t)(slash - rest.p));
}

#endif
