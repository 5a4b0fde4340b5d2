/* Domain names as they come from the DNS, and TXT records. Pure; any thread. */
#ifndef NODE_DOMAIN_NAME_H
#define NODE_DOMAIN_NAME_H

#include "base/buf.h"
#include "base/span.h"

#include <stdbool.h>

/* A name in wire format, alone in the rdata, as lower-case text without final dot. ERR_BAD: broken, the root,
 * or with octets that text cannot carry as they are. */
int domain_name_from_wire(struct span wire, char out[256]);
/* Text without final dot: labels of 1 to 63 octets, 253 in all, of printable ASCII but for \. */
bool domain_name_valid(struct span name);
/* `name` is `under` or below it; without case. */
bool domain_name_within(struct span name, struct span under);
/* A TXT record's strings, joined and appended. 0, ERR_BAD or the buffer's error. */
int domain_txt_join(struct span rdata, struct buf *out);
/* Blanks at both ends are gone. */
struct span domain_trim(struct span s);
/* The next "tag=value" of a list with ";" between (DKIM, DMARC): trimmed. 1, 0 at the end, ERR_BAD. */
int domain_tag_next(struct span *rest, struct span *tag, struct span *value);

#endif
