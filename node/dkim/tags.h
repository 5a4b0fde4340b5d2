/* Lists of tags, "a=b; c=d": RFC 6376 section 3.2. Pure. */
#ifndef NODE_DKIM_TAGS_H
#define NODE_DKIM_TAGS_H

#include "base/span.h"

#include <stdbool.h>

struct dkim_tag {
    struct span name, value; /* without the blanks around them; a value may be folded */
};

/* The next tag: 1; 0 at the end; ERR_BAD. `rest` moves on. */
int dkim_tag_next(struct span *rest, struct dkim_tag *out);
/* The value of the tag of this name; 0, ERR_NOT_FOUND, or ERR_BAD (the list is none, or has it twice). */
int dkim_tag_find(struct span list, const char *name, struct span *value);
/* Whether the words of a value, with colons between, have this one. */
bool dkim_tag_has(struct span value, const char *word);

#endif
