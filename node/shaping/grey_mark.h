/* What a greylisted recipient's record says beside the server's words: since when it is refused so, by which
 * host, and to which of our addresses. It stands behind the reply that the spool keeps, so that it goes
 * wherever that goes: over a restart, through compaction, to another node. Records without it are read as
 * they were. Pure; any thread.
 *
 *     450 4.2.0 Greylisted <US>grey 1700000000 1 mx.example.net 192.0.2.7
 *
 * <US> is the control character 1F, which no reply has: the parser of replies puts '?' for each.
 */
#ifndef NODE_SHAPING_GREY_MARK_H
#define NODE_SHAPING_GREY_MARK_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define GREY_TEXT_MAX 512 /* of the reply and the mark */
/* Since when, in steps of so much: replies are kept once each, and a million recipients must not make as
 * many. */
#define GREY_STEP_MS 10000

struct grey_mark {
    int64_t since_ms; /* wall clock */
    bool sure;        /* it is greylisting; else: a deferral that no rule knows, which may be */
    struct span host; /* that said so; empty: not known */
    struct span source;
};

/* False: it has none. `reply`: what stands before it, or all. Spans point into `text`. */
bool grey_mark_parse(struct span text, struct grey_mark *out, struct span *reply);
/* At most GREY_TEXT_MAX bytes, less what a transfer puts before them, the end of the reply being cut off. */
struct span grey_mark_format(const struct grey_mark *m, struct span reply, char out[GREY_TEXT_MAX]);

/* "in 300 seconds", "in 5 minutes", of a server's words; 0: they say no time within reason. */
int64_t grey_stated_ms(const char *text);

#endif
