/* What people may look at of a message that is none of theirs: header fields, and the beginning of its text, made
 * harmless. Nothing of it is run, fetched or followed: HTML comes without its tags, scripts and styles; control
 * characters, and those that turn or hide text, are written out as \xNN and \u{NNNN}; everything is bounded. On a
 * message in memory, or on its beginning. Lenient. Pure.
 */
#ifndef NODE_BOUNCE_PREVIEW_H
#define NODE_BOUNCE_PREVIEW_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>

#define PREVIEW_READ_MAX (256u << 10) /* bytes of a message that are looked at */
#define PREVIEW_TEXT_MAX 4096         /* of its text that are shown */
#define PREVIEW_FIELDS_MAX 60
#define PREVIEW_DEPTH_MAX 4           /* of parts in parts */

/* Each field of the header, in its order, at most PREVIEW_FIELDS_MAX of them; encoded words are decoded. */
typedef void preview_field_fn(void *arg, struct span name, struct span value);
void preview_fields(struct span message, preview_field_fn *fn, void *arg);

enum preview_kind { PREVIEW_NONE, PREVIEW_PLAIN, PREVIEW_HTML };

/* Appends the first text part, else the first HTML part; lines end with \n. *cut: there is more of it. */
enum preview_kind preview_text(struct span message, struct buf *out, bool *cut);

#endif
